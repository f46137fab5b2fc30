"""Processes that stay when the terminal is gone: how one leaves it, and the log that it writes instead.

The process that was started by the user waits until the daemon is up, so that its exit status says whether it is.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from ..errors import ParpoolError
from .launcher import last_words

COMING_UP = 60.0  #: seconds that a daemon has to come up
LOG_BYTES = 5_000_000  #: a log file grows to about this size,
LOG_FILES = 3  #: and so many older ones are kept beside it
LOOK = 0.02  #: seconds between two looks at whether it is up
_END = b"\0"  # behind why it failed; without a reason, it is up

Tell = Callable[[str], None]


def detach(up: Callable[[int], bool], patience: float) -> tuple[int, Tell]:
    """Go on in a new process without a terminal.

    Returns in both, as fork does. In the new one with 0 and a function that it tells why it fails (an empty text: that
    it is up), once. In the other one with the new one's pid as soon as ``up(pid)`` or it says so itself; raises
    ChildProcessError with what it says otherwise, or where it ends without a word or is not up after ``patience``
    seconds, when it is ended.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(writing)
        try:
            return _wait(child, reading, up, patience), lambda reason: None
        finally:
            os.close(reading)
    os.close(reading)
    os.setsid()
    if os.fork():  # who leads a session may open a terminal by accident; its child may not
        os._exit(0)
    os.write(writing, f"{os.getpid()}\n".encode())
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)

    def tell(reason: str) -> None:
        with suppress(OSError):  # BrokenPipeError: nobody waits any more
            os.write(writing, reason.encode(errors="replace") + _END)
        with suppress(OSError):
            os.close(writing)

    return 0, tell


def _wait(child: int, reading: int, up: Callable[[int], bool], patience: float) -> int:
    deadline = time.monotonic() + patience
    text, pid, what = b"", 0, ""
    try:
        os.waitpid(child, 0)
        while True:
            if select.select([reading], [], [], LOOK)[0]:
                data = os.read(reading, 1 << 16)
                text += data
                first, _, reason = text.partition(b"\n")
                pid = int(first or 0)
                if reason.endswith(_END):
                    if reason == _END:
                        return pid
                    what = reason[:-1].decode(errors="replace")
                elif not data:
                    what = "it ended before it was up"
            if pid and not what and up(pid):
                return pid
            if not what and time.monotonic() > deadline:
                what = f"it was not up after {patience:g} s"
            if what:
                raise ChildProcessError(what)
    except BaseException:  # also Ctrl-C
        while not pid and (data := os.read(reading, 1 << 16)):  # its pid is the first that it says
            text += data
            pid = int(text.partition(b"\n")[0]) if b"\n" in text else 0
        if pid:
            with suppress(OSError):
                os.kill(pid, signal.SIGTERM)
        raise


class LogFile(RotatingFileHandler):
    """A log that is renamed when it is large, and a new one begun. A daemon's stdout and stderr move along."""

    def __init__(self, path: Path, *, with_stdio: bool = False) -> None:
        self._with_stdio = with_stdio
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> Any:
        stream = super()._open()
        if os.name != "nt":
            os.fchmod(stream.fileno(), 0o600)  # as those that launchers open: it is its owner's
        if self._with_stdio:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        return stream


def log_to(path: Path, level: str, *, with_stdio: bool, stream: bool) -> None:
    """Have parpool write its log to the file, which stdout and stderr are to be as well; or else also to stderr."""
    logger = logging.getLogger("parpool")
    logger.setLevel(level.upper())
    logger.propagate = False  # what tasks configure for themselves gets none of it
    if logger.level < logging.INFO:
        logging.getLogger("parpool.keys").setLevel(logging.INFO)  # in its details it tells the (public) keys
    form = logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s")
    handlers: list[logging.Handler] = [LogFile(path, with_stdio=with_stdio)]
    if stream:
        handlers.append(logging.StreamHandler())
    if stream or with_stdio:
        handlers[-1].addFilter(lambda record: not getattr(record, "told", False))
    for handler in handlers:
        handler.setFormatter(form)
        logger.addHandler(handler)


def given(logs: Path) -> Path | None:
    """The file of this folder that stdout and stderr are: whoever started this process has made it for the log."""
    try:
        mine = os.fstat(2)
        if not os.path.samestat(mine, os.fstat(1)):
            return None
        for each in os.scandir(logs):
            if each.inode() == mine.st_ino and each.name.endswith(".log") and os.path.samestat(mine, each.stat()):
                return Path(each.path)
    except OSError:  # there is no stderr, or the log is just being renamed
        pass
    return None


def claimed(path: Path) -> bool:
    """Is the file for this process alone? Of those that were started by one command, one has it."""
    try:
        import fcntl
    except ImportError:
        return True
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return False
    except OSError:
        pass  # a file system without locks
    return True  # with the lock, as long as the process lives


# A process of a cluster -----------------------------------------------------------------------------

IsUp = Callable[[int], bool]  #: is the process with this pid up?
Serve = Callable[[Callable[[str], None]], None]  #: runs it; gets what it may tell that it is up, in words for a user


def be(
    kind: str,
    logs: Path,
    serve: Serve,
    is_up: IsUp = lambda pid: False,
    name: str = "",
    *,
    log_level: str,
    daemonize: bool,
) -> None:
    """Run a process of a cluster, here or as a daemon. Its log, of this name, is in the folder ``logs``.

    What was started with a file of that folder as its stderr, as launchers do it, has that for its log: then all that
    it says is in one place.

    Raises ChildProcessError where a daemon does not come up.
    """
    tell: Tell | None = None
    if daemonize:
        if not hasattr(os, "fork"):
            raise ParpoolError("--daemonize needs fork, which this system does not have: leave it out")
        try:
            pid, tell = detach(is_up, COMING_UP)
        except ChildProcessError as error:
            # One that knows its name may end without another word to us than the last one in its log.
            said = f": {words}" if name and (words := last_words(logs / f"{name}.log")) else ""
            raise ChildProcessError(f"the {kind} did not come up: {error}{said} (its log is in {logs})") from None
        if pid:
            _say(f"{kind} is up: pid {pid}")
            return
    launched = given(logs)
    mine = launched if launched is not None and claimed(launched) else None
    own = logs / f"{name or f'{kind}-{os.getpid()}'}.log"
    log_to(mine or own, log_level, with_stdio=daemonize or mine is not None, stream=not daemonize and launched is None)
    try:
        serve(_say if tell is None else lambda words: tell(""))
    except KeyboardInterrupt:
        pass  # it was to end, and has
    except Exception as error:
        known = isinstance(error, (ParpoolError, OSError))
        told = {"told": tell is None}  # whoever called us tells it on stderr
        logging.getLogger("parpool").error("%s", error, exc_info=None if known else error, extra=told)
        if tell is None:
            raise
        tell(str(error) if known else f"{type(error).__name__}: {error}")
        raise SystemExit(1) from None


def _say(words: str) -> None:
    print(words, flush=True)


@contextmanager
def ended_by_signals(end: Callable[[], object]) -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt in here, as Ctrl-C does. ``end`` is called at last, in peace."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in (signal.SIGINT, *numbers):  # a second one would leave behind what has not ended yet
            signal.signal(number, signal.SIG_IGN)
        end()
