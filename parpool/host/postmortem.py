"""What there is to say of an engine's death besides how its process ended: memory, and the stack of a crash."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..options import STACK

resource: Any = importlib.import_module("resource") if os.name == "posix" else None

LONGEST = 4000  #: characters of a stack that are told


class Postmortem:
    """Evidence from around the processes; made while they live, as much of it is a difference."""

    def __init__(self) -> None:
        self._events = _memory_events()
        self._kills = _kills(self._events)
        self._peak = _peak()

    def words(self, detail: str, recorder: str | None) -> str:
        """``detail`` (how the process ended, in words) and what else is known. To be called when it was reaped."""
        found = [detail]
        peak = _peak()
        if "SIGKILL" in detail:
            kills = _kills(self._events)
            if kills > self._kills:
                self._kills = kills
                found.append("the kernel's out-of-memory killer has struck in this control group" + self._limit())
            if peak > self._peak:  # no other child had so much: it was this one's
                found.append(f"its memory had grown to {peak / 2**20:,.0f} MiB")
        self._peak = max(peak, self._peak)
        words = "; ".join(found)
        stack = _take(recorder + STACK) if recorder is not None else ""
        return f"{words}\nIts stack at the end:\n{stack}" if stack else words

    def _limit(self) -> str:
        if self._events is None:
            return ""
        with suppress(OSError, ValueError):
            return f", whose limit is {int(self._events.with_name('memory.max').read_text()) / 2**20:,.0f} MiB"
        return ""


def _memory_events() -> Path | None:
    """The file in which the kernel counts what memory did to this control group (Linux, cgroup v2)."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                path = Path("/sys/fs/cgroup" + line[3:], "memory.events")
                return path if path.exists() else None
    return None


def _kills(events: Path | None) -> int:
    """How many processes of the group the out-of-memory killer has ended."""
    with suppress(OSError, ValueError):
        for line in events.read_text().splitlines() if events is not None else ():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _peak() -> int:
    """Bytes that the largest child had which was waited for so far."""
    if resource is None:
        return 0
    largest: int = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def _take(path: str) -> str:
    """The text of a file, which is removed; empty where there is none."""
    with suppress(OSError):
        text = Path(path).read_text(errors="replace").strip()
        os.unlink(path)
        return text if len(text) <= LONGEST else text[:LONGEST] + "\n..."
    return ""
