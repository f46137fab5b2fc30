"""Engines that are cut off and come back, and a scheduler that follows another one: nothing is lost or runs twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from sea import Hello, Sea
from world import CheckedTask, FakeEngine, Said

from parpool.core.check import check
from parpool.core.scheduler import Scheduler
from parpool.status import ABORTED, ERROR, LOST, OK

Rule = TypeVar("Rule", bound=Callable[..., Any])


def some(test: Callable[[Sea, FakeEngine], object]) -> Callable[[Rule], Rule]:
    """A rule for when a living engine is such."""
    return precondition(lambda self: any(test(self.sea, engine) for engine in self.living))


class Distance(RuleBasedStateMachine):
    """Submitters, engines, connections and schedulers, all at odds."""

    def __init__(self) -> None:
        super().__init__()
        self.sea = Sea()
        self.next_id = 0

    @property
    def living(self) -> list[FakeEngine]:
        return [engine for engine in self.sea.engines.values() if engine.alive]

    def pick(self, data: st.DataObject, test: Callable[[Sea, FakeEngine], object]) -> FakeEngine:
        ids = [each.id for each in self.living if test(self.sea, each)]
        return self.sea.engines[data.draw(st.sampled_from(ids), label="engine")]

    @initialize(engines=st.integers(1, 3))
    def start(self, engines: int) -> None:
        self.sea = Sea()
        for _ in range(engines):
            self.join()

    @rule(
        data=st.data(),
        copies=st.sampled_from([1, 1, 3, 12]),
        items=st.sampled_from([1, 1, 1, 3]),
        retries=st.sampled_from([0, 0, 0, 1]),
        limit=st.sampled_from([None, None, None, 0.5]),
        aimed=st.booleans(),
    )
    def submit(
        self, data: st.DataObject, copies: int, items: int, retries: int, limit: float | None, aimed: bool
    ) -> None:
        tasks = []
        targets = data.draw(st.frozensets(st.integers(0, 3), max_size=2)) if aimed else None
        for _ in range(copies):
            task = CheckedTask(self.next_id, b"f", b"payload")
            task.count = task.weight = items
            task.retries, task.limit, task.targets = retries, limit, targets
            self.next_id += 1
            tasks.append(task)
        self.sea.submit(*tasks)

    @precondition(lambda self: len(self.sea.engines) < 5)
    @rule()
    def join(self) -> None:
        self.sea.join(len(self.sea.engines))

    @some(lambda sea, engine: engine.works)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        self.sea.arrive(self.pick(data, lambda sea, engine: engine.works))

    @some(lambda sea, engine: engine.item is None and (engine.rest or engine.inbox))
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.sea.begin(self.pick(data, lambda sea, engine: engine.item is None and (engine.rest or engine.inbox)))

    @some(lambda sea, engine: engine.item is not None)
    @rule(data=st.data(), status=st.sampled_from([OK, OK, ERROR]), took=st.sampled_from([1e-5, 0.003, 0.1]))
    def finish(self, data: st.DataObject, status: int, took: float) -> None:
        self.sea.finish(self.pick(data, lambda sea, engine: engine.item is not None), status, took)

    @some(lambda sea, engine: engine.item is None and engine.inbox)
    @rule(data=st.data(), count=st.integers(1, 6))
    def run_many(self, data: st.DataObject, count: int) -> None:
        engine = self.pick(data, lambda sea, engine: engine.item is None and engine.inbox)
        for _ in range(count):
            if engine.rest or engine.inbox:
                self.sea.begin(engine)
                self.sea.finish(engine, took=1e-5)
        self.sea.flush(engine)

    @some(lambda sea, engine: engine.unsent)
    @rule(data=st.data())
    def flush(self, data: st.DataObject) -> None:
        self.sea.flush(self.pick(data, lambda sea, engine: engine.unsent))

    @some(lambda sea, engine: engine.reports)
    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        self.sea.report(self.pick(data, lambda sea, engine: engine.reports))

    @some(lambda sea, engine: engine.orders)
    @rule(data=st.data(), look=st.booleans())
    def obey(self, data: st.DataObject, look: bool) -> None:
        engine = self.pick(data, lambda sea, engine: engine.orders)
        self.sea.obey(engine, look)

    @some(lambda sea, engine: engine.answers)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.sea.answer(self.pick(data, lambda sea, engine: engine.answers))

    @some(lambda sea, engine: engine.id not in sea.away)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        self.sea.cut(self.pick(data, lambda sea, engine: engine.id not in sea.away))

    @some(lambda sea, engine: engine.id in sea.away)
    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        self.sea.connect(self.pick(data, lambda sea, engine: engine.id in sea.away))

    @some(lambda sea, engine: engine.id not in sea.away)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        self.sea.ask(self.pick(data, lambda sea, engine: engine.id not in sea.away))

    @some(lambda sea, engine: sea.outbox.get(engine.id))
    @rule(data=st.data())
    def note(self, data: st.DataObject) -> None:
        self.sea.note(self.pick(data, lambda sea, engine: sea.outbox.get(engine.id)))

    @some(lambda sea, engine: True)
    @rule(data=st.data(), known=st.booleans(), missing=st.sampled_from([(), (), (0,), (0, 2)]))
    def die(self, data: st.DataObject, known: bool, missing: tuple[int, ...]) -> None:
        self.sea.die(self.pick(data, lambda sea, engine: True), known, missing)

    @some(lambda sea, engine: engine.killed or (engine.stopped and engine.done))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.sea.die(self.pick(data, lambda sea, engine: engine.killed or (engine.stopped and engine.done)))

    @some(lambda sea, engine: engine.id not in sea.strange)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        self.sea.retire(self.pick(data, lambda sea, engine: engine.id not in sea.strange).id)

    @rule(seconds=st.sampled_from([0.0001, 0.004, 0.3, 1.0]))
    def tick(self, seconds: float) -> None:
        self.sea.pass_time(seconds)

    def teardown(self) -> None:
        """When all are there and obey, everything ends."""
        self.sea.join(len(self.sea.engines))
        self.sea.settle()
        self.sea.assert_over()


class Succession(Distance):
    """And schedulers that follow one another."""

    @rule()
    def follow(self) -> None:
        self.sea.follow()

    @precondition(lambda self: self.sea.left_behind)
    @rule(count=st.sampled_from([1, 5, 100]))
    def submit_again(self, count: int) -> None:
        self.sea.submit_again(count)


class TestDistance(Distance.TestCase):  # type: ignore[misc, valid-type] # hypothesis makes it
    """Engines come and go."""

    settings = settings(
        max_examples=150,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,  # for the same examples each time; who looks for more gives it a seed
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


class TestSuccession(Succession.TestCase):  # type: ignore[misc, valid-type]
    """And so do schedulers."""

    settings = settings(
        max_examples=150,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,  # for the same examples each time; who looks for more gives it a seed
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


# In words ---------------------------------------------------------------------------------------------------


def warm(sea: Sea, engine: int) -> None:
    """The function has been timed, so several tasks are sent at once."""
    sea.submit(*(task(1000 + n) for n in range(12)))
    for _ in range(12):
        sea.settle(took=1e-5)
    assert not sea.scheduler.tasks


def task(id: int, **more: Any) -> CheckedTask:
    made = CheckedTask(id, b"f", b"payload")
    for name, value in more.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def sea() -> Sea:
    """One engine, to which several tasks are sent at a time."""
    made = Sea()
    made.join(0)
    warm(made, 0)
    return made


def arrived(sea: Sea, *ids: int, **more: Any) -> FakeEngine:
    """These tasks have arrived at engine 0."""
    engine = sea.engines[0]
    sea.submit(*(task(id, **more) for id in ids))
    while engine.works:
        sea.arrive(engine)
    assert list(engine.inbox) == list(ids)
    return engine


def back(sea: Sea, engine: FakeEngine) -> None:
    """It is connected again, was asked, and has said again what was not noted; its answer comes next."""
    sea.connect(engine)
    sea.ask(engine)
    while not (engine.reports and isinstance(engine.reports[-1], Hello)):
        sea.arrive(engine)
    while len(engine.reports) > 1:
        sea.report(engine)


def test_what_never_arrived_is_sent_again(sea: Sea) -> None:
    engine = arrived(sea, 1)
    sea.submit(task(2), task(3))
    assert engine.works
    sea.cut(engine)
    back(sea, engine)
    assert not sea.report(engine).deliver
    assert [each.id for work in engine.works for each in work] == [2, 3]
    sea.settle()
    sea.assert_over()


def test_what_is_sent_before_the_answer_has_come(sea: Sea) -> None:
    engine = arrived(sea, 1)
    sea.cut(engine)
    back(sea, engine)
    sea.submit(task(2))
    assert engine.works
    sea.arrive(engine)  # which it does not take, as it has not been told to begin
    assert 2 not in engine.inbox
    effects = sea.report(engine)
    assert [each.id for _, tasks in effects.send for each in tasks] == [2]
    sea.settle()
    sea.assert_over()


def test_a_revoke_that_was_lost_is_said_again(sea: Sea) -> None:
    engine = arrived(sea, 1, 2)
    sea.begin(engine)
    sea.join(1)
    sea.pass_time(1.0)
    assert [what for what, _ in engine.orders] == ["revoke"]
    sea.cut(engine)
    back(sea, engine)
    effects = sea.report(engine)
    assert effects.revoke == [(0, [2])]
    sea.settle()
    sea.assert_over()


def test_what_was_given_back_when_the_answer_was_lost(sea: Sea) -> None:
    engine = arrived(sea, 1, 2)
    sea.begin(engine)
    sea.join(1)
    sea.pass_time(1.0)
    sea.obey(engine)
    sea.cut(engine)  # with the answer
    back(sea, engine)
    effects = sea.report(engine)
    assert [(id, [each.id for each in tasks]) for id, tasks in effects.send] == [(1, [2])]
    sea.settle()
    sea.assert_over()


def test_an_abort_that_was_lost(sea: Sea) -> None:
    engine = arrived(sea, 1, 2)
    sea.begin(engine)
    sea.abort(2)
    sea.cut(engine)
    back(sea, engine)
    assert sea.report(engine).revoke == [(0, [2])]
    sea.obey(engine)
    sea.answer(engine)
    assert sea.statuses(2) == [ABORTED] and sea.begun[2, 0] == 0
    sea.settle()
    sea.assert_over()


def test_outcomes_that_come_twice(sea: Sea) -> None:
    engine = arrived(sea, 1, 2, count=2, weight=2)
    for _ in range(3):
        sea.begin(engine)
        sea.finish(engine, took=1e-5)
    sea.flush(engine)
    said = list(engine.reports[0])
    sea.report(engine)
    stale = sea.scheduler.stale
    assert not sea.step(lambda: sea.scheduler.outcomes(0, said, sea.now))
    assert sea.scheduler.stale == stale + 3
    sea.settle()
    sea.assert_over()


# A scheduler that follows -------------------------------------------------------------------------------------


def test_an_awaited_engine_gets_nothing() -> None:
    scheduler = Scheduler()
    scheduler.engine_awaited(0, 100.0)
    check(scheduler)
    assert not scheduler.submit([task(1)], 100.0)
    check(scheduler)
    assert not scheduler.tick(101.0)
    effects = scheduler.engine_returned(0, [], 102.0)
    check(scheduler)
    assert [(id, [each.id for each in tasks]) for id, tasks in effects.send] == [(0, [1])]


def test_an_engine_is_awaited_once() -> None:
    scheduler = Scheduler()
    scheduler.engine_awaited(0, 100.0)
    with pytest.raises(ValueError, match="engine 0"):
        scheduler.engine_awaited(0, 100.0)
    with pytest.raises(ValueError, match="engine 0"):
        scheduler.engine_joined(0, 100.0)


def test_tasks_for_an_awaited_engine_wait_for_it() -> None:
    """They were queued for it when the other scheduler ended: they can be had, if a little later."""
    scheduler = Scheduler()
    scheduler.engine_awaited(0, 100.0)
    aimed = [task(1, targets=frozenset((0,))), task(2, targets=frozenset((0, 1)))]
    effects = scheduler.submit(aimed, 100.0)
    check(scheduler)
    assert not effects.deliver, "they are said to be impossible"
    effects = scheduler.engine_returned(0, [], 101.0)
    check(scheduler)
    assert sorted(each.id for _, tasks in effects.send for each in tasks) == [1]
    assert not effects.deliver


@pytest.mark.parametrize("targets", [None, frozenset((0,))], ids=["for any", "for it alone"])
def test_adopted_and_not_held(targets: frozenset[int] | None) -> None:
    """It was given to an engine, and never got there."""
    scheduler = Scheduler()
    scheduler.engine_awaited(0, 100.0)
    adopted = task(1, targets=targets)
    scheduler.adopt(adopted, 0, 100.0)
    check(scheduler)
    effects = scheduler.engine_returned(0, [], 101.0)
    check(scheduler)
    assert not effects.deliver
    assert [(id, [each.id for each in tasks]) for id, tasks in effects.send] == [(0, [1])]


def test_adopted_and_held() -> None:
    scheduler = Scheduler()
    scheduler.engine_awaited(0, 100.0)
    adopted = task(1)
    scheduler.adopt(adopted, 0, 100.0)
    check(scheduler)
    assert not scheduler.submit([task(2)], 100.0)
    effects = scheduler.engine_returned(0, [1], 101.0)
    check(scheduler)
    assert not effects.deliver and not any(each.id == 1 for _, tasks in effects.send for each in tasks)
    effects = scheduler.outcomes(0, [Said(1)], 102.0)
    check(scheduler)
    assert [(each.id, outcome.status) for each, outcome, _ in effects.deliver] == [(1, OK)]


@pytest.mark.parametrize("known", [False, True])
def test_an_awaited_engine_that_is_dead(known: bool) -> None:
    scheduler = Scheduler()
    scheduler.engine_awaited(0, 100.0)
    scheduler.adopt(task(1), 0, 100.0)
    scheduler.adopt(task(2, retries=1), 0, 100.0)
    effects = scheduler.engine_lost(0, 101.0, known=known, running=(1, 0) if known else None)
    check(scheduler)
    assert [(each.id, outcome.status) for each, outcome, _ in effects.deliver] == [(1, LOST)]
    assert scheduler.tasks.keys() == {2}


def test_the_time_limit_of_an_adopted_task_runs_when_the_engine_is_back() -> None:
    """Nobody can interrupt it before, and a task that has ended there long ago is not to be killed for it."""
    scheduler = Scheduler()
    scheduler.engine_awaited(0, 100.0)
    scheduler.adopt(task(1, limit=0.5), 0, 100.0)
    for seconds in range(1, 6):
        effects = scheduler.tick(100.0 + seconds)
        check(scheduler)
        assert not effects.kill and not effects.interrupt
    scheduler.engine_returned(0, [1], 110.0)
    check(scheduler)
    assert not scheduler.tick(110.1)
    assert scheduler.tick(110.6).interrupt == [(0, 1, 0)]
    check(scheduler)


def test_what_was_adopted_late_does_not_run_twice(sea: Sea) -> None:
    """An engine runs a task of the time before, then one of this, and dies in it. The outcome of the first, a large
    one, was on its way, so nobody knows of it; but it did run."""
    engine = arrived(sea, 1)
    sea.follow()
    back(sea, engine)
    sea.report(engine)  # it holds task 1, which nobody has submitted here yet
    sea.submit(task(2))
    sea.submit_again(1)
    while engine.works:
        sea.arrive(engine)
    for _ in range(2):
        sea.begin(engine)
        if engine.current == 1:
            sea.finish(engine)
    assert engine.current == 2 and sea.begun == {**sea.begun, (1, 0): 1}
    sea.join(1)
    sea.die(engine, known=True, missing=[len(engine.recorded[-20:]) - 1])
    sea.settle()
    assert sea.begun[1, 0] == 1 and sea.statuses(1) == [LOST]


def test_what_was_given_after_an_adopted_task_has_not_begun(sea: Sea) -> None:
    """An engine dies in a task of the time before: those that it was given here go elsewhere."""
    engine = arrived(sea, 1)
    sea.follow()
    back(sea, engine)
    sea.report(engine)
    sea.submit(task(2))
    sea.submit_again(1)
    while engine.works:
        sea.arrive(engine)
    sea.begin(engine)
    assert engine.current == 1
    sea.join(1)
    sea.die(engine, known=True)
    sea.settle()
    assert sea.statuses(1) == [LOST] and sea.statuses(2) == [OK]
