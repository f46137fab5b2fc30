"""Questions answered from the tables. What a query asks for is looked for by the database as far as all databases mean
the same by it; the rest, and the last word, is Python's (see ``queries.py``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..status import OK
from . import queries, tables
from .records import KEYS, PENDING, WORDS, name_of, outcome
from .scribe import USUAL
from .sweep import FEW, behind, doors_of, ids_of
from .tables import COUNTER, MASK, REQUEST, stream_of

_tasks, _bodies, _outcomes = tables.tasks.c, tables.bodies.c, tables.outcomes.c
_engines, _functions = tables.engines.c, tables.functions.c

_COLUMNS = {key: _tasks[key] for key in ("submitted", "started", "completed", "received", "name")} | {
    "engine_id": _engines.id,
    "engine_uuid": _engines.uid,
    "status": _tasks.status,
}
_ALL = (
    sa.select(tables.tasks, _engines.id.label("engine_id"), _engines.uid.label("engine_uuid"))
    .outerjoin(tables.engines, _tasks.engine == _engines.key)
    .order_by(_tasks.place, _tasks.id)
)
_TEXTS = {"stdout", "stderr"}


class Answers:
    """Answers questions over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._doors: dict[int, tuple[str, int]] = {}

    def answer(self, what: str, about: dict[str, Any]) -> Any:
        """The answer to a question. Raises Unanswerable."""
        find = self._questions.get(what)
        if find is None:
            raise queries.unknown_question(what, [*self._questions, "purge", "purge_everything"])
        with self._connection.begin():
            self._doors = doors_of(self._connection)
            return find(self, about)

    def _history(self, about: dict[str, Any]) -> list[str]:
        client = queries.read_client(about)
        statement = sa.select(_tasks.id).order_by(_tasks.place, _tasks.id).execution_options(yield_per=FEW)
        if client is not None:
            statement = statement.where(behind(self._of_clients([client])))
        return [self._name(id) for id in self._connection.scalars(statement)]

    def _query(self, about: dict[str, Any]) -> list[dict[str, Any]]:
        query = queries.read_query(about)
        statement = _ALL.execution_options(yield_per=FEW)
        for condition in query.conditions:
            clause = self._clause(condition)
            if clause is not None:
                statement = statement.where(clause)
        found: list[dict[str, Any]] = []
        for record in self._records_of(self._connection.execute(statement), query.needed):
            if queries.matches(record, query.conditions):
                if len(found) == queries.MOST:
                    raise queries.too_many()
                found.append({key: record[key] for key in query.keys})
        return found

    def _records(self, about: dict[str, Any]) -> dict[str, Any]:
        keys = {*KEYS, "result"}
        found = {}
        for rows in self._rows(queries.read_ids(about)):
            for record in self._records_of(rows, keys):
                found[record["msg_id"]] = {key: record[key] for key in (*KEYS, "result", "kind", "count")}
        return found

    def _status(self, about: dict[str, Any]) -> dict[str, list[str]]:
        ids = queries.read_ids(about)
        ended = {self._name(row.id): row.ended is not None for rows in self._rows(ids) for row in rows}
        return {
            "pending": [id for id in ids if ended.get(id) is False],
            "completed": [id for id in ids if ended.get(id)],
            "unknown": [id for id in ids if id not in ended],
        }

    def _request(self, about: dict[str, Any]) -> list[dict[str, Any]]:
        ids = queries.read_ids(about)
        rows = {self._name(row.id): row for some in self._rows(ids) for row in some}
        queries.check_requests(ids, rows, [id for id in ids if id in rows and rows[id].ended is None])
        return self._requests_of([rows[id] for id in ids])

    def _unfinished(self, about: dict[str, Any]) -> list[dict[str, Any]]:
        rows = [row for some in self._rows(queries.read_ids(about)) for row in some if row.ended is None]
        return self._requests_of(rows)

    def _requests_of(self, some: list[Any]) -> list[dict[str, Any]]:
        rows = {self._name(row.id): row for row in some}
        keys = sorted({row.function for row in rows.values() if row.function is not None})
        blobs: dict[bytes, bytes | None] = {}
        for start in range(0, len(keys), FEW):
            statement = sa.select(_functions.key, _functions.blob).where(_functions.key.in_(keys[start : start + FEW]))
            blobs.update((row.key, row.blob) for row in self._connection.execute(statement))
        requests = []
        for record in self._records_of(some, {"request"}):
            row = rows[record["msg_id"]]
            kind, count, weight, retries, limit, targets, policy = record["terms"]
            blob = blobs.get(row.function)
            queries.check_kept(record["msg_id"], record["request"] is not None, blob is not None)
            requests.append(
                {
                    "msg_id": record["msg_id"],
                    "function": row.function,
                    "blob": blob,
                    "name": row.name,
                    "payload": record["request"],
                    "kind": kind,
                    "count": count,
                    "weight": weight,
                    "retries": retries,
                    "limit": limit,
                    "targets": targets,
                    "policy": policy,
                }
            )
        return requests

    def _list_engines(self, about: dict[str, Any]) -> list[dict[str, Any]]:
        queries.read_nothing(about)
        rows = self._connection.execute(sa.select(tables.engines).order_by(_engines.joined, _engines.key))
        return [
            {
                "engine_id": row.id,
                "engine_uuid": row.uid,
                "facts": {} if row.facts is None else msgspec.msgpack.decode(row.facts),
                "joined": row.joined,
                "left": row.gone,
            }
            for row in rows
        ]

    _questions: dict[str, Callable[[Answers, dict[str, Any]], Any]] = {
        "history": _history,
        "query": _query,
        "records": _records,
        "status": _status,
        "request": _request,
        "unfinished": _unfinished,
        "engines": _list_engines,
    }

    # -- ids --------------------------------------------------------------------------------------------------

    def _name(self, id: int) -> str:
        client, upper = self._doors[id >> COUNTER]
        return name_of(client, upper << COUNTER | id & MASK)

    def _of_clients(self, clients: Sequence[str]) -> list[int]:
        return [key for key, (client, _) in self._doors.items() if client in clients]

    def _rows(self, msg_ids: list[str]) -> Iterator[Sequence[Any]]:
        """The rows of tasks, some at a time."""
        ids = list(ids_of(self._connection, msg_ids))
        for start in range(0, len(ids), FEW):
            yield self._connection.execute(_ALL.where(_tasks.id.in_(ids[start : start + FEW]))).all()

    # -- queries ----------------------------------------------------------------------------------------------

    def _clause(self, condition: queries.Condition) -> Any:
        """A condition for the database, which all that match fulfil; None where it has no such."""
        key, operator, value = condition
        if operator in ("$nin", "$ne", "$exists"):
            return None
        values = value if operator == "$in" else [value]
        if len(values) > FEW or any(isinstance(each, str) and "\0" in each for each in values):
            return None
        if key in ("client", "msg_id"):
            if operator not in ("$eq", "$in"):
                return None
            words = [each for each in values if each is not None]
            if key == "client":
                return behind(self._of_clients(words))
            return _tasks.id.in_(list(ids_of(self._connection, words)))
        column = _COLUMNS.get(key)
        if column is None or (operator in queries.ORDERED and queries.KIND[key] is not queries.NUMBER):
            return None  # text has another order in every database
        if operator in queries.ORDERED:
            if value is None:
                return sa.false()
            return {"$lt": column < value, "$lte": column <= value, "$gt": column > value, "$gte": column >= value}[
                operator
            ]
        if key == "status":
            values = [None if word == PENDING else code for word in values for code in _codes(word)]
        clause = column.in_(["" if each is None and key == "engine_uuid" else each for each in values])
        return sa.or_(clause, column.is_(None)) if None in values or key == "name" else clause

    # -- records ----------------------------------------------------------------------------------------------

    def _records_of(self, rows: Iterable[Any], keys: set[str]) -> Iterator[dict[str, Any]]:
        """Records of rows: what the rows themselves say, and of the rest what ``keys`` name."""
        chunk: list[Any] = []
        for row in rows:
            chunk.append(row)
            if len(chunk) == FEW:
                yield from self._fill(chunk, keys)
                chunk = []
        yield from self._fill(chunk, keys)

    def _fill(self, rows: list[Any], keys: set[str]) -> Iterator[dict[str, Any]]:
        ids = [row.id for row in rows]
        texts = self._texts(ids) if keys & _TEXTS else {}
        requests = self._requests(ids) if "request" in keys else {}
        results = self._results(rows) if "result" in keys else {}
        for row in rows:
            client, upper = self._doors[row.id >> COUNTER]
            kind, count, weight, retries, limit, targets, policy, after, follow = (
                (*USUAL, [], []) if row.terms is None else msgspec.msgpack.decode(row.terms)
            )
            record = {
                "msg_id": name_of(client, upper << COUNTER | row.id & MASK),
                "client": client,
                "name": row.name or "",
                "submitted": row.submitted,
                "started": row.started,
                "completed": row.completed,
                "received": row.received,
                "engine_id": row.engine_id,
                "engine_uuid": row.engine_uuid or None,
                "status": PENDING if row.ended is None else WORDS[row.status],
                "after": [name_of(client, number) for number in after],
                "follow": [name_of(client, number) for number in follow],
                "retries": retries,
                "items": max(count, weight),
                "targets": targets,
                "stdout": texts.get((row.id, 1), ""),
                "stderr": texts.get((row.id, 2), ""),
                "size_in": row.size_in or 0,
                "size_out": row.size_out or 0,
                "kind": kind,
                "count": count,
                "terms": (kind, count, weight, retries, limit, targets, policy),
            }
            if "request" in keys:
                record["request"] = requests.get(row.id, b"" if row.size_in == 0 else None)
            if "result" in keys:
                record["result"] = results[row.id]
            yield record

    def _texts(self, ids: list[int]) -> dict[tuple[int, int], str]:
        pieces: dict[tuple[int, int], list[bytes]] = defaultdict(list)
        statement = sa.select(tables.bodies).where(_bodies.task.in_(ids), _bodies.part < REQUEST)
        for row in self._connection.execute(statement.order_by(_bodies.task, _bodies.part.desc())):
            pieces[row.task, stream_of(row.part)].append(row.data)
        return {key: b"".join(each).decode("utf-8", "replace") for key, each in pieces.items()}

    def _requests(self, ids: list[int]) -> dict[int, bytes]:
        statement = sa.select(_bodies.task, _bodies.data).where(_bodies.task.in_(ids), _bodies.part == REQUEST)
        return {row.task: row.data for row in self._connection.execute(statement)}

    def _results(self, rows: list[Any]) -> dict[int, list[dict[str, Any]]]:
        """The outcomes of tasks."""
        ids = [row.id for row in rows]
        statement = sa.select(tables.bodies).where(_bodies.task.in_(ids), _bodies.part >= 0)
        bodies = {(row.task, row.part): row.data for row in self._connection.execute(statement)}
        results: dict[int, list[dict[str, Any]]] = {row.id: [] for row in rows}

        def add(id: int, item: int, row: Any, size: int, detail: str | None) -> None:
            payload = bodies.get((id, item), b"" if size == 0 else None) if row.status >= OK else None
            results[id].append(
                outcome(
                    *(item, row.status, row.engine_id, row.engine_uuid or None, row.started, row.completed),
                    *(row.received, payload, detail),
                )
            )

        with_engines = (
            sa.select(tables.outcomes, _engines.id.label("engine_id"), _engines.uid.label("engine_uuid"))
            .outerjoin(tables.engines, _outcomes.engine == _engines.key)
            .where(_outcomes.task.in_(ids))
            .order_by(_outcomes.task, _outcomes.item)
        )
        for row in self._connection.execute(with_engines):
            add(row.task, row.item, row, row.size, row.detail)
        for row in rows:
            if row.ended is not None and not results[row.id]:
                add(row.id, 0, row, row.size_out, None)
        return results


def _codes(word: Any) -> list[Any]:
    if word == PENDING:
        return [None]
    return [code for code, name in WORDS.items() if name == word]
