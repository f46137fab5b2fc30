"""The functions every contestant runs: importable by name on any worker, and doing next to nothing.

They live in a module, not in ``__main__``, so that all libraries send them the same way: by reference.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

HOLD_AT_MOST = 600.0


def noop(*_: object) -> None:
    return None


def identity(value: object) -> object:
    return value


def sleep(seconds: float) -> None:
    """Time that costs no core, so that two workers overlap fully whatever else the machine does."""
    time.sleep(seconds)


def hold(folder: str, number: int) -> None:
    """Keep a worker busy until ``folder/open`` appears; ``folder/held-<number>`` says it has begun."""
    Path(folder, f"held-{number}").touch()
    opened = Path(folder, "open")
    parent = os.getppid()
    end = time.monotonic() + HOLD_AT_MOST
    # A worker whose parent was killed must not wait for a gate that nobody opens any more.
    while not opened.exists() and os.getppid() == parent and time.monotonic() < end:
        time.sleep(0.05)
