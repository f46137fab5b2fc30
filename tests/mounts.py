"""Scripts that see other file systems than everybody else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PRIVATE = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]


def run_behind(mounts: str, script: Path, skip: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script after these commands, which nobody else sees the effects of. ``skip``: why, where they fail."""
    if shutil.which("unshare") is None or subprocess.run([*PRIVATE, "true"], capture_output=True).returncode:
        pytest.skip("only root can mount")
    tried = subprocess.run([*PRIVATE, mounts], capture_output=True, text=True)
    if tried.returncode and skip:
        pytest.skip(skip)
    assert tried.returncode == 0, tried.stderr
    command = [*PRIVATE, f"{mounts} && unset PARPOOL_RUNTIME_DIR && exec '{sys.executable}' '{script}'"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)
