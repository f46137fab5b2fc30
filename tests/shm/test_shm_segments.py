"""Shared memory between two processes: filled here, read in a child, used again when the child lets go of it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from receivers import Child, children
from senders import DATA, SIZE, put, segments, session

from parpool.errors import SerializationError
from parpool.options import SegmentSettings
from parpool.shm import files
from parpool.shm.files import ROOT
from parpool.shm.leases import Leases
from parpool.shm.segments import Hold, Segments, slot_size
from parpool.shm.session import Session

__all__ = ["children", "segments", "session"]

pytestmark = pytest.mark.skipif(not files.possible or not os.path.isdir(ROOT), reason="needs /dev/shm")


def test_a_slot_is_used_again_when_its_receiver_has_dropped_it(
    segments: Segments, children: Callable[[], Child]
) -> None:
    child, places = children(), set()
    for number in range(5):
        data = bytes([number]) * SIZE
        hold, where = put(segments, data)
        child("take", where)
        assert child("read", where) == data
        child("drop", where)
        places.add(where[:2])
        del hold
    assert len(places) == 1
    assert segments.reserved == -(-SIZE // 4096) * 4096


@pytest.mark.parametrize("lent", [False, True])
def test_without_address_space_it_is_copied(segments: Segments, children: Callable[[], Child], lent: bool) -> None:
    child, data = children(), bytes(200_000) + DATA
    child("limit", ())
    hold, where = put(segments, data, lent=lent)  # of a region of 32 MiB
    assert child("take", where) is None
    assert child("read", where) == data
    child("drop", where)
    del hold
    assert put(segments, data)[1][:2] == where[:2]


def test_an_old_message_does_not_free_what_came_after(segments: Segments, children: Callable[[], Child]) -> None:
    child = children()
    old, first = put(segments)
    child("take", first)
    child("drop", first)
    _new, second = put(segments)
    assert first[:2] == second[:2]
    del old
    assert put(segments)[1][:2] != second[:2]
    assert child("take", second) is None


def test_there_is_an_end_to_it(session: Session) -> None:
    segments = Segments(session.folder, "sender", SegmentSettings(most=2 * 2**20))
    holds = [put(segments, bytes(900_000)) for _ in range(2)]
    assert segments.put([memoryview(bytes(900_000))], False) is None
    assert segments.put([memoryview(bytes(900_000_000))], False) is None
    holds.clear()
    holds.append(put(segments, bytes(1_500_000)))  # in the place of what was idle
    segments.close()


def test_without_any_memory_there_is_no_threshold(session: Session) -> None:
    assert Segments(session.folder, "sender", SegmentSettings(most=0)).threshold is None
    assert Segments("/tmp", "sender", SegmentSettings()).threshold is None
    assert Segments(session.folder, "sender", SegmentSettings(threshold=7)).threshold == 7


def test_results_that_nobody_comes_for_are_lost_in_the_end(session: Session, children: Callable[[], Child]) -> None:
    segments = Segments(session.folder, "engine", SegmentSettings(unclaimed=1e9, keep=0.0), watched=False)
    parcel = segments.put([memoryview(DATA)], False)
    assert parcel is not None and parcel.hold(b"message") == b"message"
    segments.trim()
    assert segments.reserved  # somebody may come
    child, where = children(), (*parcel.where[:3], len(DATA))
    child("take", where)
    segments.trim()
    assert child("read", where) == DATA and segments.reserved
    child.process.kill()
    child.process.join(20)
    segments.trim()
    segments.trim()  # what has become free in the first
    assert segments.reserved == 0
    segments.settings = SegmentSettings(unclaimed=0.0, keep=0.0)
    segments.put([memoryview(DATA)], False)
    segments.trim()
    segments.trim()  # what has become free in the first
    assert segments.reserved == 0
    segments.close()


def test_what_is_idle_is_bounded(session: Session) -> None:
    segments = Segments(session.folder, "sender", SegmentSettings(idle=2**20))
    holds = [put(segments, bytes(900_000)) for _ in range(4)]
    holds.clear()
    held = put(segments, bytes(100))
    segments._look_everywhere()
    assert 0 < segments.idle <= 2**20
    assert used(session) < 2 * 2**20
    segments.close()
    del held


def test_what_is_not_needed_for_a_while_goes_back(session: Session) -> None:
    segments = Segments(session.folder, "sender", SegmentSettings(keep=0.01))
    told = []
    segments.on_kept = lambda: told.append(1)
    assert segments.trim() is None
    hold, _ = put(segments)
    assert told == [1] and segments.trim() is not None and segments.reserved
    del hold
    deadline = time.monotonic() + 20
    while (left := segments.trim()) is not None and time.monotonic() < deadline:
        time.sleep(left)
    assert segments.trim() is None and segments.reserved == 0
    assert used(session) < 100_000
    put(segments)
    assert told == [1, 1]
    segments.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_system_is_no_error(segments: Segments, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    _hold, where = put(segments)
    written = os.pwrite
    calls = []

    def full(fd: int, data: Any, offset: int) -> int:
        calls.append(offset)
        if len(calls) % 2 == 0:
            raise OSError(number, os.strerror(number))
        return written(fd, data[: len(data) // 2], offset)  # as much as there was room for

    monkeypatch.setattr(os, "pwrite", full)
    before = segments.reserved
    assert segments.put([memoryview(DATA)], False) is None
    assert calls and segments.reserved == before
    monkeypatch.undo()
    assert put(segments, bytes(SIZE))[1][:2] != where[:2]


def test_other_errors_are_told(segments: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    _hold, _where = put(segments)

    def broken(fd: int, data: Any, offset: int) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(OSError, match="Bad file"):
        segments.put([memoryview(DATA)], False)


def test_a_region_of_others_is_not_opened(segments: Segments, session: Session) -> None:
    path = session.path("memory-none-0")
    with open(path, "wb") as file:
        file.write(b"no region" * 1000)
    with pytest.raises(SerializationError, match="cannot be mapped"):
        Leases().take(path, 0, 1, 10)
    _hold, where = put(segments)
    for wrong in ((where[0], 64, 1, 10), (where[0], -1, 1, 10), (where[0], 0, 1, 2**30)):
        with pytest.raises(SerializationError, match="no such place"):
            Leases().take(*wrong)
    assert os.stat(where[0]).st_mode & 0o077 == 0


def test_sizes_of_slots() -> None:
    assert [slot_size(n) for n in (1, 65536, 65537, 2**20, 2**20 + 1)] == [2**16, 2**16, 2**17, 2**20, 2**21]


def test_a_hold_is_bytes_to_others(segments: Segments) -> None:
    hold, _ = put(segments)
    assert bytes(hold) == b"message" and type(hold.obj) is Hold


def used(session: Session) -> int:
    """Bytes of memory that the files of a session take."""
    return sum(os.stat(entry.path).st_blocks * 512 for entry in os.scandir(session.folder))
