"""Large arrays in calls of joblib's Parallel: which of them are one memory, and what they are on the engine."""

from __future__ import annotations

import copyreg
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

numpy = pytest.importorskip("numpy")
pytest.importorskip("joblib", reason="joblib is installed in one environment only")
from joblib import Parallel, delayed  # noqa: E402
from parpool.compat.joblib_arrays import Arrays  # noqa: E402

from parpool import share  # noqa: E402

pytestmark = pytest.mark.usefixtures("joblib_backend")


def place(array: Any) -> tuple[str, bool, int]:
    return type(array).__name__, array.flags.writeable, array.__array_interface__["data"][0]


def test_an_array_that_many_calls_need_is_one_memory(two: None) -> None:
    array = numpy.arange(10**6)
    found = Parallel(batch_size=1)(
        delayed(lambda a, n: (*place(a), os.getpid(), int(a[n])))(array, n) for n in range(12)
    )
    assert {(kind, writeable) for kind, writeable, *_ in found} == {("ndarray", False)}, "read-only, as joblib has it"
    assert [last for *_, last in found] == list(range(12))
    places = {(where, engine) for _, _, where, engine, _ in found[1:]}
    assert len(places) <= 2, "one for each engine, from the second call on"
    with pytest.raises(ValueError, match="read-only"):
        Parallel(batch_size=1)(delayed(array.__class__.fill)(array, 1) for _ in range(3))
    assert array[1] == 1


class Box:
    def __init__(self, array: Any) -> None:
        self.array = array

    def place(self, n: int) -> Any:
        return found_in(self.array, n)


def found_in(array: Any, n: int) -> Any:
    return (*place(array), os.getpid(), int(array[n]))


WAYS: dict[str, Callable[[Any], Callable[[int], Any]]] = {
    "list": lambda array: lambda n: delayed(lambda items, n: found_in(items[1][0], n))([n, (array,)], n),
    "dict": lambda array: lambda n: delayed(lambda d, n: found_in(d["x"], n))({"x": array, "n": n}, n=n),
    "object": lambda array: lambda n: delayed(lambda box, n: box.place(n))(Box(array), n),
    "method": lambda array: lambda n: delayed(Box(array).place)(n),
    "partial": lambda array: lambda n: delayed(partial(found_in, array))(n),
    "closure": lambda array: lambda n: delayed(lambda n: found_in(array, n))(n),
}


@pytest.mark.parametrize("way", WAYS)
def test_wherever_it_lies(two: None, way: str) -> None:
    array = numpy.arange(10**6)
    make = WAYS[way](array)
    found = Parallel(batch_size=1)(make(n) for n in range(8))
    assert {(kind, writeable) for kind, writeable, *_ in found} == {("ndarray", False)}
    assert [last for *_, last in found] == list(range(8))
    assert len({(where, engine) for _, _, where, engine, _ in found[1:]}) <= 2, "one memory for each engine"
    assert numpy.ndarray not in copyreg.dispatch_table


def test_in_a_sparse_matrix(two: None) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.random(2000, 2000, 0.1, "csr", random_state=0)
    assert matrix.data.nbytes >= 2**20
    found = Parallel(batch_size=1)(delayed(lambda m: (m.sum(), *place(m.data), os.getpid()))(matrix) for _ in range(8))
    assert {total for total, *_ in found} == {matrix.sum()} and len({each[3:] for each in found[1:]}) <= 2


def test_in_a_frame_of_pandas(two: None) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(numpy.arange(10**6.0).reshape(-1, 4), columns=list("abcd"))
    found = Parallel(batch_size=1)(
        delayed(lambda f: (f["a"].sum(), *place(f["a"].to_numpy()), os.getpid()))(frame) for _ in range(8)
    )
    assert {total for total, *_ in found} == {frame["a"].sum()} and len({each[3:] for each in found[1:]}) <= 2


class PicklesItself:
    """By an older protocol than arrays that are left out of a pickle need."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce__(self) -> Any:
        return PicklesItself.made, (pickle.dumps(self.array, 2),)

    @staticmethod
    def made(data: bytes) -> PicklesItself:
        return PicklesItself(pickle.loads(data))


def test_in_what_pickles_by_itself(two: None) -> None:
    thing = PicklesItself(numpy.arange(10**6))
    assert (
        Parallel(batch_size=1)(delayed(lambda t: int(t.array.sum()))(thing) for _ in range(4))
        == [thing.array.sum()] * 4
    )


def test_arrays_that_cannot_be_written_to_here(two: None) -> None:
    small, large = numpy.arange(10), numpy.arange(10**6)
    small.flags.writeable = large.flags.writeable = False
    found = Parallel(batch_size=1)(delayed(lambda s, a: (*place(a), int(s[0].sum())))([small], large) for _ in range(6))
    assert {(kind, writeable, total) for kind, writeable, _, total in found} == {("ndarray", False, 45)}


def test_others_pickle_arrays_meanwhile() -> None:
    array, arrays = numpy.arange(10**6), Arrays(2**20, "r")
    found = []

    def other() -> None:
        for protocol in range(6):
            copy = pickle.loads(pickle.dumps(array, protocol))
            found.append((array == copy).all() and copy.flags.writeable)

    with arrays.laid_out(), arrays.laid_out():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [True] * 6 and numpy.ndarray not in copyreg.dispatch_table


def test_a_forked_process_has_no_word_on_arrays() -> None:
    context = multiprocessing.get_context("fork")
    with Arrays(2**20, "r").laid_out():
        child = context.Process(target=lambda: os._exit(numpy.ndarray in copyreg.dispatch_table))
        child.start()
        child.join()
        assert child.exitcode == 0 and numpy.ndarray in copyreg.dispatch_table
        child.close()


def test_what_others_have_in_the_table_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def theirs(array: Any) -> Any:
        asked.append(array.nbytes)
        return array.__reduce__()

    monkeypatch.setitem(copyreg.dispatch_table, numpy.ndarray, theirs)
    thread = threading.Thread(target=pickle.dumps, args=(numpy.arange(4),))
    with Arrays(2**20, "r").laid_out():
        thread.start()
        thread.join()
    assert len(asked) == 1 and copyreg.dispatch_table[numpy.ndarray] is theirs


def test_arrays_that_are_small_or_not_to_be_mapped_are_private(two: None) -> None:
    small, large = numpy.arange(10), numpy.arange(10**6)
    assert all(writeable for _, writeable, _ in Parallel()(delayed(place)(small) for _ in range(5)))
    for options in ({"max_nbytes": None}, {"mmap_mode": "c"}, {"mmap_mode": None}, {"max_nbytes": "100M"}):
        assert all(writeable for _, writeable, _ in Parallel(**options)(delayed(place)(large) for _ in range(5)))


def test_arrays_that_engines_write_to_together(two: None) -> None:
    array = numpy.zeros(10**6)

    def write(a: Any, n: int) -> None:
        a[n] = n

    calls = [delayed(write)(array, n) for n in range(10)]
    with Parallel(mmap_mode="w+") as parallel:
        parallel(calls)
        assert parallel([delayed(lambda a: a[:10].sum())(array)] * 2) == [45, 45]
    assert array.sum() == 0
    shared = share(array)
    Parallel()(delayed(write)(shared, n) for n in range(10))
    assert shared[:10].sum() == 45, "whoever shares an array says that it is to be written to"


def test_an_array_that_dies_is_not_taken_for_the_next_one(two: None) -> None:
    sums = Parallel(batch_size=1)(
        delayed(lambda a, b: (a[0], b[0]))(array, array) for n in range(30) for array in [numpy.full(2 * 10**5, n)]
    )
    assert sums == [(n, n) for n in range(30)]
