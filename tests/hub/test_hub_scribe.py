from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hub_told import Door, call, chunk, said
from sqlalchemy.engine import Connection

from parpool.core.state import Task
from parpool.hub import tables
from parpool.hub.scribe import Scribe, Snapshot
from parpool.hub.tables import Database


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    connection = Database(url, 1.0).connect()
    yield connection
    connection.close()


def submitted(*tasks: Task) -> tuple[str, tuple[Any, ...]]:
    several = [Snapshot(task, task.first, task.count, task.weight) for task in tasks if task.count > 1]
    return "submitted", (list(tasks), 1.0, several)


def ended(task: Task, *items: int) -> tuple[str, tuple[Any, ...]]:
    return "ended", ([(task, said(task, item=item), 0) for item in items], 2.0)


def test_what_was_rolled_back_is_written_again(connection: Connection, door: Door) -> None:
    scribe, many, plain = Scribe("sqlite"), chunk(door, 3), call(door)
    parts = [Task(1 << 62 | n, b"key", b"items", door, kind=3, whole=99) for n in range(2)]
    for part, (first, count) in zip(parts, [(2, 4), (4, 6)], strict=True):
        part.first, part.count, part.weight = first, count, count
    batches = [
        [submitted(many, plain, parts[0]), ended(many, 0), ended(plain, 0)],
        [submitted(parts[1]), ended(many, 1), ended(parts[0], 2, 3), ("printed", (plain, 1, "text"))],
        [ended(many, 2), ended(parts[1], 4, 5)],
    ]
    for batch in batches:
        for _ in range(2):  # as when the disk is full at the end
            with connection.begin() as transaction:
                scribe.write(connection, batch)
                transaction.rollback()
            scribe.rolled_back()
        with connection.begin():
            scribe.write(connection, batch)
        scribe.committed()
    rows = connection.execute(sa.select(tables.tasks.c.status).order_by(tables.tasks.c.place)).all()
    assert [row.status for row in rows] == [0, 0, 0]
    assert connection.scalar(sa.select(sa.func.count()).select_from(tables.outcomes)) == 7
    assert not scribe._open
