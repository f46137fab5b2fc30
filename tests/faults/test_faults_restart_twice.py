"""Controllers that are killed before everybody is back, and what else happens while there is none."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from fault_rig import MakeRig, begun, end_of, ends_of, let_go, lines, until
from fault_tasks import add, appended, appended_and_noted, my_pid, noted, wait_for
from test_faults_client import Other

from parpool import EngineLost, ImpossibleDependency, TaskAborted, TaskTimeout


def test_an_engine_that_comes_back_after_its_client(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(2, limit=30.0)
    running, path = tmp_path / "running", tmp_path / "ran"
    view = rig.client.load_balanced_view()
    result = view.apply_async(wait_for, str(running), 7)
    begun(running)
    (slow,) = (each["id"] for each in rig.status()["engines"] if each["tasks"])
    (other,) = set(rig.client.ids) - {slow}
    for_it = [rig.client[slow].apply_async(noted, str(path), number) for number in range(20)]
    until(lambda: rig.status()["tasks"] == 21)
    pid = rig.pid_of(slow)
    os.kill(pid, signal.SIGSTOP)
    for _ in range(3):
        rig.restart_controller()
        until(lambda: rig.ids() == [other])
        assert end_of(view.apply_async(add, 1, 2)) == 3  # no other one has begun what waits for it
    assert lines(running) == ["7"] and not lines(path) and not any(each.ready() for each in (result, *for_it))
    os.kill(pid, signal.SIGCONT)
    until(lambda: rig.client.ids == sorted([slow, other]))
    let_go(running)
    assert end_of(result) == 7 and ends_of(for_it) == list(range(20))
    assert lines(running) == ["7"] and lines(path) == [str(number) for number in range(20)]


def test_controllers_that_are_killed_at_once(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    """None of them lives for long enough that everybody has come back."""
    rig = make_rig(2, tcp=tcp)
    path, running, ids = tmp_path / "ran", tmp_path / "running", rig.client.ids
    view, count = rig.client.load_balanced_view(), 1000
    results = [view.apply_async(noted, str(path), number, 0.002) for number in range(count)]
    begun(path, 100, results)
    for _ in range(6):
        rig.restart_controller()
    assert ends_of(results) == list(range(count)) and Counter(lines(path)) == Counter(map(str, range(count)))
    assert until(lambda: rig.client.ids == ids) and not lines(running)


def test_an_engine_that_is_killed_while_there_is_no_controller(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    rig = make_rig(2, tcp=tcp)
    running, path = tmp_path / "running", tmp_path / "ran"
    view = rig.client.load_balanced_view()
    result = view.apply_async(wait_for, str(running), 7)
    begun(running)
    (victim,) = (each["id"] for each in rig.status()["engines"] if each["tasks"])
    (other,) = set(rig.client.ids) - {victim}
    for_it = rig.client[victim].apply_async(add, 1, 2)
    until(lambda: rig.status()["tasks"] == 2)
    pid = rig.pid_of(victim)
    rig.kill_controller()
    os.kill(pid, signal.SIGKILL)
    rig.start_controller()
    results = [view.apply_async(noted, str(path), number) for number in range(20)]
    assert isinstance(end_of(result), EngineLost) and isinstance(end_of(for_it), (EngineLost, ImpossibleDependency))
    assert ends_of(results) == list(range(20)) and lines(running) == ["7"]
    assert until(lambda: rig.client.ids == [other]) and rig.ids() == [other]


def test_a_task_with_a_retry_of_an_engine_that_is_killed_meanwhile(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(2)
    running, view = tmp_path / "running", rig.client.load_balanced_view()
    view.retries = 1
    result = view.apply_async(wait_for, str(running), 7)
    begun(running)
    (victim,) = (each["pid"] for each in rig.status()["engines"] if each["tasks"])
    rig.kill_controller()
    os.kill(victim, signal.SIGKILL)
    rig.start_controller()
    begun(running, 2, [result])
    let_go(running)
    assert end_of(result) == 7 and lines(running) == ["7", "7"]


def test_what_is_done_while_there_is_no_controller(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    """A task ends, others are submitted, with functions that nobody knows, and some are taken back."""
    rig = make_rig(2, tcp=tcp)
    first, second, path = tmp_path / "first", tmp_path / "second", tmp_path / "ran"
    view = rig.client.load_balanced_view()
    running = [view.apply_async(wait_for, str(path), number) for number, path in enumerate((first, second))]
    begun(first), begun(second)
    before = [view.apply_async(noted, str(path), number) for number in range(10)]
    until(lambda: rig.status()["tasks"] == 12)
    rig.kill_controller()
    after = [view.apply_async(lambda number: number + 1, number) for number in range(10)]
    view.abort(before[5:])
    rig.start_controller()
    assert {type(end) for end in ends_of(before[5:])} == {TaskAborted}
    rig.kill_controller()
    let_go(first)
    rig.start_controller()
    assert end_of(running[0]) == 0 and ends_of(before[:5]) == list(range(5)) and ends_of(after) == list(range(1, 11))
    let_go(second)
    assert end_of(running[1]) == 1 and lines(first) + lines(second) == ["0", "1"]
    assert sorted(lines(path)) == [str(number) for number in range(5)]


def test_a_limit_of_time_outlasts_the_controller(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(1)
    view, running = rig.client.load_balanced_view(), tmp_path / "running"
    view.task_timeout = 2.0
    result = view.apply_async(wait_for, str(running))
    begun(running)
    rig.restart_controller()
    assert isinstance(end_of(result), TaskTimeout) and view.apply_sync(add, 1, 2) == 3


def test_engines_and_clients_that_come_to_the_next_one(make_rig: MakeRig) -> None:
    rig = make_rig(1)
    (first,) = rig.client.ids
    rig.restart_controller()
    rig.start_engines(1, wait=False)  # it may come before the first is back
    ids = until(lambda: len(rig.client.ids) == 2 and rig.client.ids)
    assert first in ids and rig.pid_of(first) == rig.engines[0].pid
    other = rig.connect()
    assert other.ids == ids
    assert other.link.name != rig.client.link.name
    results = [client.load_balanced_view().apply_async(add, 1, n) for n in range(50) for client in (rig.client, other)]
    assert ends_of(results) == [n + 1 for n in range(50) for _ in range(2)]
    assert len(set(other[:].apply_sync(my_pid))) == 2


def test_the_namespace_of_an_engine_outlasts_the_controller(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(2)
    view = rig.client[:]
    view["x"] = 17
    view.apply_sync(appended_and_noted, str(tmp_path / "ran"), 3)
    pids = view.apply_sync(my_pid)
    rig.restart_controller()
    until(lambda: len(rig.client.ids) == 2 and len(rig.ids()) == 2)
    assert view["x"] == [17, 17] and view.apply_sync(appended) == [[3], [3]] and view.apply_sync(my_pid) == pids


def test_the_socket_folder_is_swept_while_there_is_no_controller(make_rig: MakeRig, tmp_path: Path) -> None:
    """As whoever starts a pool meanwhile does."""
    from parpool.shm.session import sweep

    rig = make_rig(2)
    path, view = tmp_path / "ran", rig.client.load_balanced_view()
    results = [view.apply_async(noted, str(path), number, 0.002) for number in range(500)]
    begun(path, 100)
    folder = rig.sockets
    rig.kill_controller()
    sweep()
    assert not folder.exists()
    rig.start_controller()
    assert rig.sockets == folder and folder.is_dir()
    assert ends_of(results) == list(range(500)) and Counter(lines(path)) == Counter(map(str, range(500)))


@pytest.mark.parametrize("what", ["client.json", "engine.json", "journal.0"])
def test_files_that_are_lost_with_the_controller(make_rig: MakeRig, tmp_path: Path, what: str) -> None:
    rig = make_rig(2)
    path, view = tmp_path / "ran", rig.client.load_balanced_view()
    results = [view.apply_async(noted, str(path), number, 0.002) for number in range(500)]
    begun(path, 100)
    rig.kill_controller()
    (rig.folder / what).unlink()
    rig.start_controller()
    assert ends_of(results) == list(range(500))


def test_a_question_about_a_task_whose_client_is_not_back_yet(make_rig: MakeRig, tmp_path: Path) -> None:
    """The next controller knows nothing of the task before its client has told it."""
    rig = make_rig(1)
    other = Other(rig, tmp_path, "keep", behind=1)
    results = [rig.client.get_result(name) for name in other.names]
    other.process.send_signal(signal.SIGSTOP)
    rig.restart_controller()
    assert rig.status()["tasks"] == 0 and not any(result.wait(0.3) for result in results)
    other.process.send_signal(signal.SIGCONT)
    until(lambda: rig.status()["tasks"] == 2)
    let_go(other.running)
    assert ends_of(results) == [-1, 0]
