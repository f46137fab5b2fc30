"""Regions in memory that has a name of its own: :mod:`multiprocessing.shared_memory`, where files are not memory.

That memory cannot be given back in parts, and nobody removes it when those who had it have been killed. So a region's
file, which is an ordinary one here, says its name, and who removes the file removes the memory. What is lent is copied
by its readers: there is no mapping of it that is copied where it is written to.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from . import files
from .region import HEADER, MOST_SLOTS, Region, header, locks, new_file, write_all

if TYPE_CHECKING:
    from multiprocessing.shared_memory import SharedMemory

SPREAD = 2**24  #: bytes of all slots of a region together, where there is more than one
NAME = 64  #: bytes of the file up to the name
PREFIX = "parpool."
LONGEST = len(PREFIX) + 16  #: macOS has 31 characters for such names

possible = locks and os.name == "posix"


class NamedRegion(Region):
    """A region whose file says the name of its memory."""

    MAGIC: ClassVar[bytes] = b"parpool3"
    by_slots: ClassVar[bool] = False

    def __init__(self, path: str, fd: int, size: int, slots: int, memory: SharedMemory) -> None:
        self._memory = memory
        buffer: Any = memory.buf
        self._shared = buffer
        # By its address: what is viewed must not keep the memory from being closed behind it.
        self._address = ctypes.addressof(ctypes.c_ubyte.from_buffer(buffer))
        self._kind: Any = ctypes.c_ubyte * size
        super().__init__(path, fd, size, slots)

    @classmethod
    def serves(cls, folder: str) -> bool:
        """Is there such memory, and is it needed? (On Linux it lies in the same place as the files, or nowhere.)"""
        return possible and not files.possible

    @classmethod
    def make(cls, path: str, size: int) -> Region:
        """A new region for slots of ``size`` bytes, a multiple of the page size."""
        slots = max(1, min(MOST_SLOTS, SPREAD // size))
        with new_file(path) as fd:
            name = PREFIX + os.urandom(8).hex()
            # First: who is killed in between leaves a name of nothing, and no memory without a name.
            write_all(fd, [memoryview(header(cls.MAGIC, size, slots).ljust(NAME, b"\0") + name.encode())], 0)
            memory = _attach(name, HEADER + slots * size)
            return cls(path, fd, size, slots, memory)

    @classmethod
    def open(cls, path: str, fd: int, size: int, slots: int) -> Region:
        """The region that another process has made."""
        name = _name_in(fd)
        memory = _attach(name)
        if memory.size < HEADER + slots * size:
            raise OSError(f"{path} is no region")
        return cls(path, fd, size, slots, memory)

    def write(self, slot: int, buffers: Sequence[memoryview], offsets: Sequence[int]) -> None:
        """The same for a slot that was never filled, or was dug."""
        self.fill(slot, buffers, offsets)

    def dig(self, slot: int) -> None:
        """Does nothing: the memory goes with the region."""

    def view(self, slot: int, lent: bool, size: int) -> Any:
        """A slot as an object with a buffer, by which the memory lives. Lent: a copy."""
        if lent:
            return (ctypes.c_ubyte * size).from_buffer(self._read(slot, size))
        view = self._kind.from_address(self._address + HEADER + slot * self.size)
        view.region = self
        return view

    def forget(self, slot: int) -> None:
        """Does nothing: the copy has gone."""

    def _read(self, slot: int, size: int) -> bytearray:
        start = HEADER + slot * self.size
        return bytearray(self._shared[start : start + size])

    def unlink(self) -> None:
        """Remove the memory's name, and the file."""
        remove(self.path)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError, BufferError):
            self._memory.close()
        super().__del__()


def remove(path: str) -> None:
    """Remove a region's file, and the memory that it names."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            ours = os.pread(fd, len(NamedRegion.MAGIC), 0) == NamedRegion.MAGIC
            name = _name_in(fd) if ours else ""
        finally:
            os.close(fd)
        if name.startswith(PREFIX):
            with suppress(OSError):
                memory = _attach(name)
                memory.unlink()
                memory.close()
    with suppress(OSError):
        os.unlink(path)


def _name_in(fd: int) -> str:
    return os.pread(fd, LONGEST, NAME).decode("ascii", "replace")


def _attach(name: str, new: int = 0) -> SharedMemory:
    """Memory by its name; ``new``: made with so many bytes."""
    from multiprocessing import shared_memory

    # What parpool does about processes that have ended is enough. And before Python 3.13 the tracker of multiprocessing
    # takes everybody who opens some memory for its owner, and would remove what others still use.
    if sys.version_info >= (3, 13):
        return shared_memory.SharedMemory(name, bool(new), new, track=False)
    else:
        module: Any = shared_memory
        if not isinstance(module.resource_tracker, _Tracker):
            module.resource_tracker = _Tracker(module.resource_tracker)
        return shared_memory.SharedMemory(name, bool(new), new)


class _Tracker:
    """The tracker of multiprocessing, as far as memory is not parpool's."""

    def __init__(self, tracker: Any) -> None:
        self.tracker = tracker

    def register(self, name: str, kind: str) -> None:
        """Somebody has some memory."""
        if not name.lstrip("/").startswith(PREFIX):
            self.tracker.register(name, kind)

    def unregister(self, name: str, kind: str) -> None:
        """It has been removed."""
        if not name.lstrip("/").startswith(PREFIX):
            self.tracker.unregister(name, kind)
