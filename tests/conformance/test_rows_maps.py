"""The mission's rows of maps on views (H) and of the load-balanced view (I)."""

from __future__ import annotations

import collections
import functools
import io
import itertools
import operator
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rows import PATIENCE, Gate, fail, sharded, through, until

from parpool import (
    AsyncResult,
    Client,
    CompositeError,
    DirectView,
    EngineLost,
    LoadBalancedView,
    Pool,
    Reference,
    RemoteError,
    SerializationError,
    TaskTimeout,
)
from parpool.client.view import View

SCHEDULERS = True


@pytest.fixture(params=["direct", "balanced", "one engine", "balanced subset"])
def view(request: pytest.FixtureRequest, rc: Client) -> View:
    """Every sort of view."""
    made: dict[str, View] = {
        "direct": rc[:],
        "balanced": rc.load_balanced_view(),
        "one engine": rc[0],
        "balanced subset": rc.load_balanced_view([1]),
    }
    return made[request.param]


def tenth_power(x: int) -> int:
    return x**10


def add(*numbers: Any) -> Any:
    return sum(numbers)


def pid_of(number: int) -> int:
    return os.getpid()


def square_or_fail(number: int) -> int:
    if number % 3 == 2:
        raise ValueError(number)
    return number * number


def hold(gate: Gate, number: int, held: int) -> int:
    """Only one of the items waits."""
    if number == held:
        gate.arrive(number)
    return number


def pids(rc: Client) -> list[int]:
    return rc[:].apply_sync(os.getpid)


# H. map ------------------------------------------------------------------------------------------------


def test_H1_all_views_have_map(view: View) -> None:
    assert view.map_sync(tenth_power, range(5)) == [0, 1, 1024, 59049, 1048576]
    assert isinstance(view.map(tenth_power, range(5)), AsyncResult)


def test_H1_direct_and_balanced_differ_in_who_gets_what(rc: Client, gate: Gate) -> None:
    first, second = pids(rc)
    assert rc[:].map_sync(pid_of, range(6)) == [first] * 3 + [second] * 3, "a part for each engine"
    held = rc[0].apply_async(through, gate)
    gate.await_one(None)
    assert rc.load_balanced_view().map_sync(pid_of, range(6)) == [second] * 6, "to whoever is free"
    gate.open()
    held.wait(PATIENCE)


@pytest.mark.parametrize(
    "sequences",
    [
        ([1, 2, 3], [10, 20, 30]),
        (range(7), [10, 20, 30], "abcdefg"),
        ((n for n in range(4)), itertools.count(5)),
        (itertools.count(), range(3)),
        ([1, 2], []),
        ({1: "a", 2: "b"}, [3, 4]),
        ([1, 2, 3], (n for n in ())),
    ],
    ids=["alike", "shortest", "endless", "endless first", "empty", "dict", "empty generator"],
)
def test_H2_any_number_of_sequences(view: View, sequences: Any) -> None:
    copies = [itertools.tee(each) if isinstance(each, Iterator) else (each, each) for each in sequences]
    expected = list(map(lambda *items: items, *(one for one, _ in copies)))
    assert view.map_sync(lambda *items: items, *(other for _, other in copies)) == expected


def test_H2_options_are_keywords_only(view: View) -> None:
    assert view.map(add, [1], [2], block=True) == [3]
    assert view.map(add, [1, 2], block=True, bound=True, track=True) == [1, 2], "always bound"
    with pytest.raises(TypeError):
        view.map(add)
    with pytest.raises(TypeError):
        view.map(add, [1], no_such_option=1)
    with pytest.raises(TypeError):
        view.map(add, 5)
    with pytest.raises(TypeError):
        view.map(5, [1])


def test_H3_equal_to_the_serial_map_in_order(view: View) -> None:
    assert view.map_sync(lambda x: x**10, range(32)) == list(map(lambda x: x**10, range(32)))
    for items in (range(1000), list(range(999, -1, -1)), "some text", b"bytes", {3, 1, 2}, {"a": 1}, iter([4, 5])):
        twice = list(items)
        assert view.map_sync(repr, twice if isinstance(items, Iterator) else items) == [repr(x) for x in twice]
    assert view.map_sync(abs, []) == view.map_sync(abs, iter(())) == []


def test_H3_of_fewer_items_than_engines(rc: Client) -> None:
    assert rc[:].map_sync(abs, [-1]) == [1]
    result = rc[:].map_async(abs, [-1])
    assert result.get(PATIENCE) == [1] and len(result.msg_ids) == 1 and list(result) == [1]


def test_H3_of_arrays(view: View) -> None:
    numpy = pytest.importorskip("numpy")
    table = numpy.arange(12.0).reshape(6, 2)
    assert view.map_sync(sum, table) == [1.0, 5.0, 9.0, 13.0, 17.0, 21.0]
    assert view.map_sync(operator.mul, numpy.arange(5), range(5)) == [0, 1, 4, 9, 16]
    rows = view.map_sync(numpy.array, table.tolist())
    assert type(rows) is list and numpy.array_equal(rows, table), "a value for each item, whatever its type"


@pytest.mark.parametrize("dist", ["b", "r"])
def test_H3_whatever_the_distribution(rc: Client, dist: str) -> None:
    result = rc[:].map_async(abs, range(-7, 0), dist=dist)
    assert result.get(PATIENCE) == list(result) == [7, 6, 5, 4, 3, 2, 1]
    assert [result[n] for n in range(7)] == result[:] == result.get() and result[-1] == 1
    with pytest.raises(IndexError):
        result[7]


def test_H4_block(view: View) -> None:
    assert view.block is False and isinstance(view.map(abs, [1]), AsyncResult)
    with view.temp_flags(block=True):
        assert view.map(abs, [-1]) == [1]
        assert isinstance(view.map(abs, [1], block=False), AsyncResult)
        assert isinstance(view.map_async(abs, [1]), AsyncResult)
    assert view.map(abs, [-1], block=True) == view.map_sync(abs, [-1]) == [1]


def test_H4_targets(rc: Client) -> None:
    first, second = pids(rc)
    for view in (rc[:], rc.load_balanced_view(), rc[0]):
        assert view.map_sync(pid_of, range(4), targets=1) == [second] * 4, "the keyword wins"
        assert view.map(pid_of, range(4), targets=[0], block=True) == [first] * 4
        assert set(view.map_async(pid_of, range(40), targets="all").get(PATIENCE)) <= {first, second}
        assert list(view.imap(pid_of, range(4), targets=[1])) == [second] * 4
        with pytest.raises(IndexError):
            view.map(pid_of, range(4), targets=[7])
    assert rc[1].map_sync(pid_of, range(3)) == [second] * 3 == rc.load_balanced_view(1).map_sync(pid_of, range(3))
    assert rc[1, 0].map_sync(pid_of, range(2)) == [second, first], "in the order of the targets"


def test_H4_flags_by_keyword(rc: Client) -> None:
    lview = rc.load_balanced_view()
    with pytest.raises(CompositeError) as info:
        lview.map_sync(time.sleep, [0, 30, 0], task_timeout=0.05)
    assert [type(each) for each in info.value.results[::2]] == [type(None)] * 2
    assert isinstance(info.value.exceptions[0], TaskTimeout) and len(info.value.exceptions) == 1
    done = rc[0].apply_async(abs, -1)
    assert lview.map_sync(abs, [-1, -2], after=done, retries=2, policy="lru") == [1, 2]
    assert lview.task_timeout is None and lview.retries == 0 and lview.after is None, "for the one map"
    with pytest.raises(TypeError):
        rc[:].map(abs, [1], after=done)


def test_H5_map_async_always_gives_a_result(view: View) -> None:
    with view.temp_flags(block=True):
        result = view.map_async(abs, range(-5, 0))
    assert isinstance(result, AsyncResult) and result.get(PATIENCE) == [5, 4, 3, 2, 1]
    assert result.successful() and len(result) == 5


def test_H6_iteration_in_order(rc: Client, gate: Gate) -> None:
    values = iter(rc.load_balanced_view().map_async(hold, [gate] * 6, range(6), [5] * 6, chunksize=1))
    assert [next(values) for _ in range(5)] == [0, 1, 2, 3, 4], "before the last has ended"
    gate.open()
    assert list(values) == [5]


def test_H6_iteration_over_the_part_of_an_engine_before_the_others(rc: Client, gate: Gate) -> None:
    values = iter(rc[:].map_async(hold, [gate] * 6, range(6), [5] * 6))
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    gate.open()
    assert list(values) == [3, 4, 5]


def test_H6_iteration_unordered(rc: Client, gate: Gate) -> None:
    lview = rc.load_balanced_view()
    alone = {"chunksize": 1} if sharded(rc) else {}  # a task is cut for engines of its own scheduler
    result = lview.map_async(hold, [gate] * 30, range(30), [0] * 30, ordered=False, **alone)
    values = iter(result)
    assert {next(values) for _ in range(29)} == set(range(1, 30))
    gate.open()
    assert list(values) == [0] and result.get(PATIENCE) == list(range(30))
    assert sorted(lview.map_async(abs, range(100), ordered=False, chunksize=7)) == list(range(100))
    assert sorted(lview.map_async(abs, range(1000), ordered=False)) == list(range(1000))


def test_H6_many_threads_iterate_over_one_map(rc: Client) -> None:
    for ordered in (True, False):
        result = rc.load_balanced_view().map_async(abs, range(3000), ordered=ordered)
        found: list[list[int]] = []
        threads = [threading.Thread(target=lambda: found.append(list(result))) for _ in range(6)]  # noqa: B023
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert [sorted(values) for values in found] == [list(range(3000))] * 6


def test_H6_imap(rc: Client, gate: Gate) -> None:
    for view in (rc[:], rc.load_balanced_view(), rc[0]):
        assert list(view.imap(add, range(20), range(20))) == list(range(0, 40, 2))
        assert list(view.imap(abs, [])) == [] and list(view.imap(abs, iter([-1, -2]))) == [1, 2]
    lview = rc.load_balanced_view()
    values = lview.imap(hold, [gate] * 5, range(5), [4] * 5)
    assert [next(values) for _ in range(4)] == [0, 1, 2, 3]
    gate.open()
    assert list(values) == [4]
    assert list(lview.imap(abs, range(10), chunksize=3)) == list(range(10))
    assert sorted(lview.imap(abs, iter(range(50)), ordered=False)) == list(range(50))
    assert list(lview.imap(abs, range(10), buffersize=2)) == list(range(10))


def test_H6_imap_reads_no_more_than_it_needs() -> None:
    with Pool(2) as pool:
        read = itertools.count()
        values = pool.client.load_balanced_view().imap(abs, read, buffersize=5)
        assert [next(values) for _ in range(10)] == list(range(10))
        assert next(read) <= 16
    pool.join()


def test_H7_reduce(view: View) -> None:
    assert view.reduce(operator.add, range(101)) == 5050
    words = ["a", "b", "c", "d", "e"]
    assert view.reduce(operator.add, words) == "abcde", "in order: it need not be commutative"
    assert view.reduce(operator.add, words, "0") == functools.reduce(operator.add, words, "0") == "0abcde"
    assert view.reduce(operator.add, [7]) == 7 and view.reduce(operator.add, iter([1, 2])) == 3
    assert view.reduce(operator.add, [], 5) == 5
    with pytest.raises(TypeError, match="empty"):
        view.reduce(operator.add, [])
    assert view.reduce(lambda a, b: max(a, b), [3, 9, 2]) == 9
    with pytest.raises((TypeError, CompositeError)) as info:
        view.reduce(operator.add, [1, "a", 2, 3])
    assert "TypeError" in str(info.value)


def test_H8_as_the_pool_s_map(pool: Pool, rc: Client) -> None:
    lview = rc.load_balanced_view()
    for items in (range(50), "text", [], iter(range(3))):
        copy = list(items)
        assert lview.map_sync(repr, copy) == pool.map(repr, copy)
    assert lview.map_sync(abs, range(20), chunksize=6) == pool.map(abs, range(20), chunksize=6)
    assert lview.map_sync(add, [1, 2], [3, 4]) == pool.starmap(add, [(1, 3), (2, 4)])
    assert lview.map_async(abs, [-1]).get(PATIENCE) == pool.map_async(abs, [-1]).get(PATIENCE)
    assert list(lview.imap(abs, range(5))) == list(pool.imap(abs, range(5)))


def test_H8_items_are_those_of_the_call(rc: Client, gate: Gate) -> None:
    """What becomes of a list after the call changes nothing."""
    items = list(range(2000))
    held = rc.load_balanced_view().map_async(hold, [gate] * 2000, items, [0] * 2000)
    plain = rc.load_balanced_view().map_async(abs, items)
    items.clear()
    gate.open()
    assert held.get(PATIENCE) == plain.get(PATIENCE) == list(range(2000))


def test_H9_a_parallel_list_comprehension(rc: Client) -> None:
    dview = rc[:]
    dview.scatter("x", range(64), block=True)
    dview.execute("y = [i**10 for i in x]", block=True)
    assert dview.gather("y", block=True) == [x**10 for x in range(64)]


# H. Errors of single items ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"chunksize": 1}, {"ordered": False}, {"retries": 1}])
def test_H_errors_are_those_of_their_items(rc: Client, options: dict[str, Any]) -> None:
    result = rc.load_balanced_view().map_async(square_or_fail, range(9), **options)
    with pytest.raises(CompositeError) as info:
        result.get(PATIENCE)
    error = info.value
    assert [each for each in error.results if not isinstance(each, Exception)] == [0, 1, 9, 16, 36, 49]
    assert [str(error.results[n].args) for n in (2, 5, 8)] == ["(2,)", "(5,)", "(8,)"]
    assert len(error.elist) == len(error.exceptions) == 3
    for each in error.exceptions:
        assert isinstance(each, ValueError) and isinstance(each, RemoteError) and each.engine_id in rc.ids
    assert str(error).startswith("one or more exceptions from call to method: map\n[")
    assert str(error).count("ValueError: ") == 3
    values = result.get(return_exceptions=True)
    assert [each is other for each, other in zip(values, error.results, strict=True)] == [True] * 9
    with pytest.raises(CompositeError):
        result.get()


def test_H_errors_of_a_chunk_are_those_of_all_its_items(rc: Client) -> None:
    result = rc.load_balanced_view().map_async(square_or_fail, range(8), chunksize=2)
    with pytest.raises(CompositeError) as info:
        result.get(PATIENCE)
    values = info.value.results
    assert values[:2] == [0, 1] and values[6:] == [36, 49] and len(info.value.elist) == 2
    assert values[2] is values[3] and isinstance(values[2], ValueError) and values[4] is values[5]


@pytest.mark.parametrize("dist", ["b", "r"])
def test_H_errors_of_a_direct_map_leave_the_other_engines_values(rc: Client, dist: str) -> None:
    items = [0, 1, 3, 2] if dist == "b" else [0, 2, 1, 3]
    result = rc[:].map_async(square_or_fail, items, dist=dist)
    with pytest.raises(CompositeError) as info:
        result.get(PATIENCE)
    error = info.value
    assert len(error.elist) == 1 and error.elist[0][3] == {"engine_id": 1, "method": "map"}
    assert [each for each in error.results if not isinstance(each, Exception)] == ([0, 1] if dist == "b" else [0, 1])
    assert len(error.results) == 4 and str(error).splitlines()[1] == "[1:map]: ValueError: 2"
    assert result.get(return_exceptions=True)[0] == 0


def test_H_errors_of_one_engine_s_map(rc: Client) -> None:
    with pytest.raises(ValueError) as info:
        rc[0].map_sync(square_or_fail, [0, 2, 1])
    assert isinstance(info.value, RemoteError) and info.value.engine_id == 0


@pytest.mark.parametrize("ordered", [True, False])
def test_H_errors_come_when_it_is_their_items_turn(rc: Client, gate: Gate, ordered: bool) -> None:
    result = rc.load_balanced_view().map_async(
        fail_or_hold, [gate] * 4, ["fine", "bad", "fine", "held"], ordered=ordered, chunksize=1
    )
    values = iter(result)
    if ordered:
        assert next(values) == "fine"
    with pytest.raises(KeyError) as info:
        collections.deque(itertools.islice(values, 3), 0)
    assert isinstance(info.value, RemoteError) and not result.ready(), "and nobody waits for the others"
    gate.open()
    result.wait(PATIENCE)


def fail_or_hold(gate: Gate, what: str) -> str:
    if what == "bad":
        raise KeyError(what)
    if what == "held":
        gate.arrive(what)
    return what


@pytest.mark.parametrize(
    "odd", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1), StopAsyncIteration()]
)
def test_H_errors_that_end_other_things_end_nothing_here(rc: Client, odd: BaseException) -> None:
    lview = rc.load_balanced_view()
    name = type(odd).__name__
    for result in (
        lview.map_async(fail, [odd]),
        lview.map_async(fail, [odd], chunksize=2),
        rc[:].map_async(fail, [odd]),
    ):
        with pytest.raises(CompositeError) as info:
            result.get(PATIENCE)
        assert [entry[0] for entry in info.value.elist] == [name]
        with pytest.raises((RemoteError, CompositeError), match=name):
            list(result)
    for stream in (lview.imap(fail, [odd]), lview.imap(fail, iter([odd]), ordered=False)):
        with pytest.raises(RemoteError, match=name):
            next(stream)
        assert list(stream) == []
    assert rc[:].apply_sync(abs, -1) == [1, 1]


def test_H_items_that_cannot_be_pickled_fail_alone(rc: Client) -> None:
    items = [1, threading.Lock(), 3]
    for options in ({"chunksize": 1}, {"chunksize": 1, "ordered": False}):
        result = rc.load_balanced_view().map_async(repr, items, **options)
        with pytest.raises(CompositeError) as info:
            result.get(PATIENCE)
        assert info.value.results[0] == "1" and info.value.results[2] == "3"
        assert isinstance(info.value.results[1], SerializationError) and "lock" in str(info.value)
    values = rc.load_balanced_view().imap(repr, items)
    assert next(values) == "1"
    with pytest.raises(SerializationError, match="lock"):
        next(values)
    assert list(values) == ["3"]
    with pytest.raises(SerializationError, match="lock"):
        rc[:].map(repr, items)


def test_H_values_that_cannot_be_pickled_fail_alone(rc: Client) -> None:
    lview = rc.load_balanced_view()
    for result in (lview.map_async(lock_or_number, range(3)), lview.map_async(lock_or_number, range(3), chunksize=1)):
        with pytest.raises(CompositeError) as info:
            result.get(PATIENCE)
        assert info.value.results[0] == 0 and info.value.results[2] == 2 and "lock" in str(info.value)


def lock_or_number(number: int) -> Any:
    return threading.Lock() if number == 1 else number


def test_H_an_error_of_the_iterable_itself(rc: Client) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    for view in (rc[:], rc.load_balanced_view()):
        with pytest.raises(LookupError, match="no more"):
            view.map(abs, broken())
    values = rc.load_balanced_view().imap(abs, broken())
    assert next(values) == 1
    with pytest.raises(LookupError, match="no more"):
        next(values)


def test_H_functions_that_cannot_be_pickled(view: View) -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationError, match=r"__closure__\['lock'\]"):
        view.map(lambda x: (x, lock), [1, 2])


def test_H_only_the_victim_of_a_death_fails() -> None:
    with Pool(2) as pool:
        lview = pool.client.load_balanced_view()
        result = lview.map_async(die_at, range(20), [7] * 20)
        with pytest.raises(CompositeError) as info:
            result.get(PATIENCE)
        assert isinstance(info.value.results[7], EngineLost) and len(info.value.elist) == 1
        assert [each for n, each in enumerate(info.value.results) if n != 7] == [n for n in range(20) if n != 7]
        assert pool.client.wait_for_engines(2, PATIENCE)
        assert pool.client.load_balanced_view().map_sync(abs, range(-9, 0)) == list(range(9, 0, -1))
    pool.join()


def die_at(number: int, victim: int) -> int:
    if number == victim:
        os._exit(3)
    return number


def test_H_retries_of_a_map(tmp_path: Path) -> None:
    with Pool(2) as pool:
        lview = pool.client.load_balanced_view()
        assert lview.map_sync(die_once, [str(tmp_path)] * 12, range(12), retries=1) == list(range(12))
    pool.join()


def die_once(folder: str, number: int) -> int:
    mark = Path(folder, "died")
    if number == 5 and not mark.exists():
        mark.touch()
        os._exit(1)
    return number


# H. More ways to map ----------------------------------------------------------------------------------------


def test_H_chunks(rc: Client) -> None:
    lview = rc.load_balanced_view()
    for size in (1, 3, 10, 11, 100):
        result = lview.map_async(abs, range(10), chunksize=size)
        assert result.get(PATIENCE) == list(range(10))
        assert len(result.msg_ids) == len(result.split()) == -(-10 // size)
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(ValueError, match="chunksize"):
            lview.map(abs, [1], chunksize=wrong)
        with pytest.raises(ValueError, match="chunksize"):
            lview.imap(abs, [1], chunksize=wrong)


def test_H_progress_shows_a_bar(rc: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    assert rc.load_balanced_view().map_sync(abs, range(9), progress=True) == list(range(9))
    assert "9/9" in shown.getvalue()


def test_H_items_may_be_references(rc: Client) -> None:
    rc[:].push({"here": 5, "power": tenth_power}, block=True)
    for view in (rc[:], rc.load_balanced_view(), rc[1]):
        assert view.map_sync(add, [Reference("here"), 1], [Reference("here + 1"), 2]) == [11, 3]
        assert view.map_sync(functools.partial(add, Reference("here")), range(4)) == [5, 6, 7, 8]
    rc[:].push({"here": 7}, block=True)
    assert rc[:].map_sync(functools.partial(add, Reference("here")), range(2)) == [7, 8], "looked up anew"


def test_H_maps_within_a_map_s_callbacks(rc: Client) -> None:
    lview = rc.load_balanced_view()
    values: list[Any] = []
    result = lview.map_async(abs, range(5))
    result.add_done_callback(lambda done: values.append(lview.map_sync(abs, [-n for n in done.get()])))
    until(lambda: values)
    assert values == [[0, 1, 2, 3, 4]]


def test_H_values_are_opened_by_whoever_asks(rc: Client) -> None:
    """An object that needs an engine to be opened does not block the loop that brings the engine's answer."""
    global opening
    opening = rc
    try:
        for result in (
            rc.load_balanced_view().map_async(make_asking, range(6), chunksize=1),
            rc.load_balanced_view().map_async(make_asking, range(6), ordered=False),
            rc[:].map_async(make_asking, range(6)),
        ):
            assert sorted(each.answer for each in result) == [0, 1, 2, 3, 4, 5]
            assert [each.answer for each in result.get(PATIENCE)] == [0, 1, 2, 3, 4, 5]
    finally:
        opening = None


opening: Client | None = None


class Asking:
    """Asks an engine when it is opened here."""

    def __init__(self, number: int) -> None:
        self.answer = number

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if opening is not None:
            self.answer = opening[0].apply_async(abs, -self.answer).get(PATIENCE)


def make_asking(number: int) -> Asking:
    return Asking(number)


# I. The load-balanced view -----------------------------------------------------------------------------------


def test_I1_a_task_is_a_function_with_arguments(rc: Client) -> None:
    lview = rc.load_balanced_view()
    assert lview.apply_sync(divmod, 17, 5) == (3, 2)
    assert lview.apply_sync(dict, a=1, f=2, self=3, args=4, kwargs=5) == dict(a=1, f=2, self=3, args=4, kwargs=5)
    assert lview.apply_sync(lambda x, *, y: x - y, 5, y=3) == 2


def test_I2_engine_resident_and_sent_data(rc: Client) -> None:
    numpy = pytest.importorskip("numpy")
    a, b = numpy.arange(6.0).reshape(2, 3), numpy.arange(12.0).reshape(3, 4)
    rc[:].push({"A": a}, block=True)
    result = rc.load_balanced_view().apply(numpy.dot, Reference("A"), b)
    assert numpy.array_equal(result.get(), a.dot(b))


def test_I3_one_call_is_one_task(rc: Client) -> None:
    def completed() -> int:
        return sum(each["completed"] for id, each in rc.queue_status().items() if isinstance(id, int))

    before = completed()
    assert rc.load_balanced_view().apply_sync(add, 1, 2) == 3
    assert completed() == before + 1


def test_I4_without_targets_the_least_loaded_engine_takes_it(rc: Client, gate: Gate) -> None:
    first, second = pids(rc)
    held = rc[0].apply_async(through, gate)
    gate.await_one(None)
    lview = rc.load_balanced_view()
    assert [lview.apply_sync(os.getpid) for _ in range(5)] == [second] * 5
    assert rc.queue_status(0)["tasks"] == 1
    gate.open()
    held.wait(PATIENCE)
    waiting = [lview.apply_async(through, Gate(Path(gate.folder)), n) for n in range(8)]
    assert rc.wait(waiting, PATIENCE)
    assert lview.targets is None and repr(lview) == "<LoadBalancedView None>"


def test_I5_with_targets_one_of_them_takes_it(rc: Client) -> None:
    first, second = pids(rc)
    assert {rc.load_balanced_view([1]).apply_sync(os.getpid) for _ in range(4)} == {second}
    assert rc.load_balanced_view([0, 1]).apply_sync(os.getpid) in (first, second), "one value, not a list"
    given = rc.send_apply_request(os.getpid, targets=[0], balanced=True, block=True)
    assert given == first
    assert rc.send_apply_request(os.getpid, targets=[0, 1], balanced=True, block=True) in (first, second)
    assert rc.send_apply_request(os.getpid, targets=[0, 1], block=True) == [first, second]
    with pytest.raises(IndexError, match=r"\[0, 1\]"):
        rc.load_balanced_view([5])


def test_I6_dependencies_are_the_load_balanced_view_s(rc: Client) -> None:
    for flag in ("after", "follow", "timeout", "policy"):
        assert getattr(rc.load_balanced_view(), flag) is None
        assert not hasattr(rc[:], flag)
        with pytest.raises(AttributeError):
            setattr(rc[:], flag, None)
        with pytest.raises(TypeError):
            rc[:].set_flags(**{flag: None})
    done = rc[0].apply_async(abs, -1)
    for ordering in ({"after": done}, {"follow": done}, {"timeout": 1}):
        with pytest.raises(ValueError, match="load-balanced"):
            rc.send_apply_request(abs, [-1], targets=[0], **ordering)
        assert rc.send_apply_request(abs, [-1], block=True, **ordering) == 1
    for view in (rc[:], rc.load_balanced_view()):
        for flag, wrong in (("retries", -1), ("task_timeout", 0), ("retries", "x")):
            with pytest.raises((ValueError, TypeError)):
                view.set_flags(**{flag: wrong})
        assert view.retries == 0 and view.task_timeout is None


@pytest.mark.parametrize("policy", ["leastload", "lru", "weighted", "plainrandom", "twobin"])
def test_I6_policies(rc: Client, policy: str) -> None:
    lview = rc.load_balanced_view()
    with lview.temp_flags(policy=policy):
        assert lview.map_sync(abs, range(-50, 0)) == list(range(50, 0, -1))
        assert lview.map_sync(abs, range(-9, 0), chunksize=1) == list(range(9, 0, -1))
        assert [lview.apply_sync(abs, -n) for n in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="leastload"):
        lview.policy = "best"


def test_I7_it_is_documented() -> None:
    text = LoadBalancedView.__doc__ or ""
    for word in ("after", "follow", "timeout", "policy", "targets"):
        assert f"``{word}``" in text
    assert "retries" in (View.__doc__ or "") and "task_timeout" in (View.__doc__ or "")
    for name in ("apply", "apply_async", "apply_sync", "map", "map_async", "map_sync", "imap", "reduce"):
        for kind in (LoadBalancedView, DirectView):
            assert getattr(kind, name).__doc__
