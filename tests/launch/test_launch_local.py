"""Engines as children of this process: how they are started, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from parpool import Pool, cpu_count
from parpool.launch.local import LocalCrew
from parpool.options import EngineSettings

METHODS = multiprocessing.get_all_start_methods()


def make_deaf(file: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(file).touch()


def touch(file: str) -> None:
    Path(file).touch()


def await_file(path: Path, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, "the engine's initializer has not run"
        time.sleep(0.01)


def settings(tmp_path: Path, uid: str = "engine-0") -> EngineSettings:
    # Nobody listens there: the engine waits for work that never comes.
    return EngineSettings(uid, f"ipc://{tmp_path}/w", f"ipc://{tmp_path}/c", host_pid=os.getpid())


@pytest.fixture(params=METHODS)
def context(request: pytest.FixtureRequest) -> Any:
    return multiprocessing.get_context(request.param)


@pytest.fixture
def crews() -> Iterator[list[LocalCrew]]:
    made: list[LocalCrew] = []
    yield made
    for crew in made:
        crew.end()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# LocalCrew --------------------------------------------------------------------------------------------


def test_start_kill_ended(context: Any, crews: list[LocalCrew], tmp_path: Path) -> None:
    crew = LocalCrew(context, touch, (str(tmp_path / "there"),))
    crews.append(crew)
    pid = crew.start(settings(tmp_path))
    assert is_running(pid)
    (process,) = crew.processes
    assert process.pid == pid and process.daemon and "PoolWorker" in process.name
    await_file(tmp_path / "there")
    crew.kill("engine-0")
    text = crew.ended("engine-0")
    assert text == f"pid {pid} was killed by SIGKILL (kill -9, or the kernel when memory runs out)"
    assert crew.processes == [] and not is_running(pid)


def test_end(context: Any, crews: list[LocalCrew], tmp_path: Path) -> None:
    crew = LocalCrew(context, touch, (str(tmp_path / "there"),))
    pids = [crew.start(settings(tmp_path, f"engine-{i}")) for i in range(3)]
    await_file(tmp_path / "there")
    processes = list(crew.processes)
    crew.end(patience=1000)
    assert not any(process.exitcode == -signal.SIGKILL for process in processes)
    assert not any(map(is_running, pids)) and crew.processes == []
    crew.end()


def test_end_of_the_deaf(crews: list[LocalCrew], tmp_path: Path) -> None:
    crew = LocalCrew(multiprocessing.get_context(), make_deaf, (str(tmp_path / "deaf"),))
    pid = crew.start(settings(tmp_path))
    await_file(tmp_path / "deaf")
    started = time.monotonic()
    crew.end(patience=0.3)
    assert time.monotonic() - started > 0.25
    assert not is_running(pid)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_end_of_one_whose_child_lives_on(crews: list[LocalCrew], tmp_path: Path) -> None:
    crew = LocalCrew(multiprocessing.get_context("fork"), leave_a_child, (str(tmp_path / "child"),))
    pid = crew.start(settings(tmp_path))
    await_file(tmp_path / "child")
    crew.end(patience=1000)  # it ends at once, whatever still holds its pipes
    assert not is_running(pid)
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def leave_a_child(file: str) -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    Path(file + ".new").write_text(str(pid))
    os.rename(file + ".new", file)


def await_end(pid: int, seconds: float = 15) -> None:
    """An orphan: who waits for it is not known, so that it is dead is enough."""
    deadline = time.monotonic() + seconds
    with suppress(FileNotFoundError):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline, "it lives on"
            time.sleep(0.01)


@pytest.mark.skipif("forkserver" not in METHODS or not hasattr(os, "pidfd_open"), reason="no way to know of them")
@pytest.mark.parametrize("how", ["kill", "end", "end of the deaf"])
def test_engines_whose_fork_server_was_killed(how: str, crews: list[LocalCrew], tmp_path: Path) -> None:
    """For multiprocessing they have ended with it."""
    there = tmp_path / "there"
    crew = LocalCrew(multiprocessing.get_context("forkserver"), make_deaf if "deaf" in how else touch, (str(there),))
    crews.append(crew)
    pid = crew.start(settings(tmp_path))
    await_file(there)
    server: Any = vars(forkserver)["_forkserver"]
    os.kill(server._forkserver_pid, signal.SIGKILL)
    crew.processes[0].join(15)
    assert crew.processes[0].exitcode == 255 and is_running(pid)
    if how == "kill":
        crew.kill("engine-0")
        await_end(pid)
        crew.ended("engine-0")
    else:
        crew.end(patience=0.3)
        await_end(pid, 0)
    assert not crew._handles


def test_names_it_does_not_know(crews: list[LocalCrew]) -> None:
    crew = LocalCrew(multiprocessing.get_context())
    crew.kill("engine-9")
    assert isinstance(crew.ended("engine-9"), str)
    crew.end()


def test_an_engine_may_have_processes_of_its_own() -> None:
    with Pool(1) as pool:
        assert pool.apply(start_a_process) == 7
    pool.join()


def start_a_process() -> int | None:
    process = multiprocessing.get_context().Process(target=os._exit, args=(7,))
    process.start()
    process.join()
    return process.exitcode


# Where processes cannot be started ---------------------------------------------------------------------------


class Limited(type(multiprocessing.get_context("spawn" if os.name == "nt" else "fork"))):  # type: ignore[misc]
    """A context that starts a number of processes and no more, as a user's process limit does."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most
        self.started: list[Any] = []

    def Process(self, *args: Any, **kwargs: Any) -> Any:
        process = super().Process(*args, **kwargs)
        really = process.start

        def start() -> None:
            if self.left <= 0:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            self.left -= 1
            really()
            self.started.append(process)

        process.start = start
        return process


@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_limit_met_at_the_beginning(most: int) -> None:
    context = Limited(most)
    with pytest.raises(BlockingIOError):
        Pool(4, context=context)
    assert len(context.started) == most
    assert not any(process.is_alive() for process in context.started)


@pytest.mark.parametrize("how", ["wait", "background"])
def test_a_limit_met_later(how: str) -> None:
    """The engines that are left go on; the death of one, which cannot be replaced now, harms no other call."""
    context = Limited(2)
    with Pool(2, context=context) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
        os.kill(pool._pool[0].pid, signal.SIGKILL)
        for number in range(20):
            if how == "wait":
                assert pool.apply_async(abs, (-number,)).get(10) == number
            else:
                got: list[int] = []
                result = pool.apply_async(abs, (-number,), callback=got.append)
                deadline = time.monotonic() + 10
                while not got and time.monotonic() < deadline:
                    time.sleep(0.005)
                assert got == [number] and result.ready()
        context.left = 10
        os.kill(pool._pool[0].pid, signal.SIGKILL)  # and when there is room again, there are two again
        deadline = time.monotonic() + 10
        while len(pool.client) < 2 and time.monotonic() < deadline:
            pool.apply_async(abs, (-1,)).get(10)
            time.sleep(0.02)
        assert pool.client.wait_for_engines(2, 20)
    pool.join()


def test_cpu_count() -> None:
    assert cpu_count() == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cpu_count() >= 1
