"""Other processes that have sessions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MAKER = """
import os, sys
from parpool.shm import session
session.roots = lambda: sys.argv[1:]
made = session.Session()
print(made.folder, flush=True)
sys.stdin.read()
"""


def maker(root: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process with a session, which it holds until its input ends."""
    command = [sys.executable, "-c", MAKER, str(root)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
