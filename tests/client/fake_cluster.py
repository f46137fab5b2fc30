"""The sockets that a controller has for clients, and a far host that is driven by hand."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from typing import Any

from parpool.client.far import Far
from parpool.core.effects import Ending
from parpool.core.state import Task
from parpool.net.address import Connection
from parpool.net.sockets import Context
from parpool.wire.functions import Function
from parpool.wire.messages import PROTOCOL, encode
from parpool.wire.requests import (
    SHIFT,
    ClientHello,
    Delivery,
    Result,
    Stamp,
    Welcome,
    from_client,
    to_stamp,
)

NUMBER = 7


class Door:
    """Where the outcomes of a far host's tasks go."""

    def __init__(self) -> None:
        self.delivered: list[tuple[int, int, int]] = []
        self.outcomes: list[Any] = []
        self.text: list[tuple[int, int, int, str]] = []

    def deliver(self, task: Task, outcome: Any, engine: int | None) -> None:
        self.delivered.append((task.id, outcome.item, outcome.status))
        self.outcomes.append(outcome)

    def printed(self, task: Task, engine: int, stream: int, text: str) -> None:
        self.text.append((task.id, engine, stream, text))


class FakeController:
    """Says to one client what a test wants."""

    def __init__(self, patience: float = 30.0) -> None:
        self.folder = tempfile.mkdtemp(prefix="s-", dir="/tmp")
        addresses = {name: f"ipc://{self.folder}/{name}" for name in ("client", "heart")}
        self.connection = Connection(
            "client", "c", "p", addresses, "", "", "", 1, socket.gethostname(), "0", PROTOCOL, 0.0
        )
        self.open()
        self.far = Far(self.connection, patience, None)
        self.name = self.far.name.encode()
        self.door = Door()
        self.lost: list[BaseException] = []
        self.changes = 0
        self.far.on_lost, self.far.on_change = self.lost.append, self._change
        self.taken_in = 0  #: messages that have come to the client
        self.take_in, self.far._take_in = self.far._take_in, self._take_in  # type: ignore[method-assign]
        self.count = 0
        self.stamps: list[Stamp] = []
        self.frames: list[bytes] = []

    def _change(self) -> None:
        self.changes += 1

    def _take_in(self, frames: list[bytes]) -> None:
        self.taken_in += 1
        self.take_in(frames)

    def open(self) -> None:
        self._context = Context()
        self.clients = self._context.router(self.connection.addresses["client"], domain="clients")
        self.heart = self._context.router(self.connection.addresses["heart"], domain="both")

    def restart(self) -> None:
        """Another one takes the place of this one, which was killed."""
        self._context.close()
        self.open()

    # -- both sides in turn -----------------------------------------------------------------------------------

    def until(self, condition: Callable[[], Any], seconds: float = 5) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "it does not come about"
            self.far.step(0.005)
        return found

    def hears(self, kind: type, seconds: float = 5) -> Any:
        """The next message of this kind; others are dropped."""

        def look() -> Any:
            while (message := self.clients.receive()) is not None:
                assert message[0] == self.name
                content = from_client(message[1][0])
                frames = message[1][1:]
                if not isinstance(content, ClientHello):
                    self.stamps.append(to_stamp(frames.pop()))
                self.frames = frames
                if isinstance(content, kind):
                    return content
            return None

        return self.until(look, seconds)

    def nothing(self, kind: type) -> None:
        """No message of this kind comes."""
        for _ in range(6):
            self.far.step(0.005)
        while (message := self.clients.receive()) is not None:
            assert not isinstance(from_client(message[1][0]), kind), from_client(message[1][0])

    def say(self, message: Any, *frames: bytes) -> None:
        """Say it, and let the client take it in, where it listens, and do what follows from it."""
        assert self.clients.send(self.name, encode(message), frames)
        taken_in, deadline = self.taken_in, time.monotonic() + 2
        while self.taken_in == taken_in and time.monotonic() < deadline:
            self.far.step(0.01)
        for _ in range(2):
            self.far.step(0.01)

    def welcome(self, instance: str = "one", again: bool = False, next: int = 1, engines: Any = ()) -> ClientHello:
        """Answer the next hello."""
        hello: ClientHello = self.hears(ClientHello)
        self.say(Welcome(NUMBER, instance, again, list(engines), next, hello.turn))
        self.until(lambda: self.far.number)
        return hello

    # -- tasks ------------------------------------------------------------------------------------------------

    def submit(self, **more: Any) -> int:
        self.count += 1
        id = NUMBER << SHIFT | self.count
        if b"function" not in self.far.known:
            self.far.define(Function(b"function", b"blob", "f"))
        task = Task(id, b"function", more.pop("payload", b"payload"), self.door)
        vars(task).update(more)
        self.far.submit(task)
        self.far.step(0)
        return id

    def deliver(self, number: int, *ids: int, status: int = 0, item: int = 0) -> None:
        self.say(Delivery(number, [Result(id, status, item, 1.0, 2.0, b"value", 0, 3) for id in ids]))

    def ended(self) -> list[int]:
        return [id for id, _, _ in self.door.delivered]

    def reasons(self) -> list[Any]:
        return [each.detail for each in self.door.outcomes if isinstance(each, Ending)]

    def close(self) -> None:
        self.far.close(False)
        self._context.close()
        shutil.rmtree(self.folder)
