"""Processes that end with a client that nobody has closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_cluster import RealCluster, at_gate, real_cluster, until

from parpool import Client
from parpool.net.sockets import have_ipc

pytestmark = pytest.mark.skipif(not have_ipc() or not hasattr(os, "fork"), reason="a cluster on local sockets")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RealCluster]:
    # One that is lost is not noticed as long as these tests run.
    with real_cluster(1, heartbeat=60.0) as made:
        with made.client() as rc:  # what the engine has from its first task on is no test's leftover
            assert rc.wait_for_engines(1, 20) and rc[0].apply_sync(os.getpid)
        yield made


@pytest.fixture
def rc(cluster: RealCluster) -> Iterator[Client]:
    client = cluster.client()
    assert client.wait_for_engines(1, 20)
    yield client
    client.close()


BEGIN = """
import atexit, json, os, sys, threading, time
atexit.register(lambda: rc.close())  # the last of all: then it is closed
from parpool import Client, Pool

def touch(path):
    open(path, "a").close()

rc = Client(sys.argv[1], on_client_lost=sys.argv[3] or None)
view = rc.load_balanced_view()
made = [view.apply_async(touch, f"{sys.argv[2]}/{n}") for n in range(20)]
# A line in one piece each: print() writes its end apart, and the callback comes in a thread of its own.
made[0].add_done_callback(lambda result: print("a callback\\n", end=""))
print(json.dumps([each.msg_ids[0] for each in made]) + "\\n", end="", flush=True)
"""
ENDS = {
    "plainly": "",
    "by an error": "raise SystemExit('an error')",
    "beside a thread that waits": """
threading.Thread(target=view.apply_sync, args=(touch, "none"), daemon=True).start()
threading.Thread(target=made[-1].get, daemon=True).start()
time.sleep(0.1)  # so that they wait, or nearly so: both are good
""",
    "with a pool": "pool = Pool(client=rc); got = pool.map_async(len, [[1]] * 50, error_callback=print)",
    "with its own exit handler": "atexit.register(lambda: print(len(rc.ids)) or rc.close())",
}


def run(cluster: RealCluster, folder: Path, end: str, keep: str = "") -> tuple[list[str], str, str, int]:
    script = folder / "script.py"
    script.write_text(BEGIN + end)
    command = [sys.executable, str(script), str(cluster.file), str(folder), keep]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    lines = done.stdout.splitlines(keepends=True)
    names = next((each for each in lines if each.startswith("[")), "")  # a callback may have come first
    assert names, done.stderr
    lines.remove(names)
    return json.loads(names), "".join(lines), done.stderr, done.returncode


def knows(rc: Client, names: list[str]) -> bool:
    """Is the client of these tasks still there, for the controller?"""
    clients: list[dict[str, Any]] = rc.cluster_status()["clients"]
    return names[0].rpartition("_")[0] in [each["name"] for each in clients if each["here"]]


def tasks(rc: Client) -> int:
    return int(rc.cluster_status()["tasks"])


@pytest.mark.parametrize("end", ENDS)
def test_it_leaves(cluster: RealCluster, rc: Client, tmp_path: Path, end: str) -> None:
    """At once, and in order: what has not begun is dropped, and nobody hears of it."""
    gate = tmp_path / "gate"
    mine = rc[0].apply_async(at_gate, str(gate))
    until(Path(f"{gate}.begun").exists)
    names, printed, errors, status = run(cluster, tmp_path, ENDS[end])
    failed = "an error" in ENDS[end]
    assert errors == ("an error\n" if failed else "") and status == failed
    assert printed == ("1\na callback\n" if "print(len" in ENDS[end] else ""), "close() itself does tell"
    until(lambda: not knows(rc, names) and tasks(rc) == 1)
    gate.touch()
    assert mine.get(20) and rc[0].apply_sync(os.getpid)
    assert not (tmp_path / "0").exists()


def test_its_tasks_go_on_where_it_has_said_so(cluster: RealCluster, rc: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    mine = rc[0].apply_async(at_gate, str(gate))
    until(Path(f"{gate}.begun").exists)
    names, _, errors, status = run(cluster, tmp_path, "", "keep")
    assert not errors and not status
    until(lambda: not knows(rc, names))
    assert tasks(rc) == 21
    gate.touch()
    assert mine.get(20) and [rc.get_result(name).get(20) for name in names] == [None] * 20
    assert (tmp_path / "19").exists()


def test_one_that_is_killed_does_not_leave(cluster: RealCluster, rc: Client, tmp_path: Path) -> None:
    names, *_, status = run(cluster, tmp_path, "os.kill(os.getpid(), 9)")
    assert status == -9 and knows(rc, names), "as nobody has missed it yet"


def test_a_child_of_its_leaves_for_nobody(cluster: RealCluster, rc: Client, tmp_path: Path) -> None:
    end = """
[each.wait() for each in made]
child = os.fork()
if child:
    os.waitpid(child, 0)
    print(view.apply_sync(len, "abc"), flush=True)
    os._exit(0)
sys.exit()
"""
    names, printed, errors, status = run(cluster, tmp_path, "import warnings; warnings.simplefilter('ignore')" + end)
    assert (printed.replace("a callback\n", ""), errors, status) == ("3\n", "", 0)
    assert knows(rc, names)
