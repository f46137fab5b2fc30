"""Arrays that are mapped files."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import parpool
from parpool.shm import files
from parpool.wire.envelope import LARGE, borrows, dumps, load, pack, received

numpy = pytest.importorskip("numpy")


class Seen:
    """A receiver that sees this machine's files; buffers go into messages."""

    threshold = LARGE
    watched = True

    def put(self, buffers: Any, lent: bool) -> None:
        return None


def make(tmp_path: Path) -> Any:  # and no fixture, which would keep the file open
    array = numpy.memmap(tmp_path / "file", "f8", "w+", 128, (100, 300))
    array[:] = numpy.arange(30_000.0).reshape(100, 300)
    return array


def payload_of(value: Any, store: Any = None) -> Any:
    return pack(partial(dumps, value), store)


def by_name(value: Any) -> Any:
    payload = payload_of(value, Seen())
    assert borrows(payload) and len(payload) < 1000
    return load(received(bytes(payload), None))


@pytest.mark.parametrize(
    "part",
    [
        lambda a: a,
        lambda a: a[3:90],
        lambda a: a[1:][5:, ::2],
        lambda a: a[::-1, ::-1],
        lambda a: a.T,
        lambda a: a.reshape(-1)[17:29_000],
        lambda a: a.view("i8"),
        lambda a: a.view([("x", "f8"), ("y", "f8")])["y"],
        lambda a: a[:, None, :],
    ],
)
def test_they_travel_by_the_name_of_the_file(tmp_path: Path, part: Any) -> None:
    mapped = make(tmp_path)
    array = part(mapped)
    back = by_name({"deep": [array]})["deep"][0]
    assert type(back) is numpy.memmap and back.dtype == array.dtype
    assert back.shape == array.shape and back.strides == array.strides
    assert numpy.array_equal(back, array)


def test_what_the_receiver_writes_stays_with_it(tmp_path: Path) -> None:
    mapped = make(tmp_path)
    back = by_name(mapped)
    mapped[1, 1] = 7
    assert back[1, 1] == 7, "it is the file"
    back[:] = 0
    assert mapped[1, 1] == 7 and mapped[5, 5] == 1505
    assert not borrows(payload_of(back, Seen())), "what it has changed is in no file"


def test_one_that_only_reads(tmp_path: Path) -> None:
    mapped = make(tmp_path)
    mapped.flush()
    only = numpy.memmap(mapped.filename, "f8", "r", 128, (100, 300))
    back = by_name(only)
    back[0, 0] = 5
    assert only[0, 0] == 0 and numpy.array_equal(back[1:], only[1:])


def test_what_travels_by_value(tmp_path: Path) -> None:
    mapped = make(tmp_path)
    private = numpy.memmap(mapped.filename, "f8", "c", 128, (100, 300))
    private[0, 0] = 99
    small, copy = mapped[:2], mapped + 1
    for array, kind in ((private, numpy.memmap), (small, numpy.memmap), (copy, type(copy))):
        for store in (Seen(), None):
            payload = payload_of(array, store)
            assert not borrows(payload)
            back = load(received(payload, None))
            assert type(back) is kind and numpy.array_equal(back, array) and back.flags.writeable
    far = load(received(payload_of(mapped), None))
    assert type(far) is numpy.memmap and numpy.array_equal(far, mapped)
    os.unlink(mapped.filename)
    gone = payload_of(mapped, Seen())
    assert not borrows(gone) and numpy.array_equal(load(received(gone, None)), mapped)
    assert numpy.array_equal(pickle.loads(pickle.dumps(mapped)), mapped)


@pytest.fixture(scope="module")
def pool() -> Iterator[parpool.Pool]:
    with parpool.Pool(1) as made:
        made.client[:].apply_sync(os.getpid)  # it is there
        yield made
    made.join()


def look(a: Any, b: Any = None) -> tuple[str, float, Any]:
    value = float(a.sum())
    a[...] = 0
    return type(a).__name__, value, str(a.filename)


def echo(a: Any) -> Any:
    return a


@pytest.mark.skipif(not files.possible or not os.path.isdir("/dev/shm"), reason="needs /dev/shm")
def test_to_engines_and_back(pool: parpool.Pool, tmp_path: Path) -> None:
    mapped = make(tmp_path)
    total = float(mapped.sum())
    expected = ("memmap", total, str(mapped.filename))
    assert pool.apply(look, (mapped,)) == expected
    assert pool.apply(look, ([mapped][0],), {"b": mapped}) == expected
    assert pool.map(look, [mapped, mapped]) == [expected] * 2
    assert pool.client[:].apply_sync(look, mapped) == [expected]
    assert mapped.sum() == total
    back = pool.apply(echo, (mapped,))
    os.unlink(mapped.filename)
    assert numpy.array_equal(back, mapped)
    back[:] = 1
