"""Processes of clusters that die, and whoever started them, too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parpool.cluster import Cluster, places
from parpool.cluster.plan import OWNER
from parpool.errors import ControllerLost
from parpool.launch.process import birth
from parpool.net import address

Until = Callable[..., Any]


def alive(pid: int) -> bool:
    return birth(pid) is not None


# Engines --------------------------------------------------------------------------------------------


def test_a_dead_engine_is_replaced_and_the_others_go_on(until: Until, caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(n=2)
    with cluster as rc:
        first, second = rc[:].apply_sync(os.getpid)
        os.kill(first, signal.SIGKILL)
        until(lambda: len(rc.ids) == 2 and 0 not in rc.ids)
        pids = rc[:].apply_sync(os.getpid)
        assert second in pids and first not in pids and cluster.engine_sets == {"set-1": 2}
        assert f"pid {first} was killed by SIGKILL" in caplog.text
        assert "1 of 3 times" in caplog.text
    assert cluster.folder.exists(), "its logs tell of the death"


def test_an_engine_that_dies_again_and_again_is_given_up(
    until: Until, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(places, "PAUSES", (0.0,))
    cluster = Cluster(n=1, restarts=1)
    with cluster as rc:
        for _ in range(2):
            until(lambda: rc.ids)
            (id,) = rc.ids
            rc[id].apply_async(os._exit, 3)
            until(lambda id=id: id not in rc.ids)
        until(lambda: "it was started again 1 times, and is not any more" in caplog.text)
        assert rc.ids == []
        cluster.restart_engines()
        assert rc.wait_for_engines(1, timeout=20)


def test_engines_that_have_lost_a_task_run_the_next(until: Until) -> None:
    with Cluster(n=1) as rc:
        view = rc.load_balanced_view()
        view.retries = 0
        doomed, next_one = view.apply_async(os._exit, 1), view.apply_async(os.getpid)
        with pytest.raises(Exception, match="engine"):
            doomed.get(20)
        assert next_one.get(20)


# Controllers ----------------------------------------------------------------------------------------


def test_a_dead_controller_is_replaced_under_load(until: Until) -> None:
    cluster = Cluster(n=2)
    with cluster as rc:
        engines = set(rc[:].apply_sync(os.getpid))
        results = [rc.load_balanced_view().apply_async(pow, 2, n) for n in range(200)]
        before = address.read(cluster.folder / "client.json").pid
        os.kill(before, signal.SIGKILL)
        more = [rc.load_balanced_view().apply_async(pow, 3, n) for n in range(50)]
        assert [each.get(20) for each in results] == [2**n for n in range(200)]
        assert [each.get(20) for each in more] == [3**n for n in range(50)]
        assert address.read(cluster.folder / "client.json").pid != before
        until(lambda: len(rc.ids) == 2)
        assert set(rc[:].apply_sync(os.getpid)) == engines, "engines outlive their controller"
        record = json.loads((cluster.folder / "cluster.json").read_text())
        assert list(record["controller"]["launcher"]["processes"]) == ["controller-1"]
    assert not any(map(alive, engines))


def test_a_controller_that_dies_too_often_ends_the_cluster(until: Until) -> None:
    cluster = Cluster(n=1, restarts=0)
    rc = cluster.start_and_connect()
    engine = rc[0].apply_sync(os.getpid)
    os.kill(address.read(cluster.folder / "client.json").pid, signal.SIGKILL)
    with pytest.raises(ControllerLost, match="too often.*SIGKILL"):
        cluster.wait(20)
    assert not alive(engine) and "does not run" in repr(cluster)
    with pytest.raises(ControllerLost, match="too often"):
        cluster.start_engines(1)
    rc.close()
    # Another one can follow the controller that was killed, as nobody has said that it was to end.
    assert (cluster.folder / "controller.json").exists()
    cluster.start_cluster()
    cluster.stop_cluster()
    assert not (cluster.folder / "controller.json").exists()


def test_a_controller_that_is_told_to_end_is_not_replaced(until: Until) -> None:
    cluster = Cluster(n=1)
    rc = cluster.start_and_connect()
    os.kill(address.read(cluster.folder / "client.json").pid, signal.SIGTERM)
    assert cluster.wait(20)
    rc.close()


# Whoever started it ---------------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys, time
from parpool.cluster import Cluster

if __name__ == "__main__":
    cluster = Cluster(n=2, cluster_id="theirs", keep="keep" in sys.argv)
    rc = cluster.start_and_connect()
    print(*rc[:].apply_sync(os.getpid), flush=True)
    if "with" in sys.argv:
        with Cluster(n=1, cluster_id="inner"):
            print("inner", flush=True)
            time.sleep(600)
    if "sleep" in sys.argv:
        time.sleep(600)
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., tuple[subprocess.Popen[str], list[int]]]:
    """Runs the script; gives its process, and the ids of the engines'."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)

    def run(*arguments: str) -> tuple[subprocess.Popen[str], list[int]]:
        process = subprocess.Popen(
            [sys.executable, str(path), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        return process, [int(pid) for pid in process.stdout.readline().split()]

    return run


def ended(until: Until, pids: list[int], *ids: str) -> None:
    until(lambda: not any(map(alive, pids)))
    for id in ids:
        until(lambda id=id: not address.running(address.cluster_folder(None, id)))


def test_the_end_of_the_script_ends_all(script: Any, until: Until) -> None:
    process, pids = script()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and errors == ""
    assert len(pids) == 2 and not any(map(alive, pids))
    assert {each.name for each in address.cluster_folder(None, "theirs").iterdir()} == {"log", "controller.lock"}


def test_ctrl_c_ends_all(script: Any, until: Until) -> None:
    process, pids = script("with")
    assert process.stdout.readline() == "inner\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in errors
    assert errors.count("Traceback") == 1
    ended(until, pids, "theirs", "inner")


@pytest.mark.skipif(not OWNER, reason="controllers do not heed --owner yet")
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_script_that_is_killed_takes_all_along(script: Any, until: Until, signum: int) -> None:
    process, pids = script("sleep")
    process.send_signal(signum)
    process.communicate(timeout=20)
    ended(until, pids, "theirs")
    assert not (address.cluster_folder(None, "theirs") / "controller.json").exists(), "it has ended for good"


def test_a_cluster_that_is_kept_stays(script: Any, until: Until) -> None:
    process, pids = script("keep")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and errors == ""
    assert all(map(alive, pids)) and address.running(address.cluster_folder(None, "theirs"))
    cluster = Cluster.from_file(cluster_id="theirs")
    with cluster.connect_client() as rc:
        assert rc[:].apply_sync(os.getpid) == pids
    cluster.stop_cluster()
    ended(until, pids, "theirs")
    assert not (cluster.folder / "cluster.json").exists()


def test_with_leaves_a_cluster_that_is_kept(until: Until) -> None:
    cluster = Cluster(n=1, keep=True)
    with cluster as rc:
        pid = rc[0].apply_sync(os.getpid)
    assert alive(pid) and "1 engines" in repr(cluster)
    with cluster.connect_client() as rc:
        assert rc[0].apply_sync(os.getpid) == pid
    cluster.stop_cluster()
    assert not alive(pid)
