"""Dependencies: when and where tasks may run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from world import CheckedTask, World

from parpool.core import graph as graph_module
from parpool.core.state import Dependency
from parpool.status import ABORTED, ERROR, EXPIRED, IMPOSSIBLE, OK


def task(id: int, **fields: object) -> CheckedTask:
    return CheckedTask(id, b"f", remembered=True, **fields)


def on(*ids: int, **how: bool) -> Dependency:
    return Dependency(frozenset(ids), **how)


def run_one(world: World, engine: int = 0, status: int = OK) -> None:
    fake = world.engines[engine]
    while fake.works:
        world.arrive(fake)
    world.begin(fake)
    world.finish(fake, status)
    world.flush(fake)
    world.report(fake)


@pytest.fixture
def world() -> World:
    world = World()
    world.join(0)
    return world


def test_a_dependency_must_be_met_by_something() -> None:
    with pytest.raises(ValueError, match="met by"):
        on(1, success=False, failure=False)


@pytest.mark.parametrize(
    ("how", "statuses", "verdict"),
    [
        ({}, [OK, OK], OK),
        ({}, [OK, ERROR], IMPOSSIBLE),
        ({}, [ERROR], IMPOSSIBLE),  # at once
        ({}, [OK], None),
        ({"all": False}, [OK], OK),
        ({"all": False}, [ERROR], None),
        ({"all": False}, [ERROR, ERROR], IMPOSSIBLE),
        ({"all": False}, [ERROR, OK], OK),
        ({"success": False, "failure": True}, [ERROR, ERROR], OK),
        ({"success": False, "failure": True}, [OK], IMPOSSIBLE),
        ({"success": True, "failure": True}, [OK, ERROR], OK),
        ({"all": False, "success": False, "failure": True}, [OK, ERROR], OK),
    ],
)
def test_verdicts(world: World, how: dict[str, bool], statuses: list[int], verdict: int | None) -> None:
    world.submit(task(1), task(2), task(3, after=on(1, 2, **how)))
    for status in statuses:
        run_one(world, status=status)
    if verdict == OK:
        world.settle()
    assert world.statuses(3) == ([] if verdict is None else [verdict])


def test_any_of_several_is_met_by_the_first(world: World) -> None:
    world.join(1)
    first, second = frozenset({0}), frozenset({1})
    world.submit(task(1, targets=first), task(2, targets=second), task(3, after=on(1, 2, all=False), targets=first))
    run_one(world)
    run_one(world)
    assert world.statuses(3) == [OK] and not world.statuses(2)


def test_one_task_may_be_named_twice(world: World) -> None:
    excluded = on(1, success=False, failure=True)
    world.submit(task(1), task(2), task(3, after=excluded, follow=on(1, 2)), task(4, after=on(1, 2), follow=excluded))
    run_one(world)
    assert world.statuses(3) == world.statuses(4) == [IMPOSSIBLE], "whatever becomes of 2"


def test_nothing_named_is_met(world: World) -> None:
    world.submit(task(1, after=on()), task(2, after=on(all=False)), task(3, follow=on()))
    world.settle()
    assert [world.statuses(id) for id in (1, 2, 3)] == [[OK]] * 3


def test_unknown_tasks_and_itself(world: World) -> None:
    world.submit(task(1, after=on(99)), task(2, after=on(2)), task(3, after=on(2, 99, all=False)))
    assert [world.statuses(id) for id in (1, 2, 3)] == [[IMPOSSIBLE]] * 3
    world.submit(task(4), task(5, after=on(4, 99, all=False)))
    world.settle()
    assert world.statuses(5) == [OK]


def test_a_task_named_before_it_was_known_does_not_count(world: World) -> None:
    world.submit(task(1), task(2, after=on(1, 3, all=False)), task(3, after=on(2)))
    run_one(world, status=ERROR)
    assert world.statuses(2) == [IMPOSSIBLE], "the two would wait for each other"
    world.settle()
    world.assert_over()


def test_ended_tasks_can_be_named(world: World) -> None:
    world.submit(task(1), task(2))
    run_one(world)
    run_one(world, status=ERROR)
    world.submit(task(3, after=on(1)), task(4, after=on(2)), task(5, after=on(1, 2, failure=True)))
    world.settle()
    assert [world.statuses(id) for id in (3, 4, 5)] == [[OK], [IMPOSSIBLE], [OK]]


def test_ends_are_remembered_for_a_bounded_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "REMEMBERED", 10)
    world.submit(task(0), task(1000, after=on(0, 40)))
    assert world.statuses(1000) == [IMPOSSIBLE]
    world.submit(*(task(id) for id in range(1, 40)), task(1001, after=on(*range(1, 40))))
    world.settle()
    assert world.statuses(1001) == [OK], "what a waiting task has seen end is not forgotten under it"
    assert len(world.scheduler._ledger.graph.ends) == 10
    world.submit(task(1002, after=on(1)))
    assert world.statuses(1002) == [IMPOSSIBLE]


def test_of_many_ends_the_newest_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "REMEMBERED", 64)
    world.submit(*(task(id) for id in range(200)))
    world.settle()
    kept = list(world.scheduler._ledger.graph.ends)
    assert 60 <= len(kept) <= 64
    assert kept == sorted(world.ended_at, key=list(world.ended_at).index)[-len(kept) :]


def test_each_end_is_remembered_as_it_was() -> None:
    world = World()
    world.join(0)
    world.join(1)
    ends = list(enumerate([(0, OK), (1, OK), (1, ERROR), (0, ERROR), (0, OK), (0, OK), (1, OK)]))
    for id, (engine, status) in ends:
        world.submit(task(id, targets=frozenset({engine})))
        run_one(world, engine, status)
    for id, (_, status) in ends:
        met = {"success": status == OK, "failure": status != OK}
        world.submit(task(100 + id, follow=on(id, **met)))
        world.submit(task(200 + id, after=on(id, success=not met["success"], failure=not met["failure"])))
    world.settle()
    assert [world.outcomes[100 + id, 0] for id, _ in ends] == [(OK, engine) for _, (engine, _) in ends]
    assert [world.statuses(200 + id) for id, _ in ends] == [[IMPOSSIBLE]] * len(ends)


def test_ends_of_tasks_that_nobody_is_to_name_are_not_kept(world: World) -> None:
    world.submit(CheckedTask(1, b"f"), CheckedTask(2, b"f", after=on(1)))
    world.settle()
    assert world.statuses(2) == [OK]
    assert not world.scheduler._ledger.graph.ends


def test_L7_C14_after_is_about_time_alone() -> None:
    world = World()
    world.join(0)
    world.join(1)
    world.submit(task(1, targets=frozenset({0})), task(2, after=on(1), targets=frozenset({1})), task(3, after=on(2)))
    run_one(world)
    assert not world.statuses(2) and not world.statuses(3)
    run_one(world, 1)
    assert world.outcomes[2, 0] == (OK, 1)
    world.settle()
    assert world.statuses(3) == [OK]


def test_L8_C15_follow_is_about_place_and_time() -> None:
    world = World()
    for id in range(4):
        world.join(id)
    world.submit(task(1, targets=frozenset({2})), *(task(id, follow=on(1)) for id in range(2, 12)))
    assert not any(world.engines[id].works for id in (0, 1, 3))
    world.settle()
    assert {world.outcomes[id, 0] for id in range(2, 12)} == {(OK, 2)}


def test_both_after_and_follow_must_be_met() -> None:
    world = World()
    world.join(0)
    world.join(1)
    world.submit(task(1, targets=frozenset({0})), task(2, targets=frozenset({1})), task(3, after=on(1), follow=on(2)))
    run_one(world, 0)
    assert not world.statuses(3)
    run_one(world, 1)
    world.settle()
    assert world.outcomes[3, 0] == (OK, 1)
    world.submit(task(4, after=on(1), follow=on(2)), task(5, after=on(1, success=False, failure=True), follow=on(2)))
    world.settle()
    assert world.outcomes[4, 0] == (OK, 1) and world.statuses(5) == [IMPOSSIBLE]


def test_follow_runs_where_the_other_ran() -> None:
    world = World()
    for id in range(3):
        world.join(id)
    world.submit(task(1, targets=frozenset({2})), task(2, targets=frozenset({1})))
    world.submit(task(3, follow=on(1)), task(4, follow=on(1, 2)), task(5, follow=on(1, 2, all=False)))
    world.settle()
    assert world.outcomes[3, 0] == (OK, 2)
    assert world.statuses(4) == [IMPOSSIBLE], "no engine ran both"
    assert world.outcomes[5, 0][1] in (1, 2)


def test_follow_and_targets_both_count(world: World) -> None:
    world.join(1)
    world.submit(task(1, targets=frozenset({1})), task(2, follow=on(1), targets=frozenset({0})))
    world.settle()
    assert world.statuses(2) == [IMPOSSIBLE]


def test_a_follower_that_is_run_again_still_follows() -> None:
    world = World()
    for id in range(3):
        world.join(id)
    world.submit(task(1, targets=frozenset({0})))
    world.settle()
    world.scheduler._ledger.graph.ends.clear()  # forgotten meanwhile
    world.submit(task(2, targets=frozenset({0})))
    world.submit(task(3, follow=on(2), targets=frozenset({0, 1}), retries=1))
    run_one(world)
    world.scheduler._ledger.graph.ends.clear()
    world.arrive(world.engines[0])
    world.begin(world.engines[0])
    world.die(world.engines[0])
    assert world.statuses(3) == [-1], "it may run where 2 ran and nowhere else, and that engine died"


def test_L9_C16_patience(world: World) -> None:
    world.submit(task(1), task(2, after=on(1), patience=5.0), task(3, after=on(2), patience=5.0))
    assert world.scheduler.wake_at() == world.now + 5.0
    world.pass_time(4.9)
    assert not world.statuses(2)
    world.pass_time(0.2)
    assert world.statuses(2) == [EXPIRED]
    assert world.statuses(3) == [IMPOSSIBLE], "what it waited for has ended in the same moment"
    world.settle()
    assert world.scheduler.wake_at() is None


def test_long_patience_keeps_nothing(world: World) -> None:
    for n in range(0, 2000, 2):
        world.submit(task(n), task(n + 1, after=on(n), patience=1e6))
        run_one(world)
        run_one(world)
    assert len(world.scheduler._ledger.graph.expiries) <= 2


def test_aborting_all_of_a_chain_aborts_all(world: World) -> None:
    world.submit(task(0), task(1), task(2, after=on(1)), task(3, after=on(2)))
    world.abort(1, 2, 3, 3)
    assert [world.statuses(id) for id in (1, 2, 3)] == [[ABORTED]] * 3
    world.settle()
    world.assert_over()


def test_a_long_chain_ends_without_recursion(world: World) -> None:
    world.submit(task(0), *(task(n, after=on(n - 1)) for n in range(1, 3000)))
    run_one(world, status=ERROR)
    assert world.statuses(2999) == [IMPOSSIBLE]
    world.assert_over()


def test_a_thousand_may_wait_for_one_and_one_for_a_thousand(world: World) -> None:
    world.submit(*(task(n) for n in range(1000)))
    world.submit(task(1000, after=on(*range(1000))), *(task(n, after=on(1000)) for n in range(1001, 2000)))
    world.settle()
    world.assert_over()


def test_a_chunk_has_succeeded_when_all_its_items_have(world: World) -> None:
    world.submit(task(1, count=2, weight=2), task(2, after=on(1)))
    run_one(world, status=ERROR)
    run_one(world, status=OK)
    assert world.statuses(2) == [IMPOSSIBLE]


def test_the_benchmark(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.delitem(sys.modules, "graph", raising=False)
    import graph as benchmark

    for tasks in (benchmark.chain(20), benchmark.dag(30, 60), benchmark.plain(30)):
        for at_once in (True, False):
            assert benchmark.run(tasks, 3, at_once)[1].stale == 0
            tasks = [type(task)(task.id, task.function, after=task.after, remembered=True) for task in tasks]
    assert sum(len(task.after.ids) for task in benchmark.dag(30, 60) if task.after) == 60
    benchmark.main(["--chain", "10", "--nodes", "20", "--edges", "30", "--plain", "50", "--repeat", "1"])
    assert len(capsys.readouterr().out.splitlines()) == 7
