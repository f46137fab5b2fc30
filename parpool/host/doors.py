"""Doors: the ways from a controller to its clients."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..core.state import Task
from ..status import ABORTED, UNMET
from ..wire.messages import INLINE, encode
from ..wire.requests import Delivery, Text, to_client
from .receipts import Source

#: Results of a client that does not answer are kept, up to this many bytes.
KEPT_BYTES = 256 * 2**20
TOO_MUCH = b"its result was dropped while its client was away, as there were too many"


class Door:
    """One client. Outcomes gather here in a step of the loop, and leave in one message at its end.

    What has left is kept until the client has said that it arrived.
    """

    __slots__ = (
        "name",
        "address",
        "number",
        "facts",
        "keep",
        "here",
        "closed",
        "functions",
        "turn",
        "heard",
        "_hall",
        "_results",
        "_frames",
        "_sources",
        "_source",
        "_delivered",
        "_unacknowledged",
        "_bytes",
    )

    def __init__(self, name: str, number: int, hall: Hall) -> None:
        self.name = name
        self.address = name.encode()
        self.number = number
        self.facts: dict[str, str | int] = {}
        self.keep = False  #: its tasks go on when it is lost
        self.here = True  #: it answers
        self.closed = False  #: it has left
        self.functions: dict[bytes, bytes] = {}  #: keys of those that it has defined, each by itself
        self.turn = 0  #: the last hello of it
        self.heard = 0  #: messages since then
        self._hall = hall
        self._results: list[tuple[Any, ...]] = []
        self._frames: list[bytes] = []
        self._sources: list[Source] = []  #: of the results that gather
        self._source: Source | None = None  #: the last of them
        self._delivered = 0
        self._unacknowledged: deque[tuple[int, bytes, Sequence[bytes], list[Source]]] = deque()
        self._bytes = 0

    def deliver(self, task: Task, outcome: Any, engine: int | None) -> None:
        """An outcome of a task of this client."""
        if self.closed:
            return
        if not self._results:
            self._hall.dirty.append(self)
        source = self._hall.source
        if source is not None and source is not self._source:
            source.pending += 1
            self._source = source
            self._sources.append(source)
        id = task.origin
        status, item = outcome.status, outcome.item
        where = -1 if engine is None else engine
        if status < 0:
            held = [0] if task.engine is not None else []
            reason = str(outcome.detail).encode("utf-8", "replace")
            self._results.append((id, status, item, 0.0, 0.0, reason, 0, where, held))
            return
        payload, frames = outcome.payload, 0
        if len(payload) > INLINE:
            self._frames.append(payload)
            payload, frames = b"", 1
        more = sorted(task.excluded or ()) if status == UNMET else None
        self._results.append((id, status, item, outcome.started, outcome.completed, payload, frames, where, more))

    def printed(self, task: Task, engine: int, stream: int, text: str) -> None:
        """A task has written to a stream."""
        if not self.closed:
            self.flush()  # what came before
            self._hall.send(self, encode(Text(task.origin, engine, stream, text)))

    def flush(self) -> None:
        """Send what has gathered."""
        if not self._results:
            return
        self._delivered += 1
        header = encode(Delivery(self._delivered, self._results))  # type: ignore[arg-type]  # tuples: the same bytes
        frames, sources = self._frames, self._sources
        self._results, self._frames, self._sources, self._source = [], [], [], None
        self._unacknowledged.append((self._delivered, header, frames, sources))
        self._bytes += len(header) + sum(map(len, frames))
        self._hall.send(self, header, frames)
        if not self.here and self._bytes > KEPT_BYTES:
            self._shed()

    def _shed(self) -> None:
        """Nobody may ever come for it: of the older half of the results that are kept, keep only that there were some."""
        for place, (number, header, frames, sources) in enumerate(self._unacknowledged):
            if self._bytes <= KEPT_BYTES // 2:
                return
            delivery = to_client(header)
            if not isinstance(delivery, Delivery):
                continue
            results: list[tuple[Any, ...]] = [
                (each.id, ABORTED, each.item, 0.0, 0.0, TOO_MUCH, 0, each.engine, []) for each in delivery.results
            ]
            left = encode(Delivery(number, results))  # type: ignore[arg-type]
            self._bytes -= len(header) + sum(map(len, frames)) - len(left)
            self._unacknowledged[place] = number, left, [], []
            for source in sources:
                source.taken()

    def got(self, number: int) -> None:
        """The client has all deliveries up to this number."""
        waiting = self._unacknowledged
        while waiting and waiting[0][0] <= number:
            _, header, frames, sources = waiting.popleft()
            self._bytes -= len(header) + sum(map(len, frames))
            for source in sources:
                source.taken()

    @property
    def next(self) -> int:
        """The number of the delivery with which :meth:`again` begins."""
        return self._unacknowledged[0][0] if self._unacknowledged else self._delivered + 1

    def again(self) -> None:
        """It has come back: send what it may not have."""
        for _, header, frames, _ in self._unacknowledged:
            self._hall.send(self, header, frames)

    def unacknowledged(self) -> list[bytes]:
        """The headers of deliveries that may not have arrived."""
        return [header for _, header, _, _ in self._unacknowledged]

    def close(self) -> None:
        """It has left, and wants nothing more."""
        self.closed = True
        self._results, self._frames = [], []
        for source in self._sources:
            source.taken()
        self._sources = []
        self.got(self._delivered)


class Hall:
    """What all doors share: where they send, and what is being read."""

    def __init__(self, send: Callable[[bytes, bytes, Sequence[bytes]], object]) -> None:
        self.dirty: list[Door] = []  #: those where something has gathered
        self.source: Source | None = None  #: the message of an engine whose outcomes come now
        self._send = send

    def send(self, door: Door, header: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send a message to a client, if it is there."""
        self._send(door.address, header, frames)

    def flush(self) -> None:
        """Send what has gathered at all doors."""
        dirty, self.dirty = self.dirty, []
        for door in dirty:
            door.flush()
