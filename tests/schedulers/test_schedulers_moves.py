"""Tasks that go from one scheduler to another, as their engines have nothing to do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from held import at_gate, noted

from parpool import Client, Cluster, TaskAborted, UnmetDependency, depend
from parpool.shm.session import sweep

Until = Callable[..., Any]


def test_nothing_waits_behind_a_long_one(two: Client, tmp_path: Path) -> None:
    gate, ran, view = tmp_path / "gate", str(tmp_path / "ran"), two.load_balanced_view()
    long = view.apply_async(at_gate, str(gate))
    short = [view.apply_async(noted, ran, number, 0.01) for number in range(40)]
    assert [each.get(20) for each in short] == list(range(40)) and not long.ready()
    with view.temp_flags(after=short[-1:]):
        assert view.apply_async(abs, -3).get(20) == 3
    names = [each.msg_ids[0] for each in short]
    found = two.db_query({"msg_id": {"$in": names}}, keys=["status", "engine_id"])
    assert [each["status"] for each in found] == ["ok"] * 40
    assert sorted(map(int, Path(ran).read_text().split())) == list(range(40))
    gate.touch()
    assert long.get(20) and two.queue_status()["unassigned"] == 0


def test_a_map_goes_on_at_the_other(two: Client, tmp_path: Path) -> None:
    gate, view = tmp_path / "gate", two.load_balanced_view()
    long = view.apply_async(at_gate, str(gate))
    assert view.map_sync(abs, range(-3000, 0)) == list(range(3000, 0, -1))
    assert not long.ready()
    gate.touch()
    long.get(20)


def test_an_abort_of_what_is_on_its_way(two: Client, tmp_path: Path) -> None:
    gates, view = [tmp_path / "a", tmp_path / "b"], two.load_balanced_view()
    long = [view.apply_async(at_gate, str(gate)) for gate in gates]
    waiting = [view.apply_async(abs, -1) for _ in range(100)]
    gates[0].touch()
    long[0].get(20)
    two.abort(waiting)
    for each in waiting:
        try:
            assert each.get(20) == 1
        except TaskAborted:
            pass
    assert not long[1].ready()
    gates[1].touch()
    assert long[1].get(20)
    status: dict[Any, Any] = two.queue_status()
    assert status["unassigned"] == 0 and not any(status[id]["tasks"] for id in two.ids)


def test_the_last_engine_of_a_scheduler_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path / "data"))
    with Cluster(n=2, schedulers=2, restarts=0) as rc:
        until(lambda: rc.ids == [0, 1])
        gate, view = tmp_path / "gate", rc.load_balanced_view()
        pids = rc[:].apply_sync(os.getpid)
        long = {id: rc[id].apply_async(at_gate, str(gate)) for id in rc.ids}
        until(lambda: len(list(tmp_path.glob("gate.*"))) == 2)
        waiting = [view.apply_async(abs, -number) for number in range(20)]
        os.kill(pids[1], signal.SIGKILL)
        until(lambda: rc.ids == [0])
        gate.touch()
        assert [each.get(20) for each in waiting] == list(range(20))
        assert long[0].get(20) == pids[0]
    sweep()  # as the next one to start does: the memory of who was killed is still there


def is_process(pid: int) -> bool:
    return os.getpid() == pid


def test_conditions_that_engines_of_the_other_meet(two: Client) -> None:
    view = two.load_balanced_view()
    for pid in two[:].apply_sync(os.getpid):
        there = depend(is_process, pid)(os.getpid)
        calls = [view.apply_async(there) for _ in range(10)]
        assert {each.get(20) for each in calls} == {pid}
        found = two.db_query({"msg_id": {"$in": [each.msg_ids[0] for each in calls]}}, keys=["status"])
        assert [each["status"] for each in found] == ["ok"] * 10
        assert set(view.map_sync(depend(is_process, pid)(lambda _: os.getpid()), range(50), chunksize=5)) == {pid}


def test_conditions_that_no_engine_meets(two: Client, until: Until) -> None:
    view = two.load_balanced_view()
    call = view.apply_async(depend(is_process, 0)(os.getpid))
    with pytest.raises(UnmetDependency, match="engines asked: 0, 1"):
        call.get(20)
    found: list[Any] = until(lambda: two.db_query({"msg_id": call.msg_ids[0], "status": {"$ne": "pending"}}))
    assert len(found) == 1 and found[0]["status"] != "ok"
    only_there = two.load_balanced_view([1]).apply_async(depend(is_process, 0)(os.getpid))
    with pytest.raises(UnmetDependency, match="engines asked: 1"):
        only_there.get(20)


@pytest.mark.skipif(not find_spec("sqlalchemy"), reason="no SQLAlchemy")
def test_what_a_database_says_of_tasks_that_have_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path / "data"))
    file, gate = tmp_path / "tasks.db", tmp_path / "gate"
    with Cluster(n=2, schedulers=2, db=f"sqlite:///{file}") as rc:
        view = rc.load_balanced_view()
        long = view.apply_async(at_gate, str(gate))
        short = [view.apply_async(abs, -number) for number in range(50)]
        pids = rc.queue_status(verbose=True)
        free = next(
            pids[id]["pid"] for id in rc.ids if not pids[id]["tasks"] or long.msg_ids[0] not in pids[id]["tasks"]
        )
        short += [view.apply_async(depend(is_process, free)(abs), -number) for number in range(50, 60)]
        assert [each.get(20) for each in short] == list(range(60)) and not long.ready()
        names = [each.msg_ids[0] for each in short]
        found = rc.db_query({"msg_id": {"$in": names}}, keys=["status"])
        assert [each["status"] for each in found] == ["ok"] * 60
        gate.touch()
        assert long.get(20)
