"""Clusters in programs with an event loop."""

from __future__ import annotations

import asyncio
import signal

import pytest

from parpool.cluster import Cluster
from parpool.launch.fake import FakeLauncher


def test_all_of_it_awaited() -> None:
    async def story() -> None:
        cluster = Cluster(n=1)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        await cluster.start_cluster_async()
        rc = await cluster.connect_client_async()
        assert ticks > 5, "the loop goes on"
        set_id = await cluster.start_engines_async(1)
        assert await asyncio.to_thread(rc.wait_for_engines, 2, 20)
        await cluster.signal_engines_async(signal.SIGCONT)
        await cluster.restart_engines_async(set_id)
        await cluster.stop_engines_async(set_id)
        assert not await cluster.wait_async(0)
        rc.close()
        await cluster.stop_cluster_async()
        assert await cluster.wait_async()
        async with cluster as rc:
            assert rc.ids == [0]
        ticking.cancel()

    asyncio.run(story())


def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    cluster = Cluster(n=1, engines=FakeLauncher(), timeout=1.5)

    async def story() -> None:
        async with cluster:
            raise AssertionError("this engine does not come")

    async def main() -> None:
        task = asyncio.create_task(story())
        while not cluster.engine_sets:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert "does not run" in repr(cluster)


def test_every_waiting_method_has_its_twins() -> None:
    plain = [name for name in vars(Cluster) if f"{name}_async" in vars(Cluster)]
    assert len(plain) == 11
    for name in plain:
        twin = getattr(Cluster, f"{name}_async")
        assert asyncio.iscoroutinefunction(twin) and twin.__name__ == f"{name}_async" and name in twin.__doc__
        if name != "wait":
            assert getattr(Cluster, f"{name}_sync") is getattr(Cluster, name)
