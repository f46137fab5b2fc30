"""Maps: whatever is mapped over, the same items with the same types arrive, and the values come back in order."""

from __future__ import annotations

import array
import collections
import functools
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from parpool import EngineLost, Pool, SerializationError
from parpool.client.mapping import AHEAD, AHEAD_FIXED, LONGEST, SHORTEST, Feed, chunk_size, sliceable

numpy = pytest.importorskip("numpy")


def kind_and_repr(item: Any) -> tuple[str, str, str]:
    """What an item is, in the engine."""
    return type(item).__module__, type(item).__qualname__, repr(item)


def kinds(*items: Any) -> tuple[Any, ...]:
    return tuple(map(kind_and_repr, items))


def give(item: Any) -> Any:
    return item


def fail_on(bad: Any, item: Any) -> Any:
    if item == bad:
        raise ValueError(item)
    return item


class Sequence:
    """As old as __getitem__."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if isinstance(index, slice):
            raise TypeError("no slices")
        return self.items[index]


class Odd(list):  # type: ignore[type-arg]
    """A list that iterates over something else than its slices hold."""

    def __iter__(self) -> Iterator[Any]:
        return iter(["odd"] * len(self))


class OddText(str):
    def __iter__(self) -> Iterator[str]:
        return iter("odd")

    def __len__(self) -> int:
        return 3


class Sized:
    """Has a length, and can be iterated over once."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        yield from self.items


RECORDS = numpy.array([(1, 2.5, "a"), (3, 4.5, "b")] * 5, [("i", "i4"), ("f", "f8"), ("s", "U1")])

THINGS: dict[str, Any] = {
    "list": lambda: [1, "a", None, 2.5, (1, 2)],
    "tuple": lambda: (1, "a", None),
    "range": lambda: range(50),
    "range backwards": lambda: range(20, -20, -3),
    "large range": lambda: range(2**70, 2**70 + 5),
    "str": lambda: "text with \u20ac and \ud800",
    "bytes": lambda: b"bytes",
    "bytearray": lambda: bytearray(b"array"),
    "memoryview": lambda: memoryview(b"view"),
    "array.array": lambda: array.array("d", [1, 2, 3]),
    "dict": lambda: {"a": 1, "b": 2},
    "dict.items": lambda: {"a": 1, "b": 2}.items(),
    "dict.values": lambda: {"a": 1, "b": 2}.values(),
    "set": lambda: {1, 2, 3},
    "frozenset": lambda: frozenset("abc"),
    "deque": lambda: collections.deque([1, 2, 3], 3),
    "Counter": lambda: collections.Counter("aab"),
    "generator": lambda: (i * i for i in range(30)),
    "iterator": lambda: iter([1, 2, 3]),
    "zip": lambda: zip("ab", [1, 2], strict=True),
    "enumerate": lambda: enumerate("ab"),
    "map": lambda: map(str, range(5)),
    "sequence": lambda: Sequence(1, "a", None),
    "sized": lambda: Sized([1, 2, 3]),
    "odd list": lambda: Odd([1, 2, 3]),
    "odd text": lambda: OddText("text"),
    "namedtuple": lambda: collections.namedtuple("Pair", "a b")(1, 2),
    "empty list": lambda: [],
    "empty generator": lambda: iter(()),
    "empty range": lambda: range(0),
    "floats": lambda: numpy.linspace(0, 1, 40),
    "float32": lambda: numpy.arange(20, dtype="f4"),
    "ints": lambda: numpy.arange(40),
    "uint8": lambda: numpy.arange(20, dtype="u1"),
    "bools": lambda: numpy.array([True, False] * 10),
    "complex": lambda: numpy.arange(12) * 1j,
    "strings": lambda: numpy.array(["a", "bb", "ccc"] * 4),
    "byte strings": lambda: numpy.array([b"a", b"bb"] * 6),
    "objects": lambda: numpy.array([1, "a", None, [1]] * 3, object),
    "records": lambda: RECORDS,
    "dates": lambda: numpy.arange("2020-01", "2020-03", dtype="datetime64[D]"),
    "big endian": lambda: numpy.arange(12, dtype=">i4"),
    "2-D": lambda: numpy.arange(40.0).reshape(20, 2),
    "3-D": lambda: numpy.arange(24).reshape(4, 3, 2),
    "fortran order": lambda: numpy.asfortranarray(numpy.arange(12.0).reshape(4, 3)),
    "a stride": lambda: numpy.arange(40)[::3],
    "backwards": lambda: numpy.arange(20)[::-1],
    "a column": lambda: numpy.arange(40.0).reshape(20, 2)[:, 1],
    "read only": lambda: numpy.broadcast_to(numpy.array([1.5, 2.5]), (9, 2)),
    "masked": lambda: numpy.ma.array([1, 2, 3, 4], mask=[0, 1, 0, 0]),
    "matrix of a subclass": lambda: numpy.arange(6).reshape(3, 2).view(numpy.recarray),
    "empty array": lambda: numpy.array([]),
    "empty rows": lambda: numpy.zeros((0, 3)),
    "rows of nothing": lambda: numpy.zeros((3, 0)),
}


@pytest.mark.parametrize("chunksize", [None, 1, 3])
@pytest.mark.parametrize("case", THINGS)
def test_the_same_items_of_the_same_types(pool: Pool, case: str, chunksize: int | None) -> None:
    make = THINGS[case]
    expected = [kind_and_repr(item) for item in make()]
    assert pool.map(kind_and_repr, make(), chunksize) == expected
    if chunksize is not None:
        assert list(pool.imap(kind_and_repr, make(), chunksize)) == expected
        assert sorted(pool.imap_unordered(kind_and_repr, make(), chunksize)) == sorted(expected)


@pytest.mark.parametrize("case", ["2-D", "3-D", "dict.items", "zip", "records", "str", "read only", "fortran order"])
def test_the_same_for_starmap(pool: Pool, case: str) -> None:
    make = THINGS[case]
    expected = [kinds(*item) for item in make()]
    assert pool.starmap(kinds, make()) == expected
    assert pool.starmap(kinds, make(), task_timeout=60) == expected


@pytest.mark.parametrize(
    "values",
    [
        [numpy.float64(i) / 3 for i in range(30)],
        [numpy.int8(i) for i in range(30)],
        [numpy.bool_(i % 2) for i in range(30)],
        [numpy.complex64(i) for i in range(30)],
        [numpy.datetime64("2020-01-01") + numpy.timedelta64(i, "D") for i in range(20)],
        [numpy.float32(i) if i % 2 else i for i in range(30)],
        [numpy.arange(i) for i in range(5)],
        [float(i) for i in range(30)],
        [True, False, None] * 10,
    ],
    ids=lambda values: type(values[0]).__name__ + type(values[1]).__name__,
)
def test_values_come_back_with_their_types(pool: Pool, values: list[Any]) -> None:
    for chunksize in (None, 30, 1):
        back = pool.map(give, values, chunksize)
        assert [kind_and_repr(value) for value in back] == [kind_and_repr(value) for value in values]
    assert [kind_and_repr(v) for v in pool.imap(give, iter(values), 10)] == [kind_and_repr(v) for v in values]


def test_an_array_as_a_whole(pool: Pool) -> None:
    data = numpy.random.default_rng(1).random(5000)
    back = pool.map(numpy.sqrt, data)
    assert numpy.array_equal(back, numpy.sqrt(data)) and {type(value) for value in back} == {numpy.float64}
    rows = data.reshape(50, 100)
    assert pool.map(numpy.sum, rows) == [row.sum() for row in rows]


def test_rows_may_be_written_to(pool: Pool) -> None:
    assert pool.map(write_to, numpy.zeros((5, 2))) == [7.0] * 5


def write_to(row: Any) -> float:
    row[0] = 7
    return float(row[0])


def test_what_the_caller_changes_later_is_not_seen(pool: Pool) -> None:
    items = [[1]] * 4
    result = pool.map_async(give_later, items, 1)
    items[0][0] = 99
    assert result.get()[0] == [1]


def give_later(item: Any) -> Any:
    time.sleep(0.02)
    return item


def test_zero_dimensions(pool: Pool) -> None:
    with pytest.raises(TypeError):
        pool.map(give, numpy.array(1.0))


def test_sliceable() -> None:
    for things in ([], (), range(3), "", b"", numpy.zeros(3), numpy.zeros((2, 2)), RECORDS):
        assert sliceable(things)
    for things in (
        Odd(),
        OddText(),
        {},
        set(),
        Sequence(),
        numpy.array(1.0),
        numpy.ma.array([1]),
        iter([]),
        bytearray(),
    ):
        assert not sliceable(things)


# Errors ------------------------------------------------------------------------------------------------------


def test_an_error_in_the_middle(pool: Pool) -> None:
    for options in ({}, {"chunksize": 1}, {"chunksize": 7}, {"retries": 1}, {"task_timeout": 60}):
        with pytest.raises(ValueError, match="^13$"):
            pool.map(functools.partial(fail_on, 13), range(20), **options)  # type: ignore[arg-type]


def test_an_item_that_cannot_travel(pool: Pool) -> None:
    ran: list[Any] = pool.map_async(give, [1, 2], 1).get()
    assert ran == [1, 2]
    result = pool.map_async(give, [1, threading.Lock(), 3], 1)
    with pytest.raises(SerializationError, match="lock"):
        result.get(10)
    assert len(result) == 3


def test_a_function_that_cannot_travel(pool: Pool) -> None:
    lock = threading.Lock()
    result = pool.map_async(lambda x: lock, [1])
    with pytest.raises(SerializationError, match="lock"):
        result.get(10)


def test_only_the_victim_is_lost() -> None:
    with Pool(2) as pool:
        with pytest.raises(EngineLost, match=r"SIGKILL.*|.*exit_on"):
            pool.map(functools.partial(exit_on, 5), range(20), 1)
        result = pool.imap(functools.partial(exit_on, 5), range(20), retries=0)
        got = []
        for number in range(20):
            if number == 5:
                with pytest.raises(EngineLost, match="5"):
                    next(result)
            else:
                got.append(next(result))
        assert got == [i for i in range(20) if i != 5]
    pool.join()


def exit_on(bad: int, item: int) -> int:
    import os
    import signal

    if item == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


# Feeding -------------------------------------------------------------------------------------------------------


def fake_link(engines: int, mean: float | None) -> Any:
    sent: list[tuple[int, int]] = []

    def send_chunk(function: Any, payload: Any, kind: int, size: int, start: int, door: Any, options: Any) -> int:
        sent.append((start, size))
        return len(sent)

    return SimpleNamespace(
        engines=engines,
        check=lambda: None,
        pace=lambda key: mean,
        dumps=lambda v, lent: v,
        send_chunk=send_chunk,
        sent=sent,
    )


FUNCTION: Any = SimpleNamespace(key=b"key", blob=b"", name="f")


def test_chunk_size() -> None:
    assert chunk_size(fake_link(2, None), FUNCTION, 1000) == 1  # not timed yet
    assert chunk_size(fake_link(2, 1.0), FUNCTION, 1000) == 1
    short = chunk_size(fake_link(2, 1e-6), FUNCTION, 10**6)
    assert SHORTEST / 1e-6 <= short <= LONGEST / 1e-6 + 1
    assert chunk_size(fake_link(2, 0.0), FUNCTION, 10**6) >= 1
    assert chunk_size(fake_link(4, 1e-4), FUNCTION, 8) <= 3  # towards the end they all get some
    sizes = [chunk_size(fake_link(2, 1e-4), FUNCTION, left) for left in range(200, 0, -1)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 5 < sizes[0]


def test_a_feed_cuts_everything_once() -> None:
    for chunk in (None, 1, 7, 1000):
        link = fake_link(2, 1e-4)
        feed = Feed(link, FUNCTION, range(500), None, None, 0, chunk)  # type: ignore[arg-type]
        while feed.next < feed.total:
            assert feed.wants_more()
            start, items = feed.cut()
            feed.send(start, items)
            if len(feed.window) >= 2 * (AHEAD if chunk is None else AHEAD_FIXED):
                assert not feed.wants_more()
                for start, _ in link.sent[-len(feed.window) :]:
                    assert feed.window.came(start)
        assert not feed.wants_more()
        assert link.sent[0][0] == 0 and sum(size for _, size in link.sent) == 500
        assert [start + size for start, size in link.sent] == [start for start, _ in link.sent[1:]] + [500]


def test_a_feed_with_a_limit() -> None:
    feed = Feed(fake_link(2, 1e-6), FUNCTION, range(500), None, None, 0, None)  # type: ignore[arg-type]
    assert list(feed.cut(10)[1]) == list(range(10))
    assert not feed.wants_more(10) and feed.wants_more(11)


def test_chunks_of_a_range_are_ranges(pool: Pool) -> None:
    """Nothing of them is pickled item by item: a million is no work."""
    result = pool.map_async(abs, range(-1_000_000, 0))
    assert result.get(60)[-3:] == [3, 2, 1]
    assert len(result.msg_ids) < 20_000


def test_len_of_an_empty_map(pool: Pool) -> None:
    result = pool.map_async(abs, [], callback=(called := []).append)  # type: ignore[var-annotated]
    assert result.get(10) == [] and len(result) == 0 and result.ready() and result.successful()
    assert called == [[]] and bool(result) and result.progress == 0


class NotSent:
    def __reduce__(self) -> Any:
        raise ValueError("not this one")


def test_who_iterates_is_woken_by_the_end_though_nothing_arrives() -> None:
    """The item that is waited for was not sent, another thread drives, and the end comes from the callbacks' thread."""
    with Pool(2) as pool:
        view = pool.client.load_balanced_view()
        driver = threading.Thread(target=view.apply_async(time.sleep, 1000).wait, daemon=True)
        driver.start()
        view.apply_async(abs, 1).add_done_callback(lambda _: time.sleep(0.5))
        result = view.map_async(str, [1, NotSent(), 3], chunksize=1)
        result.add_done_callback(lambda _: None)
        with pytest.raises(SerializationError):
            list(result)
        pool.terminate()
        driver.join()
    pool.join()
