"""Notice the end of a process, by a file descriptor that becomes readable with it."""

from __future__ import annotations

import os


def watch(pid: int) -> int | None:
    """A file descriptor that becomes readable when process ``pid`` ends; None where the system has none.

    Not a pipe: its other end would be inherited by whatever the process forks, and would stay open with them. Raises
    ProcessLookupError where the process has ended already.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:  # an older kernel, or a sandbox without the call
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
