"""Results in real event loops: awaited, iterated over, and cancelled."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from parpool import CompositeError, Executor, Pool, RemoteError, TaskAborted
from parpool.client.client import Client


def begin(folder: Path, name: str) -> str:
    """Hold the engine until the test has opened the gate."""
    (folder / f"begun-{name}").touch()
    deadline = time.monotonic() + 20
    while not (folder / "open").exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return name


def note(path: Path) -> None:
    path.touch()


def fail(text: str) -> None:
    raise KeyError(text)


def stop() -> None:
    raise StopIteration("from a task")


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


@pytest.fixture(params=[False, True], ids=["loop", "debug"])
def run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Any:
    """Runs a coroutine in a loop of its own, also in debug mode; what the loop complains of fails the test."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        try:
            return asyncio.run(main, debug=request.param)
        finally:
            gc.collect()  # what was never awaited, or an exception that nobody has retrieved, is told now
            slow = [record for record in caplog.records if record.name == "asyncio" and record.levelno >= logging.ERROR]
            assert not slow, [record.getMessage() for record in slow]

    return run


# await --------------------------------------------------------------------------------------------------


def test_await(pool: Pool, rc: Client, run: Any) -> None:
    async def main() -> None:
        assert await pool.apply_async(abs, (-1,)) == 1
        assert await pool.map_async(abs, range(-3, 0)) == [3, 2, 1]
        assert await rc[:].apply_async(abs, -2) == [2, 2]
        assert await rc[0].push({"a": 5}) is None and await rc[0].pull("a", block=False) == 5
        view = rc.load_balanced_view()
        assert await view.map_async(abs, range(-30, 0)) == list(range(30, 0, -1))
        result = view.apply_async(abs, -4)
        assert [await result, await result] == [4, 4], "as often as one likes"

    run(main())


def test_gather_and_wait_for(pool: Pool, rc: Client, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        results = [pool.apply_async(abs, (-n,)) for n in range(50)]
        assert await asyncio.gather(*results) == list(range(50))
        assert (
            await asyncio.gather(rc[0].apply_async(abs, -1), rc[:].apply_async(fail, "x"), return_exceptions=True) != []
        )
        held = pool.apply_async(begin, (tmp_path, "held"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(held, 0.05)
        (tmp_path / "open").touch()
        assert await asyncio.wait_for(pool.apply_async(abs, (-1,)), 20) == 1
        done, pending = await asyncio.wait({asyncio.ensure_future(pool.apply_async(abs, (-n,))) for n in range(3)})
        assert {task.result() for task in done} == {0, 1, 2} and not pending

    run(main())


def test_exceptions(pool: Pool, rc: Client, run: Any) -> None:
    async def main() -> None:
        with pytest.raises(KeyError, match="gone"):
            await pool.apply_async(fail, ("gone",))
        with pytest.raises(RemoteError, match="gone"):
            await rc[0].apply_async(fail, "gone")
        with pytest.raises(CompositeError):
            await rc[:].apply_async(fail, "gone")
        with pytest.raises(RuntimeError, match="StopIteration"):  # a coroutine cannot raise it
            await pool.apply_async(stop)

    run(main())


def test_the_loop_goes_on_meanwhile(pool: Pool, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        held = asyncio.ensure_future(pool.apply_async(begin, (tmp_path, "held")))
        await until((tmp_path / "begun-held").exists)
        assert not held.done()
        (tmp_path / "open").touch()
        assert await held == "held"

    run(main())


def test_one_result_in_two_loops(pool: Pool, tmp_path: Path) -> None:
    result = pool.apply_async(begin, (tmp_path, "one"))
    values: list[Any] = []

    async def main() -> None:
        values.append(await result)

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    (tmp_path / "open").touch()
    for thread in threads:
        thread.join()
    asyncio.run(main())
    assert values == ["one"] * 3


def test_a_loop_that_ends_before_the_result(pool: Pool, run: Any, tmp_path: Path) -> None:
    result = pool.apply_async(begin, (tmp_path, "long"))
    values = pool.imap(abs, [-1])

    async def main() -> None:
        asyncio.ensure_future(result)  # asyncio.run cancels it
        assert [value async for value in values] == [1]
        await until((tmp_path / "begun-long").exists)

    run(main())
    (tmp_path / "open").touch()
    assert result.get(20) == "long", "it had begun"


# Cancelling ---------------------------------------------------------------------------------------------


def test_cancelling_aborts_what_has_not_begun(pool: Pool, rc: Client, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        for view, engines in ((pool, 2), (rc, 2)):
            folder = tmp_path / type(view).__name__
            folder.mkdir()
            submit = view.apply_async if isinstance(view, Pool) else None
            balanced = rc.load_balanced_view()

            def call(f: Any, *args: Any, submit: Any = submit, balanced: Any = balanced) -> Any:
                return submit(f, args) if submit else balanced.apply_async(f, *args)

            running = [call(begin, folder, str(n)) for n in range(engines)]
            awaiting = [asyncio.ensure_future(result) for result in running]
            for n in range(engines):
                await until((folder / f"begun-{n}").exists)
            queued = call(note, folder / "ran")
            task = asyncio.ensure_future(queued)
            await asyncio.sleep(0)
            for each in (task, awaiting[0]):
                each.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await each
            await until(queued.ready)
            with pytest.raises(TaskAborted):
                queued.get()
            (folder / "open").touch()
            assert await running[0] == "0", "one that runs is left alone"
            assert await awaiting[1] == "1"
            assert not (folder / "ran").exists()

    run(main())


def test_a_group_that_fails_takes_the_rest_back(pool: Pool, run: Any, tmp_path: Path) -> None:
    if not hasattr(asyncio, "TaskGroup"):
        pytest.skip("groups of tasks came with Python 3.11")

    async def main() -> None:
        held = [pool.apply_async(begin, (tmp_path, str(n))) for n in range(2)]
        queued = pool.apply_async(note, (tmp_path / "ran",))

        async def wait(result: Any) -> Any:
            return await result

        async def break_down() -> None:
            await until((tmp_path / "begun-1").exists)
            raise LookupError("no more")

        with pytest.raises(ExceptionGroup):  # type: ignore[name-defined]  # noqa: F821
            async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined]
                group.create_task(wait(queued))
                group.create_task(break_down())
        await until(queued.ready)
        (tmp_path / "open").touch()
        assert await asyncio.gather(*held) == ["0", "1"]
        assert not (tmp_path / "ran").exists()

    run(main())


# async for ----------------------------------------------------------------------------------------------


def test_async_for(pool: Pool, rc: Client, run: Any) -> None:
    async def main() -> None:
        for result in (
            pool.map_async(abs, range(-500, 0)),
            pool.imap(abs, range(-500, 0)),
            rc.load_balanced_view().map_async(abs, range(-500, 0)),
            rc[:].map_async(abs, range(-500, 0)),
        ):
            assert [value async for value in result] == list(range(500, 0, -1))
        assert {value async for value in pool.imap_unordered(abs, range(-500, 0))} == set(range(1, 501))
        assert [value async for value in rc[:].apply_async(os.getpid)] == rc[:].apply_sync(os.getpid)
        assert [value async for value in pool.apply_async(abs, (-1,))] == [1]
        assert [value async for value in pool.map_async(abs, [])] == []

    run(main())


def test_values_come_as_they_arrive(pool: Pool, run: Any, tmp_path: Path) -> None:
    def first_or_held(n: int) -> int:
        return n if not n else int(begin(tmp_path, str(n)))

    async def main() -> None:
        values = aiter_(pool.map_async(first_or_held, [0, 1], 1))
        assert await values.__anext__() == 0
        (tmp_path / "open").touch()
        assert await values.__anext__() == 1
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await values.__anext__()

    run(main())


def aiter_(result: Any) -> Any:
    return result.__aiter__()


def test_an_error_comes_in_its_turn(pool: Pool, run: Any) -> None:
    async def main() -> None:
        for result in (pool.imap(abs, [-1, "two", -3]), pool.map_async(abs, [-1, "two", -3], 1)):
            values = aiter_(result)
            assert await values.__anext__() == 1
            with pytest.raises(TypeError):
                await values.__anext__()
            with pytest.raises(StopAsyncIteration):
                await values.__anext__()

    run(main())


def test_many_values_that_are_left(pool: Pool, run: Any) -> None:
    """More than are opened ahead: the thread that brings them must not stay."""

    async def main() -> None:
        async for value in pool.imap(abs, range(5000)):
            if value == 3:
                break

    run(main())
    gc.collect()
    deadline = time.monotonic() + 20
    while any(thread.name == "parpool-values" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_cancelling_an_iteration(pool: Pool, run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        result = pool.map_async(lambda n: begin(tmp_path, str(n)), range(20), 1)

        async def use() -> list[str]:
            return [value async for value in result]

        task = asyncio.ensure_future(use())
        await asyncio.sleep(0)  # so that it waits
        await until(lambda: all((tmp_path / f"begun-{n}").exists() for n in range(2)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (tmp_path / "open").touch()
        await until(result.ready)
        with pytest.raises(TaskAborted):
            result.get()
        assert not (tmp_path / "begun-19").exists()

    run(main())


# Executors ----------------------------------------------------------------------------------------------


def test_the_executor_of_a_loop(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with Executor(2) as executor:
            assert await asyncio.gather(*(loop.run_in_executor(executor, abs, -n) for n in range(20))) == list(
                range(20)
            )
            assert await asyncio.wrap_future(executor.submit(pow, 2, 5)) == 32
            with pytest.raises(KeyError):
                await loop.run_in_executor(executor, fail, "x")

    run(main())
