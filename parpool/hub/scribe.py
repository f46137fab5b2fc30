"""What was handed in, as rows: one transaction for many events.

Events may come twice, where a transaction has failed at its end or a controller was killed: then the first counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from ..core.state import Task
from ..status import OK
from . import tables
from .inserts import LARGE, ByValues, inserts
from .records import ROOM, Delivery, fit, text_of, waits_for
from .tables import COUNTER, MASK, REQUEST, text_part

pack = msgspec.msgpack.encode

LARGEST = 2**28  #: bytes of a body; a larger one is not kept
STATEMENT = 32 * 2**20  #: bytes of bodies in one statement, but for the last of them
NAMES = 16384  #: functions whose names are remembered
USUAL = (0, 1, 1, 0, None, None, None)  #: kind, count, weight, retries, limit, targets and policy of most tasks


class Open:
    """A task of several outcomes that has not ended."""

    __slots__ = ("ranges", "left")

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []  #: the items that were submitted
        self.left = 0  #: outcomes that are still to come, or fewer where some came twice or were rolled back

    def add(self, first: int, count: int) -> None:
        """More of it."""
        self.ranges.append((first, count))
        self.left += count - first

    def has(self, first: int, count: int) -> bool:
        """Was that submitted before?"""
        return any(start <= first and count <= end for start, end in self.ranges)

    def remove(self, first: int, count: int) -> None:
        """That of it is to come again."""
        self.ranges.remove((first, count))
        self.left -= count - first


class Snapshot(NamedTuple):
    """A task of several items as it was when it was submitted: a cut lowers its count."""

    task: Task
    first: int
    items: int
    weight: int


class Scribe:
    """Writes events, in a transaction that is another's: :meth:`write`, and then :meth:`committed` or
    :meth:`rolled_back`."""

    def __init__(self, kind: str, largest: int = LARGEST) -> None:
        self._kind = kind
        self._largest = largest
        ends = ", ".join(f"{name} = excluded.{name}" for name in tables.ENDED[1:])
        nothing = "DO NOTHING"
        once = f"(id) DO UPDATE SET {ends} WHERE {tables.tasks.name}.ended IS NULL"
        self._tasks = inserts(kind, tables.tasks, tables.SUBMITTED, nothing)
        self._ends = inserts(kind, tables.tasks, tables.ENDED, once)
        self._outcomes = inserts(kind, tables.outcomes, tables.outcomes.columns.keys(), nothing)
        self._bodies = inserts(kind, tables.bodies, tables.bodies.columns.keys(), nothing)
        mark = "?" if kind == "sqlite" else "%s"
        self._large_bodies = ByValues(mark, tables.bodies, tables.bodies.columns.keys(), nothing)
        self._terms: dict[Any, bytes] = {}
        self._names: dict[bytes, str] = {}
        self._doors: dict[tuple[str, int], int] = {}
        self._engines: dict[int | None, int | None] = {}
        self._uids: dict[int, str] = {}
        self._open: dict[int, Open] = {}
        self._rooms: dict[int, dict[int, int]] = {}  #: for what tasks print that have not ended
        self._begin()

    def _begin(self) -> None:
        self._rows: list[tuple[Any, ...]] = []
        self._ended: dict[int, tuple[Any, ...]] = {}
        self._several: list[tuple[Any, ...]] = []  #: outcomes that have a row of their own
        self._parts: list[tuple[Any, ...]] = []  #: bodies
        self._large_parts: list[tuple[Any, ...]] = []
        self._added: list[tuple[int, int, int]] = []  #: to what is open
        self._touched: set[int] = set()
        self._whole: list[int] = []
        self._bytes = self._blobs = 0

    def rolled_back(self) -> None:
        """What was written is not in the database."""
        self._doors.clear()
        self._engines.clear()
        for key, first, count in self._added:
            known = self._open.get(key)
            if known is not None:
                known.remove(first, count)
                if not known.ranges:
                    del self._open[key]
        self._begin()

    def committed(self) -> None:
        """What was written is in the database."""
        for id in self._whole:
            self._open.pop(id, None)
        if self._rooms:
            for id in self._ended:
                self._rooms.pop(id, None)
        self._begin()

    def write(self, connection: Connection, events: Iterable[tuple[str, tuple[Any, ...]]]) -> int:
        """Write events, of which each is the name of a method and its arguments; gives how many records are new."""
        self._begin()
        self._connection = connection
        statement = sa.select(tables.meta.c.value).where(tables.meta.c.name == "serial").with_for_update()
        self._serial: int = connection.scalar(statement) or 0  # and keeps others who write out, until the end
        for method, arguments in events:
            getattr(self, method)(*arguments)
        records = self._tasks.run(connection, self._rows)
        self._outcomes.run(connection, self._several)
        self._whole = [id for id in self._touched if self._open[id].left <= 0 and self._is_whole(id)]
        self._ends.run(connection, list(self._ended.values()))
        self._write_bodies(connection)
        numbers = {"bytes": self._bytes, "blobs": self._blobs}
        count(connection, serial=self._serial, more={name: more for name, more in numbers.items() if more})
        return records

    def _write_bodies(self, connection: Connection) -> None:
        for rows, insert in ((self._parts, self._bodies), (self._large_parts, self._large_bodies)):
            start = size = 0
            for n, (_, _, data) in enumerate(rows):
                size += len(data)
                if size > STATEMENT:
                    insert.run(connection, rows[start : n + 1])
                    start, size = n + 1, 0
            insert.run(connection, rows[start:])

    # -- events -----------------------------------------------------------------------------------------------

    def submitted(self, tasks: Sequence[Task], now: float, several: Sequence[Snapshot]) -> None:
        """Tasks that were submitted; those of them that have several items, as they were then."""
        then = {id(each.task): each for each in several}
        for task in tasks:
            if not then or id(task) not in then:
                self._row(task, task.id, now, 1, task.weight)
                continue
            _, first, count, weight = then[id(task)]
            key = self._row(task, task.origin, now, count, weight)
            known = self._open.get(key)
            if known is not None and known.has(first, count):
                continue  # submitted again, or a part of it is
            if known is None or task.whole is None:
                known = self._open[key] = Open()
            known.add(first, count)
            self._added.append((key, first, count))

    def _row(self, task: Task, number: int, now: float, count: int, weight: int) -> int:
        key = self._id(task.door.name, number)
        payload, function = task.payload, task.function
        name = self._names.get(function)
        self._serial += 1
        self._rows.append(
            (
                key,
                self._serial,
                self._name(function) if name is None else name,
                function,
                self._pack_terms(task, count, weight),
                now,
                len(payload),
            )
        )
        self._body(key, REQUEST, payload)
        return key

    def ended(self, deliveries: Sequence[Delivery], now: float) -> None:
        """Outcomes that were delivered."""
        for task, outcome, engine in deliveries:
            report: Any = outcome
            status = report.status
            key = self._id(task.door.name, task.origin)
            known = self._open.get(key) if self._open else None
            if known is None and (task.count != 1 or task.whole is not None):
                continue  # nothing is known of its submission
            if status >= OK:
                payload, detail = report.payload, None
                size, started, completed = len(payload), report.started or None, report.completed or None
                self._body(key, report.item, payload)
            else:
                detail, size, started, completed = text_of(report.detail or ""), 0, None, None
            where = self._engines[engine] if engine in self._engines else self._engine(engine)
            if known is not None or detail is not None:
                self._several.append((key, report.item, status, where, started, completed, now, size, detail))
            if known is not None:
                known.left -= 1
                self._touched.add(key)
            elif key not in self._ended:
                self._serial += 1
                self._ended[key] = (key, self._serial, status, where, started, completed, now, size)

    def printed(self, task: Task, stream: int, text: str) -> None:
        """What a task has written."""
        key = self._id(task.door.name, task.origin)
        room = self._rooms.get(key)
        if room is None:
            if len(self._rooms) >= NAMES:  # not all of them end
                for old in list(self._rooms)[: NAMES // 2]:
                    del self._rooms[old]
            room = self._rooms[key] = dict(ROOM)
        piece = fit(room, stream, text)
        if piece:
            self._serial += 1
            self._body(key, text_part(self._serial, stream), piece.encode())

    def named(self, key: bytes, blob: bytes, name: str) -> None:
        """A function that was defined."""
        table, insert = tables.functions, _insert(self._kind)
        if len(self._names) >= NAMES:
            for old in list(self._names)[: NAMES // 2]:
                del self._names[old]
        self._names[key] = name = text_of(name)
        self._serial += 1
        values = {"key": key, "name": name, "blob": blob, "place": self._serial}
        add = insert(table).values(**values)
        add = add.on_conflict_do_update(
            index_elements=[table.c.key], set_={"blob": blob, "name": name}, where=table.c.blob.is_(None)
        )
        self._blobs += len(blob) * max(0, self._connection.execute(add).rowcount)

    def engines(self, id: int, uid: str, facts: dict[str, Any], joined: bool, now: float) -> None:
        """An engine that has joined or is gone."""
        table = tables.engines
        if joined:
            self._uids[id] = text_of(uid)
            self._engines.pop(id, None)
        key = self._engine(id)
        values = {"facts": pack(facts), "joined": now, "gone": None} if joined else {"gone": now}
        self._connection.execute(sa.update(table).where(table.c.key == key).values(**values))

    # -- parts of rows ----------------------------------------------------------------------------------------

    def _id(self, client: str, number: int) -> int:
        upper = number >> COUNTER
        key = self._doors.get((client, upper))
        return ((self._door(client, upper) if key is None else key) << COUNTER) | (number & MASK)

    def _door(self, client: str, upper: int) -> int:
        table, insert = tables.doors, _insert(self._kind)
        add = insert(table).values(client=text_of(client), upper=upper)
        self._connection.execute(add.on_conflict_do_nothing())
        found = sa.select(table.c.key).where(table.c.client == text_of(client), table.c.upper == upper)
        key = self._doors[client, upper] = int(self._connection.scalars(found).one())
        return key

    def _engine(self, id: int | None) -> int | None:
        if id is None:
            return None
        table, insert, uid = tables.engines, _insert(self._kind), self._uids.get(id, "")
        self._connection.execute(insert(table).values(id=id, uid=uid).on_conflict_do_nothing())
        found = sa.select(table.c.key).where(table.c.id == id, table.c.uid == uid)
        key = self._engines[id] = int(self._connection.scalars(found).one())
        return key

    def _name(self, function: bytes) -> str:
        table = tables.functions
        name = self._connection.scalar(sa.select(table.c.name).where(table.c.key == function)) or ""
        self._names[function] = name
        return name

    def _pack_terms(self, task: Task, count: int, weight: int) -> bytes | None:
        terms = (task.kind, count, weight, task.retries, task.limit, task.targets, task.policy)
        if task.after is None and task.follow is None:
            if terms == USUAL:
                return None
            packed = self._terms.get(terms)
            if packed is None:
                if len(self._terms) >= 1024:
                    self._terms.clear()
                packed = self._terms[terms] = pack([*_plain(terms), [], []])
            return packed
        return pack([*_plain(terms), waits_for(task.after), waits_for(task.follow)])

    def _body(self, task: int, part: int, data: Any) -> None:
        size = len(data)
        if 0 < size <= self._largest:
            parts = self._parts if size < LARGE else self._large_parts
            parts.append((task, part, data if data.__class__ is bytes else bytes(data)))
            self._bytes += size

    # -- the end of a task of several items -------------------------------------------------------------------

    def _is_whole(self, id: int) -> bool:
        """Has every item of it ended? Then note its end."""
        table = tables.outcomes
        columns = table.c.item, table.c.status, table.c.engine, table.c.started, table.c.completed, table.c.received
        rows = self._connection.execute(
            sa.select(*columns, table.c.size).where(table.c.task == id).order_by(table.c.item)
        ).all()
        there = {row.item for row in rows}
        if any(item not in there for first, count in self._open[id].ranges for item in range(first, count)):
            return False
        last = max(rows, key=lambda row: (row.received, row.item))
        self._serial += 1
        self._ended[id] = (
            id,
            self._serial,
            next((row.status for row in rows if row.status != OK), OK),
            last.engine,
            min([row.started for row in rows if row.started], default=None),
            max([row.completed for row in rows if row.completed], default=None),
            last.received,
            sum([row.size for row in rows]),
        )
        return True


def count(connection: Connection, serial: int | None = None, more: dict[str, int] | None = None) -> None:
    """Write the numbers of ``meta``: the serial, and by how much others are more."""
    table = tables.meta
    if serial is not None:
        connection.execute(sa.update(table).where(table.c.name == "serial").values(value=serial))
    for name, by in (more or {}).items():
        connection.execute(sa.update(table).where(table.c.name == name).values(value=table.c.value + by))


def _plain(terms: tuple[Any, ...]) -> list[Any]:
    return [sorted(each) if isinstance(each, frozenset) else each for each in terms]


def _insert(kind: str) -> Any:
    return sqlite.insert if kind == "sqlite" else postgresql.insert
