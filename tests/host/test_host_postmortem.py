"""What an EngineLost tells of the death."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import re
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

from parpool import EngineLost, Pool
from parpool.host import postmortem
from parpool.host.postmortem import LONGEST, Postmortem
from parpool.options import STACK


def crash_here() -> None:
    ctypes.string_at(0)


def grow_and_die(size: int) -> None:
    ballast = bytearray(size)
    assert ballast is not None
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_crash_tells_its_stack() -> None:
    enabled = faulthandler.is_enabled()
    faulthandler.disable()  # pytest's own: engines leave the user's alone
    try:
        with Pool(1) as pool, pytest.raises(EngineLost) as caught:
            pool.apply(crash_here)
    finally:
        if enabled:
            faulthandler.enable()
    assert "SIGSEGV" in str(caught.value) and "crash_here" in str(caught.value)


def test_memory_of_a_killed_engine_is_told() -> None:
    # In a process of its own: it is told of the largest child so far, and other tests had larger ones.
    code = f"import {__name__} as tests; tests.lose_one()"
    paths = {"PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=40, env=os.environ | paths
    )
    assert re.search(r"its memory had grown to [\d,]+ MiB", done.stdout), done.stderr


def lose_one() -> None:
    """In another process: print what is said of an engine that had much memory."""
    with Pool(1, context=get_context("fork")) as pool:
        try:
            pool.apply(grow_and_die, (600 * 2**20,))
        except EngineLost as error:
            print(error)


def test_the_out_of_memory_killer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 1\noom_kill 1\n")
    (tmp_path / "memory.max").write_text("1048576\n")
    monkeypatch.setattr(postmortem, "_memory_events", lambda: events)
    found = Postmortem()
    assert "out-of-memory" not in found.words("was killed by SIGKILL", None)
    events.write_text("low 0\noom 2\noom_kill 2\n")
    assert "out-of-memory" not in found.words("ended with exit code 1", None)
    words = found.words("was killed by SIGKILL", None)
    assert words.startswith("was killed by SIGKILL; the kernel's out-of-memory killer") and "limit is 1 MiB" in words
    assert "out-of-memory" not in found.words("was killed by SIGKILL", None), "and only once for each"


def test_without_a_control_group_there_is_less_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmortem, "_memory_events", lambda: None)
    monkeypatch.setattr(postmortem, "_peak", lambda: 0)
    assert Postmortem().words("was killed by SIGKILL", None) == "was killed by SIGKILL"


def test_a_long_stack_is_cut_and_its_file_removed(tmp_path: Path) -> None:
    path = tmp_path / f"engine-0{STACK}"
    path.write_text("x" * (LONGEST + 1000))
    words = Postmortem().words("ended", str(tmp_path / "engine-0"))
    assert words.endswith("\n...") and len(words) < LONGEST + 100 and not path.exists()
