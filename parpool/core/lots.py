"""What a client has with one scheduler of several: how many of its engines have something to do, as far as that tells.

A task for one engine alone occupies that one, and no other, however many of these there are. One that waits for others
occupies none. What else there is (*loose*) occupies as many engines as it has items: each of them can run on another one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping

from .state import Task

#: Items of tasks, by what these are known as outside: ranges of them, the first and the one behind the last.
Rests = dict[int, tuple[tuple[int, int], ...]]

_ONE = ((0, 1),)
KEPT = 64  #: ids of tasks that have ended which are no reason to look for more of them


class Lot:
    """``tasks``: those that are there and have not ended, by id."""

    __slots__ = ("_tasks", "_pins", "_pinned", "_waiting", "_several")

    def __init__(self, tasks: Mapping[int, Task]) -> None:
        self._tasks = tasks
        self._pins: dict[int, int] = {}  #: of tasks for one engine alone: that
        self._pinned: Counter[int] = Counter()  #: by engine: how many these are
        self._waiting: set[int] = set()  #: tasks that wait for others
        self._several: deque[int] = deque()  #: loose tasks of several items, and such as have ended

    def add(self, task: Task, waits: bool = False) -> None:
        """A task goes there."""
        if waits:
            self._waiting.add(task.id)
        elif task.targets is not None and len(task.targets) == 1:
            (engine,) = task.targets
            self._pins[task.id] = engine
            self._pinned[engine] += 1
        elif task.count > 1:
            self._several.append(task.id)

    def waits_no_longer(self, task: Task) -> None:
        """What a task waited for has ended."""
        if task.id in self._waiting:
            self._waiting.remove(task.id)
            self.add(task)

    def ended(self, id: int) -> None:
        """A task is there no more. (That of loose ones need not be told.)"""
        self._waiting.discard(id)
        engine = self._pins.pop(id, None)
        if engine is not None:
            self._pinned[engine] -= 1
            if not self._pinned[engine]:
                del self._pinned[engine]

    def standing(self, engines: int) -> tuple[int, int]:
        """How many of so many engines there are for what is loose, and how many items that are; where they are more than
        those engines, perhaps not all."""
        if len(self._several) > 2 * len(self._tasks) + KEPT:
            self._shed()
        capacity = max(0, engines - len(self._pinned))
        loose = self._loose(len(self._tasks))
        return capacity, loose if loose > capacity else loose + self._further()

    def items(self) -> int:
        """How many loose items there are."""
        return self._loose(len(self._tasks)) + self._further()

    def load(self, under_way: int) -> int:
        """How many tasks compete for the engines, where so many are there or on their way."""
        return self._loose(under_way) + len(self._pinned)

    def _loose(self, tasks: int) -> int:
        return max(0, tasks - len(self._pins) - len(self._waiting))

    def _further(self) -> int:
        """Items of loose tasks, but for one of each."""
        self._shed()
        return sum(items_left(self._tasks[id]) - 1 for id in self._several)

    def _shed(self) -> None:
        tasks = self._tasks
        self._several = deque(id for id in self._several if id in tasks)


def items_left(task: Task) -> int:
    """How many items of a task have not ended."""
    return task.count - task.first - len(vars(task).get("ended") or ())


def rests(tasks: Iterable[Task]) -> Rests:
    """The items of tasks that have not ended."""
    found: Rests = {}
    for task in tasks:
        if task.count == 1 and task.whole is None and task.part_of is None:
            found[task.id] = _ONE  # as most are
            continue
        first, known_as = task.first, task.known_as
        for item in (*sorted(vars(task).get("ended") or ()), task.count):
            if first < item:
                found[known_as] = *found.get(known_as, ()), (first, item)
            first = item + 1
    return found
