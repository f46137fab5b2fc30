"""What a controller must hear of that comes by none of its sockets: signals, and the end of the process that owns it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..net import deaths
from .station import Station


@contextmanager
def woken_by_signals() -> Iterator[socket.socket]:
    """A socket that can be read when a signal has come: to be polled with all else, and to be drained.

    Python runs the handler of a signal when its main thread next does something. One that comes in the moment before
    that falls asleep, or that the system gives to another thread, would be heeded when it wakes for another reason. In
    the main thread only.
    """
    reading, writing = socket.socketpair()
    try:
        for end in (reading, writing):
            end.setblocking(False)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        yield reading
    finally:
        signal.set_wakeup_fd(-1)
        reading.close()
        writing.close()


@contextmanager
def heard_outside(station: Station, owner: int, orphaned: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Have the loop of ``station`` woken by signals, and ``orphaned`` called when process ``owner`` (0: none) has ended.

    Gives what is to be called now and then, for systems that do not tell of the end of a process.
    """
    watched: int | None = None
    with woken_by_signals() as reading:
        try:
            station.listen(reading.fileno(), lambda: drain(reading))
            if owner:
                try:
                    watched = deaths.watch(owner)
                except ProcessLookupError:
                    orphaned()
            if watched is not None:
                station.listen(watched, orphaned)

            def look() -> None:
                if owner and watched is None and not deaths.alive(owner):
                    orphaned()

            yield look
        finally:
            if watched is not None:
                os.close(watched)


def drain(end: socket.socket) -> None:
    """Read what signals have written."""
    with suppress(BlockingIOError):
        end.recv(4096)
