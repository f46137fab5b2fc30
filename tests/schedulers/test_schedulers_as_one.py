"""Clients see one cluster, whichever scheduler has an engine."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from held import Hold, at_gate, balanced, noted

from parpool import Client, Cluster, ControllerLost, Dependency, ImpossibleDependency, Pool, RemoteError, TaskAborted
from parpool.client.fan import Fan

Until = Callable[..., Any]


def fail(text: str) -> None:
    raise LookupError(text)


def remember(value: Any) -> None:
    globals()["remembered"] = value


def recall(_: Any = None) -> Any:
    return globals().get("remembered")


def pids(rc: Client) -> dict[int, int]:
    return dict(zip(rc.ids, rc[:].apply_sync(os.getpid), strict=True))


# Engines --------------------------------------------------------------------------------------------


def test_engines_are_one_list(rc: Client) -> None:
    assert isinstance(rc.link._host, Fan)  # type: ignore[attr-defined]
    assert rc.ids == [0, 1, 2, 3]
    assert [rc[id].apply_sync(os.getpid) for id in rc.ids] == list(pids(rc).values())
    assert len(set(pids(rc).values())) == 4
    rc[:]["x"] = 7
    assert rc[:]["x"] == [7] * 4 and rc[1, 2].pull("x", block=True) == [7, 7]
    rc[:].scatter("part", range(10), block=True)
    assert list(rc[:].gather("part", block=True)) == list(range(10))


def test_names_of_engines_and_what_they_are_told_by(rc: Client) -> None:
    told = {each["id"]: each["uid"] for each in rc.cluster_status()["engines"]}
    assert {id: rc.link.engine_uuid(id) for id in rc.ids} == told
    schedulers = rc.cluster_status()["schedulers"]
    assert [(each["scheduler"], each["engines"]) for each in schedulers] == [(0, 2), (1, 2)]
    assert len({each["pid"] for each in schedulers}) == 2
    assert [each["name"] for each in rc.cluster_status()["clients"]].count(rc.link.name) == 1


def test_maps_and_calls_use_the_engines_of_both(rc: Client) -> None:
    view, known = rc.load_balanced_view(), {pid: id for id, pid in pids(rc).items()}
    for results in (
        view.map_sync(lambda _: os.getpid(), range(4000), chunksize=1),
        [result.get() for result in [view.apply_async(os.getpid) for _ in range(4000)]],
    ):
        assert {known[pid] % 2 for pid in results} == {0, 1}
    assert view.map_sync(abs, range(-10_000, 0)) == list(range(10_000, 0, -1))
    assert list(view.imap(abs, range(-3000, 0))) == list(range(3000, 0, -1))
    assert sorted(view.map(abs, range(-3000, 0), ordered=False)) == list(range(1, 3001))


def test_a_view_of_some_engines_keeps_to_them(rc: Client) -> None:
    known = {pid: id for id, pid in pids(rc).items()}
    for targets in ([0, 1], [0, 2], [1, 3], [0, 1, 2], [3]):
        view = rc.load_balanced_view(targets)
        ran = {known[result.get()] for result in [view.apply_async(os.getpid) for _ in range(400)]}
        assert ran <= set(targets) and {id % 2 for id in ran} == {id % 2 for id in targets}


def test_the_order_of_a_direct_view(rc: Client) -> None:
    view = rc[:]
    view["order"] = []
    for number in range(200):
        view.execute(f"order.append({number})", block=False)
    assert view["order"] == [list(range(200))] * 4


def test_an_error_names_its_engine(rc: Client) -> None:
    with pytest.raises(LookupError, match="here") as caught:
        rc[3].apply_sync(fail, "here")
    assert isinstance(caught.value, RemoteError) and caught.value.engine_id == 3


# Dependencies ---------------------------------------------------------------------------------------


def test_after_calls_of_both(rc: Client, tmp_path: Path, until: Until) -> None:
    gate = str(tmp_path / "gate")
    first = [rc[id].apply_async(at_gate, gate) for id in rc.ids]
    view = rc.load_balanced_view()
    with view.temp_flags(after=first):
        last = view.apply_async(os.getpid)
    with view.temp_flags(after=[last]):
        very_last = view.apply_async(abs, -5)
    until(lambda: len(list(tmp_path.iterdir())) == 4)
    assert not last.ready() and rc.queue_status()["unassigned"] >= 1
    (tmp_path / "gate").touch()
    assert very_last.get(20) == 5 and last.get(20) in pids(rc).values()
    assert last.metadata["started"] >= max(each.metadata["completed"] for each in first)


def test_after_failures_of_both(rc: Client) -> None:
    failed = [rc[id].apply_async(fail, "no") for id in (0, 1)]
    view = rc.load_balanced_view()
    with view.temp_flags(after=failed):
        impossible = view.apply_async(abs, -1)
    with view.temp_flags(after=[impossible]):
        neither = view.apply_async(abs, -1)
    with view.temp_flags(after=Dependency(failed, success=False, failure=True)):
        possible = view.apply_async(abs, -2)
    with view.temp_flags(after=Dependency([failed[0], rc[1].apply_async(abs, -3)], all=False)):
        one_of_them = view.apply_async(abs, -4)
    for each in (impossible, neither):
        with pytest.raises(ImpossibleDependency, match="after"):
            each.get(20)
    assert possible.get(20) == 2 and one_of_them.get(20) == 4


def test_follow(rc: Client, tmp_path: Path) -> None:
    known, view = pids(rc), rc.load_balanced_view()
    gate = tmp_path / "gate"
    for id in rc.ids:
        begun = rc[id].apply_async(at_gate, str(gate))
        with view.temp_flags(follow=[begun]):
            soon = view.apply_async(os.getpid)
        with view.temp_flags(follow=[begun], after=[rc[(id + 1) % 4].apply_async(abs, -1)]):
            both = view.apply_async(os.getpid)
        gate.touch()
        with view.temp_flags(follow=[begun]):
            late = view.apply_async(os.getpid)
        assert {each.get(20) for each in (begun, soon, both, late)} == {known[id]}
        gate.unlink()


def test_follow_two_of_different_engines(rc: Client) -> None:
    view = rc.load_balanced_view()
    two = [rc[0].apply_async(abs, -1), rc[1].apply_async(abs, -1)]
    with view.temp_flags(follow=two):
        with pytest.raises(ImpossibleDependency):
            view.apply_async(abs, -1).get(20)
    with view.temp_flags(follow=Dependency(two, all=False)):
        assert view.apply_async(os.getpid).get(20) in (pids(rc)[0], pids(rc)[1])


def test_patience_and_abort_of_what_waits_in_the_client(rc: Client, tmp_path: Path) -> None:
    gate, view = tmp_path / "gate", rc.load_balanced_view()
    first = [rc[id].apply_async(at_gate, str(gate)) for id in (0, 1)]
    with view.temp_flags(after=first, timeout=0.05):
        impatient = view.apply_async(abs, -1)
    with view.temp_flags(after=first):
        dropped, kept = view.apply_async(abs, -1), view.apply_async(abs, -2)
    with view.temp_flags(after=[dropped]):
        behind = view.apply_async(abs, -3)
    with pytest.raises(Exception, match="(?i)time|wait"):
        impatient.get(20)
    dropped.abort()
    with pytest.raises(TaskAborted):
        dropped.get(20)
    with pytest.raises(ImpossibleDependency):
        behind.get(20)
    gate.touch()
    assert kept.get(20) == 2 and [each.get(20) > 0 for each in first] == [True, True]


def test_a_long_chain_from_engine_to_engine(rc: Client) -> None:
    results: list[Any] = []
    for number in range(60):
        view = rc.load_balanced_view([number % 4])
        with view.temp_flags(after=results[-1:]):
            results.append(view.apply_async(os.getpid))
    known = list(pids(rc).values())
    assert [each.get(20) for each in results] == [known[number % 4] for number in range(60)]


# Pools ----------------------------------------------------------------------------------------------


def test_a_pool(rc: Client) -> None:
    with Pool(client=rc, initializer=remember, initargs=("so",)) as pool:
        assert pool.map(abs, range(-5000, 0)) == list(range(5000, 0, -1))
        assert list(pool.imap(abs, range(-500, 0), chunksize=3)) == list(range(500, 0, -1))
        assert Counter(pool.imap_unordered(abs, range(-500, 0))) == Counter(range(1, 501))
        assert set(pool.map(recall, range(400), chunksize=1)) == {"so"}
        assert pool.apply_async(divmod, (7, 2)).get(20) == (3, 1)
    assert rc[:].apply_sync(recall) == ["so"] * 4


def test_an_initializer_that_fails_on_one_of_them(cluster: Cluster) -> None:
    with cluster.connect_client() as client, pytest.raises(LookupError, match="not with me"):
        with Pool(client=client, initializer=fail, initargs=("not with me",)) as pool:
            for _ in range(1000):
                pool.apply(time.sleep, (0.01,))


# What is asked --------------------------------------------------------------------------------------


def test_queue_status_and_abort(rc: Client, tmp_path: Path, until: Until) -> None:
    gate, view = tmp_path / "gate", rc.load_balanced_view()
    running = [rc[id].apply_async(at_gate, str(gate)) for id in rc.ids]
    until(lambda: len(list(tmp_path.iterdir())) == 4)
    queued = [view.apply_async(abs, -1) for _ in range(50)]
    alone = [rc[3].apply_async(abs, -1) for _ in range(5)]
    status = rc.queue_status()
    assert sorted(map(str, status)) == ["0", "1", "2", "3", "unassigned"]
    assert sum(each["tasks"] + each["queue"] for each in status.values() if isinstance(each, dict)) >= 4
    rc.abort(queued + alone)
    for each in queued + alone:
        with pytest.raises(TaskAborted):
            each.get(20)
    gate.touch()
    assert {each.get(20) for each in running} == set(pids(rc).values())
    assert set(rc.queue_status(verbose=True)) == {0, 1, 2, 3, "unassigned"}


def test_interrupts_reach_the_engines_that_are_meant(rc: Client, tmp_path: Path, until: Until) -> None:
    gate = tmp_path / "gate"
    calls = {id: rc[id].apply_async(at_gate, str(gate)) for id in rc.ids}
    until(lambda: len(list(tmp_path.iterdir())) == 4)
    rc.interrupt([1, 2])
    for id in (1, 2):
        with pytest.raises(RemoteError, match="KeyboardInterrupt"):
            calls[id].get(20)
    assert not calls[0].ready() and not calls[3].ready()
    gate.touch()
    assert calls[0].get(20) and calls[3].get(20)


def test_the_hub_knows_of_all(rc: Client, cluster: Cluster, tmp_path: Path) -> None:
    gate, view = tmp_path / "gate", rc.load_balanced_view()
    results = [view.apply_async(abs, -number) for number in range(300)]
    assert sum(each.get(20) for each in results) == sum(range(300))
    names = [each.msg_ids[0] for each in results]
    assert set(names) <= set(rc.hub_history())
    found = rc.db_query({"msg_id": {"$in": names}}, keys=["msg_id", "engine_id", "status"])
    assert {each["msg_id"] for each in found} == set(names) and {each["status"] for each in found} == {"ok"}
    assert {each["engine_id"] % 2 for each in found} == {0, 1}
    late = [rc[id].apply_async(at_gate, str(gate)) for id in rc.ids]
    with cluster.connect_client() as other:
        assert other.get_result(names[-1]).get(20) == 299
        fetched = other.get_result([each.msg_ids[0] for each in late])
        assert set(other.result_status([each.msg_ids[0] for each in late])["pending"]) == {
            each.msg_ids[0] for each in late
        }
        assert not fetched.ready()
        gate.touch()
        assert fetched.get(20) == [each.get(20) for each in late]
        assert other.resubmit(names[7]).get(20) == 7


def test_what_is_left_behind_goes_on(rc: Client, cluster: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    leaving = cluster.connect_client()
    names = [leaving[id].apply_async(at_gate, str(gate)).msg_ids[0] for id in leaving.ids]
    leaving.close(keep=True)
    gate.touch()
    assert rc.get_result(names).get(20) == list(pids(rc).values())


def test_what_is_waited_for_ends_with_the_client(rc: Client, cluster: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    running = [rc[id].apply_async(at_gate, str(gate)) for id in rc.ids]
    other = cluster.connect_client()
    fetched = other.get_result(running[1].msg_ids[0])
    behind = [other[id].apply_async(abs, -1) for id in (0, 1)]  # which wait behind those that run
    with other.load_balanced_view().temp_flags(after=behind) as view:
        waiting = view.apply_async(abs, -2)
    other.close()
    for each in (fetched, waiting):
        with pytest.raises((ControllerLost, TaskAborted)):
            each.get(20)
    gate.touch()
    assert [each.get(20) for each in running] == list(pids(rc).values())


def test_large_arrays(rc: Client) -> None:
    np = pytest.importorskip("numpy")
    array, view = np.arange(200_000.0), rc.load_balanced_view()
    for result in [view.apply_async(np.multiply, array, number) for number in range(20)] + [
        rc[id].apply_async(np.multiply, array, id) for id in rc.ids
    ]:
        assert result.get(20).shape == array.shape
    rc[:]["large"] = array
    assert all((each == array).all() for each in rc[:]["large"])
    assert [each.sum() for each in view.map_sync(np.negative, [array] * 10)] == [-array.sum()] * 10
    rc[:].clear()


# Work that goes to whoever is free -----------------------------------------------------------------


def test_a_view_of_some_engines_of_both(rc: Client, hold: Hold, until: Until) -> None:
    held = hold(-1)
    long = [rc[id].apply_async(held, -1) for id in (0, 1, 2)]
    until(lambda: held.at() == 3)
    known = {rc[3].apply_sync(os.getpid)}
    for targets in ([0, 3], [2, 1, 3], None):
        view = balanced(rc, targets)
        calls = [view.apply_async(os.getpid) for _ in range(30)]
        pieces = view.map_async(held, range(50), chunksize=25)
        assert {each.get(20) for each in calls} == known and pieces.get(20) == list(range(50))
    held.open()
    assert [each.get(20) for each in long] == [-1] * 3


def test_an_engine_is_idle_though_another_of_its_scheduler_has_much_to_do(rc: Client, hold: Hold, until: Until) -> None:
    held = hold(-1)
    long = [rc[id].apply_async(held, -1) for id in (0, 1, 2)]
    until(lambda: held.at() == 3)
    behind = [rc[1].apply_async(abs, -number) for number in range(200)]
    view = balanced(rc)
    assert [each.get(20) for each in [view.apply_async(abs, -number) for number in range(100)]] == list(range(100))
    assert view.map_sync(held, range(100), chunksize=20) == list(range(100))
    assert not any(each.ready() for each in (*long, *behind))
    held.open()
    assert [each.get(20) for each in behind] == list(range(200)) and [each.get(20) for each in long] == [-1] * 3


def uneven(path: str, item: int, seconds: float) -> int:
    return noted(path, item, seconds)


def test_many_uneven_items_run_once(rc: Client, tmp_path: Path) -> None:
    draw, path = random.Random(4), str(tmp_path / "ran")
    views = [balanced(rc), balanced(rc, [0, 1, 3])]
    began, results = 0, []
    for size in (1, 3, 10, 40, 100):
        for view in views:
            items = range(began, began := began + 150)
            seconds = [draw.choice((0.0, 0.0, 0.0, 0.001, 0.01, 0.03)) * (draw.random() < 0.3) for _ in items]
            results.append((items, view.map_async(uneven, [path] * len(items), items, seconds, chunksize=size)))
    for items, result in results:
        assert result.get(60) == list(items)
    assert Counter(map(int, Path(path).read_text().split())) == Counter(range(began))
    names = [name for _, result in results for name in result.msg_ids]
    deadline = time.monotonic() + 20
    while rc.result_status(names)["pending"]:
        assert time.monotonic() < deadline
