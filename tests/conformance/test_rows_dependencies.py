"""The mission's rows of dependencies (L), end to end: through load-balanced views, on real engines."""

from __future__ import annotations

import decimal
import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rows import PATIENCE, Gate, at_prompt, fail, fail_through, sharded, through, until

import parpool
from parpool import (
    AsyncResult,
    Client,
    CompositeError,
    Dependency,
    DependencyTimeout,
    EngineLost,
    ImpossibleDependency,
    InvalidDependency,
    LoadBalancedView,
    Pool,
    RemoteError,
    TaskAborted,
    UnmetDependency,
    depend,
    require,
)

SCHEDULERS = True


@pytest.fixture
def lview(rc: Client) -> LoadBalancedView:
    return rc.load_balanced_view()


def pids(rc: Client) -> list[int]:
    return rc[:].apply_sync(os.getpid)


def ends(result: AsyncResult) -> Any:
    """The value, or the class of the exception."""
    value = result.get(PATIENCE, return_exceptions=True)
    return type(value) if isinstance(value, BaseException) else value


def is_process(pid: int) -> bool:
    return os.getpid() == pid


def is_process_or_raises(pid: int) -> bool:
    if os.getpid() != pid:
        raise UnmetDependency("not here")
    return True


def never() -> bool:
    return False


def touch(path: str) -> None:
    Path(path).touch()


@depend(never)
def importable_and_unmet(path: str) -> None:
    touch(path)


@require("decimal", "this_module_is_nowhere")
def importable_and_missing() -> None:
    raise AssertionError


# L1, L4. Conditions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [is_process, is_process_or_raises, lambda pid: os.getpid() == pid or []])
def test_L1_depend_sends_a_task_where_its_condition_holds(
    rc: Client, lview: LoadBalancedView, condition: Callable[[int], Any]
) -> None:
    for pid in pids(rc):
        there = depend(condition, pid)(os.getpid)
        assert [lview.apply_sync(there) for _ in range(4)] == [pid] * 4
        assert {result.get(PATIENCE) for result in [lview.apply_async(there) for _ in range(20)]} == {pid}


def test_L1_depend_in_maps(rc: Client, lview: LoadBalancedView) -> None:
    for pid in pids(rc):
        there = depend(is_process, pid)(lambda number: (number, os.getpid()))
        assert lview.map_sync(there, range(40)) == [(n, pid) for n in range(40)]
        assert lview.map_sync(there, range(40), chunksize=3) == [(n, pid) for n in range(40)]
        assert list(lview.imap(there, range(40))) == [(n, pid) for n in range(40)]


def test_L1_depend_takes_None_for_yes_and_other_errors_for_the_task_s(lview: LoadBalancedView) -> None:
    assert lview.apply_sync(depend(lambda: None)(abs), -1) == 1
    with pytest.raises(ZeroDivisionError) as info:
        lview.apply_sync(depend(lambda: 1 / 0)(abs), -1)
    assert isinstance(info.value, RemoteError) and not isinstance(info.value, UnmetDependency)


def test_L1_depend_with_arguments_and_several_conditions(rc: Client, lview: LoadBalancedView) -> None:
    first, second = pids(rc)
    both = depend(is_process, pid=first)(depend(lambda: True)(os.getpid))
    assert lview.apply_sync(both) == first
    neither = depend(is_process, first)(depend(is_process, second)(os.getpid))
    with pytest.raises(UnmetDependency, match="engines asked: 0, 1"):
        lview.apply_sync(neither)


def test_L1_a_task_may_raise_it_itself(rc: Client, lview: LoadBalancedView) -> None:
    first, second = pids(rc)
    assert {lview.apply_sync(only_in, first) for _ in range(5)} == {first}
    with pytest.raises(UnmetDependency, match="not in here"):
        lview.apply_sync(only_in, 0)


def only_in(pid: int) -> int:
    if os.getpid() != pid:
        raise UnmetDependency("not in here")
    return pid


def test_L1_busy_now_is_not_never_here(rc: Client, lview: LoadBalancedView, gate: Gate) -> None:
    first, _ = pids(rc)
    held = rc[0].apply_async(through, gate)
    gate.await_one(None)
    waiting = [lview.apply_async(depend(is_process, first)(os.getpid)) for _ in range(5)]
    refused = lview.apply_async(depend(never)(os.getpid))
    assert rc.wait(waiting, 0.05) is False and not any(result.ready() for result in (*waiting, refused))
    gate.open()
    assert [result.get(PATIENCE) for result in waiting] == [first] * 5
    assert ends(refused) is UnmetDependency and held.get(PATIENCE) is None


def test_L4_unmet_names_the_engines_asked_and_never_runs(rc: Client, tmp_path: Path) -> None:
    assert parpool.UnmetDependencyError is UnmetDependency
    mark = str(tmp_path / "ran")
    asked = {
        "0, 1": rc.load_balanced_view().apply_async(depend(never)(touch), mark),
        "1": rc.load_balanced_view([1]).apply_async(depend(never)(touch), mark),
        "0": rc[0].apply_async(depend(never)(touch), mark),
        "0, 1 ": rc.load_balanced_view().apply_async(importable_and_unmet, mark),
    }
    for engines, result in asked.items():
        with pytest.raises(UnmetDependency) as info:
            result.get(PATIENCE)
        assert f"(engines asked: {engines.strip()})" in str(info.value) and "never()" in str(info.value)
        assert result.metadata["status"] == "error" and not result.successful()
    assert not os.path.exists(mark)


def test_L4_unmet_in_maps(rc: Client, lview: LoadBalancedView, tmp_path: Path) -> None:
    mark = str(tmp_path / "ran")
    for options in ({}, {"chunksize": 1}, {"chunksize": 2}, {"ordered": False}):
        with pytest.raises(CompositeError) as info:
            lview.map_sync(depend(never)(touch), [mark] * 4, **options)
        assert {type(each) for each in info.value.exceptions} == {UnmetDependency}
        assert str(info.value).count("(engines asked: 0, 1)") == len(info.value.elist)
    with pytest.raises(UnmetDependency, match="engines asked: 0, 1"):
        next(lview.imap(depend(never)(touch), [mark]))
    with pytest.raises(CompositeError) as info:
        rc[:].map_sync(depend(never)(touch), [mark] * 4)
    assert [(entry[0], entry[3]["engine_id"]) for entry in info.value.elist] == [
        ("UnmetDependency", 0),
        ("UnmetDependency", 1),
    ]
    assert not os.path.exists(mark)


def test_L4_unmet_on_several_engines(rc: Client) -> None:
    first, _ = pids(rc)
    with pytest.raises(CompositeError) as info:
        rc[:].apply_sync(depend(is_process, first)(os.getpid))
    assert info.value.results[0] == first and isinstance(info.value.results[1], UnmetDependency)
    assert str(info.value).splitlines()[1].startswith("[1:apply]: UnmetDependency: ")


# L2, L3, L5. Requirements -------------------------------------------------------------------------------------


FINDALL = "def findall(pattern, text): return re.findall(pattern, text)"
COSINE = "def cosine(x): return math.cos(x)"


@pytest.fixture(params=["balanced", "one engine"])
def one(request: pytest.FixtureRequest, rc: Client) -> Any:
    view = rc.load_balanced_view() if request.param == "balanced" else rc[0]
    rc.clear()
    yield view
    rc.clear()


def test_L2_require_modules_by_name(one: Any) -> None:
    findall = at_prompt(FINDALL)["findall"]
    with pytest.raises(NameError):
        one.apply_sync(findall, "a.", "abac")
    assert one.apply_sync(require("re")(findall), "a.", "abac") == ["ab", "ac"]
    joined = at_prompt("def join(*parts): return os.path.join(*parts)")["join"]
    assert one.apply_sync(require("os.path")(joined), "a", "b") == os.path.join("a", "b")


def test_L3_require_modules_and_objects(one: Any) -> None:
    import math

    assert one.apply_sync(require(math)(at_prompt(COSINE)["cosine"]), 0) == 1.0
    made = at_prompt("def total(x): return D(x) + touch_count(3)")["total"]
    count = at_prompt("def touch_count(n): return n * 2")["touch_count"]
    assert one.apply_sync(require(count, D=decimal.Decimal)(made), "1.5") == decimal.Decimal("7.5")
    assert one.apply_sync(require(limit=[1, 2])(at_prompt("def get(): return limit")["get"])) == [1, 2]
    assert one.map_sync(require("math")(at_prompt(COSINE)["cosine"]), [0, 0]) == [1.0, 1.0]


def test_L3_require_what_is_nowhere(one: Any) -> None:
    with pytest.raises(UnmetDependency, match="this_module_is_nowhere.*engines asked"):
        one.apply_sync(require("this_module_is_nowhere")(abs), -1)
    with pytest.raises(UnmetDependency, match="this_module_is_nowhere.*engines asked"):
        one.apply_sync(importable_and_missing)
    with pytest.raises(ValueError, match="not a name"):
        require("not a name")
    assert one.apply_sync(abs, -1) == 1


def test_L3_a_module_that_one_engine_has(rc: Client, lview: LoadBalancedView, tmp_path: Path) -> None:
    (tmp_path / "rows_only_there.py").write_text("answer = 42\n")
    rc[1].execute(f"import sys; sys.path.insert(0, {str(tmp_path)!r})", block=True)
    try:
        get = at_prompt("def get(): return rows_only_there.answer, os.getpid()")["get"]
        needing = require("rows_only_there", "os")(get)
        assert {lview.apply_sync(needing) for _ in range(5)} == {(42, pids(rc)[1])}
        assert isinstance(rc[:].apply_async(needing).get(PATIENCE, return_exceptions=True)[0], UnmetDependency)
    finally:
        rc[1].execute("sys.path.pop(0); del sys", block=True)


def test_L5_require_under_direct_views(rc: Client) -> None:
    rc.clear()
    assert rc[:].apply_sync(require("re")(at_prompt(FINDALL)["findall"]), "a.", "abac") == [["ab", "ac"]] * 2
    import math

    assert rc[:].map_sync(require(math)(at_prompt(COSINE)["cosine"]), [0, 0, 0]) == [1.0] * 3
    assert rc[:].pull("math.pi", block=True) == [math.pi] * 2, "a remote import: the name is bound"
    rc.clear()


def test_L10_conditions_look_at_the_engine_itself(rc: Client, lview: LoadBalancedView) -> None:
    """There are no properties: what an engine is like is a name in its namespace."""
    rc[:].push({"has_gpu": False}, block=True)
    rc[1].push({"has_gpu": True}, block=True)
    condition = at_prompt("def on_gpu(): return has_gpu")["on_gpu"]
    assert {lview.apply_sync(depend(condition)(os.getpid)) for _ in range(6)} == {pids(rc)[1]}
    rc.clear()


# L6. Dependency --------------------------------------------------------------------------------------------------


def test_L6_dependency_is_a_set_of_message_ids(rc: Client, lview: LoadBalancedView) -> None:
    one, two, mapped = rc[0].apply_async(abs, -1), rc[:].apply_async(abs, -1), lview.map_async(abs, range(3))
    dependency = Dependency([one, (two, {mapped}), one.msg_ids[0]])
    assert isinstance(dependency, set) and dependency == {*one.msg_ids, *two.msg_ids, *mapped.msg_ids}
    assert (dependency.all, dependency.success, dependency.failure) == (True, True, False)
    assert rc.wait([one, two, mapped], PATIENCE)
    with lview.temp_flags(after=dependency):
        assert lview.apply_sync(abs, -1) == 1


@pytest.mark.parametrize("flag", ["after", "follow"])
def test_L6_what_is_no_dependency(rc: Client, lview: LoadBalancedView, flag: str) -> None:
    for wrong in ("no such task", ["", 3], 5, 1.5, object(), {"a": 1}, b"x"):
        with pytest.raises(InvalidDependency):
            lview.set_flags(**{flag: wrong})
        assert getattr(lview, flag) is None, "the view is as it was"
        with pytest.raises(InvalidDependency):
            rc.send_apply_request(abs, [-1], **{flag: wrong})
    with Pool(1) as other:
        foreign = other.client[0].apply_async(abs, -1)
        with pytest.raises(InvalidDependency, match="this client"):
            lview.set_flags(**{flag: foreign})
    other.join()
    with pytest.raises(InvalidDependency):
        Dependency("x", success=False, failure=False)


@pytest.mark.parametrize("flag", ["after", "follow"])
@pytest.mark.parametrize("nothing", [None, [], (), set(), Dependency()])
def test_L6_nothing_is_waited_for_where_nothing_is_named(lview: LoadBalancedView, flag: str, nothing: Any) -> None:
    with lview.temp_flags(**{flag: nothing, "timeout": 0}):
        assert lview.apply_sync(abs, -1) == 1 and lview.map_sync(abs, [-1, -2]) == [1, 2]


class Case(NamedTuple):
    """Tasks, how they end, and what is asked of them."""

    outcomes: str  #: of each task: g(ood) or b(ad)
    all: bool
    success: bool
    failure: bool

    def is_met(self) -> bool:
        """Can it be met?"""
        fine = [self.success if outcome == "g" else self.failure for outcome in self.outcomes]
        return all(fine) if self.all else any(fine)


CASES = [
    Case(outcomes, every, *which)
    for outcomes in ("g", "b", "gg", "gb", "bb")
    for every in (True, False)
    for which in ((True, False), (False, True), (True, True))
]


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "pending"])
@pytest.mark.parametrize("flag", ["after", "follow"])
def test_L6_every_combination(rc: Client, tmp_path: Path, flag: str, ended: bool) -> None:
    """Of all or any, success and failure, with tasks that ended before, and with some that end later."""
    lview = rc.load_balanced_view([0])  # for follow, all run on one engine
    with Gate(tmp_path) as gate:
        held = None if ended else rc[0].apply_async(through, gate)
        submitted: list[tuple[Case, AsyncResult, list[AsyncResult]]] = []
        for case in CASES:
            tasks = [lview.apply_async(abs, -1 if outcome == "g" else "x") for outcome in case.outcomes]
            if ended:
                assert rc.wait(tasks, PATIENCE)
            dependency = Dependency(tasks, case.all, case.success, case.failure)
            with lview.temp_flags(**{flag: dependency}):
                submitted.append((case, lview.apply_async(abs, -2), tasks))
        if held is not None:
            gate.await_one(None)
            assert not any(result.ready() for _, result, _ in submitted)
        gate.open()
        for case, result, tasks in submitted:
            assert ends(result) == (2 if case.is_met() else ImpossibleDependency), case
            assert sorted(result.metadata[flag]) == sorted(name for task in tasks for name in task.msg_ids)
        if held is not None:
            held.wait(PATIENCE)


@pytest.mark.parametrize("named", ["id", "ids", "result", "results", "dependency", "mixed"])
@pytest.mark.parametrize("flag", ["after", "follow"])
def test_L6_however_tasks_are_named(rc: Client, lview: LoadBalancedView, gate: Gate, flag: str, named: str) -> None:
    tasks = [rc[0].apply_async(through, gate, n) for n in range(2)]
    names = [task.msg_ids[0] for task in tasks]
    dependency: Any = {
        "id": names[1],
        "ids": names,
        "result": tasks[1],
        "results": tuple(tasks),
        "dependency": Dependency(tasks),
        "mixed": [names[0], {tasks[1]}],
    }[named]
    with lview.temp_flags(**{flag: dependency}):
        result = lview.apply_async(os.getpid)
    given = rc.send_apply_request(os.getpid, **{flag: dependency})
    mapped = lview.map_async(lambda _: os.getpid(), range(3), **{flag: dependency})
    assert rc.wait([result, given, mapped], 0.02) is False and not result.ready() and not given.ready()
    gate.open()
    values = [result.get(PATIENCE), given.get(PATIENCE), *mapped.get(PATIENCE)]
    assert set(values) <= ({pids(rc)[0]} if flag == "follow" else set(pids(rc)))
    last = max(task.metadata["completed"] for task in (tasks if named in ("ids", "results") else tasks[1:]))
    assert all(data["started"] >= last for data in (result.metadata, given.metadata, *mapped.metadata))


# L7, L8. Time and place ----------------------------------------------------------------------------------------


def test_L7_after(rc: Client, lview: LoadBalancedView, gate: Gate) -> None:
    first = lview.apply_async(through, gate, "first")
    with lview.temp_flags(after=first):
        second = lview.apply_async(time.monotonic)
        with lview.temp_flags(after=second):
            third = lview.apply_async(time.monotonic)
    free = lview.apply_sync(abs, -1)
    assert free == 1 and not second.ready() and not third.ready(), "others do not wait"
    gate.open()
    assert third.get(PATIENCE) >= second.get(PATIENCE)
    assert second.metadata["started"] >= first.metadata["completed"]


def test_L7_after_calls_on_several_engines(rc: Client, lview: LoadBalancedView, gate: Gate) -> None:
    both = rc[:].apply_async(hold_first, gate, pids(rc)[0])
    with lview.temp_flags(after=both):
        later = lview.apply_async(abs, -1)
    with lview.temp_flags(after=Dependency(both, all=False)):
        sooner = lview.apply_async(abs, -2)
    gate.await_one("first")
    assert sooner.get(PATIENCE) == 2, "any of them will do"
    with lview.temp_flags(after=Dependency(both, all=False)):
        assert lview.apply_async(abs, -3).get(PATIENCE) == 3, "also one that has ended before, wherever the other is"
    assert not later.ready()
    gate.open()
    assert later.get(PATIENCE) == 1
    executed = rc[:].execute("executed = 5")
    with lview.temp_flags(after=executed):
        assert lview.apply_sync(abs, -1) == 1
    rc.clear()


def hold_first(gate: Gate, pid: int) -> None:
    if os.getpid() == pid:
        gate.arrive("first")


@pytest.mark.parametrize("options", [{}, {"chunksize": 1}, {"chunksize": 7}, {"ordered": False}])
def test_L7_after_a_map_is_after_all_its_items(
    rc: Client, lview: LoadBalancedView, gate: Gate, options: dict[str, Any]
) -> None:
    lview.map_sync(hold_item, [gate] * 500, range(1, 501))  # so that its chunks are long, and may be cut
    mapped = lview.map_async(hold_item, [gate] * 500, range(500), **options)
    with lview.temp_flags(after=mapped):
        later = lview.apply_async(time.time)
    gate.await_one(0)
    if options.get("chunksize") != 7 and not sharded(rc):  # a task is cut for engines of its own scheduler
        until(lambda: mapped.progress == 499)  # it was cut, as an engine had nothing to do
    assert not later.ready()
    gate.open()
    started = later.get(PATIENCE)
    assert mapped.ready() and max(data["completed"].timestamp() for data in mapped.metadata) <= started + 1e-6


def hold_item(gate: Gate, number: int) -> int:
    if number == 0:
        gate.arrive(number)
    return number


def test_L7_after_a_map_that_fails(lview: LoadBalancedView) -> None:
    mapped = lview.map_async(abs, [*range(50), "x", *range(50)])
    with lview.temp_flags(after=mapped):
        never_runs = lview.apply_async(abs, -1)
    with lview.temp_flags(after=Dependency(mapped, success=True, failure=True)):
        runs = lview.apply_async(abs, -2)
    assert ends(never_runs) is ImpossibleDependency and ends(runs) == 2


def test_L7_maps_after_maps(lview: LoadBalancedView) -> None:
    stages = [lview.map_async(stamp, range(30))]
    for _ in range(4):
        stages.append(lview.map_async(stamp, range(30), after=stages[-1]))
    stamps = [stage.get(PATIENCE) for stage in stages]
    for before, behind in itertools.pairwise(stamps):
        assert max(ended for _, ended in before) <= min(began for began, _ in behind)


def stamp(_: object) -> tuple[float, float]:
    began = time.monotonic()
    return began, time.monotonic()


def test_L7_imap_waits_too(rc: Client, lview: LoadBalancedView, gate: Gate) -> None:
    held = rc[0].apply_async(through, gate, "held")
    values = lview.imap(lambda n: (n, time.monotonic()), range(5), after=held)
    opened = time.monotonic()
    gate.open()
    assert [n for n, moment in values if moment >= opened] == list(range(5))
    assert held.get(PATIENCE) == "held"


def test_L8_follow(rc: Client, lview: LoadBalancedView) -> None:
    for id, pid in enumerate(pids(rc)):
        there = rc[id].apply_async(abs, -1)
        with lview.temp_flags(follow=there):
            assert {result.get(PATIENCE) for result in [lview.apply_async(os.getpid) for _ in range(20)]} == {pid}
            assert set(lview.map_sync(lambda _: os.getpid(), range(50))) == {pid}


def test_L8_follow_tasks_of_several_engines(rc: Client, lview: LoadBalancedView) -> None:
    first, second = rc[0].apply_async(abs, -1), rc[1].apply_async(abs, "x")
    with lview.temp_flags(follow=[rc[0].apply_async(abs, -1), first]):
        assert lview.apply_sync(os.getpid) == pids(rc)[0]
    with lview.temp_flags(follow=Dependency([first, second], success=True, failure=True)):
        nowhere = lview.apply_async(os.getpid)
    with pytest.raises(ImpossibleDependency):
        nowhere.get(PATIENCE)
    with lview.temp_flags(follow=Dependency([first, second], all=False)):
        assert lview.apply_sync(os.getpid) == pids(rc)[0], "where it is met"
    with lview.temp_flags(follow=Dependency([first, second], all=False, success=False, failure=True)):
        assert lview.apply_sync(os.getpid) == pids(rc)[1]


def test_L8_follow_and_targets_and_conditions_hold_together(rc: Client) -> None:
    there = rc[0].apply_async(abs, -1)
    for view in (rc.load_balanced_view([1]), rc.load_balanced_view()):
        with view.temp_flags(follow=there):
            condition = depend(is_process, pids(rc)[1])(os.getpid)
            result = view.apply_async(condition if view.targets is None else os.getpid)
            assert ends(result) is (UnmetDependency if view.targets is None else ImpossibleDependency)
    with rc.load_balanced_view([0, 1]).temp_flags(follow=there):
        assert rc.load_balanced_view([0, 1]).apply_sync(os.getpid) == pids(rc)[0]


def test_L8_after_and_follow_together(rc: Client, lview: LoadBalancedView, gate: Gate) -> None:
    slow, there = rc[1].apply_async(through, gate), rc[0].apply_async(abs, -1)
    with lview.temp_flags(after=slow, follow=there):
        result = lview.apply_async(os.getpid)
    assert there.get(PATIENCE) == 1 and not result.ready()
    gate.open()
    assert result.get(PATIENCE) == pids(rc)[0]
    assert result.metadata["after"] == slow.msg_ids and result.metadata["follow"] == there.msg_ids


# L9. What can never be, and what is late ---------------------------------------------------------------------------


def test_L9_impossible_at_once(rc: Client, lview: LoadBalancedView, gate: Gate) -> None:
    """Also where other tasks that it waits for have not ended, and no engine is free."""
    failed = rc[0].apply_async(fail, ValueError("no"))
    failed.wait(PATIENCE)
    held = rc[:].apply_async(arrive_each, gate)
    until(lambda: len(gate.arrived()) == 2)
    for flag in ("after", "follow"):
        with lview.temp_flags(**{flag: [failed, held]}):
            result = lview.apply_async(abs, -1)
        with pytest.raises(ImpossibleDependency, match=f"abs.*can never run.*{flag}"):
            result.get(PATIENCE)
        assert result.metadata["status"] == "error" and result.metadata["started"] is None
    assert not held.ready()
    gate.open()
    held.wait(PATIENCE)


def arrive_each(gate: Gate) -> None:
    gate.arrive(os.getpid())


def test_L9_impossible_as_soon_as_it_is(rc: Client, lview: LoadBalancedView, gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Gate(tmp_path / "other")
    failing, held = rc[0].apply_async(fail_through, gate, ValueError()), rc[1].apply_async(through, other)
    with lview.temp_flags(after=[failing, held]):
        result = lview.apply_async(abs, -1)
    with lview.temp_flags(after=result):
        behind = lview.apply_async(abs, -1)
    with lview.temp_flags(after=Dependency(behind, success=False, failure=True)):
        despite = lview.apply_async(os.getpid)
    assert not result.ready()
    gate.open()
    assert ends(result) is ends(behind) is ImpossibleDependency, "down the whole chain"
    assert ends(despite) in pids_while_held(rc) and not held.ready()
    other.open()
    held.wait(PATIENCE)


def pids_while_held(rc: Client) -> list[int]:
    return [rc.queue_status(id, verbose=True)["pid"] for id in rc.ids]


@pytest.mark.parametrize("how", ["before", "later"])
def test_L9_after_what_was_aborted(rc: Client, lview: LoadBalancedView, gate: Gate, how: str) -> None:
    held = rc[0].apply_async(through, gate)
    gate.await_one(None)
    aborted = rc[0].apply_async(abs, -1)
    if how == "before":
        aborted.abort()
        assert ends(aborted) is TaskAborted
    with lview.temp_flags(after=aborted):
        result = lview.apply_async(abs, -1)
    with lview.temp_flags(after=Dependency(aborted, success=False, failure=True)):
        despite = lview.apply_async(abs, -2)
    aborted.abort()
    assert ends(result) is ImpossibleDependency and ends(despite) == 2
    gate.open()
    held.wait(PATIENCE)


def test_L9_waiting_tasks_can_be_aborted(rc: Client, lview: LoadBalancedView, gate: Gate) -> None:
    held = rc[0].apply_async(through, gate)
    with lview.temp_flags(after=held):
        waiting, mapped = lview.apply_async(abs, -1), lview.map_async(abs, range(5))
        with lview.temp_flags(after=waiting):
            behind = lview.apply_async(abs, -1)
    rc.abort([waiting, mapped])
    assert ends(waiting) is TaskAborted and ends(behind) is ImpossibleDependency
    assert {type(each) for each in mapped.get(PATIENCE, return_exceptions=True)} == {TaskAborted}
    gate.open()
    held.wait(PATIENCE)


def test_L9_dependency_timeout(rc: Client, lview: LoadBalancedView, gate: Gate) -> None:
    held = rc[0].apply_async(through, gate)
    for flag in ("after", "follow"):
        with lview.temp_flags(**{flag: held, "timeout": 0.03}):
            late, mapped = lview.apply_async(abs, -1), lview.map_async(abs, range(3))
        with lview.temp_flags(**{flag: held, "timeout": 0}):
            at_once = lview.apply_async(abs, -1)
        with lview.temp_flags(**{flag: held, "timeout": PATIENCE}):
            patient = lview.apply_async(abs, -1)
        for result in (late, at_once):
            with pytest.raises(DependencyTimeout, match="abs") as info:
                result.get(PATIENCE)
            assert isinstance(info.value, TimeoutError) and result.metadata["status"] == "error"
        assert late.elapsed >= 0.03
        assert {type(each) for each in mapped.get(PATIENCE, return_exceptions=True)} == {DependencyTimeout}
        assert not patient.ready() and not held.ready()
    gate.open()
    assert patient.get(PATIENCE) == 1
    for wrong in (-1, "soon"):
        with pytest.raises(ValueError, match="timeout"):
            lview.timeout = wrong  # type: ignore[assignment]


def test_L9_the_timeout_is_for_dependencies_not_for_engines(rc: Client, gate: Gate) -> None:
    """A task whose dependencies have been met waits for an engine as long as it takes."""
    view = rc.load_balanced_view([0])
    done = rc[0].apply_async(abs, -1)
    done.wait(PATIENCE)
    held = rc[0].apply_async(through, gate)
    gate.await_one(None)
    with view.temp_flags(after=done, timeout=0.01):
        result = view.apply_async(abs, -1)
    with view.temp_flags(timeout=0.01):
        free = view.apply_async(abs, -2)
    assert rc.wait([result, free], 0.05) is False
    gate.open()
    assert result.get(PATIENCE) == 1 and free.get(PATIENCE) == 2 and held.get(PATIENCE) is None


def test_L9_timeouts_of_a_chain(rc: Client, lview: LoadBalancedView, gate: Gate) -> None:
    held = rc[0].apply_async(through, gate)
    with lview.temp_flags(after=held, timeout=0.03):
        late = lview.apply_async(abs, -1)
    with lview.temp_flags(after=late):
        behind = lview.apply_async(abs, -1)
    with lview.temp_flags(after=Dependency(late, success=False, failure=True)):
        despite = lview.apply_async(abs, -2)
    assert [ends(late), ends(behind), ends(despite)] == [DependencyTimeout, ImpossibleDependency, 2]
    gate.open()
    held.wait(PATIENCE)


# L. Beside retries and deaths ----------------------------------------------------------------------------------------


def die_once(folder: str) -> str:
    mark = Path(folder, "died")
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return "alive"


def test_L_a_task_that_is_retried_has_not_ended(tmp_path: Path) -> None:
    with Pool(2) as pool:
        lview = pool.client.load_balanced_view()
        with lview.temp_flags(retries=1):
            first = lview.apply_async(die_once, str(tmp_path))
        with lview.temp_flags(after=first):
            later = lview.apply_async(time.time)
        with lview.temp_flags(follow=first):
            there = lview.apply_async(abs, -1)
        assert first.get(PATIENCE) == "alive" and later.get(PATIENCE) >= first.metadata["started"].timestamp()
        assert there.get(PATIENCE) == 1 and there.metadata["engine_id"] == first.metadata["engine_id"]
    pool.join()


def test_L_after_a_task_that_was_lost(tmp_path: Path) -> None:
    with Pool(2) as pool:
        lview = pool.client.load_balanced_view()
        lost = lview.apply_async(os._exit, 1)
        with lview.temp_flags(after=lost):
            result = lview.apply_async(abs, -1)
        with lview.temp_flags(after=Dependency(lost, success=False, failure=True)):
            despite = lview.apply_async(abs, -2)
        with lview.temp_flags(follow=Dependency(lost, success=False, failure=True)):
            there = lview.apply_async(abs, -2)
        assert [ends(lost), ends(result), ends(despite)] == [EngineLost, ImpossibleDependency, 2]
        assert ends(there) in (2, ImpossibleDependency, EngineLost), "its engine is gone, or another has its id"
    pool.join()


def test_L_follow_an_engine_that_is_gone() -> None:
    with Pool(2) as pool:
        rc = pool.client
        lview = rc.load_balanced_view()
        there = rc[1].apply_async(abs, -1)
        assert there.get(PATIENCE) == 1
        assert ends(rc[1].apply_async(os._exit, 1)) is EngineLost
        until(lambda: 1 not in rc.ids or rc.wait_for_engines(2, PATIENCE))
        with lview.temp_flags(follow=there, timeout=PATIENCE):
            assert ends(lview.apply_async(abs, -2)) in (2, ImpossibleDependency)
        assert lview.apply_sync(abs, -3) == 3
    pool.join()


# L. Graphs --------------------------------------------------------------------------------------------------------------


def node(number: int, fails: bool) -> tuple[int, float, float]:
    began = time.monotonic()
    if fails:
        raise ArithmeticError(number)
    return number, began, time.monotonic()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_L_a_random_graph_runs_in_an_order_that_respects_its_edges(
    lview: LoadBalancedView, rc: Client, seed: int
) -> None:
    rng = random.Random(seed)
    results: list[AsyncResult] = []
    edges: list[tuple[int, int]] = []
    for number in range(400):
        parents = rng.sample(range(number), min(number, rng.randrange(5)))
        edges += [(parent, number) for parent in parents]
        named = [rng.choice((results[parent], results[parent].msg_ids[0])) for parent in parents]
        with lview.temp_flags(after=rng.choice((named, tuple(named), Dependency(named)))):
            results.append(lview.apply_async(node, number, False))
    ran = [result.get(PATIENCE) for result in results]
    assert [number for number, _, _ in ran] == list(range(400)) and len(edges) > 500
    assert all(ran[parent][2] <= ran[child][1] for parent, child in edges)
    assert {result.metadata["engine_id"] for result in results} == {0, 1}


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_L_a_random_graph_with_failures_ends_as_its_dependencies_say(lview: LoadBalancedView, seed: int) -> None:
    rng = random.Random(seed)
    results: list[AsyncResult] = []
    expected: list[str] = []
    for number in range(400):
        parents = rng.sample(range(number), min(number, rng.randrange(4)))
        every, (success, failure) = rng.random() < 0.5, rng.choice(((True, False), (False, True), (True, True)))
        fails = rng.random() < 0.2
        fine = [success if expected[parent] == "ok" else failure for parent in parents]
        met = not parents or (all(fine) if every else any(fine))
        expected.append("never" if not met else "failed" if fails else "ok")
        with lview.temp_flags(after=Dependency([results[n] for n in parents], every, success, failure)):
            results.append(lview.apply_async(node, number, fails))
    words: dict[Any, str] = {ImpossibleDependency: "never"}
    found = []
    for result in results:
        value = result.get(PATIENCE, return_exceptions=True)
        found.append("failed" if isinstance(value, ArithmeticError) else words.get(type(value), "ok"))
    assert found == expected and {"ok", "failed", "never"} == set(expected)


def test_L_a_graph_of_places(lview: LoadBalancedView, rc: Client) -> None:
    """Chains that each stay on the engine on which they began."""
    chains = [[rc[n % 2].apply_async(os.getpid)] for n in range(10)]
    for _ in range(20):
        for chain in chains:
            with lview.temp_flags(follow=chain[-1]):
                chain.append(lview.apply_async(os.getpid))
    for n, chain in enumerate(chains):
        assert {result.get(PATIENCE) for result in chain} == {pids(rc)[n % 2]}


def test_L_a_wide_fan_and_a_long_chain(lview: LoadBalancedView) -> None:
    root = lview.apply_async(time.monotonic)
    with lview.temp_flags(after=root):
        leaves = [lview.apply_async(time.monotonic) for _ in range(500)]
    with lview.temp_flags(after=leaves):
        last = lview.apply_async(time.monotonic)
    for _ in range(300):
        with lview.temp_flags(after=last):
            last = lview.apply_async(time.monotonic)
    assert root.get(PATIENCE) <= min(leaf.get(PATIENCE) for leaf in leaves)
    assert max(leaf.get() for leaf in leaves) <= last.get(PATIENCE)
