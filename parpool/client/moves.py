"""When a client takes tasks back from one scheduler of a cluster, and gives them to another.

Within a scheduler no engine is idle while a task waits that it could run. Between schedulers only a client can see to
that, for its own tasks: where some of a scheduler's engines must be idle, as far as the client knows, and another one
has more tasks than engines, it asks for some of them back, the last ones. Those that have begun stay.

What the client does not know is what others have there. So tasks may wait where there are engines enough for them; when
nothing at all is under way at another scheduler, it asks for those, too, later and less and less often.
"""

from __future__ import annotations

from collections.abc import Collection

from .shares import Shares

SOON = 0.005  #: seconds that tasks must lie unevenly
LATER = 1.0  #: the same, where there may be no better place for them
LONGEST = 30.0  #: seconds between two attempts


class Moves:
    """Looks at how the tasks lie that ``shares`` has dealt out."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self.asked: dict[int, None] = {}  #: tasks that were asked back, and are still there
        self.due: float | None = None  #: when to look again, whatever happens
        self._pause = SOON

    def look(self, now: float, there: Collection[int]) -> tuple[int, int] | None:
        """A scheduler, and how many tasks to ask back from it now. ``there``: those that can be asked."""
        found = self._uneven(there)
        if found is None:
            self.due, self._pause = None, SOON
            return None
        scheduler, count, surely = found
        if self.due is None:
            self._pause = SOON if surely else LATER
            self.due = now + self._pause
        if now < self.due:
            return None
        self._pause = min(2 * self._pause, LONGEST)
        self.due = now + self._pause
        return scheduler, count

    def came(self) -> None:
        """Something has come back: it was worth it."""
        self.due = None

    def _uneven(self, there: Collection[int]) -> tuple[int, int, bool] | None:
        load, engines = self._shares.load, self._shares.engines
        idle = max(there, key=lambda number: engines[number] - load[number], default=0)
        if not there or engines[idle] <= load[idle]:
            return None
        others = [number for number in there if number != idle and load[number]]
        if not others:
            return None
        full = max(others, key=lambda number: load[number] / (engines[number] or 0.1))
        if load[full] > engines[full]:
            both = engines[idle] + engines[full]
            return full, max(1, (load[full] * engines[idle] - load[idle] * engines[full]) // both), True
        return (full, (load[full] + 1) // 2, False) if not load[idle] else None
