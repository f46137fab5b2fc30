"""Payloads whose buffers travel apart: sealed into memory of one's own making, and opened again."""

from __future__ import annotations

import array
import ctypes
import gc
import pickle
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from parpool.errors import SerializationError
from parpool.wire import envelope, joined
from parpool.wire.envelope import (
    LARGE,
    MARK,
    Apart,
    Large,
    Opened,
    Unopened,
    any_in,
    dumps,
    load,
    only_small,
    pack,
    received,
)
from parpool.wire.functions import FunctionBook

numpy = pytest.importorskip("numpy")


class Shelf:
    """Memory that both sides can see, as it is one process."""

    def __init__(self, threshold: int | None = 1000, room: bool = True) -> None:
        self.threshold = threshold
        self.room = room
        self.watched = True
        self.content: list[bytearray] = []
        self.lent: list[bool] = []

    def put(self, buffers: Sequence[memoryview], lent: bool) -> Any:
        if not self.room:
            return None
        memory, offsets = bytearray(), []
        for buffer in buffers:
            offsets.append(len(memory))
            memory += buffer
        self.content.append(memory)
        self.lent.append(lent)
        return Shelved(("somewhere", len(self.content) - 1, 7, offsets))

    def take(self, path: str, slot: int, generation: int, size: int) -> memoryview:
        assert (path, generation) == ("somewhere", 7) and size <= len(self.content[slot])
        return memoryview(self.content[slot])


class Shelved:
    def __init__(self, where: tuple[str, int, int, list[int]]) -> None:
        self.where = where

    def hold(self, packed: bytes) -> Any:
        return packed


def travel(value: Any, shelf: Shelf | None) -> Any:
    payload = pack(partial(dumps, value), shelf)
    return load(received(payload, None if shelf is None else shelf.take))


ARRAYS = {
    "floats": numpy.arange(10_000.0),
    "few": numpy.arange(3.0),
    "none": numpy.empty(0),
    "fortran": numpy.asfortranarray(numpy.arange(12_000.0).reshape(100, 120)),
    "strided": numpy.arange(20_000.0)[::2],
    "transposed": numpy.arange(20_000.0).reshape(100, 200).T,
    "structured": numpy.zeros(9000, [("a", "i4"), ("b", "f8")]),
    "text": numpy.array(["abc", "de"] * 9000),
    "dates": numpy.arange("2000-01-01", "2002-01-01", dtype="datetime64[D]"),
    "objects": numpy.array([{"a": 1}, None, "x"] * 100, dtype=object),
    "zero-dimensional": numpy.array(5),
    "complex": numpy.arange(9000) * 1j,
    "big-endian": numpy.arange(10_000, dtype=">i8"),
    "backwards": numpy.arange(10_000.0)[::-1],
    "broadcast": numpy.broadcast_to(numpy.arange(100.0), (100, 100)),
    "fortran and strided": numpy.asfortranarray(numpy.arange(40_000.0).reshape(100, 400))[:, ::3],
    "aligned structured": numpy.zeros(9000, numpy.dtype([("a", "i1"), ("b", "f8"), ("c", "S3")], align=True)),
    "nested structured": numpy.zeros(3000, [("a", [("b", "i4", (2, 2)), ("c", "M8[s]")]), ("d", "?")]),
    "one field": numpy.zeros(9000, [("a", "i4"), ("b", "f8")])["b"],
    "record": numpy.zeros(9000, [("a", "i4"), ("b", "f8")]).view(numpy.recarray),
    "durations": numpy.arange(9000, dtype="m8[ms]"),
    "half": numpy.arange(40_000, dtype="f2"),
    "long double": numpy.arange(9000, dtype="longdouble"),
    "bool": numpy.arange(70_000) % 3 == 0,
    "void": numpy.zeros(9000, "V12"),
    "bytes": numpy.array([b"abc", b""] * 20_000),
    "three dimensions": numpy.arange(27_000.0).reshape(30, 30, 30).transpose(1, 2, 0),
    "empty with dimensions": numpy.zeros((0, 5, 3)),
    "masked": numpy.ma.masked_less(numpy.arange(10_000.0), 10),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("store", ["shelf", "full shelf", "none"])
def test_arrays_arrive_equal_and_writable(name: str, store: str) -> None:
    array_, shelf = ARRAYS[name], None if store == "none" else Shelf(room=store == "shelf")
    back = travel({"deep": [array_, (array_,)]}, shelf)["deep"]
    assert back[0] is back[1][0]
    assert type(back[0]) is type(array_) and back[0].dtype == array_.dtype and back[0].shape == array_.shape
    assert numpy.array_equal(back[0], array_)
    assert back[0].flags.writeable
    assert back[0].flags.f_contiguous == pickle.loads(pickle.dumps(array_)).flags.f_contiguous


def test_what_comes_in_a_message_is_not_copied_again() -> None:
    value = [numpy.arange(10_001.0), numpy.ones(70_001, "u1"), "é" * 100_000, numpy.arange(40_000, dtype="u2")]
    payload = bytes(pack(partial(dumps, value), None))
    opened = received(payload, None)
    back = load(opened)
    start = ctypes.cast(payload, ctypes.c_void_p).value  # type: ignore[arg-type]
    for array_, other in zip((back[0], back[1], back[3]), (value[0], value[1], value[3]), strict=True):
        assert start < array_.ctypes.data < start + len(payload), "it lies in the message"
        assert array_.ctypes.data % joined.ALIGN == 0 and array_.flags.aligned and array_.flags.writeable
        assert numpy.array_equal(array_, other)
    assert back[2] == value[2]
    kept = back[1]
    del back, opened, payload
    gc.collect()
    kept[:] = 3  # as long as anybody has some of it, it is there
    assert kept.sum() == 3 * 70_001


def test_what_comes_in_part_is_told() -> None:
    payload = bytes(pack(partial(dumps, [numpy.arange(10_000.0), numpy.arange(20_000.0)]), None))
    for part in (payload[:-1], payload[: len(payload) // 2], payload[:60], payload[: len(MARK) + 2], MARK):
        arrived = received(part, None)
        assert type(arrived) is Unopened
        with pytest.raises(SerializationError):
            load(arrived)


@pytest.mark.parametrize("size", [3, 10_000])
@pytest.mark.parametrize("store", [True, False])
def test_what_could_not_be_written_to_can_be_where_it_arrives(size: int, store: bool) -> None:
    frozen, open_ = numpy.arange(float(size)), numpy.arange(float(size))
    frozen.flags.writeable = False
    back = travel([frozen, open_, frozen], Shelf() if store else None)
    assert back[0].flags.writeable and back[1].flags.writeable and back[0] is back[2]
    assert numpy.array_equal(back[0], frozen) and not frozen.flags.writeable


def test_so_can_what_goes_by_value() -> None:
    frozen, book = numpy.arange(10_000.0), FunctionBook()
    frozen.flags.writeable = False
    value = (frozen, lambda: 1)
    back = load(received(pack(lambda apart: book.dumps(value, (), apart), None), None))
    assert back[0].flags.writeable and back[1]() == 1


def test_large_ones_are_put_apart_and_small_ones_are_not() -> None:
    shelf = Shelf()
    payload = pack(partial(dumps, [numpy.zeros(10_000), numpy.ones(10), numpy.ones(20_000)]), shelf)
    assert payload.startswith(MARK) and len(payload) < 1000
    assert [len(each) for each in shelf.content] == [80_000 + 160_000]
    opened = received(payload, shelf.take)
    assert len(opened) == len(payload) + 240_000
    assert opened.place == ("somewhere", 0, 7)
    value = load(opened)
    value[0][:] = 5
    assert shelf.content[0][:8] == numpy.float64(5).tobytes()  # the same memory


@pytest.mark.parametrize(
    "value",
    [b"x" * 200_000, bytearray(200_000), "é" * 100_000, list(range(100_000)), [array.array("d", [1.0]) * 30_000]],
)
def test_large_pickles_without_buffers_are_put_apart_as_a_whole(value: Any) -> None:
    shelf = Shelf()
    payload = pack(partial(dumps, value), shelf)
    assert len(payload) < 200 and len(shelf.content) == 1
    assert load(received(payload, shelf.take)) == value
    assert travel(value, None) == value


def test_a_large_pickle_goes_with_its_buffers() -> None:
    shelf, value = Shelf(), [b"x" * 200_000, numpy.arange(10_000.0), numpy.arange(3.0)]
    payload = pack(partial(dumps, value), shelf)
    back = load(received(payload, shelf.take))
    assert len(payload) < 500 and len(shelf.content) == 1
    assert back[0] == value[0] and all(map(numpy.array_equal, back[1:], value[1:]))


def test_what_is_small_stays_a_plain_pickle() -> None:
    for value in (None, 5, "abc", [1, 2], {"a": (b"x",)}):
        assert pack(partial(dumps, value), Shelf()) == pickle.dumps(value, 5)
    data = pickle.dumps(numpy.arange(3.0), 5)
    assert received(data, None) is data and numpy.array_equal(load(data), numpy.arange(3.0))


def test_it_is_lent_as_it_is_told() -> None:
    shelf = Shelf()
    for lent in (True, False):
        pack(partial(dumps, numpy.zeros(10_000)), shelf, lent)
    assert shelf.lent == [True, False]


class Holey:
    """Gives a buffer that is not contiguous, which no pickle can hold."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return bytes, (pickle.PickleBuffer(memoryview(bytes(200_000))[::2]),)


def test_a_buffer_with_holes_is_refused_as_by_pickle() -> None:
    with pytest.raises((pickle.PicklingError, BufferError)):
        pack(partial(dumps, Holey()), Shelf())


def test_what_cannot_be_opened_is_an_error_when_it_is() -> None:
    payload = pack(partial(dumps, numpy.zeros(10_000)), Shelf())
    for broken, take in ((payload, None), (MARK + b"\xff", None), (payload, no_longer), (payload[:-3], Shelf().take)):
        arrived = received(broken, take)
        assert type(arrived) is Unopened and len(arrived) == 0
        with pytest.raises(SerializationError):
            load(arrived)


def no_longer(path: str, slot: int, generation: int, size: int) -> memoryview:
    raise SerializationError("gone")


def test_envelopes_are_found_in_messages() -> None:
    payload = pack(partial(dumps, numpy.zeros(10_000)), Shelf())
    assert any_in([b"before" + payload + b"behind"]) and any_in([b"header", b"frame", payload])
    assert not any_in([b"header"]) and not any_in([b"header", b"a frame that tells of" + MARK])


def test_opened_twice_it_is_the_same_memory() -> None:
    shelf = Shelf()
    opened = Opened(pack(partial(dumps, numpy.zeros(10_000)), shelf), shelf.take)
    one, other = opened.load(), opened.load()
    one[0] = 1
    assert one is not other and other[0] == 1


def test_the_second_attempt_of_a_pickle_forgets_the_first() -> None:
    apart = Apart()
    dumps([numpy.zeros(9000), numpy.zeros(10)], apart)
    assert len(apart) == 1 and not apart.frozen
    frozen = numpy.zeros(9000)
    frozen.flags.writeable = False
    dumps(frozen, apart)
    assert len(apart) == 2 and apart.frozen
    shelf = Shelf()
    assert load(received(pack(partial(dumps, frozen), shelf), shelf.take)).flags.writeable and len(shelf.content) == 1


def test_most_calls_have_only_small_things() -> None:
    for value in (5, "x", numpy.zeros(10)):
        assert pickle.dumps(value, 5, buffer_callback=only_small) == pickle.dumps(value, 5)
    frozen = numpy.zeros(10)
    frozen.flags.writeable = False
    for value in (numpy.zeros(LARGE), frozen):
        with pytest.raises(Large):
            pickle.dumps(value, 5, buffer_callback=only_small)


def test_the_mark_is_none_of_pickles() -> None:
    assert envelope.MARK[0] != pickle.dumps(None, 5)[0]
