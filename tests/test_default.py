"""The default cluster: found or started at the first call, one for a process, and gone with it."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parpool import AsyncResult, Cluster, ConnectionFileError, Pool, cpu_count, default
from parpool.client.client import Client
from parpool.client.remote import ParallelFunction, RemoteFunction
from parpool.default import parallel, remote, running_client
from parpool.net import address
from parpool.net.address import Connection

METHODS = ("fork", "spawn", "forkserver") if hasattr(os, "fork") else ("spawn",)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path / "data"))  # a cluster of whoever runs this is none of ours
    monkeypatch.delenv("PARPOOL_PROFILE", raising=False)
    yield tmp_path / "data"
    default._end()


@remote
def pid(x: object = None) -> int:
    """Whose."""
    return os.getpid()


@parallel
def pid_and_part(part: Any) -> list[tuple[int, list[Any]]]:
    return [(os.getpid(), list(part))]


class Adder:
    def __init__(self, x: int) -> None:
        self.x = x

    @remote
    def plus(self, y: int) -> tuple[int, int]:
        return self.x + y, os.getpid()


def test_M2_bare_functions_run_on_the_default_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Counted(Pool):
        def __init__(self) -> None:
            made.append(self)
            super().__init__()

    monkeypatch.setattr(default, "Pool", Counted)
    decorated = remote(os.getpid)
    assert not made, "nothing is started before the first call"
    assert decorated() != os.getpid()
    assert pid() in {process.pid for process in made[0]._pool}
    assert len(made) == 1 and len(default.default_client()) == cpu_count()
    assert Adder(5).plus(6)[0] == 11 and Adder(5).plus(6)[1] != os.getpid()
    assert pid.__name__ == "pid" and pid.__doc__ == "Whose." and pid.local() == os.getpid()


def test_M2_options_only() -> None:
    result = remote(block=False)(os.getpid)()
    assert isinstance(result, AsyncResult) and result.get() != os.getpid()
    assert remote(retries=2, task_timeout=60)(os.getpid)() != os.getpid()
    assert remote()(os.getpid)() != os.getpid()
    with pytest.raises(TypeError, match="no flag 'nonsense'"):
        remote(nonsense=1)


def test_M2_M3_a_view_first() -> None:
    with Pool(1) as pool:
        view = pool.client[0]
        assert remote(view, block=True)(os.getpid)() == view.apply_sync(os.getpid)
        assert isinstance(remote(view)(os.getpid)(), AsyncResult), "with a view, its block counts"
        assert parallel(view, "r", True)(pid_and_part.local)([1, 2]) == [(view.apply_sync(os.getpid), [1, 2])]
    assert default._pool is None
    pool.join()


def test_M3_bare_parallel_functions() -> None:
    got = pid_and_part(range(10))
    assert sorted(item for _, part in got for item in part) == list(range(10))
    assert len(got) == min(10, cpu_count()) and all(pid != os.getpid() for pid, _ in got)
    assert pid_and_part.map([[1], [2]])[1][0][1] == [2]
    result = parallel(block=False, chunksize=3)(pid_and_part.local)(range(7))
    assert [part for _, part in result.get()] == [[0, 1, 2], [3, 4, 5], [6]]


def test_what_cannot_be_decorated() -> None:
    for decorator in (remote, parallel):
        with pytest.raises(TypeError, match="a view or a function"):
            decorator(5)
        with pytest.raises(TypeError, match="above this decorator"):
            decorator(staticmethod(os.getpid))


def test_repr_starts_nothing() -> None:
    assert repr(pid) == "<RemoteFunction pid on the default cluster>"
    assert isinstance(pid, RemoteFunction) and isinstance(pid_and_part, ParallelFunction)
    assert default._pool is None


def test_many_threads_find_one_cluster() -> None:
    found: list[Client] = []
    barrier = threading.Barrier(8)

    def find() -> None:
        barrier.wait()
        found.append(default.default_client())

    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(map(id, found))) == 1


def test_a_cluster_that_was_ended_is_replaced() -> None:
    before = pid()
    first = default.default_client()
    first.close()
    assert pid() != before
    assert default.default_client() is not first


def test_a_running_cluster_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with Pool(1) as pool:
        monkeypatch.setattr(default, "running_client", lambda: pool.client)
        assert default.default_client() is pool.client
        assert pid() == pool.client[0].apply_sync(os.getpid)
        assert default._pool is None
    pool.join()


def test_the_only_cluster_that_runs_is_found() -> None:
    with Cluster(n=1, cluster_id="lab") as rc:
        engine = rc[0].apply_sync(os.getpid)
        with Client() as other:
            assert other.ids == rc.ids
        assert pid() == engine and default._pool is None
        with Cluster(n=0, cluster_id="den"):
            for find in (Client, running_client):
                with pytest.raises(ConnectionFileError, match="several clusters run .*: den, lab"):
                    find()
            assert pid() == engine, "once it is found, it stays"
        default.default_client().close()


def test_a_cluster_of_another_machine_is_found_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Cluster(n=1, ip="127.0.0.1") as rc:
        engine = rc[0].apply_sync(os.getpid)
        theirs = address.read(address.find("client"))
        monkeypatch.setenv("PARPOOL_DIR", str(tmp_path / "here"))
        address.write(dataclasses.replace(theirs, hostname="elsewhere"), address.cluster_folder() / "client.json")
        assert pid() == engine and default._pool is None
        default.default_client().close()


def test_the_file_of_a_cluster_that_was_killed_is_none_that_runs() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    where = {"client": "ipc:///nowhere/client", "heart": "ipc:///nowhere/heart"}
    old = Connection("client", "default", "default", where, pid=dead.pid, hostname=socket.gethostname())
    address.write(old, address.cluster_folder() / "client.json")
    assert pid() != os.getpid() and default._pool is not None


def test_on_an_engine_it_stays_there() -> None:
    with Pool(1) as pool:
        engine = pool.client[0]
        assert engine.apply_sync(lambda f: f(), pid) == engine.apply_sync(os.getpid)
        assert engine.apply_sync(lambda: default._pool is None) is True
    pool.join()


SCRIPT = """
import multiprocessing, os, sys
from parpool.default import parallel, remote, running_client
from parpool.net import address
from parpool.net.address import Connection

scale = 1

@remote
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

@parallel(dist="r", block=False)
def scaled(part):
    return [scale * helper(x) for x in part]

def helper(x):
    return Thing(x).doubled.local()

class Thing:
    def __init__(self, x):
        self.x = x

    @remote
    def doubled(self):
        return 2 * self.x

    @remote
    def pids(self):
        return os.getpid(), os.getppid()

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    print(fib(12))
    print(scaled(range(7)).get(), scaled.map([[1], [2]]).get())
    print(Thing(21).doubled(), os.getpid() in Thing(1).pids())

    @remote
    def late(x):
        return fib(x) + scaled.local([x])[0]

    print(late(10))
    if sys.argv[1] == "fork":
        sys.stdout.flush()  # lest the child prints it, too
        pid = os.fork()
        if not pid:
            print(fib(7), flush=True)
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        print(fib(8))
    print("done")
"""


@pytest.mark.parametrize("method", METHODS)
def test_in_a_script(method: str, tmp_path: Path) -> None:
    script = tmp_path / "decorated.py"
    script.write_text(SCRIPT)
    # (Of a fork beside threads later versions of Python warn.)
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", str(script), method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    forked = ["13", "5", "21"] if method == "fork" else []
    expected = ["144", "[0, 2, 4, 6, 8, 10, 12] [[2], [4]]", "42 " + str(method != "forkserver"), "75", *forked, "done"]
    assert done.stdout.splitlines() == expected, done.stderr
    assert done.returncode == 0 and not done.stderr
