"""What the tests of shared arrays have in common. Import the fixture by its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

import parpool


@pytest.fixture(scope="module")
def pool() -> Iterator[parpool.Pool]:
    with parpool.Pool(2) as made:
        made.client[:].apply_sync(os.getpid)  # both are there
        yield made
    made.join()


def total(a: Any) -> float:
    return float(a.sum())


def add(a: Any, value: float) -> Any:
    a += value
    return type(a).__name__, a.shape, a.flags.writeable, a.shared
