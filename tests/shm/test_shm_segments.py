"""Shared memory between two processes: filled here, read in a child, used again when the child lets go of it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import pytest

from parpool.errors import SerializationError
from parpool.options import SegmentSettings
from parpool.shm import region
from parpool.shm.leases import Leases
from parpool.shm.segments import ROOT, Hold, Segments, remove, slot_size
from parpool.shm.session import Session

pytestmark = pytest.mark.skipif(not region.possible or not os.path.isdir(ROOT), reason="needs /dev/shm")

SIZE = 300_000
DATA = bytes(range(256)) * (SIZE // 256)


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session()
    yield made
    made.close()


@pytest.fixture
def segments(session: Session) -> Iterator[Segments]:
    made = Segments(session.folder, "sender", SegmentSettings())
    yield made
    made.close()


def put(segments: Segments, data: bytes = DATA, lent: bool = False) -> tuple[Any, Any]:
    """Send; gives what stands for the message, and what to tell the receiver."""
    parcel = segments.put([memoryview(data)], lent)
    assert parcel is not None
    path, slot, generation, offsets = parcel.where
    assert offsets == [0]
    return parcel.hold(b"message"), (path, slot, generation, len(data))


def receiver(pipe: Connection) -> None:
    """Does what it is told: takes, reads, writes, drops."""
    leases, held = Leases(), {}
    with suppress(EOFError):
        obey(pipe, leases, held)


def obey(pipe: Connection, leases: Leases, held: dict[Any, Any]) -> None:
    while True:
        order, *about = pipe.recv()
        answer: Any = None
        try:
            if order == "take":
                held[tuple(about)] = leases.take(*about)
            elif order == "read":
                answer = bytes(held[tuple(about)])[: about[3]]
            elif order == "write":
                memoryview(held[tuple(about)])[:4] = b"mine"
            elif order == "drop":
                del held[tuple(about)]
            elif order == "give back":
                leases.give_back(*about[:3])
            elif order == "limit":
                with open("/proc/self/statm") as file:
                    pages = int(file.read().split()[0])
                resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 8 * 2**20,) * 2)
            elif order == "end":
                return
        except SerializationError as error:
            answer = error
        pipe.send(answer)


class Child:
    """A process that receives."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=receiver, args=(theirs,))
        self.process.start()
        theirs.close()

    def __call__(self, order: str, where: Any) -> Any:
        self.pipe.send((order, *where))
        assert self.pipe.poll(20)
        return self.pipe.recv()

    def end(self) -> None:
        if self.process.is_alive():
            self.pipe.send(("end",))
        self.process.join(20)
        self.process.close()
        self.pipe.close()


@pytest.fixture
def children() -> Iterator[Callable[[], Child]]:
    made: list[Child] = []

    def child() -> Child:
        made.append(Child())
        return made[-1]

    yield child
    for each in made:
        each.end()


def test_what_is_taken_is_what_was_put(segments: Segments, children: Callable[[], Child]) -> None:
    child = children()
    hold, where = put(segments)
    assert child("take", where) is None
    assert child("read", where) == DATA
    del hold


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


def test_a_slot_is_not_used_again_while_it_is_viewed(segments: Segments, children: Callable[[], Child]) -> None:
    child = children()
    hold, first = put(segments)
    child("take", first)
    del hold  # the task is over, the view is not
    _, second = put(segments, bytes(SIZE))
    assert second[:2] != first[:2]
    assert child("read", first) == DATA


def test_what_nobody_took_is_free_when_nobody_will(segments: Segments) -> None:
    hold, first = put(segments)
    _hold, second = put(segments)
    assert second[:2] != first[:2]
    del hold
    assert put(segments)[1][:2] == first[:2]


def test_what_the_dead_have_held_comes_back(segments: Segments, children: Callable[[], Child]) -> None:
    child = children()
    hold, first = put(segments)
    child("take", first)
    child.process.kill()
    child.process.join(20)
    del hold
    assert put(segments)[1][:2] == first[:2]


def test_what_came_too_late_is_known(segments: Segments, children: Callable[[], Child]) -> None:
    child = children()
    hold, first = put(segments)
    del hold
    _hold, second = put(segments)
    assert first[:2] == second[:2]
    assert "is gone" in str(child("take", first))
    assert child("take", second) is None
    assert "is gone" in str(child("take", second))  # once only: it is not lent
    assert "is gone" in str(child("take", ("/dev/shm/parpool-none/memory-1", 0, 1, 5)))


def test_what_is_lent_is_read_by_many_and_changed_by_none(segments: Segments, children: Callable[[], Child]) -> None:
    one, other = children(), children()
    hold, where = put(segments, lent=True)
    for child in (one, other):
        assert child("take", where) is None
    one("write", where)
    assert one("read", where)[:4] == b"mine"
    assert other("read", where) == DATA
    del hold
    one("drop", where)
    _second, elsewhere = put(segments)
    assert elsewhere[:2] != where[:2]  # the other still has it
    other("drop", where)
    hold, again = put(segments, b"x" * SIZE)
    assert again[:2] == where[:2]
    one("take", again)
    assert one("read", again) == b"x" * SIZE  # and nothing of what it wrote before


def test_what_is_lent_twice_to_one_process_is_a_copy(segments: Segments, children: Callable[[], Child]) -> None:
    child = children()
    _hold, where = put(segments, lent=True)
    child("take", where)
    child("write", where)
    twice = (*where[:3], where[3] - 1)
    child("take", twice)
    assert child("read", twice) == DATA[:-1]


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


def test_what_is_given_back_can_be_taken_by_another(segments: Segments, children: Callable[[], Child]) -> None:
    one, other = children(), children()
    _hold, where = put(segments)
    one("take", where)
    one("give back", where)
    assert other("take", where) is None
    one("drop", where)  # of which nobody hears: it is the other's now
    _second, elsewhere = put(segments)
    assert elsewhere[:2] != where[:2]
    other("drop", where)
    assert put(segments)[1][:2] == where[:2]


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


def test_a_view_outlives_the_sender(session: Session, children: Callable[[], Child]) -> None:
    child = children()
    segments = Segments(session.folder, "sender", SegmentSettings())
    hold, where = put(segments)
    child("take", where)
    segments.close()
    assert not os.path.exists(where[0])
    assert child("read", where) == DATA
    assert segments.put([memoryview(DATA)], False) is None
    del hold


def test_the_files_of_the_dead_are_removed_by_their_name(segments: Segments, session: Session) -> None:
    _hold, where = put(segments)
    remove(session.folder, "sende")
    assert os.path.exists(where[0])
    remove(session.folder, "sender")
    assert not os.path.exists(where[0])


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
