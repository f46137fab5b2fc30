"""Large arrays between a client and engines of several schedulers, on one machine: by memory, wherever tasks go."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from held import at_gate
from test_schedulers_moves import is_process

import parpool
from parpool import Client, Cluster, depend
from parpool.shm import files
from parpool.shm.session import sweep

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(not files.possible or not os.path.isdir("/dev/shm"), reason="needs /dev/shm")

Until = Callable[..., Any]
N = 200_000


@pytest.fixture(autouse=True, scope="module")
def warm(pair: Cluster) -> None:
    """Engines make their folders when they need them."""
    with pair.connect_client() as first:
        assert first.wait_for_engines(2, 20)
        first[:].apply_sync(echo, numpy.zeros(N))


def echo(a: Any) -> Any:
    a[0] += 1
    return a


def total(a: Any, gate: str = "") -> float:
    if gate:
        at_gate(gate)
    return float(a.sum())


def lies_in(a: Any) -> str:
    """What is mapped where an array lies; in words of the system."""
    address = a.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, *_, name = line.split()
        first, last = (int(each, 16) for each in place.split("-"))
        if first <= address < last:
            return name
    return ""


def test_arguments_and_results_lie_in_memory(two: Client) -> None:
    a = numpy.arange(float(N))
    for id in two.ids:
        assert "/memory-client" in two[id].apply_sync(lies_in, a)
        back = two[id].apply_sync(echo, a)
        assert "/memory-engine" in lies_in(back) and back.flags.writeable
        assert back[0] == 1 and numpy.array_equal(back[1:], a[1:])
    view = two.load_balanced_view()
    calls = [view.apply_async(echo, a) for _ in range(20)]
    for results in (view.map_sync(echo, [a.copy() for _ in range(20)]), [each.get(20) for each in calls]):
        assert all(each[0] == 1 and numpy.array_equal(each[1:], a[1:]) for each in results)
    two[:]["a"] = a
    assert all("/memory-client" in each for each in two[:].apply_sync(lies_in, parpool.Reference("a")))
    assert all(numpy.array_equal(each, a) for each in two[:]["a"])
    del two[:]["a"]


def test_what_moves_takes_its_memory_along(two: Client, tmp_path: Path, until: Until) -> None:
    arrays, view = [numpy.full(N, float(number)) for number in range(30)], two.load_balanced_view()
    view.retries = 1  # so that pieces end item by item
    for engine in two.ids:
        gate = str(tmp_path / f"gate-{engine}")
        long = two[engine].apply_async(total, arrays[1], gate)
        until(lambda engine=engine: list(tmp_path.glob(f"gate-{engine}.*")))
        calls = [view.apply_async(echo, each) for each in arrays]
        pieces = view.map_async(total, arrays, chunksize=10)
        assert [each.get(20)[0] for each in calls] == list(range(1, 31))
        assert pieces.get(20) == [float(N) * number for number in range(30)] and not long.ready()
        Path(gate).touch()
        assert long.get(20) == N


def test_items_behind_one_that_waits(two: Client, tmp_path: Path, until: Until) -> None:
    arrays, view = [numpy.full(N, float(number)) for number in range(12)], two.load_balanced_view()
    view.retries = 1
    gate = tmp_path / "gate"
    result = view.map_async(total, arrays, [str(gate)] + [""] * 11, chunksize=12)
    until(lambda: result.progress == 11)
    gate.touch()
    assert result.get(20) == [float(N) * number for number in range(12)]


def test_what_no_engine_of_one_scheduler_may_run(two: Client) -> None:
    a, view = numpy.arange(float(N)), two.load_balanced_view()
    for pid in two[:].apply_sync(os.getpid):
        calls = [view.apply_async(depend(is_process, pid)(echo), a) for _ in range(6)]
        assert all(each.get(20)[0] == 1 for each in calls)
    pid = two[0].apply_sync(os.getpid)
    assert [each[0] for each in view.map_sync(depend(is_process, pid)(echo), [a.copy() for _ in range(6)])] == [1] * 6


def test_shared_arrays_are_one_memory_with_all(two: Client) -> None:
    a = parpool.share(numpy.zeros(N))
    assert two[:].apply_sync(total, a) == [0.0, 0.0]
    for result in [two.load_balanced_view().apply_async(echo, a) for _ in range(10)]:
        assert result.get(20).shared
    assert a[0] == 10


def test_what_is_to_outlive_its_client_goes_in_messages(pair: Cluster) -> None:
    with pair.connect_client(on_client_lost="keep") as client:
        assert client.wait_for_engines(2, 20)
        assert not any("/memory-client" in each for each in client[:].apply_sync(lies_in, numpy.arange(float(N))))


@pytest.mark.leaves_processes("the cluster starts another engine in its place")
def test_an_engine_that_is_killed_takes_nothing_along(two: Client, until: Until) -> None:
    """It is the last test, as another engine takes its place."""
    a = numpy.arange(float(N))
    pid, back = two[1].apply_sync(os.getpid), two[1].apply_sync(echo, a)
    os.kill(pid, signal.SIGKILL)
    until(lambda: 1 not in two.ids)
    calls = [two.load_balanced_view().apply_async(echo, a) for _ in range(10)]
    assert all(each.get(20)[0] == 1 for each in calls)
    assert back[0] == 1 and numpy.array_equal(back[1:], a[1:])
    until(lambda: len(two.ids) == 2)
    del back, calls
    sweep()
