"""Where the sessions of these tests lie."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from parpool.shm import session as sessions


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place of our own where sessions lie, with a short path."""
    folder = tempfile.mkdtemp(prefix="s-", dir="/tmp")
    monkeypatch.setattr(sessions, "roots", lambda: [folder])
    yield Path(folder)
    shutil.rmtree(folder)
