"""Executor: what the standard library's cases do not say. (Those run against it in tests/conformance.)"""

from __future__ import annotations

import concurrent.futures
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from parpool import Cluster, EngineLost, Executor, ForkedError, RemoteError, SerializationError, TaskTimeout


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    """One of two engines."""
    with Executor(2) as made:
        assert len(made._pool.client) == 2  # so that all that they start later on has been started
        made.submit(abs, -1).result()
        yield made


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def begin_and_wait(folder: Path, value: Any = None) -> Any:
    (folder / "begun").touch()
    wait_for(folder / "open")
    return value


def note(path: Path) -> None:
    path.touch()


def fail(text: str) -> None:
    raise KeyError(text)


class NotToBeOpened(Exception):
    """One that cannot be made from its pickle."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(first)


def raise_it() -> None:
    raise NotToBeOpened(1, 2)


# Calls --------------------------------------------------------------------------------------------------


def test_lambdas_closures_and_what_a_pool_can_besides(executor: Executor) -> None:
    offset = 10
    assert executor.submit(lambda x: x + offset, 1).result() == 11
    assert list(executor.map(lambda x, y: x * y + offset, range(5), range(5), chunksize=2)) == [10, 11, 14, 19, 26]


def test_exceptions_are_the_tasks_own(executor: Executor) -> None:
    error = executor.submit(fail, "gone").exception()
    assert type(error) is KeyError and error.args == ("gone",)
    assert type(error.__cause__).__name__ == "_RemoteTraceback" and "KeyError: 'gone'" in str(error.__cause__)


def test_exceptions_of_both_kinds(executor: Executor) -> None:
    assert type(executor.submit(sys.exit, 3).exception()) is SystemExit
    assert type(executor.submit(fail, "x").exception()) is KeyError


def test_an_exception_that_cannot_be_rebuilt(executor: Executor) -> None:
    error = executor.submit(raise_it).exception()
    assert isinstance(error, RemoteError) and error.ename == "NotToBeOpened"


def test_what_cannot_be_sent_is_the_exception_of_the_future(executor: Executor) -> None:
    for call in (lambda: executor.submit(abs, threading.Lock()), lambda: executor.submit(threading.Lock().acquire)):
        error = call().exception()
        assert isinstance(error, SerializationError) and isinstance(error, TypeError)


def test_an_argument_of_a_map_that_cannot_be_sent(executor: Executor) -> None:
    for chunksize in (1, 2):
        values = executor.map(id, [1, threading.Lock()], chunksize=chunksize)
        with pytest.raises(TypeError, match="lock"):
            list(values)


def test_an_engine_that_dies_fails_its_call_only() -> None:
    with Executor(2) as executor:
        dead, others = executor.submit(os._exit, 3), [executor.submit(abs, -n) for n in range(20)]
        error = dead.exception()
        assert isinstance(error, EngineLost) and isinstance(error, BrokenProcessPool) and "exit code 3" in str(error)
        assert [future.result() for future in others] == list(range(20))
        with pytest.raises(BrokenProcessPool):
            list(executor.map(os._exit, [3, 3], chunksize=2))
        assert executor.submit(abs, -1).result() == 1
    assert pickle.loads(pickle.dumps(error)).args == error.args


def test_retries_and_time_limits(tmp_path: Path) -> None:
    with Executor(1, retries=1, task_timeout=20) as executor:

        def die_once(path: Path = tmp_path / "died") -> str:
            if not path.exists():
                path.touch()
                os._exit(1)
            return "survived"

        assert executor.submit(die_once).result() == "survived"
    with Executor(1, task_timeout=0.05) as executor, pytest.raises(TaskTimeout):
        executor.submit(time.sleep, 20).result()


def test_cancel_takes_back_what_has_not_begun(tmp_path: Path) -> None:
    with Executor(1) as executor:
        held = executor.submit(begin_and_wait, tmp_path, 5)
        futures = [executor.submit(note, tmp_path / "ran") for _ in range(3)]
        wait_for(tmp_path / "begun")
        assert [future.cancel() for future in futures] == [True] * 3 and held.cancel() is False
        (tmp_path / "open").touch()
        assert held.result() == 5
        assert concurrent.futures.wait(futures).not_done == set()
    assert not (tmp_path / "ran").exists()


def test_a_map_with_a_buffer_reads_as_values_are_taken(executor: Executor) -> None:
    read: list[int] = []
    values = executor.map(abs, (read.append(n) or n for n in range(10)), buffersize=3)
    assert read == [0, 1, 2]
    assert [next(values), next(values)] == [0, 1] and read == [0, 1, 2, 3, 4]
    assert list(values) == list(range(2, 10))


def test_a_map_that_is_not_in_time(tmp_path: Path) -> None:
    with Executor(1) as executor:
        values = executor.map(begin_and_wait, [tmp_path, tmp_path], timeout=0.05)
        with pytest.raises(concurrent.futures.TimeoutError):
            next(values)
        (tmp_path / "open").touch()


# How it is made -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text", "options"),
    [
        (ValueError, "max_workers must be greater than 0", {"max_workers": 0}),
        (TypeError, "callable", {"initializer": 5}),
        (TypeError, "integer", {"max_tasks_per_child": "1"}),
        (ValueError, ">= 1", {"max_tasks_per_child": 0}),
        (
            ValueError,
            "incompatible",
            {"max_tasks_per_child": 1, "mp_context": multiprocessing.get_context("fork")},
        ),
        (ValueError, "retries", {"retries": -1}),
    ],
)
def test_options_that_cannot_be_right(error: type[Exception], text: str, options: dict[str, Any]) -> None:
    with pytest.raises(error, match=text):
        Executor(**options)


def break_down(text: str) -> None:
    raise LookupError(text)


def test_an_initializer_that_fails_breaks_it() -> None:
    with Executor(1, initializer=break_down, initargs=("no such thing",)) as executor:
        error = executor.submit(abs, -1).exception()
        assert type(error) is BrokenProcessPool and "LookupError: no such thing" in str(error)
        assert type(error.__cause__) is LookupError
        for call in (lambda: executor.submit(abs, -1), lambda: executor.map(abs, [-1])):
            with pytest.raises(BrokenExecutor, match="no such thing"):
                call()
        assert "broken" in repr(executor)


def note_and_break(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    raise LookupError("no such thing")


def test_an_initializer_that_fails_is_not_tried_again_and_again(tmp_path: Path) -> None:
    with Executor(4, initializer=note_and_break, initargs=(tmp_path,)) as executor:
        assert isinstance(executor.submit(abs, -1).exception(), BrokenProcessPool)
    assert len(list(tmp_path.iterdir())) <= 4


def remember(value: str) -> None:
    os.environ["PARPOOL_TEST_EXECUTOR"] = value


def test_a_new_engine_is_initialized_too() -> None:
    with Executor(1, initializer=remember, initargs=("kept",)) as executor:
        executor.submit(os._exit, 1).exception()
        assert executor.submit(os.getenv, "PARPOOL_TEST_EXECUTOR").result() == "kept"


# Its end ------------------------------------------------------------------------------------------------


def test_no_calls_after_the_end() -> None:
    executor = Executor(1)
    executor.shutdown()
    executor.shutdown(wait=False)
    executor.shutdown(cancel_futures=True)
    for call in (lambda: executor.submit(abs, 1), lambda: executor.map(abs, [1])):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            call()
    assert repr(executor) == "<parpool.Executor of 1 engines, shut down>"


@pytest.mark.parametrize("end", [Executor.terminate_workers, Executor.kill_workers])
def test_the_engines_can_be_ended_at_once(tmp_path: Path, end: Callable[[Executor], None]) -> None:
    executor = Executor(1)
    (pid,) = executor._processes
    futures = [executor.submit(begin_and_wait, tmp_path) for _ in range(3)]
    wait_for(tmp_path / "begun")
    end(executor)
    assert ended(pid)
    assert {type(future.exception(20)) for future in futures} == {BrokenProcessPool}
    end(executor)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_engines_end_with_it() -> None:
    with Executor(2) as executor:
        pids = list(executor._processes)
        assert len(pids) == 2
    assert all(map(ended, pids))


def test_without_waiting_it_ends_when_all_is_done(tmp_path: Path) -> None:
    executor = Executor(1)
    future, (pid,) = executor.submit(begin_and_wait, tmp_path, 7), executor._processes
    executor.shutdown(wait=False)
    assert not future.done() and not ended(pid)
    (tmp_path / "open").touch()
    assert future.result() == 7
    until(lambda: ended(pid))
    executor.shutdown()  # waits for the rest


def test_one_that_is_forgotten_ends_when_all_is_done(tmp_path: Path) -> None:
    executor = Executor(1)
    future, (pid,) = executor.submit(begin_and_wait, tmp_path, 7), executor._processes
    values = executor.map(abs, [-1, -2])
    del executor
    gc.collect()
    (tmp_path / "open").touch()
    assert future.result() == 7 and list(values) == [1, 2]
    until(lambda: ended(pid))


def test_a_callback_may_wait_for_other_futures(executor: Executor) -> None:
    found: list[Any] = []
    over = threading.Event()

    def more(_: object) -> None:
        try:
            found.append(executor.submit(abs, -7).result(20))
            found.append(list(executor.map(abs, range(-5, 0), chunksize=2)))
            found.append(type(executor.submit(fail, "x").exception(20)))
            executor.submit(time.sleep, 0.5).result(0.01)
        except BaseException as error:
            found.append(type(error))
        over.set()

    executor.submit(time.sleep, 0.05).add_done_callback(more)
    assert over.wait(20)
    assert found == [7, [5, 4, 3, 2, 1], KeyError, concurrent.futures.TimeoutError]


def test_shutdown_in_a_callback(tmp_path: Path) -> None:
    executor = Executor(1)
    over = threading.Event()
    future, (pid,) = executor.submit(begin_and_wait, tmp_path), executor._processes

    def end(_: object) -> None:
        executor.shutdown()
        over.set()

    future.add_done_callback(end)
    (tmp_path / "open").touch()
    assert over.wait(20)
    until(lambda: ended(pid))
    executor.shutdown()


def test_a_forked_process_is_told(tmp_path: Path) -> None:
    with Executor(1) as executor:
        future = executor.submit(begin_and_wait, tmp_path, 3)

        def in_child() -> None:
            try:
                executor.submit(abs, -1)
            except ForkedError:
                executor.shutdown(cancel_futures=True)  # it does not wait: nothing would ever come
                os._exit(7)

        child = multiprocessing.get_context("fork").Process(target=in_child)
        child.start()
        child.join()
        assert child.exitcode == 7
        child.close()
        (tmp_path / "open").touch()
        assert future.result() == 3 and executor.submit(abs, -1).result() == 1, "and here it serves on"


@pytest.mark.once
def test_on_the_engines_of_a_cluster() -> None:
    with Cluster(2) as rc:
        with Executor(client=rc, initializer=remember, initargs=("kept",)) as executor:
            assert list(executor.map(abs, range(-20, 0), chunksize=3)) == list(range(20, 0, -1))
            assert executor.submit(os.getenv, "PARPOOL_TEST_EXECUTOR").result() == "kept"
            assert type(executor.submit(fail, "x").exception()) is KeyError
            assert "of 2 engines" in repr(executor)
        executor = Executor(client=rc)
        future = executor.submit(abs, -1)
        executor.shutdown(wait=False)
        assert future.result() == 1
        executor.shutdown()
        assert rc[:].apply_sync(abs, -1) == [1, 1], "they serve on"


@pytest.mark.parametrize("end", ["", "executor.shutdown(wait=False)", "del executor"])
def test_the_interpreter_ends_when_all_is_done(tmp_path: Path, end: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from parpool import Executor\n"
        "def say(text):\n"
        "    time.sleep(0.1)\n"
        "    print(text, flush=True)\n"
        "executor = Executor(1)\n"
        "executor.submit(say, 'first')\n"
        "executor.submit(say, 'second')\n"
        f"{end}\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=50)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["first", "second"], "", 0)
