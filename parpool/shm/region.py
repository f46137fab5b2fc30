"""A region: memory that two sides see, cut into slots of one size. One process fills the slots, others read them.

A slot is filled for one message, and has a record in the region's first page, which both sides can see::

    0   generation of the slot: each filling has its own, so that what came too late is known
    8   generation that was released last
    16  state: FREE, SENT or TAKEN
    17  is it lent: read by several, each of which has a copy of its own of what it writes?

The sender writes the record, then says in a message where the slot is. Whoever uses a slot holds a lock on it: that ends
with the process, however this ends, so the sender can tell what the dead have held. Who had a slot to itself marks it as
taken, and writes its generation as released in the end. (Not a state: one that is written late, after the slot was found
to be nobody's and filled again, does no harm.)

A region has a file in the folder of a session: that is its name, and on that are the locks. Where the memory is, the
kinds of regions differ in: see ``kinds``.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from struct import Struct
from typing import Any, ClassVar

from .copying import copy

try:
    import fcntl
except ImportError:  # Windows, where there are no regions
    fcntl = None  # type: ignore[assignment]

HEADER = mmap.PAGESIZE
FREE, SENT, TAKEN = range(3)
RECORDS = 64  #: bytes before the records
MOST_SLOTS = 64
_about = Struct("<8sQQ")
_generation = Struct("<Q")
RECORD = 32
_CHUNK = 2**30  #: bytes written at once

#: Are there locks that end with their process?
locks = fcntl is not None


class Region:
    """Both sides' view of a region, and the contract of its kinds: the memory is theirs, the records and locks are here.

    Made by :meth:`make` and ``kinds.open_region``, which raise OSError where it cannot be.
    """

    MAGIC: ClassVar[bytes]  #: what the file begins with
    by_slots: ClassVar[bool]  #: can the memory of one slot be given back, or only that of all?

    _shared: Any  #: the memory, or as much of it as has the records

    def __init__(self, path: str, fd: int, size: int, slots: int) -> None:
        self.path = path
        self.size = size  #: bytes of a slot
        self.slots = slots
        self._fd = fd  # here, and no earlier: until then it is closed by who has opened it

    @classmethod
    def serves(cls, folder: str) -> bool:
        """Can there be regions of this kind in a folder?"""
        raise NotImplementedError

    @classmethod
    def make(cls, path: str, size: int) -> Region:
        """A new region for slots of ``size`` bytes, a multiple of the page size."""
        raise NotImplementedError

    @classmethod
    def open(cls, path: str, fd: int, size: int, slots: int) -> Region:
        """The region that another process has made, of its open file and what the header says."""
        raise NotImplementedError

    # -- records ----------------------------------------------------------------------------------------------

    def _state(self, slot: int) -> int:
        """The state of a slot."""
        state: int = self._shared[RECORDS + RECORD * slot + 16]
        return state

    def is_sent(self, slot: int) -> bool:
        """Is what is in the slot still to be taken?"""
        return self._state(slot) == SENT

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
        if self.generation(slot) == generation and self._state(slot) == SENT:
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

    def fill(self, slot: int, buffers: Sequence[memoryview], offsets: Sequence[int], twin: bool = False) -> None:
        """Copy buffers into a slot whose memory is there. ``twin``: as in :func:`~parpool.shm.copying.copy`."""
        memory = memoryview(self._shared)
        start = HEADER + slot * self.size
        for buffer, offset in zip(buffers, offsets, strict=True):
            copy(memory[start + offset : start + offset + buffer.nbytes], buffer, twin)

    def write(self, slot: int, buffers: Sequence[memoryview], offsets: Sequence[int]) -> None:
        """The same for a slot that was never filled, or was dug. Raises OSError where there is not enough memory."""
        raise NotImplementedError

    def dig(self, slot: int) -> None:
        """Give a slot's memory back to the system, as far as that can be."""
        raise NotImplementedError

    def view(self, slot: int, lent: bool, size: int) -> Any:
        """A slot as an object with a buffer, by which the mapping lives. Lent: what is written stays this process's."""
        raise NotImplementedError

    def forget(self, slot: int) -> None:
        """Let go of what this process has written to a slot that was lent to it."""
        raise NotImplementedError

    def copy(self, slot: int, generation: int, size: int) -> bytearray | None:
        """What was sent in a slot, whatever this process has written there; None: that filling is gone."""
        content = self._read(slot, size)
        return content if self.generation(slot) == generation and self._state(slot) != FREE else None

    def _read(self, slot: int, size: int) -> bytearray:
        """A copy of what the sender has written."""
        raise NotImplementedError

    def unlink(self) -> None:
        """Remove the file. Mappings live on."""
        with suppress(OSError):
            os.unlink(self.path)

    def __del__(self) -> None:
        # Not before: to close the file drops the locks on it.
        with suppress(OSError, AttributeError):
            os.close(self._fd)


@contextmanager
def new_file(path: str) -> Iterator[int]:
    """A new file for a region, which is removed again where what follows fails."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    except BaseException:
        os.close(fd)
        with suppress(OSError):
            os.unlink(path)
        raise


def header(magic: bytes, size: int, slots: int) -> bytes:
    """What the file of a region begins with."""
    return _about.pack(magic, size, slots)


def read_header(fd: int) -> tuple[bytes, int, int]:
    """The same, of an open file: the kind of the region, the size of its slots, and how many there are."""
    magic, size, slots = _about.unpack(os.pread(fd, _about.size, 0).ljust(_about.size, b"\0"))
    return magic, size, slots


def write_all(fd: int, buffers: Sequence[memoryview], offset: int) -> None:
    """Write buffers to a file, one behind the other from an offset on."""
    for buffer in buffers:
        left = buffer
        while left.nbytes:
            count = os.pwrite(fd, left[:_CHUNK], offset)
            left = left[count:]
            offset += count
