"""The scheduler: a state machine over tasks and engines.

Methods in, effects out. Each method tells one thing that happened (with the time ``now`` where it matters) and
answers with :class:`Effects`. A decision takes effect at once: an engine's room is taken in the step that assigns
the task, before any byte has moved.

How the pieces lie: a submitted task either waits in the :class:`Graph`, or stands in exactly one queue: ``_ready``
(any engine), ``_groups`` (any engine of a set) or ``Engine.own`` (one engine). ``_fill`` moves it from a queue to
``Engine.held``, in the order in which the engine will run it. It leaves ``held`` by an outcome, by being given back
(``_requeue``), or by the death of the engine. ``_end`` is the only place where a task ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from random import Random

from ..status import ABORTED, EXPIRED, IMPOSSIBLE, KILLED, LOST, OK, UNMET
from . import graph as verdicts
from .choose import POLICIES
from .credit import Paces
from .effects import Effects, Ending, Report
from .graph import Graph
from .state import ENDED, QUEUED, REVOKING, SENT, WAITING, Engine, Task

GRACE = 0.5  #: seconds between the interrupt of a task over its limit and the end of its engine
STUCK = 0.003  #: seconds that the first task of an engine may run before those behind it are offered to idle engines


class Scheduler:
    """Assigns tasks to engines and tracks them until their end."""

    def __init__(self, policy: str = "leastload", rng: Random | None = None) -> None:
        self._policy = POLICIES[policy]
        self._rng = rng if rng is not None else Random(0)
        self.tasks: dict[int, Task] = {}  #: every task that has not ended
        self.engines: dict[int, Engine] = {}
        self.stale = 0  #: reports about tasks that the engine did not hold (late, repeated or wrong)
        self._ready: deque[Task] = deque()
        self._groups: dict[frozenset[int], deque[Task]] = {}
        self._graph = Graph()
        self._paces = Paces()
        self._idle: dict[int, Engine] = {}  #: engines that hold nothing, the longest idle first
        self._open: dict[int, Engine] = {}  #: engines that may have room: they joined or reported since their last fill
        self._private: dict[int, Engine] = {}  #: engines for which something is queued apart from ``_ready``
        self._deep: dict[int, Engine] = {}  #: engines that hold more than the task that they run
        self._limited: dict[int, Engine] = {}  #: engines that hold a task with a time limit
        self._unsettled: deque[tuple[Task, bool, int | None]] = deque()  #: ended tasks whose dependents must be judged

    # -- what happens -----------------------------------------------------------------------------------------

    def submit(self, tasks: Iterable[Task], now: float) -> Effects:
        """New tasks, in order."""
        effects = Effects()
        alive, ready = self.tasks, self._ready
        for task in tasks:
            alive[task.id] = task
            if task.after is None and task.follow is None:
                if task.targets is None:
                    task.state = QUEUED
                    ready.append(task)
                else:
                    self._place(task, task.targets, effects)
            else:
                self._judge([task], effects, now)
        self._assign(effects, now)
        return effects

    def engine_joined(self, id: int, now: float, quota: int | None = None) -> Effects:
        """An engine is there and may be given ``quota`` tasks before it must end (None: no limit)."""
        if id in self.engines:
            raise ValueError(f"engine {id} has joined already")
        effects = Effects()
        engine = self.engines[id] = Engine(id, quota, now)
        for group in self._groups:
            if id in group:
                engine.groups.add(group)
                self._private[id] = engine
        self._relax(engine, effects)
        self._assign(effects, now)
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
        engine = self.engines.get(id)
        if engine is None:
            return Effects()
        begun = set(engine.held)
        if known:
            # In the order sent; if the running one has ended for us, so has everything before it.
            order = list(engine.held)
            begun = set(order[: order.index(running[0]) + 1]) if running and running[0] in engine.held else set()
        engine.retiring = engine.stopped = True  # nothing more for it
        effects = self.outcomes(id, reports, now) if reports else Effects()
        del self.engines[id]
        for register in (self._idle, self._open, self._private, self._deep, self._limited):
            register.pop(id, None)
        held = list(engine.held.values())
        for task in reversed(held):
            if task.id not in begun or (known and running == (task.id, task.first - 1)):
                self._requeue(task, effects)  # not begun, or between two items
        for task in reversed(held):
            if task.state in (SENT, REVOKING):
                exact = known and running is not None and running[0] == task.id
                self._lose(task, engine, running[1] if exact and running else task.count - 1, effects, detail)
        for task in engine.own:
            self._end(task, Ending(LOST, task.first, id, detail), id, effects)
        self._desert(engine, effects, detail)
        self._assign(effects, now)
        return effects

    def outcomes(self, id: int, reports: Sequence[Report], now: float) -> Effects:
        """An engine reports what came of tasks that it held, in the order in which they ended."""
        effects = Effects()
        engine = self.engines.get(id)
        if engine is None:
            self.stale += len(reports)
            return effects
        held, alive, deliver = engine.held, self.tasks, effects.deliver
        function = b""
        spent, calls = 0.0, 0
        for report in reports:
            task = held.get(report.id)
            item = report.item
            if task is None or item < task.first or item >= task.count:
                self.stale += 1
                continue
            if task.function != function:
                if calls:
                    self._paces.learn(function, spent, calls)
                function, spent, calls = task.function, 0.0, 0
            if report.status == UNMET and self._elsewhere(task, engine, effects):
                continue
            spent += report.completed - report.started
            if item + 1 < task.count:  # more of it to come
                calls += 1
                task.first = item + 1
                task.attempts = 0
                deliver.append((task, report, id))
                continue
            calls += task.weight if task.count == 1 else 1
            del held[report.id]
            engine.load -= task.cost
            if task.limit is not None:
                self._unlimit(engine)
            if task.remembered or self._graph:
                self._end(task, report, id, effects)
                continue
            # The common end, written out: _end where nothing depends on anything.
            del alive[report.id]
            task.state = ENDED
            deliver.append((task, report, id))
        if calls:
            self._paces.learn(function, spent, calls)
        engine.since = now
        if engine.overdue is not None and engine.overdue not in held:
            engine.overdue = None
        self._relax(engine, effects)
        self._assign(effects, now)
        return effects

    def given_back(self, id: int, ids: Iterable[int], kept: Iterable[int], now: float) -> Effects:
        """An engine's answer to a revoke: these it gave back, those it had begun."""
        effects = Effects()
        engine = self.engines.get(id)
        if engine is None:
            return effects
        for task_id in kept:
            task = engine.held.get(task_id)
            if task is not None and task.state == REVOKING:
                task.state = SENT
                task.aborting = False
        back = [task for i in ids if (task := engine.held.get(i)) is not None and task.state == REVOKING]
        for task in reversed(back):
            self._release(engine, task)
            self._requeue(task, effects)
        self._relax(engine, effects)
        self._assign(effects, now)
        return effects

    def abort(self, ids: Iterable[int], now: float) -> Effects:
        """Drop tasks that have not begun; those that run go on."""
        effects = Effects()
        asked: dict[int, list[int]] = {}
        for id in ids:
            task = self.tasks.get(id)
            if task is None:
                continue
            if task.engine is not None:
                task.aborting = True
                if task.state == SENT:
                    task.state = REVOKING
                    asked.setdefault(task.engine, []).append(id)
                continue
            if task.state == WAITING:
                self._graph.drop(task)
            else:
                self._unqueue(task)
            self._end(task, Ending(ABORTED, task.first, None, ""), None, effects)
        effects.revoke.extend(asked.items())
        self._assign(effects, now)
        return effects

    def abort_all(self, detail: object) -> Effects:
        """End every task, also those that run: their late reports will be stale."""
        effects = Effects()
        for task in list(self._graph.waiting()):
            self._graph.drop(task)
        for engine in self.engines.values():
            engine.own.clear()
            engine.held.clear()
            engine.groups.clear()
            engine.load, engine.limited, engine.overdue = 0.0, 0, None
        for register in (self._private, self._deep, self._limited):
            register.clear()
        self._ready.clear()
        self._groups.clear()
        for task in list(self.tasks.values()):
            self._end(task, Ending(ABORTED, task.first, None, detail), None, effects)
        for engine in self.engines.values():
            self._relax(engine, effects)
        return effects

    def retire(self, id: int) -> Effects:
        """Give an engine nothing more, and let it end when it holds nothing."""
        effects = Effects()
        engine = self.engines.get(id)
        if engine is not None:
            engine.retiring = True
            self._relax(engine, effects)
        return effects

    def pace(self, function: bytes) -> float | None:
        """Mean seconds of a call of a function so far; None where it was never timed."""
        pace = self._paces.get(function)
        return pace.mean if pace is not None and pace.count else None

    def tick(self, now: float) -> Effects:
        """Time has passed: patience, time limits, and work stuck behind a long task."""
        effects = Effects()
        for task in list(self._graph.expired(now)):
            self._graph.drop(task)
            self._end(task, Ending(EXPIRED, task.first, None, ""), None, effects)
        for engine in list(self._limited.values()):
            self._check_limit(engine, now, effects)
        if self._idle and self._deep and not self._ready:
            self._unstick(now, effects)
        self._assign(effects, now)
        return effects

    def wake_at(self) -> float | None:
        """When :meth:`tick` should be called next; None: not before something happens."""
        times: list[float] = []
        if self._graph:
            expiry = self._graph.next_expiry()
            if expiry is not None:
                times.append(expiry)
        for engine in self._limited.values():
            task = next(iter(engine.held.values()))
            if task.limit is not None and not engine.killed:
                times.append(engine.since + task.limit + (GRACE if engine.overdue == task.id else 0))
        if self._idle and self._deep and not self._ready:
            times.extend(engine.since + STUCK for engine in self._deep.values() if _movable(engine))
        return min(times, default=None)

    # -- assigning --------------------------------------------------------------------------------------------

    def _assign(self, effects: Effects, now: float) -> None:
        """Give queued tasks to the engines that may have room."""
        open = self._open
        if self._private:
            for engine in list(self._private.values()):
                if not engine.own and not engine.groups:
                    del self._private[engine.id]
                elif engine.id in open:
                    self._serve(engine, effects, now)
        while self._ready and open:
            # Idle engines first. The policy sees few: the longest idle, or longest open, of any number.
            pool = list(islice((self._idle or open).values(), 16))
            engine = self._policy(pool, self._rng) if len(pool) > 1 else pool[0]
            self._serve(engine, effects, now)

    def _serve(self, engine: Engine, effects: Effects, now: float) -> None:
        """Fill one engine; it stays open only where nothing is left that it might have taken."""
        sent: list[Task] = []
        if engine.own:
            self._fill(engine, engine.own, len(engine.own), sent)
        if not engine.own:
            for group in list(engine.groups):
                queue = self._groups[group]
                self._fill(engine, queue, -(-len(queue) // len(group)), sent)
                if not queue:
                    self._close_group(group)
            if self._ready:
                self._fill(engine, self._ready, -(-len(self._ready) // len(self.engines)), sent)
        if sent:
            if self._idle.pop(engine.id, None):
                engine.since = now
            if len(engine.held) > 1:
                self._deep[engine.id] = engine
            effects.send.append((engine.id, sent))
        if engine.own or engine.groups or self._ready or engine.quota == 0:
            self._open.pop(engine.id, None)

    def _fill(self, engine: Engine, queue: deque[Task], share: int, sent: list[Task]) -> None:
        """Move from a queue into an engine what its credit allows."""
        batch = self._paces.take(engine, queue, share)
        id, held, load = engine.id, engine.held, engine.load
        for task in batch:
            task.state = SENT
            task.engine = id
            held[task.id] = task
            load += task.cost
            if task.limit is not None:
                engine.limited += 1
                self._limited[id] = engine
        engine.load = load
        if engine.quota is not None:
            engine.quota -= len(batch)
        sent += batch

    def _place(self, task: Task, targets: frozenset[int], effects: Effects, front: bool = False) -> None:
        """Queue a task that only some engines may run."""
        task.state = QUEUED
        task.engine = None
        there = [id for id in targets if id in self.engines]
        if not there:
            names = ", ".join(map(str, sorted(targets))) or "none"
            self._end(task, Ending(IMPOSSIBLE, task.first, None, f"no engine is there that may run it ({names})"), None, effects)
            return
        if len(targets) == 1:
            queue = self.engines[there[0]].own
        else:
            queue = self._groups.setdefault(targets, deque())
            for id in there:
                self.engines[id].groups.add(targets)
        for id in there:
            self._private[id] = self.engines[id]
        if front:
            queue.appendleft(task)
        else:
            queue.append(task)

    def _requeue(self, task: Task, effects: Effects) -> None:
        """Put a task that an engine has not begun, or that may run again, before all others."""
        task.engine = None
        if task.aborting:
            self._end(task, Ending(ABORTED, task.first, None, ""), None, effects)
        elif task.targets is None and task.excluded is None and task.follow is None:
            task.state = QUEUED
            self._ready.appendleft(task)
        else:
            self._place(task, self._allowed(task), effects, front=True)

    def _allowed(self, task: Task) -> frozenset[int]:
        """The engines that may run a task, which is ready."""
        allowed = frozenset(self.engines) if task.targets is None else task.targets
        places = self._graph.places(task)
        if places is not None:
            allowed &= places
        return allowed - task.excluded if task.excluded else allowed

    def _unqueue(self, task: Task) -> None:
        """Take a queued task out of the queue that it stands in."""
        if task.targets is None and task.excluded is None and task.follow is None:
            self._ready.remove(task)
            return
        for engine in self._private.values():
            if task in engine.own:
                engine.own.remove(task)
                return
        for group, queue in self._groups.items():
            if task in queue:
                queue.remove(task)
                if not queue:
                    self._close_group(group)
                return

    def _close_group(self, group: frozenset[int]) -> None:
        del self._groups[group]
        for id in group:
            if id in self.engines:
                self.engines[id].groups.discard(group)

    # -- what becomes of tasks --------------------------------------------------------------------------------

    def _judge(self, tasks: list[Task], effects: Effects, now: float = 0.0) -> None:
        """Decide on tasks with dependencies: queue them, let them wait, or end them."""
        for task in tasks:
            verdict, reason = self._graph.judge(task, self.tasks)
            if verdict == verdicts.BLOCKED:
                if task.state != WAITING:
                    task.state = WAITING
                    self._graph.hold(task, self.tasks, now)
                continue
            if task.state == WAITING:
                self._graph.drop(task)
            if verdict == verdicts.NEVER:
                self._end(task, Ending(IMPOSSIBLE, task.first, None, reason), None, effects)
            elif task.follow is None and task.targets is None:
                task.state = QUEUED
                self._ready.append(task)
            else:
                self._place(task, self._allowed(task), effects)

    def _end(self, task: Task, outcome: Report | Ending, engine: int | None, effects: Effects) -> None:
        """The last outcome of a task, and what follows for those that waited for it."""
        # Ends can cascade down a chain of any length, so they are worked off here and not by recursion.
        effects.deliver.append((task, outcome, engine))
        del self.tasks[task.id]
        task.state = ENDED
        self._unsettled.append((task, outcome.status == OK, engine))
        if len(self._unsettled) > 1:
            return
        while self._unsettled:
            ended, success, where = self._unsettled[0]
            self._judge(self._graph.ended(ended, success, where), effects)
            self._unsettled.popleft()

    def _lose(self, task: Task, engine: Engine, item: int, effects: Effects, detail: object) -> None:
        """The engine died in ``item`` of this task, or with its outcome on the way."""
        overtime = engine.overdue == task.id
        if task.attempts < task.retries and not overtime:
            task.attempts += 1
            self._requeue(task, effects)
            return
        for lost in range(task.first, item + 1):
            ending = Ending(KILLED if overtime and lost == item else LOST, lost, engine.id, detail)
            if lost + 1 == task.count:
                self._end(task, ending, engine.id, effects)
                return
            effects.deliver.append((task, ending, engine.id))
        task.first = item + 1
        task.attempts = 0
        self._requeue(task, effects)

    def _elsewhere(self, task: Task, engine: Engine, effects: Effects) -> bool:
        """Move a task whose functional dependency this engine does not meet; False where no other engine is left."""
        task.excluded = (task.excluded or frozenset()) | {engine.id}
        allowed = self._allowed(task)
        if not any(id in self.engines for id in allowed):
            return False
        self._release(engine, task)
        self._place(task, allowed, effects)
        return True

    def _release(self, engine: Engine, task: Task) -> None:
        """Take a task back from the engine that holds it and has not begun it."""
        del engine.held[task.id]
        engine.load -= task.cost
        if task.limit is not None:
            self._unlimit(engine)
        if engine.quota is not None:
            engine.quota += 1

    def _unlimit(self, engine: Engine) -> None:
        engine.limited -= 1
        if not engine.limited:
            del self._limited[engine.id]

    def _relax(self, engine: Engine, effects: Effects) -> None:
        """An engine holds less than before: it may have room, be idle, or have done all it may."""
        id = engine.id
        spent = engine.retiring or engine.quota == 0
        if len(engine.held) < 2:
            self._deep.pop(id, None)
        if spent:
            self._open.pop(id, None)
            self._idle.pop(id, None)
            if not engine.held and not engine.own and not engine.stopped:
                engine.stopped = True
                effects.stop.append(id)
            return
        self._open[id] = engine
        if not engine.held:
            engine.load = 0.0
            self._idle[id] = engine

    def _desert(self, engine: Engine, effects: Effects, detail: object) -> None:
        """End the tasks that only this engine, which is gone, could still have run."""
        for group in engine.groups:
            if not any(id in self.engines for id in group):
                for task in self._groups.pop(group):
                    self._end(task, Ending(LOST, task.first, engine.id, detail), engine.id, effects)

    def _check_limit(self, engine: Engine, now: float, effects: Effects) -> None:
        """Interrupt the running task when its time is up; end the engine when it does not heed that."""
        task = next(iter(engine.held.values()))
        if task.limit is None or engine.killed or now < engine.since + task.limit:
            return
        if engine.overdue != task.id:
            engine.overdue = task.id
            effects.interrupt.append((engine.id, task.id, task.first))
        elif now >= engine.since + task.limit + GRACE:
            engine.killed = True
            effects.kill.append(engine.id)

    def _unstick(self, now: float, effects: Effects) -> None:
        """Ask tasks back that wait behind a long one while another engine has nothing to do."""
        for engine in self._deep.values():
            if now >= engine.since + STUCK:
                movable = _movable(engine)
                for task in movable:
                    task.state = REVOKING
                if movable:
                    effects.revoke.append((engine.id, [task.id for task in movable]))


def _movable(engine: Engine) -> list[Task]:
    """The tasks behind the running one that other engines may run."""
    tasks = islice(engine.held.values(), 1, None)
    return [task for task in tasks if task.state == SENT and (task.targets is None or len(task.targets) > 1)]
