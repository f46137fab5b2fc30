"""Pools on the engines of a cluster: what they do there first, and what they are not to be given."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
from real_cluster import RealCluster, real_cluster, until

from parpool import Client, Pool
from parpool.net.sockets import have_ipc

pytestmark = pytest.mark.skipif(not have_ipc(), reason="a cluster on local sockets")

told: list[str] = []  #: on an engine: what initializers have said there


def tell(word: str) -> None:
    told.append(word)


def hear() -> list[str]:
    return told


def fail(word: str) -> None:
    raise LookupError(word)


@pytest.fixture
def cluster() -> Iterator[RealCluster]:
    with real_cluster(2) as made:
        yield made


@pytest.fixture
def rc(cluster: RealCluster) -> Iterator[Client]:
    client = cluster.client()
    assert client.wait_for_engines(2, 20)
    yield client
    client.close()


def joined(cluster: RealCluster, rc: Client) -> int:
    """One more engine; its id."""
    before = set(rc.ids)
    cluster.add_engines(1)
    until(lambda: set(rc.ids) - before)
    (id,) = set(rc.ids) - before
    return id


@pytest.mark.parametrize("by_client", [False, True])
def test_its_initializer_runs_everywhere_first(cluster: RealCluster, rc: Client, by_client: bool) -> None:
    if by_client:
        made: Any = rc.pool(initializer=tell, initargs=("so",))
    else:
        made = Pool(client=rc, initializer=tell, initargs=("so",))
    with made as pool:
        assert pool.apply(hear) == ["so"]
        until(lambda: rc[:].apply_sync(hear) == [["so"], ["so"]])
        id = joined(cluster, rc)
        assert [each for each in pool.map(len, [[1]] * 50)] == [1] * 50
        until(lambda: rc[id].apply_sync(hear) == ["so"])
        cluster.kill_controller()
        cluster.start_controller()
        assert pool.apply(hear) == ["so"]
        id = joined(cluster, rc)
        until(lambda: rc[id].apply_sync(hear) == ["so"])
        until(lambda: len(rc.ids) == 4)
        assert rc[:].apply_sync(hear) == [["so"]] * 4, "once on each, also on those that were there before"
    assert rc[id].apply_sync(hear) == ["so"], "the engines go on"


def test_an_initializer_that_fails_ends_its_calls_and_no_other(cluster: RealCluster, rc: Client) -> None:
    with Pool(client=rc, initializer=fail, initargs=("not here",)) as pool:
        with pytest.raises(LookupError, match="not here"):
            pool.apply(hear)
        with pytest.raises(LookupError, match="not here"):
            pool.map(len, [[1]] * 4)
    assert rc[:].apply_sync(hear) == [[], []]


@pytest.mark.parametrize(
    "given", [{"processes": 2}, {"maxtasksperchild": 1}, {"context": multiprocessing.get_context("spawn")}]
)
def test_what_is_of_engines_of_its_own_is_refused(cluster: RealCluster, rc: Client, given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(ValueError, match=f"{name} is of engines that a pool starts"):
        Pool(client=rc, **given)
    with Pool(1) as pool, pytest.raises(ValueError, match="that of a Pool has the Pool itself"):
        Pool(client=pool.client)
    pool.join()
