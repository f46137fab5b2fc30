"""What comes by none of the sockets: signals, whichever thread the system gives them to."""

from __future__ import annotations

import ctypes
import os
import platform
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parpool.host.outside import drain, woken_by_signals

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals")

PATIENCE = 20.0
TGKILL = {"x86_64": 234, "aarch64": 131}  #: numbers of the system call that signals one thread


def test_the_loop_is_woken_though_another_thread_gets_it() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with woken_by_signals() as woken:
            assert not select.select([woken], [], [], 0)[0]
            thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
            thread.start()
            assert select.select([woken], [], [], PATIENCE)[0]
            thread.join()
            drain(woken)
            drain(woken)
            assert heard == [signal.SIGUSR1] and not select.select([woken], [], [], 0)[0]
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() not in TGKILL, reason="no call to signal a thread")
def test_a_hub_ends_though_another_thread_gets_it(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")  # whose store has a thread of its own
    line = [sys.executable, "-m", "parpool", "hub", f"--db=sqlite:///{tmp_path / 'tasks.db'}"]
    process = subprocess.Popen(line, env=os.environ | {"PARPOOL_DIR": str(tmp_path)}, stderr=subprocess.DEVNULL)
    folder = tmp_path / "profile_default" / "clusters" / "default"
    tasks = Path(f"/proc/{process.pid}/task")
    until(lambda: any("is ready" in path.read_text() for path in folder.glob("log/*")))
    others = [int(each.name) for each in tasks.iterdir() if each.name != str(process.pid) and takes(each)]
    assert others, "it has no other thread that takes signals"
    until(lambda: status(tasks / str(process.pid))["State"].startswith("S"))
    assert ctypes.CDLL(None).syscall(TGKILL[platform.machine()], process.pid, others[0], int(signal.SIGTERM)) == 0
    try:
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def status(task: Path) -> dict[str, str]:
    """What the system says of a thread."""
    return dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)


def takes(task: Path) -> bool:
    """Has it not blocked SIGTERM?"""
    return not int(status(task)["SigBlk"], 16) >> (signal.SIGTERM - 1) & 1


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
