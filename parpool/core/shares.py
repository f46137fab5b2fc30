"""Of several schedulers of a cluster, which one a task goes to.

Scheduler ``k`` of ``n`` has the engines whose ids are ``k`` modulo ``n``. What is known here is how many engines each has,
and what this client has under way there. What other clients have there is not, so where two are equal they take turns:
clients with little to do each are spread, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence


class Shares:
    """Chooses among ``count`` schedulers."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.engines = [0] * count  #: that serve
        self.load = [0] * count  #: tasks under way that compete for them
        self.serving: frozenset[int] = frozenset()  #: all engines that serve
        self.gone: set[int] = set()  #: those that will never answer again
        self._turn = 0
        self._open: list[int] = []  #: those that have engines

    def of(self, engine: int) -> int:
        """The scheduler that has an engine."""
        return engine % self.count

    def served(self, engines: Iterable[int]) -> None:
        """These engines serve now."""
        self.serving = frozenset(engines)
        found = Counter(map(self.of, self.serving))
        self.engines = [found[number] for number in range(self.count)]
        self._open = [number for number in range(self.count) if found[number] and number not in self.gone]

    def least(self) -> int | None:
        """:meth:`choose` for a task that any engine may run."""
        return self._least(self._open, self.engines) if self._open else None

    def choose(
        self, targets: Iterable[int] | None = None, near: Sequence[int] = (), but: Collection[int] = ()
    ) -> int | None:
        """A scheduler for one more task; None where no engine is there that could ever run it, and one may come.

        ``targets``: the engines that may run it, None for any. ``near``: schedulers with something that it depends on,
        once for each of those. ``but``: schedulers that cannot run it.
        """
        weights, found = self.engines, Counter[int]()
        if targets is not None:
            found = Counter(map(self.of, targets))
            weights = [found[number] for number in range(self.count)]
            if len(found) == 1:
                return next(iter(found))
        no = self.gone.union(but) if but else self.gone
        allowed = [number for number in range(self.count) if weights[number] and number not in no]
        for number, _ in Counter(near).most_common():
            if number in allowed:
                return number
        if not allowed:
            return None if targets is None else next(iter(found), 0)
        return self._least(allowed, weights)

    def others(self, targets: Iterable[int] | None, but: Collection[int]) -> bool:
        """Is there another scheduler, but for these, with engines that might run a task?"""
        found = set(range(self.count)) if targets is None else set(map(self.of, targets))
        return any(self.engines[number] for number in found - self.gone - set(but))

    def may_run(self, number: int, targets: Iterable[int] | None) -> bool:
        """Has this scheduler engines that might run a task?"""
        if targets is None:
            return bool(self.engines[number])
        return any(self.of(id) == number and id in self.serving for id in targets)

    def _least(self, allowed: Sequence[int], weights: Sequence[int]) -> int:
        """The one with the least to do for each of its engines."""
        self._turn = turn = (self._turn + 1) % len(allowed)
        load, best = self.load, allowed[turn]
        most, weight = load[best], weights[best]
        for number in allowed:
            if load[number] * weight < most * weights[number]:
                best, most, weight = number, load[number], weights[number]
        return best
