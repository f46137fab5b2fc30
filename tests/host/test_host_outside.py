"""What comes by none of the sockets: signals, whichever thread the system gives them to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from other_threads import PATIENCE, can_signal, signal_another


@can_signal
def test_a_hub_ends_though_another_thread_gets_it(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")  # whose store has a thread of its own
    line = [sys.executable, "-m", "parpool", "hub", f"--db=sqlite:///{tmp_path / 'tasks.db'}"]
    process = subprocess.Popen(line, env=os.environ | {"PARPOOL_DIR": str(tmp_path)}, stderr=subprocess.DEVNULL)
    try:
        folder = tmp_path / "profile_default" / "clusters" / "default"
        until(lambda: any("is ready" in path.read_text() for path in folder.glob("log/*")))
        signal_another(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
