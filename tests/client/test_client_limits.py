"""retries and task_timeout: who fails, who does not, and what is there afterwards."""

from __future__ import annotations

import faulthandler
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parpool import EngineLost, Pool, TaskTimeout


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(2) as made:
        assert full(made)
        yield made
    made.join()


def spin(seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def swallow(seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException:
            pass
    return "swallowed"


def clean_up(seconds: float, file: str) -> None:
    try:
        time.sleep(seconds)
    finally:
        Path(file).write_text("cleaned up")


def wait_for_a_lock(seconds: float) -> bool:
    lock = threading.Lock()
    lock.acquire()
    return lock.acquire(timeout=seconds)


def handle_timeouts(seconds: float) -> str:
    try:
        time.sleep(seconds)
    except TimeoutError as error:
        return f"handled {type(error).__name__}"
    return "not interrupted"


def die_once(file: str, how: str = "kill") -> str:
    """Dies unless it has done so before."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "alive"
    return die(how)


def die(how: str) -> str:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(3)
    else:
        faulthandler.disable()  # pytest's own, which would write of a crash where there is none
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)
    raise AssertionError


def die_on(bad: int, item: int) -> int:
    if item == bad:
        die("kill")
    return item


def full(pool: Pool) -> bool:
    """Is the pool at its full size again, with every engine working?"""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        pids = set(pool.map(pid_after, [0.02] * 8, 1))
        if len(pids) == len(pool.client) == len(pool._pool) == pool._processes:
            return True
    return False


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def overtime(call: Callable[[], Any]) -> float:
    """The call ends in TaskTimeout; after how long."""
    started = time.monotonic()
    with pytest.raises(TaskTimeout):
        call()
    return time.monotonic() - started


# task_timeout ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [sleep, spin, wait_for_a_lock])
def test_interrupted(pool: Pool, function: Callable[[float], Any]) -> None:
    before = sorted(process.pid for process in pool._pool)
    assert overtime(lambda: pool.apply(function, (1000,), task_timeout=0.2)) > 0.19
    assert sorted(process.pid for process in pool._pool) == before  # none had to be ended
    assert full(pool)


def test_killed_if_it_swallows_the_interrupt(pool: Pool) -> None:
    before = {process.pid for process in pool._pool}
    assert overtime(lambda: pool.apply(swallow, (1000,), task_timeout=0.2)) > 0.19
    assert full(pool)
    assert len(before & {process.pid for process in pool._pool}) == 1


def test_the_message_names_the_task(pool: Pool) -> None:
    with pytest.raises(TaskTimeout, match=r"task_timeout|swallow\(20\)"):
        pool.apply(swallow, (20,), task_timeout=0.1)
    with pytest.raises(TimeoutError):
        pool.apply(sleep, (20,), task_timeout=0.1)
    assert full(pool)


def test_clean_up_code_runs(pool: Pool, tmp_path: Path) -> None:
    file = tmp_path / "file"
    overtime(lambda: pool.apply(clean_up, (1000, str(file)), task_timeout=0.1))
    assert file.read_text() == "cleaned up"


def test_a_task_may_handle_it(pool: Pool) -> None:
    assert pool.apply(handle_timeouts, (20,), task_timeout=0.1) == "handled TaskTimeout"
    assert full(pool)


def test_time_enough(pool: Pool) -> None:
    assert pool.apply(sleep, (0.1,), task_timeout=10) == 0.1
    assert pool.apply(sleep, (0.01,), task_timeout=float("inf")) == 0.01
    assert pool.apply(sleep, (0.01,), task_timeout=1e9) == 0.01
    assert pool.map(sleep, [0.01] * 10, task_timeout=5) == [0.01] * 10


def test_the_time_in_the_queue_does_not_count(pool: Pool) -> None:
    assert pool.map(sleep, [0.1] * 20, 1, task_timeout=0.6) == [0.1] * 20
    results = [pool.apply_async(sleep, (0.1,), task_timeout=0.6) for _ in range(20)]
    assert [result.get(20) for result in results] == [0.1] * 20
    assert pool.map(sleep, [0.1] * 20, 10, task_timeout=0.6) == [0.1] * 20  # each item has its own time


@pytest.mark.parametrize("function", [sleep, swallow], ids=["interrupted", "killed"])
def test_the_neighbours_get_nothing(pool: Pool, function: Callable[[float], Any]) -> None:
    """Others on the same engine, in the same map, and in the same chunk."""
    others = [pool.apply_async(abs, (-i,)) for i in range(20)]
    victim = pool.apply_async(function, (20,), task_timeout=0.3)
    others += [pool.apply_async(abs, (-i,)) for i in range(20)]
    assert [result.get(20) for result in others] == list(range(20)) * 2
    with pytest.raises(TaskTimeout):
        victim.get(20)
    stream = pool.imap(function, [0.0, 0.01, 20.0, 0.02, 0.0], task_timeout=0.3)
    got: list[Any] = []
    for _ in range(5):
        try:
            got.append(next(stream) is not None)
        except TaskTimeout:
            got.append("timeout")
    assert got == [True, True, "timeout", True, True]
    result = pool.map_async(function, [0.0, 20.0, 0.01, 0.0], 4, task_timeout=0.3)
    with pytest.raises(TaskTimeout):
        result.get(20)
    assert result.progress == 4
    assert full(pool)


@pytest.mark.parametrize(
    "how", ["map", "starmap", "imap", "imap_unordered", "map_async", "starmap_async", "apply_async"]
)
def test_on_each_method(pool: Pool, how: str) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "map": lambda: pool.map(sleep, [1000], task_timeout=0.1),
        "starmap": lambda: pool.starmap(sleep, [(1000,)], task_timeout=0.1),
        "imap": lambda: next(pool.imap(sleep, iter([1000]), task_timeout=0.1)),
        "imap_unordered": lambda: next(pool.imap_unordered(sleep, [1000], task_timeout=0.1)),
        "map_async": lambda: pool.map_async(sleep, [1000], task_timeout=0.1).get(20),
        "starmap_async": lambda: pool.starmap_async(sleep, [(1000,)], task_timeout=0.1).get(20),
        "apply_async": lambda: pool.apply_async(sleep, (1000,), task_timeout=0.1).get(20),
    }
    assert overtime(calls[how]) > 0.09


def test_of_the_pool_and_of_the_call() -> None:
    with Pool(1, task_timeout=0.2) as pool:
        overtime(lambda: pool.apply(sleep, (1000,)))
        overtime(lambda: pool.map(sleep, [1000]))
        assert pool.apply(sleep, (0.4,), task_timeout=10) == 0.4
    pool.join()


def test_in_the_background(pool: Pool) -> None:
    """Nobody waits: the time is watched all the same."""
    called = threading.Event()
    pool.apply_async(sleep, (1000,), error_callback=lambda error: called.set(), task_timeout=0.1)
    assert called.wait(20)


def test_an_initializer_that_ignores_ctrl_c() -> None:
    """As many programs do: then the engine is ended."""
    with Pool(1, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        overtime(lambda: pool.apply(sleep, (1000,), task_timeout=0.1))
        assert pool.apply_async(abs, (-1,)).get(10) == 1
    pool.join()


# retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "exit", "segfault"])
def test_without_retries(pool: Pool, how: str) -> None:
    words = {"kill": "SIGKILL", "exit": "exit code 3", "segfault": "SIGSEGV"}
    with pytest.raises(EngineLost, match=words[how]) as caught:
        pool.apply_async(die, (how,)).get(10)
    assert f"die('{how}')" in str(caught.value)
    assert full(pool)


def test_with_a_retry(pool: Pool, tmp_path: Path) -> None:
    assert pool.apply_async(die_once, (str(tmp_path / "1"),), retries=1).get(10) == "alive"
    assert pool.map(die_once, [str(tmp_path / str(i)) for i in range(2, 5)], 1, retries=1) == ["alive"] * 3
    assert list(pool.imap(die_once, iter([str(tmp_path / "6")]), retries=1)) == ["alive"]
    assert pool.starmap(die_once, [(str(tmp_path / "7"), "exit")], retries=2) == ["alive"]
    assert full(pool)


def test_retries_that_are_not_enough(pool: Pool) -> None:
    with pytest.raises(EngineLost):
        pool.apply_async(die, ("exit",), retries=2).get(20)
    assert full(pool)


def test_exceptions_are_no_reason_to_run_again(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        pool.apply(count_and_fail, (str(tmp_path / "count"),), retries=3)
    assert (tmp_path / "count").read_text() == "x"


def count_and_fail(file: str) -> float:
    with open(file, "a") as opened:
        opened.write("x")
    return 1 / 0


def test_the_items_before_and_behind_run_once(pool: Pool, tmp_path: Path) -> None:
    files = [str(tmp_path / str(i)) for i in range(20)]
    stream = pool.imap(functools.partial(count_and_die, 7), enumerate(files), retries=0)
    got = 0
    for number in range(20):
        if number == 7:
            with pytest.raises(EngineLost):
                next(stream)
        else:
            got += next(stream) == number
    assert got == 19
    assert [Path(file).read_text() for file in files] == ["x"] * 20
    assert full(pool)


def count_and_die(bad: int, item: tuple[int, str]) -> int:
    number, file = item
    with open(file, "a") as opened:
        opened.write("x")
    return die_on(bad, number)


def count_and_swallow(file: str) -> str:
    with open(file, "a") as opened:
        opened.write("x")
    return swallow(1000)


def test_of_the_pool_itself(tmp_path: Path) -> None:
    with Pool(1, retries=1) as pool:
        assert pool.apply(die_once, (str(tmp_path / "1"),)) == "alive"
        with pytest.raises(EngineLost):
            pool.apply(die_once, (str(tmp_path / "2"),), retries=0)
    pool.join()


def test_both_at_once(pool: Pool, tmp_path: Path) -> None:
    """The time of a task that runs again begins anew; one over its time does not run again."""
    assert pool.apply_async(die_once, (str(tmp_path / "1"),), retries=1, task_timeout=10).get(20) == "alive"
    runs = tmp_path / "runs"
    with pytest.raises(TaskTimeout):
        pool.apply_async(count_and_swallow, (str(runs),), retries=5, task_timeout=1).get(20)
    assert runs.read_text() == "x"
    assert full(pool)


# maxtasksperchild ---------------------------------------------------------------------------------------------------


def test_with_maxtasksperchild(tmp_path: Path) -> None:
    with Pool(2, maxtasksperchild=3) as pool:
        pids = [pool.apply(os.getpid) for _ in range(12)]
        assert max(map(pids.count, pids)) <= 3
        assert pool.apply(die_once, (str(tmp_path / "1"),), retries=1) == "alive"
        assert pool.map(abs, range(-30, 0), 1) == list(range(30, 0, -1))
        overtime(lambda: pool.apply(sleep, (1000,), task_timeout=0.1))
        assert list(pool.imap(abs, iter(range(30)))) == list(range(30))
    pool.join()
