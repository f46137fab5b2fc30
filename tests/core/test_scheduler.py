"""The rules of assigning, losing and ending tasks."""

from __future__ import annotations

import tracemalloc
from functools import partial
from time import process_time
from typing import Any

import pytest
from world import CheckedTask, FakeEngine, Said, World

from parpool.core.credit import BATCH, MESSAGE, OVERHEAD
from parpool.core.scheduler import Scheduler
from parpool.core.state import ENDED, MOVES, NEW, Task
from parpool.status import ABORTED, ERROR, IMPOSSIBLE, LOST, OK, UNMET


def plain(*ids: int, function: bytes = b"f", **fields: Any) -> list[CheckedTask]:
    return [CheckedTask(id, function, **fields) for id in ids]


def begin(world: World, id: int = 0, unmet: bool = False) -> FakeEngine:
    """Let an engine begin its next task."""
    engine = world.engines[id]
    while engine.works:
        world.arrive(engine)
    world.begin(engine, unmet)
    return engine


def run(world: World, id: int = 0, status: int = OK, took: float = 1e-5, times: int = 1) -> None:
    """Let an engine run its next tasks, and report."""
    for _ in range(times):
        engine = begin(world, id)
        world.finish(engine, status, took)
    world.flush(engine)
    world.report(engine)


def sent(world: World) -> dict[int, list[int]]:
    """What the last step sent."""
    return {id: [task.id for task in tasks] for id, tasks in world.last.send}


def world_of(engines: int, timed: float | None = None) -> World:
    """Engines, and a function that was timed."""
    world = World()
    for id in range(engines):
        world.join(id)
    if timed is not None:
        world.scheduler._dispatch.paces.learn(b"f", timed * 10_000, 10_000)
    return world


# -- assigning ------------------------------------------------------------------------------------------------


def test_the_table_of_moves_has_every_state() -> None:
    assert set().union(*MOVES.values()) | {NEW} == set(MOVES)
    assert not MOVES[ENDED]
    with pytest.raises(AssertionError, match="must not become"):
        CheckedTask(1).state = "revoking"


def test_tasks_wait_for_an_engine() -> None:
    world = World()
    assert not world.submit(*plain(1, 2))
    world.join(0)
    assert sent(world) == {0: [1]}, "the function was never timed"
    run(world)
    assert sent(world) == {0: [2]}


def test_idle_engines_first_and_the_longest_idle_of_them() -> None:
    world = world_of(3)
    for id in range(3):
        world.submit(*plain(id))
        assert sent(world) == {id: [id]}
    for id in (1, 0, 2):
        run(world, id)
    world.submit(*plain(3))
    assert sent(world) == {1: [3]}


def test_shares_shrink_with_what_is_left() -> None:
    world = world_of(2, timed=1e-6)
    world.submit(*plain(*range(1000)))
    sizes = [len(tasks) for _, tasks in world.last.send]
    while world.scheduler.tasks:
        for id in (0, 1):
            engine = world.engines[id]
            if engine.works:
                run(world, id, took=1e-6, times=len(engine.works[0]))
                sizes += [len(tasks) for _, tasks in world.last.send]
    assert sizes[0] > 300
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] * (1e-6 + OVERHEAD) <= 2 * MESSAGE, "less than is worth a message to each"


def test_a_second_batch_is_on_the_way() -> None:
    world = world_of(1, timed=1e-4)
    world.submit(*plain(*range(200)))
    held = len(world.scheduler.engines[0].held)
    assert held == int(2 * BATCH / 1.04e-4)
    run(world, took=1e-4, times=10)
    assert len(world.scheduler.engines[0].held) in (held, held - 1)


def test_an_engine_that_has_been_at_a_task_for_long_gets_nothing_more() -> None:
    world = world_of(1, timed=1e-5)
    world.submit(*plain(1))
    world.now += 1.0
    world.submit(*plain(2))
    assert not world.last.send, "it said 10 µs, and has taken a second"
    run(world)
    assert sent(world) == {0: [2]}


def test_directed_tasks_run_in_order_and_before_others() -> None:
    world = world_of(2, timed=1.0)
    world.submit(*plain(*range(4)), *plain(10, 11, 12, targets=frozenset({1})))
    world.settle()
    assert world.order[1] == [10, 11, 12]
    world.assert_over()


def test_a_task_for_some_runs_on_the_first_of_them_that_has_room() -> None:
    world = world_of(3, timed=1.0)
    world.submit(*plain(0, 1, 2))
    world.submit(*plain(3, targets=frozenset({1, 2})))
    run(world, 0)
    assert not world.last.send
    run(world, 2)
    assert sent(world) == {2: [3]}


def test_a_new_engine_serves_the_group_that_names_it() -> None:
    world = world_of(1, timed=1.0)
    world.submit(*plain(0, 1, targets=frozenset({0, 5})))
    world.join(5)
    assert sent(world) == {5: [1]}


def test_targets_that_are_not_there() -> None:
    world = world_of(1)
    world.submit(*plain(1, targets=frozenset({7})), *plain(2, targets=frozenset()))
    assert world.statuses(1) == world.statuses(2) == [IMPOSSIBLE]
    assert "(7)" in repr(world.last.deliver[0][1])


def test_an_engine_joins_once() -> None:
    world = world_of(1)
    with pytest.raises(ValueError, match="joined"):
        world.scheduler.engine_joined(0, 0.0)


def test_pace_is_told() -> None:
    world = world_of(1)
    assert world.scheduler.pace(b"f") is None
    world.submit(*plain(1))
    run(world, took=0.25)
    assert world.scheduler.pace(b"f") == pytest.approx(0.25)


# -- engines that end -----------------------------------------------------------------------------------------


def test_a_quota_is_used_up_and_the_engine_stopped() -> None:
    world = World()
    world.join(0, quota=2)
    world.submit(*plain(1, 2, 3))
    run(world)
    assert sent(world) == {0: [2]}
    run(world)
    assert world.last.stop == [0]
    world.join(1)
    assert sent(world) == {1: [3]}


def test_what_only_a_stopped_engine_could_run_ends() -> None:
    world = World()
    world.join(0, quota=1)
    world.submit(*plain(1, 2, targets=frozenset({0})), *plain(3, targets=frozenset({0, 9})))
    run(world)
    assert world.last.stop == [0]
    assert world.statuses(2) == world.statuses(3) == [IMPOSSIBLE]
    world.submit(*plain(4, targets=frozenset({0})))
    assert world.statuses(4) == [IMPOSSIBLE]


def test_retiring_lets_finish_what_is_held() -> None:
    world = world_of(2, timed=1.0)
    world.submit(*plain(1, 2, 3))
    world.retire(0)
    assert not world.last.stop
    run(world, 0)
    assert world.last.stop == [0] and not world.last.send
    world.settle()
    assert world.outcomes[3, 0] == (OK, 1)


def test_only_the_victim_is_lost() -> None:
    world = world_of(2, timed=1e-4)
    world.submit(*plain(*range(60)))
    run(world, times=2)
    held = list(world.scheduler.engines[0].held)
    begin(world)
    world.die(world.engines[0], detail="killed by signal 9")
    assert [key[0] for key, (status, _) in world.outcomes.items() if status == LOST] == held[:1]
    world.settle()
    assert [world.statuses(id) for id in held[1:]] == [[OK]] * (len(held) - 1)
    world.assert_over()


def test_outcomes_that_were_not_sent_are_delivered() -> None:
    world = world_of(1, timed=1e-4)
    world.submit(*plain(1, 2, 3))
    engine = begin(world)
    world.finish(engine)
    begin(world)
    world.die(engine)
    assert (world.statuses(1), world.statuses(2), world.statuses(3)) == ([OK], [LOST], [])


def test_where_nothing_is_known_all_held_may_have_begun() -> None:
    world = world_of(1, timed=1e-4)
    world.submit(*plain(1, 2), *plain(3, retries=1))
    world.die(world.engines[0], known=False)
    assert (world.statuses(1), world.statuses(2), world.statuses(3)) == ([LOST], [LOST], [])
    world.join(1)
    world.settle()
    assert world.statuses(3) == [OK]


def test_retries_end_and_the_next_ones_were_not_begun() -> None:
    world = World()
    world.submit(*plain(1, retries=2))
    for id in range(3):
        assert not world.statuses(1)
        world.join(id)
        begin(world, id)
        world.die(world.engines[id])
    assert world.statuses(1) == [LOST]


def test_a_retry_of_an_item_is_counted_for_that_item() -> None:
    """Item 1 was begun on the first engine, so its next engine is its last, whatever item 0 has seen."""
    world = World()
    world.submit(*plain(1, count=3, weight=3, retries=1))
    world.join(0)
    engine = begin(world)
    world.finish(engine)
    begin(world)
    world.die(engine, missing=[0])  # the outcome of item 0 was too large for the recording
    world.join(1)
    run(world, 1)
    begin(world, 1)
    world.die(world.engines[1])
    assert world.statuses(1) == [OK, LOST]
    world.join(2)
    world.settle()
    assert world.statuses(1) == [OK, LOST, OK]


def test_an_outcome_that_did_not_arrive() -> None:
    world = world_of(1)
    world.submit(*plain(1, count=4, weight=4))
    engine = begin(world)
    world.finish(engine)
    world.finish(begin(world))
    begin(world)
    world.die(engine, missing=[0])
    assert world.statuses(1) == [LOST, OK, LOST]
    world.join(1)
    world.settle()
    assert world.statuses(1) == [LOST, OK, LOST, OK]


def test_the_items_behind_the_one_that_died_go_on() -> None:
    world = world_of(1)
    world.submit(*plain(1, count=4, weight=4))
    run(world)
    begin(world)
    world.die(world.engines[0])
    world.join(1)
    world.settle()
    assert world.statuses(1) == [OK, LOST, OK, OK]


def test_what_was_queued_for_a_dead_engine_is_lost() -> None:
    world = world_of(2, timed=1.0)
    world.submit(*plain(1, 2, targets=frozenset({0})), *plain(3, 4, 5, targets=frozenset({0, 1})))
    world.die(world.engines[0])
    assert world.statuses(1) == world.statuses(2) == [LOST], "one was sent and had not begun, one was queued"
    world.settle()
    world.assert_over()
    assert world.statuses(5) == [OK]


def test_the_dead_and_the_unknown_are_ignored() -> None:
    world = world_of(1)
    world.submit(*plain(1))
    assert not world.step(lambda: world.scheduler.engine_lost(9, 0.0))
    assert not world.step(lambda: world.scheduler.outcomes(9, [Said(1)], 0.0))
    assert not world.step(lambda: world.scheduler.given_back(9, [1], [], 0.0))
    assert not world.retire(9)
    assert world.scheduler.stale == 1


def test_late_repeated_and_wrong_reports_are_stale() -> None:
    world = world_of(2, timed=1.0)
    world.submit(*plain(1, count=2, weight=2), *plain(2))
    run(world)
    said = [Said(1), Said(1, item=5), Said(1, item=-1), Said(2), Said(77)]
    assert not world.step(lambda: world.scheduler.outcomes(0, said, world.now)).deliver
    assert world.scheduler.stale == 5
    world.settle()
    world.assert_over()


def test_garbage_about_a_dead_engine_does_no_harm() -> None:
    for running in ((1, 7), (1, -3), (9, 0), None):
        world = world_of(1)
        world.submit(*plain(1, count=3, weight=3))
        run(world)
        world.step(partial(world.scheduler.engine_lost, 0, 0.0, known=True, running=running))
        world.join(1)
        world.abandoned.add(1)
        world.settle()
        assert len(world.statuses(1)) == 3


# -- unmet ----------------------------------------------------------------------------------------------------


def test_unmet_moves_on_until_no_engine_is_left() -> None:
    world = world_of(3)
    world.submit(*plain(1))
    for id in range(3):
        assert sent(world) == {id: [1]}
        engine = begin(world, id, unmet=True)
        world.flush(engine)
        world.report(engine)
    assert world.outcomes[1, 0] == (UNMET, 2)


def test_unmet_where_the_others_have_died_goes_to_a_new_one() -> None:
    world = world_of(2, timed=1.0)
    world.submit(*plain(1, 2))
    engine = begin(world, 0, unmet=True)
    world.flush(engine)
    world.report(engine)
    world.join(2)
    begin(world, 1)
    world.die(world.engines[1])
    world.settle()
    assert world.outcomes[1, 0] == (OK, 2)


def test_unmet_of_a_task_that_is_being_aborted() -> None:
    world = world_of(2)
    world.submit(*plain(1))
    engine = begin(world, 0, unmet=True)
    world.abort(1)
    world.flush(engine)
    world.report(engine)
    assert world.statuses(1) == [ABORTED]


# -- abort ----------------------------------------------------------------------------------------------------


def test_abort_drops_what_is_queued_and_asks_back_what_was_sent() -> None:
    world = world_of(1, timed=1.2e-3)
    world.submit(*plain(1, 2, 3, 4, 5))
    begin(world)
    world.abort(1, 2, 3, 4, 5)
    assert world.statuses(4) == world.statuses(5) == [ABORTED]
    assert world.last.revoke == [(0, [1, 2, 3])]
    world.obey(world.engines[0])
    world.answer(world.engines[0])
    assert world.statuses(2) == world.statuses(3) == [ABORTED]
    world.settle()
    assert world.statuses(1) == [OK]
    world.assert_over()


def test_abort_of_a_running_chunk_takes_its_items_that_have_not_begun() -> None:
    world = world_of(1)
    world.submit(*plain(1, count=5, weight=5))
    run(world)
    begin(world)
    world.abort(1)
    world.settle()
    assert world.statuses(1) == [OK, OK, ABORTED, ABORTED, ABORTED]
    world.assert_over()


def test_what_was_aborted_may_be_spared_until_it_is_given_back() -> None:
    world = world_of(2, timed=1e-4)
    world.submit(*plain(1, count=6, weight=6), *plain(2))
    world.abort(1, 2)
    world.scheduler.spare([1, 2, 3])
    world.settle()
    assert {world.outcomes[1, item][0] for item in range(6)} == {OK} and world.outcomes[2, 0][0] == OK
    world.assert_over()


def test_every_item_of_an_aborted_chunk_has_an_outcome() -> None:
    world = World()
    world.submit(*plain(1, count=5, weight=5))
    world.abort(1)
    assert world.statuses(1) == [ABORTED] * 5


def test_aborting_a_hundred_thousand_one_by_one_is_quick_and_keeps_nothing() -> None:
    scheduler = Scheduler()
    scheduler.submit([Task(id) for id in range(100_000)], 0.0)
    begun = process_time()
    for id in reversed(range(100_000)):
        scheduler.abort([id], 0.0)
    assert process_time() - begun < 5.0  # it is a second; removing each from a deque would be minutes
    assert not scheduler.tasks and not scheduler._ledger.queues.ready.tasks


def test_abort_all_ends_what_runs_too() -> None:
    world = world_of(2, timed=1.0)
    world.submit(*plain(1, 2, 3), *plain(4, targets=frozenset({0})), *plain(5, 6, targets=frozenset({0, 1})))
    begin(world)
    world.abort_all()
    assert not world.scheduler.tasks
    world.settle()
    world.assert_over()
    assert world.scheduler.stale


# -- memory ---------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_number_of_tasks() -> None:
    world = World()
    scheduler = world.scheduler
    for id in range(3):
        scheduler.engine_joined(id, 0.0)

    def rounds(first: int, count: int) -> None:
        for start in range(first, first + count, 50):
            effects = scheduler.submit([Task(id, b"%d" % (id % 3)) for id in range(start, start + 50)], 0.0)
            scheduler.abort(range(start + 40, start + 50), 0.0)
            while effects.send:
                engine, tasks = effects.send.pop()
                said = [Said(task.id, ERROR if task.id % 7 else OK, 0, 0.0, 1e-5) for task in tasks]
                back = [task.id for task in tasks if task.state == "revoking"]
                effects.send += scheduler.given_back(engine, back, [], 0.0).send
                effects.send += scheduler.outcomes(engine, said, 0.0).send
        assert not scheduler.tasks

    rounds(0, 10_000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    rounds(10_000, 20_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000


def test_a_task_given_back_does_not_count_against_the_quota() -> None:
    world = World()
    world.join(0, quota=2)
    world.scheduler._dispatch.paces.learn(b"f", 0.1, 1000)
    world.submit(*plain(1, 2))
    begin(world)
    world.abort(2)
    world.obey(world.engines[0])
    world.answer(world.engines[0])
    world.submit(*plain(3))
    world.settle()
    assert world.outcomes[3, 0] == (OK, 0)
    assert world.scheduler.engines == {}, "it has run two tasks, and was let end"


def test_what_was_not_begun_goes_before_what_is_queued() -> None:
    world = world_of(2, timed=2e-3)
    world.submit(*plain(1, 2, 3, 4, targets=frozenset({0, 1})))
    assert list(world.scheduler.engines[0].held) == [1]
    world.scheduler.engines[1].since = world.now
    world.die(world.engines[0])
    group = world.scheduler._ledger.queues.groups[frozenset({0, 1})]
    assert [task.id for task in group] == [1, 3, 4]
