"""What clients may say, and what becomes of those that say something else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from paper import Paper, on_paper
from speaker import Speaker

from parpool import status as codes
from parpool.core.check import check
from parpool.host import clients as doors
from parpool.host.clients import Clients
from parpool.host.ports import CLIENTS
from parpool.wire.messages import EACH, encode
from parpool.wire.requests import (
    SHIFT,
    Abort,
    Answer,
    Ask,
    Definition,
    Delivery,
    Forget,
    Got,
    Leave,
    Over,
    Refused,
    Relation,
    Submit,
    Terms,
    Who,
)

FUNCTION = Definition(b"function", b"blob", "f")


@pytest.fixture
def paper() -> Iterator[Paper]:
    with on_paper() as made:
        yield made


@pytest.fixture
def client(paper: Paper) -> Speaker:
    speaker = Speaker(paper)
    speaker.hello()
    return speaker


def clients(paper: Paper) -> Clients:
    made: Clients = paper.station.on_client.__self__  # type: ignore[attr-defined]
    return made


def malformed(paper: Paper) -> int:
    return clients(paper).malformed


# Coming in -----------------------------------------------------------------------------------------------------


def test_hello(paper: Paper) -> None:
    paper.add_engine()
    paper.step(3)
    (welcome,) = Speaker(paper).hello()
    assert 0 < welcome.number and not welcome.again and [each.id for each in welcome.engines] == [0]
    assert welcome.next == 1 and welcome.turn == 1


def test_who_has_not_said_hello_is_asked(paper: Paper) -> None:
    """Once, and not for each of its messages."""
    speaker = Speaker(paper)
    assert speaker.tell(Got(1)) == [Who()]
    assert speaker.tell(Submit([speaker.order(1)])) == []
    paper.clock.now += 10
    assert speaker.tell(Got(1)) == [Who()]
    assert not paper.station.scheduler.tasks


def test_another_s_name(paper: Paper) -> None:
    speaker = Speaker(paper)
    for number, name in enumerate(("other", ""), 1):
        assert speaker.hello(name=name) == []
        assert malformed(paper) == number


def test_another_s_number(paper: Paper, client: Speaker) -> None:
    """It cannot be let in with the tasks that it has numbered so, and must hear that."""
    other = Speaker(paper, "other")
    (refused,) = other.hello(number=client.number)
    assert isinstance(refused, Refused) and "number" in refused.reason
    (welcome,) = other.hello()
    assert welcome.number != client.number


def test_a_number_of_the_time_before(paper: Paper) -> None:
    (welcome,) = Speaker(paper).hello(number=1234)
    assert welcome.number == 1234
    for number, name in ((-5, "x"), (1 << 21, "y"), (2**62, "z")):
        (welcome,) = Speaker(paper, name).hello(number=number)
        assert 0 < welcome.number < 1 << 21


def test_messages_are_taken_in_order(paper: Paper, client: Speaker) -> None:
    """What comes behind one that was lost is not taken: the client will say hello, and all of it again."""
    client.tell(Submit([client.order(1)], [], [FUNCTION]))
    client.said += 1  # this one is lost
    client.tell(Submit([client.order(3)]))
    assert paper.station.scheduler.tasks.keys() == {client.order(1).id}
    client.turn += 1  # of another hello that has not come
    client.said = 1
    client.tell(Submit([client.order(4)]))
    assert len(paper.station.scheduler.tasks) == 1


@pytest.mark.parametrize(
    "stamp", [b"", b"\xc1", encode([1]), encode("x"), encode([-1, -1]), encode([1, 2**70 % 99, 3])]
)
def test_no_stamp(paper: Paper, client: Speaker, stamp: bytes) -> None:
    client.say(CLIENTS, encode(Submit([client.order(1)])), [stamp])
    client.say(CLIENTS, encode(Submit([client.order(1)])))
    client.say(CLIENTS, encode(Got(1)))
    client.hears()
    assert not paper.station.scheduler.tasks
    client.tell(Submit([client.order(1)]))
    assert len(paper.station.scheduler.tasks) == 1


# Tasks -----------------------------------------------------------------------------------------------------------


def test_what_a_task_asks_for(paper: Paper, client: Speaker) -> None:
    a, b = client.order(1), client.order(2)
    after = Relation([a.id], False, True, True)
    terms = [Terms(3, 1.5, [4, 5], "lru", 9.0, True, after, Relation([b.id], True, False, True))]
    client.tell(Submit([a, b, client.order(3, kind=EACH, first=2, count=9, weight=9, terms=0)], terms, [FUNCTION]))
    task = paper.station.scheduler.tasks[client.order(3).id]
    assert (task.retries, task.limit, task.targets, task.policy, task.patience, task.remembered) == (
        3,
        1.5,
        frozenset((4, 5)),
        "lru",
        9.0,
        True,
    )
    assert (task.kind, task.first, task.count, task.weight) == (EACH, 2, 9, 9)
    assert task.after is not None and task.follow is not None
    assert (task.after.ids, task.after.all, task.after.failure) == (frozenset((a.id,)), False, True)
    assert (task.follow.ids, task.follow.all, task.follow.success) == (frozenset((b.id,)), True, False)


def test_large_payloads(paper: Paper, client: Speaker) -> None:
    orders = [client.order(n, payload=b"" if n % 2 else b"small", frames=n % 2) for n in range(1, 5)]
    client.tell(Submit(orders, [], [FUNCTION]), b"one", b"three")
    assert [task.payload for task in paper.station.scheduler.tasks.values()] == [b"one", b"small", b"three", b"small"]


BAD: dict[str, dict[str, Any]] = {
    "another client's": {"id": 5 << SHIFT | 1},
    "nobody's": {"id": -1},
    "a part's": {"id": 1 << 62},
    "a frame that is not there": {"frames": 1},
    "terms that are not there": {"terms": 2},
    "no items": {"count": 0},
    "items before the first": {"first": -1, "count": 2},
    "nothing left": {"first": 3, "count": 3},
    "too many items": {"count": 1 << 40},
    "no calls": {"weight": 0},
    "fewer calls than items": {"kind": EACH, "count": 3, "weight": 2},
    "an unknown kind": {"kind": 99},
    "a negative kind": {"kind": -1},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_tasks_that_cannot_be(paper: Paper, client: Speaker, fields: dict[str, Any]) -> None:
    order = msgspec.structs.replace(client.order(2), **fields)
    client.tell(Submit([client.order(1), order], [Terms()], [FUNCTION]))
    assert malformed(paper) == 1 and not paper.station.scheduler.tasks
    client.tell(Submit([client.order(3)]))
    assert len(paper.station.scheduler.tasks) == 1


@pytest.mark.parametrize(
    "terms",
    [
        Terms(policy="none"),
        Terms(after=Relation([], True, False, False)),
        Terms(limit=math.nan),
        Terms(patience=math.nan),
    ],
)
def test_terms_that_cannot_be(paper: Paper, client: Speaker, terms: Terms) -> None:
    paper.add_engine()
    client.tell(Submit([client.order(1, terms=0)], [terms], [FUNCTION]))
    wake = paper.station.scheduler.wake_at()
    assert malformed(paper) == 1 and not paper.station.scheduler.tasks
    assert wake is None or not math.isnan(wake)


def test_a_task_twice(paper: Paper, client: Speaker) -> None:
    """In one message, or in two; while it runs, and when it has ended."""
    paper.add_engine()
    client.tell(Submit([client.order(1), client.order(1)], [], [FUNCTION]))
    assert malformed(paper) == 1 and not paper.station.scheduler.tasks
    client.tell(Submit([client.order(2)]))
    client.tell(Submit([client.order(2), client.order(3)]))
    client.tell(Submit([client.order(2)], again=True))
    assert paper.station.scheduler.tasks.keys() == {client.order(2).id, client.order(3).id}
    paper.tasks.update((id, {"count": 1, "retries": 0}) for id in paper.station.scheduler.tasks)
    for _ in range(10):
        paper.advance()
    delivered = [result.id for message in client.hears() if isinstance(message, Delivery) for result in message.results]
    assert sorted(delivered) == [client.order(2).id, client.order(3).id]
    client.tell(Submit([client.order(2)], again=True))  # it has not said that it has the outcome
    assert not paper.station.scheduler.tasks


def test_only_one_s_own_tasks_are_taken_back(paper: Paper, client: Speaker) -> None:
    other = Speaker(paper, "other")
    other.hello()
    client.tell(Submit([client.order(1)], [], [FUNCTION]))
    other.tell(Abort([client.order(1).id, -1, 2**62]))
    assert len(paper.station.scheduler.tasks) == 1
    (delivery,) = client.tell(Abort([client.order(1).id, -1, 2**62]))
    assert delivery.results[0].status == codes.ABORTED


def test_functions_are_kept_while_anybody_needs_them(paper: Paper, client: Speaker) -> None:
    other = Speaker(paper, "other")
    other.hello()
    for each in (client, other):
        each.tell(Submit([], [], [FUNCTION, Definition(each.name.encode(), b"blob", "g")]))
    known = paper.station.blobs.known
    assert known.keys() == {b"function", b"client", b"other"}
    client.tell(Forget([b"function", b"client", b"nobody's"]))
    assert known.keys() == {b"function", b"other"}
    other.tell(Submit([other.order(1)]))
    other.tell(Forget([b"function"]))
    assert b"function" in known, "a task needs it"
    other.tell(Leave(False))
    assert known.keys() <= {b"function"}


# Going -----------------------------------------------------------------------------------------------------------


def lose(paper: Paper, times: int = 4) -> None:
    for _ in range(times):
        paper.beat()


@pytest.mark.parametrize("keep", [False, True])
def test_a_client_that_does_not_answer(paper: Paper, keep: bool) -> None:
    client = Speaker(paper)
    client.hello(keep=keep)
    client.tell(Submit([client.order(1)], [], [FUNCTION]))
    instance = clients(paper)._instance
    lose(paper)  # it does not answer hearts, as this test does not
    assert len(paper.station.scheduler.tasks) == keep
    messages = client.tell(Got(0))
    assert [message for message in messages if isinstance(message, Who)] == [] or not messages
    welcome, *rest = client.hello(instance)
    assert welcome.again
    assert [result.status for each in rest for result in each.results] == ([] if keep else [codes.ABORTED])


def test_a_client_that_was_forgotten(paper: Paper, client: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """There were too many others. When it comes back, it hears that it is not known any more."""
    monkeypatch.setattr(doors, "LOST_KEPT", 2)
    others = [Speaker(paper, f"other-{n}") for n in range(4)]
    lose(paper)
    for other in others:
        other.hello()
    lose(paper)
    assert len(list(clients(paper))) == 2
    (welcome,) = client.hello(clients(paper)._instance, 17, client.number)
    assert not welcome.again and welcome.number == client.number and welcome.next == 1


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("keep", [False, True, None])
def test_a_client_that_leaves(paper: Paper, client: Speaker, keep: bool | None, lost: bool) -> None:
    next(iter(clients(paper))).keep = lost
    client.tell(Submit([client.order(1)], [], [FUNCTION]))
    client.tell(Leave(keep))
    kept = lost if keep is None else keep
    assert not list(clients(paper)) and len(paper.station.scheduler.tasks) == kept
    assert client.tell(Got(1)) == [Who()]


@pytest.mark.parametrize("keep", [False, True])
def test_what_the_next_controller_knows_of_a_client(paper: Paper, keep: bool) -> None:
    """Also of one that dies at the same time as the controller: nobody could notice."""
    client = Speaker(paper)
    client.hello(keep=keep)
    assert paper.journal.read().kept == ({client.number: (client.name, False)} if keep else {})
    client.tell(Submit([client.order(1)], [], [FUNCTION]))
    clients(paper).keep(clients(paper)._numbers[client.number], True)
    client.tell(Leave(keep))
    assert paper.journal.read().kept == ({client.number: (client.name, True)} if keep else {})


def test_the_next_controller_need_not_know_who_has_left_nothing(paper: Paper) -> None:
    client = Speaker(paper)
    client.hello(keep=True)
    client.tell(Leave(True))
    assert paper.journal.read().kept == {}


def test_the_controller_ends(paper: Paper, client: Speaker) -> None:
    clients(paper).say_over("enough")
    assert client.hears() == [Over("enough")]


# Questions -------------------------------------------------------------------------------------------------------


def test_questions(paper: Paper, client: Speaker) -> None:
    def answer(door: Any, what: str, about: dict[str, Any], reply: Any) -> None:
        if what == "raise":
            raise LookupError("nothing here")
        if what == "later":
            paper.station.order(lambda: reply("later"))
        else:
            reply(object() if what == "odd" else about, "no" if what == "no" else None)

    clients(paper)._questions = answer
    assert client.tell(Ask(1, "what", {"a": [1]})) == [Answer(1, "", {"a": [1]})]
    assert client.tell(Ask(2, "no", {})) == [Answer(2, "no", {})]
    assert client.tell(Ask(3, "raise", {})) == [Answer(3, "LookupError: nothing here", None)]
    (odd,) = client.tell(Ask(4, "odd", {}))
    assert "cannot be sent" in odd.error
    assert client.tell(Ask(5, "later", {})) == [Answer(5, "", "later")]


# Liars -----------------------------------------------------------------------------------------------------------

ids = st.integers(-2, 6)
orders = st.builds(
    lambda id, first, count, frames, terms: (id, first, count, frames, terms),
    ids,
    st.integers(-1, 3),
    st.integers(0, 4),
    st.integers(0, 2),
    st.integers(-2, 2),
)
relations = st.builds(Relation, st.lists(ids, max_size=3), st.booleans(), st.booleans(), st.booleans())
words = st.one_of(
    st.builds(lambda orders, again: ("submit", orders, again), st.lists(orders, min_size=1, max_size=4), st.booleans()),
    st.builds(Abort, st.lists(ids, max_size=4)),
    st.builds(Got, st.integers(-3, 2**63 - 1)),
    st.builds(Forget, st.lists(st.sampled_from([b"function", b"x"]), max_size=2)),
    st.builds(Ask, st.integers(-3, 3), st.text(max_size=5), st.dictionaries(st.text(max_size=3), ids)),
    st.sampled_from([Leave(True), Leave(False), Leave(None), "hello", "advance"]),
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    lies=st.lists(words, max_size=20),
    terms=st.lists(
        st.builds(
            Terms,
            targets=st.none() | st.lists(st.integers(0, 2)),
            limit=st.sampled_from([None, 0.0, -1.0, math.inf]),
            after=st.none() | relations,
            follow=st.none() | relations,
        ),
        max_size=2,
    ),
)
def test_a_lying_client(lies: list[Any], terms: list[Terms]) -> None:
    """Well-formed messages in any order and of any content: the station goes on."""
    with on_paper() as paper:
        paper.begins = lambda id, item: None  # type: ignore[method-assign]
        paper.add_engine()
        client = Speaker(paper)
        client.hello()
        for lie in lies:
            if lie == "hello":
                client.hello("controller-1")
            elif lie == "advance":
                paper.advance()
            elif isinstance(lie, tuple):
                made = [
                    client.order(
                        max(id, 0), first=first, count=count, weight=max(count, 1), frames=frames, terms=number
                    )
                    for id, first, count, frames, number in lie[1]
                ]
                client.tell(Submit(made, terms, [FUNCTION], lie[2]), b"frame")
            else:
                client.tell(lie)
            check(paper.station.scheduler)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(st.binary(max_size=40), max_size=3))
def test_random_bytes(paper: Paper, frames: list[bytes]) -> None:
    paper.station.on_client(b"somebody", list(frames))
    paper.station.on_client(b"", list(frames))
    paper.step()
