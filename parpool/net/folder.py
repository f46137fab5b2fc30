"""A cluster's folder: private to the user, its files written whole or not at all, and the lock of its controller."""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ..errors import ConnectionFileError
from .deaths import alive

LOCK = "controller.lock"
LOOKED_AT = 1.0  #: seconds for which somebody may be looking at a lock (`running`), at the very most


def make_folder(folder: Path) -> None:
    """Make the folder and those above it that are missing, private to the user.

    Raises ConnectionFileError where that cannot be.
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):  # Path.mkdir(parents=True) makes the upper ones as open as the umask leaves them
        try:
            each.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConnectionFileError(
                f"the folder {each} cannot be made ({error.strerror}): set PARPOOL_DIR to a folder of your own"
            ) from error


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600: who reads at the same time finds the old one or the new one, whole."""
    make_folder(path.parent)
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    if sys.platform != "win32":  # which opens no folders
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # not every file system can do it
            os.fsync(folder)  # so that the new name, too, is on the disk
        os.close(folder)


# The lock -------------------------------------------------------------------------------------------


class ControllerLock:
    """Held by the controller of a cluster as long as it lives, and free as soon as it has ended, in whatever way.

    A hub in a process of its own holds one, too, in a folder of its own. Raises ConnectionFileError where another one
    holds it; ``what`` and ``stop`` are for its words.
    """

    def __init__(self, folder: Path, what: str = "controller", stop: str = "parpool stop") -> None:
        make_folder(folder)
        self._fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            deadline = time.monotonic() + LOOKED_AT
            while not _take(self._fd):
                pid, hostname = _read(self._fd)
                # Where the one that is named does not live, somebody looks at the lock, or another one has just begun.
                if _lives(pid, hostname) or time.monotonic() > deadline:
                    who = f"pid {pid} on {hostname}" if pid else "one that has just begun"
                    raise ConnectionFileError(
                        f"a {what} serves this cluster already ({who}): {folder}. Stop it with `{stop}`, "
                        "or give the new cluster another name with --cluster-id"
                    )
                time.sleep(0.01)
            _write(self._fd, f"{os.getpid()} {socket.gethostname()}\n")
        except BaseException as error:
            os.close(self._fd)
            if isinstance(error, OSError) and error.errno in (errno.ENOLCK, errno.ENOTSUP):
                raise ConnectionFileError(
                    f"the file system of {folder} has no locks ({error.strerror}): set PARPOOL_DIR to a folder on "
                    "another one"
                ) from error
            raise
        _held.add(self._fd)

    def release(self) -> None:
        """Let go of it. Does nothing the second time, or in a process forked from the controller's."""
        if self._fd in _held:
            _held.discard(self._fd)
            _write(self._fd, "")  # the file stays: somebody may have opened it to lock it next
            os.close(self._fd)

    def __enter__(self) -> ControllerLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


def running(folder: Path) -> bool:
    """Does a controller hold the lock of this cluster?"""
    return holder(folder) is not None


def holder(folder: Path) -> tuple[int, str] | None:
    """The pid and the host of the controller that holds the lock; pid 0: not known yet. None: no one does."""
    try:
        fd = os.open(folder / LOCK, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None  # never locked, or another user's
    try:
        free = _take(fd, shared=True)  # shared: many may look at one time
        found = _read(fd)
        return None if free else found
    except OSError:  # no locks there: what it says must do
        pid, hostname = found = _read(fd)
        return found if _lives(pid, hostname) or (pid and hostname != socket.gethostname()) else None
    finally:
        os.close(fd)


def _take(fd: int, shared: bool = False) -> bool:
    """Lock the open file if it is free. The lock ends when the last file descriptor for it is closed."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(fd, 1 << 30, os.SEEK_SET)  # beyond the text, which others are to read: there, what is locked is not
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> tuple[int, str]:
    """The pid and the host in a lock's file; 0 where there are none."""
    os.lseek(fd, 0, os.SEEK_SET)
    pid, _, hostname = os.read(fd, 1000).decode(errors="replace").strip().partition(" ")
    return (int(pid), hostname) if pid.isascii() and pid.isdecimal() and hostname else (0, "")


def _write(fd: int, text: str) -> None:
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, text.encode())


def _lives(pid: int, hostname: str) -> bool:
    """Is it certain that it does? (Windows has no way to ask that does no harm.)"""
    return pid > 0 and hostname == socket.gethostname() and sys.platform != "win32" and alive(pid)


#: File descriptors of the locks that this process holds.
_held: set[int] = set()


def _after_fork() -> None:
    # Else what the controller forks would hold its lock when it is gone.
    for fd in _held:
        os.close(fd)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
