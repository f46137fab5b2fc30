"""What clients have left behind, and a controller that is killed before it is done."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fault_rig import MakeRig, begun, ends_of, let_go, lines, until
from fault_tasks import add, noted, wait_for

from parpool import TaskAborted
from parpool.client.line import Line
from parpool.wire.requests import Leave, from_client

pytestmark = pytest.mark.skipif(not find_spec("sqlalchemy"), reason="no SQLAlchemy")

COUNT = 50


def test_what_a_client_has_left_behind_outlasts_the_controller(make_rig: MakeRig, tmp_path: Path) -> None:
    """Its database knows what it takes; each task runs once, and others may have what comes of it."""
    rig = make_rig(2, db=f"sqlite:///{tmp_path / 'tasks.db'}")
    running, path, other = tmp_path / "running", tmp_path / "ran", rig.connect()
    view = other.load_balanced_view()
    done = view.apply_async(add, 1, 2)
    assert ends_of([done]) == [3]
    results: list[Any] = [view.apply_async(wait_for, str(running), n) for n in range(2)]
    results += [view.apply_async(noted, str(path), n) for n in range(COUNT)]
    results.append(view.map_async(noted, [str(path)] * 20, range(COUNT, COUNT + 20), chunksize=5))
    names = [name for result in results for name in result.msg_ids]
    view.set_flags(after=results[0])
    depends = view.apply_async(add, 3, 4).msg_ids
    begun(running, 2)
    other.close(keep=True)
    until(lambda: not rig.status()["hub"]["backlog"])
    for _ in range(2):
        rig.restart_controller()
        until(lambda: rig.status()["tasks"] >= COUNT + 2)
    let_go(running)
    ends = ends_of(rig.client.get_result(name) for name in names)
    flat = [each for end in ends for each in (end if isinstance(end, list) else [end])]
    assert flat[:2] == [0, 1] and sorted(flat[2:]) == list(range(COUNT + 20))
    assert Counter(lines(path)) == Counter(map(str, range(COUNT + 20))) and sorted(lines(running)) == ["0", "1"]
    assert isinstance(ends_of([rig.client.get_result(depends[0])])[0], TaskAborted)
    assert rig.client.get_result(done.msg_ids[0]).get(5) == 3
    until(lambda: rig.status()["tasks"] == 0)


@pytest.mark.parametrize("schedulers", [1, 2])
def test_the_last_word_of_a_client_is_lost(
    make_rig: MakeRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedulers: int
) -> None:
    """It leaves a moment before the controller is killed: what it has left behind goes on all the same."""
    rig = make_rig(0, db=f"sqlite:///{tmp_path / 'tasks.db'}", options=[f"--schedulers={schedulers}"])
    for number in range(2):
        rig.start_engines(1, f"--number={number}", wait=False)
    until(lambda: len(rig.client.ids) == 2)
    running, path, other = tmp_path / "running", tmp_path / "ran", rig.connect()
    with monkeypatch.context() as patch:
        patch.setattr(Line, "send", without_leave(Line.send))
        results = [other[id].apply_async(wait_for, str(running), id) for id in other.ids]
        results += [other[id].apply_async(noted, str(path), id) for id in other.ids]
        begun(running, 2)
        other.close(keep=True)
    until(lambda: not rig.status()["hub"]["backlog"])
    rig.restart_controller()
    let_go(running)
    ids = sorted(rig.client.ids) or [0, 1]
    assert ends_of(rig.client.get_result(result.msg_ids[0]) for result in results) == [*ids, *ids]
    assert sorted(lines(running)) == sorted(lines(path)) == ["0", "1"]


def without_leave(send: Any) -> Any:
    """How messages are sent, but for those that take leave."""

    def sent(line: Line, header: bytes, frames: Any = ()) -> Any:
        return None if isinstance(from_client(header), Leave) else send(line, header, frames)

    return sent


def test_no_record_of_a_map_is_pending_for_ever(make_rig: MakeRig, tmp_path: Path) -> None:
    """Of items that had ended, and of which the database did not know when the controller was killed, it is told later."""
    rig = make_rig(1, db=f"sqlite:///{tmp_path / 'tasks.db'}", limit=2.0)
    view, first, second = rig.client.load_balanced_view(), tmp_path / "first", tmp_path / "second"
    view.retries = 1  # so that items end by themselves
    result = view.map_async(wait_for, [str(first)] * 10 + [str(second)] * 10, range(20), chunksize=20)
    query = {"msg_id": {"$in": result.msg_ids}}
    begun(first)
    until(lambda: rig.client.db_query(query, keys=["status"]))
    with closing(sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody else can write
        let_go(first)
        until(lambda: result.progress == 10)
        time.sleep(0.5)  # by then the engine has heard that they have arrived, and does not say it again
        rig.kill_controller()
    rig.start_controller()
    begun(second)
    let_go(second)
    assert ends_of([result]) == [list(range(20))]
    until(lambda: [each["status"] for each in rig.client.db_query(query, keys=["status"])] in (["ok"], ["lost"]))
