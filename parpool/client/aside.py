"""What has come back of tasks of several items, which are on their way from one scheduler of a cluster to another.

What has begun of such a task stays where it is. The rest becomes tasks of their own, with numbers of their own, so that
each is with one scheduler at a time, as all tasks are. For results, and for the hub, they are the task that they are of.
"""

from __future__ import annotations

from ..core.state import Task
from .orders import has_ended


class Aside:
    """Items of ``task`` that scheduler ``number`` has given back in one step; ``id``: of the first part of them."""

    def __init__(self, number: int, task: Task, id: int) -> None:
        self.number = number
        self.task = task
        self.id = id
        self._items: list[int] = []

    def __len__(self) -> int:
        return len(self._items)

    def take(self, item: int) -> bool:
        """An item has come back; was it the last that the task had?"""
        if has_ended(self.task, item):
            self._items.append(item)
        return self.task.first >= self.task.count

    def put_together(self) -> bool:
        """Where it is all that the task has ever had: make it the task again. Is it?"""
        task, begin = self.task, vars(self.task).get("begin", 0)
        if len(self._items) < task.count - begin:
            return False
        task.first = begin
        vars(task).pop("ended", None)
        return True

    def runs(self, most: int) -> list[tuple[int, int, bool]]:
        """Runs of successive items: first, last, and whether they go. Of all of them the last go, so many at the
        ``most``."""
        items = sorted(self._items)
        edge = items[max(0, len(items) - most)] if most > 0 else items[-1] + 1
        runs: list[tuple[int, int, bool]] = []
        for item in items:
            goes = item >= edge
            if runs and runs[-1][1] == item - 1 and runs[-1][2] is goes:
                runs[-1] = runs[-1][0], item, goes
            else:
                runs.append((item, item, goes))
        return runs


def begin(part: Task, of: Task, whole: int) -> None:
    """A part that was just made, of a part or all of the task ``whole``."""
    part.remembered, part.part_of = True, whole  # its end is noted, as the whole ends with the last of its parts
    known = vars(part)
    known["begin"] = part.first
    known.update({name: vars(of)[name] for name in ("tried", "asked") if name in vars(of)})
