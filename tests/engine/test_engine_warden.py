"""An engine of a controller: what it says when it has lost it and found it again, and what its second thread does."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from fake_controller import ENGINE, FakeController, call, values
from other_threads import can_signal, signal_another

from parpool.engine.warden import ORPHANED, REFUSED_KEY, TOLD_TO_DIE
from parpool.net.sockets import Context, have_ipc, keypair
from parpool.wire.messages import (
    CALL,
    EACH,
    Call,
    Die,
    Farewell,
    GivenBack,
    Hello,
    Look,
    Need,
    Noted,
    Outcome,
    Revoke,
    Stop,
    Who,
    Work,
)

pytestmark = pytest.mark.skipif(not have_ipc(), reason="the controller of these tests listens on local sockets")


@pytest.fixture
def controller() -> Iterator[FakeController]:
    made = FakeController()
    try:
        made.welcome()
        yield made
    finally:
        made.close()


# What has ended, and was not noted ------------------------------------------------------------------------------


def test_messages_are_numbered(controller: FakeController) -> None:
    for number in range(1, 5):
        controller.send(call(number, abs, -number))
        done = controller.hears()
        assert done.number == number and values(done) == {number: number}


def test_what_was_not_noted_is_said_again(controller: FakeController) -> None:
    said = []
    for number in range(1, 5):
        controller.send(call(number, abs, -number))
        said.append(controller.hears())
    hello, again = controller.ask()
    assert (hello.held, hello.first, hello.last, hello.said) == ([], 1, 4, 1) and again == said
    controller.order(Noted(2))
    while (answer := controller.ask())[0].first == 1:
        pass
    assert answer[0].first == 3 and answer[1] == said[2:]
    controller.order(Noted(99))
    while (answer := controller.ask())[1]:
        pass
    assert (answer[0].first, answer[0].last) == (5, 4)


def test_large_ones_are_said_again_with_their_frames(controller: FakeController) -> None:
    controller.send(call(1, bytes, 100_000))
    controller.hears()
    frames = controller.frames
    assert pickle.loads(frames[0]) == bytes(100_000)
    _, (again,) = controller.ask()
    assert again.outcomes[0].frames == 1 and controller.frames == frames


# What it holds ---------------------------------------------------------------------------------------------------


def test_it_says_what_it_holds_while_it_runs(controller: FakeController) -> None:
    """Its main thread does not listen meanwhile: the other one does."""
    controller.send(call(1, abs, -1), call(2, "at_gate", controller.gate("a")), call(3, abs, -3))
    controller.begun("a")
    hello, again = controller.ask()
    assert sorted(hello.held or []) == [2, 3] and values(*again) == {1: 1}
    controller.let("a")
    found = values(controller.hears())
    while 3 not in found:
        found |= values(controller.hears())
    hello, _ = controller.ask()
    assert hello.held == [] and hello.said == 2


def test_the_question_comes_later_than_the_word_of_it(controller: FakeController) -> None:
    """They come on two connections."""
    controller.send(call(1, "at_gate", controller.gate("a")))
    controller.begun("a")
    controller.order(Look())
    controller.order(Revoke([1]))
    assert controller.answer().kept == [1]  # it has looked meanwhile
    controller.say(Who())
    assert controller.hears(Hello).held == [1]
    controller.let("a")
    assert values(controller.hears()) == {1: controller.gate("a")}


def test_a_map_that_it_runs_is_held_until_its_end(controller: FakeController) -> None:
    controller.send(call(1, "at_gate", *(controller.gate(name) for name in "abc"), kind=EACH))
    controller.begun("a")
    controller.let("a")
    controller.begun("b")
    hello, again = controller.ask()
    assert hello.held == [1] and [each.item for done in again for each in done.outcomes] == [0]
    for name in "bc":
        controller.let(name)
    items: list[int] = []
    while items != [1, 2]:
        items += [each.item for each in controller.hears().outcomes]


def test_what_was_given_back_is_not_held(controller: FakeController) -> None:
    controller.send(call(1, "at_gate", controller.gate("a")), call(2, abs, -2))
    controller.begun("a")
    controller.order(Revoke([2]))
    assert controller.answer().ids == [2]
    controller.let("a")
    assert values(controller.hears()) == {1: controller.gate("a")}
    hello, _ = controller.ask()
    assert hello.held == []


def test_items_are_given_back(controller: FakeController) -> None:
    controller.send(call(1, "at_gate", *(controller.gate(name) for name in "abc"), kind=EACH))
    controller.begun("a")
    controller.order(Revoke([1], True))
    assert controller.answer() == GivenBack([], [1], [])  # whole, or not at all
    controller.order(Revoke([1]))
    assert controller.answer() == GivenBack([], [], [(1, 1)])
    controller.let("a")
    assert [each.item for each in controller.hears().outcomes] == [0]
    assert controller.ask()[0].held == []


def test_what_has_ended_does_not_wait_behind_the_next_message(controller: FakeController) -> None:
    """Each in a message of its own: the outcome of the second goes with others, or soon, and not when those end."""
    for number in range(1, 31, 3):  # the second must end just behind the first, and not before the third is there
        gate = f"gate-{number}"
        controller.send(call(number, abs, -1))
        controller.send(call(number + 1, abs, -2))
        controller.send(call(number + 2, "at_gate", controller.gate(gate)))
        found: dict[int, Any] = {}
        while number + 1 not in found:
            found |= values(controller.hears())
        controller.let(gate)
        while number + 2 not in found:
            found |= values(controller.hears())


# Another controller, or a new connection ---------------------------------------------------------------------------


def test_it_finds_the_one_that_follows(controller: FakeController) -> None:
    """It goes on with what it has meanwhile, and takes no more before the other has answered."""
    controller.send(call(1, abs, -1), call(2, "at_gate", controller.gate("a")), call(3, abs, -3))
    controller.begun("a")
    controller.restart()
    hello, again = controller.ask()
    assert sorted(hello.held or []) == [2, 3] and values(*again) == {1: 1}
    controller.send(call(4, abs, -4))
    controller.let("a")
    found: dict[int, Any] = {}
    while found.keys() != {2, 3}:
        found |= values(controller.hears())
    controller.nothing()
    controller.begin(hello)
    controller.send(call(5, abs, -5))
    assert values(controller.hears()) == {5: 5}


def test_it_waits_for_code_when_the_controller_dies(controller: FakeController) -> None:
    """The question may be lost, and so may the answer."""
    controller.say(Work([Call(1, b"code", pickle.dumps(((), {})), CALL, 0, 1, 0)], {}, [], False, 1))
    assert controller.hears(Need).key == b"code"
    controller.restart()
    hello, _ = controller.ask()
    assert hello.held == [1] and controller.hears(Need).key == b"code"
    controller.begin(hello)
    controller.say(Work([], {b"code": b"P" + pickle.dumps(int)}, [], False, 0))
    assert values(controller.hears()) == {1: 0}


def test_only_the_answer_to_its_last_word_counts(controller: FakeController) -> None:
    first, _ = controller.ask()
    second, _ = controller.ask()
    assert second.said == first.said + 1
    controller.begin(first)
    controller.send(call(1, abs, -1))
    controller.nothing()
    controller.begin(second)
    controller.send(call(2, abs, -2))
    assert values(controller.hears()) == {2: 2}


def test_a_message_that_was_lost(controller: FakeController) -> None:
    """What comes behind it is not done before it: the engine says what it has, and waits."""
    controller.send(call(1, abs, -1))
    controller.hears()
    controller.send(call(3, abs, -3), number=3)
    hello = controller.hears(Hello)
    assert hello.held == []
    controller.send(call(4, abs, -4), number=4)
    controller.begin(hello)
    controller.send(call(2, abs, -2), call(3, abs, -3))
    found: dict[int, Any] = {}
    while found.keys() != {2, 3}:
        for done in (controller.hears(),):
            found |= {id: value for id, value in values(done).items() if id != 1}
    controller.nothing()


def test_a_connection_of_work_alone_that_breaks(controller: FakeController) -> None:
    """There are two: what was lost on the one is asked for through the other."""
    router = controller.sockets["work"]
    router.socket.close()
    controller.sockets["work"] = controller._context.router(f"ipc://{controller.folder}/work", domain="engines")
    assert controller.answer(Hello).held is None
    controller.send(call(1, abs, -1))
    assert values(controller.hears()) == {1: 1}


# Its end ------------------------------------------------------------------------------------------------------------


def test_it_is_told_to_end_when_it_is_done(controller: FakeController) -> None:
    controller.send(call(1, abs, -1))
    controller.say(Stop())
    assert values(controller.hears()) == {1: 1}
    assert controller.hears(Farewell) == Farewell(b"")
    assert controller.status() == 0


def test_it_is_told_to_end_at_once(controller: FakeController) -> None:
    controller.send(call(1, "at_gate", controller.gate("a")))
    controller.begun("a")
    controller.order(Die())
    assert controller.status() == TOLD_TO_DIE


@pytest.mark.parametrize("busy", ["idle", "call", "map"])
def test_its_patience_ends(busy: str) -> None:
    """Nobody follows. Whatever it runs is nobody's any more."""
    controller = FakeController(patience=0.3)
    try:
        controller.welcome()
        if busy == "call":
            controller.send(call(1, "at_gate", controller.gate("a")))
        elif busy == "map":
            controller.send(call(1, "at_gate", controller.gate("a"), controller.gate("b"), kind=EACH))
        if busy != "idle":
            controller.begun("a")
        controller._context.close()
        assert controller.status() == ORPHANED
    finally:
        controller.close()


def test_its_patience_is_for_those_who_do_not_come_back(controller: FakeController) -> None:
    for _ in range(3):
        controller.restart()
    hello, _ = controller.ask()
    controller.begin(hello)
    controller.send(call(1, abs, -1))
    assert values(controller.hears()) == {1: 1}


def test_a_key_that_is_not_known() -> None:
    """A clear end, and not a wait for nothing."""
    context = Context()
    public, secret = keypair()
    keeper = context.doorkeeper({"engines": [keypair()[0]]})
    router = context.router("tcp://127.0.0.1:*", secret=secret, public=public, domain="engines")
    mine = [key.decode() for key in (public, *keypair())]
    folder = router.address[: router.address.rindex(":") + 1]
    script = ENGINE.replace('f"{address}work"', "address").replace('f"{address}control"', "address")
    script = script.replace('f"{address}heart"', "address")
    command = [sys.executable, "-c", script, router.address, "30", *mine]
    assert folder
    engine = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert engine.wait(20) == REFUSED_KEY
    finally:
        engine.kill()
        engine.communicate()
        keeper.close()
        context.close()


@pytest.mark.parametrize(("number", "busy"), [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGTERM, True)])
def test_it_ends_by_a_signal(controller: FakeController, number: signal.Signals, busy: bool) -> None:
    """Where it is idle it takes its leave; where it runs a task, that is not asked."""
    if busy:
        controller.send(call(2, "at_gate", controller.gate("a")))
        controller.begun("a")
    controller.engine.send_signal(number)
    assert controller.status() == 0
    if not busy:
        assert controller.hears(Farewell) == Farewell(b"")


@can_signal
def test_it_ends_by_a_signal_that_another_thread_gets(controller: FakeController) -> None:
    """Or that comes as the main thread falls asleep: for that it is the same."""
    signal_another(controller.engine.pid, signal.SIGTERM)
    assert controller.status() == 0


LOST = """
import contextlib, signal
ours = signal.getsignal(signal.SIGTERM)

def lost(number, frame):
    with contextlib.suppress(SystemExit):
        ours(number, frame)

signal.signal(signal.SIGTERM, lost)
"""


def test_it_ends_by_a_signal_though_what_is_raised_is_lost(controller: FakeController) -> None:
    """As where the signal comes in the middle of an object's ``__del__``."""
    controller.send(call(1, exec, LOST, {}))
    assert values(controller.hears()) == {1: None}
    controller.engine.send_signal(signal.SIGTERM)
    assert controller.status() == 0


def test_outcomes_are_of_the_schema(controller: FakeController) -> None:
    controller.send(call(1, abs, -1), call(2, int, "x"))
    found: list[Outcome] = []
    while len(found) < 2:
        found += controller.hears().outcomes
    assert [(each.id, each.status, each.item) for each in found] == [(1, 0, 0), (2, 1, 0)]
