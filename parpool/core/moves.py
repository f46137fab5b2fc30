"""When a client takes tasks back from one scheduler of a cluster, and gives them to another.

Within a scheduler no engine is idle while a task waits that it could run. Between schedulers only a client can see to
that, for its own tasks: where some of a scheduler's engines must be idle, as far as the client knows, and another one
has more for its engines than these can run at once, it asks for some of that back, the last of it. Items that have begun
stay; those behind them in the same task come back without them.

What the client does not know is what others have there. So tasks may wait where there are engines enough for them: it
asks for those, too, later and less and less often.
"""

from __future__ import annotations

from collections.abc import Mapping

SOON = 0.005  #: seconds that tasks must lie unevenly
LATER = 1.0  #: the same, where there may be no better place for them
LONGEST = 30.0  #: seconds between two attempts

#: Engines that may run what can run anywhere, and how much of that there is.
Standing = tuple[int, int]


class Moves:
    """Looks at how the tasks lie."""

    def __init__(self) -> None:
        #: tasks that were asked back, and are still there: where they are to go, and how many items of them
        self.asked: dict[int, tuple[int, int]] = {}
        self.due: float | None = None  #: when to look again, whatever happens
        self._pause = SOON
        self._surely = False

    def look(self, now: float, there: Mapping[int, Standing]) -> list[tuple[int, int]]:
        """Pairs of schedulers, of which the second is to be asked now for work for the first; the best of them first.

        ``there``: those that can be asked.
        """
        found, surely = _uneven(there)
        if not found:
            self.due = None
            return []
        if self.due is None or surely is not self._surely:
            self._pause, self._surely = SOON if surely else LATER, surely
            self.due = now + self._pause
        if now < self.due:
            return []
        self._pause = min(2 * self._pause, LONGEST)
        self.due = now + self._pause
        return found

    def came(self) -> None:
        """Something has come back: it was worth it, as far as is known."""
        if self._surely:
            self.due = None

    @property
    def long(self) -> bool:
        """Has it been so for long? Then what was asked for before may have changed."""
        return self._pause > LATER


def _uneven(there: Mapping[int, Standing]) -> tuple[list[tuple[int, int]], bool]:
    idle = [number for number, (engines, work) in there.items() if work < engines]
    idle.sort(key=lambda number: there[number][1] - there[number][0])
    some = [number for number, (_, work) in there.items() if work]
    full = [number for number in some if there[number][1] > there[number][0]]
    surely = bool(full)
    asked = sorted(full or some, key=lambda number: there[number][1] / (there[number][0] or 0.1), reverse=True)
    return [(one, another) for one in idle for another in asked if one != another], surely


def portion(of: Standing, to: Standing) -> int:
    """How much is to go so that both have the same for each of their engines; one at the least."""
    (engines, work), (others, theirs) = of, to
    if work <= engines:
        return (work + 1) // 2  # none waits, as far as is known
    return max(1, (work * others - theirs * engines) // (engines + others))
