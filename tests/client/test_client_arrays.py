"""Large arrays between a Pool and its engines: what arrives, whose it is, and what becomes of the memory."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mounts import run_behind

import parpool
from parpool.shm import files

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(not files.possible or not os.path.isdir("/dev/shm"), reason="needs /dev/shm")

N = 100_000
kept: list[Any] = []


def total(a: Any) -> float:
    return float(a.sum())


def make(n: int) -> Any:
    return numpy.arange(float(n))


def echo(a: Any) -> Any:
    return a


def change(a: Any) -> Any:
    a[:] = -1
    return float(a[0]), a.flags.writeable


def keep(a: Any) -> int:
    kept.append(a)
    return os.getpid()


def kept_total() -> float:
    return float(sum(each.sum() for each in kept))


def drop() -> None:
    kept.clear()


def die_at_first(a: Any, path: str) -> float:
    value = float(a.sum())
    a[:] = 0
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def refuse_at_first(a: Any, path: str) -> tuple[float, int]:
    if not os.path.exists(path):
        Path(path).touch()
        raise parpool.UnmetDependency("another one")
    return float(a.sum()), os.getpid()


def fail(a: Any) -> None:
    raise ValueError(f"sum {a.sum():g}")


@pytest.fixture(scope="module")
def pool() -> Iterator[parpool.Pool]:
    with parpool.Pool(2) as made:
        made.client[:].apply_sync(os.getpid)  # both are there
        yield made
    made.join()


def store(pool: parpool.Pool) -> Any:
    return pool._link._store  # type: ignore[union-attr]


def folder_of(pool: parpool.Pool) -> str:
    return str(pool._link.host.session.folder)  # type: ignore[union-attr]


def reserved_after(pool: parpool.Pool) -> int:
    """Bytes that are still in use when all that can be freed is."""
    segments = store(pool)
    pool.client[:].apply_sync(gc.collect)  # what is in cycles on the engines
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        gc.collect()
        with segments._lock:
            segments._look_everywhere()
        if segments.reserved == segments.idle:
            break
        time.sleep(0.01)
    return int(segments.reserved - segments.idle)


def test_arrays_go_by_shared_memory_both_ways(pool: parpool.Pool) -> None:
    a = numpy.arange(float(N))
    assert pool.apply(total, (a,)) == a.sum()
    assert numpy.array_equal(pool.apply(make, (N,)), a)
    assert store(pool).reserved >= a.nbytes
    names = os.listdir(folder_of(pool))
    assert any(name.startswith("memory-client") for name in names)
    assert any(name.startswith("memory-engine") for name in names)


def test_they_arrive_writable_and_belong_to_the_receiver(pool: parpool.Pool) -> None:
    a = numpy.arange(float(N))
    a.flags.writeable = False
    assert pool.apply(change, (a,)) == (-1.0, True)
    assert a[5] == 5
    back = pool.apply(echo, (a,))
    back[:] = 3
    assert numpy.array_equal(pool.apply(echo, (a,)), a) and back.min() == 3


def test_the_caller_may_change_its_array_after_the_call(pool: parpool.Pool) -> None:
    results, a = [], numpy.zeros(N)
    for number in range(20):
        a[:] = number
        results.append(pool.apply_async(total, (a,)))
    a[:] = -1
    assert [result.get(60) for result in results] == [number * float(N) for number in range(20)]


def test_memory_is_used_again(pool: parpool.Pool) -> None:
    a = numpy.arange(float(N))
    for _ in range(5):
        pool.apply(total, (a,))
    before = store(pool).reserved
    for _ in range(50):
        pool.apply(total, (a,))
    assert store(pool).reserved <= before + 2 * a.nbytes
    assert reserved_after(pool) == 0


def test_maps_of_arrays(pool: parpool.Pool) -> None:
    items = [numpy.full(N, float(number)) for number in range(12)]
    for values in (
        pool.map(echo, items),
        pool.map(echo, items, chunksize=5),
        list(pool.imap(echo, items)),
        list(pool.imap(echo, iter(items), 3)),
        [value for (value,) in pool.starmap(echo, [((each,),) for each in items])],
        pool.map(echo, items, retries=1),
    ):
        assert [value[0] for value in values] == list(range(12))
        assert all(numpy.array_equal(value, item) for value, item in zip(values, items, strict=True))
    one = numpy.arange(2.0 * N).reshape(20, -1)
    assert numpy.array_equal(numpy.array(pool.map(echo, one)), one)
    assert sorted(pool.imap_unordered(total, items)) == [float(N) * number for number in range(12)]


def test_views_live_as_long_as_somebody_has_them(pool: parpool.Pool) -> None:
    back = [pool.apply(make, (N,))[5:10] for _ in range(20)]
    assert all(each.tolist() == [5, 6, 7, 8, 9] for each in back)
    pids = {pool.apply(keep, (numpy.full(N, 2.0),)) for _ in range(6)}
    for _ in range(10):
        pool.apply(total, (numpy.zeros(N),))
    view = pool.client[:]
    assert sum(view.apply_sync(kept_total)) == 12.0 * N and pids
    view.apply_sync(drop)
    assert reserved_after(pool) == 0


def test_results_that_nobody_opens_are_freed(pool: parpool.Pool) -> None:
    def use() -> int:
        for _ in range(8):
            pool.apply_async(make, (N,)).wait()
        return sum(os.stat(entry.path).st_blocks * 512 for entry in os.scandir(folder_of(pool)))

    use()
    before = use()
    for _ in range(5):
        use()
    assert use() <= before + 4 * 8 * N


def test_what_is_deep_in_other_things(pool: parpool.Pool) -> None:
    a = numpy.arange(float(N))
    local = {"b": [a, (a * 2, "text")], "c": b"x" * 300_000, "d": bytearray(300_000), "e": "é" * 200_000}
    back = pool.apply(echo, (local,))
    assert numpy.array_equal(back["b"][0], a) and numpy.array_equal(back["b"][1][0], a * 2)
    assert {name: back[name] for name in "cde"} == {name: local[name] for name in "cde"}
    assert pool.apply(lambda x, y: y.sum(x), (a, numpy)) == a.sum()
    assert pool.apply(lambda x: type("Local", (), {"x": x})().x.sum(), (a,)) == a.sum()


def test_a_call_that_fails_frees_its_arguments(pool: parpool.Pool) -> None:
    with pytest.raises(ValueError, match="sum 0"):
        pool.apply(fail, (numpy.zeros(N),))
    assert reserved_after(pool) == 0


def test_a_call_that_is_tried_again_has_what_was_sent(tmp_path: Path) -> None:
    a = numpy.ones(N)
    with parpool.Pool(2) as pool:
        assert pool.apply(die_at_first, (a, str(tmp_path / "died")), retries=1) == N
        with pytest.raises(parpool.EngineLost):
            pool.apply(die_at_first, (a, str(tmp_path / "died again")))
        assert pool.map(lambda x: die_at_first(x, f"{tmp_path}/{int(x[1])}"), [a * 0, a], retries=2) == [0, N]
        assert reserved_after(pool) == 0
        names = os.listdir(folder_of(pool))
        assert not [
            name for name in names if name.startswith(("memory-engine-0", "memory-engine-1")) and dead(pool, name)
        ]
    pool.join()


def dead(pool: parpool.Pool, name: str) -> bool:
    """Is this the memory of an engine that is no more?"""
    return name.removeprefix("memory-").rpartition("-")[0] not in {m.uid for m in pool._link.host.members}  # type: ignore[union-attr]


def test_a_call_that_an_engine_does_not_take_goes_to_another(pool: parpool.Pool, tmp_path: Path) -> None:
    a, view = numpy.ones(N), pool.client.load_balanced_view()
    assert view.apply_sync(refuse_at_first, a, str(tmp_path / "one"))[0] == N
    assert pool.apply(refuse_at_first, (a, str(tmp_path / "two")))[0] == N
    assert reserved_after(pool) == 0


def test_many_readers_of_one_push(pool: parpool.Pool) -> None:
    a, view = numpy.arange(float(N)), pool.client[:]
    before = reserved_after(pool)
    view.push({"shared_by_many": a}, block=True)
    assert reserved_after_push(pool) - before <= a.nbytes + 4096
    assert view.apply_sync(eval_change, "shared_by_many")[0] == a.sum()
    assert view["shared_by_many"][0][0] == -1 and view.pull("shared_by_many.sum()", block=True) == [a.sum() - 1] * 2
    del view["shared_by_many"]
    assert reserved_after(pool) == 0
    view.scatter("parts", a, block=True)
    assert numpy.array_equal(view.gather("parts", block=True), a)
    del view["parts"]


def test_a_push_to_eight_costs_the_memory_of_one() -> None:
    a = numpy.arange(4_000_000.0)
    with parpool.Pool(8) as pool:
        view = pool.client[:]
        view.apply_sync(os.getpid)
        view.push({"shared_by_eight": a}, block=True)
        used = sum(os.stat(entry.path).st_blocks * 512 for entry in os.scandir(folder_of(pool)))
        assert a.nbytes <= used < 1.1 * a.nbytes
        assert view.pull("shared_by_eight.sum()", block=True) == [a.sum()] * 8
        view.apply_sync(eval_change, "shared_by_eight")
        assert view.pull("shared_by_eight[:2]", block=True)[7].tolist() == [-1, 1] and a[0] == 0
    pool.join()


def reserved_after_push(pool: parpool.Pool) -> int:
    segments = store(pool)
    with segments._lock:
        segments._look_everywhere()
    return int(segments.reserved - segments.idle)


def eval_change(name: str) -> float:
    array = sys.modules["__main__"].__dict__[name]
    value = float(array.sum())
    array[0] = -1
    return value


def test_results_stay_valid_when_the_pool_has_ended() -> None:
    with parpool.Pool(1) as pool:
        back, late = pool.apply(make, (N,)), pool.apply_async(make, (N,))
        late.wait()
        folder = folder_of(pool)
    pool.join()
    assert not os.path.exists(folder)
    assert numpy.array_equal(back, numpy.arange(float(N)))
    assert numpy.array_equal(late.get(), back)
    back[:] = 1


@pytest.mark.parametrize("setting", [{"PARPOOL_SHM_MAX": "0"}, {"PARPOOL_SHM_MAX": "1000000"}])
def test_without_shared_memory_all_is_the_same(setting: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    a = numpy.arange(2.0 * N)
    a.flags.writeable = False
    with parpool.Pool(2) as pool:
        assert pool.apply(change, (a,)) == (-1.0, True)
        back = pool.map(echo, [a] * 4)
        assert all(numpy.array_equal(each, a) and each.flags.writeable for each in back)
        assert store(pool).reserved <= 1_000_000
    pool.join()


def test_a_setting_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARPOOL_SHM_THRESHOLD", "much")
    with pytest.raises(ValueError, match="PARPOOL_SHM_THRESHOLD must be a number, not 'much'"):
        parpool.Pool(1)


KILLED = r"""
import os, signal, sys, numpy, parpool
def hold(a):
    os.write(1, b"%d\n" % os.getpid())
    signal.pause()
if __name__ == "__main__":
    pool = parpool.Pool(2)
    kept = pool.apply(numpy.ones, (500_000,))
    os.write(1, pool._link._host.session.folder.encode() + b"\n")
    results = [pool.apply_async(hold, (numpy.ones(500_000),)) for _ in range(2)]
    signal.pause()
"""


def test_nothing_is_left_after_the_end_of_everything_by_force(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder, *pids = [process.stdout.readline().strip() for _ in range(3)]
    assert sum(name.startswith("memory-") for name in os.listdir(folder)) >= 2
    for pid in [*map(int, pids), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    with parpool.Pool(1) as pool:
        assert pool.apply(abs, (-1,)) == 1
    pool.join()
    assert not os.path.exists(folder)


SMALL_DISK = r"""
import os, numpy, parpool
def echo(a): return a
if __name__ == "__main__":
    with parpool.Pool(2) as pool:
        items = [numpy.full(250_000, float(n)) for n in range(8)]  # 16 MB each way, on 6 MB
        for _ in range(3):
            assert all((a == b).all() for a, b in zip(pool.map(echo, items), items, strict=True))
            results = [pool.apply_async(echo, (item,)) for item in items]
            assert all((r.get() == item).all() for r, item in zip(results, items, strict=True))
        assert any(name.startswith("memory-") for name in os.listdir(pool._link.host.session.folder))
    pool.join()
"""


def test_a_small_dev_shm_is_filled_and_no_more(tmp_path: Path) -> None:
    script = tmp_path / "small.py"
    script.write_text(SMALL_DISK)
    done = run_behind("mount -t tmpfs -o size=6m tmpfs /dev/shm", script)
    assert done.returncode == 0, done.stderr
