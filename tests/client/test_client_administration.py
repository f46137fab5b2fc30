"""What a client asks a cluster, and tells it: engines, records of all clients, what is to be forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from real_cluster import RealCluster, at_gate, begun, fail, until

from parpool import Client, ParpoolError, Pool, __version__
from parpool.net.sockets import have_ipc

pytestmark = pytest.mark.skipif(not have_ipc(), reason="a cluster on local sockets")


@pytest.fixture
def rc(cluster: RealCluster) -> Iterator[Client]:
    client = cluster.client()
    assert client.wait_for_engines(2, 20), [engine.poll() for engine in cluster.engines]
    yield client
    client.purge_everything()
    client.close()


# Engines ---------------------------------------------------------------------------------------------------


def test_the_cluster_tells_of_itself(rc: Client, other: Client, cluster: RealCluster) -> None:
    rc[:].apply_sync(os.getpid)
    status = rc.cluster_status()
    assert status["version"] == __version__ and status["pid"] == cluster.controller.pid
    assert {each["pid"] for each in status["engines"]} == {engine.pid for engine in cluster.engines}
    assert [each["id"] for each in status["engines"]] == rc.ids == [0, 1]
    assert len(status["clients"]) == 2 and all(each["here"] for each in status["clients"])
    assert all(each["facts"]["pid"] == os.getpid() for each in status["clients"])
    assert status["malformed"] == {"clients": 0, "engines": 0, "keys": 0} and status["journal"] == ""
    assert status["hub"]["kind"] == "memory"


def test_queues(rc: Client, other: Client, gate: Path) -> None:
    runs = rc[0].apply_async(at_gate, str(gate))
    begun(gate)
    waits = other[0].apply_async(os.getpid)
    until(lambda: sum(rc.queue_status(0)[name] for name in ("queue", "tasks")) == 2)
    verbose = rc.queue_status(verbose=True)
    assert sorted(verbose[0]["tasks"] + verbose[0]["queue"]) == sorted([*runs.msg_ids, *waits.msg_ids])
    assert rc.queue_status()[1] == {"queue": 0, "tasks": 0, "completed": verbose[1]["completed"]}
    gate.touch()
    assert runs.get(20) == str(gate) and waits.get(20)


def test_interrupt_from_another_client(rc: Client, other: Client, gate: Path) -> None:
    runs = rc[1].apply_async(at_gate, str(gate))
    begun(gate)
    other.interrupt(1)
    with pytest.raises(Exception, match="KeyboardInterrupt"):
        runs.get(20)


def test_what_a_client_of_its_own_engines_cannot_ask() -> None:
    with Pool(1) as pool:
        rc = pool.client
        assert not rc.has_hub and rc.hub_history() == []
        for ask in (rc.cluster_status, rc.db_query, lambda: rc.resubmit("x"), lambda: rc.purge_results("all", 0)):
            with pytest.raises(ParpoolError, match="parpool start"):
                ask()
    pool.join()


# Records -----------------------------------------------------------------------------------------------------


def test_the_history_of_all_clients(rc: Client, other: Client) -> None:
    mine = [rc.load_balanced_view().apply_async(abs, -n) for n in range(3)]
    theirs = other[0].apply_async(abs, -1)
    names = [result.msg_ids[0] for result in mine] + theirs.msg_ids
    for result in (*mine, theirs):
        result.get(20)
    assert sorted(rc.hub_history()) == sorted(names) == sorted(other.hub_history())
    assert [name for name in rc.hub_history() if name in names[:3]] == names[:3]


def test_queries(rc: Client) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=5)
    good = rc[0].apply_async(abs, -1)
    bad = rc[1].apply_async(fail, "nothing")
    good.get(20)
    with pytest.raises(LookupError):
        bad.get(20)
    (record,) = rc.db_query({"status": "error"})
    assert record["msg_id"] == bad.msg_ids[0] and record["name"] == "fail" and record["engine_id"] == 1
    assert before < record["submitted"] <= record["completed"] and record["completed"].tzinfo is not None
    found = rc.db_query({"msg_id": {"$in": (good.msg_ids[0], "x_1")}}, keys=["engine_id", "status"])
    assert found == [{"msg_id": good.msg_ids[0], "engine_id": 0, "status": "ok"}]
    assert len(rc.db_query({"completed": {"$gt": before}})) == 2
    assert rc.db_query({"completed": {"$lt": before}}) == []
    for query, keys in (({"nonsense": 1}, None), ({"status": {"$near": 1}}, None), ({}, ["nonsense"])):
        with pytest.raises(ParpoolError, match="nonsense|near"):
            rc.db_query(query, keys)


def test_the_status_of_any_client_s_tasks(rc: Client, other: Client, gate: Path) -> None:
    runs = other[0].apply_async(at_gate, str(gate))
    done = other[1].apply_async(abs, -1)
    mine = rc[1].apply_async(abs, -2)
    for result in (done, mine):
        result.get(20)
    begun(gate)
    names = [*runs.msg_ids, *done.msg_ids]
    assert (
        rc.result_status([*names, mine])
        == {
            "pending": runs.msg_ids,
            "completed": [*mine.msg_ids, *done.msg_ids],
        }
        or rc.result_status([*names, mine])["pending"] == runs.msg_ids
    )
    with pytest.raises(KeyError, match="nobody"):
        rc.result_status(["nobody_1"])
    gate.touch()
    runs.get(20)
    assert rc.result_status(names)["pending"] == []


# Again, and no more --------------------------------------------------------------------------------------------


def test_again(rc: Client, other: Client) -> None:
    first = rc[1].apply_async(divmod, 17, 5)
    assert first.get(20) == (3, 2)
    again = other.resubmit(first.msg_ids[0])
    assert again.get(20) == (3, 2) and again.msg_ids != first.msg_ids
    assert again.metadata["engine_id"] == 1
    both = rc.resubmit([first, again.msg_ids[0]])
    assert both.get(20) == [(3, 2), (3, 2)]
    with pytest.raises(ParpoolError, match="nobody"):
        rc.resubmit("nobody_1")


@pytest.mark.parametrize("how", ["map", "imap"])
def test_a_map_again(rc: Client, how: str) -> None:
    """All items of each of its chunks."""
    view = rc.load_balanced_view()
    if how == "map":
        assert view.map_sync(abs, range(-6, 0), chunksize=3) == [6, 5, 4, 3, 2, 1]
    else:
        assert list(view.imap(abs, range(-6, 0), chunksize=3)) == [6, 5, 4, 3, 2, 1]
    names = rc.hub_history()
    assert len(names) == 2
    results = [rc.resubmit(name) for name in names]
    assert [result.get(20) for result in results] == [[6, 5, 4], [3, 2, 1]]


def test_to_forget(rc: Client, other: Client) -> None:
    mine = [rc[n].apply_async(abs, -1) for n in (0, 1)]
    theirs = [other[n].apply_async(abs, -1) for n in (0, 1)]
    for result in (*mine, *theirs):
        result.get(20)
    rc.purge_results(mine[0])
    assert set(rc.hub_history()) == {*mine[1].msg_ids, *theirs[0].msg_ids, *theirs[1].msg_ids}
    rc.purge_results(theirs[0].msg_ids[0])
    rc.purge_results("all")
    assert rc.hub_history() == theirs[1].msg_ids
    other.purge_everything()
    assert rc.hub_history() == []
    rc[:].apply_sync(abs, -1)  # whose value nobody keeps
    rc.purge_results(rc.history[-1])
    assert len(rc.hub_history()) == 1 and rc.hub_history() == rc.history


def test_to_forget_what_an_engine_ran(rc: Client, other: Client) -> None:
    mine = [rc[n].apply_async(abs, -1) for n in (0, 1)]
    theirs = other[0].apply_async(abs, -1)
    for result in (*mine, theirs):
        result.get(20)
    rc.purge_results([mine[1]], targets=0)  # of these, what that engine ran: nothing
    assert len(rc.hub_history()) == 3
    rc.purge_results(targets=0)
    assert rc.hub_history() == mine[1].msg_ids


def test_what_has_not_ended_is_not_forgotten(rc: Client, other: Client, gate: Path) -> None:
    runs = rc[0].apply_async(at_gate, str(gate))
    begun(gate)
    for client in (rc, other):
        with pytest.raises(RuntimeError, match=runs.msg_ids[0]):
            client.purge_results(runs.msg_ids[0] if client is other else runs)
    other.purge_everything()
    assert rc.hub_history() == runs.msg_ids
    gate.touch()
    assert runs.get(20) == str(gate)
