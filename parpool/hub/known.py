"""What the memory store holds of a task, and the record that is made of it when somebody asks.

A plain task that has ended is a tuple of references, as making it must cost next to nothing::

    ((task, since), (task, outcome, engine), received)

with the first of these alone while it is pending. ``since`` is when it was submitted and the how manieth batch that
was. A task whose items end separately, and may be cut into parts, is a :class:`Many`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from ..core.state import Task
from ..status import OK
from .records import PENDING, ROOM, WORDS, Delivery, fit, name_of, outcome, text_of, waits_for

Since: TypeAlias = "tuple[float, int]"
Begun: TypeAlias = "tuple[Task, Since]"
Done: TypeAlias = "tuple[Begun, Delivery, float]"


class Many:
    """A task of which each item ends by itself."""

    __slots__ = ("task", "since", "id", "first", "count", "weight", "left", "outcomes", "ended")

    def __init__(self, task: Task, since: Since) -> None:
        self.task = task
        self.since = since
        self.id = task.origin
        self.first = task.first
        self.count = task.count  # noted now, as a cut lowers them
        self.weight = task.weight
        self.left = task.count - task.first
        self.outcomes: dict[int, tuple[Any, int | None, float]] = {}  #: outcome, engine, time, by item
        self.ended = False

    def take(self, outcome: Any, engine: int | None, now: float) -> int:
        """Another outcome; gives how many bytes it holds."""
        if outcome.item in self.outcomes:
            return 0
        self.outcomes[outcome.item] = outcome, engine, now
        self.left -= 1
        self.ended = self.left <= 0
        return held(result_of(outcome))

    def add(self, part: Task) -> None:
        """More of it, which was submitted as a part."""
        self.count = self.weight = max(self.count, part.count)
        self.left += part.count - part.first

    @property
    def size(self) -> int:
        """Bytes of results that it holds."""
        return sum([held(result_of(entry[0])) for entry in self.outcomes.values()])

    def strip(self) -> None:
        """Let go of the results."""
        self.outcomes = {item: (_stripped(each[0]), *each[1:]) for item, each in self.outcomes.items()}


Entry: TypeAlias = "Begun | Done | Many"


class Texts:
    """What a task has printed: as much of it as is kept."""

    __slots__ = ("pieces", "room", "size")

    def __init__(self) -> None:
        self.pieces: list[tuple[int, str]] = []
        self.room = dict(ROOM)
        self.size = 0

    def add(self, stream: int, text: str) -> int:
        """Keep another piece; gives how many bytes it holds, or nearly so many."""
        piece = fit(self.room, stream, text)
        if piece:
            self.pieces.append((stream, piece))
            self.size += len(piece)
        return len(piece)

    def text(self, stream: int) -> str:
        """What was written to a stream."""
        return "".join([text for each, text in list(self.pieces) if each == stream])


# -- bodies -------------------------------------------------------------------------------------------------------


class Gone:
    """Stands for a body that is no longer kept."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


class _Stripped:
    """A report without its result."""

    __slots__ = ("status", "item", "started", "completed", "payload")

    def __init__(self, report: Any) -> None:
        self.status, self.item = report.status, report.item
        self.started, self.completed = report.started, report.completed
        self.payload = Gone(len(report.payload))


def held(body: Any) -> int:
    """How many bytes are held of a body."""
    return 0 if type(body) is Gone else len(body)


def result_of(outcome: Any) -> Any:
    """The body of an outcome; one that the scheduler decided on has none."""
    return outcome.payload if outcome.status >= OK else b""


def body(payload: Any) -> bytes | None:
    """A body for an answer."""
    return None if type(payload) is Gone else bytes(payload)


def _stripped(outcome: Any) -> Any:
    return _Stripped(outcome) if outcome.status >= OK else outcome


def size_of(entry: Done | Many) -> int:
    """Bytes that the bodies of an ended task hold."""
    if isinstance(entry, Many):
        return held(entry.task.payload) + entry.size
    return held(entry[0][0].payload) + held(result_of(entry[1][1]))


def strip(entry: Done | Many) -> Done | Many:
    """An ended task without its bodies."""
    if isinstance(entry, Many):
        entry.strip()
        entry.task = _bare(entry.task)
        return entry
    (task, since), (_, report, engine), now = entry
    task = _bare(task)
    return (task, since), (task, _stripped(report), engine), now


def _bare(task: Task) -> Task:
    bare = copy.copy(task)
    bare.payload = Gone(len(task.payload))
    return bare


# -- records ------------------------------------------------------------------------------------------------------


def place(entry: Entry) -> tuple[int, int]:
    """By what tasks are in the order of submission."""
    if isinstance(entry, Many):
        return entry.since[1], entry.id
    begun: Any = entry if len(entry) == 2 else entry[0]
    return begun[1][1], begun[0].id


class Known:
    """A task as a record, of which only that is made which is asked for."""

    __slots__ = ("task", "since", "number", "count", "weight", "outcomes", "ended", "texts", "_names", "_uids")

    def __init__(self, entry: Entry, names: Mapping[bytes, str], uids: Mapping[int, str]) -> None:
        self.texts: Texts | None = None  #: what it has printed
        self._names, self._uids = names, uids
        if isinstance(entry, Many):
            self.task, self.since, self.number = entry.task, entry.since, entry.id
            self.count, self.weight = entry.count, entry.weight
            self.ended = entry.ended  # looked at first: the last outcome may come in now
            self.outcomes = sorted(dict(entry.outcomes).items())
            return
        begun: Any = entry if len(entry) == 2 else entry[0]
        self.task, self.since = begun
        self.number, self.count, self.weight = self.task.id, 1, self.task.weight
        self.ended = len(entry) == 3
        self.outcomes = [(0, (entry[1][1], entry[1][2], entry[2]))] if len(entry) == 3 else []

    def __getitem__(self, key: str) -> Any:
        return _MAKE[key](self)

    @property
    def client(self) -> str:
        """The uuid of its client."""
        name: str = self.task.door.name
        return name

    @property
    def last(self) -> tuple[Any, int | None, float] | None:
        """The outcome that came in last, its engine and its time, where all have."""
        return max(self.outcomes, key=lambda each: (each[1][2], each[0]))[1] if self.ended else None

    @property
    def engine(self) -> int | None:
        """Where the last outcome came from."""
        return self.last[1] if self.last is not None else None

    @property
    def status(self) -> str:
        """How it ended, in a word."""
        if not self.ended:
            return PENDING
        return next((WORDS[entry[0].status] for _, entry in self.outcomes if entry[0].status != OK), WORDS[OK])

    def times(self, which: str) -> list[float]:
        """When its outcomes started or completed, as far as engines have said."""
        if not self.ended:
            return []
        return [when for _, (each, _, _) in self.outcomes if each.status >= OK and (when := getattr(each, which))]

    @property
    def result(self) -> list[dict[str, Any]]:
        """Its outcomes so far."""
        return [
            outcome(
                item, each.status, engine, self.uid(engine), each.started, each.completed, now, body(each.payload), None
            )
            if each.status >= OK
            else outcome(item, each.status, engine, self.uid(engine), None, None, now, None, text_of(each.detail or ""))
            for item, (each, engine, now) in self.outcomes
        ]

    def uid(self, engine: int | None) -> str | None:
        """The uuid of an engine."""
        return None if engine is None else self._uids.get(engine)

    @property
    def name(self) -> str:
        """The name of its function."""
        return self._names.get(self.task.function, "")

    def text(self, stream: int) -> str:
        """What it has written to a stream."""
        return "" if self.texts is None else self.texts.text(stream)

    def names(self, numbers: Iterable[int]) -> list[str]:
        """The msg_ids of other tasks of its client."""
        return [name_of(self.client, number) for number in numbers]

    def some(self, keys: Iterable[str]) -> dict[str, Any]:
        """A dict of some of its keys."""
        return {key: _MAKE[key](self) for key in keys}


_MAKE: dict[str, Callable[[Known], Any]] = {
    "msg_id": lambda known: name_of(known.client, known.number),
    "client": lambda known: known.client,
    "name": lambda known: known.name,
    "submitted": lambda known: known.since[0],
    "started": lambda known: min(known.times("started"), default=None),
    "completed": lambda known: max(known.times("completed"), default=None),
    "received": lambda known: known.last[2] if known.last is not None else None,
    "engine_id": lambda known: known.engine,
    "engine_uuid": lambda known: known.uid(known.engine),
    "status": lambda known: known.status,
    "after": lambda known: known.names(waits_for(known.task.after)),
    "follow": lambda known: known.names(waits_for(known.task.follow)),
    "retries": lambda known: known.task.retries,
    "items": lambda known: max(known.count, known.weight),
    "targets": lambda known: None if known.task.targets is None else sorted(known.task.targets),
    "stdout": lambda known: known.text(1),
    "stderr": lambda known: known.text(2),
    "size_in": lambda known: len(known.task.payload),
    "size_out": lambda known: sum([len(result_of(entry[0])) for _, entry in known.outcomes]) if known.ended else 0,
    "request": lambda known: body(known.task.payload),
    "result": lambda known: known.result,
}
