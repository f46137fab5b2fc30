"""How values are pickled whose buffers are left out: here arrays of dates and times, of which numpy gives no buffer."""

from __future__ import annotations

import copyreg
import pickle
from functools import partial
from typing import Any

import pytest

from parpool.wire.envelope import LARGE, Large, Opened, dumps, dumps_small, holds_special, pack, received
from parpool.wire.payload import PROTOCOL
from parpool.wire.reducing import holds_dates

numpy = pytest.importorskip("numpy")

N = 10_000


def days(count: int = N) -> Any:
    return numpy.arange(count).astype("M8[D]")


def records(fields: Any) -> Any:
    array = numpy.zeros(N, fields)
    array.view("u1")[:] = numpy.arange(array.nbytes) % 100  # also for text: code points that there are
    return array


def unwritable(array: Any) -> Any:
    array.flags.writeable = False
    return array


ARRAYS = {
    "days": days(),
    "microseconds": numpy.arange(N).astype("M8[us]"),
    "times": numpy.arange(N).astype("m8[ns]"),
    "of the other byte order": days().astype(">M8[D]"),
    "with none": numpy.where(numpy.arange(N) % 2, days(), numpy.datetime64("NaT", "D")),
    "in columns": numpy.asfortranarray(days().reshape(100, 100)),
    "unwritable": unwritable(days()),
    "records": records([("number", "f8"), ("day", "M8[D]"), ("name", "U3")]),
    "records of records": records([("inner", [("days", "m8[s]", (2, 3))]), ("number", "u2")]),
}


def opened(payload: Any) -> tuple[Any, int]:
    """What a payload has, and how many bytes of it were not in its pickle."""
    envelope = received(bytes(payload), None)
    if not isinstance(envelope, Opened):
        return pickle.loads(payload), 0
    return envelope.load(), sum(memoryview(buffer).nbytes for buffer in envelope.buffers)


def same(array: Any, other: Any) -> bool:
    return array.dtype == other.dtype and bool(array.tobytes("A") == other.tobytes("A"))


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "wrap", [lambda a: a, lambda a: ((a,), {}), lambda a: [{"deep": (1, a)}]], ids=["", "arg", "deep"]
)
def test_dates_travel_apart(name: str, wrap: Any) -> None:
    array = ARRAYS[name]
    value, apart = opened(pack(partial(dumps, wrap(array)), None))
    assert apart == array.nbytes
    while type(value) is not numpy.ndarray:
        value = value["deep"][1] if type(value) is dict else value[0]
    assert same(value, array) and value.flags.writeable and value.flags.f_contiguous == array.flags.f_contiguous


@pytest.mark.parametrize(
    "array", [days(3), days(0), numpy.array(days(1)[0]), days(2 * N)[::2], days().reshape(100, 100).T[::3]]
)
def test_small_and_sparse_ones_are_what_they_were(array: Any) -> None:
    for value in (array, [days(), array]):
        back, _ = opened(pack(partial(dumps, value), None))
        back = back if value is array else back[1]
        assert same(numpy.ascontiguousarray(back), numpy.ascontiguousarray(array)) and back.shape == array.shape


def test_one_that_both_have_is_one_where_it_arrives() -> None:
    first = days()
    (one, other, part), _ = opened(pack(partial(dumps, [first, first, first[5:]]), None))
    assert one is other and same(part, first[5:])


def test_a_result_is_not_read_for_nothing() -> None:
    with pytest.raises(Large):
        dumps_small(days())
    assert pickle.loads(dumps_small(days(LARGE // 16))).size == LARGE // 16


@pytest.mark.parametrize("unit", ["M8[s]", "m8[ns]"])
def test_a_pickle_tells_of_them(unit: str) -> None:
    """As numpy pickles its types today: another way would cost a copy of each such array, which this would show."""
    floats, dates = numpy.arange(9.0), numpy.arange(9).astype(unit)
    for value in (dates, [floats, dates], {"a": [floats] * 9, "b": dates}):
        assert holds_dates(pickle.dumps(value, PROTOCOL)) and holds_special(pickle.dumps(value, PROTOCOL))
    for value in (floats, [floats, numpy.arange(3)], "M8", b"8\x94\x89\x88\x87", days):
        assert not holds_dates(pickle.dumps(value, PROTOCOL)) and not holds_special(pickle.dumps(value, PROTOCOL))


def test_what_only_reads_like_it() -> None:
    """It is gone through once more, and is what it was."""
    for value in ([numpy.arange(3), b"M8\x94\x89\x88\x87" * N], [numpy.arange(3), "memmap" * N], "dtype memmap" * N):
        back, _ = opened(pack(partial(dumps, value), None))
        assert repr(back) == repr(value)


def test_who_has_registered_arrays_has_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    array = days()
    monkeypatch.setitem(copyreg.dispatch_table, numpy.ndarray, lambda each: (str, (f"{each.size} days",)))
    assert opened(pack(partial(dumps, [[array]]), None)) == ([["10000 days"]], 0)
    assert opened(pack(partial(dumps, [array]), None)) == (["10000 days"], 0)
