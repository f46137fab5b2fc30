"""Tasks as they travel to a controller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.state import Dependency, Task
from ..wire.messages import INLINE, encode
from ..wire.requests import Definition, Relation, Submit, Terms

_PLAIN = 4  #: attributes of a task that has nothing but its class's terms


def pack_orders(tasks: Sequence[Task], functions: list[Definition], again: bool) -> tuple[bytes, list[bytes]]:
    """Header and frames of a :class:`~parpool.wire.requests.Submit`."""
    orders: list[tuple[Any, ...]] = []
    frames: list[bytes] = []
    terms: list[Terms] = []
    numbers: dict[type, int] = {Task: -1}  #: of the terms that are a class's own
    for task in tasks:
        kind = type(task)
        plain = len(vars(task)) == _PLAIN
        number = numbers.get(kind, -2) if plain else -2
        if number == -2:
            number = len(terms)
            terms.append(_terms(task))
            if plain:
                numbers[kind] = number
        payload, apart = task.payload, 0
        if len(payload) > INLINE:
            frames.append(payload)
            payload, apart = b"", 1
        orders.append((task.id, task.function, payload, task.kind, task.first, task.count, task.weight, apart, number))
    # Tuples instead of Order objects: the same bytes, and no object made for each.
    return encode(Submit(orders, terms, functions, again)), frames  # type: ignore[arg-type]


def _terms(task: Task) -> Terms:
    return Terms(
        task.retries,
        task.limit,
        None if task.targets is None else sorted(task.targets),
        task.policy,
        task.patience,
        task.remembered,
        _relation(task.after),
        _relation(task.follow),
        sorted(vars(task).get("ended") or ()),
    )


def _relation(dependency: Dependency | None) -> Relation | None:
    if dependency is None:
        return None
    return Relation(sorted(dependency.ids), dependency.all, dependency.success, dependency.failure)
