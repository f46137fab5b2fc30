"""A plugin for pytest: fixtures with a Pool, and with a cluster, for tests of code that uses parpool.

Installed with parpool, and loaded by every pytest of that environment: so it imports nothing of parpool before a test
asks for one of its fixtures. `-p no:parpool.testing` leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .cluster.cluster import Cluster
    from .pool import Pool

SCOPES = ("function", "class", "module", "package", "session")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of pytest's configuration file."""
    parser.addini("parpool_engines", "how many engines the fixtures of parpool have (default: 2)", default="2")
    parser.addini("parpool_scope", f"how long they live: {', '.join(SCOPES)} (default: module)", default="module")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what the fixtures could not be made with."""
    engines, scope = config.getini("parpool_engines"), config.getini("parpool_scope")
    if not (engines.isdecimal() and int(engines) > 0):
        raise pytest.UsageError(f"parpool_engines is how many engines there are, 1 or more, and not {engines!r}")
    if scope not in SCOPES:
        raise pytest.UsageError(f"parpool_scope is one of {', '.join(SCOPES)}, and not {scope!r}")


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    return config.getini("parpool_scope")


@pytest.fixture(scope=_scope)
def parpool_pool(pytestconfig: pytest.Config) -> Iterator[Pool]:
    """A parpool.Pool, whose engines end with its last test, whatever they do then."""
    from .pool import Pool

    pool = Pool(int(pytestconfig.getini("parpool_engines")))
    try:
        yield pool
    finally:
        pool.terminate()
        pool.join()


@pytest.fixture(scope=_scope)
def parpool_cluster(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A parpool.Cluster that runs, in a folder of its own: parpool.Client() connects to it while it is there."""
    from .cluster.cluster import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARPOOL_DIR", str(tmp_path_factory.mktemp("parpool")))
        patch.delenv("PARPOOL_PROFILE", raising=False)
        cluster = Cluster(int(pytestconfig.getini("parpool_engines")), cluster_id="default")
        try:
            cluster.start_cluster()
            yield cluster
        finally:
            cluster.stop_cluster()
