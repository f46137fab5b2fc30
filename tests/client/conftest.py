"""Engines that several files' tests have in common. All that they start later on has been started."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import RealCluster, real_cluster

from parpool import Client, CompositeError, Pool, TaskTimeout

sys.path.append(str(Path(__file__).parents[1] / "launch"))  # for its browser


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """One of two engines."""
    with Pool(2) as made:
        assert made.client.wait_for_engines(2, 20)
        made.map_async(abs, [-1] * 8, 1, callback=lambda value: None).get()
        with pytest.raises(TaskTimeout):
            made.map(time.sleep, [5, 5], 1, task_timeout=0.05)
        yield made
    made.join()


@pytest.fixture(scope="module")
def rc() -> Iterator[Client]:
    """The client of a pool of two engines."""
    with Pool(2) as pool:
        pool.apply_async(abs, (-1,), callback=lambda value: None).get()
        with pytest.raises(CompositeError):
            pool.client.send_apply_request(time.sleep, (30,), targets="all", task_timeout=0.05, block=True)
        yield pool.client
    pool.join()


@pytest.fixture(scope="module")
def cluster() -> Iterator[RealCluster]:
    """A cluster in processes of its own, with two engines."""
    with real_cluster(2) as made:
        yield made


@pytest.fixture
def other(cluster: RealCluster) -> Iterator[Client]:
    """One more client of the cluster."""
    client = cluster.client()
    yield client
    client.close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """What tasks wait for; it is opened at the end of the test, whatever becomes of that."""
    path = tmp_path / "gate"
    yield path
    for number in ("", 0, 1):
        Path(f"{path}{number}").touch()
