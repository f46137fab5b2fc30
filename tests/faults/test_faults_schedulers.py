"""Clusters with several schedulers, of which one dies, or the controller that has started them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fault_rig import PARPOOL, MakeRig, Rig, begun, end_of, ends_of, let_go, lines, until
from fault_tasks import my_pid, noted, noted_busily, wait_for

from parpool import ControllerLost, ParpoolError
from parpool.launch.process import birth

TWO = ["--schedulers=2"]


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return with_engines(make_rig(0, options=TWO, limit=5.0))


def with_engines(rig: Rig) -> Rig:
    for number in range(4):
        rig.start_engines(1, f"--number={number}", wait=False)
    until(lambda: rig.client.ids == [0, 1, 2, 3])
    return rig


def schedulers(rig: Rig) -> dict[int, int]:
    """The processes of the schedulers."""
    return {each["scheduler"]: each["pid"] for each in rig.status()["schedulers"]}


def children(rig: Rig) -> list[int]:
    """The processes that the controller has started."""
    assert rig.controller is not None
    found = subprocess.run(["pgrep", "-P", str(rig.controller.pid)], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


class Deliveries:
    """Counts how often each result is delivered."""

    def __init__(self) -> None:
        self.count: Counter[int] = Counter()

    def watch(self, result: Any, number: int) -> Any:
        result.add_done_callback(lambda _: self.count.update([number]))
        return result


def under_way(rig: Rig, path: Path, count: int, deliveries: Deliveries) -> list[Any]:
    view = rig.client.load_balanced_view()
    return [
        deliveries.watch(view.apply_async(noted_busily, str(path), number, 0.001), number) for number in range(count)
    ]


def each_once(path: Path, count: int, deliveries: Deliveries) -> None:
    until(lambda: len(deliveries.count) == count)
    assert set(deliveries.count.values()) == {1}
    assert Counter(lines(path)) == Counter(map(str, range(count)))


def test_a_scheduler_is_killed(rig: Rig, tmp_path: Path) -> None:
    path, count, deliveries = tmp_path / "ran", 2000, Deliveries()
    results = under_way(rig, path, count, deliveries)
    before = schedulers(rig)
    for share in (0.2, 0.5):
        begun(path, int(share * count), results)
        os.kill(schedulers(rig)[1], signal.SIGKILL)
        until(lambda: schedulers(rig)[1] is not None)
    assert ends_of(results) == list(range(count))
    each_once(path, count, deliveries)
    after = schedulers(rig)
    assert after[0] == before[0] and after[1] != before[1]
    until(lambda: rig.ids() == [0, 1, 2, 3])
    assert len(set(rig.client[:].apply_sync(my_pid))) == 4
    assert set(rig.client.hub_history()) >= {name for result in results[-5:] for name in result.msg_ids}


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_the_controller_is_killed_and_with_it_all_schedulers(make_rig: MakeRig, tmp_path: Path, transport: str) -> None:
    rig = with_engines(make_rig(0, options=TWO, limit=5.0, tcp=transport == "tcp"))
    path, count, deliveries = tmp_path / "ran", 2000, Deliveries()
    results = under_way(rig, path, count, deliveries)
    before = schedulers(rig)
    for share in (0.2, 0.5):
        begun(path, int(share * count), results)
        rig.restart_controller()
    assert ends_of(results) == list(range(count))
    each_once(path, count, deliveries)
    assert not set(before.values()) & set(schedulers(rig).values())
    until(lambda: rig.ids() == [0, 1, 2, 3])
    assert len(set(rig.client[:].apply_sync(my_pid))) == 4


def test_pieces_of_maps_that_move_while_a_scheduler_is_killed(rig: Rig, tmp_path: Path) -> None:
    path, draw, view = tmp_path / "ran", Random(11), rig.client.load_balanced_view()
    view.retries = 1  # so that pieces end item by item, and large ones are divided
    results, began = [], 0
    for size in (5, 40, 200):
        items = range(began, began := began + 400)
        seconds = [draw.choice((0.0, 0.001, 0.02)) if draw.random() < 0.3 else 0.0 for _ in items]
        results.append((items, view.map_async(noted_busily, [str(path)] * len(items), items, seconds, chunksize=size)))
    for share in (0.2, 0.5):
        until(lambda share=share: len(lines(path)) > share * began)
        os.kill(schedulers(rig)[1], signal.SIGKILL)
        until(lambda: schedulers(rig)[1] is not None)
    for items, result in results:
        assert result.get(60) == list(items)
    assert Counter(lines(path)) == Counter(map(str, range(began)))
    names = [name for _, result in results for name in result.msg_ids]

    def found() -> list[dict[str, Any]]:
        return rig.client.db_query({"msg_id": {"$in": names}}, keys=["status", "items"])

    # What the one that was killed has not told the hub any more is lost there.
    until(lambda: {each["status"] for each in found()} <= {"ok", "lost"})
    assert sum(each["items"] for each in found()) == began


def test_what_was_left_behind_runs_once_though_a_scheduler_is_killed(rig: Rig, tmp_path: Path) -> None:
    path, gate = tmp_path / "ran", str(tmp_path / "gate")
    leaving = rig.connect()
    held = [leaving[id].apply_async(wait_for, gate, id) for id in (0, 1, 2, 3)]
    begun(tmp_path / "gate", 4)
    view = leaving.load_balanced_view()
    calls = [view.apply_async(noted, str(path), number) for number in range(100)]
    view.retries = 1
    pieces = view.map_async(noted, [str(path)] * 60, range(100, 160), chunksize=15)
    names = [name for each in (*held, *calls, pieces) for name in each.msg_ids]
    leaving.close(keep=True)
    before = schedulers(rig)[1]
    os.kill(before, signal.SIGKILL)
    until(lambda: schedulers(rig)[1] not in (None, before) and rig.ids() == [0, 1, 2, 3])
    let_go(Path(gate))
    until(lambda: not rig.client.result_status(names)["pending"])
    assert Counter(lines(path)) == Counter(map(str, range(160)))


def test_dependencies_across_schedulers_outlive_them(rig: Rig, tmp_path: Path) -> None:
    path, gate = tmp_path / "ran", str(tmp_path / "gate")
    first = [rig.client[id].apply_async(wait_for, gate, id) for id in (0, 1)]
    begun(tmp_path / "gate", 2)
    view = rig.client.load_balanced_view()
    with view.temp_flags(after=first):
        behind = [view.apply_async(noted, str(path), number) for number in range(10)]
    with view.temp_flags(after=behind):
        last = view.apply_async(noted, str(path), 10)
    os.kill(schedulers(rig)[1], signal.SIGKILL)
    Path(gate + ".go").touch()
    assert ends_of([*first, *behind, last]) == [0, 1, *range(11)]
    assert Counter(lines(path)) == Counter(map(str, range(11))) and lines(path)[-1] == "10"


def test_records_of_the_others_are_none_the_worse_for_it(rig: Rig, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    running = [rig.client[id].apply_async(wait_for, str(gate), id) for id in (0, 1, 2)]
    begun(gate, 3, running)
    names = [name for each in running for name in each.msg_ids]
    before = schedulers(rig)[1]
    os.kill(before, signal.SIGKILL)
    until(lambda: schedulers(rig)[1] not in (None, before) and rig.ids() == [0, 1, 2, 3])
    assert rig.client[3].apply_sync(my_pid), "the client has come back to it"
    query = {"msg_id": {"$in": names}}
    assert [each["status"] for each in rig.client.db_query(query, keys=["status"])] == ["pending"] * 3
    let_go(gate)
    assert ends_of(running) == [0, 1, 2]
    assert [each["status"] for each in rig.client.db_query(query, keys=["status"])] == ["ok"] * 3


def test_an_end_that_a_scheduler_has_told_its_client_and_not_the_hub(rig: Rig, tmp_path: Path) -> None:
    gates = [tmp_path / f"gate-{number}" for number in range(2)]
    told, running = [rig.client[1].apply_async(wait_for, str(gate), 1) for gate in gates]
    begun(gates[0])
    names = [*told.msg_ids, *running.msg_ids]

    def pending() -> list[str]:
        query = {"msg_id": {"$in": names}, "status": "pending"}
        return [each["msg_id"] for each in rig.client.db_query(query, keys=["msg_id"])]

    until(lambda: pending() == names)
    pid = schedulers(rig)[1]
    let_go(gates[0])
    assert end_of(told) == 1
    os.kill(pid, signal.SIGKILL)  # what the hub is told waits up to 50 ms for more
    until(lambda: pending() == running.msg_ids)
    until(lambda: rig.ids() == [0, 1, 2, 3])
    let_go(gates[1])
    assert end_of(running) == 1
    until(lambda: not pending())


def test_the_hub_is_killed(rig: Rig) -> None:
    hub = next(pid for pid in children(rig) if pid not in schedulers(rig).values())
    os.kill(hub, signal.SIGKILL)
    result = rig.client[3].apply_async(abs, -3)
    assert end_of(result) == 3 and rig.client[:].apply_sync(my_pid)

    def known() -> bool:
        with suppress(ParpoolError):  # the hub does not answer
            return result.msg_ids[0] in rig.client.hub_history()
        return False

    until(known)


def test_a_scheduler_that_does_not_come_back(rig: Rig, tmp_path: Path) -> None:
    client = rig.connect(patience=1.0)
    gate = str(tmp_path / "gate")
    running = {id: client[id].apply_async(wait_for, gate, id) for id in rig.client.ids}
    begun(tmp_path / "gate", 4)
    pid = schedulers(rig)[1]
    state = rig.folder / "schedulers" / "1" / "controller.json"
    state.write_text(json.dumps({**json.loads(state.read_bytes()), "schedulers": 9}))  # so that it cannot start again
    os.kill(pid, signal.SIGKILL)
    for id in (1, 3):
        assert isinstance(end_of(running[id]), ControllerLost)
    until(lambda: client.ids == [0, 2])
    Path(gate + ".go").touch()
    assert [end_of(running[id]) for id in (0, 2)] == [0, 2]
    assert client.load_balanced_view().map_sync(abs, range(-100, 0)) == list(range(100, 0, -1))
    assert [(each["scheduler"], each["pid"] is None) for each in client.cluster_status()["schedulers"]] == [
        (0, False),
        (1, True),
    ]
    late = rig.connect(timeout=4.0)
    assert late.ids == [0, 2] and late.load_balanced_view().apply_sync(abs, -1) == 1
    for engine in rig.engines:  # those of number 1 wait for it
        engine.kill()


def test_a_signal_to_a_scheduler_alone_is_not_heeded(rig: Rig) -> None:
    before = schedulers(rig)
    os.kill(before[1], signal.SIGTERM)
    assert len(set(rig.client[:].apply_sync(my_pid))) == 4 and schedulers(rig) == before
    until(lambda: "until its controller ends" in rig.log("scheduler"))


def test_stop_leaves_nothing(rig: Rig) -> None:
    assert rig.controller is not None
    sessions = [Path(json.loads(each.read_bytes())["session"]) for each in rig.folder.rglob("controller.json")]
    assert len(sessions) == 2 and all(each.exists() for each in sessions)
    processes = [*children(rig), *(engine.pid for engine in rig.engines), rig.controller.pid]
    assert len(processes) == 7
    result = subprocess.run([*PARPOOL, "stop"], env=rig.environment, capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stderr
    assert rig.controller.wait(10) == 0 and all(engine.wait(10) in (0, 122) for engine in rig.engines)
    until(lambda: not any(map(birth, processes)))
    assert not any(each.exists() for each in sessions)
    assert {each.name for each in rig.folder.iterdir()} == {"controller.lock", "log"}


def test_another_number_of_schedulers_cannot_follow(rig: Rig) -> None:
    rig.kill_controller()
    argv = [*PARPOOL, "controller", "--schedulers=3"]
    refused = subprocess.run(argv, env=rig.environment, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1 and "--schedulers 2" in refused.stderr
    rig.start_controller()
    until(lambda: rig.ids() == [0, 1, 2, 3])


def test_a_scheduler_that_cannot_start_keeps_the_controller_from_starting(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = Rig(tmp_path / "other", options=TWO)
    port = "client.1=1"
    if os.getuid() == 0:
        port = "client.1=65999"
    argv = [*PARPOOL, "controller", "--schedulers=2", "--ip=127.0.0.1", "--port", port]
    refused = subprocess.run(argv, env=rig.environment, capture_output=True, text=True, timeout=40)
    assert refused.returncode in (1, 2) and refused.stderr
    assert not (rig.folder / "client.json").exists()
