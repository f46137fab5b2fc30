"""What a controller finds of the time before, and what comes of it: nothing is lost, and nothing runs twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from paper import Paper, PaperEngine, on_paper
from paper_wires import Peer

from parpool import status as codes
from parpool.core.state import Dependency
from parpool.host.members import Death
from parpool.wire.messages import EACH, Who, encode

Rule = TypeVar("Rule", bound=Callable[..., Any])


def some(test: Callable[[PaperEngine], object]) -> Callable[[Rule], Rule]:
    """A rule for when a living engine is such."""
    return precondition(lambda self: any(test(engine) for engine in self.living))


class Story(RuleBasedStateMachine):
    """Clients, engines, connections and controllers, all at odds."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.paper: Paper = self.stack.enter_context(on_paper())

    @property
    def living(self) -> list[PaperEngine]:
        return [engine for engine in self.paper.engines if engine.alive]

    def pick(self, data: st.DataObject, test: Callable[[PaperEngine], object]) -> PaperEngine:
        numbers = [number for number, engine in enumerate(self.paper.engines) if engine.alive and test(engine)]
        return self.paper.engines[data.draw(st.sampled_from(numbers), label="engine")]

    def peer(self, data: st.DataObject, connected: bool) -> Peer:
        peers = [peer for peer in self.paper.peers() if peer.connected is connected]
        return peers[data.draw(st.integers(0, len(peers) - 1), label="peer")]

    @initialize(engines=st.integers(1, 2), clients=st.integers(1, 2))
    def start(self, engines: int, clients: int) -> None:
        for _ in range(engines):
            self.paper.add_engine()
        for _ in range(clients):
            self.paper.add_client()

    @rule(
        data=st.data(),
        copies=st.sampled_from([1, 2, 6]),
        items=st.sampled_from([1, 1, 1, 4]),
        retries=st.sampled_from([0, 0, 0, 1]),
    )
    def submit(self, data: st.DataObject, copies: int, items: int, retries: int) -> None:
        client = data.draw(st.sampled_from(range(len(self.paper.clients))), label="client")
        more: dict[str, Any] = {"retries": retries} if retries else {}
        if items > 1:
            more.update(kind=EACH, count=items, weight=items)
        for _ in range(copies):
            self.paper.submit(self.paper.clients[client], **more)

    @rule(data=st.data())
    def client_steps(self, data: st.DataObject) -> None:
        self.paper.clients[data.draw(st.sampled_from(range(len(self.paper.clients))), label="client")].step(0)

    @rule(times=st.sampled_from([1, 1, 3]))
    def controller_steps(self, times: int) -> None:
        self.paper.step(times)

    @precondition(lambda self: len(self.living) < 4)
    @rule()
    def add_engine(self) -> None:
        self.paper.add_engine()

    @some(lambda engine: engine.inbox.get("work"))
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        self.pick(data, lambda engine: engine.inbox.get("work")).take()

    @some(lambda engine: engine.inbox.get("control"))
    @rule(data=st.data(), look=st.booleans())
    def obey(self, data: st.DataObject, look: bool) -> None:
        self.pick(data, lambda engine: engine.inbox.get("control")).obey(look)

    @some(lambda engine: engine.item is None and (engine.waiting or engine.current))
    @rule(data=st.data(), also=st.sampled_from(["", "finish", "flush"]))
    def begin(self, data: st.DataObject, also: str) -> None:
        engine = self.pick(data, lambda engine: engine.item is None and (engine.waiting or engine.current))
        engine.begin()
        if also:
            engine.finish()
        if also == "flush":
            engine.flush()

    @some(lambda engine: engine.item is not None)
    @rule(data=st.data(), status=st.sampled_from([codes.OK, codes.OK, codes.ERROR]))
    def finish(self, data: st.DataObject, status: int) -> None:
        self.pick(data, lambda engine: engine.item is not None).finish(status)

    @some(lambda engine: engine.pending)
    @rule(data=st.data())
    def flush(self, data: st.DataObject) -> None:
        self.pick(data, lambda engine: engine.pending).flush()

    @precondition(lambda self: any(peer.connected for peer in self.paper.peers()))
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        self.peer(data, True).cut()

    @precondition(lambda self: not all(peer.connected for peer in self.paper.peers()))
    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        peer = self.peer(data, False)
        for client in self.paper.clients:
            if client.peer is peer:
                client.connect()
                return
        peer.connect()

    @rule()
    def everybody_connects(self) -> None:
        for client in self.paper.clients:
            if not client.peer.connected:
                client.connect()
        for engine in self.living:
            if not engine.connected:
                engine.connect()

    @rule(rounds=st.sampled_from([1, 3, 10]))
    def advance(self, rounds: int) -> None:
        """The common way of things, so that much comes to pass within one example."""
        for _ in range(rounds):
            self.paper.advance()

    @rule()
    def beat(self) -> None:
        self.paper.beat()

    @rule(seconds=st.sampled_from([0.001, 0.01]))
    def pass_time(self, seconds: float) -> None:
        self.paper.clock.now += seconds

    @rule()
    def kill_controller(self) -> None:
        self.paper.kill_controller()

    def teardown(self) -> None:
        """When all are there and obey, everything ends."""
        try:
            self.paper.add_engine()
            self.paper.settle()
        finally:
            self.stack.close()


class Deaths(Story):
    """And engines die, too."""

    @some(lambda engine: True)
    @rule(data=st.data())
    def kill_engine(self, data: st.DataObject) -> None:
        self.paper.kill_engine(self.pick(data, lambda engine: True))


class TestStory(Story.TestCase):  # type: ignore[misc, valid-type] # hypothesis makes it
    """As a test."""

    settings = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,  # for the same examples each time; who looks for more gives it a seed
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


class TestDeaths(Deaths.TestCase):  # type: ignore[misc, valid-type]
    """As a test."""

    settings = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,  # for the same examples each time; who looks for more gives it a seed
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


@pytest.fixture
def paper() -> Iterator[Paper]:
    with on_paper() as made:
        yield made


# In words -------------------------------------------------------------------------------------------------


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


def test_what_was_lost_before_its_client_heard_of_it(paper: Paper) -> None:
    """The engine comes back, the controller is killed, the client submits it again: it has begun, all the same."""
    engine, client = paper.add_engine(), paper.add_client()
    id = paper.submit(client)
    client.step(0)
    paper.step(3)
    taken(engine)
    engine.begin()
    client.peer.cut()
    engine.cut()
    paper.casualties = True
    for _ in range(4):
        paper.beat()
    engine.finish()
    engine.flush()
    engine.connect()
    for _ in range(6):
        taken(engine)
        while engine.obey():
            pass
        paper.step(3)
        paper.beat()
    paper.kill_controller()
    paper.settle()
    assert paper.begun[id, 0] == 1


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


def test_items_that_were_lost_before_their_client_heard_of_it(paper: Paper) -> None:
    """The rest of them is queued again, the controller is killed: those that had begun do not run again."""
    engine, client = paper.add_engine(), paper.add_client()
    id = paper.submit(client, kind=EACH, count=6, weight=6)
    client.step(0)
    paper.step(3)
    taken(engine)
    for _ in range(3):
        engine.begin()
        engine.finish()
        engine.flush()
    paper.step(3)
    engine.begin()
    client.peer.cut()
    paper.casualties = True
    member = paper.station.members.by_address[engine.address]
    lost = Death(member, "it is dead", [], (id, 3), True)
    with patch.object(paper.station.members, "bury", lambda gone, silent: [lost]):
        paper.station._lose([member.uid])
    engine.die()
    del paper.station.members.by_address[member.address], paper.station.members.by_id[member.id]
    paper.kill_controller()
    paper.add_engine()
    paper.settle()
    assert paper.statuses(id) == [codes.LOST] * 4 + [codes.OK] * 2
    assert all(paper.begun[id, item] == 1 for item in range(6))
