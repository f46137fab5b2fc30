"""Results that the hub has: of other clients' tasks, and of those that nobody here remembers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import RealCluster, at_gate, begun, fail, real_cluster, until

from parpool import Client, EngineLost, TaskAborted
from parpool.net.sockets import have_ipc

pytestmark = pytest.mark.skipif(not have_ipc(), reason="a cluster on local sockets")


@pytest.fixture
def rc(cluster: RealCluster) -> Iterator[Client]:
    client = cluster.client()
    assert client.wait_for_engines(2, 20), [engine.poll() for engine in cluster.engines]
    yield client
    client.purge_everything()
    client.close()


def test_a_result_of_another_client(rc: Client, other: Client, gate: Path) -> None:
    done, bad = rc[0].apply_async(divmod, 7, 2), rc[0].apply_async(fail, "over there")
    runs = rc[1].apply_async(at_gate, str(gate))
    done.get(20)
    begun(gate)
    assert other.get_result(done.msg_ids[0]).get(20) == (3, 1)
    fetched = other.get_result(runs.msg_ids[0])
    assert not fetched.ready() and fetched.msg_ids == runs.msg_ids
    with pytest.raises(LookupError, match="over there"):
        other.get_result(bad.msg_ids[0]).get(20)
    gate.touch()
    assert fetched.get(20) == str(gate) and fetched.metadata["engine_id"] == 1
    with pytest.raises(KeyError, match="nobody"):
        other.get_result("nobody_1")


def test_several_results_of_another_client_keep_their_names(rc: Client, other: Client) -> None:
    names = [rc[id].apply_async(abs, -id).msg_ids[0] for id in rc.ids]
    rc.wait()
    fetched = other.get_result(names)
    assert fetched.get(20) == rc.ids and fetched.msg_ids == names
    assert other.get_result([fetched]).msg_ids == names


def test_a_map_of_another_client(rc: Client, other: Client) -> None:
    view = rc.load_balanced_view()
    assert list(view.imap(abs, range(-4, 0), chunksize=4)) == [4, 3, 2, 1]
    assert view.map_sync(abs, range(-4, 0), chunksize=4) == [4, 3, 2, 1]
    assert [other.get_result(name).get(20) for name in rc.hub_history()] == [[4, 3, 2, 1]] * 2


def test_what_it_has_printed(rc: Client, other: Client) -> None:
    result = rc[0].apply_async(print, "hello from", "there")
    result.get(20)
    fetched = other.get_result(result.msg_ids[0])
    fetched.get(20)
    assert fetched.stdout == "hello from there\n"


def test_a_result_that_was_forgotten(rc: Client, other: Client, gate: Path) -> None:
    runs = rc[0].apply_async(at_gate, str(gate))
    begun(gate)
    fetched = other.get_result(runs.msg_ids[0])
    runs.abort()
    gate.touch()
    runs.get(20)
    assert fetched.get(20) == str(gate)
    rc.purge_everything()
    with pytest.raises(KeyError):
        other.get_result(runs.msg_ids[0])


def test_a_task_that_was_taken_back(rc: Client, other: Client, gate: Path) -> None:
    runs = [rc[n].apply_async(at_gate, f"{gate}{n}") for n in (0, 1)]
    for n in (0, 1):
        begun(Path(f"{gate}{n}"))
    waits = rc[0].apply_async(abs, -1)
    until(lambda: sum(rc.queue_status(0)[name] for name in ("queue", "tasks")) == 2)
    fetched = other.get_result(waits.msg_ids[0])
    waits.abort()
    with pytest.raises(TaskAborted):
        waits.get(20)
    with pytest.raises(TaskAborted):
        fetched.get(20)
    for n in (0, 1):
        Path(f"{gate}{n}").touch()
    for result in runs:
        result.get(20)


def test_one_s_own_that_was_let_go(rc: Client) -> None:
    result = rc[0].apply_async(divmod, 7, 2)
    result.get(20)
    (name,) = result.msg_ids
    records = rc._records
    for id in list(records):
        records.forget(id)
    assert rc.get_result(name).get(20) == (3, 1)


def test_several_at_once(rc: Client, other: Client) -> None:
    results = [rc[n % 2].apply_async(abs, -n) for n in range(10)]
    names = [result.msg_ids[0] for result in results]
    for result in results:
        result.get(20)
    assert other.get_result(names).get(20) == list(range(10))
    fetched = other.get_result(names[3])
    assert fetched.get(20) == 3 and fetched.successful()
    assert fetched.metadata["msg_id"] == names[3]
    assert fetched.metadata["status"] == "ok"


def test_a_task_whose_engine_died(gate: Path) -> None:
    """Another client hears of it, too."""
    with real_cluster(1) as cluster:
        mine, theirs = cluster.client(), cluster.client()
        assert mine.wait_for_engines(1, 20) and theirs.wait_for_engines(1, 20)
        runs = theirs[0].apply_async(at_gate, str(gate))
        begun(gate)
        fetched = mine.get_result(runs.msg_ids[0])
        cluster.engines[0].kill()
        for result in (runs, fetched):
            with pytest.raises(EngineLost, match="gone"):
                result.get(20)
        mine.close()
        theirs.close()


def test_the_controller_is_killed_while_it_is_awaited(gate: Path) -> None:
    """Its task goes on, and so does the wait."""
    with tempfile.TemporaryDirectory() as folder, real_cluster(1, db=f"sqlite:///{folder}/tasks.db") as cluster:
        mine, theirs = cluster.client(), cluster.client()
        assert mine.wait_for_engines(1, 20) and theirs.wait_for_engines(1, 20)
        runs = theirs[0].apply_async(at_gate, str(gate))
        begun(gate)
        fetched = mine.get_result(runs.msg_ids[0])
        cluster.kill_controller()
        cluster.start_controller()
        gate.touch()
        assert runs.get(20) == fetched.get(20) == str(gate)
        mine.close()
        theirs.close()
