"""Contexts for the sockets of two sides, and an address for them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import pytest
from sides import Keeping

from parpool.net.sockets import Context


@pytest.fixture
def context() -> Iterator[Context]:
    made = Keeping()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Context]:
    """The other side's."""
    made = Keeping()
    yield made
    made.close()


@pytest.fixture
def address() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="s-", dir="/tmp")
    yield f"ipc://{folder}/socket"
    shutil.rmtree(folder)
