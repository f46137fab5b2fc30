"""Time limits: interrupt, then the end of the engine; victims only."""

from __future__ import annotations

from typing import Any

import pytest
from test_scheduler import begin, plain, run, world_of
from world import CheckedTask, World

from parpool.core.limits import GRACE
from parpool.status import KILLED, LOST, OK, OVERTIME


def over(tasks: int = 1, engines: int = 1, deaf: bool = True, **fields: Any) -> World:
    """Engine 0 is in its first task, and the limit of that has just passed."""
    world = world_of(1, timed=1e-4)
    world.submit(*plain(*range(tasks), limit=2.0, **fields))
    for id in range(1, engines):
        world.join(id)
    begin(world).deaf = deaf
    assert world.scheduler.wake_at() is not None
    world.now += 2.0
    world.step(lambda: world.scheduler.tick(world.now))
    return world


def test_a_task_over_its_time_is_interrupted_once() -> None:
    world = over(deaf=False)
    assert world.last.interrupt == [(0, 0, 0)]
    assert not world.pass_time(0.1)
    world.settle()
    assert world.statuses(0) == [OVERTIME]
    assert not world.engines[0].killed
    assert world.scheduler.wake_at() is None


def test_within_its_time_nothing_happens() -> None:
    world = world_of(1)
    world.submit(*plain(1, limit=2.0))
    begin(world)
    assert world.scheduler.wake_at() == pytest.approx(world.now + 2.0)
    assert not world.pass_time(1.9)
    world.settle()
    assert world.statuses(1) == [OK]


def test_who_does_not_heed_is_ended() -> None:
    world = over()
    assert world.scheduler.wake_at() == pytest.approx(world.now + GRACE)
    assert world.pass_time(GRACE).kill == [0]
    assert not world.pass_time(GRACE)
    assert world.scheduler.wake_at() is None
    world.die(world.engines[0])
    assert world.statuses(0) == [KILLED]


@pytest.mark.parametrize("known", [True, False])
def test_its_neighbours_are_spared(known: bool) -> None:
    world = over(tasks=6)
    assert world.last.revoke == [(0, [1, 2, 3, 4, 5])], "it may not heed"
    world.obey(world.engines[0])
    world.answer(world.engines[0])
    assert not world.last.send
    world.pass_time(GRACE)
    world.die(world.engines[0], known=known)
    assert world.statuses(0) == [KILLED]
    world.join(1)
    world.settle()
    assert [world.statuses(id) for id in range(1, 6)] == [[OK]] * 5


def test_an_engine_that_is_being_ended_gets_nothing_more() -> None:
    world = over()
    world.pass_time(GRACE)
    world.engines[0].deaf = False
    world.finish(world.engines[0])
    world.flush(world.engines[0])
    world.report(world.engines[0])
    world.submit(*plain(7))
    assert not world.last.send
    world.die(world.engines[0])
    world.join(1)
    world.settle()
    assert world.statuses(7) == [OK]


def test_a_task_over_its_time_is_not_tried_again() -> None:
    world = over(retries=5)
    world.pass_time(GRACE)
    world.die(world.engines[0])
    assert world.statuses(0) == [KILLED]


def test_each_item_has_its_own_time_and_its_own_interrupt() -> None:
    world = world_of(1)
    world.submit(CheckedTask(1, b"f", count=3, weight=3, limit=2.0))
    for item in range(3):
        engine = begin(world)
        assert world.pass_time(2.0).interrupt == [(0, 1, item)]
        engine.orders = type(engine.orders)(order for order in engine.orders if order[0] == "interrupt")
        world.obey(engine)
        world.finish(engine)
        world.flush(engine)
        world.report(engine)
        assert not world.pass_time(1.0)
    assert world.statuses(1) == [OVERTIME] * 3


def test_of_a_chunk_only_the_item_over_its_time_is_killed() -> None:
    world = world_of(1)
    world.submit(CheckedTask(1, b"f", count=3, weight=3, limit=2.0))
    run(world)
    begin(world).deaf = True
    world.pass_time(2.0)
    world.pass_time(GRACE)
    world.die(world.engines[0])
    world.join(1)
    world.settle()
    assert world.statuses(1) == [OK, KILLED, OK]
    assert LOST not in world.statuses(1)


def test_the_time_of_a_task_begins_when_it_does() -> None:
    world = world_of(1, timed=1e-4)
    world.submit(*plain(1), *plain(2, limit=2.0))
    begin(world)
    assert not world.pass_time(100.0).interrupt
    world.finish(world.engines[0])
    world.flush(world.engines[0])
    world.report(world.engines[0])
    begin(world)
    assert not world.pass_time(1.9).interrupt
    assert world.pass_time(0.2).interrupt


def test_the_time_of_a_task_begins_anew_where_the_one_before_it_was_given_back() -> None:
    world = world_of(1, timed=1e-4)
    world.submit(*plain(1), *plain(2, limit=2.0))
    world.pass_time(1.5)
    world.abort(1)
    world.obey(world.engines[0])
    world.answer(world.engines[0])
    assert not world.pass_time(1.0).interrupt
    world.settle()
    world.assert_over()


def test_the_one_that_ran_is_to_blame_even_where_the_one_before_it_could_not_report() -> None:
    world = world_of(1, timed=1e-4)
    world.submit(*plain(1, 2, limit=2.0))
    world.finish(begin(world))
    begin(world)  # and keeps the whole process from doing anything else
    assert world.pass_time(2.0).interrupt == [(0, 1, 0)]
    world.pass_time(GRACE)
    world.die(world.engines[0])
    assert (world.statuses(1), world.statuses(2)) == ([OK], [KILLED])


def test_a_task_that_is_given_back_is_over_its_time_no_more() -> None:
    world = world_of(1)
    world.submit(*plain(1, limit=2.0))  # on the way, and slow to arrive
    assert world.pass_time(2.0).interrupt
    world.abort(1)
    for _ in range(2):
        world.obey(world.engines[0])
    world.answer(world.engines[0])
    assert world.scheduler.engines[0].overdue is None
    assert not world.pass_time(GRACE)
    world.assert_over()
