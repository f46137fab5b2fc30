"""Every kind of region keeps the same contract, between two processes; and a Pool works with each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from receivers import Child, children
from senders import DATA, SIZE, put, segments

from parpool.options import SegmentSettings
from parpool.shm import files, named, region
from parpool.shm.files import ROOT, FileRegion
from parpool.shm.kinds import kind_for, open_region, possible
from parpool.shm.named import NamedRegion
from parpool.shm.region import Region
from parpool.shm.segments import Segments, remove
from parpool.shm.session import Session

pytestmark = pytest.mark.skipif(not files.possible or not os.path.isdir(ROOT), reason="needs /dev/shm")

__all__ = ["children", "segments"]


@pytest.fixture(params=[FileRegion, NamedRegion])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Region]]:
    """One kind after the other; the second as on systems that have not the first. Nothing of it is left."""
    if request.param is NamedRegion:
        monkeypatch.setattr(files, "possible", False)
    prefix = f"{named.PREFIX}{os.getpid()}."  # others may run the same tests
    monkeypatch.setattr(named, "LONGEST", named.LONGEST - len(named.PREFIX) + len(prefix))
    monkeypatch.setattr(named, "PREFIX", prefix)
    yield request.param
    assert not names()


def names() -> set[str]:
    """Of the memory of this test's processes that has a name of its own. (On Linux they are files.)"""
    return {name for name in os.listdir(ROOT) if name.startswith(named.PREFIX)}


@pytest.fixture
def session(kind: type[Region]) -> Iterator[Session]:
    made = Session()
    yield made
    made.close()


def test_a_folder_has_its_kind(kind: type[Region], session: Session, segments: Segments) -> None:
    assert possible() and kind_for(session.folder) is kind
    _hold, where = put(segments)
    made = open_region(where[0])
    assert type(made) is kind and made.size == 2**19 and 1 <= made.slots <= region.MOST_SLOTS
    assert os.stat(where[0]).st_mode & 0o077 == 0
    for name in names():
        assert os.stat(f"{ROOT}/{name}").st_mode & 0o077 == 0, "others can read it"


def test_disks_are_no_memory(tmp_path: Path) -> None:
    assert kind_for(str(tmp_path)) is None


def test_what_is_taken_is_what_was_put(segments: Segments, children: Callable[[], Child]) -> None:
    child, other = children(), bytes(100_000)
    parcel = segments.put([memoryview(DATA), memoryview(other)], False)
    assert parcel is not None
    path, slot, generation, (first, second) = parcel.where
    assert first == 0 and second % 64 == 0
    where = (path, slot, generation, second + len(other))
    assert child("take", where) is None
    content = child("read", where)
    assert content[: len(DATA)] == DATA and content[second:] == other


def test_a_slot_is_used_again_when_its_receiver_has_dropped_it(
    segments: Segments, children: Callable[[], Child]
) -> None:
    child, places = children(), set()
    for number in range(5):
        data = bytes([number]) * SIZE
        hold, where = put(segments, data)
        child("take", where)
        assert child("read", where) == data
        child("write", where)  # it is the receiver's
        assert child("read", where)[:4] == b"mine"
        child("drop", where)
        places.add(where[:2])
        del hold
    assert len(places) == 1


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
    twice = (*where[:3], where[3] - 1)
    one("take", twice)
    assert one("read", twice) == DATA[:-1], "what was sent, and not what it has written"
    one("drop", twice)
    del hold
    one("drop", where)
    _second, elsewhere = put(segments)
    assert elsewhere[:2] != where[:2]  # the other still has it
    other("drop", where)
    hold, again = put(segments, b"x" * SIZE)
    assert again[:2] == where[:2]
    one("take", again)
    assert one("read", again) == b"x" * SIZE  # and nothing of what it wrote before


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


def test_a_view_outlives_the_sender_and_its_region(session: Session, children: Callable[[], Child]) -> None:
    child = children()
    segments = Segments(session.folder, "sender", SegmentSettings())
    hold, where = put(segments)
    child("take", where)
    segments.close()
    assert not os.path.exists(where[0]) and not names()
    assert child("read", where) == DATA
    assert segments.put([memoryview(DATA)], False) is None
    del hold


def test_what_is_idle_goes_back(session: Session, children: Callable[[], Child]) -> None:
    segments = Segments(session.folder, "sender", SegmentSettings(keep=0.0))
    child = children()
    for _ in range(3):
        hold, where = put(segments, bytes(5_000_000))
        child("take", where)
        child("drop", where)
        del hold
        segments.trim()
        segments.trim()
        assert segments.reserved == 0 and used(session) < 100_000
    segments.close()


def used(session: Session) -> int:
    """Bytes of memory that there are."""
    paths = [entry.path for entry in os.scandir(session.folder)] + [f"{ROOT}/{name}" for name in names()]
    return sum(os.stat(path).st_blocks * 512 for path in paths)


def test_the_files_of_the_dead_are_removed_by_their_name(segments: Segments, session: Session) -> None:
    _hold, where = put(segments)
    had = names()
    remove(session.folder, "sende")
    assert os.path.exists(where[0]) and names() == had
    remove(session.folder, "sender")
    assert not os.path.exists(where[0]) and not names()


def test_a_reader_notices_what_is_no_region(kind: type[Region], segments: Segments, session: Session) -> None:
    for content in (b"", b"no region" * 1000, region.header(kind.MAGIC, 2**16, 3), region.header(kind.MAGIC, 2**16, 0)):
        path = session.path("memory-none-0")
        Path(path).write_bytes(content)
        with pytest.raises(OSError):
            open_region(path)
    with pytest.raises(OSError):
        open_region(session.folder)


# A Pool with each kind --------------------------------------------------------------------------------------


KILLED = r"""
import os, signal, sys
from parpool.shm import files, named
files.possible = sys.argv[1] == "FileRegion"
named.PREFIX, named.LONGEST = sys.argv[3], len(sys.argv[3]) + 16
import multiprocessing, numpy, parpool

def add(a):
    a += 1
    return a

def hold(a):
    os.write(1, b"%d\n" % os.getpid())
    signal.pause()

if __name__ == "__main__":
    pool = parpool.Pool(2, context=multiprocessing.get_context("fork"))
    items = [numpy.full(100_000, float(number)) for number in range(20)]
    assert [back.min() - item.max() for back, item in zip(pool.map(add, items), items)] == [1.0] * 20
    assert pool.apply(add, (items[3],), retries=1)[5] == 4
    pool.client[:].push({"a": items[5]}, block=True)
    assert pool.client[:].pull("a.sum()", block=True) == [500_000] * 2
    assert pool._link._store.reserved > 0
    if sys.argv[2] == "ends":
        pool.terminate()
        pool.join()
        raise SystemExit
    results = [pool.apply_async(hold, (items[0],)) for _ in range(2)]
    kept = pool.apply(add, (items[0],))
    signal.pause()
"""


@pytest.mark.parametrize("end", ["ends", "killed"])
def test_a_pool_with_each_kind_leaves_nothing(kind: type[Region], tmp_path: Path, end: str) -> None:
    script = tmp_path / "pool.py"
    script.write_text(KILLED)
    command = [sys.executable, script, kind.__name__, end, named.PREFIX]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if end == "killed":
        pids = [int(process.stdout.readline()) for _ in range(2)]
        had = names()
        assert had or kind is FileRegion
        for pid in [*pids, process.pid]:
            os.kill(pid, 9)
    _, errors = process.communicate(timeout=60)
    assert not errors
    assert process.returncode == (0 if end == "ends" else -9)
    Session().close()  # whoever starts next
    assert not names()
