"""The mission's rows of results: A10, A11, J, K, and O6 to O8; and what the issue asks of AsyncResult beyond them."""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import inspect
import io
import multiprocessing
import multiprocessing.pool
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rows import PATIENCE, Gate, fail, fail_through, through, until

import parpool
from parpool import AsyncResult, Client, CompositeError, Pool, Reference, RemoteError, TaskAborted
from parpool.errors import ResultTimeout


def tell(number: int) -> int:
    print(f"told {number}")
    print(f"warned {number}", file=sys.stderr)
    return number


def tell_and_wait(gate: Gate, text: str) -> str:
    print(text)
    print(text.upper(), file=sys.stderr)
    gate.arrive(text)
    print("after")
    return text


def tell_engine(gate: Gate, text: str) -> int:
    """Both engines are in here at once."""
    print(text)
    gate.arrive(os.getpid())
    print(text, "again")
    return os.getpid()


class OnlyThere:
    """Can be opened on engines, and not here."""

    def __reduce__(self) -> Any:
        return unopenable, (os.getpid(),)


def unopenable(pid: int) -> Any:
    raise LookupError("cannot be opened here")


def only_there(number: int) -> Any:
    return OnlyThere() if number == 1 else number


def caught(result: AsyncResult, kind: Any = Exception) -> Any:
    with pytest.raises(kind) as info:
        result.get(PATIENCE)
    return info.value


def views_results(rc: Client, gate: Gate) -> dict[str, AsyncResult]:
    """A pending result of every sort that views give."""
    lview, dview = rc.load_balanced_view(), rc[:]
    return {
        "one engine": rc[0].apply_async(through, gate, 1),
        "several": dview.apply_async(through, gate, 2),
        "balanced": lview.apply_async(through, gate, 3),
        "direct map": dview.map_async(through, [gate] * 2, [4, 5]),
        "balanced map": lview.map_async(through, [gate] * 2, [6, 7]),
        "joined": rc[0].apply_async(through, gate, 8).join(rc[1].apply_async(through, gate, 9)),
    }


# A. Engines -------------------------------------------------------------------------------------------


def test_A10_engine_ids_are_small_ascending_ints(rc: Client) -> None:
    assert rc.ids == [0, 1] and all(type(id) is int for id in rc.ids)
    pids = rc[:].apply_sync(os.getpid)
    assert len(set(pids)) == 2 and os.getpid() not in pids
    assert [rc[id].apply_sync(os.getpid) for id in rc.ids] == pids, "an id is the way to its engine"


def test_A11_the_namespace_of_an_engine_persists(rc: Client) -> None:
    rc[0].execute("counted = 1", block=True)
    rc[0].execute("counted += 1", block=True)
    assert rc[0]["counted"] == rc[0].apply_sync(int, Reference("counted")) == 2
    with pytest.raises(NameError):
        rc[1].apply_sync(int, Reference("counted"))
    del rc[0]["counted"]
    with pytest.raises(NameError):
        rc[0]["counted"]


# J. AsyncResult -----------------------------------------------------------------------------------------


def test_J1_a_superset_of_the_stdlib_s(rc: Client) -> None:
    theirs = multiprocessing.pool.AsyncResult
    for name in (name for name in vars(theirs) if not name.startswith("_")):
        ours = list(inspect.signature(getattr(AsyncResult, name)).parameters)
        asked = list(inspect.signature(getattr(theirs, name)).parameters)
        assert ours[: len(asked)] == asked, name
    result = rc[0].apply_async(abs, -1)
    assert result.wait(PATIENCE) is None and result.ready() is True and result.successful() is True
    assert result.get(PATIENCE) == result.get(timeout=PATIENCE) == 1


def test_J2_every_call_that_does_not_block_gives_one(rc: Client, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("ran = 1\n")
    dview, lview, one = rc[:], rc.load_balanced_view(), rc[0]
    assert not (dview.block or lview.block or one.block)
    results: list[Any] = []
    for view in (dview, lview, one):
        results += [view.apply(abs, -1), view.apply_async(abs, -1)]
        results += [view.map(abs, [-1, 2]), view.map_async(abs, [-1, 2])]
    for view in (dview, one):
        results += [view.execute("x = 1"), view.run(script), view.push({"y": 2}), view.scatter("z", range(4))]
        results += [view.pull("__name__"), view.gather("z"), view.clear()]
        rc.wait(results, PATIENCE)
    for result in results:
        assert isinstance(result, AsyncResult), result
        result.get(PATIENCE)


def test_J3_wait(rc: Client, gate: Gate) -> None:
    for name, result in views_results(rc, gate).items():
        assert result.wait(0.01) is None and not result.ready(), name
    gate.open()
    for result in (rc[0].apply_async(fail, ValueError(1)), rc[:].apply_async(fail, ValueError(1))):
        assert result.wait(PATIENCE) is None, "it raises nothing"
        assert result.ready() and not result.successful()


def test_J4_get_waits_and_returns_or_raises(rc: Client, gate: Gate) -> None:
    results = views_results(rc, gate)
    gate.open()
    assert {name: result.get(PATIENCE) for name, result in results.items()} == {
        "one engine": 1,
        "several": [2, 2],
        "balanced": 3,
        "direct map": [4, 5],
        "balanced map": [6, 7],
        "joined": [8, 9],
    }
    assert isinstance(caught(rc[0].apply_async(fail, KeyError("k"))), KeyError)


def test_J5_result_not_ready(rc: Client, gate: Gate) -> None:
    for name, result in views_results(rc, gate).items():
        for wait in (result.get, result.get_dict):
            with pytest.raises(ResultTimeout) as info:
                wait(0.01)
            assert str(info.value) == "Result not ready.", name
            assert isinstance(info.value, multiprocessing.TimeoutError) and isinstance(info.value, TimeoutError)
            assert type(info.value) is parpool.ResultTimeout
    stream: Any = rc.load_balanced_view().imap(through, [gate], [1])
    with pytest.raises(builtins.TimeoutError, match=r"^Result not ready\.$"):
        stream.next(0.01)
    gate.open()
    assert stream.next(PATIENCE) == 1, "it may still come"


def test_J5_the_pool_s_own_is_multiprocessing_s(pool: Pool, gate: Gate) -> None:
    for result in (pool.apply_async(through, (gate,)), pool.map_async(through, [gate])):
        with pytest.raises(multiprocessing.TimeoutError) as info:
            result.get(0.01)
        assert type(info.value) is multiprocessing.TimeoutError


def test_J6_ready_does_not_block(rc: Client, gate: Gate) -> None:
    results = views_results(rc, gate)
    assert not any(result.ready() or result.done() for result in results.values())
    gate.open()
    assert rc.wait(list(results.values()), PATIENCE)
    assert all(result.ready() is True and result.done() is True for result in results.values())


def test_J7_r_is_get(rc: Client) -> None:
    assert rc[0].apply_async(abs, -3).r == 3
    assert rc[:].apply_async(abs, -3).r == [3, 3]
    with pytest.raises(KeyError):
        rc[0].apply_async(fail, KeyError("k")).r  # noqa: B018


def test_J8_result_is_a_property_and_futures_have_the_method(rc: Client) -> None:
    result = rc[0].apply_async(abs, -3)
    assert result.result == 3 and rc[:].apply_async(abs, -3).result == [3, 3]
    future = result.future()
    assert isinstance(future, concurrent.futures.Future) and future.result(PATIENCE) == 3
    result = rc[0].apply_async(fail, KeyError("k"))
    with pytest.raises(KeyError):
        result.result  # noqa: B018
    assert isinstance(result.future().exception(PATIENCE), KeyError)


def test_J8_nobody_who_looks_at_all_attributes_has_to_wait(rc: Client, gate: Gate) -> None:
    for name, result in views_results(rc, gate).items():
        assert not {"r", "result", "result_dict"} & set(dir(result)), name
        for attribute in dir(result):
            getattr(result, attribute)
        assert not result.ready()


def test_J9_metadata_is_a_dict_about_the_execution(rc: Client) -> None:
    result = rc[1].apply_async(os.getpid)
    pid = result.get(PATIENCE)
    assert type(result.metadata) is dict and result.metadata["engine_id"] == 1
    assert rc.queue_status(verbose=True)[1]["pid"] == pid


def test_J10_sent(rc: Client) -> None:
    numbers = [1, 2, 3]
    result = rc[0].apply_async(sum, numbers)
    assert result.sent is True
    numbers.clear()  # it has let go of its arguments
    assert result.get(PATIENCE) == 6


def test_J11_wait_on_send(rc: Client) -> None:
    for view in (rc[0], rc[:], rc.load_balanced_view()):
        result = view.apply_async(abs, -1)
        assert result.wait_on_send() is True and result.wait_on_send(0) is True
        assert result.wait_for_send(timeout=1) is True
        result.wait(PATIENCE)


def test_J12_successful(rc: Client, gate: Gate) -> None:
    for result in views_results(rc, gate).values():
        with pytest.raises(ValueError, match="not ready"):
            result.successful()
    gate.open()
    for view in (rc[0], rc[:], rc.load_balanced_view()):
        for good in (view.apply_async(abs, -1), view.map_async(abs, [1, 2]), view.map_async(abs, [])):
            good.wait(PATIENCE)
            assert good.successful() is True
        for bad in (view.apply_async(fail, ValueError()), view.map_async(abs, [1, "x", 2])):
            bad.wait(PATIENCE)
            assert bad.successful() is False


def test_J13_msg_ids(rc: Client, gate: Gate) -> None:
    results = views_results(rc, gate)
    names = [name for result in results.values() for name in result.msg_ids]
    assert len(set(names)) == len(names) and all(type(name) is str and name for name in names)
    counts = {sort: len(result.msg_ids) for sort, result in results.items()}
    assert counts["one engine"] == counts["balanced"] == 1
    assert counts["several"] == counts["direct map"] == counts["joined"] == 2 and counts["balanced map"] >= 1
    gate.open()
    rc.wait(list(results.values()), PATIENCE)


@pytest.mark.parametrize("sort", ["one engine", "several", "balanced", "direct map", "balanced map", "joined"])
def test_J13_msg_ids_are_the_currency(rc: Client, gate: Gate, sort: str) -> None:
    result = views_results(rc, gate)[sort]
    names = result.msg_ids
    assert rc.outstanding >= set(names) and set(rc.history) >= set(names)
    assert rc.wait(names, 0.01) is False
    assert set(rc.result_status(names)["pending"]) == set(names)
    with rc.load_balanced_view().temp_flags(after=names):
        later = rc.load_balanced_view().apply_async(abs, -1)
    fetched = rc.get_result(names)
    assert not fetched.ready() and not later.ready()
    gate.open()
    assert rc.wait(names, PATIENCE) is True and not rc.outstanding & set(names)
    assert fetched.ready() and sorted(fetched.msg_ids) == sorted(names)
    assert set(rc.result_status(names)["completed"]) == set(names)
    assert later.get(PATIENCE) == 1
    assert all(rc.metadata[name] for name in names)


@pytest.mark.parametrize("by", ["ids", "result", "nested", "client"])
def test_J13_abort(rc: Client, gate: Gate, by: str) -> None:
    lview = rc.load_balanced_view()
    running = [rc[id].apply_async(through, gate, f"running {id}") for id in (0, 1)]
    for id in (0, 1):
        gate.await_one(f"running {id}")
    waiting = [rc[0].apply_async(abs, -1), rc[:].apply_async(abs, -1), lview.apply_async(abs, -1)]
    waiting += [lview.map_async(abs, range(100), chunksize=1), rc[:].map_async(abs, range(10))]
    if by == "ids":
        rc.abort([name for result in waiting for name in result.msg_ids])
    elif by == "result":
        for result in waiting:
            result.abort()
    elif by == "nested":
        rc.abort([waiting[:2], (waiting[2], {waiting[3]}), [[waiting[4]]]])
    else:
        rc.abort()
    for result in waiting:
        error = caught(result)
        errors = error.exceptions if isinstance(error, CompositeError) else [error]
        assert errors and {type(each) for each in errors} == {TaskAborted}, error
    assert not any(result.ready() for result in running), "what runs goes on"
    gate.open()
    assert [result.get(PATIENCE) for result in running] == ["running 0", "running 1"]


def test_J14_results_are_taken_for_collections_of_messages(rc: Client, gate: Gate) -> None:
    results = list(views_results(rc, gate).values())
    lview = rc.load_balanced_view()
    nested = [results[0], (results[1], [results[2]]), {results[3]}, results[4].msg_ids, results[5]]
    assert rc.wait(nested, 0.01) is False and lview.wait(results[0], 0) is False
    assert rc.get_result(results[0]) is results[0]
    with lview.temp_flags(after=nested):
        later = lview.apply_async(abs, -1)
    with lview.temp_flags(follow=results[0]):
        there = lview.apply_async(os.getpid)
    assert not later.ready() and not there.ready()
    gate.open()
    assert rc.wait(nested, PATIENCE) is True
    assert later.get(PATIENCE) == 1
    assert there.get(PATIENCE) == rc[0].apply_sync(os.getpid)


def test_J14_wait_without_jobs_is_for_all_that_is_outstanding(rc: Client, gate: Gate) -> None:
    results = list(views_results(rc, gate).values())
    many = rc.load_balanced_view().map_async(through, [gate] * 40, range(40), chunksize=1)
    assert rc.wait(timeout=0.01) is False
    gate.open()
    assert rc.wait(timeout=PATIENCE) is True
    assert all(result.ready() for result in results) and many.ready() and rc.outstanding == set()


def test_J15_it_works_while_the_client_does_other_things(rc: Client, gate: Gate) -> None:
    result = rc[0].apply_async(through, gate, "late")
    gate.await_one("late")
    assert rc[1].apply_sync(abs, -1) == 1 and rc[1].map_sync(abs, [-1, -2]) == [1, 2]
    assert not result.ready()
    gate.open()
    until(result.ready)  # and nobody waits for it
    assert result.get(0) == "late"


# K. Metadata ----------------------------------------------------------------------------------------------

KEYS = {
    "after",
    "completed",
    "engine_id",
    "engine_uuid",
    "follow",
    "msg_id",
    "received",
    "started",
    "status",
    "stderr",
    "stdout",
    "submitted",
}
TIMES = ("submitted", "started", "completed", "received")


def test_K1_keys_and_times(rc: Client) -> None:
    result = rc[0].apply_async(abs, -1)
    result.wait(PATIENCE)
    assert KEYS <= set(result.metadata)
    for name in TIMES:
        moment = result.metadata[name]
        assert isinstance(moment, datetime) and moment.utcoffset() == timedelta(0), name


def test_K1_while_it_is_pending(rc: Client, gate: Gate) -> None:
    result = rc[0].apply_async(through, gate)
    data = result.metadata
    assert KEYS <= set(data) and data["status"] == "pending" and data["msg_id"] == result.msg_ids[0]
    assert isinstance(data["submitted"], datetime)
    assert data["started"] is data["completed"] is data["received"] is data["engine_id"] is None


def test_K2_after_and_follow(rc: Client) -> None:
    lview = rc.load_balanced_view()
    first, second = rc[0].apply_async(abs, -1), rc[0].apply_async(abs, -2)
    assert rc.wait([first, second], PATIENCE)
    assert first.metadata["after"] == first.metadata["follow"] == []
    with lview.temp_flags(after=[first, second], follow=first):
        one, several = lview.apply_async(abs, -1), lview.map_async(abs, [1, 2])
    assert rc.wait([one, several], PATIENCE)
    for data in (one.metadata, *several.metadata):
        assert sorted(data["after"]) == sorted(first.msg_ids + second.msg_ids)
        assert data["follow"] == first.msg_ids
    assert lview.apply_async(abs, -1).metadata["after"] == [], "the flags were for a while"
    data["after"].clear()
    assert one.metadata["after"], "what is given is the caller's own"


def test_K3_names(rc: Client) -> None:
    results = [rc[id].apply_async(abs, -1) for id in (0, 1, 0)]
    assert rc.wait(results, PATIENCE)
    assert [result.metadata["engine_id"] for result in results] == [0, 1, 0]
    uuids = [result.metadata["engine_uuid"] for result in results]
    assert all(type(uuid) is str for uuid in uuids) and uuids[0] == uuids[2] != uuids[1]
    assert [[result.metadata["msg_id"]] for result in results] == [result.msg_ids for result in results]


def test_K3_names_of_a_map_s_tasks(rc: Client, gate: Gate) -> None:
    """Also of those tasks that were cut, because an engine had nothing to do."""
    lview = rc.load_balanced_view()
    lview.map_sync(abs, range(2000))
    result = lview.map_async(hold_the_first, [gate] * 400, range(400))
    gate.await_one(0)
    until(lambda: result.progress == 399)
    gate.open()
    assert result.get(PATIENCE) == list(range(400))
    assert {data["msg_id"] for data in result.metadata} <= set(result.msg_ids)
    assert {line["msg_id"] for line in result.timeline} <= set(result.msg_ids)


def hold_the_first(gate: Gate, number: int) -> int:
    if number == 0:
        gate.arrive(number)
    return number


def test_K4_status(rc: Client, gate: Gate) -> None:
    good, bad = rc[0].apply_async(abs, -1), rc[0].apply_async(fail, SystemExit(3))
    assert rc.wait([good, bad], PATIENCE)
    assert good.metadata["status"] == "ok" and bad.metadata["status"] == "error"
    several = rc[:].apply_async(abs, "x")
    several.wait(PATIENCE)
    assert [data["status"] for data in several.metadata] == ["error"] * 2
    running = rc[0].apply_async(through, gate)
    gate.await_one(None)
    aborted = rc[0].apply_async(abs, -1)
    aborted.abort()
    aborted.wait(PATIENCE)
    assert aborted.metadata["status"] == "aborted" and aborted.metadata["started"] is None
    mixed = rc[1].map_async(abs, [1])
    items = rc.load_balanced_view([1]).map_async(abs, [1, "x", 2])
    assert rc.wait([mixed, items], PATIENCE)
    assert [data["status"] for data in items.metadata] == ["ok", "error", "ok"]
    gate.open()
    running.wait(PATIENCE)


def test_K5_stdout_and_stderr(rc: Client) -> None:
    silent, loud = rc[0].apply_async(abs, -1), rc[0].apply_async(tell, 7)
    assert rc.wait([silent, loud], PATIENCE)
    assert silent.metadata["stdout"] == silent.metadata["stderr"] == ""
    assert loud.metadata["stdout"] == loud.stdout == "told 7\n"
    assert loud.metadata["stderr"] == loud.stderr == "warned 7\n"


def test_K5_a_task_has_its_own_text_also_in_a_map(rc: Client) -> None:
    result = rc.load_balanced_view().map_async(tell, range(6), chunksize=1)
    assert result.get(PATIENCE) == list(range(6))
    assert [data["stdout"] for data in result.metadata] == [f"told {n}\n" for n in range(6)]
    assert [data["stderr"] for data in result.metadata] == [f"warned {n}\n" for n in range(6)]
    assert sorted(result.stdout.splitlines()) == [f"told {n}" for n in range(6)]


def test_K6_times_follow_each_other(rc: Client) -> None:
    lview = rc.load_balanced_view()
    results = [view.apply_async(abs, -1) for view in (rc[0], rc[:], lview)]
    results += [rc[:].map_async(abs, range(9)), lview.map_async(abs, range(9)), rc[0].apply_async(abs, "x")]
    assert rc.wait(results, PATIENCE)
    for result in results:
        told = result.metadata
        for data in told if isinstance(told, list) else [told]:
            moments = [data[name] for name in TIMES]
            assert moments == sorted(moments)


def test_K7_one_dict_for_one_target_a_list_for_several(rc: Client) -> None:
    single = [rc[0].apply_async(abs, -1), rc.load_balanced_view().apply_async(abs, -1)]
    several = [rc[:].apply_async(abs, -1), rc[[0]].apply_async(abs, -1), rc.load_balanced_view().map_async(abs, [1])]
    assert rc.wait(single + several, PATIENCE)
    assert [type(result.metadata) for result in single] == [dict] * 2
    assert [type(result.metadata) for result in several] == [list] * 3
    assert [data["engine_id"] for data in several[0].metadata] == [0, 1]
    assert len(several[1].metadata) == len(several[2].metadata) == 1


# O. Sends --------------------------------------------------------------------------------------------------


def test_O6_the_track_flag(rc: Client) -> None:
    for view in (rc[0], rc[:], rc.load_balanced_view()):
        assert view.track is False
        with view.temp_flags(track=True):
            result = view.apply_async(len, b"x" * 10**6)
            assert result.wait_on_send(PATIENCE) is True and result.sent is True
        assert view.track is False
        result.get(PATIENCE)
    dview = rc[:]
    assert dview.push({"tracked": b"x" * 10**6}, track=True).wait_on_send(PATIENCE)
    assert dview.scatter("tracked", b"x" * 10**6, track=True).wait_on_send(PATIENCE)
    assert rc.send_apply_request(len, ["abc"], track=True, block=False).wait_on_send(PATIENCE)
    assert rc.wait(timeout=PATIENCE)


def test_O7_sent_means_something_without_the_flag(rc: Client) -> None:
    data = bytearray(b"a" * 10**6)
    for view in (rc[0], rc[:], rc.load_balanced_view()):
        data[:] = b"a" * len(data)
        result = view.apply_async(bytes.count, Copied(data), b"a")
        assert result.wait_on_send(PATIENCE)
        data[:] = b"b" * len(data)
        assert result.get(PATIENCE) in (len(data), [len(data)] * 2)


class Copied:
    """Arrives as bytes."""

    def __init__(self, data: bytearray) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        return bytes, (bytes(self.data),)


def test_O8_an_array_may_be_written_to_once_it_was_sent(rc: Client) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.ones((1024, 1024))
    result = rc[:].apply_async(lambda x: 2 * x, array)
    assert result.wait_on_send(PATIENCE) is True and result.sent is True
    array[:] = 7
    for doubled in result.get(PATIENCE):
        assert doubled.shape == (1024, 1024) and (doubled == 2).all()


# The issue: values by engine -----------------------------------------------------------------------------------


def test_get_dict_and_result_dict(rc: Client) -> None:
    pids = {id: rc[id].apply_sync(os.getpid) for id in rc.ids}
    result = rc[:].apply_async(os.getpid)
    assert result.get_dict() == result.get_dict(timeout=PATIENCE) == result.result_dict == pids
    assert rc[1].apply_async(os.getpid).result_dict == {1: pids[1]}
    assert list(rc[1, 0].apply_async(os.getpid).get_dict()) == [1, 0]


def test_get_dict_of_what_came_twice_from_an_engine(rc: Client) -> None:
    many = rc.load_balanced_view([0]).map_async(abs, [1, 2], chunksize=1)
    with pytest.raises(ValueError, match="more than one"):
        many.get_dict(PATIENCE)
    twice = rc[0].apply_async(abs, -1).join(rc[0].apply_async(abs, -2))
    with pytest.raises(ValueError, match="more than one"):
        twice.get_dict(PATIENCE)
    assert rc[:].map_async(abs, range(5)).get_dict(PATIENCE) == {0: [0, 1, 2], 1: [3, 4]}, "each gave one list"
    with pytest.raises(CompositeError):
        rc[:].apply_async(fail, ValueError()).get_dict(PATIENCE)


# The issue: abort ----------------------------------------------------------------------------------------------


def test_abort_of_a_map_stops_its_feed(rc: Client, gate: Gate) -> None:
    lview = rc.load_balanced_view()
    result = lview.map_async(through, [gate] * 2000, range(2000), chunksize=1)
    until(lambda: len(gate.arrived()) == 2)
    running = [int(name) for name in gate.arrived()]
    result.cancel()
    gate.open()
    error = caught(result, CompositeError)
    assert [error.results[number] for number in running] == running, "what runs goes on"
    aborted = [each for number, each in enumerate(error.results) if each != number]
    assert {type(each) for each in aborted} == {TaskAborted} and len(error.results) == 2000
    assert len(aborted) > 1000 and rc[:].apply_sync(abs, -1) == [1, 1]


def test_abort_of_what_has_ended_changes_nothing(rc: Client) -> None:
    for view in (rc[0], rc[:], rc.load_balanced_view()):
        result = view.apply_async(abs, -1)
        value = result.get(PATIENCE)
        result.abort()
        assert rc[:].apply_sync(abs, -1) == [1, 1]
        assert result.get() == value and result.successful()


# The issue: how far, how long ------------------------------------------------------------------------------------


def test_progress(rc: Client, gate: Gate) -> None:
    lview = rc.load_balanced_view()
    result = lview.map_async(hold_the_first, [gate] * 9, range(9), chunksize=1)
    gate.await_one(0)
    until(lambda: result.progress == 8)
    assert len(result) == 9 and not result.ready()
    single = lview.apply_async(abs, -1)
    single.wait(PATIENCE)
    assert single.progress == len(single) == 1
    both = rc[:].apply_async(through, gate)
    assert len(both) == 2
    gate.open()
    both.wait(PATIENCE)
    assert both.progress == 2
    for view in (lview, rc[:]):
        mapped = view.map_async(abs, range(7))
        mapped.wait(PATIENCE)
        assert mapped.progress == len(mapped) == 7, "items, not tasks"
        failed = view.map_async(abs, [1, "x", threading.Lock()] if view is lview else [1, "x", 3])
        failed.wait(PATIENCE)
        assert failed.progress == len(failed) == 3, "what failed has ended, too"


def test_times(rc: Client, gate: Gate) -> None:
    lview = rc.load_balanced_view()
    pending = rc[0].apply_async(through, gate)
    first = pending.elapsed
    assert 0 <= first < pending.elapsed and 0 < pending.wall_time, "it goes on"
    assert pending.serial_time == 0 and pending.speedup == 0 and pending.timeline == []
    gate.open()
    results = [pending, rc[:].apply_async(time.sleep, 0.01), lview.map_async(time.sleep, [0.01] * 4)]
    assert rc.wait(results, PATIENCE)
    for result in results:
        told = result.metadata if isinstance(result.metadata, list) else [result.metadata]
        spent = sum((data["completed"] - data["started"]).total_seconds() for data in told)
        assert result.serial_time == pytest.approx(spent, abs=1e-4) and result.serial_time > 0
        whole = max(data["received"] for data in told) - min(data["submitted"] for data in told)
        assert result.elapsed == result.wall_time == pytest.approx(whole.total_seconds(), abs=1e-4)
        assert result.speedup == pytest.approx(result.serial_time / result.wall_time)
    assert results[1].serial_time >= 0.02 and results[2].serial_time >= 0.04


def test_timeline(rc: Client) -> None:
    result = rc.load_balanced_view().map_async(time.sleep, [0.01] * 6, chunksize=1)
    result.wait(PATIENCE)
    lines = result.timeline
    assert len(lines) == 6 and sorted(line["msg_id"] for line in lines) == sorted(result.msg_ids)
    assert [line["started"] for line in lines] == sorted(line["started"] for line in lines)
    for line in lines:
        assert line["engine_id"] in rc.ids and line["items"] == 1
        assert 0 <= line["started"] < line["completed"] <= result.wall_time + 1e-6
    for id in rc.ids:  # no engine does two things at once
        own = [line for line in lines if line["engine_id"] == id]
        assert all(one["completed"] <= other["started"] + 1e-6 for one, other in zip(own, own[1:], strict=False))


def test_wait_interactive(rc: Client, gate: Gate) -> None:
    result = rc.load_balanced_view().map_async(hold_the_first, [gate] * 8, range(8), chunksize=1)
    gate.await_one(0)
    until(lambda: result.progress == 7)
    shown = io.StringIO()
    assert result.wait_interactive(interval=0.01, timeout=0.03, file=shown) is False
    assert "7/8" in shown.getvalue()
    gate.open()
    shown = io.StringIO()
    assert result.wait_interactive(0.01, PATIENCE, shown) is True
    assert "8/8" in shown.getvalue()
    for other in (rc[:].apply_async(abs, -1), rc[0].apply_async(fail, ValueError())):
        shown = io.StringIO()
        assert other.wait_interactive(timeout=PATIENCE, file=shown) is True, "it raises nothing of the tasks'"
        assert f"{len(other)}/{len(other)}" in shown.getvalue()
    for interval in (0, -1):
        with pytest.raises(ValueError, match="interval"):
            result.wait_interactive(interval)


# The issue: iteration, split and join ----------------------------------------------------------------------------


def test_iteration_gives_results_as_they_arrive(rc: Client, tmp_path: Path) -> None:
    with Gate(tmp_path) as gate:
        values = iter(rc.load_balanced_view().map_async(hold_the_last, [gate] * 5, range(5), [4] * 5, chunksize=1))
        assert [next(values) for _ in range(4)] == [0, 1, 2, 3]
        gate.open()
        assert list(values) == [4]
    direct = rc[:].apply_async(abs, -1)
    assert list(direct) == list(direct) == [1, 1] and list(rc[0].apply_async(abs, -1)) == [1]


def hold_the_last(gate: Gate, number: int, last: int) -> int:
    if number == last:
        gate.arrive(number)
    return number


def test_iteration_over_the_engines_of_a_call(rc: Client, gate: Gate) -> None:
    second = rc[1].apply_async(through, gate, "second")
    values = iter(rc[0].apply_async(abs, -1).join(second))
    assert next(values) == 1 and not second.ready()
    gate.open()
    assert list(values) == ["second"]


def test_iteration_as_they_come(rc: Client, gate: Gate) -> None:
    result = rc.load_balanced_view().map_async(hold_the_first, [gate] * 5, range(5), ordered=False, chunksize=1)
    values = iter(result)
    assert sorted(next(values) for _ in range(4)) == [1, 2, 3, 4]
    gate.open()
    assert list(values) == [0]
    assert result.get(PATIENCE) == list(range(5)) and sorted(result) == list(range(5))


def test_split_and_join(rc: Client) -> None:
    whole = rc[:].apply_async(os.getpid)
    parts = whole.split()
    assert [part.get(PATIENCE) for part in parts] == whole.get(PATIENCE)
    assert [part.msg_ids[0] for part in parts] == whole.msg_ids
    joined = parts[1].join(parts[0])
    assert joined.get(PATIENCE) == whole.get()[::-1] and joined.ready() and joined.successful()
    assert joined.msg_ids == whole.msg_ids[::-1] and len(joined) == 2
    single = rc[0].apply_async(abs, -1)
    assert single.split() == [single] and single.join().get(PATIENCE) == [1]
    assert single.join(whole, single).get(PATIENCE) == [1, whole.get(), 1]


def test_split_of_a_map_gives_its_tasks(rc: Client) -> None:
    result = rc.load_balanced_view().map_async(abs, range(10), chunksize=4)
    parts = result.split()
    assert [part.get(PATIENCE) for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [name for part in parts for name in part.msg_ids] == result.msg_ids
    assert result.get(PATIENCE) == list(range(10)) and [part.get() for part in parts][-1] == [8, 9]


def test_split_of_a_map_that_runs(rc: Client, gate: Gate) -> None:
    lview = rc.load_balanced_view()
    result = lview.map_async(hold_the_first, [gate] * 6, [5, 0, 5, 5, 5, "x"], chunksize=2)
    parts = result.split()
    called: list[AsyncResult] = []
    for part in parts:
        part.add_done_callback(called.append)
    assert parts[1].get(PATIENCE) == [5, 5] and parts[2].future().result(PATIENCE) == [5, "x"]
    assert not parts[0].ready() and not result.ready() and parts[0].progress == 0 and parts[1].progress == 2
    with pytest.raises(ResultTimeout):
        parts[0].get(0.01)
    gate.open()
    assert parts[0].get(PATIENCE) == [5, 0] and result.get(PATIENCE) == [5, 0, 5, 5, 5, "x"]
    until(lambda: len(called) == 3)
    assert {id(part) for part in called} == {id(part) for part in parts}
    told = lview.map_async(tell, range(4), chunksize=2)
    told.wait(PATIENCE)
    assert [part.stdout for part in told.split()] == ["told 0\ntold 1\n", "told 2\ntold 3\n"]
    assert [part.metadata[0]["stdout"] for part in told.split()] == ["told 0\ntold 1\n", "told 2\ntold 3\n"]
    failing = lview.map_async(abs, [1, "x", 3, 4], chunksize=2)
    bad, good = failing.split()
    assert isinstance(caught(bad, CompositeError).exceptions[0], TypeError) and good.get(PATIENCE) == [3, 4]
    assert not bad.successful() and good.successful()


def test_join_of_failures(rc: Client) -> None:
    good, bad = rc[0].apply_async(abs, -1), rc[1].apply_async(fail, KeyError("k"))
    joined = good.join(bad)
    error = caught(joined, CompositeError)
    assert error.results[0] == 1 and isinstance(error.results[1], KeyError) and len(error.elist) == 1
    assert not joined.successful() and joined.get(return_exceptions=True)[0] == 1


def test_join_wants_results_of_one_client(rc: Client) -> None:
    with Pool(1) as other:
        with pytest.raises(ValueError, match="client"):
            rc[0].apply_async(abs, -1).join(other.client[0].apply_async(abs, -1))
    other.join()
    assert rc.wait(timeout=PATIENCE)


# The issue: callbacks, await, futures ------------------------------------------------------------------------------


def test_done_callbacks(rc: Client, gate: Gate) -> None:
    results = list(views_results(rc, gate).values())
    called: list[Any] = []
    for result in results:
        result.add_done_callback(called.append)
        result.add_done_callback(called.append)
    assert not called
    gate.open()
    until(lambda: len(called) == 2 * len(results))
    assert {id(each) for each in called} == {id(each) for each in results}
    called.clear()
    results[0].add_done_callback(called.append)
    assert called == [results[0]], "at once where it has ended"


def test_done_callbacks_may_call_views(rc: Client) -> None:
    values: list[Any] = []
    first = rc[0].apply_async(abs, -1)
    first.add_done_callback(lambda result: values.append(rc[:].apply_sync(abs, -result.get() - 1)))
    until(lambda: values)
    assert values == [[2, 2]]


def test_a_callback_that_raises_is_told_and_the_next_one_runs(rc: Client, gate: Gate) -> None:
    told: list[Any] = []
    called = threading.Event()
    hook, threading.excepthook = threading.excepthook, lambda args: told.append(args.exc_value)
    try:
        for result in (rc[0].apply_async(through, gate), rc[:].apply_async(through, gate)):
            result.add_done_callback(lambda _: 1 / 0)
            result.add_done_callback(lambda _: called.set())
        gate.open()
        assert called.wait(PATIENCE)
        until(lambda: len(told) == 2)
    finally:
        threading.excepthook = hook
    assert [type(error) for error in told] == [ZeroDivisionError] * 2
    assert rc[:].apply_sync(abs, -1) == [1, 1]


def test_await(rc: Client) -> None:
    lview = rc.load_balanced_view()

    async def main() -> list[Any]:
        got = [await rc[0].apply_async(abs, -1), await rc[:].apply_async(abs, -2), await lview.map_async(abs, [-3, 4])]
        one = lview.apply_async(abs, -5)
        got.append([await one, await one])
        got.append(await asyncio.gather(*(lview.apply_async(abs, -n) for n in range(20)), rc[:].apply_async(abs, -6)))
        got.append(await asyncio.gather(rc[0].apply_async(fail, KeyError("k")), one, return_exceptions=True))
        return got

    values = asyncio.run(main())
    assert values[:4] == [1, [2, 2], [3, 4], [5, 5]]
    assert values[4] == [*range(20), [6, 6]]
    assert isinstance(values[5][0], KeyError) and isinstance(values[5][0], RemoteError) and values[5][1] == 5


def test_await_raises(rc: Client) -> None:
    async def main(result: AsyncResult) -> None:
        await result

    with pytest.raises(KeyError):
        asyncio.run(main(rc[0].apply_async(fail, KeyError("k"))))
    with pytest.raises(CompositeError):
        asyncio.run(main(rc[:].apply_async(fail, KeyError("k"))))
    for odd in (StopIteration(1), SystemExit(2), asyncio.CancelledError(), KeyboardInterrupt()):
        with pytest.raises(RemoteError) as info:
            asyncio.run(main(rc[0].apply_async(fail, odd)))
        assert info.value.ename == type(odd).__name__


def test_await_lets_the_event_loop_run(rc: Client, gate: Gate) -> None:
    async def main() -> list[Any]:
        result = rc[0].apply_async(through, gate, "through")

        async def waiting() -> Any:
            return await result

        task = asyncio.ensure_future(waiting())
        while not gate.has("through"):
            await asyncio.sleep(0)
        assert not task.done()
        gate.open()
        return [await asyncio.wait_for(task, PATIENCE)]

    assert asyncio.run(main()) == ["through"]


def test_cancelling_what_awaits_aborts_what_has_not_begun(rc: Client, gate: Gate) -> None:
    running = rc[0].apply_async(through, gate)
    gate.await_one(None)
    waiting = rc[0].apply_async(abs, -1)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting, 0.01)

    asyncio.run(main())
    assert type(caught(waiting)) is TaskAborted
    gate.open()
    assert running.get(PATIENCE) is None


def test_concurrent_futures_wait(rc: Client, gate: Gate) -> None:
    quick, slow = rc[1].apply_async(abs, -1), rc[0].apply_async(through, gate, "slow")
    bad = rc[1].apply_async(fail, KeyError("k"))
    futures = {result.future(): result for result in (quick, slow, bad)}
    done, pending = concurrent.futures.wait(futures, PATIENCE, concurrent.futures.FIRST_COMPLETED)
    assert slow not in {futures[each] for each in done} and slow in {futures[each] for each in pending}
    done, _ = concurrent.futures.wait(futures, PATIENCE, concurrent.futures.FIRST_EXCEPTION)
    assert bad in {futures[each] for each in done}
    gate.open()
    done, pending = concurrent.futures.wait(futures, PATIENCE)
    assert len(done) == 3 and not pending
    ended = [futures[each] for each in concurrent.futures.as_completed(futures, PATIENCE)]
    assert {id(each) for each in ended} == {id(each) for each in (quick, slow, bad)}


def test_concurrent_futures_of_other_executors_beside_ours(rc: Client) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        futures = [threads.submit(abs, -1), rc[0].apply_async(abs, -2).future(), rc[:].apply_async(abs, -3).future()]
        assert [future.result(PATIENCE) for future in futures] == [1, 2, [3, 3]]
        assert not concurrent.futures.wait(futures, PATIENCE).not_done


def test_cancelling_a_future(rc: Client, gate: Gate) -> None:
    running = rc[0].apply_async(through, gate)
    gate.await_one(None)
    waiting = rc[0].apply_async(abs, -1)
    future = waiting.future()
    assert future.cancel() and future.cancelled()
    assert type(caught(waiting)) is TaskAborted
    gate.open()
    assert running.future().result(PATIENCE) is None and not running.future().cancel()


# The issue: exceptions as values, and many threads -----------------------------------------------------------------


def test_return_exceptions(rc: Client) -> None:
    lview = rc.load_balanced_view()
    error = rc[0].apply_async(fail, KeyError("k")).get(PATIENCE, return_exceptions=True)
    assert isinstance(error, KeyError) and isinstance(error, RemoteError)
    both = rc[:].apply_async(fail_on_first, rc[0].apply_sync(os.getpid)).get(PATIENCE, return_exceptions=True)
    assert isinstance(both[0], KeyError) and both[1] == "fine"
    for options in ({}, {"chunksize": 1}):
        values = lview.map_async(abs, [-1, "x", -3], **options).get(PATIENCE, return_exceptions=True)
        assert values[0] == 1 and isinstance(values[1], TypeError) and values[2] == 3
    assert lview.apply_async(abs, -1).get(PATIENCE, True) == 1
    odd = rc[0].apply_async(fail, SystemExit(3)).get(return_exceptions=True)
    assert isinstance(odd, RemoteError) and odd.ename == "SystemExit"


def fail_on_first(pid: int) -> str:
    if os.getpid() == pid:
        raise KeyError("k")
    return "fine"


@pytest.mark.parametrize("dist", ["b", "r"])
def test_return_exceptions_has_the_shape_of_get(rc: Client, dist: str) -> None:
    dview, lview = rc[:], rc.load_balanced_view()
    dview.scatter("shaped", range(7), dist, block=True)
    for result in (
        dview.map_async(abs, range(-7, 0), dist=dist),
        dview.gather("shaped", dist),
        lview.map_async(abs, range(7)),
        lview.map_async(abs, range(7), ordered=False),
        dview.map_async(abs, []),
        lview.map_async(abs, []),
    ):
        assert result.get(PATIENCE, return_exceptions=True) == result.get() == result.get(return_exceptions=True)
        assert sorted(result) == sorted(result.get())
    values = dview.map_async(abs, [-1, -2, -3, "x"]).get(PATIENCE, return_exceptions=True)
    assert len(values) == 4 and values[:2] == [1, 2], "each item has its place"
    assert isinstance(values[3], TypeError)


def test_return_exceptions_of_values_that_cannot_be_opened(rc: Client) -> None:
    lview = rc.load_balanced_view()
    assert isinstance(rc[0].apply_async(only_there, 1).get(PATIENCE, return_exceptions=True), LookupError)
    for result in (
        lview.map_async(only_there, range(3), chunksize=1),
        lview.map_async(only_there, range(3), ordered=False),
        lview.apply_async(only_there, 0).join(lview.apply_async(only_there, 1), lview.apply_async(only_there, 2)),
    ):
        values = result.get(PATIENCE, return_exceptions=True)
        assert values[0] == 0 and isinstance(values[1], LookupError) and values[2] == 2


def test_many_threads_wait_on_one_result(rc: Client, gate: Gate) -> None:
    results = list(views_results(rc, gate).values())
    results.append(rc[0].apply_async(fail_through, gate, KeyError("k")))
    with concurrent.futures.ThreadPoolExecutor(8 * len(results)) as threads:
        waiting = [[threads.submit(result.get, PATIENCE, True) for _ in range(8)] for result in results]
        assert not any(future.done() for futures in waiting for future in futures)
        gate.open()
        for futures, result in zip(waiting, results, strict=True):
            values = [future.result(PATIENCE) for future in futures]
            assert all(value == values[0] for value in values), result
    assert isinstance(values[0], KeyError)


def test_many_threads_get_the_same_object(rc: Client) -> None:
    for _ in range(20):
        result = rc[0].apply_async(list, range(50))
        barrier = threading.Barrier(6)

        def get(result: AsyncResult = result, barrier: threading.Barrier = barrier) -> Any:
            barrier.wait(PATIENCE)
            return result.get(PATIENCE)

        with concurrent.futures.ThreadPoolExecutor(6) as threads:
            values = [future.result() for future in [threads.submit(get) for _ in range(6)]]
        assert all(value is values[0] for value in values)


def test_many_threads_submit_and_wait_each_for_its_own(rc: Client) -> None:
    lview = rc.load_balanced_view()

    def work(number: int) -> list[Any]:
        return [lview.apply_sync(abs, -number), rc[:].apply_sync(abs, -number), lview.map_sync(abs, [number] * 3)]

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        values = list(threads.map(work, range(48)))
    assert values == [[n, [n, n], [n] * 3] for n in range(48)]


def test_many_threads_submit_while_others_look(rc: Client) -> None:
    lview = rc.load_balanced_view()
    ended = threading.Event()

    def submit() -> None:
        for _ in range(300):
            lview.map_async(abs, range(3))
            lview.apply_async(abs, -1)

    def look() -> None:
        while not ended.is_set():
            assert rc.outstanding is not None and rc.history is not None
            rc.wait(timeout=0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            looking = [threads.submit(look) for _ in range(2)]
            try:
                for future in [threads.submit(submit) for _ in range(2)]:
                    future.result(PATIENCE)
            finally:
                ended.set()
            for future in looking:
                future.result(PATIENCE)
    finally:
        sys.setswitchinterval(interval)
    assert rc.wait(timeout=PATIENCE)


# The issue: what tasks print ---------------------------------------------------------------------------------------


def test_output_is_there_while_the_task_runs(rc: Client, gate: Gate) -> None:
    result = rc[0].apply_async(tell_and_wait, gate, "before")
    until(lambda: result.stdout == "before\n" and result.stderr == "BEFORE\n")
    assert not result.ready() and result.metadata["stdout"] == "before\n"
    assert result.metadata["engine_id"] in (None, 0)
    gate.open()
    assert result.get(PATIENCE) == "before" and result.stdout == "before\nafter\n"


def test_output_of_several_engines_while_they_run(rc: Client, gate: Gate) -> None:
    result = rc[:].apply_async(tell_engine, gate, "text")
    until(lambda: result.stdout == ["text\n", "text\n"])
    assert not result.ready()
    gate.open()
    result.wait(PATIENCE)
    assert result.stdout == ["text\ntext again\n"] * 2 and result.stderr == ["", ""]


def test_output_of_a_failing_task_is_kept(rc: Client) -> None:
    result = rc[0].apply_async(print_and_fail)
    assert isinstance(caught(result), ZeroDivisionError)
    assert result.stdout == "not in vain"


def print_and_fail() -> None:
    sys.stdout.write("not in vain")
    raise ZeroDivisionError


def test_display_outputs(rc: Client, capsys: pytest.CaptureFixture[str]) -> None:
    result = rc[:].apply_async(tell, 5)
    result.wait(PATIENCE)
    result.display_outputs()
    shown = capsys.readouterr()
    assert shown.out == "[stdout:0] told 5\n[stdout:1] told 5\n"
    assert shown.err == "[stderr:0] warned 5\n[stderr:1] warned 5\n"
    rc[0].apply_async(abs, -1).display_outputs()
    assert capsys.readouterr() == ("", "")


def test_display_outputs_of_execute_shows_the_value(rc: Client, capsys: pytest.CaptureFixture[str]) -> None:
    result = rc[:].execute("print('said'); 6 * 7")
    result.wait(PATIENCE)
    result.display_outputs()
    shown = capsys.readouterr().out
    for id in rc.ids:
        assert f"[stdout:{id}] said" in shown and f"Out[{id}:" in shown
    assert shown.count(": 42\n") == 2


def test_display_outputs_of_a_map_names_the_right_engines(
    rc: Client, gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    result = both_engines_print(rc, gate)
    gate.open()
    pids = result.get(PATIENCE)
    result.display_outputs()
    shown = capsys.readouterr().out
    for id, lines in by_engine(rc, shown, "[stdout:").items():
        assert lines == {f"from {pid}" for pid in pids if pid == rc[id].apply_sync(os.getpid)}


def both_engines_print(rc: Client, gate: Gate) -> AsyncResult:
    """A map in which each engine prints the same line as the other, in turns, under its own process's number."""
    result = rc.load_balanced_view().map_async(print_pid, [gate] * 2, [0, 1], chunksize=1)
    gate.await_one(0)
    gate.await_one(1)
    return result


def print_pid(gate: Gate, number: int) -> int:
    print("from", os.getpid())
    gate.arrive(number)
    return os.getpid()


def by_engine(rc: Client, shown: str, before: str) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {id: set() for id in rc.ids}
    for line in shown.splitlines():
        assert line.startswith(before), line
        id, _, text = line.removeprefix(before).partition("] ")
        found[int(id)].add(text)
    return found


def test_stream_output(rc: Client, gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    result = rc[1].apply_async(tell_and_wait, gate, "first")
    until(lambda: result.stdout)
    shown: list[str] = []
    with result.stream_output() as streamed:
        assert streamed is result
        until(lambda: shown.append(capsys.readouterr().out) or "[1] first\n" in "".join(shown))
        assert not result.ready(), "it comes while the task runs"
        gate.open()
        result.wait(PATIENCE)
    shown.append(capsys.readouterr().out)
    assert "".join(shown) == "[1] first\n[1] after\n"
    with result.stream_output():
        pass
    assert capsys.readouterr().out == "[1] first\n[1] after\n", "also what came before"


def test_stream_output_of_several_engines_is_tagged(rc: Client, gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    result = rc[:].apply_async(tell_engine, gate, "text")
    with result.stream_output():
        until(lambda: result.stdout == ["text\n", "text\n"])
        gate.open()
        result.wait(PATIENCE)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == ["[0] text", "[0] text again", "[1] text", "[1] text again"]


def test_stream_output_of_a_map_is_tagged(rc: Client, gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    result = both_engines_print(rc, gate)
    with result.stream_output():
        gate.open()
        pids = result.get(PATIENCE)
    for id, lines in by_engine(rc, capsys.readouterr().out, "[").items():
        assert lines == {f"from {pid}" for pid in pids if pid == rc[id].apply_sync(os.getpid)}


def test_stream_output_ends_lines_that_are_in_the_way_of_others(
    rc: Client, gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    result = rc[:].apply_async(tell_half, gate)
    with result.stream_output():
        until(lambda: result.stdout == ["half", "half"])
        gate.open()
        result.wait(PATIENCE)
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    for id in rc.ids:
        own = [line.removeprefix(f"[{id}] ") for line in lines if line.startswith(f"[{id}] ")]
        assert "".join(own) == "half a line" and len(own) in (1, 2)
    assert len(lines) <= 4 and shown.err == "" and shown.out.endswith("\n")


def tell_half(gate: Gate) -> None:
    print("half", end="", flush=True)
    gate.arrive(os.getpid())
    print(" a line", end="")


def test_stream_output_ends_with_its_block(rc: Client, gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    result = rc[0].apply_async(tell_and_wait, gate, "first")
    with result.stream_output():
        until(lambda: result.stdout)
    gate.open()
    result.wait(PATIENCE)
    assert capsys.readouterr().out == "[0] first\n" and result.stdout == "first\nafter\n"


def test_output_of_imap_harms_nothing(rc: Client) -> None:
    lview = rc.load_balanced_view()
    assert list(lview.imap(tell, range(5))) == list(range(5))
    assert sorted(lview.imap(tell, range(5), ordered=False)) == list(range(5))
    assert list(lview.imap(tell, iter(range(5)), chunksize=2)) == list(range(5))
    assert list(rc[:].imap(tell, range(5))) == list(range(5))
    assert rc[:].apply_sync(abs, -1) == [1, 1]


# The issue: small things -------------------------------------------------------------------------------------------


def test_repr_says_the_state(rc: Client, gate: Gate) -> None:
    result = rc[0].apply_async(through, gate)
    assert "through" in repr(result) and "pending" in repr(result)
    gate.open()
    result.wait(PATIENCE)
    assert "ready" in repr(result)
    failed = rc[:].apply_async(fail, ValueError())
    failed.wait(PATIENCE)
    assert "failed" in repr(failed)


def test_results_outlive_the_pool(capsys: pytest.CaptureFixture[str]) -> None:
    with Pool(1) as pool:
        rc = pool.client
        results: list[Callable[[], Any]] = [
            rc[0].apply_async(abs, -1).get,
            rc[:].apply_async(abs, -1).get,
            rc.load_balanced_view().map_async(abs, range(5)).get,
        ]
        assert rc.wait(timeout=PATIENCE)
        told = rc[0].apply_async(tell, 3)
        told.wait(PATIENCE)
        pending = rc[0].apply_async(time.sleep, 60)
    pool.join()
    with told.stream_output():
        told.display_outputs()
    shown = capsys.readouterr()
    assert shown == ("[0] told 3\n[stdout:0] told 3\n", "[0] warned 3\n[stderr:0] warned 3\n")
    assert [get() for get in results] == [1, [1], list(range(5))]
    assert type(caught(pending)) is TaskAborted
