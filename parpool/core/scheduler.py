"""The scheduler: a state machine over tasks and engines.

Methods in, effects out. Each method tells one thing that happened (with the time ``now`` where it matters) and
answers with :class:`Effects`. A decision takes effect at once: an engine's room is taken in the step that assigns
the task, before any byte has moved.

How the pieces lie: the :class:`Ledger` has every task that has not ended, and where those stand that no engine holds
(waiting in the graph, or in a queue). :class:`Dispatch` has the engines, and moves tasks from the queues to
``Engine.held`` in the order in which the engine will run them. A task leaves ``held`` by an outcome, by being given
back, or by the death of the engine, and that is told here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING

from ..status import ABORTED, EXPIRED, KILLED, LOST, OK, UNMET
from .dispatch import Dispatch
from .effects import Effects, Ending, Report
from .ledger import Ledger
from .returns import Returns
from .state import ENDED, QUEUED, REVOKING, SENT, WAITING, Engine, Task

if TYPE_CHECKING:
    from random import Random


class Scheduler(Returns):
    """Assigns tasks to engines and tracks them until their end. ``rng`` is for policies that draw at random."""

    def __init__(self, policy: str = "leastload", rng: Random | None = None) -> None:
        self.engines: dict[int, Engine] = {}
        self.stale = 0  #: reports about tasks that the engine did not hold (late, repeated or wrong)
        self._ledger = Ledger(self.engines)
        self._dispatch = Dispatch(self.engines, self._ledger, policy, rng)
        self.tasks = self._ledger.tasks  #: every task that has not ended

    # -- what happens -----------------------------------------------------------------------------------------

    def submit(self, tasks: Iterable[Task], now: float) -> Effects:
        """New tasks, in order."""
        effects = Effects()
        alive, ready = self.tasks, self._ledger.queues.ready.tasks
        for task in tasks:
            alive[task.id] = task
            if task.after is not None or task.follow is not None:
                self._ledger.judge(task, effects, now)
            elif task.targets is not None:
                self._ledger.queue(task, effects)
            else:
                task.state = QUEUED
                ready.append(task)
        self._dispatch.assign(effects, now)
        return effects

    def engine_joined(self, id: int, now: float, quota: int | None = None, first: Iterable[Task] = ()) -> Effects:
        """An engine is there and may be given ``quota`` tasks before it must end (None: no limit).

        ``first``: new tasks for it alone, which it runs before all others.
        """
        if id in self.engines:
            raise ValueError(f"engine {id} has joined already")
        effects = Effects()
        engine = self.engines[id] = Engine(id, quota, now)
        self._ledger.queues.joined(engine)
        for task in first:
            self.tasks[task.id] = task
            self._ledger.queue(task, effects)
        self._dispatch.relax(engine, effects)
        self._dispatch.assign(effects, now)
        return effects

    def engine_lost(
        self,
        id: int,
        now: float,
        *,
        reports: Sequence[Report] = (),
        running: tuple[int, int] | None = None,
        known: bool = False,
        detail: object = "",
    ) -> Effects:
        """An engine died.

        ``reports`` are outcomes that it had not sent, and ``running`` names the task, and the item of it, that it was
        in. Where the host ``known``s that (None: it was in none), the tasks behind it have not begun and go
        elsewhere; where not, each task that the engine held may have begun, and does not run again without a retry.
        """
        effects = Effects()
        engine = self.engines.get(id)
        if engine is None:
            return effects
        begun = list(engine.held)
        if known:
            # In the order sent; if the running one has ended for us, so has everything before it.
            ended = begun[: begun.index(running[0]) + 1] if running and running[0] in engine.held else []
            begun = [id for id in begun if engine.held[id].adopted and id not in ended] + ended
        engine.retiring = engine.stopped = True  # nothing more for it
        self._take_in(engine, reports, effects, dead=True)
        del self.engines[id]
        for register in (self._dispatch.idle, self._dispatch.open, self._dispatch.deep.engines):
            register.pop(id, None)
        self._dispatch.limits.forget(engine)
        # What has not begun goes back to the front, in order; what may run again, before it.
        victims = {task_id: engine.held.pop(task_id) for task_id in begun if task_id in engine.held}
        ending = (LOST, id, detail)
        for task in reversed(engine.held.values()):
            self._ledger.queue(task, effects, front=True, otherwise=ending)
        for task in reversed(victims.values()):
            if not known or running is None or running[0] != task.id:
                self._lose(task, engine, task.count - 1, effects, detail)
                continue
            if engine.killed and task.limit is not None:
                engine.overdue = running  # what came before it had ended, and could not say so in time
            self._lose(task, engine, running[1], effects, detail)
        self._ledger.desert(engine, ending, effects)
        self._dispatch.assign(effects, now)
        return effects

    def outcomes(self, id: int, reports: Sequence[Report], now: float) -> Effects:
        """An engine reports what came of tasks that it held, in the order in which they ended."""
        effects = Effects()
        engine = self.engines.get(id)
        if engine is None:
            self.stale += len(reports)
            return effects
        self._take_in(engine, reports, effects)
        engine.since = inf if engine.awaited else now
        engine.asked = -1
        self._dispatch.relax(engine, effects)
        self._dispatch.assign(effects, now)
        return effects

    def given_back(
        self, id: int, ids: Iterable[int], kept: Iterable[int], now: float, rests: Iterable[tuple[int, int]] = ()
    ) -> Effects:
        """An engine's answer to a revoke.

        ``ids`` it had not begun, and will not. Of ``rests`` (a task, an item) it had begun some items, and will not
        begin that one and those behind it. Of ``kept`` everything has begun.
        """
        effects = Effects()
        engine = self.engines.get(id)
        if engine is None:
            return effects
        running = next(iter(engine.held), None)
        self._take_back(engine, ids, rests, effects)
        for task_id in kept:
            task = engine.held.get(task_id)
            if task is not None and task.state == REVOKING:
                task.state = SENT
                task.aborting = False
                if next(iter(engine.held)) != task_id:
                    engine.since = now  # the one before it has ended, and its outcome is on the way
        if next(iter(engine.held), None) != running:
            engine.since = now
        self._dispatch.relax(engine, effects)
        self._dispatch.assign(effects, now)
        return effects

    def abort(self, ids: Iterable[int], now: float) -> Effects:
        """Drop tasks, and items of tasks, that have not begun; those that run go on."""
        effects = Effects()
        asked: dict[int, list[int]] = {}
        found = {
            part: task for id in ids for part in self._ledger.parts.of(id) if (task := self.tasks.get(part)) is not None
        }
        for task in found.values():  # first, lest one is judged by the end of another
            if task.state == WAITING:
                self._ledger.graph.drop(task)
        for task in found.values():
            if task.engine is None:
                if task.state == ENDED:  # and that is about to be told
                    continue
                if task.state == QUEUED:
                    self._ledger.drop(task, (ABORTED, None, ""), effects)
                    self._ledger.queues.count_out(task)
                else:
                    self._ledger.drop(task, (ABORTED, None, ""), effects)
                continue
            task.aborting = True
            if task.state == SENT:
                task.state = REVOKING
                asked.setdefault(task.engine, []).append(task.id)
        effects.revoke.extend(asked.items())
        self._dispatch.assign(effects, now)
        return effects

    def spare(self, ids: Iterable[int]) -> None:
        """Drop nothing more of tasks for which :meth:`abort` was called: what comes back runs elsewhere."""
        for id in ids:
            for part in self._ledger.parts.of(id):
                if (task := self.tasks.get(part)) is not None:
                    task.aborting = False

    def condemn(self, ids: Iterable[int], now: float) -> Effects:
        """As :meth:`abort`, of very many: nothing of them begins from here on, and their ends come by :meth:`bury`."""
        found = {id: task for id in ids if (task := self.tasks.get(id)) is not None and task.state != ENDED}
        self._ledger.condemn([task for task in found.values() if task.engine is None])
        return self.abort([id for id, task in found.items() if task.engine is not None], now)

    @property
    def condemned(self) -> bool:
        """Are there ends to be told by :meth:`bury`?"""
        return bool(self._ledger.condemned)

    def bury(self, count: int, now: float) -> Effects:
        """The ends of the next ``count`` tasks that were condemned."""
        effects = Effects()
        self._ledger.bury(count, effects)
        self._dispatch.assign(effects, now)  # others may have waited for them
        return effects

    def abort_all(self, detail: object) -> Effects:
        """End every task, also those that run: their late reports will be stale."""
        effects = Effects()
        for task, _ in list(self._ledger.graph.waiting.values()):
            self._ledger.graph.drop(task)
        self._ledger.queues.clear()
        self._ledger.condemned.clear()
        self._dispatch.limits.clear()
        for task in list(self.tasks.values()):
            self._ledger.drop(task, (ABORTED, None, detail), effects)
        for engine in self.engines.values():
            engine.held.clear()
            engine.load, engine.limited, engine.overdue = 0.0, 0, None
            self._dispatch.relax(engine, effects)
        return effects

    def retire(self, id: int) -> Effects:
        """Give an engine nothing more, and let it end when it holds nothing."""
        effects = Effects()
        engine = self.engines.get(id)
        if engine is not None:
            engine.retiring = True
            self._dispatch.relax(engine, effects)
        return effects

    def pace(self, function: bytes) -> float | None:
        """Mean seconds of a call of a function so far; None where it was never timed."""
        pace = self._dispatch.paces.get(function)
        return pace.mean if pace is not None else None

    def tick(self, now: float) -> Effects:
        """Time has passed: patience, time limits, and work stuck behind a long task."""
        effects = Effects()
        for task in self._ledger.graph.expired(now):
            self._ledger.drop(task, (EXPIRED, None, ""), effects)
        self._dispatch.limits.enforce(now, self.engines, effects)
        for id in effects.kill:
            self._dispatch.open.pop(id, None)
        if self._dispatch.idle:
            self._dispatch.deep.ask_back(now, self._dispatch.idle, effects)
        self._dispatch.assign(effects, now)
        return effects

    def wake_at(self) -> float | None:
        """When :meth:`tick` should be called next; None: not before something happens."""
        times: list[float] = []
        if self._ledger.graph.waiting and (expiry := self._ledger.graph.next_expiry()) is not None:
            times.append(expiry)
        if self._dispatch.limits.bound < inf:
            times.append(self._dispatch.limits.bound)
        if self._dispatch.idle and self._dispatch.deep.engines and (due := self._dispatch.deep.next()) is not None:
            times.append(due)
        return min(times, default=None)

    # -- what an engine holds ---------------------------------------------------------------------------------

    def _take_in(self, engine: Engine, reports: Sequence[Report], effects: Effects, dead: bool = False) -> None:
        """Outcomes of tasks that an engine held: deliver them."""
        id, held, alive, deliver = engine.id, engine.held, self.tasks, effects.deliver.append
        # Then each end may have consequences.
        watched = bool(self._ledger.graph.waiting or self._ledger.parts.families)
        ends, well = self._ledger.graph.ends, (True, id)
        load, limited = engine.load, engine.limited
        function = b""
        spent, calls = 0.0, 0
        for report in reports:
            task_id, item = report.id, report.item
            task = held.get(task_id)
            if task is None or (item != task.first and not self._skip(task, item, engine, effects, dead)):
                self.stale += 1
                continue
            if task.function is not function and task.function != function:
                if calls:
                    self._dispatch.paces.learn(function, spent, calls)
                function, spent, calls = task.function, 0.0, 0
            status = report.status
            if status == UNMET and self._elsewhere(task, engine, effects):
                load, limited = engine.load, engine.limited
                continue
            spent += report.completed - report.started
            count = task.count
            if item + 1 < count:  # more of it to come
                calls += 1
                task.first = item + 1
                if status != OK:
                    task.failed = True
                if task.attempts and item >= task.reached:
                    task.attempts = 0
                deliver((task, report, id))
                continue
            calls += 1 if count > 1 else task.weight
            del held[task_id]
            engine.load = load = load - task.cost
            if task.limit is not None:
                engine.limited = limited = limited - 1
            deliver((task, report, id))
            if watched or (task.remembered and (status != OK or task.failed)):
                self._ledger.end(task, status == OK, id, effects)
            else:  # written out, as most tasks end here
                del alive[task_id]
                task.state = ENDED
                if task.remembered:
                    ends[task_id] = well
        if calls:
            self._dispatch.paces.learn(function, spent, calls)
        self._ledger.graph.shed()
        if engine.overdue is not None:
            running = held.get(engine.overdue[0])
            if running is None or running.first != engine.overdue[1]:
                engine.overdue = None

    def _skip(self, task: Task, item: int, engine: Engine, effects: Effects, dead: bool) -> bool:
        """The report of ``item`` is not the next of its task; False where it is to be ignored.

        Those of the items before it did not arrive: a large one was still in the socket of an engine that died. They
        ran, so they are lost, unless all from the first of them on may run again.
        """
        if not task.first < item < task.count or (dead and task.attempts < task.retries):
            return False
        for lost in range(task.first, item):
            ending = Ending(LOST, lost, engine.id, "its outcome did not arrive")
            effects.deliver.append((task, ending, engine.id))
        task.first = item
        task.failed = True
        return True

    def _elsewhere(self, task: Task, engine: Engine, effects: Effects) -> bool:
        """Move a task whose functional dependency this engine does not meet; False where no other engine is left."""
        task.excluded = (task.excluded or frozenset()) | {engine.id}
        others = (self.engines.get(id) for id in self._ledger.allowed(task))
        if all(other is None or other.stopped for other in others):
            return False
        self._dispatch.release(engine, task)
        self._ledger.queue(task, effects)
        return True

    # -- the ends of tasks ------------------------------------------------------------------------------------

    def _lose(self, task: Task, engine: Engine, item: int, effects: Effects, detail: object) -> None:
        """The engine died in ``item`` of this task, or with its outcome on the way; the items behind have not begun."""
        overdue = engine.overdue if engine.overdue is not None and engine.overdue[0] == task.id else None
        if item >= task.first:
            if task.attempts < task.retries and overdue is None:
                task.attempts += 1
                task.reached = max(task.reached, item)
            elif item + 1 < task.count:
                for lost in range(task.first, item + 1):
                    status = KILLED if overdue == (task.id, lost) else LOST
                    effects.deliver.append((task, Ending(status, lost, engine.id, detail), engine.id))
                task.first, task.attempts, task.failed = item + 1, 0, True
            else:
                self._ledger.drop(task, (LOST, engine.id, detail), effects, overdue)
                return
        self._ledger.queue(task, effects, front=True, otherwise=(LOST, engine.id, detail))
