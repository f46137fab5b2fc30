"""Tasks that wait in a client, as what they depend on is with several schedulers, or with none yet.

They wait by the scheduler's own rules: it is the same graph. A task that waits no longer goes to a scheduler with the
ends of those that it has waited for, and that one comes to the same verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..core.graph import BLOCKED, Graph
from ..core.state import Dependency, Task
from .orders import Ends


class WaitingRoom:
    """``ends``: of tasks of this client. ``alive``: is this one that has not ended, apart from those in here?"""

    def __init__(self, ends: Ends, alive: Callable[[int], bool]) -> None:
        self._ends = ends
        self._elsewhere = alive
        self._graph = Graph()  #: of what stands for each of the tasks, which has it as its tag
        self._through: list[Task] = []

    def __len__(self) -> int:
        return len(self._graph.waiting) + len(self._through)

    def __contains__(self, id: int) -> bool:
        return id in self._graph.waiting or any(task.id == id for task in self._through)

    def __iter__(self) -> Iterator[Task]:
        return iter([stands.tag for stands, _ in self._graph.waiting.values()] + self._through)

    def may_decide(self, task: Task) -> bool:
        """Has one of those ended of which any will do? Then it is of no consequence where the others are."""
        after = task.after
        return after is not None and not after.all and any(self._ends.get(id) is not None for id in after.ids)

    def add(self, task: Task, now: float) -> None:
        """Let a task wait."""
        stands = Task(task.id, patience=task.patience, tag=task)
        # Of tasks that nothing is known of here (another client's, or long ended), the scheduler will know.
        stands.after, stands.follow = (_part(each, self._is_known) for each in (task.after, task.follow))
        ends = self._graph.ends
        ends.update((id, end) for id in named(stands) if (end := self._ends.get(id)) is not None)
        if self._graph.add(stands, self._is_alive, now)[0] != BLOCKED:
            self._through.append(task)
        ends.clear()

    def ended(self, id: int, success: bool, engine: int | None) -> None:
        """A task has ended that others may wait for."""
        if id in self._graph.dependents:
            self._through += [stands.tag for stands, _, _ in self._graph.ended(id, success, engine)]

    def through(self) -> list[Task]:
        """Those that wait no longer. They are in here no more."""
        tasks, self._through = self._through, []
        for task in tasks:
            # Where its fate is decided before all have ended, the others are of no consequence.
            for word in ("after", "follow"):
                if (dependency := getattr(task, word)) is not None:
                    setattr(task, word, _part(dependency, lambda id: not self._is_alive(id)))
        return tasks

    def expired(self, now: float) -> Iterator[Task]:
        """Those that have lost their patience, one by one. They are in here no more."""
        for stands in self._graph.expired(now):
            yield stands.tag

    def next_expiry(self) -> float | None:
        """When the next one loses its patience."""
        return self._graph.next_expiry()

    def take(self, ids: Iterable[int]) -> list[Task]:
        """Those of ``ids`` that are here, and are here no more."""
        wanted = set(ids)
        found = [task for task in self if task.id in wanted]
        self._through = [task for task in self._through if task.id not in wanted]
        for stands in [self._graph.waiting[task.id][0] for task in found if task.id in self._graph.waiting]:
            self._graph.drop(stands)
        return found

    def _is_alive(self, id: int) -> bool:
        return id in self or self._elsewhere(id)

    def _is_known(self, id: int) -> bool:
        return self._is_alive(id) or self._ends.get(id) is not None


def named(task: Task) -> set[int]:
    """The tasks that this one depends on."""
    return {id for each in (task.after, task.follow) if each is not None for id in each.ids}


def _part(dependency: Dependency | None, which: Callable[[int], bool]) -> Dependency | None:
    """A dependency on some of the tasks that it names."""
    if dependency is None:
        return None
    ids = frozenset(filter(which, dependency.ids))
    return Dependency(ids, dependency.all, dependency.success, dependency.failure)
