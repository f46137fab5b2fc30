"""Large arrays between a client and the engines of a cluster on one machine: the controller forwards names only."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_cluster import RealCluster, real_cluster, until

import parpool
from parpool.shm import files

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(not files.possible or not os.path.isdir("/dev/shm"), reason="needs /dev/shm")

N = 200_000


def total(a: Any) -> float:
    return float(a.sum())


def echo(a: Any) -> Any:
    a[0] += 1
    return a


def own_memory() -> list[str]:
    """The memory that this process has open."""
    return sorted({path for fd in os.listdir("/proc/self/fd") if "/memory-" in (path := where(fd))})


def where(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RealCluster]:
    with real_cluster(2) as made:
        with parpool.Client(made.file) as first:  # the engines make their folders when they need them
            first.wait_for_engines(2, timeout=60)
            first[:].apply_sync(echo, numpy.zeros(N))
        yield made


@pytest.fixture
def client(cluster: RealCluster) -> Iterator[parpool.Client]:
    with parpool.Client(cluster.file) as made:
        made.wait_for_engines(2, timeout=60)
        yield made


def test_arrays_go_by_memory_both_ways(client: parpool.Client) -> None:
    a, view = numpy.arange(float(N)), client.load_balanced_view()
    assert view.apply_sync(total, a) == a.sum()
    back = view.apply_sync(echo, a)
    assert back[0] == 1 and numpy.array_equal(back[1:], a[1:]) and back.flags.writeable
    names = [os.path.basename(path).partition("-")[2] for path in own_memory()]
    assert any(name.startswith("client") for name in names) and any(name.startswith("engine") for name in names)


def test_maps_pushes_and_pools(client: parpool.Client) -> None:
    items, view = [numpy.full(N, float(number)) for number in range(8)], client[:]
    assert [each[1] for each in client.load_balanced_view().map_sync(echo, items)] == list(range(8))
    view.push({"a": items[3]}, block=True)
    assert view.pull("a.sum()", block=True) == [3.0 * N] * 2
    assert all(numpy.array_equal(each, items[3]) for each in view["a"])
    view.scatter("part", numpy.arange(4.0 * N), block=True)
    assert numpy.array_equal(view.gather("part", block=True), numpy.arange(4.0 * N))
    del view["a"], view["part"]
    with parpool.Pool(client=client) as pool:
        assert pool.map(total, items) == [number * float(N) for number in range(8)]
        assert numpy.array_equal(pool.apply(echo, (items[5],))[1:], items[5][1:])
    pool.join()


def test_a_result_that_was_taken_is_not_had_again(cluster: RealCluster, client: parpool.Client) -> None:
    result = client.load_balanced_view().apply_async(echo, numpy.zeros(N))
    assert result.get()[0] == 1
    with parpool.Client(cluster.file) as other:
        again = other.get_result(result.msg_ids[0])
        with pytest.raises(parpool.SerializationError, match="is gone"):
            again.get(60)


def test_what_is_to_outlive_its_client_goes_in_messages(cluster: RealCluster) -> None:
    a = numpy.arange(float(N))
    with parpool.Client(cluster.file, on_client_lost="keep") as client:
        client.wait_for_engines(2, timeout=60)
        result = client.load_balanced_view().apply_async(echo, a)
        assert numpy.array_equal(result.get()[1:], a[1:])
        with parpool.Client(cluster.file) as other:
            assert numpy.array_equal(other.get_result(result.msg_ids[0]).get(60)[1:], a[1:])


def test_a_controller_that_is_killed_changes_nothing() -> None:
    with real_cluster(1) as cluster:
        with parpool.Client(cluster.file) as client:
            client.wait_for_engines(1, timeout=60)
            view, a = client.load_balanced_view(), numpy.arange(float(N))
            assert view.apply_sync(total, a) == a.sum()
            cluster.kill_controller()
            late = [view.apply_async(echo, a) for _ in range(3)]
            cluster.start_controller()
            assert all(numpy.array_equal(each.get(60)[1:], a[1:]) for each in late)


def test_nothing_is_left_when_engines_are_killed_and_clients_leave() -> None:
    before = set(own_memory())
    with real_cluster(1) as cluster:
        with parpool.Client(cluster.file) as client:
            client.wait_for_engines(1, timeout=60)
            back = client[0].apply_sync(echo, numpy.zeros(N))
            folders = {os.path.dirname(path) for path in set(own_memory()) - before}
            pid = client[0].apply_sync(os.getpid)
            os.kill(pid, signal.SIGKILL)
            cluster.engines.pop().wait()
            assert back.sum() == 1
        assert folders
    with parpool.Pool(1) as pool:  # whoever starts next
        assert pool.apply(abs, (-1,)) == 1
    pool.join()
    del back
    assert until(lambda: not [folder for folder in folders if Path(folder).exists()])


def add(a: Any, value: float) -> bool:
    a += value
    return bool(getattr(a, "shared", False))


def test_shared_arrays_are_one_memory_with_all_engines(cluster: RealCluster, client: parpool.Client) -> None:
    a = parpool.share(numpy.zeros(N))
    assert client.load_balanced_view().apply_sync(add, a, 1.0) and client[:].apply_sync(add, a[: N // 2], 1.0)
    assert a[-1] == 1 and a[0] == 3
    part = client[1].apply_sync(last_of, a)
    part[:] = 9
    assert a[-1] == 9 and part.shared
    client[:].push({"a": a}, block=True)
    with parpool.Client(cluster.file) as other:  # it is shared by the client that made it, through the engines
        client[0].execute("a[5] = 55", block=True)
        assert other[1]["a[5]"] == 55 and a[5] == 55
    del client[:]["a"]


def last_of(a: Any) -> Any:
    return a[-10:]


def test_what_is_shared_travels_as_a_copy_where_it_must_outlive_its_client(cluster: RealCluster) -> None:
    a = parpool.share(numpy.zeros(N))
    with parpool.Client(cluster.file, on_client_lost="keep") as client:
        client.wait_for_engines(2, timeout=60)
        assert not any(client[:].apply_sync(add, a, 1.0))
        assert a.sum() == 0


def test_mapped_files_travel_by_name(client: parpool.Client, tmp_path: Path) -> None:
    mapped = numpy.memmap(tmp_path / "file", "f8", "w+", 0, (N,))
    mapped[:] = 1
    result = client[:].apply_async(type_of, mapped)
    assert result.get(60) == [("memmap", str(tmp_path / "file"))] * 2


def type_of(a: Any) -> tuple[str, str]:
    return type(a).__name__, str(getattr(a, "filename", ""))
