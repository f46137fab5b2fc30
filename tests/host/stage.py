"""A station with real sockets, whose engines and clients are a test."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parpool import __version__
from parpool import status as codes
from parpool.host.clients import Clients
from parpool.host.journal import Journal
from parpool.host.ports import Ports
from parpool.host.station import Station
from parpool.net.sockets import Context, Poller
from parpool.shm.session import Session
from parpool.wire import messages, requests
from parpool.wire.messages import Done, GivenBack, Hello, Outcome, Work, encode
from parpool.wire.requests import SHIFT, ClientHello, Definition, Order, Stamp, Submit, Welcome

MISSES = 2
ELSEWHERE = "another-machine"  # so that nobody looks for its processes here


class Far:
    """A far end of the stage's sockets."""

    def __init__(self, stage: Stage, name: str, *ports: str) -> None:
        self.stage = stage
        self.name = name
        self.context = Context()
        self.sockets = {port: self.context.dealer(stage.ports.addresses[port], name) for port in ports}

    def receive(self, port: str, decode: Callable[[bytes], Any], kind: type | None = None) -> Any:
        """The next message of this kind; the others before it are dropped."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            self.stage.station.step(0.005)
            while (frames := self.sockets[port].receive(wait=False)) is not None:
                message = decode(frames[0])
                if kind is None or isinstance(message, kind):
                    return message
        raise AssertionError(f"{self.name} was sent no {kind}")

    def nothing(self, port: str) -> None:
        """Nothing comes."""
        self.stage.steps()
        frames = self.sockets[port].receive(wait=False)
        assert frames is None, frames

    def answer_heart(self) -> None:
        while (frames := self.sockets["heart"].receive(wait=False)) is not None:
            self.sockets["heart"].send(frames[0])

    def close(self) -> None:
        self.context.close()


class Engine(Far):
    """An engine."""

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(stage, name, "work", "control", "heart")
        stage.ends.append(self)

    def hello(self, held: list[int] | None = None, first: int = 1, last: int = 0, said: int = 0) -> None:
        self.say(Hello(messages.PROTOCOL, __version__, 0, ELSEWHERE, held, first, last, said))

    def say(self, message: Any) -> None:
        self.sockets["work"].send(encode(message))

    def order(self, message: Any) -> None:
        self.sockets["control"].send(encode(message))

    def done(self, number: int, *ids: int) -> None:
        self.say(Done([Outcome(id, codes.OK, 0, 1.0, 2.0, b"%d" % id, 0) for id in ids], number))

    def work(self, kind: type = Work) -> Any:
        return self.receive("work", messages.to_engine, kind)

    def told(self, kind: type) -> Any:
        return self.receive("control", messages.to_control, kind)


class Client(Far):
    """A client."""

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(stage, name, "client", "heart")
        stage.ends.append(self)
        self.turn = self.said = 0
        self.number = 0
        self.count = 0

    def hello(self, instance: str = "", got: int = 0, number: int | None = None) -> Any:
        self.turn, self.said = self.turn + 1, 0
        number = self.number if number is None else number
        hello = ClientHello(messages.PROTOCOL, __version__, self.name, number, instance, got, self.turn, None, {})
        self.sockets["client"].send(encode(hello))
        welcome = self.hears(Welcome)
        self.number = welcome.number
        return welcome

    def say(self, message: Any) -> None:
        self.said += 1
        self.sockets["client"].send(encode(message), [encode(Stamp(self.turn, self.said))])

    def submit(self, *counts: int, again: bool = False) -> list[int]:
        ids = [self.number << SHIFT | count for count in counts]
        orders = [Order(id, b"function", b"payload", 0, 0, 1, 1, 0, -1) for id in ids]
        self.say(Submit(orders, [], [Definition(b"function", b"blob", "f")], again))
        return ids

    def hears(self, kind: type | None = None) -> Any:
        return self.receive("client", requests.to_client, kind)


class Driven:
    """Something with a station that is driven by hand."""

    station: Station

    def steps(self, times: int = 5) -> None:
        for _ in range(times):
            self.station.step(0.005)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            self.station.step(0.005)


class Stage(Driven):
    """A station with real sockets in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.session = Session()
        self.ports = Ports(self.session, "", {}, {})
        self.journal = Journal(folder / "journal")
        self.station = Station(self.session, self.ports, self.journal, misses=MISSES, policy="leastload")
        numbers = iter(range(100, 10_000))
        self.clients = Clients(self.station, "instance", False, lambda below: next(numbers), self.ask)
        self.station.on_client, self.station.on_client_lost = self.clients.heed, self.clients.lost
        self.station.on_news = self.clients.tell
        self.station.start()
        past = self.journal.read()
        self.journal.begin(past)
        self.station.follow(past)
        self.ends: list[Far] = []

    def ask(self, door: Any, what: str, about: dict[str, Any], reply: Callable[..., None]) -> None:
        reply(f"{what} {sorted(about)}")

    def beats(self, times: int, *answering: Far) -> None:
        """Intervals of the heartbeat, in which these answer."""
        for _ in range(times):
            self.station.beat()
            poller = Poller()
            for end in answering:
                poller = Poller()
                poller.add(end.sockets["heart"])
                poller.poll(0.5)
                end.answer_heart()
            self.steps(3)

    def engine(self, name: str) -> Engine:
        """An engine that serves."""
        engine = Engine(self, name)
        engine.hello()
        self.until(lambda: any(each.uid == name for each in self.station.fellows()))
        engine.order(GivenBack([], []))  # so that it is known there, too
        self.steps(2)
        return engine

    def client(self, name: str = "client") -> Client:
        client = Client(self, name)
        client.hello()
        return client

    def close(self, remove: bool = True) -> None:
        for end in self.ends:
            end.close()
        self.journal.close(remove)
        self.station.close()
