"""Tasks that were cut: the items that an engine gave back are tasks of their own from then on.

To all others they stay one task under the id that it was submitted with: it is aborted as one, and has ended, for
those that depend on it, when its last part has. The id of a part says which task it is of and which part of it, so a
host that follows one that died can tell, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .state import Task

WHOLE_BITS = 57  #: the ids of tasks that are submitted are below 2 to the power of this
MOST = 31  #: parts of a task whose ids say so
FIRST_ID = 1 << 62  #: further ones begin here; within 64 bits with a sign


def whole_of(id: int) -> int:
    """The task that a task of this id is a part of; itself, where it is none."""
    return id & ((1 << WHOLE_BITS) - 1)


class _Family:
    """The parts of one task that have not ended, and how the others did."""

    __slots__ = ("ids", "success", "parts")

    def __init__(self, id: int) -> None:
        self.ids = {id: None}
        self.success = True
        self.parts = 0  #: how many were made


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

    def can_tell(self, id: int) -> bool:
        """Would the ids of further parts of this task say what they are?"""
        family = self.families.get(whole_of(id))
        return family is None or family.parts < MOST

    def cut(self, task: Task, item: int, pieces: int) -> list[Task]:
        """Make the items of ``task`` from ``item`` on new tasks: as many as ``pieces``, or as there are items."""
        whole = task.origin
        family = self.families.get(whole)
        if family is None:
            family = self.families[whole] = _Family(whole)
        items = task.count - item
        pieces = min(pieces, items)
        if family.parts < MOST:
            pieces = min(pieces, MOST - family.parts)
        ranges = [(item + items * n // pieces, item + items * (n + 1) // pieces) for n in range(pieces)]
        parts = [self._part(family, task, whole, *each) for each in ranges]
        task.cost *= (item - task.first) / (task.count - task.first)
        task.count = task.weight = item
        return parts

    def _part(self, family: _Family, task: Task, whole: int, first: int, count: int, id: int | None = None) -> Task:
        if id is None:
            family.parts += 1
            id = whole | family.parts << WHOLE_BITS
            if family.parts > MOST:
                id = self._next
                self._next += 1
        part = type(task)(id, task.function, task.payload, task.door)
        vars(part).update({name: value for name, value in vars(task).items() if name in _SHARED})
        part.whole = whole
        part.first = first
        part.count = part.weight = count
        family.ids[id] = None
        return part

    def reserve(self, task: Task, id: int) -> None:
        """Some items of a task are to be another one, called ``id``, whatever becomes of the rest of it meanwhile."""
        whole = task.origin
        self.families.setdefault(whole, _Family(whole)).ids[id] = None

    def unreserve(self, task: Task, id: int) -> None:
        """They are not: it stays one."""
        whole = task.origin
        del self.families[whole].ids[id]
        if whole == task.id:
            del self.families[whole]

    def divide(self, task: Task, ranges: Mapping[int, tuple[int, int]]) -> list[Task]:
        """Make these items of a task, which it does not have any more, tasks of their own, by their ids.

        The rest of it goes on, where it has some.
        """
        whole = task.origin
        family = self.families[whole]
        if task.first >= task.count:
            family.ids.pop(task.id, None)
            family.success = family.success and not task.failed
        return [self._part(family, task, whole, *items, id) for id, items in ranges.items()]

    def restore(self, task: Task, ranges: Mapping[int, tuple[int, int]], ended: frozenset[int]) -> list[Task]:
        """The parts of a task that an earlier host has cut: those with ids that it gave them, and of the rest new ones.

        ``ranges``: the items that each has, by its id; those of the whole under its own. ``ended``: items that have.
        """
        whole = task.id
        family = self.families[whole] = _Family(whole)
        family.parts = max([0, *(id >> WHOLE_BITS for id in ranges)])
        left = [item for item in range(task.first, task.count) if item not in ended]
        parts: list[Task] = []
        for id, (first, count) in ranges.items():
            mine = [item for item in left if first <= item < count]
            left = [item for item in left if not first <= item < count]
            if mine and id != whole:
                parts.append(self._part(family, task, whole, mine[0], count, id))
            elif mine:
                parts.append(task)
                kept = (mine[0], count)
        while left:
            run = next((n for n, item in enumerate(left) if item != left[0] + n), len(left))
            parts.append(self._part(family, task, whole, left[0], left[run - 1] + 1))
            left = left[run:]
        if task in parts:
            task.first, task.count, task.weight = *kept, kept[1]
        else:
            del family.ids[whole]
        if not parts:
            del self.families[whole]
        return parts

    def ended(self, task: Task, success: bool) -> tuple[int, bool] | None:
        """A task ended: id and success of the whole that has ended with it; None where other parts of it live."""
        return self.end(task.id, task.origin, success)

    def end(self, id: int, whole: int, success: bool) -> tuple[int, bool] | None:
        """:meth:`ended`, of what is known by its id, and by that of the whole."""
        family = self.families.get(whole)
        if family is None:
            return whole, success
        family.success = family.success and success
        del family.ids[id]
        if family.ids:
            return None
        del self.families[whole]
        return whole, family.success


_SHARED = frozenset(
    {"kind", "retries", "limit", "targets", "policy", "remembered", "tag", "part_of"}
    | {"queue", "places", "excluded", "aborting"}
)
