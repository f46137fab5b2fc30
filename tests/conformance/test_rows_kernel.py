"""The mission's rows of IPython.kernel's clients: U."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parpool.compat.ipython_kernel import client as kclient
from parpool.compat.ipython_kernel import error
from parpool.compat.ipython_kernel.client import MapTask, StringTask
from rows import Gate, at_prompt, fail

import parpool

ENGINES = 2


@pytest.fixture
def mec(rc: parpool.Client) -> kclient.MultiEngineClient:
    return kclient.MultiEngineClient(rc)


@pytest.fixture
def tc(rc: parpool.Client) -> kclient.TaskClient:
    return kclient.TaskClient(rc)


@pytest.mark.once
def test_U1_U2_U3_the_clients_of_the_default_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # in the checkout its engines would find parpool/, which is not the whole package
    with parpool.Cluster(n=1, cluster_id="default"):
        mec, tc = kclient.MultiEngineClient(), kclient.TaskClient()
        assert mec.get_ids() == [0] and tc.run(MapTask(abs, (-1,)), block=True) == 1
        assert kclient.get_multiengine_client(mec).rc is mec.rc and kclient.get_task_client(tc).rc is tc.rc
        mec.rc.close()
        tc.rc.close()


def test_U4_a_string_task(tc: kclient.TaskClient, mec: kclient.MultiEngineClient) -> None:
    mec.push({"A": 2})
    task = StringTask(
        """
        import math
        C = math.pow(A, B)
        """,
        push=dict(B=3),
        pull="C",
    )
    assert tc.get_task_result(tc.run(task))["C"] == 8.0
    several = tc.run(StringTask("x, y = 1, 2", ["x", "y"]), block=True)
    assert several.results == {"x": 1, "y": 2} and several.keys() == ["x", "y"]
    assert tc.run(StringTask("x = 1"), block=True).results == {}
    with pytest.raises(TypeError, match="MapTask"):
        StringTask(abs)  # type: ignore[arg-type]


def test_U5_a_map_task(tc: kclient.TaskClient) -> None:
    assert tc.run(MapTask(pow, (2, 3)), block=True) == 8
    assert tc.run(MapTask(dict, kwargs={"a": 1}), block=True) == {"a": 1}
    assert tc.run(MapTask(at_prompt("f = lambda x: 2 * x")["f"], [4]), block=True) == 8
    bad = tc.run(MapTask(fail, (KeyError("gone"),)))
    with pytest.raises(KeyError, match="gone"):
        tc.get_task_result(bad)
    with pytest.raises(TypeError, match="function"):
        MapTask("x = 1")  # type: ignore[arg-type]


def test_U6_task_ids(tc: kclient.TaskClient) -> None:
    ids = [tc.run(MapTask(abs, (-n,))) for n in range(3)]
    assert len(set(ids)) == 3
    tc.barrier(ids)
    assert [tc.get_task_result(id) for id in ids] == [0, 1, 2]
    with pytest.raises(KeyError):
        tc.get_task_result(99)
    with pytest.raises(TypeError, match="StringTask"):
        tc.run("x = 1")  # type: ignore[arg-type]


def test_U7_get_task_result(tc: kclient.TaskClient, gate: Gate) -> None:
    tid = tc.run(StringTask("gate.arrive(); C = 1", push={"gate": gate}, pull="C"))
    gate.await_one()
    assert tc.get_task_result(tid, block=False) is None
    assert tc.queue_status() == {"pending": 1, "succeeded": 0, "failure": 0}
    gate.open()
    assert isinstance(tc.get_task_result(tid), kclient.TaskResult)
    assert isinstance(tc.get_task_result(tid, block=False), kclient.TaskResult)


def test_U8_a_task_result(tc: kclient.TaskClient) -> None:
    tr = tc.run(StringTask("C = [1]", "C"), block=True)
    assert tr["C"] == tr.ns.C == [1] and tr.failure is None and tr.engineid in (0, 1) and tr.taskid == 0
    assert tr.duration.total_seconds() >= 0 and dir(tr.ns) == ["C"] and repr(tr) == "TaskResult[ID:0]:{'C': [1]}"
    with pytest.raises(KeyError):
        tr["D"]
    with pytest.raises(AttributeError):
        tr.ns.D  # noqa: B018
    bad = tc.run(StringTask("1/0", "C"), block=True)
    for look in (bad.raise_exception, lambda: bad["C"], lambda: bad.ns.C):
        with pytest.raises(ZeroDivisionError):
            look()
    assert isinstance(bad.failure, ZeroDivisionError) and "division by zero" in repr(bad)
    missing = tc.run(StringTask("x = 1", "nothing"), block=True)
    with pytest.raises(NameError, match="'nothing'"):
        missing["nothing"]


def test_U9_clear_after_and_before(tc: kclient.TaskClient, mec: kclient.MultiEngineClient) -> None:
    mec.push({"A": 1})
    tr = tc.run(StringTask("B = A", pull="B", clear_after=True), block=True)
    assert tr["B"] == 1
    bound = [{"A", "B"} & set(names) for names in mec.keys()]
    assert bound[tr.engineid] == set() and bound[1 - tr.engineid] == {"A"}
    mec.push({"A": 1})
    bad = tc.run(StringTask("B = A", pull="B", clear_before=True), block=True)
    assert isinstance(bad.failure, NameError)
    both = [tc.run(StringTask(f"B = {n}", "B", clear_before=True, clear_after=True)) for n in range(6)]
    assert [tc.get_task_result(tid)["B"] for tid in both] == list(range(6))
    assert {tc.get_task_result(tid).engineid for tid in both} == {0, 1}, "on both engines"


def test_U10_names_stay_on_the_engine(tc: kclient.TaskClient, mec: kclient.MultiEngineClient) -> None:
    tr = tc.run(StringTask("C = B + 1", push={"B": 1}, pull="C"), block=True)
    names = mec.keys(targets=tr.engineid)[0]
    assert {"B", "C"} <= set(names) and mec.pull(("B", "C"), targets=tr.engineid) == [[1, 2]]


def test_U11_the_names_of_what_is_not_there_yet(mec: kclient.MultiEngineClient) -> None:
    assert kclient.PendingDeferred is kclient.Deferred is kclient.PendingResult
    pr = mec.pull("abs(-1)", block=False)
    assert isinstance(pr, kclient.Deferred) and pr.r == [1, 1]
    assert issubclass(error.ResultNotCompleted, error.KernelError) and error.CompositeError is parpool.CompositeError


def test_U12_U13_U14_U15_U16_U17_U18_U19_the_old_spellings(mec: kclient.MultiEngineClient) -> None:
    assert [entry["id"] for entry in mec.execute("a=5", targets=[0, 1])] == mec.get_ids() == [0, 1]
    pr = mec.pull("a", targets=[0, 1], block=False)
    mec.barrier([pr])
    mec.flush()
    assert pr.r == [5, 5] and mec.zip_pull(["a"]) == [(5, 5)]
    assert all("a" in names for names in mec.keys())
    assert mec.push_function({"f": len}) == mec.push_serialized({"s": "x"}) == [None, None]
    assert mec.pull_serialized("f(s)") == [1, 1]


# What the document does not show --------------------------------------------------------------------


def test_retries_and_what_follows_them(tc: kclient.TaskClient) -> None:
    code = "n.append(1)\nif len(n) < 3: raise ValueError(n)"
    assert tc.run(StringTask(code, "n", push={"n": []}, retries=2), block=True)["n"] == [1, 1, 1]
    assert isinstance(tc.run(StringTask(code, "n", push={"n": []}, retries=1), block=True).failure, ValueError)
    instead = tc.run(StringTask("1/0", "C", recovery_task=StringTask("C = 'instead'", "C")), block=True)
    assert instead["C"] == "instead"
    for wrong in ({"retries": -1}, {"recovery_task": 1}):
        with pytest.raises((ValueError, TypeError)):
            StringTask("x = 1", **wrong)  # type: ignore[arg-type]


def test_depend(tc: kclient.TaskClient, mec: kclient.MultiEngineClient) -> None:
    mec.push({"mine": True}, targets=1)
    has_it: Callable[[dict[str, Any]], bool] = at_prompt("f = lambda names: 'mine' in names")["f"]
    for _ in range(4):
        assert tc.run(StringTask("C = 1", "C", depend=has_it), block=True).engineid == 1
    mec.reset()
    nobody = tc.run(StringTask("C = 1", "C", depend=has_it), block=True)
    assert isinstance(nobody.failure, parpool.UnmetDependency)


def test_maps_and_queues(tc: kclient.TaskClient, gate: Gate) -> None:
    assert tc.map(pow, [1, 2, 3], [2, 2, 2]) == [1, 4, 9]
    assert tc.parallel(clear_after=True)(abs)([-1, -2]) == tc.mapper(retries=1).map(abs, [-1, -2]) == [1, 2]
    ids = tc.map(abs, [-1], block=False)
    tc.barrier(ids)
    held = [tc.run(MapTask(gate.arrive, (n,))) for n in range(2)]
    for n in range(2):
        gate.await_one(n)
    late = tc.run(MapTask(os.getpid))
    tc.abort(late)
    with pytest.raises(parpool.TaskAborted):
        tc.get_task_result(late)
    assert tc.queue_status(verbose=True)["failure"] == [late]
    tc.spin()
    tc.clear()
    assert tc.queue_status() == {"pending": 2, "succeeded": 0, "failure": 0} and "pending" in repr(tc)
    gate.open()
    tc.barrier(held)
