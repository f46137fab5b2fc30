"""Payloads beyond what 32 bits can count: they work by shared memory, or are one clear error before anything is sent."""

from __future__ import annotations

import os
from typing import Any

import pytest

import parpool
from parpool.net.pieces import PIECE
from parpool.shm import files
from parpool.wire import envelope

numpy = pytest.importorskip("numpy")

GIB = 2**30


def ends(a: Any) -> tuple[int, int, int]:
    return a.nbytes, int(a[0]), int(a[-1])


def make(size: int) -> Any:
    a = numpy.zeros(size, "u1")
    a[0], a[-1] = 1, 2
    return a


def free_memory() -> int:
    """Bytes of memory, and of what files may take of it."""
    try:
        with open("/proc/meminfo") as file:
            found = dict(line.split(":") for line in file)
        files = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return min(int(found["MemAvailable"].split()[0]) * 1024, files.f_bavail * files.f_frsize)


@pytest.mark.once
@pytest.mark.skipif(not files.possible or free_memory() < 14 * GIB, reason="needs 14 GiB of memory and of /dev/shm")
@pytest.mark.timeout(240)
def test_more_than_4_gib_each_way() -> None:
    size = 4 * GIB + GIB // 4
    with parpool.Pool(1) as pool:
        assert pool.apply(ends, (make(size),)) == (size, 1, 2)
        assert ends(pool.apply(make, (size,))) == (size, 1, 2)
    pool.join()


@pytest.mark.once
@pytest.mark.skipif(free_memory() < 14 * GIB, reason="needs 14 GiB of memory")
@pytest.mark.timeout(240)
def test_more_than_2_gib_each_way_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARPOOL_SHM_MAX", "0")
    size = 2 * GIB + GIB // 8
    with parpool.Pool(1) as pool:
        assert pool.apply(ends, (make(size),)) == (size, 1, 2)
        assert ends(pool.apply(make, (size,))) == (size, 1, 2)
    pool.join()


@pytest.mark.once
def test_what_is_encrypted_travels_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARPOOL_SHM_MAX", "0")
    size = 3 * PIECE + 5
    with parpool.Cluster(n=1, ip="127.0.0.1") as client:
        assert client[0].apply_sync(ends, make(size)) == (size, 1, 2)
        back = client[0].apply_sync(make, size)
        assert ends(back) == (size, 1, 2)
        back[:] = 7


def test_what_no_message_can_carry_is_an_error_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "MOST", GIB // 1000)  # which engines that are forked have, too
    monkeypatch.setenv("PARPOOL_SHM_MAX", "0")
    large, message = make(2 * 10**6), r"this has 0\.0 GiB, and a message carries 0\.0 at the most"
    with parpool.Pool(1, context=_fork()) as pool:
        for value in (large, [large[:1]] * 3 + [large], bytes(large), [large[: 10**6], large[10**6 :]]):
            with pytest.raises(parpool.SerializationError, match=message):
                pool.apply(abs, (value,))
            with pytest.raises(parpool.SerializationError, match=message):
                pool.client[:].apply_sync(abs, value)
        with pytest.raises(parpool.SerializationError, match=message):
            pool.map(ends, [large])
        with pytest.raises(parpool.SerializationError, match=message):
            pool.apply(lambda: large)  # in its closure
        for call in (lambda: pool.apply(make, (large.size,)), lambda: pool.client[0].apply_sync(make, large.size)):
            with pytest.raises(Exception, match=message):
                call()
        assert pool.apply(ends, (large[:1000],)) == (1000, 1, 0), "and all goes on"
    pool.join()


def _fork() -> Any:
    import multiprocessing

    return multiprocessing.get_context("fork")
