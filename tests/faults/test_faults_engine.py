"""Engines that are killed, stopped, or busy beyond the heartbeat."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fault_rig import PATIENCE, MakeRig, Rig, begun, end_of, ends_of, let_go, lines, until
from fault_tasks import add, compute_with_the_lock, hold_the_lock, my_pid, noted, noted_busily, wait_for

from parpool import EngineLost, NoEngines

SHORT = 1.5  #: a limit of the heartbeat that is soon over


def who_runs(rig: Rig) -> list[int]:
    """The engines that hold a task."""
    return [each["id"] for each in rig.status()["engines"] if each["tasks"]]


def last_words(error: Any, pid: int) -> None:
    """An EngineLost names the process."""
    assert isinstance(error, EngineLost) and str(pid) in str(error), repr(error)


# Killed ---------------------------------------------------------------------------------------------


def test_a_task_whose_engine_is_killed(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    rig = make_rig(2, tcp=tcp)
    view, path = rig.client.load_balanced_view(), tmp_path / "ran"
    result = view.apply_async(wait_for, str(path))
    begun(path)
    (victim,) = who_runs(rig)
    pid, for_it = rig.pid_of(victim), rig.client[victim]
    os.kill(pid, signal.SIGKILL)
    last_words(end_of(result), pid)
    (other,) = until(lambda: len(rig.client.ids) == 1 and rig.client.ids)
    assert other != victim and rig.ids() == [other]
    assert view.apply_sync(add, 1, 2) == 3
    with pytest.raises(IndexError, match=f"no engine {victim}"):
        rig.client[victim]
    with pytest.raises(NoEngines, match=f"engine {victim} "):
        for_it.apply_sync(add, 1)
    assert lines(path) == ["0"]


def test_a_task_with_a_retry_whose_engine_is_killed(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    rig = make_rig(2, tcp=tcp)
    view, path = rig.client.load_balanced_view(), tmp_path / "ran"
    view.retries = 1
    result = view.apply_async(wait_for, str(path), 5)
    begun(path)
    os.kill(rig.pid_of(*who_runs(rig)), signal.SIGKILL)
    begun(path, 2)
    let_go(path)
    assert end_of(result) == 5 and lines(path) == ["5", "5"]


def test_a_task_that_ends_every_engine(make_rig: MakeRig) -> None:
    rig = make_rig(3)
    view = rig.client.load_balanced_view()
    view.retries = 1
    assert isinstance(end_of(view.apply_async(os._exit, 7)), EngineLost)
    assert len(until(lambda: len(rig.client.ids) == 1 and rig.client.ids)) == 1
    assert view.apply_sync(add, 1, 2) == 3


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_the_others_are_unharmed(make_rig: MakeRig, tmp_path: Path, tcp: bool, retries: int, seconds: float) -> None:
    rig = make_rig(2, tcp=tcp)
    view, path = rig.client.load_balanced_view(), tmp_path / "ran"
    view.retries = retries
    count = 200 if seconds else 4000
    victim = rig.pid_of(rig.client.ids[0])
    results = [view.apply_async(noted, str(path), number, seconds) for number in range(count)]
    begun(path, count // 10)
    os.kill(victim, signal.SIGKILL)
    ends = ends_of(results)
    lost = [number for number, end in enumerate(ends) if isinstance(end, EngineLost)]
    assert [end for end in ends if not isinstance(end, EngineLost)] == [n for n in range(count) if n not in lost]
    ran = Counter(map(int, lines(path)))
    assert len(ran) == count - (lost != [] and lost[0] not in ran)
    assert sum(ran.values()) <= len(ran) + retries and len(lost) <= 1 - retries


def test_the_last_engine_is_killed_and_another_one_comes(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    rig = make_rig(1, tcp=tcp)
    view, path = rig.client.load_balanced_view(), tmp_path / "ran"
    first = view.apply_async(wait_for, str(path))
    begun(path)
    (victim,) = rig.client.ids
    for_it = rig.client[victim].apply_async(add, 1, 2)
    results = [view.apply_async(noted, str(path), number) for number in range(1, 50)]
    os.kill(rig.pid_of(victim), signal.SIGKILL)
    assert isinstance(end_of(first), EngineLost) and isinstance(end_of(for_it), EngineLost)
    until(lambda: not rig.client.ids)
    (other,) = rig.start_engines(1)
    assert ends_of(results) == list(range(1, 50)) and rig.client.ids == [other] != [victim]
    assert Counter(lines(path)) == Counter(map(str, range(50)))


def test_an_engine_of_another_machine_is_killed(make_rig: MakeRig, tmp_path: Path) -> None:
    """One whose process cannot be watched: it is missed by its heartbeat, and what it was in is not known."""
    rig = make_rig(0, tcp=True, limit=SHORT)
    (victim,) = rig.start_engines(1, file=far(rig, tmp_path))
    view, path = rig.client.load_balanced_view(), tmp_path / "ran"
    result = view.apply_async(wait_for, str(path), 1)
    view.retries = 1
    again = view.apply_async(noted, str(path), 2)
    begun(path)
    os.kill(rig.pid_of(victim), signal.SIGKILL)
    last_words(end_of(result), rig.engines[0].pid)
    rig.start_engines(1)
    assert end_of(again) == 2 and lines(path) == ["1", "2"]


def far(rig: Rig, folder: Path) -> Path:
    """A connection file as another machine would have it: without what only this one can use."""
    fields = rig.fields("engine")
    del fields["addresses"]["lane"]
    return rig.write(folder / "far.json", fields)


# Stopped --------------------------------------------------------------------------------------------


def test_an_engine_that_is_stopped_for_long(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    rig = make_rig(2, tcp=tcp, limit=SHORT)
    view, path = rig.client.load_balanced_view(), tmp_path / "ran"
    result = view.apply_async(wait_for, str(path))
    begun(path)
    (victim,) = who_runs(rig)
    pid = rig.pid_of(victim)
    behind = rig.client[victim].apply_async(add, 1, 2)
    os.kill(pid, signal.SIGSTOP)
    last_words(end_of(result), pid)
    assert isinstance(end_of(behind), EngineLost)
    until(lambda: victim not in rig.client.ids)
    assert view.apply_sync(add, 1, 2) == 3
    os.kill(pid, signal.SIGCONT)
    assert view.apply_async(my_pid).get(PATIENCE) != pid  # which is in that task still, and joins when it is through
    assert victim not in rig.client.ids
    let_go(path)
    until(lambda: victim in rig.client.ids)
    assert rig.client[victim].apply_async(my_pid).get(PATIENCE) == pid
    assert lines(path) == ["0"] and rig.status()["malformed"] == {"clients": 0, "engines": 0, "keys": 0}


def test_a_task_of_a_stopped_engine_runs_again_where_it_may(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(2, limit=SHORT)
    view, path = rig.client.load_balanced_view(), tmp_path / "ran"
    view.retries = 1
    result = view.apply_async(wait_for, str(path), 5)
    begun(path)
    (victim,) = who_runs(rig)
    pid = rig.pid_of(victim)
    os.kill(pid, signal.SIGSTOP)
    begun(path, 2)
    let_go(path)
    assert end_of(result) == 5
    os.kill(pid, signal.SIGCONT)
    assert until(lambda: victim in rig.client.ids)
    assert rig.client[victim].apply_async(my_pid).get(PATIENCE) == pid
    assert end_of(result) == 5 and lines(path) == ["5", "5"]


def test_a_stopped_engine_runs_nothing_that_was_given_to_others(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(2, limit=SHORT)
    view, path = rig.client.load_balanced_view(), tmp_path / "ran"
    victim = rig.client.ids[0]
    pid = rig.pid_of(victim)
    count = 10_000  # so short that an engine holds many
    results = [view.apply_async(noted_busily, str(path), number, 0.0001) for number in range(count)]
    begun(path, count // 10, results)
    os.kill(pid, signal.SIGSTOP)
    lost = {number for number, end in enumerate(ends_of(results)) if isinstance(end, EngineLost)}
    until(lambda: victim not in rig.client.ids)
    os.kill(pid, signal.SIGCONT)
    until(lambda: victim in rig.client.ids)
    assert end_of(rig.client[victim].apply_async(my_pid)) == pid
    ran = Counter(map(int, lines(path)))
    assert {number: times for number, times in ran.items() if times > 1} == {}
    # What it was in may have ended or not, and what it held behind that may have begun.
    assert set(range(count)) - set(ran) <= lost and {results[n].metadata["engine_id"] for n in lost} <= {victim}


def test_an_engine_that_is_stopped_for_a_moment(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    rig = make_rig(2, tcp=tcp, limit=30.0)
    view, path = rig.client.load_balanced_view(), tmp_path / "ran"
    ids = rig.client.ids
    pid = rig.pid_of(ids[0])
    results = [view.apply_async(noted, str(path), number, 0.002) for number in range(1000)]
    begun(path, 100)
    os.kill(pid, signal.SIGSTOP)
    begun(path, 300)  # the other one goes on
    os.kill(pid, signal.SIGCONT)
    assert ends_of(results) == list(range(1000)) and Counter(lines(path)) == Counter(map(str, range(1000)))
    assert rig.client.ids == ids and "is lost" not in rig.log("controller")


# Busy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("busy, amount", [(hold_the_lock, 2), (compute_with_the_lock, 2)])
def test_a_task_that_holds_the_interpreter_is_not_taken_for_dead(
    make_rig: MakeRig, tcp: bool, busy: Any, amount: int
) -> None:
    rig = make_rig(2, tcp=tcp, limit=SHORT)
    ids = rig.client.ids
    result = rig.client.load_balanced_view().apply_async(busy, amount)
    assert end_of(result) >= amount
    assert rig.client.ids == ids and "does not answer" not in rig.log("controller")
