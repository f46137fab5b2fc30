"""The engines of the tests of rows: those of a Pool, and those of a cluster, by the same fixtures.

And it puts this folder on the path: the tests' tasks must be importable here and in every process they start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from rows import PATIENCE, Gate, Home, cluster, schedulers, warm_pool  # noqa: E402  # by the path above

from parpool import Client, Pool  # noqa: E402

EVERYWHERE = ("pool", pytest.param("cluster", marks=pytest.mark.once))
#: Where the module asks for it by SCHEDULERS.
SEVERAL = pytest.param("schedulers", marks=pytest.mark.once)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests wherever engines can be."""
    if "home" in metafunc.fixturenames:
        several = (SEVERAL,) if getattr(metafunc.module, "SCHEDULERS", False) else ()
        metafunc.parametrize("home", (*EVERYWHERE, *several), indirect=True, scope="module")


@pytest.fixture(scope="module")
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    """Engines, as many as the module says by ENGINES, for all its tests."""
    engines = getattr(request.module, "ENGINES", 2)
    if request.param != "pool":
        with (cluster if request.param == "cluster" else schedulers)(engines) as rc, rc.pool() as pool:
            pool.map_async(abs, [-1] * 8, 1, callback=lambda value: None).get(PATIENCE)
            pool.apply(len, (bytes(2**20),))  # folders, too, are made with the first use
            rc[0].apply_sync(len, bytes(2**20))
            yield Home(pool, rc)
    else:
        with warm_pool(engines) as pool:
            yield Home(pool, pool.client)


@pytest.fixture
def pool(home: Home) -> Pool:
    """A pool on the engines."""
    return home.pool


@pytest.fixture
def rc(home: Home) -> Client:
    """The client of the engines, whose namespaces are clear."""
    home.client.clear()
    return home.client


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Holds tasks; opened at the end of the test, whatever becomes of it."""
    with Gate(tmp_path) as made:
        yield made
