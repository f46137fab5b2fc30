"""A scheduler, and engines that do what it asks for when a test lets them: in any order that real ones could.

Between the scheduler and each engine there are four channels, each in order and none in step with another: tasks,
orders (revoke, interrupt), outcomes, and answers to orders. What arrives late or never, a test decides.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from parpool.core.check import check
from parpool.core.effects import Effects, Ending, Report
from parpool.core.scheduler import Scheduler
from parpool.core.state import ENDED, MOVES, Task
from parpool.status import ABORTED, EXPIRED, IMPOSSIBLE, OK, OVERTIME, UNMET


class CheckedTask(Task):
    """A task that refuses every change of its state that is not in the table."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "state" and value != self.state:
            assert value in MOVES[self.state], f"{self!r} must not become {value}"
        super().__setattr__(name, value)


@dataclass
class Said:
    """One outcome, as an engine reports it."""

    id: int
    status: int = OK
    item: int = 0
    started: float = 0.0
    completed: float = 0.001


@dataclass(repr=False)
class FakeEngine:
    """An engine, and what is on the way to it and from it."""

    id: int
    quota: int | None = None
    works: deque[list[Task]] = field(default_factory=deque)  # on the way to it
    orders: deque[tuple[str, list[int]]] = field(default_factory=deque)
    reports: deque[list[Said]] = field(default_factory=deque)  # on the way back
    answers: deque[tuple[list[int], list[int], list[tuple[int, int]]]] = field(default_factory=deque)
    inbox: dict[int, tuple[int, int]] = field(default_factory=dict)  # id: its items, from first to count
    current: int | None = None  # the task that it is in
    rest: deque[int] = field(default_factory=deque)  # items of it that have not begun
    item: int | None = None  # the one that runs
    began: float = 0.0
    last: tuple[int, int] | None = None  # what ran last
    overdue: tuple[int, int] | None = None
    unsent: list[Said] = field(default_factory=list)
    recorded: list[Said] = field(default_factory=list)
    deaf: bool = False
    killed: bool = False
    stopped: bool = False
    alive: bool = True

    def __repr__(self) -> str:
        return f"<engine {self.id}>"

    @property
    def done(self) -> bool:
        """It has nothing left to do, and nothing to say."""
        return not (self.works or self.inbox or self.current is not None or self.unsent or self.reports)


class World:
    """A scheduler among fake engines. What must never happen is asserted as it happens."""

    def __init__(self, scheduler: Scheduler | None = None) -> None:
        self.scheduler = scheduler or Scheduler()
        self.now = 100.0
        self.engines: dict[int, FakeEngine] = {}
        self.tasks: dict[int, Task] = {}  # as submitted
        self.items: dict[int, int] = {}  # how many items each was submitted with
        self.outcomes: dict[tuple[int, int], tuple[int, int | None]] = {}
        self.begun: Counter[tuple[int, int]] = Counter()
        self.ended_at: dict[int, int | None] = {}  # id of a task that ended: the engine of its last outcome
        self.abandoned: set[int] = set()  # ended by abort_all; the engines know nothing of it
        self.order: dict[int, list[int]] = {}  # engine: directed tasks in the order in which they began there
        self.wholes: dict[int, int] = {}  # id of a part: id of the task
        self.spans: dict[int, tuple[int, int]] = {}  # the items of each task, as it was sent last
        self.last = Effects()

    # -- what a test tells the scheduler ----------------------------------------------------------------------

    def step(self, act: Callable[[], Effects]) -> Effects:
        """One step of the scheduler: check it, and put what it asks for on the way."""
        effects = self.last = act()
        check(self.scheduler)
        for id, tasks in effects.send:
            self._send(id, tasks)
        for task, outcome, engine in effects.deliver:
            self._deliver(task, outcome, engine)
        for id, ids in effects.revoke:
            assert ids and len(set(ids)) == len(ids)
            self.engines[id].orders.append(("revoke", ids))
        for id, task_id, item in effects.interrupt:
            self.engines[id].orders.append(("interrupt", [task_id, item]))
        for id in effects.kill:
            assert not self.engines[id].killed
            self.engines[id].killed = True
        for id in effects.stop:
            assert not self.engines[id].stopped
            self.engines[id].stopped = True
        return effects

    def submit(self, *tasks: Task) -> Effects:
        """Submit tasks."""
        for task in tasks:
            self.tasks[task.id] = task
            self.items[task.id] = task.count
        return self.step(lambda: self.scheduler.submit(tasks, self.now))

    def join(self, id: int, quota: int | None = None) -> Effects:
        """An engine joins."""
        self.engines[id] = FakeEngine(id, quota)
        self.order[id] = []
        return self.step(lambda: self.scheduler.engine_joined(id, self.now, quota))

    def abort(self, *ids: int) -> Effects:
        """Abort tasks."""
        return self.step(lambda: self.scheduler.abort(ids, self.now))

    def condemn(self, *ids: int) -> Effects:
        """Abort tasks whose ends are told later."""
        return self.step(lambda: self.scheduler.condemn(ids, self.now))

    def bury(self, count: int) -> Effects:
        """Tell some of them."""
        return self.step(lambda: self.scheduler.bury(count, self.now))

    def abort_all(self) -> Effects:
        """Abort all tasks, known to the scheduler only."""
        tasks = self.scheduler.tasks.values()
        self.abandoned.update(task.id if task.whole is None else task.whole for task in tasks)
        return self.step(lambda: self.scheduler.abort_all("enough"))

    def retire(self, id: int) -> Effects:
        """Retire an engine."""
        return self.step(lambda: self.scheduler.retire(id))

    def pass_time(self, seconds: float) -> Effects:
        """Turn the clock, and tick."""
        self.now += seconds
        return self.step(lambda: self.scheduler.tick(self.now))

    # -- what engines do --------------------------------------------------------------------------------------

    def arrive(self, engine: FakeEngine) -> None:
        """The next tasks on the way arrive at an engine."""
        for task in engine.works.popleft():
            assert task.id not in engine.inbox
            engine.inbox[task.id] = self.spans[task.id]

    def begin(self, engine: FakeEngine, unmet: bool = False) -> None:
        """Begin the next item, or the next task."""
        assert engine.alive and engine.item is None
        if not engine.rest:
            engine.current = next(iter(engine.inbox))
            engine.rest = deque(range(*engine.inbox.pop(engine.current)))
        task = engine.current
        assert task is not None
        item = engine.rest.popleft()
        engine.last = (task, item)
        if unmet:
            items = [item, *engine.rest]
            engine.rest.clear()
            engine.current = None
            self._say(engine, *(Said(task, UNMET, each) for each in items))
            return
        engine.item = item
        engine.began = self.now
        whole = self.whole(task)
        if whole not in self.abandoned:
            self.begun[whole, item] += 1
            assert self.begun[whole, item] <= 1 + self.tasks[whole].retries, "an item ran too often"
            assert (whole, item) not in self.outcomes, "an item ran that had ended"
            self._check_dependencies(self.tasks[whole], engine)
        if self.tasks[whole].targets == frozenset((engine.id,)) and item == 0:
            self.order[engine.id].append(whole)

    def finish(self, engine: FakeEngine, status: int = OK, took: float = 0.001) -> None:
        """End the running item."""
        task, item = engine.current, engine.item
        assert engine.alive and task is not None and item is not None
        if engine.overdue == (task, item):
            status = OVERTIME
        engine.item = None
        if not engine.rest:
            engine.current = None
        self._say(engine, Said(task, status, item, self.now, self.now + took))

    def _say(self, engine: FakeEngine, *said: Said) -> None:
        engine.unsent += said
        engine.recorded += said

    def flush(self, engine: FakeEngine) -> None:
        """Send the outcomes that wait."""
        engine.reports.append(engine.unsent)
        engine.unsent = []

    def report(self, engine: FakeEngine) -> Effects:
        """The next outcomes of an engine reach the scheduler."""
        said = engine.reports.popleft()
        return self.step(lambda: self.scheduler.outcomes(engine.id, said, self.now))

    def obey(self, engine: FakeEngine, look: bool = True) -> None:
        """Carry out the next order; ``look``: after taking in the tasks on the way."""
        what, about = engine.orders.popleft()
        if what == "interrupt":
            if (engine.current, engine.item) == tuple(about) and not engine.deaf:
                engine.overdue = (about[0], about[1])
            return
        while look and engine.works:
            self.arrive(engine)
        back: list[int] = []
        kept: list[int] = []
        rests: list[tuple[int, int]] = []
        for id in about:
            if engine.inbox.pop(id, None) is not None:
                back.append(id)
            elif id == engine.current and engine.rest:
                rests.append((id, engine.rest[0]))
                engine.rest.clear()
                if engine.item is None:
                    engine.current = None
            else:
                kept.append(id)
        engine.answers.append((back, kept, rests))

    def answer(self, engine: FakeEngine) -> Effects:
        """The next answer of an engine reaches the scheduler."""
        back, kept, rests = engine.answers.popleft()
        return self.step(lambda: self.scheduler.given_back(engine.id, back, kept, self.now, rests))

    def die(self, engine: FakeEngine, known: bool = True, missing: Iterable[int] = (), detail: object = "") -> Effects:
        """An engine dies; ``known``: it left a recording, in which outcomes may be ``missing`` (by their number)."""
        engine.alive = False
        running = engine.last
        if not known:
            return self.step(lambda: self.scheduler.engine_lost(engine.id, self.now, detail=detail))
        gone = set(missing)
        reports = [said for n, said in enumerate(engine.recorded[-20:]) if n not in gone]
        return self.step(
            lambda: self.scheduler.engine_lost(
                engine.id, self.now, reports=reports, running=running, known=True, detail=detail
            )
        )

    def settle(self, took: float = 0.001) -> None:
        """Let everybody obey until nothing is left to do."""
        for _ in range(10_000):
            busy = False
            for engine in [engine for engine in self.engines.values() if engine.alive]:
                busy = self._advance(engine, took) or busy
            if not busy:
                wake = self.scheduler.wake_at()
                if self.scheduler.condemned:
                    self.bury(3)
                    continue
                if wake is None:
                    return
                assert wake < self.now + 1e4
                self.now = max(self.now, wake)
                self.step(lambda: self.scheduler.tick(self.now))
        raise AssertionError(f"it does not come to an end: {self.left()}")

    def _advance(self, engine: FakeEngine, took: float) -> bool:
        if engine.killed or (engine.stopped and engine.done):
            self.die(engine)
        elif engine.orders:
            self.obey(engine)
        elif engine.answers:
            self.answer(engine)
        elif engine.works:
            self.arrive(engine)
        elif engine.item is not None and self._hangs(engine):
            if not (engine.unsent or engine.reports):
                return False
            if engine.unsent:  # what was done before it does not wait for it
                self.flush(engine)
            self.report(engine)
        elif engine.item is not None:
            self.now += took
            self.finish(engine, took=took)
        elif engine.rest or engine.inbox:
            self.begin(engine)
        elif engine.unsent:
            self.flush(engine)
        elif engine.reports:
            self.report(engine)
        else:
            return False
        return True

    def _hangs(self, engine: FakeEngine) -> bool:
        """It is in an item that only the end of its process ends."""
        assert engine.current is not None
        whole = self.whole(engine.current)
        return engine.deaf and self.tasks[whole].limit is not None and whole not in self.abandoned

    # -- what must be so --------------------------------------------------------------------------------------

    def whole(self, id: int) -> int:
        """The id under which a task was submitted."""
        return self.wholes.get(id, id)

    def _send(self, id: int, tasks: list[Task]) -> None:
        engine = self.engines[id]
        assert tasks and engine.alive and not engine.stopped and not engine.killed
        for task in tasks:
            if task.whole is not None:
                self.wholes[task.id] = task.whole
            assert task.targets is None or id in task.targets
            assert not task.excluded or id not in task.excluded
            self.spans[task.id] = (task.first, task.count)
        engine.works.append(list(tasks))

    def _deliver(self, task: Task, outcome: Report | Ending, engine: int | None) -> None:
        if task.whole is not None:
            self.wholes[task.id] = task.whole
        key = self.whole(task.id), outcome.item
        assert key not in self.outcomes, f"{key} was delivered twice"
        assert 0 <= outcome.item < self.items[key[0]]
        if outcome.status in (ABORTED, IMPOSSIBLE, EXPIRED) and key[0] not in self.abandoned:
            assert self.begun[key] <= self.tasks[key[0]].retries, "it is said not to have run, and it has"
        self.outcomes[key] = outcome.status, engine
        if self.has_ended(key[0]):
            self.ended_at[key[0]] = engine

    def has_ended(self, id: int) -> bool:
        """Is there an outcome for each item?"""
        return all((id, item) in self.outcomes for item in range(self.items[id]))

    def statuses(self, id: int) -> list[int]:
        """The statuses of a task's items, of those that have ended."""
        return [self.outcomes[id, n][0] for n in range(self.items[id]) if (id, n) in self.outcomes]

    def _check_dependencies(self, task: Task, engine: FakeEngine) -> None:
        for dependency in (task.after, task.follow):
            if dependency is None or not dependency.ids:
                continue
            ended = [id for id in dependency.ids if id in self.ended_at]
            met = []
            for id in ended:
                success = all(status == OK for status in self.statuses(id))
                if dependency.success if success else dependency.failure:
                    met.append(id)
            assert len(met) == len(dependency.ids) if dependency.all else met
            if dependency is task.follow:
                assert engine.id in {self.ended_at[id] for id in met}

    def left(self) -> list[object]:
        """What has not ended, and where it is."""
        there = [(e.id, e.since, e.overdue, e.killed, e.stopped) for e in self.scheduler.engines.values()]
        fake = [vars(engine) for engine in self.engines.values() if engine.alive]
        return [[vars(task) for task in self.scheduler.tasks.values()], there, fake, self.now]

    def assert_over(self) -> None:
        """Everything has ended, once, and nothing is kept."""
        assert not self.scheduler.tasks, self.left()
        for id in self.tasks:
            assert self.has_ended(id), f"{id} has no outcome for all of its {self.items[id]} items"
            assert self.tasks[id].state == ENDED
        ledger, dispatch = self.scheduler._ledger, self.scheduler._dispatch
        assert not ledger.queues.ready.tasks and not ledger.queues.groups and not ledger.queues.private
        assert not ledger.graph.waiting and not ledger.graph.dependents and not ledger.parts.families
        assert not dispatch.limits.holders and not dispatch.deep.engines
        for engine in self.scheduler.engines.values():
            assert not engine.held and not engine.own.tasks and engine.load == 0.0
        for begun in self.order.values():
            assert begun == sorted(begun), "directed tasks ran in another order than submitted"
