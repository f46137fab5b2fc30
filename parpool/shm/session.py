"""The folder of a session: sockets and recorders of one host and its engines, private to the user.

Each folder holds a lock file. The lock is a POSIX record lock, which belongs to one process and ends with it, however
it ends; children do not inherit it. So whoever makes the next session can tell the folders of the dead, and removes
them.

The maker has a lock on the first byte. Others may have one on the second, which they share: what lies in the folder is
needed after the death of its maker, too. Whoever is the last to let go removes it.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import stat
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from ..errors import EngineStartError
from .named import remove as remove_region

PREFIX = "parpool-"
VARIABLE = "PARPOOL_RUNTIME_DIR"  #: names the folder of sessions
#: A socket's path may have this many bytes (sun_path holds 108 with the final zero on Linux, 104 elsewhere).
LONGEST_SOCKET_PATH = 103
UNFINISHED = 60  #: seconds after which an empty folder without a lock is nobody's


def roots() -> list[str]:
    """Folders in which a session may lie, best first: memory before disk. The user's choice alone, where there is one."""
    given = os.environ.get(VARIABLE)
    candidates = [given] if given else ["/dev/shm", tempfile.gettempdir(), "/tmp"]
    return [root for root in dict.fromkeys(candidates) if os.path.isdir(root) and os.access(root, os.W_OK | os.X_OK)]


class Session:
    """A private folder that its maker removes, and that others remove when its maker has died.

    ``again``: the folder of a session whose maker has died, and whose place this one takes, where that can be. Raises
    EngineStartError where no folder can be made, naming each place that was tried and why it failed.
    """

    def __init__(self, again: str = "") -> None:
        self.folder = ""
        self._pid = os.getpid()
        self._lock = -1
        if again and self._take_over(again):
            return
        reasons = []
        for root in roots():
            try:
                with _alone:
                    _sweep(root)
                    while not self._make(root):
                        pass
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise  # no fault of the folder
                reasons.append(f"{root}: {error.strerror or error}")
        given = os.environ.get(VARIABLE)
        unusable = (
            f"{VARIABLE} is {given}, and no folder there is writable" if given else "no temporary folder is writable"
        )
        raise EngineStartError(
            "no folder for the session's sockets can be made: "
            + ("; ".join(reasons) or unusable)
            + f". Free some space, or point {VARIABLE if given else 'TMPDIR'} at a folder with a short path."
        )

    def _make(self, root: str) -> bool:
        """Make the folder; False where somebody's sweep has taken it before its lock was ours."""
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=root)  # mode 0700
        try:
            if len(os.fsencode(folder)) + len("/control") > LONGEST_SOCKET_PATH:
                raise OSError(f"the path {folder} is too long for a socket")
            lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                taken = _is_taken(lock, folder)
                if not taken:
                    os.write(lock, str(self._pid).encode())
            except BaseException:
                os.close(lock)
                raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if taken:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)
            return False
        self.folder, self._lock = folder, lock
        _living[folder] = self
        return True

    def _take_over(self, folder: str) -> bool:
        """Lock the folder of a dead session, which is made anew where it was swept; False where it is not to be had."""
        if (
            folder in _living
            or os.path.dirname(folder) not in roots()
            or not os.path.basename(folder).startswith(PREFIX)
        ):
            return False
        with _alone, suppress(OSError):
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            found = os.lstat(folder)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
                return False
            lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not _is_taken(lock, folder):
                os.ftruncate(lock, 0)
                os.write(lock, str(self._pid).encode())
                self.folder, self._lock = folder, lock
                _living[folder] = self
                return True
            os.close(lock)
        return False

    def path(self, name: str) -> str:
        """The path of a file of this session."""
        return os.path.join(self.folder, name)

    @property
    def is_own(self) -> bool:
        """Was it made by this process, and not by the one that this was forked from?"""
        return self._pid == os.getpid()

    @property
    def is_guarded(self) -> bool:
        """Does another process need what is in the folder?"""
        if self._lock < 0 or not self.is_own:
            return False
        if not _take_all(self._lock):
            return True
        _leave_rest(self._lock)
        return False

    def close(self) -> None:
        """Remove the folder, or leave that to whoever guards it.

        Does nothing the second time, or in a process forked from the maker's.
        """
        lock, self._lock = self._lock, -1
        if lock < 0:
            return
        guarded = os.getpid() == self._pid and not _remove_if_alone(self.folder, lock)
        os.close(lock)
        _living.pop(self.folder, None)
        if guarded:
            _sweep_folder(Path(self.folder))  # they may have let go at the same time


class Guard:
    """Keeps the folder of another process's session, also when that process has died.

    Raises OSError where there is no such folder, or where it is not this user's alone.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        found = os.lstat(folder)
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077 and found.st_uid == os.getuid()
        if not private or not os.path.basename(folder).startswith(PREFIX) or folder in _living:
            raise PermissionError(errno.EACCES, "it is no session of another process of this user", folder)
        with _alone:
            if folder not in _guarded:
                lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    _share_lock(lock)
                except BaseException:
                    os.close(lock)
                    raise
                _guarded[folder] = [lock, 0]
            _guarded[folder][1] += 1

    def release(self) -> None:
        """Keep it no longer: it is removed where its maker has died, and nobody else guards it."""
        with _alone:
            kept = _guarded.get(self.folder)
            if kept is None:
                return
            kept[1] -= 1
            if kept[1]:
                return
            del _guarded[self.folder]
            alone = _remove_if_alone(self.folder, kept[0])
            os.close(kept[0])
            if not alone:
                _sweep_folder(Path(self.folder))  # its maker may have let go at the same time


#: This process's sessions by folder. Its own locks do not keep it out, and to close such a file would drop the lock.
_living: dict[str, Session] = {}
#: The folders that it guards: the file descriptor of each lock, and how many guards there are.
_guarded: dict[str, list[int]] = {}
#: One thread of this process makes or sweeps at a time: a lock does not keep out the other threads of its process.
_alone = threading.Lock()


@atexit.register
def _close_all() -> None:
    """Close what is open still: a signal can end the process before whoever made a session can say that it has one."""
    for session in list(_living.values()):
        session.close()


def _after_fork() -> None:
    global _alone
    _alone = threading.Lock()
    _living.clear()
    _guarded.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def sweep() -> None:
    """Remove the folders of dead sessions wherever they may lie."""
    for root in roots():
        with _alone:
            _sweep(root)


def _sweep(root: str) -> None:
    """Remove the folders of sessions whose makers have died."""
    try:
        names = [entry.name for entry in os.scandir(root) if entry.name.startswith(PREFIX)]
    except OSError:
        return
    for name in names:
        _sweep_folder(Path(root, name))


def _sweep_folder(folder: Path) -> None:
    """Remove the folder of a session, where its maker has died and nobody guards it."""
    if str(folder) in _living or str(folder) in _guarded:
        return
    try:
        if folder.stat().st_uid != os.getuid():
            return
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        _remove_unfinished(folder)
        return
    except (OSError, AttributeError):
        return  # not ours, or this is Windows
    try:
        _remove_if_alone(folder, lock)
    finally:
        os.close(lock)


def _remove_if_alone(folder: str | Path, lock: int) -> bool:
    """Remove a folder to whose lock this process has a file descriptor; False where another one has a lock on it."""
    if not _take_all(lock):
        return False
    _remove(folder)
    return True


def _remove(folder: str | Path) -> None:
    """Remove a session's folder, and its lock last: whoever is killed in between leaves one that can be swept."""
    for path in Path(folder).glob("*"):
        if path.name.startswith("memory-"):
            remove_region(str(path))
        elif path.name != "lock":
            with suppress(OSError):
                path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _remove_unfinished(folder: Path) -> None:
    """Remove a folder without a lock, whose maker or remover was killed, unless it is in the making just now."""
    with suppress(OSError):  # it is not empty, or gone
        if time.time() - folder.stat().st_mtime > UNFINISHED:
            folder.rmdir()


def _is_taken(lock: int, folder: str) -> bool:
    """Lock the file of a new folder; has a sweep found it unlocked before, and taken it for one of the dead?"""
    try:
        _take_lock(lock)
        return not os.path.samestat(os.fstat(lock), os.stat(os.path.join(folder, "lock")))
    except (FileNotFoundError, BlockingIOError, PermissionError):  # it has removed the file, or holds the lock just now
        return True


def _take_lock(fd: int) -> None:
    """Lock the file as its maker, or raise OSError at once where another process does, or sweeps."""
    _lock_part(fd, "LOCK_EX", 1, 0)


def _share_lock(fd: int) -> None:
    """Lock the file as one that guards it, or raise OSError at once where another process sweeps."""
    _lock_part(fd, "LOCK_SH", 1, 1)


def _take_all(fd: int) -> bool:
    """Lock all of the file; False at once where another process has a lock on it."""
    try:
        _lock_part(fd, "LOCK_EX", 0, 0)
        return True
    except OSError:
        return False


def _leave_rest(fd: int) -> None:
    """Keep of the lock on all of the file that of its maker."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.lockf(fd, fcntl.LOCK_UN, 0, 1)


def _lock_part(fd: int, how: str, length: int, start: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: an open file cannot be removed there, which is lock enough
        return
    fcntl.lockf(fd, getattr(fcntl, how) | fcntl.LOCK_NB, length, start)
