"""Two ways between a host and an engine, and one order: what takes the lane and what does not, mixed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from parpool import EngineLost, Pool
from parpool.net.lane import LARGEST, have_lanes

pytestmark = pytest.mark.skipif(not have_lanes(), reason="this system has no lanes")

SMALL, MIDDLE, LARGE = 10, 40_000, 3 * LARGEST  #: in the header; a frame of its own; too large for a lane


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(2) as made:
        yield made
        made.close()
        made.join()


def reply(n: int, argument: bytes, size: int) -> tuple[int, int, bytes]:
    return n, len(argument), bytes(size)


def lanes(pool: Pool) -> list[bool]:
    return [member.lane is not None for member in pool.client.link.host.members]


def test_every_engine_has_a_lane(pool: Pool) -> None:
    pool.map(abs, range(10))
    while len(pool.client) < 2:
        pool.apply(abs, (1,))
    assert lanes(pool) == [True, True]


def test_sizes_that_go_different_ways_mix(pool: Pool) -> None:
    sizes = [SMALL, MIDDLE, LARGE]
    calls = [(n, bytes(sizes[n % 3]), sizes[n // 3 % 3]) for n in range(180)]
    results = [pool.apply_async(reply, call) for call in calls]
    for (n, argument, size), result in zip(calls, results, strict=True):
        assert result.get() == (n, len(argument), bytes(size))
    for n, argument, size in calls[:30]:  # alone, each
        assert pool.apply(reply, (n, argument, size)) == (n, len(argument), bytes(size))


def values(n: int) -> bytes:
    return bytes(SMALL if n % 7 else LARGE)


def test_items_whose_outcomes_go_different_ways_arrive_in_order(pool: Pool) -> None:
    sizes = [len(value) for value in pool.map(values, range(300), chunksize=50, retries=1)]
    assert sizes == [SMALL if n % 7 else LARGE for n in range(300)]


def die_after(n: int) -> int:
    if n == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_death_of_an_engine_with_outcomes_in_its_lane(pool: Pool) -> None:
    results = [pool.apply_async(die_after, (n,)) for n in range(40)]
    for n, result in enumerate(results):
        if n == 20:
            with pytest.raises(EngineLost):
                result.get()
        else:
            assert result.get() == n
    deadline = time.monotonic() + 20
    while len(pool.client) < 2 and time.monotonic() < deadline:
        pool.apply(abs, (1,))
    assert pool.map(abs, range(20)) == list(range(20)) and lanes(pool) == [True, True]


def test_without_lanes_all_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parpool.host.wires.have_lanes", lambda: False)
    with Pool(2) as pool:
        assert pool.map(abs, range(-5, 5)) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
        assert lanes(pool) == [False] * len(lanes(pool))
        assert pool.apply(reply, (1, bytes(LARGE), LARGE)) == (1, LARGE, bytes(LARGE))


def test_a_host_without_a_file_descriptor_for_a_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is at its end already, and must not be told to take it."""
    monkeypatch.setattr("parpool.net.lane.Junction.accept", lambda junction: iter(()))
    with Pool(2) as pool:
        assert pool.apply_async(abs, (-1,)).get(20) == 1
        assert pool.map_async(abs, range(100)).get(20) == list(range(100))
        assert not any(lanes(pool))
