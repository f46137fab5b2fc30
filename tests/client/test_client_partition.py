"""How sequences are cut into parts and joined again."""

from __future__ import annotations

import collections
import enum
import itertools
import pickle
import sys
import types
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parpool.client.partition import DISTRIBUTIONS, Distribution, distribution, flattened
from parpool.wire.reference import Reference

BLOCKS = distribution("b")
ROUND_ROBIN = distribution("r")

both = pytest.mark.parametrize("dist", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)


class Span:
    """A sequence that is registered nowhere; its slices are Spans."""

    def __init__(self, *items: int) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return Span(*self.items[index]) if isinstance(index, slice) else self.items[index]


class Pair(NamedTuple):
    mean: float
    spread: float


class Colour(str, enum.Enum):
    RED = "red"


class Rows:
    """As much of a Series as cutting and joining need."""

    def __init__(self, labels: Any) -> None:
        self.labels = list(labels)

    @property
    def iloc(self) -> RowsByPlace:
        return RowsByPlace(self)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("labels are no places")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self.labels == other.labels


class RowsByPlace:
    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return Rows(self.rows.labels[place] for place in index)
        return Rows(self.rows.labels[index]) if isinstance(index, slice) else self.rows.labels[index]


@pytest.fixture
def library_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    library: Any = types.ModuleType("rowlib")
    library.concat = lambda many: Rows(itertools.chain.from_iterable(each.labels for each in many))
    monkeypatch.setitem(sys.modules, "rowlib", library)
    monkeypatch.setattr(Rows, "__module__", "rowlib.core")


# The rows of the feature list ------------------------------------------------------------------------


def test_G1_scatter_cuts_contiguous_blocks_of_nearly_equal_length() -> None:
    assert BLOCKS.cut(list(range(16)), 4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
    assert list(map(len, BLOCKS.cut(range(11), 4))) == [3, 3, 3, 2]  # the longer ones first
    assert BLOCKS.cut([1, 2], 4) == [[1], [2], [], []]


@pytest.mark.parametrize(
    "make",
    [
        lambda: [3, 1, 2],
        lambda: (3, 1, 2),
        lambda: {3: "a", 1: "b", 2: "c"},
        lambda: {3: "a", 1: "b", 2: "c"}.keys(),
        lambda: {"a": 3, "b": 1, "c": 2}.values(),
        lambda: collections.defaultdict(str, {3: "a", 1: "b", 2: "c"}),
        lambda: iter([3, 1, 2]),
        lambda: (each for each in (3, 1, 2)),
        lambda: map(int, "312"),
        lambda: collections.deque([3, 1, 2]),
        lambda: collections.UserList([3, 1, 2]),
        lambda: Span(3, 1, 2),
        lambda: array("i", [3, 1, 2]),
        lambda: memoryview(array("i", [3, 1, 2])),
        lambda: numpy.array([3, 1, 2]),
        lambda: b"\3\1\2",
        lambda: memoryview(b"\3\1\2"),
    ],
)
@both
def test_G1_every_kind_of_iterable_can_be_scattered(dist: Distribution, make: Callable[[], Any]) -> None:
    parts = dist.cut(make(), 2)
    first, second = [[part[place] for place in range(len(part))] for part in parts]
    assert (first, second) == (([3, 1], [2]) if dist is BLOCKS else ([3, 2], [1]))
    pickle.dumps(parts)


@both
def test_G1_streams_and_sets_are_made_lists_first(dist: Distribution) -> None:
    assert dist.join(dist.cut((each for each in range(7)), 3)) == list(range(7))
    assert sorted(dist.join(dist.cut({3, 1, 2}, 2))) == [1, 2, 3]
    assert dist.cut(iter(()), 2) == [[], []]


def test_G2_blocks_follow_the_order_of_the_targets() -> None:
    blocks = BLOCKS.cut(range(16), 4)
    assert blocks == [range(0, 4), range(4, 8), range(8, 12), range(12, 16)]
    assert list(map(list, blocks)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]


def test_G3_gather_concatenates_in_the_order_of_the_targets() -> None:
    whole = BLOCKS.join(BLOCKS.cut(range(16), 4))
    assert type(whole) is list
    assert whole == list(range(16))
    assert BLOCKS.join([[2], [1], [3]]) == [2, 1, 3]


def test_G3_arrays_are_concatenated_as_arrays() -> None:
    whole = BLOCKS.join([numpy.arange(3), numpy.arange(3, 5)])
    assert isinstance(whole, numpy.ndarray)
    assert whole.tolist() == [0, 1, 2, 3, 4]


@both
def test_G4_parts_go_to_engines_and_back_by_pickle(dist: Distribution) -> None:
    for items in ([1, 2, 3], range(5), "text", numpy.arange(12).reshape(4, 3), memoryview(b"bytes")):
        there = [pickle.dumps(part) for part in dist.cut(items, 3)]
        assert same(dist.join(map(pickle.loads, there)), expected(items))


def test_G5_distributions_have_names() -> None:
    assert distribution("b").cut(range(5), 2) == [range(0, 3), range(3, 5)]
    assert distribution("r").cut(range(5), 2) == [range(0, 5, 2), range(1, 5, 2)]
    for unknown in ("x", "", None, ["b"]):
        with pytest.raises(ValueError, match=r"there is no distribution .*; there are 'b' \(Blocks\), 'r' \(RoundR"):
            distribution(unknown)  # type: ignore[arg-type]


def test_G5_flatten_gives_the_bare_item_of_a_part_that_has_one() -> None:
    assert list(map(flattened, BLOCKS.cut([5, 6, 7], 2))) == [[5, 6], 7]
    assert list(map(flattened, BLOCKS.cut([5], 2))) == [5, []]
    assert [flattened(part) for part in BLOCKS.cut(numpy.eye(2), 2)][0].tolist() == [1.0, 0.0]
    assert flattened("a") == "a"
    assert flattened(range(3, 4)) == 3
    assert flattened(Rows(["x"])) == "x"


@both
def test_G5_bare_items_are_gathered_into_a_list(dist: Distribution) -> None:
    for items in ([1, 2, 3], [1, 2], [1, 2, 3, 4], [{"a": 1}, {"b": 2}, {3}]):
        assert dist.join(map(flattened, dist.cut(items, 3))) == items


def test_H2_several_sequences_are_cut_alike() -> None:
    cut = BLOCKS.cut_together(["abcde", range(5), [1, 2, 3, 4, 5]], 2)
    assert cut == [("abc", range(0, 3), [1, 2, 3]), ("de", range(3, 5), [4, 5])]
    assert ROUND_ROBIN.cut_together(["abcde"], 2) == [("ace",), ("bd",)]


@both
def test_H2_the_shortest_sequence_decides_as_in_the_builtin_map(dist: Distribution) -> None:
    for make in (
        lambda: ([1, 2, 3, 4], "ab", range(9)),
        lambda: ([1, 2, 3], itertools.count(5)),
        lambda: (itertools.count(), iter("abc"), itertools.repeat(0)),
        lambda: (iter("ab"), [1, 2, 3]),
        lambda: ([], itertools.count()),
        lambda: [iter("abcdef")] * 2,
    ):
        parts = dist.cut_together(make(), 3)
        assert len(parts) == 3
        assert dist.join([list(map(lambda *row: row, *each)) for each in parts]) == list(zip(*make(), strict=False))


def test_H2_lengths_can_be_required_to_be_the_same() -> None:
    with pytest.raises(ValueError, match="the sequences must be of one length, not of 3, 2"):
        BLOCKS.cut_together(["abc", iter([1, 2])], 2, strict=True)
    assert BLOCKS.cut_together(["ab", iter([1, 2])], 2, strict=True) == [("a", [1]), ("b", [2])]
    with pytest.raises(TypeError, match="at least one sequence"):
        BLOCKS.cut_together([], 2)


@both
@pytest.mark.parametrize("engines", [1, 3, 4, 70])
def test_H9_a_list_comprehension_over_the_parts_of_a_range(dist: Distribution, engines: int) -> None:
    namespaces: list[dict[str, Any]] = [{"x": part} for part in dist.cut(range(64), engines)]
    for namespace in namespaces:
        exec("y = [i**10 for i in x]", namespace)
    assert dist.join(namespace["y"] for namespace in namespaces) == [i**10 for i in range(64)]


@both
@pytest.mark.parametrize("shape", [(7,), (7, 3), (2, 3, 4), (5, 0), (0, 4), (1, 1, 1, 2)], ids=str)
@pytest.mark.parametrize("dtype", ["i2", "f8", "c16", "U3", "O", "M8[s]", [("a", "i4"), ("b", "f8")]], ids=str)
def test_M3_arrays_of_any_dimension_are_split_along_the_first(dist: Distribution, shape: Any, dtype: Any) -> None:
    whole = numpy.zeros(shape, dtype)
    if whole.size:
        whole.flat[-1] = numpy.ones(1, dtype)[0]
    for n in (1, 2, 3, 9):
        parts = dist.cut(whole, n)
        assert len(parts) == n
        for part in parts:
            assert (part.dtype, part.shape[1:]) == (whole.dtype, whole.shape[1:])
            assert not part.size or numpy.shares_memory(part, whole), "a view, not a copy"
        joined = dist.join(parts)
        assert (joined.dtype, joined.shape) == (whole.dtype, whole.shape)
        assert (joined == whole).all()
        assert not numpy.shares_memory(joined, whole)


def test_M3_an_array_without_dimensions_cannot_be_split() -> None:
    with pytest.raises(TypeError, match=r"an array of no dimensions has no items to be cut; numpy\.atleast_1d"):
        BLOCKS.cut(numpy.array(3), 2)
    with pytest.raises(TypeError, match="an array of no dimensions"):
        BLOCKS.cut_together([numpy.array(3), [1]], 2)


@both
def test_M5_a_call_on_the_parts_gives_the_call_on_the_whole(dist: Distribution) -> None:
    a, b = numpy.random.default_rng(5).random((2, 11, 3))
    parts = dist.cut_together([a, b], 4, strict=True)
    assert (dist.join(x * y for x, y in parts) == a * b).all()


@both
def test_M5_results_that_are_not_sequences_make_a_list(dist: Distribution) -> None:
    parts = dist.cut(numpy.arange(10.0), 4)
    sums = dist.join(part.sum() for part in parts)
    assert type(sums) is list
    assert sums == [part.sum() for part in parts]
    assert dist.join([{"a": 1}, {}, {"b": 2}]) == [{"a": 1}, {}, {"b": 2}]
    assert dist.join([None, None]) == [None, None]


# Cutting and joining are each other's inverse --------------------------------------------------------


def expected(items: Any) -> Any:
    """What cutting and joining must give."""
    if isinstance(items, (str, bytes, bytearray, array, numpy.ndarray)):
        return items
    return items.tobytes() if isinstance(items, memoryview) else list(items)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same type."""
    if isinstance(one, numpy.ndarray):
        return type(other) is type(one) and other.dtype == one.dtype and other.tolist() == one.tolist()
    return type(one) is type(other) and one == other


numbers = st.lists(st.integers(-100, 100), max_size=50)
sequences = st.one_of(
    numbers,
    numbers.map(tuple),
    st.builds(range, st.integers(-9, 9), st.integers(-50, 50), st.sampled_from([-3, -1, 1, 2])),
    st.text(max_size=50),
    st.binary(max_size=50),
    st.binary(max_size=50).map(bytearray),
    st.binary(max_size=50).map(memoryview),
    numbers.map(lambda items: array("h", items)),
    numbers.map(lambda items: numpy.array(items, "i1")),
    numbers.map(lambda items: numpy.arange(len(items) * 6, dtype="f4").reshape(-1, 2, 3)),
    numbers.map(lambda items: numpy.array(list(map(str, items)), "O")),
    numbers.map(collections.deque),
    numbers.map(collections.UserList),
    st.lists(st.one_of(st.none(), st.text(), numbers), max_size=50),
)


@given(sequences, st.integers(1, 20), st.sampled_from(list(DISTRIBUTIONS)))
def test_joining_undoes_cutting(items: Any, n: int, name: str) -> None:
    dist = distribution(name)
    parts = dist.cut(items, n)
    assert len(parts) == n
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len({type(part) for part in parts}) == 1
    assert same(dist.join(parts), expected(items))


@given(st.lists(numbers, max_size=6))
def test_round_robin_deals_parts_of_any_lengths_in_turn(parts: list[list[int]]) -> None:
    missing = object()
    turns = itertools.chain.from_iterable(itertools.zip_longest(*parts, fillvalue=missing))
    dealt = [item for item in turns if item is not missing]
    assert ROUND_ROBIN.join(parts) == dealt
    assert BLOCKS.join(parts) == sum(parts, [])
    for make in (lambda items: numpy.array(items, "i8"), lambda items: array("i", items)):
        assert same(ROUND_ROBIN.join([make([]), *map(make, parts)]), make(dealt))


@both
@pytest.mark.parametrize("items", [[1, 2], (1, 2), range(2), "ab", b"ab", bytearray(b"ab"), array("d", [1, 2])])
def test_fewer_items_than_parts_give_empty_ones_of_the_same_type(dist: Distribution, items: Any) -> None:
    parts = dist.cut(items, 5)
    assert [len(part) for part in parts] == [1, 1, 0, 0, 0]
    assert {type(part) for part in parts} == {type(items)}
    assert same(dist.join(parts), expected(items))


@both
def test_of_no_items_comes_an_empty_whole_of_the_same_type(dist: Distribution) -> None:
    for empty in ([], "", b"", bytearray(), array("d"), numpy.zeros((0, 3), "f4")):
        assert same(dist.join(dist.cut(empty, 3)), empty)
    assert dist.join([]) == []


def test_parts_are_at_least_one() -> None:
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"cut into at least 1 part, not {n}"):
            BLOCKS.cut([1], n)


def test_what_is_not_iterable_cannot_be_cut() -> None:
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        BLOCKS.cut(5, 2)
    with pytest.raises(TypeError, match="stands for an object on the engines"):
        BLOCKS.cut(Reference("a"), 2)


def test_a_dict_that_makes_its_items_is_not_asked_for_a_slice() -> None:
    grows = collections.defaultdict(list, {"a": 1})
    assert BLOCKS.cut(grows, 2) == [["a"], []]
    assert list(grows) == ["a"]


# What is joined to what ------------------------------------------------------------------------------


@both
def test_parts_of_different_kinds_make_a_list(dist: Distribution) -> None:
    assert dist.join([[1, 2], (3,)]) == ([1, 2, 3] if dist is BLOCKS else [1, 3, 2])
    assert same(dist.join([numpy.array([1]), [2]]), [1, 2])
    assert dist.join([numpy.array([1]), 2, "c"]) == [1, 2, "c"]
    assert dist.join([array("i", [1]), array("d", [2.5])]) == [1, 2.5]
    assert dist.join([b"a", bytearray(b"b")]) == [97, 98]
    assert dist.join([Span(1), range(2, 3), collections.deque([3])]) == [1, 2, 3]


@both
def test_empty_parts_do_not_decide_what_the_whole_is(dist: Distribution) -> None:
    whole = dist.join([numpy.array([], "f8"), numpy.array([[1, 2]], "i2"), [], numpy.array([[3, 4]], "i2")])
    assert same(whole, numpy.array([[1, 2], [3, 4]], "i2"))
    assert dist.join([[], "ab"]) == "ab"


@both
def test_text_can_be_taken_for_items(dist: Distribution) -> None:
    assert dist.join(["node1", "node2"]) == ("node1node2" if dist is BLOCKS else "nnooddee12")
    assert dist.join(["node1", "", "node2"], text=False) == ["node1", "", "node2"]
    assert dist.join([b"a", b"b"], text=False) == [b"a", b"b"]
    assert dist.join([["a", "b"], ["c"]], text=False) == (["a", "b", "c"] if dist is BLOCKS else ["a", "c", "b"])


@both
def test_what_is_no_slice_of_anything_is_an_item(dist: Distribution) -> None:
    for items in (
        [Pair(1, 2), Pair(3, 4)],
        [Colour.RED, Colour.RED],
        list(numpy.array(["ab", "cd"])),
        list(numpy.array([(1, 2), (3, 4)], [("a", "i4"), ("b", "i4")])),
        [numpy.array(1), numpy.array(2)],
        [{1, 2}, {3}],
        [Reference("a"), Reference("b")],
    ):
        joined = dist.join(items)
        assert type(joined) is list
        assert all(one is other for one, other in zip(joined, items, strict=True))


@both
def test_masks_of_arrays_are_kept(dist: Distribution) -> None:
    whole = numpy.ma.masked_greater(numpy.arange(9), 5)
    joined = dist.join(dist.cut(whole, 4))
    assert isinstance(joined, numpy.ma.MaskedArray)
    assert joined.mask.tolist() == whole.mask.tolist()
    assert joined.compressed().tolist() == [0, 1, 2, 3, 4, 5]


@both
def test_a_matrix_stays_a_matrix(dist: Distribution) -> None:
    whole = numpy.arange(10).reshape(5, 2).view(numpy.matrix)
    assert same(dist.join(dist.cut(whole, 3)), whole)


@both
@pytest.mark.usefixtures("library_of_rows")
def test_rows_are_cut_by_their_places_and_joined_by_their_library(dist: Distribution) -> None:
    parts = dist.cut(Rows("abcdefg"), 3)
    assert parts == list(map(Rows, ("abc", "de", "fg") if dist is BLOCKS else ("adg", "be", "cf")))
    assert dist.join(parts) == Rows("abcdefg")
    assert dist.join(dist.cut(Rows("ab"), 4)) == Rows("ab")
    assert dist.join([Rows("a"), ["b"]]) == ["a", "b"]
    assert dist.cut_together([Rows("abc"), "xy"], 2) == [(Rows("a"), "x"), (Rows("b"), "y")]


@both
def test_rows_of_no_library_come_back_as_a_list(dist: Distribution) -> None:
    assert dist.join(dist.cut(Rows("abcde"), 2)) == list("abcde")


@both
@pytest.mark.parametrize("n", [1, 3, 9])
def test_pandas_objects_keep_type_and_labels(dist: Distribution, n: int) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(7), "b": list("abcdefg")}, index=range(70, 0, -10))
    for whole in (frame, frame["a"], frame["b"]):
        parts = dist.cut(whole, n)
        assert {type(part) for part in parts} == {type(whole)}
        joined = dist.join(parts)
        assert type(joined) is type(whole)
        assert joined.equals(whole)
