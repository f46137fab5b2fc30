"""Engines that were out of sight, and what they hold: the part of the scheduler for hosts that outlive connections, and
that follow one another.

An engine that comes back says what it holds. What it was sent and does not hold, and has not reported, never arrived.
A host that follows one that died does not know the tasks yet: it awaits the engines of that time, and *adopts* their
tasks when those are submitted again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from .dispatch import Dispatch
from .effects import Effects
from .ledger import Ledger
from .state import REVOKING, SENT, Engine, Task


class Returns:
    """Of the scheduler."""

    engines: dict[int, Engine]
    tasks: dict[int, Task]
    _ledger: Ledger
    _dispatch: Dispatch

    def engine_awaited(self, id: int, now: float) -> None:
        """An engine of an earlier life is thought to be there, with tasks that will be adopted. It gets nothing."""
        if id in self.engines:
            raise ValueError(f"engine {id} has joined already")
        engine = self.engines[id] = Engine(id, None, now)
        self._ledger.queues.joined(engine)
        engine.awaited = True
        engine.since = inf  # no time is up before it is back

    def engine_returned(
        self, id: int, held: Iterable[int], now: float, rests: Iterable[tuple[int, int]] = ()
    ) -> Effects:
        """An engine that was cut off, or awaited, says what it holds, after it has reported what has ended.

        It takes nothing that is on its way. So the rest of what it was sent has never arrived there. Of ``rests`` (a
        task, an item) it has given back that item and those behind it.
        """
        effects = Effects()
        engine = self.engines[id]
        engine.awaited = False
        has = frozenset(held)
        for task in reversed([task for task in engine.held.values() if task.id not in has]):
            self._dispatch.release(engine, task)
            self._ledger.queue(task, effects, front=True)
        self._take_back(engine, (), rests, effects)
        again = [task.id for task in engine.held.values() if task.state == REVOKING]  # nobody may have told it so
        if again:
            effects.revoke.append((id, again))
        engine.since = now
        self._dispatch.relax(engine, effects)
        self._dispatch.assign(effects, now)
        return effects

    def not_held(self, id: int, task: Task, now: float) -> Effects:
        """What an engine has not reported of an adopted task, it does not hold either."""
        effects = Effects()
        engine = self.engines[id]
        if task.id in engine.held:
            self._dispatch.release(engine, task)
            self._ledger.queue(task, effects, front=True)
            self._dispatch.relax(engine, effects)
            self._dispatch.assign(effects, now)
        return effects

    def restore(self, task: Task, ranges: Mapping[int, tuple[int, int]], ended: frozenset[int]) -> list[Task]:
        """A task that was cut in an earlier life: its parts, to be adopted or submitted each by itself.

        ``ranges``: the items of those that are known, by id, ``ended``: items that have ended.
        """
        return self._ledger.parts.restore(task, ranges, ended)

    def parts_of(self, id: int) -> Iterable[int]:
        """The ids of the parts of a task: of most, its own alone."""
        return self._ledger.parts.of(id)

    def can_be_told(self, id: int) -> bool:
        """If this task were cut, would a later life know its parts?"""
        return self._ledger.parts.can_tell(id)

    def adopt(self, task: Task, id: int, now: float) -> None:
        """A task of an earlier life that this engine holds."""
        engine = self.engines[id]
        self.tasks[task.id] = task
        task.state, task.engine, task.adopted = SENT, id, True
        # In front: it was sent before all that is sent from here on.
        later = [each for each in engine.held.values() if not each.adopted]
        for each in later:
            del engine.held[each.id]
        engine.held[task.id] = task
        engine.held.update((each.id, each) for each in later)
        self._dispatch.adopted(engine, task)

    def ended_before(self, task: Task, success: bool, engine: int | None) -> Effects:
        """A task of an earlier life, or a part of one, whose outcomes are known: it has ended."""
        effects = Effects()
        self.tasks[task.id] = task
        task.state, task.engine = SENT, engine
        self._ledger.end(task, success, engine, effects)
        return effects

    def _take_back(
        self, engine: Engine, ids: Iterable[int], rests: Iterable[tuple[int, int]], effects: Effects
    ) -> None:
        """Queue what an engine has given back: tasks, and items of tasks from one on."""
        back: list[Task] = []
        through: list[Task] = []
        for id, item in rests:
            task = engine.held.get(id)
            if task is None:
                continue
            if item == task.first and not item:
                back.append(task)  # nothing of it has begun
                continue
            task.state = SENT
            if task.first <= item < task.count:
                back += self._cut(engine, task, item)
                if item == task.first:  # all that had begun of it has ended meanwhile, and so has what is left of it
                    through.append(task)
            task.aborting = False  # the items that it still has have begun
        back += [task for id in ids if (task := engine.held.get(id)) is not None]
        for task in reversed(back):
            if task.engine is not None:
                self._dispatch.release(engine, task)
            self._ledger.queue(task, effects, front=True)
        for task in through:
            del engine.held[task.id]
            engine.load -= task.cost
            engine.limited -= task.limit is not None
            self._ledger.end(task, True, engine.id, effects)

    def _cut(self, engine: Engine, task: Task, item: int) -> list[Task]:
        """Make the items of a running task from ``item`` on tasks of their own, one for each idle engine."""
        engine.load -= task.cost
        parts = self._ledger.parts.cut(task, item, len(self._dispatch.idle) or 1)
        engine.load += task.cost
        self.tasks.update((part.id, part) for part in parts)
        return parts

    def recall(self, id: int, success: bool, engine: int | None) -> None:
        """A task of an earlier life has ended so; others may depend on it."""
        self._ledger.graph.remember(id, success, engine)
