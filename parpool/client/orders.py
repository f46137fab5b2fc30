"""Tasks as they travel to a controller, and their outcomes as they come back."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

from ..core.effects import Ending
from ..core.state import Dependency, Task
from ..wire.functions import Function
from ..wire.messages import INLINE, encode
from ..wire.requests import Definition, Relation, Submit, Terms

log = logging.getLogger("parpool")

FUNCTIONS = 2048  #: that the controller is asked to keep; more only while tasks need them
_PLAIN = 4  #: attributes of a task that has nothing but its class's terms


REMEMBERED = 32768  #: ends of tasks


class Ends:
    """How the last tasks ended that others may depend on: with success, and on which engine."""

    #: Are those who depend on them to be told though they are not submitted again, as others may run elsewhere?
    told = False

    def __init__(self) -> None:
        self._last: dict[int, tuple[bool, int | None]] = {}
        self._before: dict[int, tuple[bool, int | None]] = {}

    def note(self, id: int, success: bool, engine: int | None) -> None:
        """A task has ended."""
        self._last[id] = success, engine
        if len(self._last) > REMEMBERED:
            self._before, self._last = self._last, {}

    def get(self, id: int) -> tuple[bool, int | None] | None:
        """How it ended; None: it has not, or long ago."""
        return self._last.get(id) or self._before.get(id)


class Functions:
    """The functions that a controller was told of, or is to be told of with the next tasks. (Any thread defines.)"""

    def __init__(self) -> None:
        self.known: dict[bytes, bytes] = {}  #: blobs by key
        self._names: dict[bytes, str] = {}
        self._fresh: deque[Definition] = deque()

    def define(self, function: Function) -> None:
        """A function that tasks will name."""
        self._names[function.key] = function.name  # first: another thread may look for it
        self.known[function.key] = function.blob
        self._fresh.append(Definition(*function))

    def define_again(self) -> None:
        """The controller may know none of them."""
        self._fresh.clear()
        self._fresh.extend(Definition(key, blob, self._names[key]) for key, blob in list(self.known.items()))

    def take(self) -> list[Definition]:
        """Those that the controller was not told of yet."""
        return [self._fresh.popleft() for _ in range(len(self._fresh))]

    @property
    def too_many(self) -> bool:
        """Is it time for :meth:`forget`?"""
        return len(self.known) > FUNCTIONS

    def forget(self, needed: set[bytes]) -> list[bytes]:
        """Let go of the oldest half but for what is ``needed``; gives their keys."""
        surplus = len(self.known) - FUNCTIONS // 2
        keys = [key for key in list(self.known)[:surplus] if key not in needed]
        for key in keys:
            del self.known[key], self._names[key]
        return keys


def pack_orders(
    tasks: Sequence[Task], functions: list[Definition], again: bool, ends: Ends, flag: int = 0
) -> tuple[bytes, list[bytes]]:
    """Header and frames of a :class:`~parpool.wire.requests.Submit`. ``ends``: of those that the tasks may depend on.

    ``flag`` is added to the kind of each task.
    """
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
        orders.append(
            (task.id, task.function, payload, task.kind | flag, task.first, task.count, task.weight, apart, number)
        )
    # Tuples instead of Order objects: the same bytes, and no object made for each.
    needed = _named(tasks) if again or ends.told else ()
    told = [(id, *end) for id in needed if (end := ends.get(id)) is not None]
    return encode(Submit(orders, terms, functions, again, told)), frames  # type: ignore[arg-type]


def _named(tasks: Sequence[Task]) -> set[int]:
    """The tasks that these depend on."""
    return {id for task in tasks for each in (task.after, task.follow) if each is not None for id in each.ids}


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
        task.part_of,
    )


def _relation(dependency: Dependency | None) -> Relation | None:
    if dependency is None:
        return None
    return Relation(sorted(dependency.ids), dependency.all, dependency.success, dependency.failure)


def deliver(task: Task, outcome: Any, engine: int | None) -> None:
    """Hand an outcome to whoever waits for it."""
    try:
        task.door.deliver(task, outcome, engine)
    except Exception:  # whatever is wrong behind that door, the rest must come about
        log.exception("an outcome of task %d could not be delivered", task.id)


def end(task: Task, status: int, detail: Any, ends: Ends) -> None:
    """End what has not ended of a task, without a controller."""
    ended = vars(task).get("ended") or ()
    for item in (each for each in range(task.first, task.count) if each not in ended):
        deliver(task, Ending(status, item, None, detail), None)
    if task.remembered:
        ends.note(task.id, False, None)


def has_ended(task: Task, item: int) -> bool:
    """Note the end of an item; False where it had ended before. (Those of an aborted map do not end in order.)"""
    ended: set[int] | None = vars(task).get("ended")
    if ended is None:
        if item == task.first:
            task.first += 1
            return True
        ended = vars(task).setdefault("ended", set())
    if item < task.first or item in ended:
        return False
    ended.add(item)
    while task.first in ended:
        ended.remove(task.first)
        task.first += 1
    return True
