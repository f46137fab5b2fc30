"""What users may ask for: operators on the keys of records, lists of ids, and what is to be purged.

A query is a dict. Each of its keys names a key of the record, with the value that it must have, or with a dict of
operators that must all hold::

    {"name": "work", "status": {"$in": ["error", "lost"]}, "completed": {"$gte": 1.7e9, "$lt": 1.8e9}}

None is less than nothing and greater than nothing. Numbers are compared with numbers and text with text, and lists
only as a whole. Every store means the same by it: what a database finds is only a first choice, and :func:`matches`
has the last word.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from .records import BODIES, KEYS, Unanswerable, in_short

NUMBER, WORD, LIST = "a number", "a string", "a list"
_NUMBERS = {
    *("submitted", "started", "completed", "received", "engine_id", "retries", "items", "size_in", "size_out"),
}
_LISTS = {"after", "follow", "targets"}
KIND = {key: NUMBER if key in _NUMBERS else LIST if key in _LISTS else WORD for key in KEYS}

MOST = 100_000  #: records in one answer: it is made in the memory of the controller


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, other: value is not None and other is not None and compare(value, other)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$lt": _ordered(operator.lt),
    "$lte": _ordered(operator.le),
    "$gt": _ordered(operator.gt),
    "$gte": _ordered(operator.ge),
    "$in": lambda value, others: value in others,
    "$nin": lambda value, others: value not in others,
    "$exists": lambda value, there: (value is not None) is there,
}
ORDERED = ("$lt", "$lte", "$gt", "$gte")


class Condition(NamedTuple):
    """One thing that must hold."""

    key: str
    operator: str
    value: Any


class Query(NamedTuple):
    """What a ``query`` asks for."""

    conditions: list[Condition]
    keys: list[str]

    @property
    def needed(self) -> set[str]:
        """The keys that must be known to answer it."""
        return {*self.keys, *(condition.key for condition in self.conditions)}


def read_query(about: Mapping[str, Any]) -> Query:
    """Check a question."""
    _only(about, "query", "keys")
    query, keys = about.get("query") or {}, about.get("keys")
    if not isinstance(query, dict):
        raise Unanswerable(f"a query is a dict of keys and what they must be, not {_short(query)}")
    conditions: list[Condition] = []
    for key, wanted in query.items():
        if key not in KIND:
            raise Unanswerable(f"a record has no key {_short(key)} to ask for: it has {', '.join(KEYS)}")
        for operation, value in (wanted if isinstance(wanted, dict) else {"$eq": wanted}).items():
            _check(key, operation, value)
            conditions.append(Condition(key, operation, value))
    return Query(conditions, _keys(keys))


class Record(Protocol):
    """Gives what is known under a key: a dict does."""

    def __getitem__(self, key: str, /) -> Any: ...


def matches(record: Record, conditions: Sequence[Condition]) -> bool:
    """Whether all of it holds for a record."""
    return all(_COMPARE[operation](record[key], value) for key, operation, value in conditions)


def _keys(keys: Any) -> list[str]:
    if keys is None:
        return list(KEYS)
    if not isinstance(keys, list):
        raise Unanswerable(f"keys must be a list of keys of the record, not {_short(keys)}")
    for key in keys:
        if not isinstance(key, str) or (key not in KIND and key not in BODIES):
            raise Unanswerable(f"a record has no key {_short(key)}: it has {', '.join((*KEYS, *BODIES))}")
    return ["msg_id", *(key for key in dict.fromkeys(keys) if key != "msg_id")]


def _check(key: str, operation: Any, value: Any) -> None:
    if operation not in _COMPARE:
        raise Unanswerable(f"there is no operator {_short(operation)} (at {key!r}): there are {', '.join(_COMPARE)}")
    kind = KIND[key]
    if operation == "$exists":
        if not isinstance(value, bool):
            raise Unanswerable(f"$exists (at {key!r}) is with True or False, not with {_short(value)}")
        return
    if operation in ORDERED and kind is LIST:
        raise Unanswerable(f"{operation} does not go with {key!r}, which is a list: $eq, $ne, $in, $nin, $exists do")
    if operation in ("$in", "$nin"):
        if not isinstance(value, list):
            raise Unanswerable(f"{operation} (at {key!r}) is with a list, not with {_short(value)}")
        values = value
    else:
        values = [value]
    for each in values:
        if each is not None and not _is(each, kind):
            raise Unanswerable(f"{key!r} is compared with {kind} or None, not with {_short(each)}")


def _is(value: Any, kind: str) -> bool:
    if kind is NUMBER:
        # A database has numbers of 64 bits, and none that is not equal to itself.
        fits = isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63)
        return fits and not isinstance(value, bool) and value == value
    return isinstance(value, str if kind is WORD else list)


# -- ids ----------------------------------------------------------------------------------------------------------


def read_ids(about: Mapping[str, Any]) -> list[str]:
    """The ids that a question is about, each once."""
    _only(about, "ids")
    return _ids(about.get("ids"))


def _ids(ids: Any) -> list[str]:
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise Unanswerable(f"ids must be a list of msg_ids, not {_short(ids)}")
    return list(dict.fromkeys(ids))


def read_client(about: Mapping[str, Any]) -> str | None:
    """The client that a question is about; None: all."""
    _only(about, "client")
    client = about.get("client")
    if client is not None and not isinstance(client, str):
        raise Unanswerable(f"client must be the uuid of a client, not {_short(client)}")
    return client


class Purge(NamedTuple):
    """What is to be forgotten: that for which all of it holds. None: it does not matter."""

    ids: list[str] | None
    targets: list[int] | None
    clients: list[str] | None


def read_purge(about: Mapping[str, Any]) -> Purge:
    """Check what is to be forgotten."""
    _only(about, "ids", "targets", "clients")
    ids, targets, clients = about.get("ids"), about.get("targets"), about.get("clients")
    if ids is None and targets is None and clients is None:
        raise Unanswerable('what is to be purged? It needs ids (or "all"), targets or clients')
    if targets is not None and not (isinstance(targets, list) and all(isinstance(each, int) for each in targets)):
        raise Unanswerable(f"targets must be a list of ids of engines, not {_short(targets)}")
    if clients is not None and not (isinstance(clients, list) and all(isinstance(each, str) for each in clients)):
        raise Unanswerable(f"clients must be a list of uuids of clients, not {_short(clients)}")
    return Purge(None if ids in (None, "all") else _ids(ids), targets, clients)


def read_nothing(about: Mapping[str, Any]) -> None:
    """Check that a question is about nothing in particular."""
    _only(about)


def check_purge(pending: Sequence[str]) -> None:
    """Refuse to forget what goes on."""
    if pending:
        raise Unanswerable(f"{_tasks(pending)} pending and cannot be purged: {in_short(pending)}")


def check_requests(ids: Sequence[str], known: Container[str], pending: Sequence[str]) -> None:
    """Refuse to submit again what is not known, or goes on."""
    unknown = [id for id in ids if id not in known]
    if unknown:
        raise Unanswerable(f"{_tasks(unknown)} not known and cannot be submitted again: {in_short(unknown)}")
    if pending:
        raise Unanswerable(f"{_tasks(pending)} pending and cannot be submitted again: {in_short(pending)}")


def check_kept(id: str, arguments: bool, function: bool) -> None:
    """Refuse to submit again what is no longer whole."""
    if not (arguments and function):
        gone = "arguments are" if not arguments else "function is"
        raise Unanswerable(f"{id} cannot be submitted again: its {gone} no longer kept")


def _tasks(ids: Sequence[str]) -> str:
    return "1 task is" if len(ids) == 1 else f"{len(ids)} tasks are"


def _only(about: Mapping[str, Any], *known: str) -> None:
    unknown = [key for key in about if key not in known]
    if unknown:
        expected = f"it knows {', '.join(known)}" if known else "it is about nothing"
        raise Unanswerable(f"the question says {_short(unknown[0])}, which it cannot be about: {expected}")


def unknown_question(what: str, known: Sequence[str]) -> Unanswerable:
    """The error for a question of no known kind."""
    return Unanswerable(f"the hub cannot be asked for {_short(what)}: it knows {', '.join(known)}")


def too_many() -> Unanswerable:
    """The error for an answer that would be too large."""
    return Unanswerable(f"more than {MOST} records match, too many for one answer: ask for fewer, or for the history")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
