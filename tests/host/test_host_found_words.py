"""What a controller finds of the time before, case by case: what the machine of ``test_host_found.py`` has found, and
what it should."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from paper import Paper, PaperEngine, on_paper
from paper_client import KEY

from parpool import status as codes
from parpool.core.state import Dependency
from parpool.wire.functions import Function
from parpool.wire.messages import EACH, Who, encode


@pytest.fixture
def paper() -> Iterator[Paper]:
    with on_paper() as made:
        yield made


def rounds(paper: Paper, count: int = 12) -> None:
    for _ in range(count):
        paper.advance()


def taken(engine: PaperEngine) -> list[int]:
    """What an engine has taken in and not begun."""
    while engine.take():
        pass
    return list(engine.waiting)


@pytest.mark.parametrize("first", ["client", "engine"])
@pytest.mark.parametrize("state", ["on its way", "there", "running", "done", "said"])
def test_wherever_it_was(paper: Paper, first: str, state: str) -> None:
    """The controller is killed with a task at any point of its way; engine and client come back in any order."""
    engine, client = paper.add_engine(), paper.add_client()
    paper.step(3)
    id = paper.submit(client)
    client.step(0)
    paper.step(3)
    if state != "on its way":
        assert taken(engine) == [id]
    if state in ("running", "done", "said"):
        engine.begin()
    if state in ("done", "said"):
        engine.finish()
    if state == "said":
        engine.flush()
        paper.step(3)
    paper.kill_controller()
    if first == "engine":
        engine.connect()
        for _ in range(5):
            paper.step(3)
            taken(engine)
    else:
        client.connect()
        for _ in range(5):
            client.step(0)
            paper.step(3)
    paper.settle()
    assert paper.statuses(id) == [codes.OK] and paper.begun[id, 0] == 1


def test_deliveries_that_overtake_those_that_were_lost(paper: Paper) -> None:
    """A client is cut off and comes back: what is sent to it before its hello is read is not all that there is."""
    engine, client = paper.add_engine(), paper.add_client()
    for _ in range(3):
        paper.submit(client)
    client.step(0)
    for _ in range(3):
        paper.step(3)
        taken(engine)
        engine.begin()
        engine.finish()
        engine.flush()
        paper.step(3)
    client.peer.cut()
    client.connect()
    last = paper.submit(client)
    assert last
    paper.settle()
    assert all(status == codes.OK for status in paper.outcomes.values())


def test_what_is_found_is_kept_until_its_client_has_it(paper: Paper) -> None:
    """This controller may be killed, too: the engine lets go of it when the client has said so."""
    engine, client = paper.add_engine(), paper.add_client()
    id = paper.submit(client)
    client.step(0)
    paper.step(3)
    taken(engine)
    engine.begin()
    engine.finish()
    engine.flush()
    paper.kill_controller()
    engine.connect()
    for _ in range(5):
        paper.step(3)
        taken(engine)
    client.connect()
    for _ in range(3):
        client.step(0)
        paper.step(3)
    client.peer.inbox.clear()  # the outcome is on its way
    paper.beat()
    while engine.obey():
        pass
    assert engine.outbox.kept(), "it was told that it is not needed any more"
    paper.kill_controller()
    paper.settle()
    assert paper.statuses(id) == [codes.OK] and paper.begun[id, 0] == 1


def test_what_nobody_comes_for_is_forgotten(paper: Paper) -> None:
    """Its client is gone: the engine need not keep it, and what comes after it, for ever."""
    engine, client = paper.add_engine(), paper.add_client()
    paper.submit(client)
    client.step(0)
    paper.step(3)
    taken(engine)
    engine.begin()
    engine.finish()
    engine.flush()
    paper.kill_controller()
    paper.clients.clear()
    engine.connect()
    for _ in range(8):
        paper.step(3)
        taken(engine)
    assert engine.outbox.kept()
    paper.clock.now += 10_000
    paper.beat()
    paper.beat()
    while engine.obey():
        pass
    assert not engine.outbox.kept()
    paper.tasks.clear()


@pytest.mark.parametrize("retries", [0, 1])
def test_an_engine_that_does_not_come_back(paper: Paper, retries: int) -> None:
    """It may have begun what it was given: that is lost, where it may not run again."""
    engine, client = paper.add_engine(), paper.add_client()
    id = paper.submit(client, **({"retries": retries} if retries else {}))
    client.step(0)
    paper.step(3)
    assert taken(engine) == [id]
    engine.begin()
    paper.kill_controller()
    paper.kill_engine(engine)
    other = paper.add_engine()
    for _ in range(4):
        paper.beat()
    paper.settle()
    assert paper.statuses(id) == [codes.OK if retries else codes.LOST]
    assert other.address != engine.address and paper.begun[id, 0] == 1 + retries


def test_a_new_engine_is_not_taken_for_one_that_was_lost(paper: Paper) -> None:
    """Ids are not given again: the new one has never had what the other had begun."""
    engine, client = paper.add_engine(), paper.add_client()
    id = paper.submit(client)
    client.step(0)
    paper.step(3)
    taken(engine)
    engine.begin()
    client.peer.cut()
    paper.kill_engine(engine)
    for _ in range(4):
        paper.beat()
    paper.kill_controller()
    paper.add_engine()
    paper.step(3)
    assert [each.id for each in paper.station.fellows()] == [1]
    paper.settle()
    assert paper.begun[id, 0] == 1


def test_an_engine_comes_back_after_it_was_given_up(paper: Paper) -> None:
    """While tasks are queued: it gets them, and they run."""
    engine, client = paper.add_engine(), paper.add_client()
    paper.step(3)
    engine.cut()
    paper.casualties = True
    for _ in range(4):
        paper.beat()
        client.step(0)
    assert paper.station.fellows() == []
    ids = [paper.submit(client) for _ in range(3)]
    paper.settle()
    assert all(paper.statuses(id) == [codes.OK] for id in ids)


@pytest.mark.parametrize("waits", ["queued for one", "queued for two", "follows"])
def test_tasks_for_engines_that_are_still_to_come_back(paper: Paper, waits: str) -> None:
    """They were queued when the controller was killed, and are no less possible for it."""
    engines, client = [paper.add_engine(), paper.add_engine()], paper.add_client()
    paper.step(5)
    first = paper.submit(client, targets=frozenset((0,)), remembered=True)
    more: dict[str, Any] = {
        "queued for one": {"targets": frozenset((0,))},
        "queued for two": {"targets": frozenset((0, 1))},
        "follows": {"follow": Dependency(frozenset((first,)))},
    }[waits]
    seconds = [paper.submit(client, **more) for _ in range(3)]
    client.step(0)
    paper.step(3)
    assert taken(engines[0])[:1] == [first]
    engines[0].begin()
    paper.kill_controller()
    client.connect()
    for _ in range(4):
        client.step(0)
        paper.step(3)
    paper.settle()
    assert all(paper.statuses(id) == [codes.OK] for id in (first, *seconds))


def test_what_it_waited_for_has_ended_before(paper: Paper) -> None:
    """Its client tells the new controller how."""
    engine, client = paper.add_engine(), paper.add_client()
    first, long = paper.submit(client, remembered=True), paper.submit(client)
    second = paper.submit(client, after=Dependency(frozenset((first, long)), True, True, True))
    for _ in range(4):
        paper.advance()
        if paper.statuses(first):
            break
    paper.kill_controller()
    paper.settle()
    assert [paper.statuses(id) for id in (first, long, second)] == [[codes.OK]] * 3 and engine.alive


def test_a_map_that_was_cut(paper: Paper) -> None:
    """Each of its parts is where it was."""
    engine, client = paper.add_engine(), paper.add_client()
    id = paper.submit(client, kind=EACH, count=6, weight=6)
    client.step(0)
    paper.step(3)
    taken(engine)
    engine.begin()
    other = paper.add_engine()
    paper.step(3)
    paper.clock.now += 0.1
    paper.step(3)
    engine.obey()
    paper.step(3)
    assert len(taken(other)) == 1
    other.begin()
    other.finish()
    other.flush()
    paper.step(3)
    paper.kill_controller()
    paper.settle()
    assert paper.statuses(id) == [codes.OK] * 6 and all(paper.begun[id, item] == 1 for item in range(6))


def test_what_is_given_back_behind_a_hello(paper: Paper) -> None:
    """The hello says that the engine holds it; it does not any more, and takes nothing before it is answered."""
    engine, client = paper.add_engine(), paper.add_client()
    ids = [paper.submit(client) for _ in range(12)]
    rounds(paper, 30)
    late = [paper.submit(client) for _ in range(3)]
    client.step(0)
    paper.step(3)
    assert taken(engine) == late
    engine.begin()
    engine.cut()
    engine.connect()
    paper.step(1)
    taken(engine)  # its hello is on its way
    hello = paper.ports.inbox["work"].copy()
    paper.ports.inbox["work"].clear()
    other = paper.add_engine()
    paper.step(3)
    paper.clock.now += 0.1
    paper.step(1)
    engine.obey()
    other.die()
    paper.casualties = True
    paper.step(2)
    paper.ports.inbox["work"].extendleft(reversed(hello))
    paper.settle()
    assert all(paper.statuses(id) for id in (*ids, *late))


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("killed", ["", "engine first", "client first"])
def test_a_map_whose_cut_nobody_heard_of(paper: Paper, killed: str, ends: bool) -> None:
    """An engine gives back items, and the answer is lost on its way: what it says of itself tells of that, too."""
    engine, client = paper.add_engine(), paper.add_client()
    id = paper.submit(client, kind=EACH, count=6, weight=6)
    client.step(0)
    paper.step(3)
    taken(engine)
    engine.begin()
    paper.add_engine()
    paper.step(3)
    paper.clock.now += 0.1
    paper.step(3)
    engine.obey()
    assert engine.cut_at == [(id, 1)]
    engine.cut()
    if ends:
        engine.finish()
        engine.flush()
    if killed:
        paper.kill_controller()
    if killed == "client first":
        client.connect()
    else:
        engine.connect()
    for _ in range(5):
        paper.step(3)
        taken(engine)
        if client.peer.connected:
            client.step(0)
    paper.settle()
    assert paper.statuses(id) == [codes.OK] * 6 and all(paper.begun[id, item] == 1 for item in range(6))


def test_an_answer_that_comes_behind_the_hello(paper: Paper) -> None:
    """What was given back before it is not given back for a second time."""
    engine, client = paper.add_engine(), paper.add_client()
    for _ in range(12):
        paper.submit(client)
    rounds(paper, 30)
    late = [paper.submit(client) for _ in range(3)]
    client.step(0)
    paper.step(3)
    assert taken(engine) == late
    engine.begin()
    other = paper.add_engine()
    paper.step(3)
    paper.clock.now += 0.1
    paper.step(1)
    engine.obey()
    answer = paper.ports.inbox["control"].pop()
    engine.inbox["work"].append([encode(Who())])
    taken(engine)
    other.die()  # what it was given comes back to the first
    paper.casualties = True
    for _ in range(4):
        paper.step(3)
        taken(engine)
        paper.beat()
    paper.ports.inbox["control"].append(answer)
    paper.settle()
    assert all(paper.statuses(id) for id in late)


@pytest.mark.parametrize("heard", [True, False])
def test_first_calls_of_engines_that_came_before_their_client(paper: Paper, heard: bool) -> None:
    """What a client has every engine call first, those have called that were there; one that is new has not. Where the
    client has not heard that it was seen to, all of them are to call it."""
    old, client = paper.add_engine(), paper.add_client()
    client.greet(Function(KEY, b"blob", "function"), b"payload")
    paper.step(3)
    client.step(0)
    paper.step(3)
    assert taken(old) == [1]
    old.waiting.clear()
    old.pending.append(encode((1, codes.OK, 0, 1.0, 1.0, b"value", 0)))
    old.flush()
    paper.step(3)
    for _ in range(4 if heard else 0):
        client.step(0)
    paper.kill_controller()
    new = paper.add_engine()
    for _ in range(4):
        paper.step(3)
        taken(new)
    client.connect()
    for _ in range(4):
        client.step(0)
        paper.step(3)
    assert len(taken(new)) == 1
    old.connect()
    for _ in range(4):
        paper.step(3)
        taken(old)
    assert len(old.waiting) == (0 if heard else 1)
