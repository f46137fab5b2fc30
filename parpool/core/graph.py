"""Tasks that wait for other tasks: when (``after``) and where (``follow``) they may run.

The graph holds only what is waiting and, for a bounded time, how the tasks ended that others may still name. What a
waiting task needs is kept as a tally, so the end of a task that a thousand wait for costs a thousand small steps, and
nothing that a waiting task has seen end can be forgotten under it. The graph answers with verdicts; the scheduler
acts on them.

Most tasks end with nobody waiting for them. Their whole cost here is one entry in a dict.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import islice

from .state import Dependency, Task

REMEMBERED = 65536  #: ended tasks whose end is remembered, at the most, for those that will depend on them
SHARE = 16  #: where they are more, one in so many is forgotten at once: to look for the oldest each time would be slow

#: verdicts
READY, BLOCKED, NEVER = "ready", "blocked", "never"

#: the two sorts of dependency, in the words of the user
AFTER, FOLLOW = "after", "follow"


class _Tally:
    """How far one dependency is met."""

    __slots__ = ("word", "dependency", "pending", "met", "excluded", "unknown", "ran")

    def __init__(self, word: str, dependency: Dependency) -> None:
        self.word = word
        self.dependency = dependency
        self.pending: set[int] = set()  #: named, and not ended
        self.met = 0
        self.excluded: int | None = None  #: one that ended in a way that the dependency excludes
        self.unknown: int | None = None  #: one that nothing is known of
        self.ran: set[int] | None = set() if word == FOLLOW else None  #: the engines of those that meet it

    def note(self, id: int, success: bool, engine: int | None) -> bool:
        """One of the tasks that it names has ended; False where the verdict is certainly what it was."""
        dependency = self.dependency
        if dependency.success if success else dependency.failure:
            self.met += 1
            if self.ran is not None and engine is not None:
                self.ran.add(engine)
            return not (self.pending and dependency.all)
        self.excluded = id
        return True

    def verdict(self) -> tuple[str, str]:
        """What to do, and for NEVER why."""
        if self.dependency.all:
            if self.unknown is None and self.excluded is None:
                return (BLOCKED if self.pending else READY), ""
        elif self.met or not self.dependency.ids:
            return READY, ""
        elif self.pending:
            return BLOCKED, ""
        if self.unknown is not None:
            return NEVER, f"{self.word}: no task {self.unknown} is known (unknown, or forgotten long after its end)"
        if self.dependency.all:
            return NEVER, f"{self.word}: task {self.excluded} ended in a way that this dependency excludes"
        return NEVER, f"{self.word}: every task that it named ended in a way that this dependency excludes"

    def places(self) -> frozenset[int] | None:
        """The engines that ran what meets it; None where it names nothing, or says nothing of engines."""
        if self.ran is None or not self.dependency.ids:
            return None
        if self.dependency.all and len(self.ran) > 1:
            return frozenset()  # no engine ran all of them
        return frozenset(self.ran)


class Graph:
    """Who waits for whom."""

    __slots__ = ("ends", "waiting", "dependents", "expiries", "_end")

    def __init__(self) -> None:
        #: id of an ended task -> (did it succeed, the engine that ran it); in the order of their ends
        self.ends: dict[int, tuple[bool, int | None]] = {}
        self._end: tuple[bool, int | None] = (True, None)  #: the last of them: many in a row are the same
        self.waiting: dict[int, tuple[Task, list[_Tally]]] = {}  #: in the order in which they came
        #: id of a live task -> ids of the tasks that wait for it, in order
        self.dependents: dict[int, dict[int, None]] = {}
        #: (when, id): a heap of when waiting tasks lose their patience, and some that wait no more
        self.expiries: list[tuple[float, int]] = []

    def add(self, task: Task, alive: Callable[[int], bool], now: float) -> tuple[str, str]:
        """Judge a new task; keep it where the verdict is BLOCKED. ``alive``: is this the id of a task not yet ended?"""
        tallies = []
        ends, dependents, own = self.ends, self.dependents, task.id
        for word, dependency in ((AFTER, task.after), (FOLLOW, task.follow)):
            if dependency is None:
                continue
            tally = _Tally(word, dependency)
            tallies.append(tally)
            for id in dependency.ids:
                end = ends.get(id)
                if end is not None:
                    tally.note(id, end[0], end[1])
                elif id != own and alive(id):
                    tally.pending.add(id)
                else:
                    tally.unknown = id
        verdict, reason = _verdict(task, tallies)
        if verdict == BLOCKED:
            self.waiting[own] = task, tallies
            for tally in tallies:
                for id in tally.pending:
                    those = dependents.get(id)
                    if those is None:
                        dependents[id] = {own: None}
                    else:
                        those[own] = None
            if task.patience is not None:
                heapq.heappush(self.expiries, (now + task.patience, task.id))
        return verdict, reason

    def drop(self, task: Task) -> None:
        """Forget a task that waits no longer."""
        _, tallies = self.waiting.pop(task.id)
        for tally in tallies:
            for id in tally.pending:
                dependents = self.dependents.get(id)
                if dependents is not None:
                    dependents.pop(task.id, None)
                    if not dependents:
                        del self.dependents[id]
        if len(self.expiries) > 2 * len(self.waiting):  # long patience must not keep what waits no more
            self.expiries = [entry for entry in self.expiries if entry[1] in self.waiting]
            heapq.heapify(self.expiries)

    def remember(self, id: int, success: bool, engine: int | None) -> None:
        """Keep the end of a task, for those that will depend on it."""
        ends, end = self.ends, self._end
        if end[1] != engine or end[0] is not success:
            end = self._end = (success, engine)
        ends[id] = end
        self.shed()

    def shed(self) -> None:
        """Forget the oldest ends, where there are too many."""
        while len(self.ends) > REMEMBERED:
            for oldest in list(islice(self.ends, REMEMBERED // SHARE or 1)):
                del self.ends[oldest]

    def ended(self, id: int, success: bool, engine: int | None) -> list[tuple[Task, str, str]]:
        """Tell those that wait for a task of its end; gives those that wait no more, with verdict and reason."""
        decided = []
        for waiting in self.dependents.pop(id, ()):
            task, tallies = self.waiting[waiting]
            stirred = False
            for tally in tallies:
                if id in tally.pending:
                    tally.pending.remove(id)
                    stirred = tally.note(id, success, engine) or stirred
            if stirred:
                verdict, reason = _verdict(task, tallies)
                if verdict != BLOCKED:
                    decided.append((task, verdict, reason))
        for task, _, _ in decided:
            self.drop(task)
        return decided

    def expired(self, now: float) -> Iterator[Task]:
        """Drop the tasks whose patience has ended, one by one."""
        while self.expiries and self.expiries[0][0] <= now:
            _, id = heapq.heappop(self.expiries)
            if id in self.waiting:
                task, _ = self.waiting[id]
                self.drop(task)
                yield task

    def next_expiry(self) -> float | None:
        """When the next waiting task loses its patience."""
        while self.expiries and self.expiries[0][1] not in self.waiting:
            heapq.heappop(self.expiries)
        return self.expiries[0][0] if self.expiries else None


def _verdict(task: Task, tallies: list[_Tally]) -> tuple[str, str]:
    """On all that a task waits for; a task that is ready learns its places."""
    blocked = False
    for tally in tallies:
        verdict, reason = tally.verdict()
        if verdict == NEVER:
            return verdict, reason
        blocked = blocked or verdict == BLOCKED
    if blocked:
        return BLOCKED, ""
    for tally in tallies:
        if tally.ran is not None:
            task.places = tally.places()
    return READY, ""
