"""AsyncResult: the stdlib's, IPython's and a future's ways to look at one call."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import multiprocessing.pool
import os
import pickle
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from parpool import AsyncResult, Pool, TaskAborted


def fail(text: str) -> None:
    raise ValueError(text)


def sleep_and_give(seconds: float, value: Any = None) -> Any:
    time.sleep(seconds)
    return value


class Slow:
    """Takes a while to open, in Python code: others come in between."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        sum(range(50))


def make_slow(number: int) -> list[Slow]:
    return [Slow(number)] * 3


class CannotBeOpened:
    def __setstate__(self, state: Any) -> None:
        raise LookupError("not here")

    def __getstate__(self) -> Any:
        return 1


def make_one_that_cannot_be_opened(x: object) -> CannotBeOpened:
    return CannotBeOpened()


def caught(result: AsyncResult) -> BaseException:
    with pytest.raises(BaseException) as info:  # noqa: B017
        result.get(20)
    return info.value


# The stdlib's ------------------------------------------------------------------------------------------


def test_the_stdlib_s_four(pool: Pool) -> None:
    result = pool.apply_async(sleep_and_give, (0.2, 5))
    assert isinstance(result, AsyncResult)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0.01)
    assert result.wait(0.01) is None
    assert result.get() == result.get() == 5
    assert result.ready() and result.successful()


def test_an_error_is_the_same_each_time(pool: Pool) -> None:
    result = pool.apply_async(fail, ("x",))
    result.wait()
    assert result.ready() and not result.successful()
    assert caught(result) is caught(result)


def test_timeouts_of_every_size(pool: Pool) -> None:
    for timeout in (0, 0.0, -1, 1e-9):
        with pytest.raises(multiprocessing.TimeoutError):
            pool.apply_async(time.sleep, (0.2,)).get(timeout)
    for timeout in (1e6, 1e9, float("inf")):
        assert pool.apply_async(sleep_and_give, (0.02, 1)).get(timeout) == 1


# IPython's ---------------------------------------------------------------------------------------------


def test_r_and_result(pool: Pool) -> None:
    assert pool.apply_async(abs, (-3,)).r == 3
    assert pool.apply_async(abs, (-3,)).result == 3
    with pytest.raises(ValueError, match="x"):
        pool.apply_async(fail, ("x",)).r  # noqa: B018
    assert "r" not in dir(pool.apply_async(abs, (-1,)))


KEYS = [
    "msg_id",
    "submitted",
    "started",
    "completed",
    "received",
    "engine_id",
    "engine_uuid",
    "after",
    "follow",
    "status",
    "stdout",
    "stderr",
]


def test_metadata_of_a_call(pool: Pool) -> None:
    before = datetime.now(timezone.utc)
    result = pool.apply_async(sleep_and_give, (0.1,))
    pending = result.metadata
    assert list(pending) == KEYS
    assert pending["status"] == "pending" or result.ready()
    assert pending["submitted"].tzinfo is timezone.utc
    result.wait()
    data = result.metadata
    assert list(data) == KEYS
    slack = timedelta(milliseconds=5)  # a clock may have been set between two looks at it
    times = [
        before,
        *(data[key] for key in ("submitted", "started", "completed", "received")),
        datetime.now(timezone.utc),
    ]
    assert all(one <= other + slack for one, other in zip(times, times[1:], strict=False)), times
    assert data["completed"] - data["started"] >= timedelta(seconds=0.09)
    assert data["engine_id"] in pool.client.ids and isinstance(data["engine_uuid"], str)
    assert data["status"] == "ok" and data["after"] == data["follow"] == []
    assert data["stdout"] == data["stderr"] == ""
    assert [data["msg_id"]] == result.msg_ids and isinstance(data["msg_id"], str)


def test_metadata_of_a_map(pool: Pool) -> None:
    result = pool.map_async(abs, range(-10, 0), 3)
    result.wait()
    assert len(result.metadata) == len(result.msg_ids) == 4
    assert [data["msg_id"] for data in result.metadata] == result.msg_ids
    for data in result.metadata:
        assert list(data) == KEYS and data["status"] == "ok"
        assert data["submitted"] <= data["received"]


def test_metadata_of_failures(pool: Pool) -> None:
    failed = pool.apply_async(fail, ("x",))
    failed.wait()
    assert failed.metadata["status"] == "error" and failed.metadata["engine_id"] is not None
    refused = pool.apply_async(abs, (threading.Lock(),))
    refused.wait()
    assert refused.metadata["status"] == "error"
    assert refused.metadata["started"] is None and refused.metadata["engine_id"] is None
    assert refused.serial_time == 0.0 and refused.elapsed >= 0
    assert failed.progress == refused.progress == 1


def test_names_are_unique(pool: Pool) -> None:
    results = [pool.apply_async(abs, (-1,)) for _ in range(50)]
    names = [name for result in results for name in result.msg_ids]
    assert len(set(names)) == 50
    for result in results:
        result.wait()


def test_times_and_progress(pool: Pool) -> None:
    result = pool.map_async(time.sleep, [0.1] * 4, 1)
    first = result.elapsed
    assert 0 <= first and len(result) == 4 and bool(result)
    deadline = time.monotonic() + 10
    while result.progress < 2 and time.monotonic() < deadline:
        result.wait(0.01)
    assert 2 <= result.progress <= 4 or result.ready()
    result.wait()
    assert result.progress == 4
    assert 0.38 < result.serial_time < 5
    assert 0.19 < result.wall_time < 5
    assert result.elapsed == result.elapsed == result.wall_time >= first


def test_repr(pool: Pool) -> None:
    result = pool.apply_async(sleep_and_give, (0.1,))
    assert "sleep_and_give" in repr(result) and "pending" in repr(result)
    result.wait()
    assert "ready" in repr(result)
    failed = pool.map_async(fail, ["x"])
    failed.wait()
    assert "fail" in repr(failed) and "failed" in repr(failed)
    assert result.__class__.__name__ in repr(result)


def test_it_cannot_be_pickled(pool: Pool) -> None:
    for result in (pool.apply_async(abs, (-1,)), pool.map_async(abs, [-1])):
        with pytest.raises(NotImplementedError):
            pickle.dumps(result)
        result.wait()


def test_iteration(pool: Pool) -> None:
    assert list(pool.map_async(abs, [-1, -2, -3])) == [1, 2, 3]
    assert list(pool.map_async(abs, range(-300, 0))) == list(range(300, 0, -1))
    assert list(pool.apply_async(abs, (-1,))) == [1]
    assert list(pool.map_async(abs, [])) == []
    ended = pool.map_async(abs, [-1, -2, -3], 1)
    ended.wait()
    assert list(ended) == list(ended) == [1, 2, 3] == ended.get()


def wait_until_there(path: str, note: str = "") -> None:
    if note:
        with open(note, "a") as file:
            file.write("x")
    while not os.path.exists(path):
        time.sleep(0.005)


def test_iteration_as_they_arrive(pool: Pool, tmp_path: Path) -> None:
    late, there = tmp_path / "late", str(tmp_path)
    result = pool.map_async(wait_until_there, [there, str(late), there], 1)
    values = iter(result)
    next(values)
    assert not result.ready()
    late.touch()
    assert list(values) == [None, None]
    assert result.ready()


def test_iteration_over_a_failure(pool: Pool) -> None:
    values = iter(pool.map_async(int, ["1", "x"], 1))
    with pytest.raises(ValueError, match="'x'"):
        list(values)


def test_generic(pool: Pool) -> None:
    assert AsyncResult[int]
    result: AsyncResult = pool.apply_async(abs, (-1,))
    assert result.get() == 1


# Callbacks --------------------------------------------------------------------------------------------------


def test_a_done_callback_before_the_end(pool: Pool) -> None:
    called: list[Any] = []
    result = pool.apply_async(sleep_and_give, (0.1, 5))
    result.add_done_callback(lambda r: called.append((r is result, r.done(), r.get())))
    assert not called and not result.done()
    deadline = time.monotonic() + 10
    while not called and time.monotonic() < deadline:
        time.sleep(0.005)
    assert called == [(True, True, 5)]


def test_a_done_callback_after_the_end(pool: Pool) -> None:
    called: list[str] = []
    result = pool.apply_async(abs, (-1,))
    result.wait()
    result.add_done_callback(lambda r: called.append(threading.current_thread().name))
    assert called == [threading.current_thread().name]


def test_done_callbacks_of_failures(pool: Pool) -> None:
    for result in (
        pool.apply_async(fail, ("x",)),
        pool.apply_async(abs, (threading.Lock(),)),
        pool.map_async(fail, ["x"]),
    ):
        called = threading.Event()
        result.add_done_callback(lambda r: called.set())  # noqa: B023
        assert called.wait(10)


def test_done_callbacks_that_race_with_the_end(pool: Pool) -> None:
    """Each is called exactly once, whenever it comes."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        counts: list[list[int]] = []
        for _ in range(300):
            count: list[int] = []
            counts.append(count)
            result = pool.apply_async(abs, (-1,))
            for _ in range(5):
                result.add_done_callback(lambda r, count=count: count.append(r.get()))  # type: ignore[misc]
        deadline = time.monotonic() + 10
        while any(len(count) < 5 for count in counts) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        sys.setswitchinterval(interval)
    time.sleep(0.05)
    assert counts == [[1] * 5] * 300


def test_done_callbacks_from_many_threads(pool: Pool) -> None:
    result = pool.apply_async(sleep_and_give, (0.15, 1))
    called: list[int] = []

    def add(number: int) -> None:
        for _ in range(200):
            result.add_done_callback(lambda r: called.append(number))

    threads = [threading.Thread(target=add, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.wait()
    deadline = time.monotonic() + 5
    while len(called) < 800 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(called) == 800


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_callbacks_that_raise_are_told_and_stop_nothing(pool: Pool) -> None:
    told: list[Any] = []
    called: list[Any] = []
    hook, threading.excepthook = threading.excepthook, lambda args: told.append(str(args.exc_value))
    try:
        result = pool.apply_async(sleep_and_give, (0.05, 5), callback=lambda value: 1 / 0)
        result.add_done_callback(lambda r: fail("first"))
        result.add_done_callback(lambda r: called.append(r.get()))
        assert result.get(10) == 5
        other = pool.apply_async(abs, (-1,), callback=called.append)
        other.wait(10)
        deadline = time.monotonic() + 5
        while len(called) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        threading.excepthook = hook
    assert called == [5, 1]
    assert sorted(told) == ["division by zero", "first"]


def test_callbacks_come_before_ready(pool: Pool) -> None:
    ready: list[bool] = []
    result = pool.apply_async(sleep_and_give, (0.02, 1), callback=lambda value: ready.append(result.ready()))
    result.wait()
    assert ready == [False]


def test_a_callback_may_use_the_pool(pool: Pool) -> None:
    got: list[int] = []
    done = threading.Event()

    def follow(value: int) -> None:
        got.append(pool.apply(abs, (-value - 1,)))
        pool.apply_async(abs, (-9,), callback=lambda value: (got.append(value), done.set()))

    pool.apply_async(abs, (-1,), callback=follow)
    assert done.wait(10)
    assert got == [2, 9]


# Futures and coroutines -------------------------------------------------------------------------------------


def test_a_callback_may_wait_for_several_results_as_one(pool: Pool) -> None:
    """Their ends are told by whoever brings them, and not by the callbacks' thread, which waits."""
    values: list[Any] = []
    over = threading.Event()

    def wait(_: object) -> None:
        try:
            parts = [pool.apply_async(sleep_and_give, (0.05, n)) for n in range(3)]
            values.append(parts[0].join(*parts[1:], parts[0]).get(10))
        finally:
            over.set()

    pool.apply_async(sleep_and_give, (0.2,), callback=wait)
    assert over.wait(20)
    assert values == [[0, 1, 2, 0]]


def test_future(pool: Pool) -> None:
    future = pool.apply_async(sleep_and_give, (0.05, 5)).future()
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(10) == 5
    error = pool.apply_async(fail, ("x",)).future().exception(10)
    assert isinstance(error, ValueError)
    futures = [pool.apply_async(abs, (-i,)).future() for i in range(20)]
    done, left = concurrent.futures.wait(futures, 10)
    assert not left and sorted(f.result() for f in done) == list(range(20))
    assert pool.map_async(abs, [-1, -2]).future().result(10) == [1, 2]
    ended = pool.apply_async(abs, (-1,))
    ended.wait()
    assert ended.future().result(0) == 1


def test_cancel_of_a_future(pool: Pool) -> None:
    running = [pool.apply_async(time.sleep, (0.4,)) for _ in range(2)]
    queued = pool.apply_async(abs, (-1,))
    future = queued.future()
    assert future.cancel()
    with pytest.raises(TaskAborted):
        queued.get(10)
    assert future.cancelled()
    for result in running:
        result.get(10)


def test_await(pool: Pool) -> None:
    async def use() -> list[Any]:
        first = await pool.apply_async(sleep_and_give, (0.05, 1))
        rest = await asyncio.gather(*(wrap(pool.apply_async(abs, (-i,))) for i in range(5)))
        values = await pool.map_async(abs, [-1, -2])
        with pytest.raises(ValueError, match="x"):
            await pool.apply_async(fail, ("x",))
        ended = pool.apply_async(abs, (-7,))
        ended.wait()
        return [first, rest, values, await ended, await ended]

    async def wrap(result: AsyncResult) -> Any:
        return await result

    assert asyncio.run(use()) == [1, [0, 1, 2, 3, 4], [1, 2], 7, 7]


def test_the_event_loop_goes_on_meanwhile(pool: Pool) -> None:
    async def use() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.ensure_future(tick())
        await pool.apply_async(time.sleep, (0.3,))
        ticking.cancel()
        return ticks

    assert asyncio.run(use()) > 5


def test_a_cancelled_await_aborts_what_has_not_begun(pool: Pool) -> None:
    async def use() -> tuple[AsyncResult, AsyncResult]:
        running = [pool.apply_async(sleep_and_give, (0.4, 1)) for _ in range(2)]
        queued = pool.apply_async(abs, (-1,))

        async def wait(result: AsyncResult) -> Any:
            return await result

        for result in (queued, running[0]):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(wait(result), 0.05)
        await running[1]
        return queued, running[0]

    queued, running = asyncio.run(use())
    with pytest.raises(TaskAborted):
        queued.get(10)
    assert running.get(10) == 1  # what runs goes on


# Abort ----------------------------------------------------------------------------------------------------------


def test_abort(pool: Pool) -> None:
    running = [pool.apply_async(sleep_and_give, (0.3, 1)) for _ in range(2)]
    queued = [pool.apply_async(abs, (-i,)) for i in range(5)]
    time.sleep(0.05)
    for result in queued:
        result.abort()
    for result in queued:
        assert isinstance(caught(result), TaskAborted)
        assert result.metadata["status"] == "aborted"
        assert "abs(" in str(caught(result))
    for result in running:
        result.abort()  # too late
        assert result.get(10) == 1
        result.abort()
    assert pool.apply(abs, (-1,)) == 1


def test_abort_of_a_map(pool: Pool, tmp_path: Path) -> None:
    gate, note = tmp_path / "gate", tmp_path / "note"
    result = pool.starmap_async(wait_until_there, [(str(gate), str(note))] * 100, 1)
    while not note.exists():
        time.sleep(0.005)
    result.abort()
    gate.touch()
    assert isinstance(caught(result), TaskAborted)
    result.wait()
    assert pool.apply(abs, (-1,)) == 1
    assert 1 <= len(note.read_text()) < 20, "what had begun, or was about to"


def test_abort_of_what_was_never_sent(pool: Pool) -> None:
    result = pool.apply_async(abs, (threading.Lock(),))
    result.wait()
    result.abort()
    assert isinstance(caught(result), TypeError)


# Many threads --------------------------------------------------------------------------------------------------------


def test_many_threads_wait_for_one_result(pool: Pool) -> None:
    result = pool.apply_async(sleep_and_give, (0.2, [1]))
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(result.get(20))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert got == [[1]] * 12
    assert all(value is got[0] for value in got)


@pytest.mark.parametrize("how", ["apply_async", "map_async"])
def test_many_threads_open_one_result(pool: Pool, how: str) -> None:
    """At the same moment: each gets the value, and the same one."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    wrong: list[Any] = []
    try:
        for round in range(40):
            if how == "apply_async":
                result = pool.apply_async(make_slow, (round,))
            else:
                result = pool.map_async(make_slow, range(60), 5)
            result.wait()
            barrier = threading.Barrier(4)
            values: list[Any] = []

            def get() -> None:
                barrier.wait()  # noqa: B023
                try:
                    values.append(result.get())  # noqa: B023
                except BaseException as error:
                    wrong.append(repr(error))  # noqa: B023

            threads = [threading.Thread(target=get) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            wrong += ["another object" for value in values if value is not values[0]]
    finally:
        sys.setswitchinterval(interval)
    assert not wrong, (len(wrong), wrong[:3])


def test_waiting_and_submitting_in_many_threads(pool: Pool) -> None:
    wrong: list[Any] = []

    def use(number: int) -> None:
        try:
            for i in range(30):
                if pool.apply_async(sleep_and_give, (0.0005 * (i % 3), (number, i))).get(20) != (number, i):
                    wrong.append((number, i))
                if pool.map(abs, [-number, -i]) != [number, i]:
                    wrong.append((number, i))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=use, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert not wrong


# What cannot be opened ----------------------------------------------------------------------------------------------


def test_a_value_that_cannot_be_opened_is_that_result_s_error(pool: Pool) -> None:
    bad = pool.apply_async(make_one_that_cannot_be_opened, (0,))
    good = pool.apply_async(abs, (-1,))
    assert isinstance(caught(bad), LookupError) and isinstance(caught(bad), LookupError)
    assert good.get() == 1
    assert isinstance(caught(pool.map_async(make_one_that_cannot_be_opened, [1, 2])), LookupError)
    called: list[Any] = []
    result = pool.apply_async(
        make_one_that_cannot_be_opened, (0,), callback=called.append, error_callback=called.append
    )
    result.wait(10)
    assert [type(value) for value in called] == [LookupError]


def test_results_outlive_the_pool() -> None:
    with Pool(1) as pool:
        ended = pool.apply_async(abs, (-1,))
        mapped = pool.map_async(abs, [-1, -2])
        ended.wait()
        mapped.wait()
        unended = pool.apply_async(time.sleep, (20,))
    pool.join()
    assert ended.get() == 1 and mapped.get() == [1, 2] and list(mapped) == [1, 2]
    assert isinstance(caught(unended), TaskAborted)
    assert unended.metadata["status"] == "aborted" and ended.metadata["status"] == "ok"
    ended.abort()
    unended.abort()
    assert ended.future().result(1) == 1
