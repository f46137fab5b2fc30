"""Controllers that are killed in the middle of work, and others that take their place."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fault_rig import MakeRig, Rig, begun, ends_of, lines, until
from fault_tasks import add, appended, appended_and_noted, both_noted, divide, noted, noted_array, noted_busily

np = pytest.importorskip("numpy")

KILLS = (0.1, 0.3, 0.5, 0.8)  #: at which share of the work


def killed_on_the_way(rig: Rig, path: Path, count: int, results: Sequence[Any] = ()) -> set[int]:
    """Kill the controller when so many of the tasks have begun, and have another one follow, several times.

    Gives those that had begun when the last of them had been killed.
    """
    for share in KILLS:
        begun(path, int(share * count), results)
        rig.kill_controller()
        had_begun = set(map(int, lines(path)))
        rig.start_controller()
    return had_begun


def each_once(path: Path, count: int) -> bool:
    """Has each of the numbers run once?"""
    ran = Counter(lines(path))
    twice = {number: times for number, times in ran.items() if times != 1}
    return twice == {} and ran == Counter(map(str, range(count)))


class Deliveries:
    """Counts how often each result is delivered."""

    def __init__(self) -> None:
        self.count: Counter[int] = Counter()

    def watch(self, result: Any, number: int) -> Any:
        result.add_done_callback(lambda _: self.count.update([number]))
        return result


def test_ten_thousand_tasks(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    rig = make_rig(2, tcp=tcp)
    ids, path, count = rig.client.ids, tmp_path / "ran", 10_000
    view, deliveries = rig.client.load_balanced_view(), Deliveries()
    results = [
        deliveries.watch(view.apply_async(noted_busily, str(path), number, 0.0001), number) for number in range(count)
    ]
    killed_on_the_way(rig, path, count, results)
    assert ends_of(results) == list(range(count)) and each_once(path, count)
    until(lambda: len(deliveries.count) == count)
    assert set(deliveries.count.values()) == {1}
    assert rig.client.ids == ids and rig.status()["malformed"] == {"clients": 0, "engines": 0, "keys": 0}
    assert rig.status()["tasks"] == 0 and view.apply_sync(add, 1, 2) == 3


@pytest.mark.skipif(not find_spec("sqlalchemy"), reason="no SQLAlchemy")
def test_ten_thousand_tasks_with_a_database(make_rig: MakeRig, tmp_path: Path) -> None:
    file = tmp_path / "tasks.db"
    rig = make_rig(2, db=f"sqlite:///{file}")
    path, count, view = tmp_path / "ran", 10_000, rig.client.load_balanced_view()
    results = [view.apply_async(noted_busily, str(path), number, 0.0001) for number in range(count)]
    had_begun = killed_on_the_way(rig, path, count, results)
    assert ends_of(results) == list(range(count)) and each_once(path, count)
    names = {result.msg_ids[0]: number for number, result in enumerate(results)}
    found = rig.client.db_query({"msg_id": {"$in": sorted(names)}}, keys=["status"])
    # What was delivered, and not yet written when the controller was killed, has ended in a way that is not known; and
    # where its submission was not written either, nothing is known of it.
    known = {names[record["msg_id"]] for record in found}
    assert "pending" not in {each["status"] for each in found} and set(range(count)) - known <= had_begun
    rig.kill_controller()
    with sqlite3.connect(file) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    database.close()


def by_map(rig: Rig, path: Path, count: int) -> Callable[[], list[Any]]:
    result = rig.client.load_balanced_view().map_async(noted_busily, [str(path)] * count, range(count), [0.001] * count)
    return lambda: list(result.get(40))


def by_chunks(rig: Rig, path: Path, count: int) -> Callable[[], list[Any]]:
    view = rig.client.load_balanced_view()
    result = view.map_async(noted_busily, [str(path)] * count, range(count), [0.001] * count, chunksize=50)
    return lambda: list(result.get(40))


def by_direct_map(rig: Rig, path: Path, count: int) -> Callable[[], list[Any]]:
    result = rig.client[:].map_async(noted_busily, [str(path)] * count, range(count), [0.001] * count)
    return lambda: list(result.get(40))


def by_imap(rig: Rig, path: Path, count: int) -> Callable[[], list[Any]]:
    stream = rig.client.load_balanced_view().imap(noted_busily, [str(path)] * count, range(count), [0.001] * count)
    return lambda: list(stream)


@pytest.mark.parametrize("how", [by_map, by_chunks, by_direct_map, by_imap])
def test_maps(make_rig: MakeRig, tmp_path: Path, how: Any) -> None:
    rig = make_rig(2)
    path, count = tmp_path / "ran", 1000
    get = how(rig, path, count)
    killed_on_the_way(rig, path, count)
    assert get() == list(range(count)) and each_once(path, count)
    assert rig.status()["tasks"] == 0


def test_a_stream_without_an_end(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(2)
    path, count, killed = tmp_path / "ran", 600, 0

    def numbers() -> Iterator[int]:
        yield from range(count)

    stream = rig.client.load_balanced_view().imap(
        lambda number, path=str(path): noted_busily(path, number, 0.001), numbers(), buffersize=20
    )
    for number, value in enumerate(stream):
        assert value == number
        if number in (50, 200, 400):
            rig.restart_controller()
            killed += 1
    assert killed == 3 and each_once(path, count)


def test_chains_of_tasks(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(2)
    chains, length, results = 10, 40, []
    view = rig.client.load_balanced_view()
    everything = tmp_path / "all"
    for chain in range(chains):
        before = None
        for number in range(length):
            with view.temp_flags(after=before):
                before = view.apply_async(both_noted, str(everything), str(tmp_path / f"chain{chain}"), number)
            results.append(before)
    with view.temp_flags(after=results):
        last = view.apply_async(noted, str(tmp_path / "last"), -1)
    killed_on_the_way(rig, everything, chains * length, results)
    assert ends_of([*results, last]) == list(range(length)) * chains + [-1]
    for chain in range(chains):
        assert lines(tmp_path / f"chain{chain}") == list(map(str, range(length)))
    assert lines(tmp_path / "last") == ["-1"]


def test_a_dependency_on_what_has_ended_before(make_rig: MakeRig, tmp_path: Path) -> None:
    """The controller that follows knows of it only what was delivered."""
    rig = make_rig(2)
    view = rig.client.load_balanced_view()
    first = view.apply_async(add, 1, 2)
    failed = view.apply_async(divide, 1, 0)
    assert ends_of([first])[0] == 3 and isinstance(ends_of([failed])[0], ZeroDivisionError)
    rig.restart_controller()
    with view.temp_flags(after=first):
        assert ends_of([view.apply_async(add, 2, 2)]) == [4]
    with view.temp_flags(follow=first):
        assert ends_of([view.apply_async(add, 2, 3)]) == [5]


def test_the_order_of_a_direct_view(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(2)
    ids, path, count = rig.client.ids, tmp_path / "ran", 2000
    results = [
        rig.client[id].apply_async(appended_and_noted, str(path), number) for number in range(count) for id in ids
    ]
    killed_on_the_way(rig, path, 2 * count, results)
    assert ends_of(results) == [number + 1 for number in range(count) for _ in ids]
    assert rig.client[:].apply_sync(appended) == [list(range(count))] * 2


def test_large_arrays(make_rig: MakeRig, tmp_path: Path, tcp: bool) -> None:
    rig = make_rig(2, tcp=tcp)
    view, path, count = rig.client.load_balanced_view(), tmp_path / "ran", 150
    results = [view.apply_async(noted_array, str(path), number, np.full(125_000, 7.0)) for number in range(count)]
    killed_on_the_way(rig, path, count, results)
    for number, end in enumerate(ends_of(results)):
        assert end[0] == number and end.shape == (125_000,) and (end[1:] == 7.0).all()
    assert each_once(path, count)


def test_two_clients(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(2)
    path, count = tmp_path / "ran", 3000
    views = [client.load_balanced_view() for client in (rig.client, rig.connect())]
    results = [views[number % 2].apply_async(noted_busily, str(path), number, 0.0002) for number in range(count)]
    killed_on_the_way(rig, path, count, results)
    assert ends_of(results) == list(range(count)) and each_once(path, count)
    until(lambda: len(rig.status()["clients"]) == 2)  # one may have had all of its results before the last was killed
    more = [view.apply_async(add, 1, 2) for view in views]  # of others the records may have gone with their controller
    assert ends_of(more) == [3, 3]
    names = [result.msg_ids[0] for result in more]
    for client in rig.clients:
        status = client.result_status(names)
        assert not status["pending"] and sorted(status["completed"]) == sorted(names)
