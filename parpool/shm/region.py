"""A region: a file of memory, cut into slots of one size. One process fills the slots, others read them.

A slot is filled for one message, and has a record in the region's first page, which both sides can see::

    0   generation of the slot: each filling has its own, so that what came too late is known
    8   generation that was released last
    16  state: FREE, SENT or TAKEN
    17  is it lent: read by several, each in a mapping of its own that is copied where it writes?

The sender writes the record, then says in a message where the slot is. Whoever uses a slot holds a lock on it: that ends
with the process, however this ends, so the sender can tell what the dead have held. Who had a slot to itself marks it as
taken, and writes its generation as released in the end. (Not a state: one that is written late, after the slot was found
to be nobody's and filled again, does no harm.)

The file is as long as all slots together, and has holes where nothing was ever written. A hole is filled by *writing
to the file*, never through the mapping: on a full file system the former is an error, the latter a SIGBUS. Once filled
a slot stays mapped and is written to through the mapping, which costs no system call and no page fault.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from struct import Struct
from typing import Any

try:
    import fcntl
except ImportError:  # Windows, where there are no regions
    fcntl = None  # type: ignore[assignment]

HEADER = mmap.PAGESIZE
FREE, SENT, TAKEN = range(3)
MAGIC = b"parpool1"
RECORDS = 64  #: bytes before the records
MOST_SLOTS = 64
SPREAD = 2**30  #: bytes of all slots of a region together, where there is more than one
_about = Struct("<8sQQ")
_generation = Struct("<Q")
RECORD = 32
_CHUNK = 2**30  #: bytes written at once

#: Can memory be shared by files, and given back in parts?
possible = (
    fcntl is not None and hasattr(mmap, "MADV_REMOVE") and hasattr(mmap, "MADV_DONTNEED") and hasattr(os, "preadv")
)


class Region:
    """Both sides' view of a region. Made by :meth:`make` and :meth:`open`, which raise OSError where it cannot be."""

    def __init__(self, path: str, fd: int, size: int, slots: int, reader: bool = False) -> None:
        self.path = path
        self.size = size  #: bytes of a slot
        self.slots = slots
        self._fd = fd
        self._private: mmap.mmap | None = None
        self._whole = True  #: could all of it be mapped?
        try:
            self._shared = mmap.mmap(fd, HEADER + slots * size)
        except OSError:
            if not reader:
                raise
            # A limit of address space: what lies in slots is then copied out of the file.
            self._shared, self._whole = mmap.mmap(fd, HEADER), False
        self._kind: Any = ctypes.c_ubyte * size

    @classmethod
    def make(cls, path: str, size: int) -> Region:
        """A new region for slots of ``size`` bytes, a multiple of the page size."""
        slots = max(1, min(MOST_SLOTS, SPREAD // size))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            header = _about.pack(MAGIC, size, slots)
            write_all(fd, [memoryview(header.ljust(HEADER, b"\0"))], 0)
            os.ftruncate(fd, HEADER + slots * size)
            return cls(path, fd, size, slots)
        except BaseException:
            os.close(fd)
            with suppress(OSError):
                os.unlink(path)
            raise

    @classmethod
    def open(cls, path: str) -> Region:
        """The region that another process has made."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
                raise OSError(f"{path} is no region of this user's")
            magic, size, slots = _about.unpack(os.pread(fd, _about.size, 0).ljust(_about.size, b"\0"))
            if magic != MAGIC or not 0 < slots <= MOST_SLOTS or found.st_size != HEADER + slots * size:
                raise OSError(f"{path} is no region")
            return cls(path, fd, size, slots, True)
        except BaseException:
            os.close(fd)
            raise

    # -- records ----------------------------------------------------------------------------------------------

    def state(self, slot: int) -> int:
        """The state of a slot."""
        return self._shared[RECORDS + RECORD * slot + 16]

    def is_sent(self, slot: int) -> bool:
        """Is what is in the slot still to be taken?"""
        return self.state(slot) == SENT

    def _mark(self, slot: int, state: int) -> None:
        self._shared[RECORDS + RECORD * slot + 16] = state

    def generation(self, slot: int) -> int:
        """Which filling of the slot this is."""
        number: int = _generation.unpack_from(self._shared, RECORDS + RECORD * slot)[0]
        return number

    def describe(self, slot: int, generation: int, lent: bool) -> None:
        """The slot was filled."""
        at = RECORDS + RECORD * slot
        _generation.pack_into(self._shared, at, generation)
        self._shared[at + 17] = lent
        self._mark(slot, SENT)

    def send_again(self, slot: int) -> None:
        """What this process has taken can be taken by another."""
        self._mark(slot, SENT)

    def release(self, slot: int, generation: int) -> None:
        """Whoever had this filling to itself needs it no longer."""
        _generation.pack_into(self._shared, RECORDS + RECORD * slot + 8, generation)

    def is_released(self, slot: int, generation: int) -> bool:
        """Was this filling released?"""
        number: int = _generation.unpack_from(self._shared, RECORDS + RECORD * slot + 8)[0]
        return number == generation

    def take(self, slot: int, generation: int) -> bool | None:
        """Use a slot: is it lent to this process? None: the filling that is meant is gone, or another has it."""
        fcntl.lockf(self._fd, fcntl.LOCK_SH, 1, slot)  # whoever has it to itself has it for a moment
        if self.generation(slot) == generation and self.state(slot) == SENT:
            lent = bool(self._shared[RECORDS + RECORD * slot + 17])
            if not lent:
                self._mark(slot, TAKEN)
            return lent
        self.leave(slot)
        return None

    def leave(self, slot: int) -> None:
        """Use it no longer."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, slot)

    def reclaim(self, slot: int) -> bool:
        """Free a slot that no other process uses; False where one does."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except OSError:
            return False
        self._mark(slot, FREE)
        self.leave(slot)
        return True

    def free(self, slot: int) -> None:
        """What is in the slot is nothing to be taken."""
        self._mark(slot, FREE)

    # -- memory -----------------------------------------------------------------------------------------------

    def fill(self, slot: int, buffers: Sequence[memoryview], offsets: Sequence[int]) -> None:
        """Copy buffers into a slot whose memory is there."""
        memory = memoryview(self._shared)
        start = HEADER + slot * self.size
        for buffer, offset in zip(buffers, offsets, strict=True):
            memory[start + offset : start + offset + buffer.nbytes] = buffer

    def write(self, slot: int, buffers: Sequence[memoryview], offsets: Sequence[int]) -> None:
        """The same for a slot whose memory is a hole. Raises OSError where there is not enough, and leaves a hole."""
        end = HEADER + slot * self.size
        placed: list[memoryview] = []
        for buffer, offset in zip(buffers, offsets, strict=True):
            gap = HEADER + slot * self.size + offset - end
            placed += [memoryview(bytes(gap)), buffer] if gap else [buffer]
            end += gap + buffer.nbytes
        placed.append(memoryview(bytes(-end % mmap.PAGESIZE)))
        try:
            write_all(self._fd, placed, HEADER + slot * self.size)
        except BaseException:
            self.dig(slot)
            raise

    def dig(self, slot: int) -> None:
        """Give a slot's memory back to the system."""
        self._shared.madvise(mmap.MADV_REMOVE, HEADER + slot * self.size, self.size)

    def view(self, slot: int, lent: bool, size: int) -> Any:
        """A slot as an object with a buffer, by which the mapping lives. Lent: what is written stays this process's."""
        if lent and self._whole and self._private is None:
            with suppress(OSError):
                self._private = mmap.mmap(
                    self._fd,
                    HEADER + self.slots * self.size,
                    flags=mmap.MAP_PRIVATE,
                    prot=mmap.PROT_READ | mmap.PROT_WRITE,
                )
        if not self._whole or (lent and self._private is None):
            return (ctypes.c_ubyte * size).from_buffer(self._read(slot, size))
        if lent:
            return self._kind.from_buffer(self._private, HEADER + slot * self.size)
        return self._kind.from_buffer(self._shared, HEADER + slot * self.size)

    def forget(self, slot: int) -> None:
        """Let go of what this process has written to a slot that was lent to it."""
        if self._private is not None:
            self._private.madvise(mmap.MADV_DONTNEED, HEADER + slot * self.size, self.size)

    def copy(self, slot: int, generation: int, size: int) -> bytearray | None:
        """What was sent in a slot, whatever this process has written there; None: that filling is gone."""
        content = self._read(slot, size)
        return content if self.generation(slot) == generation and self.state(slot) != FREE else None

    def _read(self, slot: int, size: int) -> bytearray:
        content = bytearray(size)
        memory, done = memoryview(content), 0
        while done < size:
            count = os.preadv(self._fd, [memory[done : done + _CHUNK]], HEADER + slot * self.size + done)
            if not count:
                break  # the file is shorter than it was
            done += count
        return content

    def unlink(self) -> None:
        """Remove the file. Mappings live on."""
        with suppress(OSError):
            os.unlink(self.path)

    def __del__(self) -> None:
        # Not before: to close the file drops the locks on it.
        with suppress(OSError):
            os.close(self._fd)


def write_all(fd: int, buffers: Sequence[memoryview], offset: int) -> None:
    """Write buffers to a file, one behind the other from an offset on."""
    for buffer in buffers:
        left = buffer
        while left.nbytes:
            count = os.pwrite(fd, left[:_CHUNK], offset)
            left = left[count:]
            offset += count
