"""Many rows by one statement.

Not by ``executemany``. SQLite's gives up the interpreter lock for each row, and while the loop is busy it takes up to
five milliseconds to get it back: measured against a thread that computes, 3 ms a row, where one statement for thousands
of rows takes 10 µs a row. And psycopg makes each value of each row by itself: 23 µs a row, with the lock. So SQLite gets
one statement with the values of thousands of rows, and PostgreSQL gets the rows as one document, which takes 0.2 µs a
row here and 5 µs there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Protocol, TypeAlias

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

Row: TypeAlias = "tuple[Any, ...]"

# SQLite's limit of values in a statement, from 3.32 on; PostgreSQL's is 65535.
_MOST = 32766 if sqlite3.sqlite_version_info >= (3, 32) else 999
#: Bytes of a body from which on it is no part of a document: PostgreSQL takes 256 MiB of it, and it grows by a third.
LARGE = 2**20


class Inserts(Protocol):
    """Inserts rows into a table."""

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Insert rows; gives how many there are more, or have changed."""


def inserts(kind: str, table: sa.Table, columns: Sequence[str], conflict: str) -> Inserts:
    """What inserts into these columns best. ``conflict``: what is to be done about rows that are there."""
    if kind == "postgresql":
        return ByDocument(table, columns, conflict)
    return ByValues("?", table, columns, conflict)


class ByValues:
    """A statement with a mark for each value."""

    def __init__(self, mark: str, table: sa.Table, columns: Sequence[str], conflict: str) -> None:
        self._row = f"({','.join([mark] * len(columns))})"
        self._head = f"INSERT INTO {table.name} ({','.join(columns)}) VALUES "
        self._tail = f" ON CONFLICT {conflict}"
        self._most = _MOST // len(columns)
        self._statements: dict[int, str] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Insert rows."""
        inserted = start = 0
        while start < len(rows):
            left = len(rows) - start
            # Numbers of rows out of few, so that the driver can keep the statements: powers of two below the most.
            size = self._most if left >= self._most else 1 << (left.bit_length() - 1)
            values = tuple(chain.from_iterable(rows[start : start + size]))
            inserted += max(0, connection.exec_driver_sql(self._statement(size), values).rowcount)
            start += size
        return inserted

    def _statement(self, size: int) -> str:
        statement = self._statements.get(size)
        if statement is None:
            statement = self._head + ",".join([self._row] * size) + self._tail
            self._statements[size] = statement
        return statement


class ByDocument:
    """A statement with one value, which has all rows in it. (Bytes go as base64.)"""

    def __init__(self, table: sa.Table, columns: Sequence[str], conflict: str) -> None:
        values = ", ".join(_value(n, table.c[name]) for n, name in enumerate(columns))
        self._statement = (
            f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {values} "
            f"FROM jsonb_array_elements(%s::jsonb) AS given ON CONFLICT {conflict}"
        )

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Insert rows."""
        if not rows:
            return 0
        document = msgspec.json.encode(rows).decode()
        return max(0, connection.exec_driver_sql(self._statement, (document,)).rowcount)


def _value(n: int, column: sa.Column[Any]) -> str:
    value = f"given->>{n}"
    if isinstance(column.type, sa.LargeBinary):
        return f"decode({value}, 'base64')"
    if isinstance(column.type, sa.Text):
        return value
    return f"({value})::{'double precision' if isinstance(column.type, sa.Float) else 'bigint'}"
