"""Clusters that another process looks after, or nobody any more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parpool.cluster import Cluster, afar, record
from parpool.errors import ConnectionFileError, ParpoolError
from parpool.launch.process import birth
from parpool.net import address

Until = Callable[..., Any]

SCRIPT = """
import os, sys, time
from parpool.cluster import Cluster

if __name__ == "__main__":
    cluster = Cluster(n=1, cluster_id="theirs", keep=True, restarts=5)
    cluster.start_cluster()
    cluster.start_engines(1)
    print("up", flush=True)
    cluster.wait()
    print("over", flush=True)
"""


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that looks after a cluster with two engines in two sets."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.communicate()
    if address.running(address.cluster_folder(None, "theirs")):
        Cluster.from_file(cluster_id="theirs").stop_cluster()


def test_a_cluster_of_another_process(theirs: subprocess.Popen[str], until: Until) -> None:
    cluster = Cluster.from_file()
    assert (cluster.cluster_id, cluster.profile) == ("theirs", "default")
    assert cluster.engine_sets == {"set-1": 1, "set-2": 1}
    assert repr(cluster) == "<Cluster 'theirs' of profile 'default': 2 engines in 2 sets>"
    for path in (cluster.folder, cluster.folder / "client.json", str(cluster.folder / "cluster.json")):
        assert Cluster.from_file(path).folder == cluster.folder
    with cluster.connect_client() as rc:
        assert rc.wait_for_engines(2, timeout=20)
        pids = rc[:].apply_sync(os.getpid)
    for change in (cluster.start_engines, cluster.stop_engines, cluster.restart_engines):
        with pytest.raises(ParpoolError, match=f"process {theirs.pid} on .* looks after"):
            change()
    with pytest.raises(ParpoolError, match="runs already"):
        cluster.start_cluster()
    assert not cluster.wait(0)
    cluster.stop_cluster()
    assert cluster.wait(0) and "does not run" in repr(cluster)
    assert theirs.communicate(timeout=20)[0] == "over\n" and theirs.returncode == 0
    assert not any(map(birth, pids))
    assert {each.name for each in cluster.folder.iterdir()} == {"log", "controller.lock"}
    with pytest.raises(ConnectionFileError):
        Cluster.from_file(cluster.folder)


def test_who_is_gone_is_followed(theirs: subprocess.Popen[str], until: Until) -> None:
    theirs.kill()
    theirs.wait()
    cluster = Cluster.from_file(cluster_id="theirs")
    with cluster.connect_client() as rc:
        assert rc.wait_for_engines(2, timeout=20)
        before = rc[:].apply_sync(os.getpid)
        set_id = cluster.start_engines(1)
        assert cluster.engine_sets == {"set-1": 1, "set-2": 1, set_id: 1}
        assert rc.wait_for_engines(3, timeout=20)
        found = json.loads((cluster.folder / "cluster.json").read_text())
        assert found["pid"] == os.getpid() and found["controller"]["restarts"] == 5
        os.kill(before[0], signal.SIGKILL)  # no child of ours
        until(lambda: 0 not in rc.ids and len(rc.ids) == 3)
        os.kill(address.read(cluster.folder / "client.json").pid, signal.SIGKILL)
        assert rc.load_balanced_view().apply_async(pow, 2, 5).get(20) == 32
        another = Cluster.from_file(cluster_id="theirs")
        with pytest.raises(ParpoolError, match=f"process {os.getpid()} on .* looks after"):
            another.stop_engines()
        cluster.stop_engines("set-1")
        assert cluster.engine_sets == {"set-2": 1, set_id: 1}
    cluster.stop_cluster()


def test_who_is_gone_need_not_be_followed_to_end_it(theirs: subprocess.Popen[str], until: Until) -> None:
    theirs.kill()
    theirs.wait()
    cluster = Cluster.from_file(cluster_id="theirs")
    engines = json.loads((cluster.folder / "cluster.json").read_text())["engines"]["launcher"]["processes"]
    pids = [pid for pid, *_ in engines.values()]
    # With no controller to tell them.
    os.kill(address.read(cluster.folder / "client.json").pid, signal.SIGKILL)
    until(lambda: not address.running(cluster.folder))
    cluster.stop_cluster()
    assert len(pids) == 2 and not any(map(birth, pids))
    assert {each.name for each in cluster.folder.iterdir()} == {"log", "controller.lock"}


def test_one_waits_for_the_end_of_another(theirs: subprocess.Popen[str], until: Until) -> None:
    cluster = Cluster.from_file(cluster_id="theirs")
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(cluster.wait(20)))
    thread.start()
    with cluster.connect_client() as rc:
        rc.shutdown(hub=True)
    thread.join()
    assert ended == [True]


def test_a_controller_that_nobody_looks_after(until: Until) -> None:
    process = subprocess.Popen([sys.executable, "-m", "parpool", "controller"], stderr=subprocess.DEVNULL)
    folder = address.cluster_folder()
    until(lambda: (folder / "client.json").exists())
    cluster = Cluster.from_file()
    assert cluster.engine_sets == {} and "0 engines" in repr(cluster)
    with pytest.raises(ParpoolError, match="nobody looks after .*parpool engine"):
        cluster.start_engines(1)
    cluster.stop_cluster()
    assert process.wait(20) == 0


def test_a_controller_that_does_not_answer(until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(afar, "ANSWER", 0.3)
    with Cluster(n=0, cluster_id="mine"):
        pid = address.read(address.cluster_folder(None, "mine") / "client.json").pid
        os.kill(pid, signal.SIGSTOP)
        Cluster.from_file(cluster_id="mine").stop_cluster()
        until(lambda: not address.running(address.cluster_folder(None, "mine")))


def test_there_is_none(tmp_path: Path) -> None:
    for where in ({}, {"cluster_id": "none"}, {"path": tmp_path}, {"path": tmp_path / "client.json"}):
        with pytest.raises(ConnectionFileError, match="parpool start"):
            Cluster.from_file(**where)  # type: ignore[arg-type]


def test_engines_of_a_launcher_that_only_they_have(theirs: subprocess.Popen[str], until: Until) -> None:
    theirs.kill()
    theirs.wait()
    cluster = Cluster.from_file(cluster_id="theirs")
    found = record.read(cluster.folder)
    assert found is not None
    found["engines"]["how"] = None
    address.write_private(cluster.folder / "cluster.json", json.dumps(found).encode())
    with pytest.raises(ParpoolError, match="launcher that was an object .* cannot be made again"):
        cluster.start_engines(1)
    cluster.stop_cluster()
    until(lambda: not address.running(cluster.folder))
    assert not (cluster.folder / "cluster.json").exists()
