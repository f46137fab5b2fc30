"""A folder for the clusters of each test, and an end for what a test that fails would leave running."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from parpool.shm.session import sweep

sys.path.append(str(Path(__file__).parents[1] / "launch"))  # for its servers

Until = Callable[..., Any]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That of all profiles."""
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("PARPOOL_PROFILE", raising=False)
    yield tmp_path / "data"
    left = ours()
    sweep()  # as the next one to start does: the memory of engines that were killed
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"processes were left running: {left}"


def ours() -> dict[int, str]:
    """The living processes of the clusters of this test, those that end in this moment left out."""
    mark = f"PARPOOL_DIR={os.environ['PARPOOL_DIR']}".encode()
    deadline = time.monotonic() + 5
    while True:
        found = {}
        for name in os.listdir("/proc"):
            with suppress(OSError):
                if name.isdecimal() and int(name) != os.getpid():
                    if mark in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                        found[int(name)] = Path("/proc", name, "cmdline").read_text().replace("\0", " ")
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


@pytest.fixture
def until() -> Until:
    """Waits until something is true; gives it."""

    def wait(what: Callable[[], Any], seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < deadline, "it does not come about"
            time.sleep(0.01)
        return found

    return wait
