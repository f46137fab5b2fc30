"""The sender's side of shared memory: large buffers are copied into slots of regions, and slots are used again.

Memory that was never touched costs ten times what warm memory costs, so slots that are free again are kept: on both
sides they stay mapped. What is kept is bounded, and given back when it was not needed for a while.

Who frees a slot? Nobody says so by a message. A receiver that had it to itself marks it as released when the last view
on it has died. The sender looks at the marks when it needs a slot, and at those of tasks that are over: such a slot is
free when nobody has taken it, or when whoever has is dead or has let go of it, which the lock on it tells.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, NamedTuple

from ..errors import EngineStartError
from ..options import SegmentSettings, cpu_count
from .kinds import kind_for, possible
from .named import remove as remove_region
from .region import Region
from .session import Session

ALIGN = 64  #: bytes on whose multiples buffers begin
TRIES = 16  #: slots that are looked at for one that has become free, before another is made
PREFIX = "memory-"  #: of the names of regions' files


class _Slot:
    __slots__ = ("region", "number", "generation", "reserved", "lent", "over", "since")

    def __init__(self, region: Region, number: int) -> None:
        self.region = region
        self.number = number
        self.generation = 0
        self.reserved = 0  #: bytes that are no hole
        self.lent = False
        self.over: set[int] = set()  #: generations that nobody will take any more, this one or earlier
        self.since = 0.0  #: when it was filled, or became free


class Hold(bytearray):
    """What says where buffers lie, packed. As long as it lives, it or what was made of it may be on its way."""

    slot: _Slot
    generation: int

    def __del__(self) -> None:
        # No more than that: this may come in the middle of anything, in several threads at once, and when the slot has
        # long been filled again.
        self.slot.over.add(self.generation)


class Parcel(NamedTuple):
    """Buffers in a slot."""

    slot: _Slot
    where: tuple[str, int, int, list[int]]  #: path, slot, generation, and where each of them begins
    watched: bool

    def hold(self, packed: bytes) -> Any:
        """What tells of them, packed: when it and all that was made of it is gone, nobody will take them any more."""
        if not self.watched:
            return packed
        hold = Hold(packed)
        hold.slot, hold.generation = self.slot, self.where[2]
        return memoryview(hold)


class Segments:
    """The regions that a process fills, under names that begin with ``name``. Any thread.

    They lie in ``folder``; None: in one of its own, made when it is needed.

    There may be none of this on a machine: then, and where memory is short, :meth:`put` says None. ``watched``: this
    process knows when what it sent will not be taken any more; if not, it is taken sooner or later.
    """

    def __init__(self, folder: str | None, name: str, settings: SegmentSettings, watched: bool = True) -> None:
        self.settings = settings
        self.watched = watched  #: does this process know when what it sent will not be taken any more?
        #: called when there is something to :meth:`trim` again, by and by
        self.on_kept: Callable[[], None] = lambda: None
        #: is anything under way that would miss a processor?
        self.busy: Callable[[], bool] = lambda: True
        self._twin = cpu_count() > 1
        self._kept = False
        self._trim_at = 0.0
        self._folder = folder
        self._session: Session | None = None
        self._name = f"{PREFIX}{name}-"
        self._numbers = itertools.count()
        self._generations = itertools.count(1)
        self._lock = threading.Lock()
        self._regions: list[Region] = []
        # By the size of the slots:
        self._holes: dict[int, list[_Slot]] = {}  #: never used, or given back
        self._free: dict[int, list[_Slot]] = {}  #: the one that was freed last is the last
        self._busy: dict[int, deque[_Slot]] = {}  #: the one that was filled first is the first
        self.reserved = 0  #: bytes of all slots that are no holes
        self.idle = 0  #: bytes of those that are free
        self._kind = None if folder is None else kind_for(folder)
        self._closed = not settings.most or (folder is not None and self._kind is None) or not possible()

    @property
    def threshold(self) -> int | None:
        """From how many bytes on a buffer is worth a slot; None: nothing can be had."""
        return None if self._closed else self.settings.threshold

    @property
    def folder(self) -> str:
        """Where the regions lie; empty where there are none yet."""
        return self._folder or ""

    def prepare(self) -> None:
        """Make the folder now."""
        with self._lock:
            if not self._closed:
                try:
                    self._place()
                except (OSError, EngineStartError):
                    self._closed = True

    def put(self, buffers: Sequence[memoryview], lent: bool) -> Parcel | None:
        """Copy buffers (contiguous, of bytes) into a slot; None where there is no memory for them.

        ``lent``: several may read it, or one after the other.
        """
        offsets, total = [], 0
        for buffer in buffers:
            offsets.append(total)
            total += -(-buffer.nbytes // ALIGN) * ALIGN
        with self._lock:
            slot = None if self._closed else self._slot_for(total)
            if slot is None:
                return None
            cold = slot.reserved < total
            if cold:
                self.reserved += _pages(total) - slot.reserved
                slot.reserved = _pages(total)
        try:
            # Without the lock: it takes its time, and the slot is nobody else's.
            if cold:
                slot.region.write(slot.number, buffers, offsets)
            else:
                slot.region.fill(slot.number, buffers, offsets, self._twin and not self.busy())
        except BaseException as error:
            with self._lock:
                self._dig(slot)
            if isinstance(error, OSError) and error.errno in _FULL:
                return None
            raise
        slot.over.clear()
        slot.generation = next(self._generations)
        slot.lent, slot.since = lent, monotonic()
        slot.region.describe(slot.number, slot.generation, lent)
        with self._lock:
            self._busy.setdefault(slot.region.size, deque()).append(slot)
        if not self._kept:
            self._kept = True
            self.on_kept()
        return Parcel(slot, (slot.region.path, slot.number, slot.generation, offsets), self.watched)

    # -- slots; all of it under the lock ----------------------------------------------------------------------

    def _slot_for(self, total: int) -> _Slot | None:
        """A slot for so many bytes that nobody uses; None where there is no memory for it."""
        size = slot_size(total)
        free = self._free.setdefault(size, [])
        if not free:
            self._look(size, TRIES)
        if free:
            slot = free.pop()
            self.idle -= slot.reserved
        elif (hole := self._hole(size)) is not None:
            slot = hole
        else:
            return None
        need = _pages(total) - slot.reserved
        if need > 0 and self.reserved + need > self.settings.most:
            self._look_everywhere()
            self._shrink(max(0, self.settings.most - self.reserved - need + self.idle))
            if self.reserved + need > self.settings.most:
                self._put_back(slot)
                return None
        return slot

    def _hole(self, size: int) -> _Slot | None:
        holes = self._holes.setdefault(size, [])
        if not holes:
            try:
                folder, kind = self._place()
                made = kind.make(os.path.join(folder, f"{self._name}{next(self._numbers)}"), size)
            except (OSError, ValueError, OverflowError):  # the disk, the limits of files, or of address space
                return None
            except EngineStartError:  # there is no folder to be had
                self._closed = True
                return None
            self._regions.append(made)
            holes += [_Slot(made, number) for number in reversed(range(made.slots))]
        return holes.pop()

    def _place(self) -> tuple[str, type[Region]]:
        """The folder of the regions, and which kind they are of."""
        if self._folder is None:
            self._session = Session()
            self._folder = self._session.folder
            self._kind = kind_for(self._folder)
        if self._kind is None:
            raise EngineStartError("there is no folder in which there can be shared memory")
        return self._folder, self._kind

    def _look(self, size: int, tries: int, thorough: bool = False) -> None:
        """Find slots that have become free, among so many of those that were filled first.

        ``thorough``: also what the dead have taken, and what nobody has come for.
        """
        busy = self._busy.get(size)
        for _ in range(min(tries, len(busy)) if busy else 0):
            slot = busy.popleft()  # type: ignore[union-attr]
            if _is_free(slot) or (thorough and self._is_lost(slot)):
                self._put_back(slot)
            else:
                busy.append(slot)  # type: ignore[union-attr]

    def _look_everywhere(self) -> None:
        for size, busy in list(self._busy.items()):
            self._look(size, len(busy), True)

    def _is_lost(self, slot: _Slot) -> bool:
        """Has nobody come for it, or has who took it died? (Where this process is told what is over, it knows.)"""
        if self.watched or slot.lent:
            return False
        if slot.region.is_sent(slot.number) and monotonic() - slot.since < self.settings.unclaimed:
            return False
        return slot.region.reclaim(slot.number)

    def _put_back(self, slot: _Slot) -> None:
        if not slot.reserved:
            self._holes[slot.region.size].append(slot)
            return
        slot.since = monotonic()
        self._free.setdefault(slot.region.size, []).append(slot)
        self.idle += slot.reserved
        if self.idle > self.settings.idle:
            self._shrink(self.settings.idle)

    def _shrink(self, idle: int, before: float = float("inf")) -> None:
        """Give memory back until this much is idle: what was needed longest ago comes first, until ``before``."""
        while self.idle > idle:
            oldest = min((free for free in self._free.values() if free), key=lambda free: free[0].since)
            if oldest[0].since > before:
                return
            slot = oldest.pop(0)
            self.idle -= slot.reserved
            self._dig(slot)

    def _dig(self, slot: _Slot) -> None:
        region = slot.region
        region.dig(slot.number)
        self.reserved -= slot.reserved
        slot.reserved = 0
        holes = self._holes.setdefault(region.size, [])
        holes.append(slot)
        if not region.by_slots and sum([each.region is region for each in holes]) == region.slots:
            self._holes[region.size] = [each for each in holes if each.region is not region]
            if region in self._regions:  # else it is being closed
                self._regions.remove(region)
                region.unlink()

    # -- the rest ---------------------------------------------------------------------------------------------

    def trim(self) -> float | None:
        """Give back what was not needed for a while; gives the seconds until there may be more, None: there is not."""
        if not self._kept:
            return None
        now, keep = monotonic(), self.settings.keep
        if now < self._trim_at:
            return self._trim_at - now
        with self._lock:
            self._look_everywhere()
            self._shrink(0, now - keep)
            self._kept = bool(self.reserved)
        self._trim_at = now + keep / 2
        return keep / 2 if self._kept else None

    def close(self, patience: float = 0.0) -> None:
        """Remove the files. What is still in use elsewhere stays valid there.

        ``patience``: seconds that what was sent has to be taken, unless somebody else sees to that.
        """
        guarded = self._session is not None and self._session.is_guarded
        deadline = monotonic() + (0.0 if guarded else patience)
        while monotonic() < deadline and any(map(_is_awaited, self._all_busy())):
            sleep(0.005)
        with self._lock:
            self._closed = True
            regions, self._regions = self._regions, []
            self._look_everywhere()
            self._shrink(0)  # the mappings may live on in processes that were forked from this one
            for each in (self._holes, self._free, self._busy):
                each.clear()
        if self._session is None:
            for one in regions:
                one.unlink()
        else:
            self._session.close()  # and all that is in it, unless it is guarded

    def abandon(self) -> None:
        """Remove the folder, where it is this process's own: the process ends now, wherever its threads are."""
        if self._session is not None:
            self._session.close()

    def _all_busy(self) -> list[_Slot]:
        with self._lock:
            return [slot for busy in self._busy.values() for slot in busy]


#: What the system says where there is no room, or no right to more of it.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EIO}


def slot_size(total: int) -> int:
    """The size of the slots for so many bytes: few sizes, so that slots are used again. What is not needed is a hole."""
    return max(SMALLEST, 1 << (total - 1).bit_length())


SMALLEST = 64 * 1024


def _pages(total: int) -> int:
    return -(-total // mmap.PAGESIZE) * mmap.PAGESIZE


def _is_awaited(slot: _Slot) -> bool:
    return not slot.lent and slot.region.is_sent(slot.number)


def _is_free(slot: _Slot) -> bool:
    if not slot.lent and slot.region.is_released(slot.number, slot.generation):
        slot.region.free(slot.number)
        return True
    return slot.generation in slot.over and slot.region.reclaim(slot.number)


def remove(folder: str, name: str) -> None:
    """Remove the regions of a process that has ended."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(f"{PREFIX}{name}-"):
                remove_region(entry.path)
