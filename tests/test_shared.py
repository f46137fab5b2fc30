"""Arrays that are one memory for a client and the engines of its machine."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from sharing import add, pool, total

import parpool
from parpool.shm import files

__all__ = ["pool"]

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(not files.possible or not os.path.isdir("/dev/shm"), reason="needs /dev/shm")

kept: list[Any] = []


def echo(a: Any) -> Any:
    return a


def first_part(a: Any) -> Any:
    return a[:10]


def keep(a: Any) -> None:
    kept.append(a)


def give_kept() -> Any:
    return kept[-1]


def drop() -> None:
    kept.clear()


def assign(place: Any) -> None:
    a, i = place
    a[i] = i


def make_there(n: int) -> Any:
    made = parpool.empty_shared(n)
    made[:] = 3
    return made


def shared_files() -> list[str]:
    """The files of shared memory that there are."""
    return [str(path) for path in Path(os.environ["PARPOOL_RUNTIME_DIR"]).glob("parpool-*/shared-*")]


def test_what_an_engine_writes_is_seen_here_and_by_the_others(pool: parpool.Pool) -> None:
    a = parpool.share(numpy.zeros((100, 200)))
    assert a.shared and len(shared_files()) == 1
    assert pool.apply(add, (a, 2.0)) == ("SharedArray", (100, 200), True, True)
    assert a.min() == a.max() == 2
    a[5] = 0
    assert pool.client[:].apply_sync(total, a) == [2.0 * 99 * 200] * 2


@pytest.mark.parametrize(
    "part",
    [
        lambda a: a[3:5],
        lambda a: a[::-2, 4],
        lambda a: a.T,
        lambda a: a[1:2, 1:][..., ::7],
        lambda a: a.reshape(-1)[17:18],
        lambda a: a[7, 7:8].reshape(()),
        lambda a: a.view(numpy.int64),
    ],
)
def test_views_of_any_kind_and_size_are_the_same_memory(pool: parpool.Pool, part: Any) -> None:
    a = parpool.share(numpy.arange(100.0 * 200).reshape(100, 200))
    before, view = numpy.array(a), part(a)
    back = pool.apply(echo, (view,))
    assert back.shape == view.shape and back.strides == view.strides and numpy.array_equal(back, view)
    pool.apply(add, (view, 1))
    part(before)[...] += 1
    assert numpy.array_equal(a, before)
    back[...] = 5  # what comes back is this memory, too
    assert (view == 5).all()


def test_deep_in_other_things_and_in_maps(pool: parpool.Pool) -> None:
    a = parpool.share(numpy.zeros(1000, dtype=int))
    pool.map(assign, [({"x": a}["x"], i) for i in range(1000)])
    assert a.tolist() == list(range(1000))
    assert pool.apply(lambda d: int(d["deep"][0][0].sum()), ({"deep": [(a,)]},)) == a.sum()
    results = [pool.apply_async(total, (a,), retries=1), pool.client.load_balanced_view().apply_async(total, a)]
    assert [result.get(60) for result in results] == [a.sum()] * 2
    pool.client[:].push({"of_all": a}, block=True)
    pool.client[0].execute("of_all[0] = 77", block=True)
    assert pool.client[1]["of_all[0]"] == 77 and a[0] == 77
    del pool.client[:]["of_all"]


def test_what_cannot_be_written_to_cannot_be_there(pool: parpool.Pool) -> None:
    a = parpool.share(numpy.ones(10))
    a.flags.writeable = False
    with pytest.raises(ValueError, match="read-only|output array is read-only"):
        pool.apply(add, (a, 1.0))
    assert pool.apply(total, (a,)) == 10
    assert not pool.apply(echo, (a,)).flags.writeable


def test_it_is_not_copied(pool: parpool.Pool) -> None:
    a = parpool.share(numpy.ones(1_000_000))
    before = pool._link._store.reserved  # type: ignore[union-attr]
    assert pool.apply(total, (a,)) == 1_000_000
    assert pool._link._store.reserved == before  # type: ignore[union-attr]


def test_other_arrays_are_as_ever(pool: parpool.Pool) -> None:
    a = parpool.share(numpy.ones(100))
    plain = numpy.asarray(a)
    assert type(plain) is numpy.ndarray and type(a + 1) is numpy.ndarray and type(a.sum()) is numpy.float64
    assert not a.copy().shared and type(pool.apply(echo, (a.copy(),))) is numpy.ndarray
    pool.apply(lambda x: x.__setitem__(0, 5), (plain,))
    assert a[0] == 1, "it was a copy"
    assert pickle.loads(pickle.dumps(a)).tolist() == a.tolist() and type(pickle.loads(pickle.dumps(a))) is numpy.ndarray
    assert not getattr(copy.deepcopy(a), "shared", False)


def test_all_dtypes_and_orders() -> None:
    for source in (
        numpy.zeros(5, [("a", "i4"), ("b", "f8", (2,))]),
        numpy.array(["ab", "c"]),
        numpy.arange(6, dtype=">i2").reshape(2, 3),
        numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)),
        numpy.array(3.5),
        numpy.array(["2020-01-01"], "M8[D]"),
        numpy.zeros((0, 3)),
    ):
        made = parpool.share(source)
        assert made.dtype == source.dtype and made.shape == source.shape and numpy.array_equal(made, source)
        assert made.flags.f_contiguous == source.flags.f_contiguous and made.flags.writeable
        assert made.shared == bool(source.size)
    assert parpool.share([1, 2]).tolist() == [1, 2]
    assert parpool.empty_shared((2, 3), "i2", "F").flags.f_contiguous and parpool.empty_shared(4).shape == (4,)
    again = parpool.share(made := parpool.share(numpy.ones(3)))
    assert again is made


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: parpool.share(numpy.array([object()])), "objects elsewhere"),
        (lambda: parpool.share(numpy.ma.masked_less(numpy.arange(4.0), 2)), "share its data and its mask"),
        (lambda: parpool.empty_shared(3, order="K"), "order must be"),
        (lambda: parpool.empty_shared((3, -1)), "negative"),
    ],
)
def test_what_cannot_be_shared_is_told(call: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        call()


def test_engines_keep_what_they_have(pool: parpool.Pool) -> None:
    a = parpool.share(numpy.arange(100_000.0))
    view = pool.client[0]
    view.apply_sync(keep, a)
    a[0] = 7
    del a
    gc.collect()
    assert not shared_files()
    back = view.apply_sync(give_kept)
    assert back[0] == 7 and back.sum() == numpy.arange(100_000.0).sum() + 7
    view.apply_sync(drop)


def test_what_only_the_call_has_lives_as_long_as_it(pool: parpool.Pool) -> None:
    results = [pool.apply_async(echo, (parpool.share(numpy.full(10_000, float(i))),)) for i in range(20)]
    for result in results:
        result.wait()
    gc.collect()
    assert [result.get()[-1] for result in results] == list(range(20))
    assert pool.apply(total, (parpool.share(numpy.ones(10_000))[1:],)) == 9999
    del result, results
    gc.collect()
    assert not shared_files()


def test_what_an_engine_makes_comes_as_a_copy(pool: parpool.Pool) -> None:
    back = pool.apply(make_there, (50_000,))
    assert back.sum() == 150_000 and type(back) is numpy.ndarray
    assert not shared_files()


def test_unshared_it_travels_as_a_copy(pool: parpool.Pool) -> None:
    with parpool.share(numpy.ones(1000)) as a:
        assert pool.apply(add, (a, 1.0))[-1]
    assert not shared_files() and not a.shared and a.sum() == 2000
    assert pool.apply(total, (a,)) == 2000
    pool.apply(lambda x: x.__setitem__(0, 5), (a,))
    assert a[0] == 2


def test_it_outlives_the_pool() -> None:
    a = parpool.share(numpy.zeros(100_000))
    with parpool.Pool(1) as pool:
        pool.apply(add, (a, 3.0))
        back = pool.apply(first_part, (a,))
    pool.join()
    a[0] = 1
    assert back[0] == 1 and a.sum() == 299_998
    with parpool.Pool(1) as pool:
        pool.apply(add, (back, 1.0))
    pool.join()
    assert a[:11].tolist() == [2.0] + [4.0] * 9 + [3.0]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_engines_that_are_no_children_by_fork(method: str) -> None:
    a = parpool.share(numpy.zeros(100_000))
    with parpool.Pool(1, context=multiprocessing.get_context(method)) as pool:
        assert pool.apply(add, (a[5:], 1.0))[0] == "SharedArray" and a.sum() == 99_995
        back = pool.apply(first_part, (a,))
    pool.join()
    a[0] = 4
    assert back[0] == 4


@pytest.mark.parametrize("setting", [{"PARPOOL_SHM_MAX": "0"}, {"PARPOOL_SHM_MAX": "100000"}, {"disk": ""}])
def test_without_shared_memory_it_is_like_any_array(
    setting: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if "disk" in setting:
        setting = {"PARPOOL_RUNTIME_DIR": os.environ["TMPDIR"]}
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    with parpool.share(numpy.ones(20_000)) as a, parpool.Pool(1) as pool:
        assert not a.shared and type(a).__name__ == "SharedArray"
        back = pool.apply(echo, (a,))
        back[0] = 9
        assert a[0] == 1 and back.sum() == 20_008
        assert pool.apply(total, (a[::3],)) == len(a[::3])
    pool.join()
