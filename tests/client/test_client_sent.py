"""When may arguments be changed? What engines got is never changed by what is written after ``sent``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sharing import pool

import parpool
from parpool.shm import files

numpy = pytest.importorskip("numpy")

__all__ = ["pool"]

N = 100_000


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def extremes(a: Any, path: Path | None = None) -> tuple[float, float]:
    if path is not None:
        wait_for(path)
    return float(a.min()), float(a.max())


@pytest.fixture
def busy(pool: parpool.Pool, tmp_path: Path) -> Iterator[Path]:
    """The file that lets the engines go on: until it is there they run nothing else."""
    go = tmp_path / "go"
    held = pool.client[:].apply_async(wait_for, go)
    yield go
    go.touch()
    held.get(60)


@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("size", [10, N])
def test_writing_after_sent_changes_nothing(pool: parpool.Pool, busy: Path, track: bool, size: int) -> None:
    dview, lview = pool.client[:], pool.client.load_balanced_view()
    array, results = numpy.zeros(size), []
    for number in range(12):
        array[:] = number
        view = (dview, lview)[number % 2]
        with view.temp_flags(track=track):
            results.append(view.apply_async(extremes, array))
        assert results[-1].wait_on_send(60) and results[-1].sent
        array[:] = -1
    pushed = dview.push({"tracked": array}, block=False, track=track)
    assert pushed.wait_on_send(60) and pushed.sent
    array[:] = -2
    scattered = dview.scatter("parts", numpy.array(array), block=False, track=track)
    assert scattered.sent
    busy.touch()
    for number, result in enumerate(results):
        expected = (float(number),) * 2
        assert result.get(60) == (expected if number % 2 else [expected] * 2)
    pushed.get(60)
    scattered.get(60)
    assert [extremes(each) for each in dview["tracked"]] == [(-1, -1)] * 2


@pytest.mark.parametrize("face", ["pool", "view", "direct"])
def test_items_of_a_map_may_be_changed_once_all_are_sent(pool: parpool.Pool, busy: Path, face: str) -> None:
    first = lambda a, face=face: float(a[0])  # noqa: E731  one that was never timed: its chunks are short
    items = [numpy.full(20, float(number)) for number in range(40)]
    if face == "pool":
        result: Any = pool.map_async(first, items)
    elif face == "view":
        result = pool.client.load_balanced_view().map_async(first, items)
    else:
        result = pool.client[:].map_async(first, items)
    if face != "direct":
        assert not result.sent, "engines are busy, so not all chunks are cut"
    assert result.wait_on_send() is True and result.sent and not result.ready()
    for item in items:
        item[:] = -1
    busy.touch()
    assert result.get(60) == list(range(40))
    assert result.sent and result.wait_on_send(0)


looked: list[Any] = []  #: the result, and what it says while its items are pickled


class Looking:
    """Looks at the result while it is pickled."""

    def __reduce__(self) -> Any:
        if looked:
            looked.append(looked[0].sent)
        return int, (1,)


@pytest.mark.parametrize("face", ["pool", "view"])
def test_a_map_is_not_sent_while_its_last_chunk_is_pickled(pool: parpool.Pool, busy: Path, face: str) -> None:
    same = lambda number, face=face: number  # noqa: E731
    items = [Looking() for _ in range(30)]
    looked.clear()
    map_async = pool.map_async if face == "pool" else pool.client.load_balanced_view().map_async
    result = map_async(same, items)  # type: ignore[operator]
    looked.append(result)
    assert result.wait_on_send(60)
    assert len(looked) > 20 and not any(looked[1:])
    busy.touch()
    assert result.get(60) == [1] * 30
    looked.clear()


needs_memory = pytest.mark.skipif(not files.possible or not os.path.isdir("/dev/shm"), reason="needs /dev/shm")


@needs_memory
@pytest.mark.parametrize("face", ["pool", "one", "all", "map", "map of a view"])
def test_what_is_not_copied_is_sent_when_the_call_has_ended(pool: parpool.Pool, busy: Path, face: str) -> None:
    array = parpool.share(numpy.zeros(10))
    if face == "pool":
        result: Any = pool.apply_async(extremes, (array,))
    elif face == "map":
        result = pool.map_async(extremes, [array] * 3)
    elif face == "map of a view":
        result = pool.client.load_balanced_view().map_async(extremes, [array] * 3)
    else:
        result = (pool.client[0] if face == "one" else pool.client[:]).apply_async(extremes, array)
    assert not result.sent and result.wait_on_send(0.01) is False and not result.wait_for_send(0)
    if face == "map of a view":
        assert not any(part.sent for part in result.split())
    array[:] = 5  # it is one memory: this is seen
    busy.touch()
    assert result.wait_on_send(60) and result.sent and result.ready()
    value = result.get()
    assert value == (5, 5) or set(value) == {(5.0, 5.0)}
    assert pool.apply_async(extremes, (numpy.asarray(array),)).sent


@needs_memory
def test_a_mapped_file_is_sent_when_the_call_has_ended(pool: parpool.Pool, busy: Path, tmp_path: Path) -> None:
    mapped = numpy.memmap(tmp_path / "file", "f8", "w+", 0, (N,))
    mapped[:] = 1
    results = [pool.apply_async(extremes, (mapped,)), pool.client[0].apply_async(extremes, mapped[5:])]
    assert not any(result.sent for result in results)
    busy.touch()
    assert [result.get(60) for result in results] == [(1, 1)] * 2 and all(result.sent for result in results)
