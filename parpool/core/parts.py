"""Tasks that were cut: the items that an engine gave back are tasks of their own from then on.

To all others they stay one task under the id that it was submitted with: it is aborted as one, and has ended, for
those that depend on it, when its last part has.
"""

from __future__ import annotations

from collections.abc import Iterable

from .state import Task

FIRST_ID = 1 << 62  #: the ids of parts begin here, out of the way of all submitters and within 64 bits with a sign


class _Family:
    """The parts of one task that have not ended, and how the others did."""

    __slots__ = ("ids", "success")

    def __init__(self, id: int) -> None:
        self.ids = {id: None}
        self.success = True


class Parts:
    """All tasks that were cut and have not ended as a whole."""

    __slots__ = ("families", "_next")

    def __init__(self) -> None:
        self.families: dict[int, _Family] = {}  #: by the id of the whole
        self._next = FIRST_ID

    def of(self, id: int) -> Iterable[int]:
        """The ids of the parts of the task ``id``: of most, it alone."""
        family = self.families.get(id)
        return (id,) if family is None else tuple(family.ids)

    def cut(self, task: Task, item: int, pieces: int) -> list[Task]:
        """Make the items of ``task`` from ``item`` on new tasks: as many as ``pieces``, or as there are items."""
        whole = task.id if task.whole is None else task.whole
        family = self.families.get(whole)
        if family is None:
            family = self.families[whole] = _Family(whole)
        items = task.count - item
        pieces = min(pieces, items)
        parts = []
        for n in range(pieces):
            part = type(task)(self._next, task.function, task.payload, task.door)
            vars(part).update({name: value for name, value in vars(task).items() if name in _SHARED})
            part.whole = whole
            part.first = item + items * n // pieces
            part.count = part.weight = item + items * (n + 1) // pieces
            family.ids[part.id] = None
            self._next += 1
            parts.append(part)
        task.cost *= (item - task.first) / (task.count - task.first)
        task.count = task.weight = item
        return parts

    def ended(self, task: Task, success: bool) -> tuple[int, bool] | None:
        """A task ended: id and success of the whole that has ended with it; None where other parts of it live."""
        whole = task.id if task.whole is None else task.whole
        family = self.families.get(whole)
        if family is None:
            return whole, success
        family.success = family.success and success
        del family.ids[task.id]
        if family.ids:
            return None
        del self.families[whole]
        return whole, family.success


_SHARED = frozenset(
    {"kind", "retries", "limit", "targets", "policy", "remembered", "tag", "queue", "places", "excluded", "aborting"}
)
