"""Regions that are files in memory, where files can be that: on Linux, in /dev/shm.

The file is as long as all slots together, and has holes where nothing was ever written. A hole is filled by *writing
to the file*, never through the mapping: on a full file system the former is an error, the latter a SIGBUS. Once filled
a slot stays mapped and is written to through the mapping, which costs no system call and no page fault.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from .region import HEADER, MOST_SLOTS, Region, header, locks, new_file, write_all

ROOT = "/dev/shm"  #: where files are memory
SPREAD = 2**30  #: bytes of all slots of a region together, where there is more than one
_CHUNK = 2**30  #: bytes read at once

#: Can memory be shared by files, and given back in parts?
possible = locks and hasattr(mmap, "MADV_REMOVE") and hasattr(mmap, "MADV_DONTNEED") and hasattr(os, "preadv")


class FileRegion(Region):
    """A region whose file is its memory."""

    MAGIC: ClassVar[bytes] = b"parpool1"
    by_slots: ClassVar[bool] = True

    def __init__(self, path: str, fd: int, size: int, slots: int, reader: bool = False) -> None:
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
        super().__init__(path, fd, size, slots)

    @classmethod
    def serves(cls, folder: str) -> bool:
        """Are files in this folder memory?"""
        return possible and folder.startswith(ROOT + "/")

    @classmethod
    def make(cls, path: str, size: int) -> Region:
        """A new region for slots of ``size`` bytes, a multiple of the page size."""
        slots = max(1, min(MOST_SLOTS, SPREAD // size))
        with new_file(path) as fd:
            write_all(fd, [memoryview(header(cls.MAGIC, size, slots).ljust(HEADER, b"\0"))], 0)
            os.ftruncate(fd, HEADER + slots * size)
            return cls(path, fd, size, slots)

    @classmethod
    def open(cls, path: str, fd: int, size: int, slots: int) -> Region:
        """The region that another process has made."""
        if os.fstat(fd).st_size != HEADER + slots * size:
            raise OSError(f"{path} is no region")
        return cls(path, fd, size, slots, True)

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
        """Make a hole of a slot."""
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

    def _read(self, slot: int, size: int) -> bytearray:
        content = bytearray(size)
        memory, done = memoryview(content), 0
        while done < size:
            count = os.preadv(self._fd, [memory[done : done + _CHUNK]], HEADER + slot * self.size + done)
            if not count:
                break  # the file is shorter than it was
            done += count
        return content
