"""Signals to one thread of another process."""

from __future__ import annotations

import ctypes
import platform
import sys
import time
from pathlib import Path

import pytest

TGKILL = {"x86_64": 234, "aarch64": 131}  #: numbers of the system call that signals one thread
PATIENCE = 20.0

can_signal = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in TGKILL, reason="no call to signal a thread"
)


def signal_another(pid: int, number: int) -> None:
    """Signal a thread of a process that is not its main one, while that one sleeps."""
    tasks, deadline = Path(f"/proc/{pid}/task"), time.monotonic() + PATIENCE
    while not (status(tasks / str(pid))["State"].startswith("S") and (others := takers(tasks, pid, number))):
        assert time.monotonic() < deadline, "it has no other thread that takes signals, or is never at rest"
        time.sleep(0.01)
    assert ctypes.CDLL(None).syscall(TGKILL[platform.machine()], pid, others[0], int(number)) == 0


def takers(tasks: Path, pid: int, number: int) -> list[int]:
    """The threads, but for the main one, that have not blocked a signal."""
    others = [each for each in tasks.iterdir() if each.name != str(pid)]
    return [int(each.name) for each in others if not int(status(each)["SigBlk"], 16) >> (number - 1) & 1]


def status(task: Path) -> dict[str, str]:
    """What the system says of a thread."""
    return dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
