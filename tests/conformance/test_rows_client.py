"""The mission's rows of the client: B, D, P, Q and R, as far as a Pool's own client has them."""

from __future__ import annotations

import gc
import inspect
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rows import PATIENCE, Gate, fail, through, until, warm_pool

import parpool
from parpool import (
    AsyncResult,
    Client,
    CompositeError,
    DirectView,
    EngineLost,
    ForkedError,
    LoadBalancedView,
    NoEngines,
    Pool,
    RemoteError,
    TaskAborted,
)
from parpool.client import records

ENGINES = 4


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with warm_pool(ENGINES) as made:
        yield made


@pytest.fixture
def rc(pool: Pool) -> Client:
    client = pool.client
    client.clear()
    client.purge_results()
    return client


@pytest.fixture
def own() -> Iterator[Client]:
    """The client of a pool that the test may do with as it likes."""
    with warm_pool(3) as made:
        yield made.client


def same(value: Any) -> Any:
    return value


def where() -> int:
    return os.getpid()


def die(status: int = 3) -> None:
    os._exit(status)


def unless(pid: int, value: Any) -> Any:
    """Ends the process of this number."""
    if os.getpid() == pid:
        os._exit(4)
    return value


def interrupted(folder: str) -> str:
    """Says that it is there, and waits until it is interrupted."""
    path = Path(folder, f"runs-{os.getpid()}")
    try:
        path.touch()
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        return "interrupted"


def pids(client: Client) -> dict[Any, int]:
    return {id: told["pid"] for id, told in client.queue_status(verbose=True).items() if id != "unassigned"}


# B: Client ------------------------------------------------------------------------------------------


def test_B2_the_module_has_the_client(rc: Client) -> None:
    p = parpool
    assert type(rc) is p.Client


def test_B3_one_client_gives_all_views(rc: Client) -> None:
    views = [rc[0], rc[:], rc.direct_view(), rc.load_balanced_view(), rc.view(), rc.view([1, 2])]
    assert all(view.client is rc for view in views)
    assert [type(view) for view in views] == [DirectView] * 3 + [LoadBalancedView] * 2 + [DirectView]


def test_B3_a_pool_has_one_client(pool: Pool) -> None:
    assert pool.client is pool.client


def test_B7_ids(rc: Client) -> None:
    assert rc.ids == [0, 1, 2, 3] and len(rc) == 4
    assert [view.targets for view in rc] == [0, 1, 2, 3]
    rc.ids.append(9)
    assert rc.ids == [0, 1, 2, 3], "the list that is given is the caller's"
    with pytest.raises(AttributeError):
        rc.ids = [0]  # type: ignore[misc]


def test_B7_ids_shrink_and_grow_by_themselves(own: Client) -> None:
    victim = pids(own)[1]
    os.kill(victim, signal.SIGKILL)
    until(lambda: 1 not in own.ids)  # nobody has called anything
    assert own.wait_for_engines(3, PATIENCE)
    assert own.ids == [0, 2, 3] and len(own) == 3
    assert victim not in pids(own).values()


def test_B7_ids_are_none_after_the_end(own: Client) -> None:
    own.close()
    assert own.ids == [] and len(own) == 0 and list(own) == [] and bool(own)


def test_B7_wait_for_engines(own: Client) -> None:
    assert own.wait_for_engines() and own.wait_for_engines(1) and own.wait_for_engines(3, 0)
    own.shutdown(2)
    until(lambda: own.ids == [0, 1])
    with pytest.raises(NoEngines, match="3 engines were asked for, and 2 serve: there are places for 2"):
        own.wait_for_engines(3, PATIENCE)
    own.close()
    with pytest.raises(TaskAborted, match="terminated"):
        own.wait_for_engines(1)


def test_B8_index_access(rc: Client) -> None:
    assert [rc[key].targets for key in (0, 3, -1, -4)] == [0, 3, 3, 0]
    assert rc[0, 1, 2].targets == rc[[0, 1, 2]].targets == [0, 1, 2]
    assert rc[2, 0].targets == [2, 0] and rc[-1, 0].targets == [3, 0]
    assert rc[1:5].targets == [1, 2, 3] and rc[::2].targets == [0, 2] and rc[:].targets == [0, 1, 2, 3]
    assert rc[::-1].targets == [3, 2, 1, 0]
    assert rc[range(2)].targets == [0, 1] and rc[0,].targets == [0]
    pid = [rc[id].apply_sync(where) for id in rc.ids]
    assert len(set(pid)) == 4
    assert rc[3, 1].apply_sync(where) == [pid[3], pid[1]]


def test_B8_ids_of_numpy(rc: Client) -> None:
    numpy = pytest.importorskip("numpy")
    assert rc[numpy.int64(2)] is rc[2]
    assert rc[numpy.arange(2)].targets == [0, 1]
    assert rc.load_balanced_view(numpy.arange(2)).targets == [0, 1]


@pytest.mark.parametrize(
    ("key", "error", "told"),
    [
        (4, IndexError, r"no engine 4: the engines are \[0, 1, 2, 3\]"),
        (-5, IndexError, r"no engine -5: the engines are \[0, 1, 2, 3\]"),
        ((0, 7), IndexError, r"no engine 7: the engines are \[0, 1, 2, 3\]"),
        (slice(4, 9), NoEngines, r"the engines are \[0, 1, 2, 3\]"),
        ((), ValueError, "must name an engine"),
        ((1, 1), ValueError, r"only once: \[1, 1\]"),
        ((3, -1), ValueError, r"only once: \[3, 3\]"),
        ("all", TypeError, "indexed by int, slice, or several ints, not 'all'"),
        (1.0, TypeError, "indexed by int, slice, or several ints, not 1.0"),
        (None, TypeError, "indexed by int, slice, or several ints, not None"),
        (True, TypeError, "indexed by int, slice, or several ints, not True"),
        ((0, "1"), TypeError, "the id of an engine is an int, not '1'"),
    ],
    ids=repr,
)
def test_B8_what_names_no_engine(rc: Client, key: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        rc[key]


def test_B9_load_balanced_over_all(rc: Client) -> None:
    view = rc.load_balanced_view()
    assert type(view) is LoadBalancedView and view.targets is None and view.balanced
    assert repr(view) == "<LoadBalancedView None>"
    assert rc.load_balanced_view("all") is view
    assert set(view.map_sync(through_pid, [0] * 40, chunksize=1)) <= set(rc[:].apply_sync(where))


def through_pid(_: Any) -> int:
    return os.getpid()


def test_B10_load_balanced_over_some(rc: Client) -> None:
    view = rc.load_balanced_view([1, 2, 3])
    assert view.targets == [1, 2, 3] and repr(view) == "<LoadBalancedView [1,2,3]>"
    allowed = set(rc[1:].apply_sync(where))
    assert set(view.map_sync(through_pid, range(60), chunksize=1)) <= allowed
    assert {view.apply_sync(where) for _ in range(20)} <= allowed
    assert rc.load_balanced_view(2).apply_sync(where) == rc[2].apply_sync(where)
    assert rc.load_balanced_view(slice(1, None)).targets == [1, 2, 3]
    with pytest.raises(IndexError, match=r"no engine 9: the engines are \[0, 1, 2, 3\]"):
        rc.load_balanced_view([1, 9])


def test_B11_the_view_method(rc: Client) -> None:
    assert rc.view([0, 1]) is rc[0, 1] and rc.view(2) is rc[2] and rc.view("all") is rc.direct_view()
    assert rc.view() is rc.load_balanced_view()
    assert rc.view([0, 1], balanced=True) is rc.load_balanced_view([0, 1])
    assert rc.view(balanced=False) is rc.direct_view()
    assert rc.view(slice(2)).targets == [0, 1]


def test_B12_the_low_level_door(rc: Client) -> None:
    send = rc.send_apply_request
    assert send(divmod, (7, 3), block=True) == (2, 1)
    assert send(dict, (), {"block": 1, "targets": 2}, targets=0, block=True) == {"block": 1, "targets": 2}
    assert send(same, [5], targets=[2, 0], block=True) == [5, 5]
    assert send(same, [5], targets="all", block=True) == [5] * 4
    result = send(where, targets=[1], balanced=True)
    assert isinstance(result, AsyncResult) and result.get() == rc[1].apply_sync(where)
    after = send(where, after=result, follow=result, timeout=PATIENCE)
    assert after.get() == result.get()
    assert after.metadata["after"] == after.metadata["follow"] == result.msg_ids
    assert rc.send_apply_message == rc.send_apply_request


def test_B12_its_flags_change_no_view(rc: Client) -> None:
    view = rc.load_balanced_view()
    rc.send_apply_request(same, [1], retries=3, task_timeout=5.0, timeout=9.0, block=True)
    assert (view.retries, view.task_timeout, view.timeout, view.block) == (0, None, None, False)


@pytest.mark.parametrize("flag", ["after", "follow", "timeout"])
def test_B12_dependencies_are_for_balanced_calls(rc: Client, flag: str) -> None:
    value: Any = 1.0 if flag == "timeout" else rc[0].apply_async(same, 1)
    with pytest.raises(ValueError, match="load-balanced calls: leave targets away, or balanced=True"):
        rc.send_apply_request(same, [1], targets=0, **{flag: value})


def test_B13_results_arrive_without_polling(rc: Client) -> None:
    result = rc[0].apply_async(same, 1)
    until(result.ready)
    called = threading.Event()
    rc[1].apply_async(same, 2).add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE)


def test_B14_get_result_results_and_metadata(rc: Client) -> None:
    result = rc[0].apply_async(same, "value")
    (msg_id,) = result.msg_ids
    result.wait()
    assert rc.get_result(msg_id) is result
    assert msg_id in rc.history and msg_id in rc.results and msg_id in rc.metadata
    assert rc.metadata[msg_id]["engine_id"] == 0
    assert rc.results[msg_id] == "value"
    several = [rc[n].apply_async(same, n) for n in range(3)]
    assert rc.get_result([each.msg_ids[0] for each in several]).get() == [0, 1, 2]
    assert rc.get_result(rc[:].apply_async(same, 5)).get() == [5] * 4


def test_B14_results_raise_what_the_call_raised(rc: Client) -> None:
    result = rc[0].apply_async(fail, ValueError("of the task"))
    result.wait()
    with pytest.raises(ValueError, match="of the task"):
        rc.results[result.msg_ids[0]]


def test_B14_a_map_is_one_call_by_any_of_its_names(rc: Client) -> None:
    result = rc.load_balanced_view().map_async(same, range(8), chunksize=2)
    names = result.msg_ids
    assert len(names) == 4 and set(names) <= set(rc.history)
    assert rc.get_result(names[2]) is result and rc.get_result(names) is result
    assert rc.get_result(names).get() == list(range(8))


def test_B14_what_nobody_has_read_is_kept(rc: Client) -> None:
    (msg_id,) = rc[0].apply_async(same, "unread").msg_ids
    gc.collect()
    rc.wait(timeout=PATIENCE)
    assert rc.results[msg_id] == "unread"


def test_B14_what_was_read_is_its_owner_s(rc: Client) -> None:
    result = rc[0].apply_async(same, "read")
    (msg_id,) = result.msg_ids
    assert result.get() == rc.results[msg_id] == "read"
    del result
    gc.collect()
    assert msg_id not in rc.results
    with pytest.raises(KeyError, match="its value was read and let go"):
        rc.get_result(msg_id)


def test_B14_caches_are_bounded(rc: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "KEPT", 50)
    view = rc.load_balanced_view()
    for unread in (True, False):
        for number in range(500):
            result = view.apply_async(same, number)
            if not unread:
                result.get()
        rc.wait(timeout=PATIENCE)
        assert len(rc.history) <= 2 * 50 + 1
        rc.purge_results()
        assert not rc.history


def test_B14_caches_are_bounded_by_bytes(rc: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "KEPT_BYTES", 100_000)
    names = [rc[0].apply_async(bytes, 10_000).msg_ids[0] for _ in range(30)]
    rc.wait(timeout=PATIENCE)
    kept = [name for name in names if name in rc.results]
    assert kept and len(kept) <= 11 and kept == names[-len(kept) :], "the oldest go first"


@pytest.mark.parametrize(
    "look",
    [
        lambda rc, name: rc.get_result(name),
        lambda rc, name: rc.results[name],
        lambda rc, name: rc.metadata[name],
        lambda rc, name: rc.wait(name),
        lambda rc, name: rc.abort([name]),
        lambda rc, name: rc.result_status(name),
        lambda rc, name: rc.purge_results(name),
        lambda rc, name: rc[0].get_result(name),
    ],
    ids=["get_result", "results", "metadata", "wait", "abort", "result_status", "purge_results", "view"],
)
def test_B14_unknown_names_are_told_what_exists(rc: Client, look: Callable[[Client, Any], Any]) -> None:
    known = rc[0].apply_async(same, 1)
    known.wait()
    for name in ("nonsense", "", known.msg_ids[0] + "0", "_1"):
        with pytest.raises(KeyError) as caught:
            look(rc, name)
        assert repr(name) in str(caught.value) and known.msg_ids[0] in str(caught.value)


@pytest.mark.parametrize("jobs", [None, 1.5, b"bytes", [None], object()], ids=repr)
def test_B14_what_is_no_call(rc: Client, jobs: Any) -> None:
    for take in (rc.get_result, rc.result_status, rc.purge_results):
        with pytest.raises(TypeError, match="a message id, an AsyncResult, or a collection of them is meant, not"):
            take(jobs)
    with pytest.raises(KeyError):
        rc.results[jobs if isinstance(jobs, float) else 7]  # type: ignore[index]


def test_B14_the_history_by_place(rc: Client) -> None:
    first, last = rc[0].apply_async(same, 1), rc[1].apply_async(same, 2)
    assert rc.get_result(-1) is last and rc.get_result(-2) is first
    with pytest.raises(KeyError, match="the history has 2 calls, and none at 5"):
        rc.get_result(5)
    with pytest.raises(ValueError, match="no result"):
        rc.get_result([])


def test_B15_exceptions_are_exported() -> None:
    for name in ("CompositeError", "RemoteError", "TaskAborted", "AbortedTask", "EngineLost", "NoEngines"):
        assert name in parpool.__all__ and issubclass(getattr(parpool, name), Exception)
    assert parpool.AbortedTask is parpool.TaskAborted and parpool.UnmetDependencyError is parpool.UnmetDependency


def test_B_repr(rc: Client) -> None:
    assert repr(rc) == "<Client: engines [0, 1, 2, 3]>"
    html = rc._repr_html_()
    assert "<b>Client</b> of 4 engines" in html and html.count("<tr>") == 5


def test_B_clients_and_views_stay_here(rc: Client) -> None:
    for thing in (rc, rc[0], rc.load_balanced_view(), rc[0].apply_async(same, 1)):
        with pytest.raises(NotImplementedError, match="cannot be passed between processes or pickled"):
            pickle.dumps(thing)
    with pytest.raises(parpool.SerializationError, match=r"args\[0\]\['view'\].*views cannot be passed"):
        rc[0].apply(same, {"view": rc[0]})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork: POSIX only")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_B_a_forked_child_is_told(rc: Client) -> None:
    view, balanced, result = rc[:], rc.load_balanced_view(), rc[0].apply_async(same, 1)
    result.wait()
    calls: list[Callable[[], Any]] = [
        lambda: view.apply_sync(same, 1),
        lambda: balanced.map_sync(same, [1]),
        lambda: rc[0].execute("1", block=True),
        rc.queue_status,
        rc.interrupt,
        lambda: rc.wait_for_engines(1),
    ]
    child = os.fork()
    if not child:
        status = 1
        try:
            status = sum(not _is_refused(call) for call in calls) * 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert view.apply_sync(same, 1) == [1] * 4


def _is_refused(call: Callable[[], Any]) -> bool:
    try:
        call()
    except ForkedError:
        return True
    return False


# D: DirectView, made and indexed --------------------------------------------------------------------


def test_D1_a_slice_of_the_client_multiplexes(rc: Client) -> None:
    view = rc[1:3]
    assert isinstance(view, DirectView) and view.apply_sync(where) == [rc[1].apply_sync(where), rc[2].apply_sync(where)]


def test_D2_repr_of_one(rc: Client) -> None:
    assert repr(rc[0]) == "<DirectView 0>"


def test_D3_repr_of_several(rc: Client) -> None:
    assert repr(rc[0, 1, 2]) == "<DirectView [0,1,2]>"
    assert repr(rc.direct_view()) == "<DirectView all>"


def test_D4_negative_index(rc: Client) -> None:
    assert repr(rc[-1]) == "<DirectView 3>" and rc[-1] is rc[rc.ids[-1]]


def test_D5_slices_go_to_the_ids(rc: Client) -> None:
    assert repr(rc[::2]) == "<DirectView [0,2]>" and rc[::2] is rc[rc.ids[::2]]


def test_D6_slices_are_fixed_and_all_is_not(own: Client) -> None:
    fixed, all_of_them, last = own[:], own.direct_view(), own[-1]
    own[1].apply_async(die).wait()
    assert own.wait_for_engines(3, PATIENCE)
    assert own.ids == [0, 2, 3]
    assert fixed.targets == [0, 1, 2] and last.targets == 2
    assert all_of_them.targets == "all" and all_of_them.apply_sync(same, 1) == [1] * 3
    assert own[:] is not fixed and own[:].targets == [0, 2, 3] and own[-1].targets == 3
    with pytest.raises(NoEngines, match=r"engine 1 does not serve: the engines are \[0, 2, 3\]"):
        fixed.apply_sync(same, 1)
    with pytest.raises(IndexError, match=r"no engine 1: the engines are \[0, 2, 3\]"):
        own[1]


def test_D7_views_are_cached(rc: Client) -> None:
    v1, v2 = rc.load_balanced_view([1, 2, 3]), rc.load_balanced_view([1, 2, 3])
    assert v2 is v1
    assert rc[0] is rc[0] and rc[:] is rc[0, 1, 2, 3] and rc.direct_view() is rc.direct_view("all")
    assert rc[0] is not rc[0,] and rc[0, 1] is not rc[1, 0], "what they give differs"
    assert rc[0, 1] is not rc.load_balanced_view([0, 1])
    assert [view for view in rc][2] is rc[2]


def test_D7_a_view_keeps_its_flags(rc: Client) -> None:
    rc[1].block = True
    gc.collect()
    assert rc[1].block is True
    rc[1].block = False


def test_D7_many_threads_get_the_same_view(rc: Client) -> None:
    start, made = threading.Barrier(8), []

    def make() -> None:
        for number in range(50):
            start.wait()
            made.append((number, rc.direct_view([0, 2])))

    run_threads([make] * 8)
    assert len(made) == 400 and all(view is rc[0, 2] for _, view in made)


def test_D8_targets_and_balanced_cannot_be_changed(rc: Client) -> None:
    for view in (rc[0], rc[:], rc.load_balanced_view()):
        for name, value in (("targets", [1]), ("balanced", not view.balanced), ("client", None)):
            with pytest.raises(AttributeError, match=f"{name} of a view cannot be changed"):
                setattr(view, name, value)
    several = rc[0, 1]
    several.targets.append(2)
    assert several.targets == [0, 1]


def test_D8_there_are_no_other_flags(rc: Client) -> None:
    with pytest.raises(AttributeError, match="DirectView has no flag 'blok'; there are block, track"):
        rc[0].blok = True  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="DirectView has no flag 'after'"):
        rc[0].after = []  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="LoadBalancedView has no flag 'blok'; there are block, .*after, follow"):
        rc.load_balanced_view().set_flags(blok=True)


def test_D9_one_target_gives_bare_values(rc: Client) -> None:
    e0 = rc[0]
    e0.block = True
    assert e0.apply(same, 5) == 5 and rc[0,].apply_sync(same, 5) == [5]
    e0["a"] = 3
    assert e0["a"] == 3 and e0.pull(["a", "a"]) == [3, 3] and "a" in e0.keys()
    assert e0.push({"b": 1}) is None and e0.scatter("c", range(3)) is None and e0.clear() is None
    with pytest.raises(ZeroDivisionError) as caught:
        e0.map(divmod, [1], [0])
    assert isinstance(caught.value, RemoteError) and not isinstance(caught.value, CompositeError)
    with pytest.raises(NameError, match="'c' is not defined"):
        e0.gather("c")


def test_D10_two_kinds_of_views(rc: Client) -> None:
    from parpool.client.view import View

    assert issubclass(DirectView, View) and issubclass(LoadBalancedView, View)
    assert not rc[0].balanced and rc.load_balanced_view().balanced


def test_D11_each_engine_gets_every_call_in_their_order(rc: Client) -> None:
    view = rc[:]
    view.push({"calls": []}, block=True)
    for number in range(20):
        view.execute(f"calls.append({number})", block=False)
    assert view["calls"] == [list(range(20))] * 4


# P: what the host knows -----------------------------------------------------------------------------


def test_P1_requests_are_synchronous(rc: Client) -> None:
    result = rc[0].apply_async(same, 1)
    for request in (rc.queue_status, rc.result_status, rc.purge_results, rc.get_result):
        assert "block" not in inspect.signature(request).parameters
    assert isinstance(rc.queue_status(), dict) and isinstance(rc.result_status(result), dict)


def test_P2_queue_status(rc: Client, gate: Gate) -> None:
    before = rc.queue_status()
    assert list(before) == [0, 1, 2, 3, "unassigned"] and before["unassigned"] == 0
    held = rc[0].apply_async(through, gate, "held")
    gate.await_one("held")
    behind = [rc[0].apply_async(same, number) for number in range(3)]
    told = until(lambda: (now := rc.queue_status(0))["tasks"] + now["queue"] == 4 and now)
    assert set(told) == {"tasks", "queue", "completed"} and told["tasks"] >= 1
    gate.open()
    rc.wait([held, *behind], PATIENCE)
    after = rc.queue_status()
    assert after[0]["completed"] == before[0]["completed"] + 4
    assert after[0]["tasks"] == after[0]["queue"] == 0
    assert [after[id] for id in (1, 2, 3)] == [before[id] for id in (1, 2, 3)]


def test_P2_what_waits_for_any_engine_is_unassigned(rc: Client, gate: Gate) -> None:
    for id in rc.ids:
        rc[id].apply_async(through, gate, id)
    for id in rc.ids:
        gate.await_one(id)
    waiting = rc.load_balanced_view()
    waiting.after = rc[0].apply_async(same, 1)
    waiting.apply_async(same, 2)
    assert rc.queue_status()["unassigned"] >= 1
    gate.open()
    assert rc.wait(timeout=PATIENCE) and rc.queue_status()["unassigned"] == 0


def test_P2_queue_status_in_words(rc: Client, gate: Gate) -> None:
    held = rc[2].apply_async(through, gate)
    gate.await_one(None)
    told = rc.queue_status(verbose=True)
    assert told[2]["tasks"] == held.msg_ids and told[2]["queue"] == [] and told[1]["tasks"] == []
    assert told[2]["pid"] == rc.queue_status([2], verbose=True)[2]["pid"] != told[1]["pid"]
    assert told[2]["name"] != told[1]["name"] and told[2]["hostname"] == socket.gethostname()


def test_P2_queue_status_of_targets(rc: Client) -> None:
    assert set(rc.queue_status(2)) == {"tasks", "queue", "completed"}
    assert list(rc.queue_status([3, 1])) == [1, 3] and list(rc.queue_status(slice(2))) == [0, 1]
    assert rc[2].queue_status() == rc.queue_status(2)
    assert list(rc[1, 2].queue_status()) == [1, 2] and list(rc[1, 2].queue_status(0)) == list(rc.queue_status(0))
    assert list(rc.load_balanced_view().queue_status()) == [0, 1, 2, 3, "unassigned"]
    with pytest.raises(IndexError, match=r"no engine 9: the engines are \[0, 1, 2, 3\]"):
        rc.queue_status(9)


def test_P3_result_status(rc: Client, gate: Gate) -> None:
    ended, held = rc[0].apply_async(same, 1), rc[1].apply_async(through, gate)
    ended.wait()
    told = rc.result_status([ended, held.msg_ids])
    assert told == {"pending": held.msg_ids, "completed": ended.msg_ids}
    gate.open()
    held.wait()
    assert rc.result_status([*held.msg_ids, ended]) == {"pending": [], "completed": held.msg_ids + ended.msg_ids}


def test_P4_purge_results(rc: Client) -> None:
    first, second, third = (rc[0].apply_async(same, number) for number in range(3))
    rc.wait([first, second, third], PATIENCE)
    rc.purge_results(first)
    rc.purge_results(second.msg_ids)
    assert rc.history == third.msg_ids
    with pytest.raises(KeyError):
        rc.get_result(first.msg_ids)
    assert (first.get(), second.get()) == (0, 1), "whoever has the result still has it"
    rc.purge_results()
    assert rc.history == [] and third.get() == 2 and third.metadata["status"] == "ok"
    assert rc[0].apply_sync(same, 3) == 3
    rc.purge_results(rc.history[-1])
    assert rc.history == [], "also what was read and let go"


def test_P4_what_has_not_ended_is_not_purged(rc: Client, gate: Gate) -> None:
    held, ended = rc[1].apply_async(through, gate), rc[0].apply_async(same, 1)
    ended.wait()
    with pytest.raises(RuntimeError, match=f"have not ended: {held.msg_ids[0]}"):
        rc.purge_results([ended, held])
    assert ended.msg_ids[0] in rc.history, "all or none"
    rc.purge_results("all")
    assert rc.history == held.msg_ids
    gate.open()
    assert held.get(PATIENCE) is None


def test_P4_purging_while_calls_end(rc: Client) -> None:
    done = threading.Event()

    def purge() -> None:
        while not done.is_set():
            rc[0].purge_results()

    def call() -> None:
        try:
            for number in range(200):
                assert rc[0].apply_sync(same, number) == number
        finally:
            done.set()

    run_threads([purge, call])


def test_P5_get_result_of_what_another_view_has_sent(rc: Client) -> None:
    (msg_id,) = rc.load_balanced_view().apply_async(same, "theirs").msg_ids
    assert rc[0].get_result(msg_id).get(PATIENCE) == "theirs"


# Q: control -----------------------------------------------------------------------------------------


def test_Q1_answered_while_tasks_run(rc: Client, gate: Gate) -> None:
    held = [rc[id].apply_async(through, gate, id) for id in rc.ids]
    for id in rc.ids:
        gate.await_one(id)
    assert all(rc.queue_status()[id]["tasks"] == 1 for id in rc.ids)
    queued = rc[0].apply_async(same, 1)
    rc.abort(queued)
    with pytest.raises(TaskAborted):
        queued.get(PATIENCE)
    assert not any(result.ready() for result in held)


def test_Q1_interrupt_what_runs(rc: Client, tmp_path: Path) -> None:
    results = [rc[id].apply_async(interrupted, str(tmp_path)) for id in (0, 1, 2)]
    until(lambda: len(list(tmp_path.iterdir())) == 3)
    behind = rc[0].apply_async(same, "next")
    rc.interrupt([0, 1])
    assert [result.get(PATIENCE) for result in results[:2]] == ["interrupted"] * 2
    assert behind.get(PATIENCE) == "next", "what runs next is not touched"
    assert not results[2].ready()
    rc.interrupt()
    assert results[2].get(PATIENCE) == "interrupted"


def test_Q1_interrupt_is_the_error_of_the_task(rc: Client, gate: Gate) -> None:
    result = rc[1].apply_async(through, gate)
    gate.await_one(None)
    rc.interrupt(1)
    with pytest.raises(RemoteError) as caught:
        result.get(PATIENCE)
    assert caught.value.ename == "KeyboardInterrupt" and caught.value.engine_id == 1
    assert not isinstance(caught.value, KeyboardInterrupt), "nobody has pressed anything here"


def test_Q1_idle_engines_are_not_interrupted(rc: Client) -> None:
    for _ in range(20):
        rc.interrupt()
        assert rc[:].apply_sync(same, 1) == [1] * 4


@pytest.mark.parametrize(
    "named",
    [
        lambda result: result,
        lambda result: result.msg_ids,
        lambda result: result.msg_ids[0],
        lambda result: [[result], set(result.msg_ids)],
    ],
    ids=["result", "names", "name", "nested"],
)
def test_Q2_abort(rc: Client, gate: Gate, named: Callable[[AsyncResult], Any]) -> None:
    held = rc[0].apply_async(through, gate, "held")
    gate.await_one("held")
    victim, other = rc[0].apply_async(same, 1), rc[0].apply_async(same, 2)
    rc.abort(named(victim))
    with pytest.raises(parpool.AbortedTask, match=r"same\(1\) was aborted before it began"):
        victim.get(PATIENCE)
    assert victim.ready() and not victim.successful() and victim.metadata["status"] == "aborted"
    gate.open()
    assert (held.get(PATIENCE), other.get(PATIENCE)) == ("held", 2)


def test_Q2_abort_all(rc: Client, gate: Gate) -> None:
    held = rc[:].apply_async(through, gate, "held")
    until(lambda: all(rc.queue_status(id)["tasks"] for id in rc.ids))
    gate.await_one("held")
    queued: list[AsyncResult] = [rc[0].apply_async(same, 1), rc[:].apply_async(same, 2)]
    queued.append(rc.load_balanced_view().map_async(same, range(2000), chunksize=1))
    rc.abort()
    assert rc.wait(queued, PATIENCE)
    with pytest.raises(TaskAborted):
        queued[0].get()
    with pytest.raises(CompositeError) as caught:
        queued[1].get()
    assert all(isinstance(error, TaskAborted) for error in caught.value.exceptions)
    assert [entry[3]["engine_id"] for entry in caught.value.elist] == [0, 1, 2, 3]
    with pytest.raises(CompositeError):
        queued[2].get()
    gate.open()
    assert held.get(PATIENCE) == ["held"] * 4, "what runs goes on"


def test_Q2_abort_of_what_has_ended_or_runs(rc: Client, gate: Gate) -> None:
    ended, held = rc[0].apply_async(same, 1), rc[1].apply_async(through, gate, "ran")
    gate.await_one("ran")
    ended.wait()
    rc.abort([ended, held])
    gate.open()
    assert (ended.get(), held.get(PATIENCE)) == (1, "ran")


def test_Q2_abort_by_a_view(rc: Client, gate: Gate) -> None:
    rc[0].apply_async(through, gate, "held")
    gate.await_one("held")
    queued = rc[0].apply_async(same, 1)
    rc[2].abort(queued)
    assert isinstance(queued.get(PATIENCE, return_exceptions=True), TaskAborted)


def test_Q3_clear(rc: Client) -> None:
    view = rc[:]
    fresh = view.keys()
    view.push({"a": 1, "b": [2]}, block=True)
    view.execute("import json\ndef f(): pass", block=True)
    assert view.keys() == [sorted([*names, "a", "b", "f", "json"]) for names in fresh]
    assert rc.clear() == [None] * 4
    assert view.keys() == fresh
    with pytest.raises(CompositeError) as caught:
        view["a"]
    assert "[3:pull]: NameError: name 'a' is not defined on this engine" in str(caught.value)


def test_Q3_clear_some(rc: Client) -> None:
    rc[:].push({"a": 1}, block=True)
    assert rc.clear(1) is None and rc.clear([2, 0]) == [None] * 2
    assert ["a" in view for view in rc] == [False, False, False, True]
    assert isinstance(rc.clear(block=False), AsyncResult)
    assert rc[3].clear(block=True) is None and "a" not in rc[3]


def test_Q4_shutdown_of_some(own: Client) -> None:
    result = own[1].apply_async(same, "held before")
    before = pids(own)
    own.shutdown([1])
    assert result.get(PATIENCE) == "held before"
    until(lambda: own.ids == [0, 2])
    assert own.load_balanced_view().map_sync(same, range(9)) == list(range(9))
    own[0].shutdown()
    until(lambda: own.ids == [2])
    assert pids(own) == {2: before[2]}


def test_Q4_restart(own: Client) -> None:
    own[:].push({"a": 1}, block=True)
    before = pids(own)
    own.shutdown(1, restart=True)
    until(lambda: 1 not in own.ids)
    assert own.wait_for_engines(3, PATIENCE) and own.ids == [0, 2, 3]
    assert "a" in own[0] and "a" not in own[3]
    own.shutdown(restart=True)
    until(lambda: not set(own.ids) & {0, 2, 3})
    assert own.wait_for_engines(3, PATIENCE)
    assert not set(pids(own).values()) & set(before.values())
    assert own[:].apply_sync(same, 1) == [1] * 3


@pytest.mark.parametrize(
    "end",
    [
        lambda rc: rc.shutdown(),
        lambda rc: rc.shutdown(hub=True),
        lambda rc: rc.shutdown([0, 1, 2]),
        lambda rc: rc[:].shutdown(),
        lambda rc: rc.load_balanced_view().shutdown(),
        lambda rc: rc.close(),
        lambda rc: rc.__exit__(None, None, None),
    ],
    ids=["shutdown", "hub", "each", "view", "balanced", "close", "with"],
)
def test_Q4_shutdown_of_all(own: Client, gate: Gate, end: Callable[[Client], Any]) -> None:
    processes = list(pids(own).values())
    running, queued = own[0].apply_async(through, gate), own[0].apply_async(same, 1)
    gate.await_one(None)
    end(own)
    for result in (running, queued):
        with pytest.raises(TaskAborted, match="the pool was terminated"):
            result.get(PATIENCE)
    for pid in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    end(own) if end.__code__.co_names[0] in ("close", "__exit__") else own.close()


def test_Q4_everything_says_so_after_the_end(own: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    direct, every, one, balanced = own[:], own.direct_view(), own[0], own.load_balanced_view()
    known = one.apply_async(same, 7)
    known.wait()
    own.shutdown()
    calls: list[Callable[[], Any]] = [
        lambda: one.apply(same, 1),
        lambda: direct.apply_async(same, 1),
        lambda: every.apply_sync(same, 1),
        lambda: balanced.apply(same, 1),
        lambda: balanced.map(same, [1]),
        lambda: direct.map(same, [1]),
        lambda: list(balanced.imap(same, [1])),
        lambda: list(balanced.imap(same, iter([1]))),
        lambda: balanced.reduce(max, [1]),
        lambda: direct.push({"a": 1}),
        lambda: one["a"],
        lambda: one.__setitem__("a", 1),
        lambda: "a" in direct,
        lambda: direct.execute("1"),
        lambda: direct.scatter("a", [1]),
        lambda: direct.gather("a"),
        lambda: direct.clear(),
        lambda: every.keys(),
        lambda: own.send_apply_request(same, [1]),
        own.queue_status,
        own.interrupt,
        own.clear,
        lambda: own.shutdown(0),
        lambda: own.shutdown(restart=True),
        lambda: own.wait_for_engines(1),
        lambda: own[0],
    ]
    for call in calls:
        with pytest.raises(TaskAborted, match="the pool was terminated"):
            call()
    with pytest.raises(NoEngines, match="no engine serves now"):
        own[:]
    # What is known here can still be looked up.
    assert own.get_result(known.msg_ids[0]).get() == own.results[known.msg_ids[0]] == known.r == 7
    assert own.wait() and own.wait(known) and not own.outstanding
    assert own.result_status(known)["completed"] == known.msg_ids and own.metadata[known.msg_ids[0]]["status"] == "ok"
    own.spin()
    own.abort()
    own.purge_results()
    assert repr(own) == "<Client: engines []>" and "0 engines" in own._repr_html_()


def test_Q4_a_closed_pool_takes_no_calls_of_views(gate: Gate) -> None:
    with warm_pool(2) as pool:
        rc = pool.client
        view, balanced = rc[0], rc.load_balanced_view()
        held, mapped = view.apply_async(through, gate, "held"), balanced.map_async(same, range(500))
        pool.close()
        calls: list[Callable[[], Any]] = [
            lambda: view.apply_async(same, 1),
            lambda: balanced.apply_async(same, 1),
            lambda: balanced.map_async(same, range(10)),
            lambda: balanced.imap(same, range(10)),
            lambda: view.map_async(same, range(10)),
            lambda: view.execute("1"),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="the pool is closed"):
                call()
        gate.open()
        assert held.get(PATIENCE) == "held" and mapped.get(PATIENCE) == list(range(500)), "what was submitted is done"
        pool.join()
        with pytest.raises((ValueError, TaskAborted), match="closed|terminated"):
            view.apply_sync(same, 1)


def test_Q5_control_is_for_targets(rc: Client) -> None:
    for control in (rc.queue_status, rc.clear, rc.interrupt, rc.shutdown):
        for targets, error, told in (
            (9, IndexError, r"no engine 9: the engines are \[0, 1, 2, 3\]"),
            ([0, 9], IndexError, r"no engine 9: the engines are \[0, 1, 2, 3\]"),
            ("some", TypeError, "targets must be an int, a list of ints, a slice, 'all' or None, not 'some'"),
            ([], ValueError, "must name an engine"),
        ):
            with pytest.raises(error, match=told):
                control(targets)
    assert rc.ids == [0, 1, 2, 3]


# R: synchronisation ---------------------------------------------------------------------------------


def test_R1_spin(rc: Client, gate: Gate) -> None:
    held = rc[0].apply_async(through, gate)
    rc.spin()
    rc[0].spin()
    assert not held.ready()
    gate.open()
    while not held.ready():
        rc.spin()


@pytest.mark.parametrize(
    "jobs",
    [
        lambda a, b: [a, b],
        lambda a, b: (a.msg_ids[0], b),
        lambda a, b: {a, b},
        lambda a, b: [a.msg_ids, [[b.msg_ids]]],
        lambda a, b: iter([a, b]),
    ],
    ids=["results", "mixed", "set", "nested", "iterator"],
)
def test_R2_wait_for_jobs(rc: Client, gate: Gate, jobs: Callable[..., Any]) -> None:
    first, second = rc[0].apply_async(same, 1), rc[1].apply_async(through, gate)
    rc[2].apply_async(through, gate)
    assert rc.wait(first) is True
    assert rc.wait(jobs(first, second), timeout=0.01) is False
    assert rc.wait(jobs(first, second), timeout=0) is False
    gate.open()
    assert rc.wait(jobs(first, second)) is True and first.ready() and second.ready()


def test_R2_wait_raises_nothing_of_the_tasks(rc: Client) -> None:
    failed = rc[:].apply_async(fail, ValueError())
    assert rc.wait(failed) and rc.wait([failed.msg_ids], timeout=PATIENCE) and rc[0].wait(failed)
    assert not failed.successful()


def test_R2_an_empty_list_is_waited_for(rc: Client) -> None:
    assert rc.wait([]) is True and rc.wait([], timeout=0) is True


def test_R3_wait_for_all_that_is_outstanding(rc: Client, gate: Gate) -> None:
    balanced = rc.load_balanced_view()
    results = [rc[0].apply_async(through, gate), rc[1:].apply_async(through, gate), balanced.apply_async(same, 1)]
    results += [balanced.map_async(through_gate, [gate] * 12), rc[:].map_async(same, range(9))]
    assert rc.wait(timeout=0.01) is False
    gate.open()
    assert rc.wait() is True and all(result.ready() for result in results)
    assert rc.wait() is True and rc.wait(timeout=0) is True


def through_gate(gate: Gate) -> None:
    gate.arrive()


def test_R4_outstanding(rc: Client, gate: Gate) -> None:
    assert rc.outstanding == set()
    one, several = rc[0].apply_async(through, gate), rc[1:].apply_async(through, gate)
    mapped = rc.load_balanced_view().map_async(through_gate, [gate] * 3)
    assert rc.outstanding == {*one.msg_ids, *several.msg_ids, *mapped.msg_ids} == rc[0].outstanding
    gate.open()
    assert rc.wait([one, several, mapped], PATIENCE)
    until(lambda: rc.outstanding == set())


def test_R5_wait_takes_a_timeout(rc: Client, gate: Gate) -> None:
    held = rc[0].apply_async(through, gate)
    for wait in (rc.wait, rc[0].wait, rc.load_balanced_view().wait):
        assert list(inspect.signature(wait).parameters) == ["jobs", "timeout"]
        assert wait(held, 0.01) is False and wait(timeout=0.01) is False and wait(held, -1) is False
    gate.open()
    assert rc.wait(held, PATIENCE) is True


def test_R6_a_barrier_between_two_steps(rc: Client) -> None:
    view = rc[:]
    view.push({"done": 0}, block=True)
    first = [view.execute("done += 1") for _ in range(5)]
    assert rc.wait(first)
    assert view["done"] == [5] * 4


# Deaths, and many threads ---------------------------------------------------------------------------


def test_an_engine_dies_in_a_call_on_one(own: Client) -> None:
    with pytest.raises(
        EngineLost, match=r"engine 0 died while it ran die\(\): pid \d+ ended with exit code 3"
    ) as caught:
        own[0].apply_sync(die)
    assert caught.value.engine_id == 0
    until(lambda: 0 not in own.ids)


def test_an_engine_dies_in_a_call_on_all_and_the_others_results_remain(own: Client) -> None:
    victim = pids(own)[1]
    result = own[:].apply_async(unless, victim, "fine")
    with pytest.raises(CompositeError) as caught:
        result.get(PATIENCE)
    error = caught.value
    assert error.results[0] == error.results[2] == "fine" and isinstance(error.results[1], EngineLost)
    assert len(error.elist) == 1 and error.elist[0][0] == "EngineLost" and error.elist[0][3]["engine_id"] == 1
    assert result.get(return_exceptions=True)[::2] == ["fine", "fine"]


def test_what_was_queued_for_an_engine_that_dies_ends_and_says_that_it_did_not_run(own: Client, gate: Gate) -> None:
    held = own[0].apply_async(through, gate, "held")
    gate.await_one("held")
    killer = own[0].apply_async(die)
    queued = [own[0].apply_async(same, number) for number in range(5)]
    queued.append(own.load_balanced_view([0]).apply_async(same, 5))
    elsewhere = own.load_balanced_view([0, 1]).map_async(same, range(20), chunksize=1)
    gate.open()
    assert held.get(PATIENCE) == "held"
    with pytest.raises(EngineLost, match=r"engine 0 died while it ran die\(\)"):
        killer.get(PATIENCE)
    for number, result in enumerate(queued):
        with pytest.raises(EngineLost, match=rf"engine 0 died, and no other may run same\({number}\)"):
            result.get(PATIENCE)
    assert elsewhere.get(PATIENCE) == list(range(20))


@pytest.mark.parametrize(
    "call",
    [
        lambda view: view.execute("import os; os._exit(3)", block=True),
        lambda view: view.push({"a": Deadly()}, block=True),
        lambda view: view.pull("__import__('os')._exit(3)", block=True),
        lambda view: view.map_sync(die, [3]),
        lambda view: view.gather("__import__('os')._exit(3)", block=True),
        lambda view: view.scatter("a", [Deadly()], block=True),
    ],
    ids=["execute", "push", "pull", "map", "gather", "scatter"],
)
def test_an_engine_dies_in_other_calls(own: Client, call: Callable[[DirectView], Any]) -> None:
    with pytest.raises(EngineLost, match="engine 2 died while it ran"):
        call(own[2])
    until(lambda: 2 not in own.ids)
    assert own.wait_for_engines(3, PATIENCE) and own.direct_view().apply_sync(same, 1) == [1] * 3


class Deadly:
    """Ends the process that opens it."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


def test_only_the_item_that_kills_its_engine_fails(own: Client) -> None:
    with pytest.raises(CompositeError) as caught:
        own.load_balanced_view().map_sync(die_at_five, range(12))
    results = caught.value.results
    assert isinstance(results.pop(5), EngineLost) and results == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    values = own.load_balanced_view().imap(die_at_five, range(12))
    assert [next(values) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(EngineLost):
        next(values)
    assert list(values) == [6, 7, 8, 9, 10, 11]


def die_at_five(number: int) -> int:
    if number == 5:
        os._exit(3)
    return number


def test_retries_take_another_engine(own: Client, tmp_path: Path) -> None:
    view = own.load_balanced_view()
    with view.temp_flags(retries=2):
        assert view.apply_sync(die_once, str(tmp_path / "died")) == "second time"
    assert view.retries == 0


def die_once(path: str) -> str:
    if not os.path.exists(path):
        Path(path).touch()
        os._exit(3)
    return "second time"


def test_every_engine_dies_at_once(own: Client) -> None:
    with pytest.raises(CompositeError) as caught:
        own[:].apply_sync(die)
    assert [entry[3]["engine_id"] for entry in caught.value.elist] == [0, 1, 2]
    assert own.wait_for_engines(3, PATIENCE) and own.ids == [3, 4, 5]
    assert own[:].apply_sync(same, 1) == [1] * 3


def test_many_threads_use_one_view(rc: Client) -> None:
    direct, balanced = rc[:], rc.load_balanced_view()

    def work(name: str) -> None:
        for number in range(12):
            assert rc[0].apply_sync(same, (name, number)) == (name, number)
            assert direct.apply_sync(same, (name, number)) == [(name, number)] * 4
            direct[name] = number
            assert direct[name] == [number] * 4
            assert balanced.map_sync(same, range(20)) == list(range(20))
            assert list(balanced.imap(same, range(9), ordered=False)) and balanced.apply_sync(same, name) == name
            direct.scatter(name, range(7), block=True)
            assert direct.gather(name, block=True) == list(range(7))
            assert direct.execute(f"{name}_{number} = 1; {number}", block=True)[3].text == str(number)

    run_threads([lambda name=f"t{n}": work(name) for n in range(8)])  # type: ignore[misc]
    until(lambda: rc.outstanding == set())


def test_many_threads_change_the_flags_of_one_view(rc: Client) -> None:
    view = rc.load_balanced_view()

    def change(timeout: float) -> None:
        for _ in range(50):
            with view.temp_flags(task_timeout=timeout, block=True):
                assert view.apply_sync(same, 1) == 1

    run_threads([lambda seconds=seconds: change(seconds) for seconds in (30.0, 40.0, 50.0)])  # type: ignore[misc]
    assert view.apply_async(same, 2).get(PATIENCE) == 2


def run_threads(targets: list[Callable[[], Any]]) -> None:
    """Run each in a thread of its own; what one raises is raised here."""
    raised: list[BaseException] = []

    def guard(target: Callable[[], Any]) -> None:
        try:
            target()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guard, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread hangs"
    if raised:
        raise raised[0]
