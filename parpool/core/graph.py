"""Tasks that wait for other tasks: when (``after``) and where (``follow``) they may run.

The graph holds only what is waiting and, for a bounded time, how the tasks ended that others may still name. It
answers with verdicts; the scheduler acts on them.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator

from .state import Dependency, Task

REMEMBERED = 65536  #: ended tasks whose end is remembered for those that will depend on them

#: verdicts
READY, BLOCKED, NEVER = "ready", "blocked", "never"


class Graph:
    """Who waits for whom."""

    __slots__ = ("_ended", "_waiting", "_dependents", "_open", "_expiries")

    def __init__(self) -> None:
        #: id of an ended task -> (did it succeed, the engine that ran it)
        self._ended: OrderedDict[int, tuple[bool, int | None]] = OrderedDict()
        self._waiting: dict[int, Task] = {}
        #: id of a live task -> ids of the tasks that wait for it, in order
        self._dependents: dict[int, dict[int, None]] = {}
        #: id of a waiting task -> how many of the tasks it names have not ended
        self._open: dict[int, int] = {}
        self._expiries: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> Iterator[Task]:
        """The tasks that wait, in the order in which they came."""
        return iter(self._waiting.values())

    def judge(self, task: Task, alive: Collection[int]) -> tuple[str, str]:
        """``READY``, ``BLOCKED`` or ``NEVER``, and for the last the reason. ``alive``: ids of tasks not yet ended."""
        verdict = READY
        for word, dependency in (("after", task.after), ("follow", task.follow)):
            if dependency is None:
                continue
            met, failed, pending, unknown = self._count(dependency, alive)
            if unknown and (dependency.all or not (met or pending)):
                return NEVER, f"{word}: no task {unknown[0]} is known (unknown, or forgotten long after its end)"
            if dependency.all:
                if failed:
                    return NEVER, f"{word}: task {failed[0]} ended in a way that this dependency excludes"
                if pending:
                    verdict = BLOCKED
            elif not met and dependency.ids:
                if not pending:
                    return NEVER, f"{word}: every task that it named ended in a way that this dependency excludes"
                verdict = BLOCKED
        return verdict, ""

    def _count(self, dependency: Dependency, alive: Collection[int]) -> tuple[int, list[int], int, list[int]]:
        met, pending = 0, 0
        failed: list[int] = []
        unknown: list[int] = []
        for id in dependency.ids:
            end = self._ended.get(id)
            if end is not None:
                if (dependency.success if end[0] else dependency.failure):
                    met += 1
                else:
                    failed.append(id)
            elif id in alive:
                pending += 1
            else:
                unknown.append(id)
        return met, failed, pending, unknown

    def places(self, task: Task) -> frozenset[int] | None:
        """Engines on which ``follow`` lets a ready task run; None where it does not say."""
        dependency = task.follow
        if dependency is None or not dependency.ids:
            return None
        ran: list[int] = []
        for id in dependency.ids:
            end = self._ended.get(id)
            if end is not None and (dependency.success if end[0] else dependency.failure) and end[1] is not None:
                ran.append(end[1])
        places = frozenset(ran)
        if dependency.all and len(places) > 1:
            return frozenset()  # no engine ran all of them
        return places

    def hold(self, task: Task, alive: Collection[int], now: float) -> None:
        """Keep a blocked task until the tasks that it names have ended."""
        named = (task.after.ids if task.after else frozenset()) | (task.follow.ids if task.follow else frozenset())
        pending = [id for id in named if id in alive]
        for id in pending:
            self._dependents.setdefault(id, {})[task.id] = None
        self._waiting[task.id] = task
        self._open[task.id] = len(pending)
        if task.patience is not None:
            heapq.heappush(self._expiries, (now + task.patience, task.id))

    def drop(self, task: Task) -> None:
        """Forget a task that waits no longer."""
        del self._waiting[task.id]
        del self._open[task.id]
        for dependency in (task.after, task.follow):
            for id in dependency.ids if dependency else ():
                dependents = self._dependents.get(id)
                if dependents is not None:
                    dependents.pop(task.id, None)
                    if not dependents:
                        del self._dependents[id]

    def ended(self, task: Task, success: bool, engine: int | None) -> list[Task]:
        """Note the end of a task; answers which waiting tasks must be judged again."""
        if task.remembered:
            self._ended[task.id] = (success, engine)
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)
        dependents = self._dependents.pop(task.id, None)
        if not dependents:
            return []
        if not task.remembered:  # somebody names it after all
            self._ended[task.id] = (success, engine)
        again = []
        for id in dependents:
            waiting = self._waiting[id]
            self._open[id] -= 1
            # With "all", nothing changes until the last one ends, unless this end excludes it for good.
            patient = self._open[id] and success and _wants_all_successes(waiting)
            if not patient:
                again.append(waiting)
        return again

    def expired(self, now: float) -> Iterable[Task]:
        """Waiting tasks whose patience has ended."""
        while self._expiries and self._expiries[0][0] <= now:
            _, id = heapq.heappop(self._expiries)
            task = self._waiting.get(id)
            if task is not None:
                yield task

    def next_expiry(self) -> float | None:
        """When the next waiting task loses its patience."""
        while self._expiries and self._expiries[0][1] not in self._waiting:
            heapq.heappop(self._expiries)
        return self._expiries[0][0] if self._expiries else None


def _wants_all_successes(task: Task) -> bool:
    return all(d is None or (d.all and d.success) for d in (task.after, task.follow))
