"""Engines and clients that are cut off, for longer and for shorter than the heartbeat."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_rig import PATIENCE, MakeRig, Rig, begun, end_of, ends_of, let_go, lines, until
from fault_tasks import add, length_of, my_pid, noted, wait_for
from fault_wire import Wire

from parpool import EngineLost, TaskAborted

SHORT = 1.5  #: a limit of the heartbeat that is soon over
LONG = 30.0  #: one that no test waits for

Harm = Callable[[Wire], None]
harms = pytest.mark.parametrize("harm", [Wire.cut, Wire.silence])


@pytest.fixture
def rig(make_rig: MakeRig, request: pytest.FixtureRequest) -> Rig:
    """A cluster without engines, by tcp."""
    return make_rig(0, tcp=True, limit=request.param)


def limit(seconds: float) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rig", [seconds], indirect=True)


# Engines --------------------------------------------------------------------------------------------


@harms
@limit(SHORT)
def test_an_engine_that_is_cut_off_for_long(rig: Rig, harm: Harm, tmp_path: Path) -> None:
    wire, file = rig.wire("engine")
    (id,) = rig.start_engines(1, file=file)
    view, path, running = rig.client.load_balanced_view(), tmp_path / "ran", tmp_path / "running"
    result = view.apply_async(wait_for, str(running))
    begun(running)
    harm(wire)
    assert isinstance(end_of(result), EngineLost)
    until(lambda: rig.client.ids == [])
    results = [view.apply_async(noted, str(path), number) for number in range(20)]
    (other,) = rig.start_engines(1)
    assert ends_of(results) == list(range(20))
    wire.mend()
    let_go(running)  # it joins when it is through with what it was in
    until(lambda: rig.client.ids == [id, other])
    assert rig.client[id].apply_async(my_pid).get(PATIENCE) == rig.engines[0].pid
    assert lines(running) == ["0"] and Counter(lines(path)) == Counter(map(str, range(20)))
    assert rig.status()["tasks"] == 0


@harms
@limit(LONG)
def test_an_engine_that_is_cut_off_for_a_moment(rig: Rig, harm: Harm, tmp_path: Path) -> None:
    wire, file = rig.wire("engine")
    rig.start_engines(1, file=file)
    rig.start_engines(1)
    ids, view, path = rig.client.ids, rig.client.load_balanced_view(), tmp_path / "ran"
    results = [view.apply_async(noted, str(path), number, 0.001) for number in range(2000)]
    for share in (0.2, 0.4, 0.6):
        begun(path, int(share * 2000))
        harm(wire)
        begun(path, int((share + 0.05) * 2000))
        wire.mend()
    assert ends_of(results) == list(range(2000)) and Counter(lines(path)) == Counter(map(str, range(2000)))
    assert rig.client.ids == ids and "is lost" not in rig.log("controller")


@harms
@limit(LONG)
def test_a_task_ends_while_its_engine_is_cut_off(rig: Rig, harm: Harm, tmp_path: Path) -> None:
    wire, file = rig.wire("engine")
    rig.start_engines(1, file=file)
    view, path = rig.client.load_balanced_view(), tmp_path / "ran"
    small, large = tmp_path / "small", tmp_path / "large"
    results = [view.apply_async(wait_for, str(small), 1), view.apply_async(bytes, 5_000_000)]
    begun(small)
    harm(wire)
    let_go(small)
    again = [view.apply_async(noted, str(path), number) for number in range(20)]
    assert not results[0].wait(0.5) and not lines(path) and not large.exists()
    wire.mend()
    assert end_of(results[0]) == 1 and len(end_of(results[1])) == 5_000_000
    assert ends_of(again) == list(range(20)) and lines(small) == ["1"]


@limit(LONG)
def test_what_is_on_its_way_when_a_silent_line_is_cut(rig: Rig, tmp_path: Path) -> None:
    """Then both sides have sent what never arrives."""
    wire, file = rig.wire("engine")
    rig.start_engines(1, file=file)
    view, path, running = rig.client.load_balanced_view(), tmp_path / "ran", tmp_path / "running"
    results = [view.apply_async(wait_for, str(running), -1)]
    begun(running)
    wire.silence()
    let_go(running)  # its outcome, and
    results += [view.apply_async(noted, str(path), number) for number in range(20)]  # work that it is given
    results += [view.apply_async(lambda: 20)]
    until(lambda: rig.status()["tasks"] == 22)
    time.sleep(0.3)
    wire.cut()
    wire.mend()
    assert ends_of(results) == list(range(-1, 21))
    assert Counter(lines(path)) == Counter(map(str, range(20))) and lines(running) == ["-1"]


@pytest.mark.timeout(90)
@limit(60.0)
def test_everybody_is_silent_for_longer_than_connections_last(rig: Rig, tmp_path: Path) -> None:
    """The sockets themselves give up on a line of which nothing is heard for 10 s."""
    wire, file = rig.wire("engine")
    rig.start_engines(1, file=file)
    client_wire, client_file = rig.wire("client")
    client = rig.connect(client_file)
    ids, path = client.ids, tmp_path / "ran"
    result = client.load_balanced_view().apply_async(wait_for, str(path))
    begun(path)
    made = wire.passed, client_wire.passed
    wire.silence()
    client_wire.silence()
    let_go(path)
    until(lambda: wire.passed > made[0] and client_wire.passed > made[1])
    results = [client.load_balanced_view().apply_async(add, number, 1) for number in range(20)]
    wire.mend()
    client_wire.mend()
    assert end_of(result) == 0 and ends_of(results) == list(range(1, 21))
    assert client.ids == ids and lines(path) == ["0"]


# Clients --------------------------------------------------------------------------------------------


@harms
@limit(LONG)
def test_a_client_that_is_cut_off_for_a_moment(rig: Rig, harm: Harm, tmp_path: Path) -> None:
    rig.start_engines(2)
    wire, file = rig.wire("client")
    client = rig.connect(file)
    view, path = client.load_balanced_view(), tmp_path / "ran"
    came: list[int] = []
    results = []
    for number in range(2000):
        results.append(view.apply_async(noted, str(path), number, 0.0005))
        results[-1].add_done_callback(lambda result, number=number: came.append(number))
        if number % 500 == 250:
            harm(wire)
        elif number % 500 == 350:
            wire.mend()
    assert ends_of(results) == list(range(2000)) and Counter(lines(path)) == Counter(map(str, range(2000)))
    assert until(lambda: len(came) == 2000) and sorted(came) == list(range(2000))
    assert "is lost" not in rig.log("controller")


@harms
@limit(LONG)
def test_results_that_come_while_their_client_is_cut_off(rig: Rig, harm: Harm, tmp_path: Path) -> None:
    rig.start_engines(1)
    wire, file = rig.wire("client")
    client = rig.connect(file)
    view, path = client.load_balanced_view(), tmp_path / "ran"
    results = [view.apply_async(wait_for, str(path))] + [view.apply_async(bytes, 500_000) for _ in range(20)]
    begun(path)
    until(lambda: rig.status()["tasks"] == 21)
    harm(wire)
    let_go(path)
    until(lambda: rig.status()["tasks"] == 0)
    assert not results[0].ready()
    wire.mend()
    assert [end if isinstance(end, int) else len(end) for end in ends_of(results)] == [0] + [500_000] * 20


@harms
@limit(SHORT)
@pytest.mark.parametrize("keep", [False, True])
def test_a_client_that_is_cut_off_for_long(rig: Rig, harm: Harm, keep: bool, tmp_path: Path) -> None:
    rig.start_engines(1)
    wire, file = rig.wire("client")
    client = rig.connect(file, on_client_lost="keep" if keep else "drop")
    view, path, ran = client.load_balanced_view(), tmp_path / "running", tmp_path / "ran"
    results = [view.apply_async(wait_for, str(path), -1)]
    results += [view.apply_async(noted, str(ran), number) for number in range(20)]
    begun(path)
    until(lambda: rig.status()["tasks"] == 21)
    harm(wire)
    until(lambda: [each["here"] for each in rig.status()["clients"] if each["name"] == client.link.name] == [False])
    assert rig.status()["tasks"] == (21 if keep else 1)
    let_go(path)
    until(lambda: rig.status()["tasks"] == 0)
    later = [view.apply_async(lambda number=number: number + 1) for number in range(3)]
    wire.mend()
    ends = ends_of(results)
    assert ends[0] == -1 and ends_of(later) == [1, 2, 3]
    if keep:
        assert ends[1:] == list(range(20)) and lines(ran) == [str(number) for number in range(20)]
    else:
        assert {type(end) for end in ends[1:]} == {TaskAborted} and not lines(ran)


@limit(LONG)
def test_what_a_client_says_into_a_silent_line_that_is_cut(rig: Rig) -> None:
    """What was submitted, with its function, never arrives, and is said again."""
    rig.start_engines(1)
    wire, file = rig.wire("client")
    client = rig.connect(file)
    view = client.load_balanced_view()
    assert view.apply_sync(add, 1, 2) == 3
    wire.silence()
    results = [view.apply_async(lambda: "new"), view.apply_async(length_of, bytes(1_000_000))]
    time.sleep(0.3)  # until the sockets have taken it
    wire.cut()
    wire.mend()
    assert ends_of(results) == ["new", 1_000_000]
    assert client.queue_status()["unassigned"] == 0


@limit(LONG)
def test_code_that_is_on_its_way_when_a_silent_line_is_cut(rig: Rig) -> None:
    wire, file = rig.wire("engine")
    rig.start_engines(1, file=file)
    view = rig.client.load_balanced_view()
    assert view.apply_sync(add, 1, 2) == 3
    wire.silence()
    result = view.apply_async(lambda: "new")
    until(lambda: rig.status()["tasks"] == 1)
    time.sleep(0.3)
    wire.cut()
    wire.mend()
    assert end_of(result) == "new"


@harms
@limit(SHORT)
def test_a_client_learns_what_it_has_missed(rig: Rig, harm: Harm) -> None:
    (first,) = rig.start_engines(1)
    wire, file = rig.wire("client")
    client = rig.connect(file)
    harm(wire)
    until(lambda: [each["here"] for each in rig.status()["clients"] if each["name"] == client.link.name] == [False])
    (second,) = rig.start_engines(1)
    assert client.ids == [first]
    wire.mend()
    assert until(lambda: len(client.ids) == 2) and client.ids == sorted([first, second])
    rig.start_engines(1)
    until(lambda: len(client.ids) == 3)
