"""What threads wait for, and how those that do not drive the loop sleep meanwhile: parked at a lock each."""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol


class Waitable(Protocol):
    """What a thread can wait for."""

    @property
    def _done(self) -> bool: ...

    _parked: list[threading.Lock] | None


#: Two threads must not make a list each. (Re-entrant: a signal handler may wait for something, too.)
_parking = threading.RLock()


def park(thing: Waitable) -> threading.Lock:
    """A lock, taken, that :func:`wake_waiters` lets go."""
    lock = threading.Lock()
    lock.acquire()
    have_told(thing, lock)
    return lock


def have_told(thing: Waitable, lock: Any) -> None:
    """Let :func:`wake_waiters` call ``lock.release()``."""
    with _parking:
        if thing._parked is None:
            thing._parked = []
        thing._parked.append(lock)


def wake_waiters(thing: Waitable) -> None:
    """Wake the threads that are parked at ``thing``."""
    for lock in list(thing._parked or ()):
        unpark(lock)


def unpark(lock: threading.Lock) -> None:
    """Wake the thread that is parked at ``lock``."""
    try:
        lock.release()
    except RuntimeError:
        pass  # it was woken already


if hasattr(os, "register_at_fork"):  # whoever had it is not there
    os.register_at_fork(after_in_child=_parking._at_fork_reinit)  # type: ignore[attr-defined]
