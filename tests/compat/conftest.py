"""The engines of the tests of other systems' interfaces, and gates for tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = str(Path(__file__).resolve().parents[1] / "conformance")
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from rows import Gate, warm_pool  # noqa: E402  # by the path above

from parpool import Client  # noqa: E402


@pytest.fixture(scope="module")
def engines() -> Iterator[Client]:
    """Those of a Pool, for all tests of a module."""
    with warm_pool(2) as pool:
        yield pool.client


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Holds tasks; opened at the end of the test, whatever becomes of it."""
    with Gate(tmp_path) as made:
        yield made


@pytest.fixture
def joblib_backend() -> Iterator[None]:
    """joblib's backend is known; its engines end with each test, as some tests have them replaced."""
    from parpool.compat import joblib as ours

    ours.register()
    yield
    ours.shutdown()


@pytest.fixture
def two(joblib_backend: None) -> Iterator[None]:
    """Two jobs of joblib's, on parpool."""
    from joblib import parallel_config

    with parallel_config(backend="parpool", n_jobs=2):
        yield
