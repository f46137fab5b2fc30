"""What clients have done on every engine before anything else of theirs, also on engines that join later: the
initializers of pools."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..core.state import Task
from ..status import OK
from ..wire.messages import encode
from ..wire.requests import Failed
from .doors import Door

if TYPE_CHECKING:
    from .station import Station


class Greetings:
    """The first calls of each client. Their tasks are the controller's own, numbered below those of all clients."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._calls: list[tuple[Door, bytes, bytes]] = []
        self._next = itertools.count(1).__next__

    def add(self, door: Door, function: bytes, payload: bytes) -> None:
        """From here on, every engine that joins calls this first."""
        self._calls.append((door, function, payload))

    def for_all(self, door: Door, function: bytes, payload: bytes, engines: Iterable[int]) -> list[Task]:
        """The tasks by which these engines call it now."""
        return [self._task(door, function, payload, id) for id in engines]

    def for_one(self, engine: int) -> list[Task]:
        """The tasks with which an engine that has just joined begins."""
        self._calls = [each for each in self._calls if not each[0].closed]
        return [self._task(*each, engine) for each in self._calls]

    def _task(self, door: Door, function: bytes, payload: bytes, engine: int) -> Task:
        return Task(self._next(), function, payload, _Listener(door, self._station), targets=frozenset((engine,)))


class _Listener:
    """Where the outcome of a first call goes: the client hears of it where it has failed."""

    __slots__ = ("name", "_door", "_station")

    def __init__(self, door: Door, station: Station) -> None:
        self.name = door.name
        self._door = door
        self._station = station

    def deliver(self, task: Task, outcome: Any, engine: int | None) -> None:
        if outcome.status > OK and not self._door.closed:
            message = Failed(-1 if engine is None else engine, outcome.payload)
            self._station.to_client(self._door.address, encode(message))

    def printed(self, task: Task, engine: int, stream: int, text: str) -> None:
        """Nobody listens."""
