"""Notice the end of a process, by a file descriptor that becomes readable with it."""

from __future__ import annotations

import os


def watch(pid: int) -> int | None:
    """A file descriptor that becomes readable when process ``pid`` ends; None where the system has none.

    Where the process has ended already, it is readable at once: so who waits needs no second way to hear of that. Not a
    pipe: its other end would be inherited by whatever the process forks, and would stay open with them.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            return os.eventfd(1)
    except OSError:  # an older kernel, a sandbox without the call, or no descriptors left
        return None


def alive(pid: int) -> bool:
    """Does process ``pid`` exist? (For systems where :func:`watch` gives None.)"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
