"""Clients that are killed, stopped, or leave."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fault_rig import HERE, MakeRig, Rig, begun, end_of, ends_of, let_go, lines, until
from fault_tasks import add, noted, wait_for

from parpool import ControllerLost, TaskAborted

SHORT = 1.5  #: a limit of the heartbeat that is soon over
BEHIND = 20  #: tasks behind the one that runs

keep_or_drop = pytest.mark.parametrize("lost", ["keep", "drop"])


class Other:
    """A client in another process, with a task that runs and some behind it."""

    def __init__(self, rig: Rig, folder: Path, lost: str = "", behind: int = BEHIND) -> None:
        self.running, self.ran = folder / "running", folder / "ran"
        arguments = [rig.folder / "client.json", self.running, self.ran, behind, lost]
        argv = [sys.executable, str(HERE / "fault_client.py"), *map(str, arguments)]
        self.process = rig.spawn(argv, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.says = self.process.stdout
        self.names = self.says.readline().decode().split()
        begun(self.running)
        until(lambda: rig.status()["tasks"] == 1 + behind)


def others(rig: Rig) -> list[bool]:
    """The clients besides the test's: do they answer?"""
    return [each["here"] for each in rig.status()["clients"] if each["name"] != rig.client.link.name]


# Killed ---------------------------------------------------------------------------------------------


@keep_or_drop
@pytest.mark.parametrize("by", ["client", "controller"])
def test_a_client_that_is_killed(make_rig: MakeRig, tmp_path: Path, lost: str, by: str) -> None:
    """What becomes of its tasks is said by itself, or else by the controller."""
    rig = make_rig(1, limit=SHORT, options=[f"--on-client-lost={lost}"] if by == "controller" else [])
    other = Other(rig, tmp_path, lost if by == "client" else "")
    other.process.kill()
    until(lambda: others(rig) == [False])
    assert rig.status()["tasks"] == (1 + BEHIND if lost == "keep" else 1)
    view = rig.client.load_balanced_view()
    mine = view.apply_async(noted, str(other.ran), 100)
    let_go(other.running)
    assert end_of(mine) == 100
    first, *behind = ends_of(rig.client.get_result(name) for name in other.names)
    assert first == -1
    if lost == "keep":
        assert behind == list(range(BEHIND)) and lines(other.ran) == [str(n) for n in [*range(BEHIND), 100]]
        status = rig.client.result_status(other.names)
        assert not status["pending"] and sorted(status["completed"]) == sorted(other.names)
    else:
        assert {type(each) for each in behind} == {TaskAborted} and lines(other.ran) == ["100"]
    assert rig.status()["tasks"] == 0


def test_results_of_a_client_that_was_killed_after_its_tasks_ended(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(1, limit=SHORT)
    other = Other(rig, tmp_path)
    other.process.send_signal(signal.SIGSTOP)  # it takes nothing more
    let_go(other.running)
    until(lambda: rig.status()["tasks"] == 0)
    other.process.kill()
    until(lambda: others(rig) == [False])
    assert ends_of(rig.client.get_result(name) for name in other.names) == list(range(-1, BEHIND))
    again = rig.client.resubmit(other.names[1])
    assert end_of(again) == 0 and lines(other.ran).count("0") == 2


def test_many_clients_that_are_killed(make_rig: MakeRig) -> None:
    """Those that are lost are not kept for ever."""
    rig = make_rig(1, limit=SHORT)
    count = 90
    script = """
import sys, time
from parpool.client.standalone import RemoteLink
links = [RemoteLink(sys.argv[1]) for _ in range(int(sys.argv[2]))]
print("here", flush=True)
time.sleep(100)
"""
    argv = [sys.executable, "-c", script, str(rig.folder / "client.json"), str(count)]
    process = rig.spawn(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"here\n"
    assert others(rig) == [True] * count
    process.kill()
    until(lambda: True not in others(rig))
    assert len(others(rig)) <= 64
    assert end_of(rig.client.load_balanced_view().apply_async(add, 1, 2)) == 3


# Stopped --------------------------------------------------------------------------------------------


@keep_or_drop
def test_a_client_that_is_stopped_for_long(make_rig: MakeRig, tmp_path: Path, lost: str) -> None:
    rig = make_rig(1, limit=SHORT)
    other = Other(rig, tmp_path, lost)
    other.process.send_signal(signal.SIGSTOP)
    until(lambda: others(rig) == [False])
    let_go(other.running)
    until(lambda: rig.status()["tasks"] == 0)
    other.process.send_signal(signal.SIGCONT)
    says = other.says.read().decode().split()
    assert other.process.wait() == 0
    if lost == "keep":
        assert says == [str(number) for number in range(-1, BEHIND)]
    else:
        assert says == ["-1"] + ["TaskAborted"] * BEHIND
    until(lambda: others(rig) == [])


def test_a_client_that_is_stopped_for_a_moment(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(1, limit=30.0)
    other = Other(rig, tmp_path, behind=500)
    other.process.send_signal(signal.SIGSTOP)
    let_go(other.running)
    until(lambda: rig.status()["tasks"] == 0)
    other.process.send_signal(signal.SIGCONT)
    assert other.says.read().decode().split() == [str(number) for number in range(-1, 500)]
    assert other.process.wait() == 0 and "lost" not in rig.log("controller")
    assert lines(other.ran) == [str(number) for number in range(500)]


# Gone -----------------------------------------------------------------------------------------------


def test_a_client_that_leaves(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    rig = make_rig(1, tcp=tcp)
    rig.client.load_balanced_view().apply_sync(add, 1)
    client, path = rig.connect(), tmp_path / "ran"
    view = client.load_balanced_view()
    running = view.apply_async(wait_for, str(path))
    behind = [view.apply_async(noted, str(path), number) for number in range(1, 20)]
    begun(path)
    until(lambda: rig.status()["tasks"] == 20)
    client.close()
    assert {type(each) for each in ends_of([running, *behind])} == {ControllerLost}
    with pytest.raises(ControllerLost):
        view.apply_sync(add, 1)
    until(lambda: others(rig) == [] and rig.status()["tasks"] == 1)
    let_go(path)
    until(lambda: rig.status()["tasks"] == 0)
    assert lines(path) == ["0"] and end_of(rig.client.get_result(running.msg_ids[0])) == 0
    assert end_of(rig.client.load_balanced_view().apply_async(add, 1, 2)) == 3


def test_clients_that_come_and_go(make_rig: MakeRig) -> None:
    rig = make_rig(1)
    for number in range(30):
        client = rig.connect()
        assert end_of(client.load_balanced_view().apply_async(add, number, 1)) == number + 1
        client.close()
    until(lambda: others(rig) == [])
    assert rig.status()["malformed"] == {"clients": 0, "engines": 0, "keys": 0}
