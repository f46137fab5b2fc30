"""The executors of views: the standard library's contract, and a cancel that can be relied on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import multiprocessing
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from pathlib import Path
from typing import Any

import pytest

from parpool import ForkedError, Pool, RemoteError, SerializationError, TaskAborted
from parpool.client.client import Client
from parpool.client.executor import ViewExecutor
from parpool.errors import CompositeError


@pytest.fixture(params=["balanced", "one engine"])
def executor(rc: Client, request: pytest.FixtureRequest) -> Iterator[ViewExecutor]:
    """Of a load-balanced view, and of one engine: both are to be the standard library's."""
    with (rc.load_balanced_view() if request.param == "balanced" else rc[1]).executor as made:
        yield made


class Gate:
    """Something that tasks wait for: a file, which the test makes."""

    def __init__(self, path: Path) -> None:
        self.path = str(path / "open")
        self.begun = str(path / "begun-")

    def open(self) -> None:
        Path(self.path).touch()

    def wait_until_begun(self, name: str = "task") -> None:
        while not os.path.exists(self.begun + name):
            time.sleep(0.001)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    made.open()


def pass_gate(gate: Gate, name: str = "task", value: Any = None) -> Any:
    Path(gate.begun + name).touch()
    deadline = time.monotonic() + 20
    while not os.path.exists(gate.path):
        if time.monotonic() > deadline:  # the test has failed, and waits for this before it can say so
            raise AssertionError("nobody has opened the gate")
        time.sleep(0.001)
    return value


def note(path: str) -> None:
    Path(path).touch()


def fail(text: str) -> None:
    raise KeyError(text)


def fail_at_two(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


def wait_for_aborts(rc: Client) -> None:
    """Wait until nothing is under way but one call, which waits at a gate."""
    while len(rc.outstanding) > 1:
        time.sleep(0.001)


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content


# submit -------------------------------------------------------------------------------------------------


def test_submit_gives_a_real_future(executor: ViewExecutor) -> None:
    assert isinstance(executor, Executor)
    future = executor.submit(pow, 2, 5)
    assert isinstance(future, Future)
    assert future.result() == 32 and future.exception() is None
    assert future.done() and not future.cancelled() and not future.running()
    assert executor.submit(os.getpid).result() != os.getpid()


def test_every_keyword_is_the_functions_own(executor: ViewExecutor) -> None:
    names = {"fn": 1, "self": 2, "args": 3, "view": 4, "timeout": 5}
    assert executor.submit(dict, **names).result() == names


def test_exceptions_are_set(executor: ViewExecutor) -> None:
    future = executor.submit(fail, "gone")
    error = future.exception()
    assert isinstance(error, KeyError) and isinstance(error, RemoteError)
    with pytest.raises(KeyError, match="gone"):
        future.result()


def test_what_cannot_be_sent_is_the_exception_of_the_future(executor: ViewExecutor) -> None:
    future = executor.submit(abs, threading.Lock())
    assert future.done()
    with pytest.raises(SerializationError):
        future.result()


def test_timeouts(executor: ViewExecutor, gate: Gate) -> None:
    future = executor.submit(pass_gate, gate)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.01)
    gate.open()
    assert future.result() is None


def test_callbacks(executor: ViewExecutor, gate: Gate) -> None:
    called: list[Future[Any]] = []
    told = threading.Event()

    def tell(future: Future[Any]) -> None:
        called.append(future)
        told.set()

    future = executor.submit(pass_gate, gate)
    future.add_done_callback(tell)
    gate.open()
    assert told.wait(20) and called == [future]


def test_wait_and_as_completed(executor: ViewExecutor, gate: Gate) -> None:
    futures = {executor.submit(pow, 2, n): 2**n for n in range(6)}
    for future in concurrent.futures.as_completed(futures):
        assert future.result() == futures[future]
    held = executor.submit(pass_gate, gate)
    done, not_done = concurrent.futures.wait([*futures, held], return_when=concurrent.futures.FIRST_COMPLETED)
    assert held in not_done and done == set(futures)
    gate.open()
    assert not concurrent.futures.wait([held]).not_done


def test_several_engines_give_a_list(rc: Client) -> None:
    with rc[:].executor as executor:
        assert executor.submit(os.getpid).result() == rc[:].apply_sync(os.getpid)
        assert isinstance(executor.submit(fail, "x").exception(), CompositeError)


def test_the_flags_are_the_views(rc: Client, gate: Gate) -> None:
    view = rc.load_balanced_view()
    with view.executor as executor, view.temp_flags(task_timeout=0.05):
        with pytest.raises(TimeoutError):
            executor.submit(pass_gate, gate).result()


def test_asyncio(rc: Client, gate: Gate) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        with rc[0].executor as executor:
            values = await asyncio.gather(*(loop.run_in_executor(executor, pow, 2, n) for n in range(4)))
            held = loop.run_in_executor(executor, pass_gate, gate, "held", 7)
            future = executor.submit(note, gate.begun + "queued")
            queued = asyncio.wrap_future(future)
            await loop.run_in_executor(None, gate.wait_until_begun, "held")
            queued.cancel()
            with pytest.raises(asyncio.CancelledError):
                await queued
            while not future.done():  # asyncio hands the cancellation on in a later round of its loop
                await asyncio.sleep(0)
            gate.open()
            return values, await held

    assert asyncio.run(main()) == ([1, 2, 4, 8], 7)
    assert rc[0].apply_sync(os.path.exists, gate.begun + "queued") is False


# cancel -------------------------------------------------------------------------------------------------


def test_cancelled_calls_never_run(rc: Client, gate: Gate, tmp_path: Path) -> None:
    with rc[0].executor as executor:
        held = executor.submit(pass_gate, gate, value=5)
        paths = [str(tmp_path / str(n)) for n in range(30)]
        futures = [executor.submit(note, path) for path in paths]
        gate.wait_until_begun()
        cancelled = [future.cancel() for future in futures[::2]]
        assert cancelled == [True] * 15
        assert all(future.cancelled() and future.done() and not future.running() for future in futures[::2])
        assert not any(future.done() for future in futures[1::2])
        gate.open()
        assert held.result() == 5
        concurrent.futures.wait(futures)
    with pytest.raises(CancelledError):
        futures[0].result()
    assert [os.path.exists(path) for path in paths] == [False, True] * 15


def test_cancel_of_what_an_engine_holds_already(rc: Client, gate: Gate, tmp_path: Path) -> None:
    with rc[0].executor as executor:
        list(executor.map(note, [str(tmp_path / "x")] * 300))  # so short that many are sent at once
        paths = [str(tmp_path / str(n)) for n in range(30)]
        held = executor.submit(pass_gate, gate)
        futures = [executor.submit(note, path) for path in paths]
        gate.wait_until_begun()
        assert all([future.cancel() for future in futures])
        gate.open()
        held.result()
    assert not any(map(os.path.exists, paths))


def test_a_running_call_cannot_be_cancelled(executor: ViewExecutor, gate: Gate) -> None:
    future = executor.submit(pass_gate, gate, value=5)
    gate.wait_until_begun()
    assert future.running() and not future.done()
    assert future.cancel() is False and future.cancel() is False
    assert future.running() and not future.cancelled()
    gate.open()
    assert future.result() == 5
    assert future.cancel() is False and not future.running()


def test_cancel_tells_everybody_once(rc: Client, gate: Gate) -> None:
    with rc[0].executor as executor:
        executor.submit(pass_gate, gate)
        future = executor.submit(abs, -1)
        called: list[Any] = []
        future.add_done_callback(called.append)
        gate.wait_until_begun()
        waiter = threading.Thread(target=lambda: called.append(concurrent.futures.wait([future])))
        waiter.start()
        assert future.cancel() and future.cancel()
        waiter.join()
        gate.open()
    assert called.count(future) == 1 and len(called) == 2
    assert list(concurrent.futures.as_completed([future])) == [future]


def test_many_threads_cancel_one_future(rc: Client, gate: Gate) -> None:
    with rc[0].executor as executor:
        executor.submit(pass_gate, gate)
        future = executor.submit(abs, -1)
        gate.wait_until_begun()
        said: list[bool] = []
        threads = [threading.Thread(target=lambda: said.append(future.cancel())) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gate.open()
    assert said == [True] * 6 and future.cancelled()


def test_cancel_in_a_callback(rc: Client, gate: Gate) -> None:
    with rc[0].executor as executor:
        said: list[bool] = []
        told = threading.Event()
        second = Gate(Path(gate.path).parent)
        second.path += "-second"
        first = executor.submit(pass_gate, gate, "first")
        executor.submit(pass_gate, second, "second")
        queued = executor.submit(abs, -1)

        def cancel(future: Future[Any]) -> None:
            second.wait_until_begun("second")
            said.append(queued.cancel())
            told.set()

        first.add_done_callback(cancel)
        gate.open()
        assert told.wait(20)
        second.open()
    assert said == [True] and queued.cancelled()


def test_cancel_on_several_engines(rc: Client, gate: Gate, tmp_path: Path) -> None:
    other = Gate(tmp_path)
    other.path += "-other"
    with rc[:].executor as executor:
        rc[0].apply(pass_gate, gate, "one")
        gate.wait_until_begun("one")
        half = executor.submit(os.getpid)  # engine 1 is free: its part will run
        while len([one for one in half.call._arrived()]) < 1:  # type: ignore[attr-defined]
            rc.queue_status()
        assert half.cancel() is False
        rc[1].apply(pass_gate, other, "two")
        other.wait_until_begun("two")
        path = str(tmp_path / "ran")
        both = executor.submit(note, path)
        assert both.cancel() is True
        gate.open()
        other.open()
        assert half.result() == rc[:].apply_sync(os.getpid)
    assert not os.path.exists(path)


def test_an_abort_of_the_client_is_no_cancellation(rc: Client, gate: Gate) -> None:
    with rc[0].executor as executor:
        executor.submit(pass_gate, gate)
        future = executor.submit(abs, -1)
        gate.wait_until_begun()
        rc.abort()
        assert isinstance(future.exception(), TaskAborted) and not future.cancelled()
        gate.open()


# map ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 3, 100])
@pytest.mark.parametrize("buffersize", [None, 1, 4])
def test_map(executor: ViewExecutor, chunksize: int, buffersize: int | None) -> None:
    options: dict[str, Any] = {"chunksize": chunksize, "buffersize": buffersize}
    assert list(executor.map(pow, range(20), [2] * 20, **options)) == [n**2 for n in range(20)]
    assert list(executor.map(pow, iter(range(5)), [2] * 3, **options)) == [0, 1, 4]
    assert list(executor.map(abs, [], **options)) == list(executor.map(abs, **options)) == []


def test_map_deals_out_to_the_engines_of_a_direct_view(rc: Client) -> None:
    pids = rc[:].apply_sync(os.getpid)
    with rc[:].executor as executor:
        got = list(executor.map(lambda n: (n, os.getpid()), range(4)))
    assert got == [(0, pids[0]), (1, pids[1]), (2, pids[0]), (3, pids[1])]


def test_map_submits_at_once_and_reads_all(rc: Client, gate: Gate) -> None:
    read: list[int] = []
    with rc[0].executor as executor:
        values = executor.map(abs, (read.append(n) or n for n in range(10)))
        assert read == list(range(10))
        assert next(values) == 0


def test_map_with_a_buffer_reads_as_values_are_taken(executor: ViewExecutor) -> None:
    read: list[int] = []
    values = executor.map(abs, (read.append(n) or n for n in range(10)), buffersize=3)
    assert read == [0, 1, 2]
    for n in range(10):
        assert next(values) == n
        assert read == list(range(min(n + 4, 10)))
    assert list(values) == []


def test_an_error_of_the_iterable_comes_out_of_map(rc: Client, gate: Gate, tmp_path: Path) -> None:
    path = str(tmp_path / "ran")

    def paths() -> Iterator[str]:
        yield path
        raise LookupError("no more")

    with rc[0].executor as executor:
        executor.submit(pass_gate, gate)
        gate.wait_until_begun()
        with pytest.raises(LookupError, match="no more"):
            executor.map(note, paths())
        wait_for_aborts(rc)
        gate.open()
    assert not os.path.exists(path), "what was submitted is taken back"


@pytest.mark.parametrize("chunksize", [1, 2])
def test_an_error_of_a_task_comes_in_its_turn(executor: ViewExecutor, chunksize: int) -> None:
    values = executor.map(fail_at_two, [0, 1, 2, 3], chunksize=chunksize)
    assert [next(values), next(values)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(values)
    with pytest.raises(StopIteration):
        next(values)


def end_by_error(executor: ViewExecutor, gate: Gate, paths: list[str]) -> None:
    values = executor.map(call_or_note, ["fail", "wait", *paths], [gate] * 99)
    gate.wait_until_begun()
    with pytest.raises(KeyError):
        next(values)


def end_by_timeout(executor: ViewExecutor, gate: Gate, paths: list[str]) -> None:
    values = executor.map(call_or_note, ["wait", *paths], [gate] * 99, timeout=0.05)
    gate.wait_until_begun()
    with pytest.raises(concurrent.futures.TimeoutError):
        next(values)


def end_by_closing(executor: ViewExecutor, gate: Gate, paths: list[str]) -> None:
    values: Any = executor.map(call_or_note, ["pass", "wait", *paths], [gate] * 99)
    gate.wait_until_begun()
    next(values)
    values.close()


def call_or_note(what: str, gate: Gate) -> Any:
    if what == "fail":
        fail("early")
    return pass_gate(gate) if what == "wait" else note(what) if what != "pass" else None


@pytest.mark.parametrize("end", [end_by_error, end_by_timeout, end_by_closing])
def test_the_rest_of_a_map_is_taken_back(
    rc: Client, gate: Gate, tmp_path: Path, end: Callable[[ViewExecutor, Gate, list[str]], None]
) -> None:
    paths = [str(tmp_path / f"item-{n}") for n in range(20)]
    with rc[0].executor as executor:
        end(executor, gate, paths)
        wait_for_aborts(rc)
        gate.open()
    assert not any(map(os.path.exists, paths))


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ValueError, {"chunksize": 0}),
        (ValueError, {"chunksize": 1.5}),
        (ValueError, {"buffersize": 0}),
        (TypeError, {"buffersize": "2"}),
    ],
)
def test_options_that_cannot_be_right(executor: ViewExecutor, error: type[Exception], options: dict[str, Any]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        executor.map(abs, [1], **options)


# shutdown -----------------------------------------------------------------------------------------------


def test_shutdown_waits_and_leaves_the_engines(rc: Client, gate: Gate) -> None:
    executor = rc[0].executor
    future = executor.submit(pass_gate, gate, value=3)
    ended = threading.Event()

    def shut_down() -> None:
        executor.shutdown()
        ended.set()

    thread = threading.Thread(target=shut_down)
    thread.start()
    gate.wait_until_begun()
    assert not ended.is_set()
    gate.open()
    thread.join()
    assert future.done() and future.result() == 3
    for call in (lambda: executor.submit(abs, 1), lambda: executor.map(abs, [1])):
        with pytest.raises(RuntimeError, match="after shutdown"):
            call()
    executor.shutdown()
    assert rc[0].apply_sync(abs, -1) == rc[0].executor.submit(abs, -1).result() == 1


def test_shutdown_without_waiting(rc: Client, gate: Gate) -> None:
    executor = rc[0].executor
    future = executor.submit(pass_gate, gate, value=3)
    executor.shutdown(wait=False)
    assert not future.done()
    gate.open()
    assert future.result() == 3


def test_shutdown_with_cancellation(rc: Client, gate: Gate, tmp_path: Path) -> None:
    executor = rc[0].executor
    held = executor.submit(pass_gate, gate, value=3)
    paths = [str(tmp_path / str(n)) for n in range(10)]
    futures = [executor.submit(note, path) for path in paths]
    gate.wait_until_begun()
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures) and not held.cancelled()
    gate.open()
    executor.shutdown()
    assert held.result() == 3
    assert not any(map(os.path.exists, paths))


def test_shutdown_in_a_callback_waits_for_the_others(rc: Client) -> None:
    """Their callbacks are run by the same thread."""
    executor = rc.load_balanced_view().executor
    futures = [executor.submit(time.sleep, 0.1) for _ in range(5)]
    ended: list[list[bool]] = []
    over = threading.Event()

    def end(_: object) -> None:
        executor.shutdown()
        ended.append([future.done() for future in futures])
        over.set()

    futures[0].add_done_callback(end)
    assert over.wait(20)
    assert ended == [[True] * 5]


def test_a_lazy_map_ends_with_its_executor(rc: Client) -> None:
    executor = rc[0].executor
    values = executor.map(abs, [-1, -2, -3], buffersize=1)
    assert next(values) == 1
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        list(values)


def test_a_lazy_map_whose_function_was_forgotten_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parpool.host.blobs.KEPT", 8)
    with Pool(1) as pool:
        view = pool.client.load_balanced_view()
        values = view.executor.map(str, range(8), chunksize=2, buffersize=1)
        assert next(values) == "0"
        for n in range(30):
            assert view.apply_sync(lambda n=n: n) == n
        assert list(values) == [str(n) for n in range(1, 8)]
    pool.join()


def test_a_pool_that_ends_fails_its_futures(gate: Gate) -> None:
    with Pool(1) as pool:
        executor = pool.client.load_balanced_view().executor
        running, queued = executor.submit(pass_gate, gate), executor.submit(abs, -1)
        gate.wait_until_begun()
    for future in (running, queued):
        assert isinstance(future.exception(), TaskAborted)
        assert future.cancel() is False
    with pytest.raises(BrokenExecutor, match="the pool was terminated"):
        executor.submit(abs, -1)
    with pytest.raises(BrokenExecutor, match="the pool was terminated"):
        executor.map(abs, [-1])
    executor.shutdown()
    pool.join()


def test_a_pool_that_is_closed_takes_no_more() -> None:
    with Pool(1) as pool:
        executor = pool.client.load_balanced_view().executor
        before = executor.submit(abs, -1)
        pool.close()
        with pytest.raises(BrokenExecutor, match="closed"):
            executor.submit(abs, -1)
        assert before.result() == 1
    pool.join()


def test_an_engine_that_dies_fails_its_future_only() -> None:
    with Pool(1) as pool, pool.client.load_balanced_view().executor as executor:
        dead, other = executor.submit(os._exit, 3), executor.submit(abs, -1)
        assert "exit code 3" in str(dead.exception())
        assert other.result() == 1
    pool.join()


def test_a_forked_process_is_told(rc: Client) -> None:
    executor = rc[0].executor

    def in_child() -> None:
        try:
            executor.submit(abs, -1)
        except ForkedError:
            os._exit(7)

    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    child.join()
    assert child.exitcode == 7
    child.close()


# What is kept -------------------------------------------------------------------------------------------


def test_futures_and_values_are_not_kept(rc: Client, gate: Gate) -> None:
    with rc[0].executor as executor:
        future = executor.submit(Box, 1)
        value = weakref.ref(future.result())
        gone = weakref.ref(future)
        executor.submit(abs, -1).result()  # by now the thread that settled the first has let go of it
        del future
        gc.collect()
        assert gone() is None and value() is None


def test_values_of_a_map_are_not_kept(rc: Client) -> None:
    with rc[0].executor as executor:
        for chunksize in (1, 2):
            values = executor.map(Box, range(4), chunksize=chunksize)
            first = weakref.ref(next(values))
            for _ in range(2):
                next(values)
            gc.collect()
            assert first() is None
            assert [box.content for box in values] == [3]


def test_what_nobody_holds_is_waited_for(rc: Client, gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    with rc[0].executor as executor:
        executor.submit(pass_gate, gate)
        executor.submit(note, str(path))
        gc.collect()
        gate.open()
    assert path.exists()


def test_repr(rc: Client) -> None:
    assert repr(rc[0].executor) == "<ViewExecutor on <DirectView 0>>"
    assert rc.executor([1]).view is rc.load_balanced_view([1])
