"""Work behind a long task goes to engines that have nothing to do, and so do the items of a long chunk."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from test_scheduler import begin, plain, run, sent, world_of
from world import CheckedTask, World

from parpool.core.parts import whole_of
from parpool.core.state import Dependency
from parpool.core.stuck import STUCK
from parpool.status import ABORTED, ERROR, IMPOSSIBLE, LOST, OK


def stuck(engines: int = 2, tasks: int = 6, **fields: Any) -> World:
    """Engine 0 is in a task that was thought to be short; the others have nothing to do."""
    world = world_of(1, timed=1e-4)
    world.submit(*plain(*range(tasks), **fields))
    for id in range(1, engines):
        world.join(id)
    begin(world)
    return world


def answer(world: World, id: int = 0) -> None:
    engine = world.engines[id]
    world.obey(engine)
    world.answer(engine)


def test_what_waits_behind_a_long_task_is_asked_back_once() -> None:
    world = stuck()
    assert world.scheduler.wake_at() == pytest.approx(world.now + STUCK)
    assert not world.pass_time(STUCK / 2)
    assert world.pass_time(STUCK).revoke == [(0, [1, 2, 3, 4, 5])]
    assert world.scheduler.wake_at() is None
    assert not world.pass_time(STUCK)
    answer(world)
    assert world.last.send and all(id == 1 for id, _ in world.last.send), "not to the one that gave it back"
    world.settle()
    world.assert_over()


def test_what_had_begun_meanwhile_is_kept() -> None:
    world = stuck()
    world.pass_time(STUCK)
    world.finish(world.engines[0])
    begin(world)
    answer(world)
    assert world.scheduler.tasks[1].state == "sent"
    world.settle()
    assert world.outcomes[1, 0] == (OK, 0)
    world.assert_over()


def test_who_has_kept_a_task_is_not_asked_again_before_it_reports() -> None:
    world = stuck(tasks=2)
    world.finish(world.engines[0])
    begin(world)
    world.pass_time(STUCK)
    answer(world)
    assert not world.pass_time(1.0)
    assert world.scheduler.wake_at() is None


def test_nothing_is_asked_back_where_nobody_is_idle() -> None:
    world = stuck(engines=1)
    assert world.scheduler.wake_at() is None
    assert not world.pass_time(1.0)


def test_directed_tasks_stay() -> None:
    world = stuck(targets=frozenset({0}))
    assert not world.pass_time(1.0)
    assert world.scheduler.wake_at() is None


def test_tasks_for_some_move_when_one_of_those_is_idle() -> None:
    world = stuck(targets=frozenset({0, 2}))
    assert not world.pass_time(1.0)
    world.join(2)
    assert sent(world) == {2: [3, 4]}
    run(world, 2, times=2)
    run(world, 2)
    assert world.scheduler.wake_at() is not None
    assert world.pass_time(0.0).revoke == [(0, [1, 2])]


# -- cutting --------------------------------------------------------------------------------------------------


def chunk(id: int, items: int, **fields: object) -> CheckedTask:
    return CheckedTask(id, b"f", count=items, weight=items, **fields)


def cut(engines: int = 3, items: int = 9, **fields: Any) -> World:
    """A chunk whose engine is stuck in its second item is cut."""
    world = world_of(1)
    world.submit(chunk(1, items, **fields))
    run(world)
    begin(world)
    for id in range(1, engines):
        world.join(id)
    assert world.pass_time(STUCK).revoke == [(0, [1])]
    answer(world)
    return world


def test_the_items_of_a_stuck_chunk_go_to_the_idle() -> None:
    world = cut()
    parts = [task for _, tasks in world.last.send for task in tasks]
    assert [(part.first, part.count) for part in parts] == [(2, 5), (5, 9)]
    assert all(whole_of(part.id) == part.whole == 1 and part.payload is parts[0].payload for part in parts)
    assert {id for id, _ in world.last.send} == {1, 2}
    world.settle()
    assert world.statuses(1) == [OK] * 9
    assert world.outcomes[1, 1] == (OK, 0)
    world.assert_over()


def test_no_more_parts_than_items() -> None:
    world = cut(engines=6, items=4)
    assert [(task.first, task.count) for _, tasks in world.last.send for task in tasks] == [(2, 3), (3, 4)]
    world.settle()
    world.assert_over()


def test_a_part_is_cut_again() -> None:
    world = cut(engines=2, items=9)
    begin(world, 1)
    world.join(2)
    assert world.pass_time(STUCK).revoke
    answer(world, 1)
    world.settle()
    assert world.statuses(1) == [OK] * 9
    assert {engine for _, engine in world.outcomes.values()} == {0, 1, 2}
    world.assert_over()


def test_the_last_item_cannot_be_cut() -> None:
    world = world_of(1)
    world.submit(chunk(1, 2))
    run(world)
    begin(world)
    world.join(1)
    assert not world.pass_time(1.0)


def test_the_answer_may_come_after_the_items_before_it_have_ended() -> None:
    world = world_of(1)
    world.submit(chunk(1, 4))
    run(world)
    engine = begin(world)
    world.join(1)
    world.pass_time(STUCK)
    world.obey(engine)
    world.finish(engine)
    world.flush(engine)
    world.report(engine)
    world.answer(engine)
    assert 1 not in world.scheduler.tasks, "the items that its engine has run are through: the others are parts"
    assert {whole_of(id) for id in world.scheduler.tasks} == {1}
    world.settle()
    assert world.statuses(1) == [OK] * 4
    world.assert_over()


def test_a_wrong_answer_changes_nothing() -> None:
    for item in (-1, 0, 9, 50):
        world = world_of(1)
        world.submit(chunk(1, 9))
        run(world)
        begin(world)
        world.join(1)
        world.pass_time(STUCK)
        world.engines[0].orders.clear()
        world.step(partial(world.scheduler.given_back, 0, [], [], world.now, [(1, item)]))
        assert not world.last.send
        world.settle()
        world.assert_over()


def test_a_cut_task_is_aborted_as_one() -> None:
    world = cut(engines=2)
    world.abort(1)
    world.settle()
    assert world.statuses(1) == [OK, OK] + [ABORTED] * 7
    world.assert_over()


def test_a_cut_task_has_ended_when_all_its_parts_have() -> None:
    world = cut(engines=2, items=4)
    world.submit(CheckedTask(2, b"f", after=Dependency(frozenset({1}))))
    run(world, 1)
    run(world, 1)
    assert not world.statuses(2) and 2 in world.scheduler.tasks
    world.finish(world.engines[0])
    world.settle()
    assert world.statuses(2) == [OK]
    world.assert_over()


def test_a_cut_task_has_failed_when_one_of_its_parts_has() -> None:
    world = cut(engines=2, items=4, remembered=True)
    world.submit(CheckedTask(2, b"f", after=Dependency(frozenset({1}))))
    run(world, 1, status=ERROR)
    run(world, 1)
    world.settle()
    assert world.statuses(2) == [IMPOSSIBLE]
    world.submit(CheckedTask(3, b"f", after=Dependency(frozenset({1}), failure=True)))
    world.settle()
    assert world.statuses(3) == [OK]


def test_parts_are_tried_again_like_the_whole() -> None:
    world = cut(engines=2, items=4, retries=1, limit=9.0)
    begin(world, 1)
    world.die(world.engines[1])
    world.die(world.engines[0])
    world.join(5)
    world.settle()
    assert world.statuses(1) == [OK] * 4
    world.assert_over()


def test_only_the_running_item_of_a_part_is_lost() -> None:
    world = cut(engines=2, items=5)
    begin(world, 1)
    world.die(world.engines[1])
    world.settle()
    assert world.statuses(1) == [OK, OK, LOST, OK, OK]
