"""Values of a chunk: packed where that is shorter, and the same when opened."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from parpool.wire import byvalue
from parpool.wire.envelope import MARK
from parpool.wire.payload import OURS, packable

numpy = pytest.importorskip("numpy")

load = pickle.loads


def dump_values(values: list[Any]) -> bytes:
    return pickle.dumps(packable(values), 5)


SCALARS = [
    "bool_",
    "int8",
    "uint8",
    "int16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "longdouble",
    "complex64",
    "complex128",
    "clongdouble",
]


@pytest.mark.parametrize("name", SCALARS)
def test_scalars_of_one_type_are_packed(name: str) -> None:
    kind = getattr(numpy, name)
    values = [kind(i % 2) for i in range(1000)]
    data = dump_values(values)
    back = load(data)
    assert type(back) is list and back == values
    assert {type(value) for value in back} == {kind}
    if name != "bool_":  # those are two objects, over and over
        assert len(data) < 0.8 * len(pickle.dumps(values, 5))


def test_extremes() -> None:
    values = [
        numpy.float64(v) for v in (0.0, -0.0, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3, 2.0)
    ]
    assert [v.hex() for v in load(dump_values(values))] == [v.hex() for v in values]
    assert math.isnan(load(dump_values([numpy.float64("nan")] * 10))[3])
    values = [numpy.int64(v) for v in (2**63 - 1, -(2**63), *range(10))]
    assert load(dump_values(values)) == values
    values = [numpy.uint64(2**64 - 1)] * 12
    assert load(dump_values(values)) == values


@pytest.mark.parametrize(
    "values",
    [
        [],
        [numpy.float64(1)],
        [numpy.float64(1)] * 20 + [1.0],
        [1.0] + [numpy.float64(1)] * 20,
        [numpy.float32(1)] * 10 + [numpy.float64(1)] * 10,
        [numpy.datetime64("2020-01-01")] * 20,
        [numpy.timedelta64(1, "D"), numpy.timedelta64(1, "s")] * 10,
        [numpy.str_("a"), numpy.str_("bb")] * 10,
        [numpy.bytes_(b"a")] * 10,
        [numpy.array([1, 2], "i4"), numpy.array([3], "i8")] * 10,
        [numpy.float64] * 20,
        [numpy.dtype("f8")] * 20,
        [None] * 20,
        [True, 1, 1.0] * 10,
        [numpy.zeros(3, [("a", "i4"), ("b", "f8")])[0]] * 10,
    ],
    ids=lambda values: repr(values[:2])[:40],
)
def test_everything_else_stays_as_it_is(values: list[Any]) -> None:
    back = load(dump_values(values))
    assert type(back) is list and len(back) == len(values)
    for one, other in zip(values, back, strict=True):
        assert type(one) is type(other)
        assert numpy.array_equal(one, other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


def test_what_tells_a_plain_pickle_from_all_else() -> None:
    assert OURS in MARK and OURS in byvalue.__name__.encode()
