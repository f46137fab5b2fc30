"""The flight recorder of an engine: what it was doing, and what it had done, readable after its death.

Outcomes travel in batches, and a batch dies with the process that had not sent it. So an engine writes each outcome
into a file mapped into memory, as it will send it, and before each task the task's id; a message is then a copy out
of this memory. When the engine has died the host reads what was finished but never arrived, and which task, and item
of it, the engine was in: that one is the victim, and the ones behind it have not begun.

Layout: a header, and two pages that are filled in turn. The page before the current one is left alone until the
current is full, as its last messages may still be in a dying socket::

    0   id of the running task (-1: none)   8   item of it
    16  outcomes in page 0   24  bytes in page 0
    32  outcomes in page 1   40  bytes in page 1
    48  the current page     56  unused
"""

from __future__ import annotations

import mmap
import os
from struct import Struct

HEADER = 64
PAGE = 128 * 1024
SIZE = HEADER + 2 * PAGE

_pair = Struct("<qq")


class Recorder:
    """The engine's side. Where no file can be had (a full disk), the same in memory that nobody else can read."""

    __slots__ = ("_memory", "_page", "_base", "_mark", "_sent", "begin")

    def __init__(self, path: str | None) -> None:
        self._memory: mmap.mmap | bytearray = _map_new(path) if path is not None else bytearray(SIZE)
        self._page = 0
        self._base = HEADER
        # (end, count) of what is written, and of what was taken. Each is one tuple, so that a second thread that
        # takes while the first writes never sees an end without its count.
        self._mark = (HEADER, 0)
        self._sent = (HEADER, 0)
        memory, pack = self._memory, _pair.pack_into

        def begin(id: int, item: int) -> None:
            pack(memory, 0, id, item)

        #: Note that a task, or an item of it, begins; -1: nothing runs.
        self.begin = begin
        begin(-1, 0)

    def fits(self, size: int) -> bool:
        """Can an outcome of ``size`` bytes be written before the next :meth:`take`?"""
        return self._mark[0] + size <= self._base + PAGE

    def write(self, outcome: bytes) -> None:
        """Add an outcome. The caller has asked :meth:`fits`."""
        start, count = self._mark
        end = start + len(outcome)
        self._memory[start:end] = outcome
        # Written last: a reader never sees half an outcome.
        _pair.pack_into(self._memory, 16 + 16 * self._page, count + 1, end - self._base)
        self._mark = (end, count + 1)

    @property
    def pending(self) -> int:
        """Outcomes that were not taken yet."""
        return self._mark[1] - self._sent[1]

    def take(self) -> tuple[int, bytes]:
        """Count and bytes of the outcomes since the last call."""
        mark, sent = self._mark, self._sent
        self._sent = mark
        return mark[1] - sent[1], bytes(self._memory[sent[0] : mark[0]])

    def turn(self) -> None:
        """Begin the other page, where this one is more than half full. Only when nothing is pending."""
        if self._mark[0] - self._base < PAGE // 2:
            return
        self._page = 1 - self._page
        _pair.pack_into(self._memory, 48, self._page, 0)
        self._base = HEADER + self._page * PAGE
        _pair.pack_into(self._memory, 16 + 16 * self._page, 0, 0)
        self._mark = self._sent = (self._base, 0)

    def close(self) -> None:
        """Let go of the memory. The file stays: the host reads and removes it."""
        self.begin = lambda id, item: None
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()


def _map_new(path: str) -> mmap.mmap | bytearray:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return bytearray(SIZE)
    try:
        # A write into a hole of a full file system is a SIGBUS: have the blocks, or do without.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, SIZE)
        else:
            os.write(fd, bytes(SIZE))
        memory = mmap.mmap(fd, SIZE)
        _pair.pack_into(memory, 16, 0, 0)
        _pair.pack_into(memory, 32, 0, 0)
        return memory
    except OSError:
        os.unlink(path)
        return bytearray(SIZE)
    finally:
        os.close(fd)


class Recording:
    """What a recorder says after the death of its engine."""

    __slots__ = ("running", "pages")

    def __init__(self, running: tuple[int, int] | None, pages: list[tuple[int, bytes]]) -> None:
        self.running = running  #: (id of the task, item of it) that ran; None: none did
        self.pages = pages  #: (count, outcomes one behind the other), the older page first

    @classmethod
    def read(cls, path: str) -> Recording | None:
        """Read and remove the file at ``path``; None where there is none or it is not whole."""
        try:
            with open(path, "rb") as file:
                data = file.read()
            os.unlink(path)
        except OSError:
            return None
        if len(data) != SIZE:
            return None
        id, item = _pair.unpack_from(data, 0)
        current = 1 if data[48] else 0
        pages = []
        for page in (1 - current, current):
            count, size = _pair.unpack_from(data, 16 + 16 * page)
            if not (0 < count and 0 < size <= PAGE):
                continue
            start = HEADER + page * PAGE
            pages.append((count, data[start : start + size]))
        return cls(None if id < 0 else (id, item), pages)
