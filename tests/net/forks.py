"""Checks in a process that this thread forks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def in_a_fork(check: Callable[[], bool]) -> bool:
    """What ``check`` says in a forked process; False, too, where it does not end."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        ok = False
        try:
            ok = check()
        finally:
            os._exit(0 if ok else 1)
    return os.waitpid(pid, 0)[1] == 0
