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
def heard_outside(station: Station, owner: int, orphaned: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Have the loop of ``station`` woken by signals, and ``orphaned`` called when process ``owner`` (0: none) has ended.

    Python runs the handler of a signal when its main thread next does something. One that comes in the moment before
    that falls asleep would be heeded when it wakes for another reason. In the main thread only. Gives what is to be
    called now and then, for systems that do not tell of the end of a process.
    """
    reading, writing = socket.socketpair()
    watched: int | None = None
    try:
        for end in (reading, writing):
            end.setblocking(False)
        station.listen(reading.fileno(), lambda: _drain(reading))
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
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
        signal.set_wakeup_fd(-1)
        reading.close()
        writing.close()
        if watched is not None:
            os.close(watched)


def _drain(end: socket.socket) -> None:
    with suppress(BlockingIOError):
        end.recv(4096)
