"""What else has buffers: bytes and their like, pandas, pyarrow."""

from __future__ import annotations

import array
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import parpool
from parpool.wire.envelope import MARK, Opened, dumps, pack, received

numpy = pytest.importorskip("numpy")


def echo(a: Any) -> Any:
    return a


def content(view: memoryview) -> tuple[str, str, tuple[int, ...], list[Any]]:
    return type(view).__name__, view.format, view.shape, view.tolist()


@pytest.fixture(scope="module")
def pool() -> Iterator[parpool.Pool]:
    with parpool.Pool(2) as made:
        made.client[:].apply_sync(os.getpid)  # both are there
        yield made
    made.join()


BUFFERS: list[Any] = [
    b"x" * 300_000,
    bytearray(b"y" * 300_000),
    array.array("d", [1.5]) * 40_000,
    array.array("b", b"z" * 300_000),
]


@pytest.mark.parametrize("value", BUFFERS, ids=lambda value: f"{type(value).__name__}-{len(value)}")
def test_what_has_buffers(pool: parpool.Pool, value: Any) -> None:
    for back in (
        pool.apply(echo, (value,)),
        pool.map(echo, [value])[0],
        pool.client[:].apply_sync(echo, value)[1],
        pool.apply(echo, ({"deep": ((value,),)},))["deep"][0][0],
    ):
        assert type(back) is type(value) and bytes(back) == bytes(value)
        if type(back) is not bytes:
            back[0] = back[1]  # it can be written to


WORDS: list[Any] = ["__main__", "parpool", b"parpool.wire.byvalue", MARK, MARK + b"x" * 300_000, "memmap" * 50_000]


@pytest.mark.parametrize("value", WORDS, ids=lambda value: f"{type(value).__name__}-{len(value)}")
def test_what_only_reads_like_what_goes_another_way(pool: parpool.Pool, value: Any) -> None:
    assert pool.apply(echo, (value,)) == value and pool.apply(echo, (), {"a": value}) == value
    assert pool.apply(echo, ([value, None, 2.5],)) == [value, None, 2.5]
    assert pool.map(echo, [value, 1]) == [value, 1] and pool.client[:].apply_sync(echo, value) == [value, value]


def length_at_the_second_try(data: bytes, path: str) -> int:
    if not os.path.exists(path):
        open(path, "w").close()
        os._exit(1)
    return len(data)


def test_large_bytes_are_there_for_another_try(tmp_path: Path) -> None:
    with parpool.Pool(1) as own:
        made = own.apply_async(length_at_the_second_try, (b"x" * 3_000_000, str(tmp_path / "tried")), retries=1)
        assert made.get(30) == 3_000_000


VIEWS = {
    "bytes": memoryview(b"abc"),
    "large": memoryview(bytearray(300_000)),
    "numbers": memoryview(array.array("d", [1.5, 2.5])),
    "large numbers": memoryview(array.array("i", range(50_000))),
    "empty": memoryview(b""),
    "no numbers": memoryview(array.array("d")),
    "strided": memoryview(bytes(range(100)))[::3],
    "large and strided": memoryview(array.array("h", range(30_000)) * 4)[::-2],
    "table": memoryview(bytes(range(24))).cast("B", (4, 6)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_memoryviews_to_engines(pool: parpool.Pool, name: str) -> None:
    view = VIEWS[name]
    assert pool.apply(content, (view,)) == content(view)
    assert pool.client[0].apply_sync(content, view) == content(view)
    assert pool.map(content, [view, view]) == [content(view)] * 2
    assert pool.apply(lambda deep: content(deep[0]["x"]), ([{"x": view}],)) == content(view)


def test_memoryviews_from_engines(pool: parpool.Pool) -> None:
    back = pool.client[0].apply_sync(lambda n: memoryview(bytearray(n)), 300_000)
    assert type(back) is memoryview and len(back) == 300_000
    back[0] = 1


def apart(value: Any) -> int:
    """Bytes of the buffers of a value that are not in its pickle."""
    pickled = pack(partial(dumps, [{"deep": value}]), None)
    assert pickled.startswith(MARK)
    opened = received(bytes(pickled), None)
    assert isinstance(opened, Opened)
    return sum(memoryview(buffer).nbytes for buffer in opened.buffers)


def test_dates_of_numpy(pool: parpool.Pool) -> None:
    """As large as numbers, and no slower: what both ways of a call, maps and views take."""
    for dates in (numpy.arange(50_000).astype("M8[s]"), numpy.arange(50_000).astype("m8[ms]")):
        for back in (
            pool.apply(echo, (dates,)),
            pool.map(echo, [dates])[0],
            pool.apply(echo, ({"deep": ((dates,),)},))["deep"][0][0],
            pool.apply(lambda a: a.copy(), (dates,)),
            next(pool.imap(echo, iter([dates]))),
            pool.client[0].apply_sync(echo, dates),
        ):
            assert back.dtype == dates.dtype and (back == dates).all()
            back[0] = back[1]  # it can be written to
        pool.client[:].scatter("dates", dates)
        assert (pool.client[:].gather("dates").get(20) == dates).all()


def test_frames_of_pandas(pool: parpool.Pool) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "a": numpy.arange(50_000.0),
            "b": numpy.arange(50_000),
            "c": pandas.date_range("2000", periods=50_000, freq="min"),
            "d": pandas.Categorical(["x", "y"] * 25_000),
            "e": ["text", None] * 25_000,
        }
    )
    assert apart(frame) >= 3 * 8 * 50_000, "not in the pickle"
    for value in (frame, frame.set_index("c"), frame["a"], frame.T.T, frame.groupby("d", observed=True)["a"].sum()):
        back = pool.apply(echo, (value,))
        assert type(back) is type(value) and back.equals(value)
    back = pool.apply(lambda f: f.assign(a=f.a * 2), (frame,))
    back.iloc[0, 0] = 5  # it can be written to
    assert back.a.sum() == frame.a.sum() * 2 + 5


def test_tables_of_pyarrow(pool: parpool.Pool) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": numpy.arange(50_000.0), "b": ["text", None] * 25_000, "c": [[1, 2], []] * 25_000})
    assert apart(table) >= 8 * 50_000
    for value in (table, table["a"], table.to_batches()[0], table["b"].chunk(0), table.slice(5, 40_000)):
        back = pool.apply(echo, (value,))
        assert type(back) is type(value) and back.equals(value)
    assert pool.apply(echo, (pyarrow.py_buffer(b"x" * 300_000),)).to_pybytes() == b"x" * 300_000
