"""What a controller finds of the time before, and what comes of it: nothing is lost, and nothing runs twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from paper import Paper, PaperEngine, on_paper
from paper_wires import Peer

from parpool import status as codes
from parpool.wire.messages import EACH

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
