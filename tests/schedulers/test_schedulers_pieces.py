"""Pieces of maps, of several items each, that go from one scheduler to another: in whole, or without what has begun."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from held import Held, Hold, balanced, noted

from parpool import Client, Cluster, CompositeError, ImpossibleDependency, TaskAborted

Until = Callable[..., Any]


def engines(result: Any) -> set[int]:
    return {each["engine_id"] for each in result.metadata}


@pytest.mark.parametrize("chunk", [1, 7, 50, 200, None])
def test_pieces_do_not_wait_behind_a_long_call(two: Client, hold: Hold, chunk: int | None, until: Until) -> None:
    for engine in two.ids:
        held = hold(-1)
        long = two[engine].apply_async(held, -1)
        until(held.at)
        result = balanced(two).map_async(held, range(200), chunksize=chunk)
        assert result.get(20) == list(range(200)) and not long.ready()
        assert engines(result) == {1 - engine}
        held.open()
        assert long.get(20) == -1 and held.ran() == list(range(-1, 200))


def test_items_behind_a_long_one_go_on_elsewhere(two: Client, hold: Hold, until: Until) -> None:
    held = hold(3)
    result = balanced(two).map_async(held, range(40), chunksize=40)
    until(lambda: result.progress == 39)
    assert held.at() == 1 and len(held.ran()) == 39 and not result.ready()
    held.open()
    assert result.get(20) == list(range(40)) and held.ran() == list(range(40))
    (name,) = result.msg_ids
    record = until(lambda: [each for each in two.db_query({"msg_id": name, "status": "ok"})])[0]
    assert record["items"] == 40 and len(engines(result)) == 2
    assert two.get_result(name).get(20) == list(range(40))
    assert not two.result_status([name])["pending"]
    assert {each["msg_id"] for each in two.db_query({"client": two.link.name})} == {name}, "nothing else was made known"


def test_several_pieces_with_long_items(two: Client, hold: Hold, until: Until) -> None:
    held = hold(5)
    long = balanced(two).map_async(held, range(100), chunksize=25)
    until(lambda: len(held.ran()) == 99)
    more = balanced(two).map_async(held, range(100, 200), chunksize=50)
    assert more.get(20) == list(range(100, 200)) and not long.ready()
    held.open()
    assert long.get(20) == list(range(100)) and held.ran() == list(range(200))


def test_items_come_back_to_where_they_were(two: Client, tmp_path: Path, hold: Hold, until: Until) -> None:
    """Both engines are held in turn, each by an item of the map that the other one waits for."""
    first, second = hold(-1), hold(-2)
    long = two[0].apply_async(first, -1)
    until(first.at)
    slow = balanced(two).map_async(noted, [str(tmp_path / "ran")] * 300, range(300), [0.003] * 300, chunksize=300)
    until(lambda: os.path.exists(tmp_path / "ran"))
    other = two[1].apply_async(second, -2)
    first.open()
    until(second.at)
    assert slow.get(20) == list(range(300)) and not other.ready()
    second.open()
    assert (long.get(20), other.get(20)) == (-1, -2)
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == list(range(300))
    assert engines(slow) == {0, 1}


def test_what_depends_on_a_divided_map(two: Client, hold: Hold, until: Until) -> None:
    held, view = hold(0), balanced(two)
    whole = view.map_async(held, range(30), chunksize=30)
    until(lambda: len(held.ran()) == 29)
    with view.temp_flags(after=[whole]):
        after = view.apply_async(held, 77)
    assert view.apply_async(abs, -1).get(20) == 1 and not after.ready()
    held.open()
    assert after.get(20) == 77 and whole.get(20) == list(range(30))
    assert held.ran() == [*range(30), 77]


def fail_at(held: Held, item: int) -> int:
    if held(item) == 20:
        raise LookupError(item)
    return item


def test_an_error_in_a_part(two: Client, hold: Hold, until: Until) -> None:
    held, view = hold(0), balanced(two)
    whole = view.map_async(fail_at, [held] * 30, range(30), chunksize=30)
    until(lambda: len(held.ran()) == 29)
    with view.temp_flags(after=[whole]):
        after = view.apply_async(abs, -1)
    held.open()
    with pytest.raises(CompositeError) as caught:
        whole.get(20)
    assert [value for value in caught.value.results if isinstance(value, int)] == [n for n in range(30) if n != 20]
    with pytest.raises(ImpossibleDependency):
        after.get(20)


def test_abort_of_a_divided_map(two: Client, hold: Hold, until: Until) -> None:
    held, second, view = hold(0), hold(-5), balanced(two)
    whole = view.map_async(held, range(30), chunksize=30)
    until(lambda: len(held.ran()) == 29)
    long = balanced(two).apply_async(second, -5)  # so that both engines are held
    until(second.at)
    queued = view.map_async(held, range(100, 200), chunksize=20)
    queued.abort()
    whole.abort()
    with pytest.raises((TaskAborted, CompositeError)):
        queued.get(20)
    held.open()
    second.open()
    assert long.get(20) == -5
    assert whole.get(20) == list(range(30)), "nothing was left to be taken back"
    assert held.ran() == list(range(30))
    until(lambda: not two.result_status(queued.msg_ids + whole.msg_ids)["pending"])


def test_clients_leave_while_much_is_on_its_way(two: Client, pair: Cluster, hold: Hold, until: Until) -> None:
    names, expected = [], 0
    held = hold(-1)
    for milliseconds in range(4, 16):  # moves begin after 5, and take some
        leaving = pair.connect_client()
        long = leaving[0].apply_async(held, -1)
        view = balanced(leaving)
        pieces = view.map_async(held, range(expected, expected + 20), chunksize=20)
        calls = [view.apply_async(held, number) for number in range(expected + 20, expected + 50)]
        expected += 50
        names += [*pieces.msg_ids, *(name for call in (long, *calls) for name in call.msg_ids)]
        time.sleep(milliseconds / 1000)
        leaving.close(keep=True)
    held.open()
    until(lambda: not two.result_status(names)["pending"])
    assert held.ran() == [*[-1] * 12, *range(expected)]
    assert {each["status"] for each in two.db_query({"msg_id": {"$in": names}}, keys=["status"])} == {"ok"}


def test_imap_of_both(two: Client, hold: Hold) -> None:
    held = hold(0)
    with two.pool() as pool:
        results = pool.imap_unordered(held, range(500))
        assert sorted(next(results) for _ in range(499)) == list(range(1, 500))
        held.open()
        assert next(results) == 0
    assert held.ran() == list(range(500))
