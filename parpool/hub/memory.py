"""A store in memory, bounded by a number of records and by the bytes of their bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from . import queries
from .desk import Desk
from .known import Entry, Known, body, place
from .records import KEYS, Reply, parse_id
from .shelf import Shelf

COUNT = 16384  #: records of tasks that have ended
BYTES = 256 * 2**20  #: of their arguments and results, and of what was printed
SLICE = 2048  #: records forgotten at a time, with the loop waiting


class MemoryStore(Shelf):
    """A shelf and a desk: what the loop puts down in passing is looked at in another thread."""

    def __init__(self, count: int = COUNT, bytes: int = BYTES) -> None:
        super().__init__(count, bytes)
        self._error: str | None = None
        self._desk = Desk(self._answer, self._words)

    def ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        """Answer a question later."""
        self._desk.ask(what, about, reply)

    def close(self) -> None:
        """End the desk."""
        self._desk.close()

    def status(self) -> dict[str, Any]:
        """How much there is."""
        return {
            "kind": "memory",
            "records": len(self._pending) + sum([len(generation.tasks) for generation in self._generations]),
            "bytes": self._bytes,
            "dropped": self._dropped,
            "errors": self._error,
            "backlog": 0,
        }

    # -- at the desk ------------------------------------------------------------------------------------------

    def _answer(self, what: str, about: dict[str, Any]) -> Any:
        find = self._questions.get(what)
        if find is None:
            raise queries.unknown_question(what, list(self._questions))
        return find(self, about)

    def _words(self, error: BaseException) -> str:
        self._error = f"{type(error).__name__}: {error}"
        return self._error

    def _all(self) -> Iterator[Known]:
        """Everything, in the order of submission."""
        with self._lock:
            entries = self._entries()
        entries.sort(key=place)
        return self._look(entries)

    def _some(self, ids: Sequence[str]) -> dict[str, Known]:
        """Those that are known of these."""
        found: dict[str, Entry] = {}
        for id in ids:
            parsed = parse_id(id)
            if parsed is not None:
                with self._lock:
                    entry = self._find(parsed[1])
                if entry is not None:
                    found[id] = entry
        known = zip(found, self._look(found.values()), strict=True)
        return {id: each for id, each in known if each["msg_id"] == id}

    def _tidy_later(self) -> None:
        self._desk.do(self._tidy)

    def _history(self, about: dict[str, Any]) -> list[str]:
        client = queries.read_client(about)
        return [known["msg_id"] for known in self._all() if client is None or known.client == client]

    def _query(self, about: dict[str, Any]) -> list[dict[str, Any]]:
        query = queries.read_query(about)
        found: list[dict[str, Any]] = []
        for known in self._all():
            if queries.matches(known, query.conditions):
                if len(found) == queries.MOST:
                    raise queries.too_many()
                found.append(known.some(query.keys))
        return found

    def _records(self, about: dict[str, Any]) -> dict[str, Any]:
        return {
            id: {**known.some((*KEYS, "result")), "kind": known.task.kind, "count": known.count}
            for id, known in self._some(queries.read_ids(about)).items()
        }

    def _status(self, about: dict[str, Any]) -> dict[str, list[str]]:
        ids = queries.read_ids(about)
        known = self._some(ids)
        return {
            "pending": [id for id in ids if id in known and not known[id].ended],
            "completed": [id for id in ids if id in known and known[id].ended],
            "unknown": [id for id in ids if id not in known],
        }

    def _request(self, about: dict[str, Any]) -> list[dict[str, Any]]:
        ids = queries.read_ids(about)
        known = self._some(ids)
        queries.check_requests(ids, known, [id for id in known if not known[id].ended])
        return self._requests_of(ids, known)

    def _unfinished(self, about: dict[str, Any]) -> list[dict[str, Any]]:
        known = self._some(queries.read_ids(about))
        return self._requests_of([id for id in known if not known[id].ended], known)

    def _requests_of(self, ids: list[str], known: dict[str, Known]) -> list[dict[str, Any]]:
        requests = []
        for id in ids:
            task = known[id].task
            payload, function = body(task.payload), self._functions.get(task.function)
            queries.check_kept(id, payload is not None, function is not None and function[1] is not None)
            requests.append(
                {
                    "msg_id": id,
                    "function": task.function,
                    "blob": function[1] if function is not None else None,
                    "name": known[id].name,
                    "payload": payload,
                    "kind": task.kind,
                    "count": known[id].count,
                    "weight": known[id].weight,
                    "retries": task.retries,
                    "limit": task.limit,
                    "targets": known[id]["targets"],
                    "policy": task.policy,
                }
            )
        return requests

    def _purge(self, about: dict[str, Any]) -> int:
        purge = queries.read_purge(about)
        known: Iterable[Known] = self._all()
        if purge.ids is not None:
            known = self._some(purge.ids).values()
            queries.check_purge([each["msg_id"] for each in known if not each.ended])
        numbers = [
            each.number
            for each in known
            if each.ended
            and (purge.targets is None or each.engine in purge.targets)
            and (purge.clients is None or each.client in purge.clients)
        ]
        count = 0
        for start in range(0, len(numbers), SLICE):
            with self._lock:
                count += sum([self._forget(number) for number in numbers[start : start + SLICE]])
        return count

    def _purge_everything(self, about: dict[str, Any]) -> int:
        queries.read_nothing(about)
        return self._purge({"ids": "all"})

    def _list_engines(self, about: dict[str, Any]) -> list[dict[str, Any]]:
        queries.read_nothing(about)
        with self._lock:
            return [dict(engine) for engine in self._engines.values()]

    _questions: dict[str, Callable[[MemoryStore, dict[str, Any]], Any]] = {
        "history": _history,
        "query": _query,
        "records": _records,
        "status": _status,
        "request": _request,
        "unfinished": _unfinished,
        "purge": _purge,
        "purge_everything": _purge_everything,
        "engines": _list_engines,
    }
