"""What stands in a client for the host of a controller, which may be lost, and followed by another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fake_cluster import NUMBER, FakeController

from parpool import AuthenticationError, ControllerLost, ProtocolError
from parpool import status as codes
from parpool.client import orders
from parpool.client.far import Far
from parpool.core.state import Dependency, Task
from parpool.net.address import Connection
from parpool.net.sockets import Context, Poller, have_ipc, keypair
from parpool.wire.functions import Function
from parpool.wire.messages import EACH, INLINE, PROTOCOL, encode
from parpool.wire.requests import (
    SHIFT,
    Abort,
    Answer,
    Ask,
    Came,
    ClientHello,
    Delivery,
    Fellow,
    Forget,
    Gone,
    Got,
    Leave,
    Over,
    Refused,
    Result,
    Submit,
    Text,
    Welcome,
    Who,
    from_client,
)

pytestmark = pytest.mark.skipif(not have_ipc(), reason="the controller of these tests listens on local sockets")


@pytest.fixture
def controller() -> Iterator[FakeController]:
    made = FakeController()
    yield made
    made.close()


@pytest.fixture
def met(controller: FakeController) -> FakeController:
    """It has let the client in."""
    controller.welcome()
    return controller


def ids(submit: Submit) -> list[int]:
    return [order.id for order in submit.orders]


# Coming in -----------------------------------------------------------------------------------------------------


def test_nothing_is_said_before_it_is_let_in(controller: FakeController) -> None:
    hello = controller.hears(ClientHello)
    assert (hello.protocol, hello.number, hello.instance, hello.got, hello.turn) == (PROTOCOL, 0, "", 0, 1)
    assert hello.name == controller.far.name and hello.facts["pid"]
    id = controller.submit()
    controller.far.ask("what", {}, lambda value, error: None)
    controller.nothing(object)
    controller.say(Welcome(NUMBER, "one", False, [], 1, 1))
    submit = controller.hears(Submit)
    assert ids(submit) == [id] and not submit.again
    assert [(each.key, each.blob, each.name) for each in submit.functions] == [(b"function", b"blob", "f")]
    assert controller.hears(Ask).what == "what"
    assert [(stamp.turn, stamp.number) for stamp in controller.stamps] == [(1, 1), (1, 2)]


def test_a_welcome_to_another_hello(controller: FakeController) -> None:
    controller.hears(ClientHello)
    controller.say(Welcome(9, "one", False, [], 1, 77))
    assert controller.far.number == 0


@pytest.mark.parametrize(
    ("message", "error", "words"),
    [
        (Refused("too old"), ProtocolError, "too old"),
        (Over("enough"), ControllerLost, "enough"),
    ],
)
def test_it_is_not_let_in(met: FakeController, message: Any, error: type, words: str) -> None:
    """What is under way ends, and so does what comes after."""
    first, second = met.submit(), met.submit(kind=EACH, count=2, weight=2)
    answers: list[Any] = []
    met.far.ask("what", {}, lambda value, error: answers.append((value, error)))
    met.say(message)
    assert isinstance(met.lost[0], error) and words in str(met.lost[0]) and len(met.lost) == 1
    late = met.submit()
    met.far.step(0)
    assert met.door.delivered == [(first, 0, -2), (second, 0, -2), (second, 1, -2), (late, 0, -2)]
    assert met.reasons() == [met.lost[0]] * 4 and met.far.lost and not met.far.outstanding()
    assert len(answers) == 1 and answers[0][0] is None and words in answers[0][1]


# Tasks -----------------------------------------------------------------------------------------------------------


def test_there_and_back(met: FakeController) -> None:
    first, second = met.submit(), met.submit()
    met.deliver(1, first, second)
    assert met.ended() == [first, second] and not met.far.tasks
    assert met.hears(Got) == Got(1)


def test_what_a_task_asks_for(met: FakeController) -> None:
    after = Dependency(frozenset((5, 4)), False, True, True)
    met.submit(
        retries=2, limit=1.5, targets=frozenset((3, 1)), policy="lru", patience=9.0, remembered=True, after=after
    )
    submit = met.hears(Submit)
    (terms,) = submit.terms
    assert (terms.retries, terms.limit, terms.targets, terms.policy, terms.patience) == (2, 1.5, [1, 3], "lru", 9.0)
    assert terms.remembered and terms.after.ids == [4, 5] and not terms.after.all and terms.after.failure
    assert terms.follow is None and submit.orders[0].terms == 0


def test_tasks_of_one_form_have_their_terms_in_common(met: FakeController) -> None:
    form = type("Form", (Task,), {"retries": 3})
    for count in range(1, 4):
        met.far.submit(form(NUMBER << SHIFT | count, b"function", b"", met.door))
    met.submit()
    submit = met.hears(Submit)
    assert [order.terms for order in submit.orders] == [0, 0, 0, -1] and len(submit.terms) == 1


def test_large_payloads_are_frames(met: FakeController) -> None:
    large = b"x" * (INLINE + 1)
    for payload in (b"small", large, b"y" * INLINE, large + b"2"):
        met.far.submit(Task(NUMBER << SHIFT | len(payload), b"function", payload, met.door))
    orders = met.hears(Submit).orders
    assert [order.frames for order in orders] == [0, 1, 0, 1] and met.frames == [large, large + b"2"]
    results = [Result(order.id, 0, 0, 1.0, 2.0, b"" if order.frames else b"v", order.frames, 0) for order in orders]
    met.say(Delivery(1, results), b"first", b"second")
    assert [outcome.payload for outcome in met.door.outcomes] == [b"v", b"first", b"v", b"second"]
    assert met.hears(Got) == Got(1)


def test_questions_and_tasks_in_the_order_in_which_they_were_handed_in(met: FakeController) -> None:
    first = met.submit
    met.far.met = False  # so that they gather
    a = first()
    met.far.abort([a])
    b = first()
    met.far.met = True
    assert ids(met.hears(Submit)) == [a]
    assert met.hears(Abort) == Abort([a])
    assert ids(met.hears(Submit)) == [b]


def test_a_door_that_raises(met: FakeController) -> None:
    """The others hear of theirs."""

    class Locked:
        def deliver(self, *args: Any) -> None:
            raise ValueError("nobody is in")

    first = met.submit()
    met.far.tasks[first].door = Locked()
    second = met.submit()
    met.deliver(1, first, second)
    assert met.ended() == [second] and not met.far.tasks


def test_text(met: FakeController) -> None:
    id = met.submit()
    met.say(Text(id, 2, 1, "hello"))
    met.say(Text(99, 2, 1, "of a task that is not known"))
    assert met.door.text == [(id, 2, 1, "hello")]


def test_engines_come_and_go(controller: FakeController) -> None:
    controller.welcome(engines=[Fellow(4, "e4", 1, "h")])
    assert controller.far.engines.keys() == {4}
    before = controller.changes
    controller.say(Came([Fellow(5, "e5", 2, "h")]))
    controller.say(Gone([4, 77]))
    assert controller.far.engines.keys() == {5} and controller.changes == before + 2


def test_junk_is_dropped(met: FakeController) -> None:
    id = met.submit()
    for junk in (b"", b"\xc1", b"\0" * 20, encode([42]), encode(Got(1))):
        assert met.clients.send(met.name, junk)
    met.deliver(1, id)
    met.until(lambda: met.ended() == [id])


def test_functions_are_forgotten_at_last(met: FakeController, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "FUNCTIONS", 10)
    id = met.submit()
    for number in range(10):
        met.far.define(Function(b"%d" % number, b"blob", "g"))
    met.submit()
    keys = met.hears(Forget).keys
    assert keys and b"function" not in keys and b"9" not in keys
    assert not set(keys) & met.far.known.keys() and id


# Acknowledgements --------------------------------------------------------------------------------------------------


def test_what_has_arrived_is_said_now_and_then(met: FakeController) -> None:
    """Not for each of many, and when there is time for it."""
    tasks = [met.submit() for _ in range(40)]
    for number, id in enumerate(tasks, 1):
        result = Result(id, 0, 0, 1.0, 2.0, b"value", 0, 3)
        assert met.clients.send(met.name, encode(Delivery(number, [result])))
    said: list[int] = []
    while not said or said[-1] < 40:
        said.append(met.hears(Got).number)
    assert said == sorted(said) and len(said) < 20


def test_deliveries_come_twice_and_not_all(met: FakeController) -> None:
    """One that is not the next is left for later: those before it come again, and it behind them."""
    tasks = [met.submit() for _ in range(5)]
    met.deliver(1, tasks[0])
    met.deliver(3, tasks[2])
    met.deliver(1, tasks[0])
    assert met.ended() == tasks[:1]
    for number in range(1, 6):
        met.deliver(number, tasks[number - 1])
    assert met.ended() == tasks


@pytest.mark.parametrize("keep", [True, False])
def test_what_the_controller_does_with_its_tasks_is_told(keep: bool) -> None:
    controller = FakeController()
    try:
        assert controller.hears(ClientHello).keep is None
        controller.say(Welcome(NUMBER, "one", False, [], 1, 1, keep))
        assert controller.far.kept is keep
    finally:
        controller.close()


# Lost, and found -----------------------------------------------------------------------------------------------------


def test_another_controller(met: FakeController) -> None:
    """It is given all that is under way, and what that needs, and asked again what was not answered."""
    first, second = met.submit(), met.submit(kind=EACH, count=4, weight=4, remembered=True)
    met.deliver(1, first)
    met.deliver(2, second, item=0)
    met.deliver(3, second, item=2)
    met.far.ask("what", {}, lambda value, error: None)
    met.far.abort([second, first])
    met.far.step(0)
    met.restart()
    hello = met.hears(ClientHello)
    assert (hello.number, hello.instance, hello.turn) == (NUMBER, "one", 2)
    third = met.submit()
    met.nothing(Submit)  # it is not let in yet
    met.stamps.clear()
    met.say(Welcome(NUMBER, "two", False, [], 1, 2))
    again = met.hears(Submit)
    assert again.again and ids(again) == [second]
    order = again.orders[0]
    assert (order.first, order.count) == (1, 4) and again.terms[order.terms].ended == [2]
    assert [each.key for each in again.functions] == [b"function"]
    assert met.hears(Abort) == Abort([second])
    assert met.hears(Ask).what == "what"
    assert ids(met.hears(Submit)) == [third]
    # Between the tasks and what is taken back: that these were all.
    assert [stamp.number for stamp in met.stamps] == [1, 2, 3, 4, 5] and {stamp.turn for stamp in met.stamps} == {2}
    met.deliver(1, third)
    met.deliver(2, second, item=2)  # it has that
    for number, item in enumerate((1, 3), 3):
        met.deliver(number, second, item=item)
    assert met.ended() == [first, second, second, third, second, second] and not met.far.tasks


def test_the_same_controller(met: FakeController) -> None:
    """It says what has not arrived: in order, whatever it has said before it heard the hello."""
    tasks = [met.submit() for _ in range(4)]
    met.deliver(1, tasks[0])
    met.restart()
    hello = met.hears(ClientHello)
    assert (hello.instance, hello.got) == ("one", 1)
    met.deliver(4, tasks[3])
    assert met.ended() == tasks[:1]
    met.say(Welcome(NUMBER, "one", True, [], 2, 2))
    assert ids(met.hears(Submit)) == tasks[1:]
    for number in (2, 3, 4):
        met.deliver(number, tasks[number - 1])
    assert met.ended() == tasks


def test_it_was_forgotten(met: FakeController) -> None:
    """The controller is the same, and counts its deliveries anew."""
    tasks = [met.submit() for _ in range(3)]
    met.deliver(1, tasks[0])
    met.deliver(2, tasks[1])
    met.say(Who())
    hello = met.hears(ClientHello)
    met.say(Welcome(NUMBER, "one", False, [], 1, hello.turn))
    submit = met.hears(Submit)
    assert ids(submit) == tasks[2:] and submit.functions
    met.deliver(1, tasks[2])
    assert met.ended() == tasks


def test_it_is_asked_once_more_than_it_answers(met: FakeController) -> None:
    met.say(Who())
    met.say(Who())
    met.hears(ClientHello)
    met.nothing(ClientHello)


def test_what_others_wait_for_has_ended(met: FakeController) -> None:
    """The controller that follows cannot know how."""
    ok, failed = met.submit(remembered=True), met.submit(remembered=True)
    waiting = met.submit(after=Dependency(frozenset((ok, failed, 12345)), False))
    met.deliver(1, ok)
    met.deliver(2, failed, status=codes.ERROR)
    met.restart()
    met.welcome("two")
    again = met.hears(Submit)
    assert ids(again) == [waiting]
    assert sorted(again.ends) == sorted([(ok, True, 3), (failed, False, 3)])


@pytest.mark.parametrize("heard", [True, False])
def test_greetings_are_said_before_the_tasks(met: FakeController, heard: bool) -> None:
    """Whatever engine gets a task has called this before; those that are there have, if the controller has heard it."""
    met.far.greet(Function(b"key", b"blob", "g"), b"payload")
    greeting = met.hears(Ask)
    assert greeting.about["again"] is False
    if heard:
        met.say(Answer(greeting.number, "", None))
    id = met.submit()
    met.restart()
    hello = met.hears(ClientHello)
    met.say(Welcome(NUMBER, "two", False, [], 1, hello.turn))
    message = met.hears(object)
    while not isinstance(message, (Ask, Submit)):
        message = met.hears(object)
    assert isinstance(message, Ask) and message.what == "greet" and message.about["again"] is heard
    assert ids(met.hears(Submit)) == [id]


def test_an_answer_comes_once(met: FakeController) -> None:
    answers: list[Any] = []
    met.far.ask("what", {}, lambda value, error: answers.append((value, error)))
    number = met.hears(Ask).number
    for _ in range(2):
        met.say(Answer(number, "", [1]))
    met.say(Answer(999, "", None))
    assert answers == [([1], "")] and not met.far.outstanding()


def test_its_patience_ends() -> None:
    controller = FakeController(patience=0.1)
    controller.welcome()
    id = controller.submit()
    controller._context.close()
    controller.until(lambda: controller.lost)
    assert isinstance(controller.lost[0], ControllerLost) and "0.1 s" in str(controller.lost[0])
    assert "lost" in str(controller.lost[0]) and controller.ended() == [id]
    controller.open()
    controller.close()


@pytest.mark.parametrize(
    ("where", "words"),
    [("ipc:///nowhere/", "parpool list"), ("tcp://no.such.invalid:5", "no address of no.such.invalid")],
)
def test_nobody_is_there(where: str, words: str) -> None:
    addresses = {name: f"{where}{port}" for port, name in enumerate(("client", "heart"))}
    connection = Connection("client", "c", "p", addresses, "", "", "", 1, "host", "0", PROTOCOL, 0.0)
    far = Far(connection, 0.05, None)
    lost: list[BaseException] = []
    far.on_lost = lost.append
    while not lost:
        far.step(1.0)
    assert isinstance(lost[0], ControllerLost) and "does not answer" in str(lost[0]) and words in str(lost[0])
    far.close(False)


def test_another_key() -> None:
    """However soon the refusal comes: before the hello is said, or after."""
    context = Context()
    public, secret = keypair()
    keeper = context.doorkeeper({"clients": [keypair()[0]]})
    router = context.router("tcp://127.0.0.1:*", secret=secret, public=public, domain="clients")
    mine = [key.decode() for key in (public, *keypair())]
    addresses = {"client": router.address, "heart": router.address}
    connection = Connection("client", "c", "p", addresses, mine[0], mine[1], mine[2], 1, "host", "0", PROTOCOL, 0.0)
    lost: list[BaseException] = []

    def connect() -> None:
        far = Far(connection, 10.0, None)
        far.on_lost = lost.append
        while not lost:
            far.step(1.0)
        far.close(False)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(5)
    assert lost and isinstance(lost[0], AuthenticationError) and router.address in str(lost[0])
    keeper.close()
    context.close()


@pytest.mark.parametrize("keep", [False, True, None])
def test_it_takes_its_leave(controller: FakeController, keep: bool | None) -> None:
    controller.welcome()
    controller.far.close(keep)
    controller.far.step = lambda timeout: None  # type: ignore[method-assign]
    assert controller.hears(Leave) == Leave(keep)
    controller.far.close = lambda keep: None  # type: ignore[method-assign]


def test_one_that_has_ended_is_told_nothing(met: FakeController) -> None:
    """It would not hear it, and to wait for that would take a second."""
    met.say(Over("enough"))
    met.far.close(True)
    poller = Poller()
    poller.add(met.clients)
    while poller.poll(0.1):
        message = met.clients.receive()
        assert message is not None and not isinstance(from_client(message[1][0]), Leave)
    met.far.close = lambda keep: None  # type: ignore[method-assign]
