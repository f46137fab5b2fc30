"""Memory that is one for several processes: what is written in one of them is seen by the others.

Slots of regions belong to one side after the other; this belongs to all who have mapped it, as long as they have it. It
is a file of its own, made by one process and removed with the last view of that process on it. Others map it under its
name, and keep what they have mapped when the name is gone.

Pages of a file in memory live as long as anybody maps them, and a process that has mapped a file keeps it mapped for
what comes next. So whoever has a view on it holds a lock on the file, and the maker, at the end, gives the pages back
where nobody does.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import stat
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize
from struct import Struct
from typing import Any

from ..errors import EngineStartError
from ..options import SegmentSettings
from . import files
from .files import ROOT
from .leases import gone
from .region import write_all
from .session import Session

try:
    import fcntl
except ImportError:  # Windows, where there is none of this
    fcntl = None  # type: ignore[assignment]

HEADER = mmap.PAGESIZE
MAGIC = b"parpool2"
KEPT = 64  #: files of others that stay mapped
_about = Struct("<8sQ")  #: and the size
_ENDED = _about.size  #: the byte that says that the pages are gone


class Memory:
    """One such file. ``block``, while somebody has it: its bytes, an object with a buffer."""

    def __init__(self, path: str, fd: int, size: int) -> None:
        self.path = path
        self.size = size
        self.maker = 0  #: the process that has made it; 0: another one
        self.removed = False
        self.forked = False  #: processes that were forked have it, too, and no lock
        self._users = 0
        self._map = mmap.mmap(fd, HEADER + size)
        self._kind: Any = ctypes.c_ubyte * size
        self._fd = fd  # here, and no earlier: until then it is closed by who has opened it

    def block(self) -> Any:
        """Its bytes, as an object with a buffer. When it dies, and all that was made of it, this use has ended."""
        block = self._kind.from_buffer(self._map, HEADER)
        block.memory = self
        self._users += 1
        weakref.finalize(block, _left, self).atexit = False
        _blocks[self.path] = block
        return block

    def lock(self) -> bool:
        """Let the maker know that it is in use; False where the maker has given up the pages before."""
        fcntl.lockf(self._fd, fcntl.LOCK_SH, 1)
        if self._map[_ENDED]:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1)
            return False
        return True

    def leave(self) -> None:
        """A block of it has died."""
        self._users -= 1
        if self._users:
            return
        if self.is_own:
            self.remove()
            self._give_back()
        elif not self.maker and not self.forked:  # else a child may use it still
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1)

    def _give_back(self) -> None:
        """Give the pages back, where nobody has a view on them any more."""
        if self.forked:
            return
        with suppress(OSError):
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
            self._map[_ENDED] = 1
            self._map.madvise(mmap.MADV_REMOVE, HEADER, -(-self.size // mmap.PAGESIZE) * mmap.PAGESIZE)

    def remove(self) -> None:
        """Remove the name: nobody else can map it from here on. Under the lock."""
        if not self.is_own or self.removed:
            return
        self.removed = True
        with suppress(OSError):
            os.unlink(self.path)
        _mine.discard(self)
        if not _mine:
            _close_session()

    @property
    def is_own(self) -> bool:
        """Was it made by this process?"""
        return self.maker == os.getpid()

    def is_there(self) -> bool:
        """Can others still map it?"""
        return not self.removed and os.path.exists(self.path)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._fd)


_lock = threading.Lock()
_dead: deque[Memory] = deque()  #: of which blocks have died, one for each
_blocks: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_mapped: dict[str, Memory] = {}  #: those of others, the one that was needed last at the end
_mine: set[Memory] = set()
_numbers = itertools.count()
_session: Session | None = None
_finalizer: Any = None


@contextmanager
def _locked() -> Iterator[None]:
    try:
        with _lock:
            yield
    finally:
        _settle()


def make(size: int, content: memoryview | None = None) -> Any:
    """New memory of so many bytes, with this content or all zero, as a block; None where there is none to be had.

    Raises ValueError where the settings in the environment are wrong.
    """
    most = SegmentSettings.from_environment().most
    if not files.possible or size <= 0 or size > most:
        return None
    with _locked():
        if size + sum([each.size for each in _mine]) > most:
            return None
        try:
            folder = _place()
            if not folder.startswith(ROOT + "/"):
                return None  # files are not memory there
            memory = _make(os.path.join(folder, f"shared-{next(_numbers)}"), size, content)
            memory.maker = os.getpid()
            _mine.add(memory)
            return memory.block()
        except (OSError, OverflowError, ValueError, EngineStartError):
            return None
        finally:
            if not _mine:
                _close_session()


def _make(path: str, size: int, content: memoryview | None) -> Memory:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        whole = HEADER + -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        # The blocks must be there: a write to a hole of a full file system would end the process.
        if content is None:
            os.posix_fallocate(fd, 0, whole)
        else:
            # Of new memory this is the cheapest: nothing is made zero first, and no page is a fault.
            write_all(fd, [content, memoryview(bytes(whole - HEADER - size))], HEADER)
        os.pwrite(fd, _about.pack(MAGIC, size), 0)
        return Memory(path, fd, size)
    except BaseException:
        os.close(fd)
        with suppress(OSError):
            os.unlink(path)
        raise


def attach(path: str) -> Any:
    """The block of memory that some process has made; the same one, while this process has it.

    Raises SerializationError where it is gone.
    """
    with _locked():
        block = _blocks.get(path)
        if block is not None:
            return block
        memory = _mapped.pop(path, None)
        try:
            if memory is None:
                for old in [each for each in _mapped if not os.path.exists(each)]:
                    del _mapped[old]
                while len(_mapped) >= KEPT:
                    del _mapped[next(iter(_mapped))]
                memory = _open(path)
            if not memory.lock():
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        except (OSError, ValueError, OverflowError) as error:
            raise gone(f"{path} cannot be mapped: {error}") from None
        _mapped[path] = memory
        return memory.block()


def _open(path: str) -> Memory:
    if not files.possible:
        raise OSError("this system has none")
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise OSError("it is none of this user's")
        magic, size = _about.unpack(os.pread(fd, _about.size, 0).ljust(_about.size, b"\0"))
        if magic != MAGIC or not 0 < size <= found.st_size - HEADER:
            raise OSError("it is no such memory")
        return Memory(path, fd, size)
    except BaseException:
        os.close(fd)
        raise


def remove(memory: Memory) -> None:
    """Remove its name now."""
    with _locked():
        memory.remove()


def _left(memory: Memory) -> None:
    """A block of it has died: in any thread, in the middle of anything. So this waits for nobody."""
    _dead.append(memory)
    _settle()


def _settle() -> None:
    """See to blocks that have died. Whoever has the lock just now does this when it has not."""
    while _dead and _lock.acquire(blocking=False):
        try:
            while _dead:
                _dead.popleft().leave()
        finally:
            _lock.release()


# The folder ------------------------------------------------------------------------------------------------


def _place() -> str:
    """The folder of what this process makes."""
    global _session, _finalizer
    if _session is None or not _session.is_own:
        _session = Session()
        # With the process, where the arrays do not end before: also in children, which know no atexit.
        _finalizer = Finalize(None, abandon, exitpriority=-50)
    return _session.folder


def _close_session() -> None:
    global _session
    if _session is not None and _session.is_own:
        _session.close()
        _session = None
        _finalizer.cancel()


def abandon() -> None:
    """Remove what this process has made, as it ends. What is mapped stays valid."""
    _close_session()


def _note_fork() -> None:
    """Before a fork: the child will have what this process has, and no lock on it."""
    for block in list(_blocks.values()):
        block.memory.forked = True


def _after_fork() -> None:
    """In the child: the lock may have been held in another thread, and what its parent made is not its own."""
    global _lock
    _lock = threading.Lock()
    _mine.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_note_fork, after_in_child=_after_fork)
