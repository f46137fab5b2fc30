"""Signals that wake a loop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress


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


def drain(end: socket.socket) -> None:
    """Read what signals have written."""
    with suppress(BlockingIOError):
        end.recv(4096)
