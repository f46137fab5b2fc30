"""parpool.compat.ipyparallel: its Cluster."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import parpool.compat.ipyparallel as ipp
import pytest
from rows import PATIENCE, until


def test_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path))
    cluster = ipp.Cluster(n=1, cluster_id="abc", log_level=20, controller=None)
    assert cluster.cluster_id == "abc" and cluster.n == 1 and cluster.controller is None
    with cluster as rc:
        assert cluster.controller is not None and not rc.parpool.remarks and rc.profile == cluster.profile
        with pytest.raises(RuntimeError, match="already running"):
            cluster.start_controller_sync()
        assert rc.cluster is cluster and rc.wait_for_engines() is None
        assert rc[:].apply_sync(abs, -1) == [1]
        again = ipp.Cluster.from_file(cluster.cluster_file)
        with again.connect_client_sync() as other, other[0].apply_async(time.time).parpool.stream_output():
            assert other.ids == [0]
        assert list(cluster.engines.values()) == [1] and again.n == 1
        held = rc[0].execute(f"open({str(tmp_path / 'begun')!r}, 'w').close()\nimport time\ntime.sleep(60)")
        until((tmp_path / "begun").exists)
        cluster.signal_engines_sync(signal.SIGINT)
        with pytest.raises(ipp.RemoteError, match="KeyboardInterrupt"):
            held.get(PATIENCE)
        assert cluster.start_engines_sync(1, "more") == "more" and cluster.engines["more"] == 1
        with pytest.raises(ValueError, match="all sets"):
            cluster.signal_engines_sync(signal.SIGINT, "more")
        rc.wait_for_engines(2)
        cluster.stop_engines_sync("more")
        until(lambda: rc.ids == [0])
        with pytest.raises(KeyError):
            cluster.stop_engines_sync("more")
    assert cluster.controller is None and cluster.engines == {}
    with pytest.raises(AttributeError, match=r"rc.shutdown\(\[id\]\)"):
        cluster.stop_engine(0)


def test_a_cluster_that_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path))

    async def session() -> list[int]:
        cluster = ipp.Cluster(n=1)
        rc = await cluster.start_and_connect()
        try:
            return list(rc.ids)
        finally:
            rc.close()
            await cluster.stop_cluster()

    assert asyncio.run(session()) == [0]
