"""Under load: engines killed at random, a long queue dropped, a thousand pools. The scripts are in `kills.py`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
import scripts

SCRIPT = str(Path(__file__).with_name("kills.py"))

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into /proc"),
]


def _passes(case: str, method: str, limit: float) -> None:
    """Run a case with a folder of its own for temporary files: it must be empty afterwards. Sockets want short paths."""
    with tempfile.TemporaryDirectory(prefix="k") as folder:
        ended = scripts.run([SCRIPT, case, method], limit, env={"TMPDIR": folder})
        sys.stdout.write(ended.out)  # pytest shows it on request: -rP
        assert (ended.status, ended.left, os.listdir(folder)) == (0, [], []), ended.report()


@pytest.mark.parametrize("method", ["fork", pytest.param("forkserver", marks=pytest.mark.once)])
@pytest.mark.parametrize("case", ["kills_during_apply_async", "kills_during_imap_unordered"])
def test_kills(case: str, method: str) -> None:
    _passes(case, method, 120)


def test_terminate_with_a_long_queue() -> None:
    _passes("terminate_with_a_long_queue", "fork", 60)


@pytest.mark.once
def test_a_thousand_pools() -> None:
    _passes("a_thousand_pools", "fork", 150)
