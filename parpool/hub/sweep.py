"""Forgetting: tasks that somebody purges, and the oldest bodies when there are too many bytes of them.

All of it in short transactions, one after the other, so that what happens meanwhile can be written in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import tables
from .queries import Purge, check_purge
from .records import name_of, parse_id
from .scribe import count
from .tables import COUNTER, MASK

SLICE = 5000  #: tasks in one transaction
FEW = 500  #: ids in one statement

_tasks, _bodies, _doors, _meta = tables.tasks.c, tables.bodies.c, tables.doors.c, tables.meta.c


def ids_of(connection: Connection, msg_ids: list[str]) -> dict[int, str]:
    """The ids in these tables of tasks, as far as they can be there, with their msg_ids."""
    parsed = {id: each for id in msg_ids if (each := parse_id(id)) is not None}
    doors = doors_of(connection, sorted({client for client, _ in parsed.values()}))
    keys = {(client, upper): key for key, (client, upper) in doors.items()}
    found = {}
    for id, (client, number) in parsed.items():
        key = keys.get((client, number >> COUNTER))
        if key is not None and id == name_of(client, number):
            found[key << COUNTER | number & MASK] = id
    return found


def doors_of(connection: Connection, clients: list[str] | None = None) -> dict[int, tuple[str, int]]:
    """The doors of some clients, or of all, by their keys."""
    statement = sa.select(_doors.key, _doors.client, _doors.upper)
    if clients is None:
        return {row.key: (row.client, row.upper) for row in connection.execute(statement)}
    found = {}
    for start in range(0, len(clients), FEW):
        some = [client for client in clients[start : start + FEW] if "\0" not in client]
        for row in connection.execute(statement.where(_doors.client.in_(some))):
            found[row.key] = row.client, row.upper
    return found


def behind(keys: Any) -> Any:
    """The tasks behind some doors."""
    return (_tasks.id.op(">>")(sa.literal_column(str(COUNTER)))).in_(keys)


def purge(connection: Connection, what: Purge, between: Callable[[], object]) -> int:
    """Forget tasks that have ended; how many. ``between``: called after each transaction."""
    with connection.begin():
        last = number(connection, "serial")  # what ends from now on is not meant
        conditions = [_tasks.ended.is_not(None), _tasks.ended <= last]
        ids = None
        if what.ids is not None:
            named = ids_of(connection, what.ids)
            ids = list(named)
            pending: list[int] = []
            for start in range(0, len(ids), FEW):
                chunk = _tasks.id.in_(ids[start : start + FEW])
                pending += connection.scalars(sa.select(_tasks.id).where(chunk, _tasks.ended.is_(None)))
            check_purge([named[id] for id in pending])
        if what.clients is not None:
            conditions.append(behind(list(doors_of(connection, what.clients))))
        if what.targets is not None:
            engines = tables.engines.c
            conditions.append(_tasks.engine.in_(sa.select(engines.key).where(engines.id.in_(what.targets))))
    if ids is None:
        return _purge(connection, conditions, between)
    return sum(
        _purge(connection, [*conditions, _tasks.id.in_(ids[start : start + FEW])], between)
        for start in range(0, len(ids), FEW)
    )


def _purge(connection: Connection, conditions: list[Any], between: Callable[[], object]) -> int:
    """Forget the tasks for which all of it holds, some at a time."""
    purged = 0
    some = sa.select(_tasks.id).where(*conditions).order_by(_tasks.ended).limit(SLICE)
    while True:
        with connection.begin():
            number(connection, "serial", alone=True)
            size = connection.scalar(sa.select(sa.func.sum(sa.func.length(_bodies.data))).where(_bodies.task.in_(some)))
            for table, column in ((tables.bodies, _bodies.task), (tables.outcomes, tables.outcomes.c.task)):
                connection.execute(sa.delete(table).where(column.in_(some)))
            gone = connection.execute(sa.delete(tables.tasks).where(_tasks.id.in_(some))).rowcount
            count(connection, more={"bytes": -int(size or 0)})
        purged += gone
        between()
        if gone < SLICE:
            return purged


def number(connection: Connection, name: str, alone: bool = False) -> int:
    """A number of ``meta``. ``alone``: no other changes it before the end of this transaction."""
    statement = sa.select(_meta.value).where(_meta.name == name)
    return int(connection.scalar(statement.with_for_update() if alone else statement) or 0)


def numbers(connection: Connection) -> dict[str, int]:
    """All numbers of ``meta``."""
    return {row.name: row.value for row in connection.execute(sa.select(_meta.name, _meta.value))}


def sweep(connection: Connection, limit: int, before: float | None) -> bool:
    """Let go of the bodies of the tasks that ended first: while they are more than ``limit`` bytes, and where they ended
    ``before``. Does some of it; is there more to do?"""
    with connection.begin():
        number(connection, "serial", alone=True)
        held, swept = number(connection, "bytes"), number(connection, "swept")
        statement = sa.select(_tasks.id, _tasks.ended, _tasks.received).where(_tasks.ended > swept)
        rows = connection.execute(statement.order_by(_tasks.ended).limit(FEW)).all()
        lengths = sa.select(_bodies.task, sa.func.sum(sa.func.length(_bodies.data)).label("size"))
        some = lengths.where(_bodies.task.in_([row.id for row in rows])).group_by(_bodies.task)
        sizes = {row.task: row.size for row in connection.execute(some)}
        goes: list[int] = []
        freed = 0
        for row in rows:
            if held - freed <= limit and not (before is not None and row.received < before):
                break
            goes.append(row.id)
            freed += int(sizes.get(row.id) or 0)
            swept = row.ended
        if goes:
            connection.execute(sa.delete(tables.bodies).where(_bodies.task.in_(goes)))
            connection.execute(sa.update(tables.meta).where(_meta.name == "swept").values(value=swept))
            count(connection, more={"bytes": -freed})
        return len(goes) == FEW


def sweep_functions(connection: Connection, limit: int) -> None:
    """Let go of blobs of functions while they are more than ``limit`` bytes: those that no task needs whose arguments
    are kept, then the oldest. Their names stay."""
    functions = tables.functions.c
    with connection.begin():
        number(connection, "serial", alone=True)
        held, swept = number(connection, "blobs"), number(connection, "swept")
        needed = set(
            connection.scalars(
                sa.select(_tasks.function).where(sa.or_(_tasks.ended.is_(None), _tasks.ended > swept)).distinct()
            )
        )
        statement = sa.select(functions.key, sa.func.length(functions.blob).label("size"))
        rows = connection.execute(statement.where(functions.blob.is_not(None)).order_by(functions.place)).all()
        goes, freed = [], 0
        for row in sorted(rows, key=lambda row: row.key in needed):
            if held - freed <= limit - limit // 4:
                break
            goes.append(row.key)
            freed += row.size
        for start in range(0, len(goes), FEW):
            chunk = functions.key.in_(goes[start : start + FEW])
            connection.execute(sa.update(tables.functions).where(chunk).values(blob=None))
        count(connection, more={"blobs": -freed})
