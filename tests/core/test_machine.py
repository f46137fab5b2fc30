"""Any order of events: a state machine that hypothesis drives, with all invariants checked after each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from world import CheckedTask, FakeEngine, World

from parpool.core.scheduler import Scheduler
from parpool.core.state import Dependency
from parpool.status import ERROR, OK

STEPS = 60

Rule = TypeVar("Rule", bound=Callable[..., Any])


def some(test: Callable[[FakeEngine], object]) -> Callable[[Rule], Rule]:
    """A rule for when a living engine is such."""
    return precondition(lambda self: any(test(engine) for engine in self.living))


class Events(RuleBasedStateMachine):
    """Submitters, engines and time, all at odds."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.next_id = 0
        self.next_engine = 0

    @property
    def living(self) -> list[FakeEngine]:
        return [engine for engine in self.world.engines.values() if engine.alive]

    def pick(self, data: st.DataObject, test: Callable[[FakeEngine], object]) -> FakeEngine:
        return data.draw(st.sampled_from([engine for engine in self.living if test(engine)]), label="engine")

    @initialize(policy=st.sampled_from(["leastload", "lru"]), engines=st.integers(0, 3))
    def start(self, policy: str, engines: int) -> None:
        self.world = World(Scheduler(policy))
        for _ in range(engines):
            self.join(None)

    # -- submitters -------------------------------------------------------------------------------------------

    def new(self, function: int = 0) -> CheckedTask:
        self.next_id += 1
        return CheckedTask(self.next_id - 1, b"%d" % function, b"payload")

    @rule(count=st.integers(1, 12), function=st.integers(0, 2))
    def submit_plain(self, count: int, function: int) -> None:
        self.world.submit(*(self.new(function) for _ in range(count)))

    @rule(
        data=st.data(),
        items=st.sampled_from([1, 1, 2, 5]),
        retries=st.sampled_from([0, 0, 1, 2]),
        limit=st.sampled_from([None, None, 0.5]),
        aimed=st.booleans(),
        weight=st.sampled_from([1, 4]),
    )
    def submit_special(
        self, data: st.DataObject, items: int, retries: int, limit: float | None, aimed: bool, weight: int
    ) -> None:
        task = self.new()
        task.count, task.weight = items, items if items > 1 else weight
        task.retries, task.limit, task.remembered = retries, limit, data.draw(st.booleans())
        if aimed:
            task.targets = data.draw(st.frozensets(st.integers(0, self.next_engine), max_size=3))
        self.world.submit(task)

    @rule(
        data=st.data(),
        all=st.booleans(),
        met_by=st.sampled_from([(True, False), (False, True), (True, True)]),
        follow=st.booleans(),
        patience=st.sampled_from([None, 0.2, 5.0]),
        copies=st.integers(1, 3),
    )
    def submit_dependent(
        self,
        data: st.DataObject,
        all: bool,
        met_by: tuple[bool, bool],
        follow: bool,
        patience: float | None,
        copies: int,
    ) -> None:
        named = data.draw(st.frozensets(st.integers(max(0, self.next_id - 6), self.next_id + 1), max_size=3))
        tasks = [self.new() for _ in range(copies)]
        for task in tasks:
            dependency = Dependency(named, all, *met_by)
            if follow:
                task.follow = dependency
            else:
                task.after = dependency
            task.patience = patience
            task.remembered = True
        self.world.submit(*tasks)

    @precondition(lambda self: self.world.scheduler.tasks)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.world.tasks)), min_size=1, max_size=8))
        self.world.abort(*ids)

    @precondition(lambda self: self.world.scheduler.tasks)
    @rule(data=st.data())
    def condemn(self, data: st.DataObject) -> None:
        self.world.condemn(*data.draw(st.lists(st.sampled_from(sorted(self.world.scheduler.tasks)), max_size=8)))

    @precondition(lambda self: self.world.scheduler.condemned)
    @rule(count=st.integers(1, 5))
    def bury(self, count: int) -> None:
        self.world.bury(count)

    @precondition(lambda self: len(self.world.scheduler.tasks) > 8)
    @rule()
    def abort_all(self) -> None:
        self.world.abort_all()

    # -- engines ----------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.living) < 5)
    @rule(quota=st.sampled_from([None, None, 1, 3]))
    def join(self, quota: int | None) -> None:
        self.next_engine += 1
        self.world.join(self.next_engine - 1, quota)

    @some(lambda engine: engine.works)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        self.world.arrive(self.pick(data, lambda engine: engine.works))

    @some(lambda engine: engine.item is None and (engine.rest or engine.inbox))
    @rule(data=st.data(), unmet=st.integers(0, 9), deaf=st.integers(0, 9))
    def begin(self, data: st.DataObject, unmet: int, deaf: int) -> None:
        engine = self.pick(data, lambda engine: engine.item is None and (engine.rest or engine.inbox))
        engine.deaf = deaf == 9
        self.world.begin(engine, unmet=unmet == 9)

    @some(lambda engine: engine.item is not None and not engine.deaf)
    @rule(data=st.data(), status=st.sampled_from([OK, OK, ERROR]), took=st.sampled_from([1e-5, 5e-4, 0.003, 0.1]))
    def finish(self, data: st.DataObject, status: int, took: float) -> None:
        engine = self.pick(data, lambda engine: engine.item is not None and not engine.deaf)
        self.world.finish(engine, status, took)

    @some(lambda engine: engine.unsent or engine.reports)
    @rule(data=st.data(), both=st.booleans())
    def report(self, data: st.DataObject, both: bool) -> None:
        engine = self.pick(data, lambda engine: engine.unsent or engine.reports)
        if engine.unsent:
            self.world.flush(engine)
            if not both:
                return
        self.world.report(engine)

    @some(lambda engine: engine.item is None and engine.inbox)
    @rule(data=st.data(), count=st.integers(1, 6))
    def run_many(self, data: st.DataObject, count: int) -> None:
        """The common way of things, so that much comes to pass within one example."""
        engine = self.pick(data, lambda engine: engine.item is None and engine.inbox)
        for _ in range(count):
            if engine.rest or engine.inbox:
                self.world.begin(engine)
                self.world.finish(engine, took=1e-5)
        self.world.flush(engine)

    @some(lambda engine: engine.orders)
    @rule(data=st.data(), look=st.booleans())
    def obey(self, data: st.DataObject, look: bool) -> None:
        self.world.obey(self.pick(data, lambda engine: engine.orders), look)

    @some(lambda engine: engine.answers)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.world.answer(self.pick(data, lambda engine: engine.answers))

    @some(lambda engine: True)
    @rule(data=st.data(), known=st.booleans(), missing=st.sampled_from([(), (), (0,), (0, 2)]))
    def die(self, data: st.DataObject, known: bool, missing: tuple[int, ...]) -> None:
        engine = self.pick(data, lambda engine: True)
        self.world.die(engine, known, missing)

    @some(lambda engine: engine.killed or (engine.stopped and engine.done))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.world.die(self.pick(data, lambda engine: engine.killed or (engine.stopped and engine.done)))

    @some(lambda engine: True)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        self.world.retire(self.pick(data, lambda engine: True).id)

    # -- time -------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0001, 0.004, 0.3, 1.0]))
    def tick(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @precondition(lambda self: self.world.scheduler.wake_at() is not None)
    @rule()
    def wake(self) -> None:
        world = self.world
        wake = world.scheduler.wake_at()
        assert wake is not None
        world.pass_time(max(0.0, wake - world.now))
        again = world.scheduler.wake_at()
        assert again is None or again > world.now, "it would be woken for nothing"

    def teardown(self) -> None:
        """When all obey, everything ends."""
        self.join(None)
        self.world.settle()
        self.world.assert_over()


class TestMachine(Events.TestCase):  # type: ignore[misc, valid-type] # hypothesis makes it
    """The machine as a test."""

    settings = settings(
        max_examples=250,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
