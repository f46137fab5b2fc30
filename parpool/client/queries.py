"""Queries of the hub's records as they travel: times as seconds, and back.

Seconds are kept as they were measured, and shown as datetimes, which have microseconds: so a datetime in a query means all
seconds that are shown like it. Else a record could be found that is less than the very time that it shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

TIMES = ("submitted", "started", "completed", "received")


def packed(query: Mapping[str, Any]) -> dict[str, Any]:
    """A query that can travel."""
    return {key: _condition(condition) for key, condition in query.items()}


def _condition(condition: Any) -> Any:
    if isinstance(condition, datetime):
        return dict(zip(("$gte", "$lte"), _shown_as(condition), strict=True))
    if isinstance(condition, Mapping):
        if set(condition) == {"$eq"} and isinstance(condition["$eq"], datetime):
            return _condition(condition["$eq"])
        return {operator: _operand(operator, value) for operator, value in condition.items()}
    return _plain(condition)


def _operand(operator: str, value: Any) -> Any:
    if isinstance(value, datetime) and operator in ("$lt", "$gte", "$gt", "$lte"):
        first, last = _shown_as(value)
        return first if operator in ("$lt", "$gte") else last
    return _plain(value)


def _shown_as(when: datetime) -> tuple[float, float]:
    """The first and the last seconds that are shown as this datetime."""
    first = last = when.timestamp()
    with suppress(ValueError, OverflowError, OSError):  # there are no datetimes before the first and after the last
        when = when.astimezone(timezone.utc)  # one without a zone is of this machine's
        while _shown(earlier := math.nextafter(first, -math.inf)) == when:
            first = earlier
        while _shown(later := math.nextafter(last, math.inf)) == when:
            last = later
    return first, last


def _plain(value: Any) -> Any:
    """As it can travel: datetimes as seconds, sets and tuples as lists."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple, set, frozenset)) else value


def dated(record: dict[str, Any]) -> dict[str, Any]:
    """A record, its seconds as datetimes."""
    for key in TIMES:
        if record.get(key) is not None:
            record[key] = _shown(record[key])
    return record


def _shown(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
