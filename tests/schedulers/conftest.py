"""Clusters with two schedulers, and four engines or two, for the tests of a module."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from held import Held, Hold

from parpool import Client, Cluster
from parpool.net.sockets import have_ipc

Until = Callable[..., Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They connect by local sockets, and look at processes by the means of Linux."""
    if not have_ipc() or not os.path.exists("/proc/self/stat"):
        for item in items:
            item.add_marker(pytest.mark.skip(reason="no local sockets, or no /proc"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARPOOL_DIR", str(tmp_path_factory.mktemp("data")))
        made = Cluster(n=4, schedulers=2, cluster_id="two")
        made.start_cluster()
        yield made
        made.stop_cluster()
        left = [each for each in Path(made.folder).rglob("*") if each.parent.name != "log" and each.is_file()]
        assert [each.name for each in left] == ["controller.lock"], left


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two schedulers with an engine each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARPOOL_DIR", str(tmp_path_factory.mktemp("data")))
        made = Cluster(n=2, schedulers=2, cluster_id="pair")
        made.start_cluster()
        yield made
        made.stop_cluster()


@pytest.fixture
def two(pair: Cluster) -> Iterator[Client]:
    with pair.connect_client() as client:
        assert client.wait_for_engines(2, 20)
        yield client


@pytest.fixture
def rc(cluster: Cluster) -> Iterator[Client]:
    with cluster.connect_client() as client:
        assert client.wait_for_engines(4, 20)
        yield client


@pytest.fixture
def until() -> Until:
    """Waits until something is true; gives it."""

    def wait(what: Callable[[], Any], seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < deadline, "it does not come about"
            time.sleep(0.01)
        return found

    return wait


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Makes some, and opens them at the end, whatever becomes of the test: no engine is to be held for the next one."""
    made: list[Held] = []

    def make(*items: int) -> Held:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Held(folder, *items))
        return made[-1]

    yield make
    for each in made:
        each.open()
