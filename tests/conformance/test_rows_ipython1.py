"""The mission's rows of IPython1's MultiEngineClient: V."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parpool.compat.ipython1 import client, error
from parpool.compat.ipython1.kernel import client as by_its_path
from rows import PATIENCE, Gate, Home, at_prompt

import parpool
from parpool import CompositeError, NoEngines

ENGINES = 2


@pytest.fixture
def mec(rc: parpool.Client) -> client.MultiEngineClient:
    """The old client of the engines, whose namespaces are clear."""
    return client.MultiEngineClient(rc)


def counts(mec: client.MultiEngineClient) -> list[int]:
    """The numbers that the engines give to a command."""
    return [entry["number"] for entry in mec.execute("pass")]


@pytest.mark.once
def test_V1_an_address_a_file_a_client_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path))
    cluster = parpool.Cluster(n=1, cluster_id="default")
    with cluster as rc:
        for given in (("127.0.0.1", 10105), str(cluster.folder / "client.json"), rc, None):
            made = client.MultiEngineClient(given)
            assert made.get_ids() == [0] and made.pull("abs(-1)") == [1]
            if made.rc is not rc:
                made.rc.close()
        assert client.MultiEngineClient(made).rc is made.rc
    with pytest.raises(ValueError, match="copy client.json"):
        client.MultiEngineClient(("far.away", 10105))
    for furl in ("pbu://key@127.0.0.1:10105/mec", "~/.ipython/security/ipcontroller-mec.furl"):
        with pytest.raises(ValueError, match="client.json"):
            client.MultiEngineClient(furl)
    assert by_its_path is client


def test_V2_get_ids(mec: client.MultiEngineClient) -> None:
    assert mec.get_ids() == [0, 1] and len(mec) == 2


def test_V3_execute_waits_and_runs_on_all(mec: client.MultiEngineClient) -> None:
    result = mec.execute("a=5")
    assert [entry["id"] for entry in result] == [0, 1] and mec.pull("a") == [5, 5]


@pytest.mark.parametrize("targets", [[1], 1, -1, (1,), range(1, 2)])
def test_V4_only_those_engines(mec: client.MultiEngineClient, targets: Any) -> None:
    assert [entry["id"] for entry in mec.execute("c=1", targets=targets)] == [1]
    assert [("c" in names) for names in mec.keys()] == [False, True]


def test_V5_V6_the_display(mec: client.MultiEngineClient) -> None:
    a, b = counts(mec)
    assert repr(mec.execute("a=5")) == f"<Results List>\n[0] In [{a + 1}]: a=5\n[1] In [{b + 1}]: a=5"
    assert repr(mec.execute("print(a)")) == (
        f"<Results List>\n[0] In [{a + 2}]: print(a)\n[0] Out[{a + 2}]: 5\n\n"
        f"[1] In [{b + 2}]: print(a)\n[1] Out[{b + 2}]: 5"
    )
    told = repr(mec.execute("import sys; _ = sys.stderr.write('oh')", targets=0))
    assert told.endswith(f"[0] Err[{a + 3}]:\noh")
    assert repr(mec.execute("a", targets=1)).endswith(f"[1] Out[{b + 3}]: 5"), "an expression is shown, too"


def test_V7_each_engine_counts_its_own(mec: client.MultiEngineClient) -> None:
    a, b = counts(mec)
    mec.execute("pass", targets=[0])
    assert counts(mec) == [a + 2, b + 1]


def test_V8_items_are_dicts(mec: client.MultiEngineClient) -> None:
    a, _ = counts(mec)
    code = "d=10; print(d)"
    (first, _) = mec.execute(code)
    assert first == {"input": {"translated": code, "raw": code}, "number": a + 1, "id": 0, "stdout": "10\n"}
    assert list(first) == ["input", "number", "id", "stdout"]
    assert "stdout" not in mec.execute("d")[0] and mec.execute("d")[0]["pyout"] == "10"


def test_V9_V10_V13_a_pending_result(mec: client.MultiEngineClient, gate: Gate) -> None:
    mec.push({"gate": gate})
    pr = mec.execute("gate.arrive()", block=False)
    assert isinstance(pr, client.PendingResult)
    assert re.fullmatch(r"<.*\.PendingResult object at 0x[0-9a-f]+>", repr(pr))
    assert "execute: pending, 0 of 2 items" in pr._repr_html_() and "of 2 engines" in mec._repr_html_()
    gate.open()
    assert isinstance(pr.get_result(), client.ResultList) and pr.r == pr.get_result()


def test_V11_V12_polling(mec: client.MultiEngineClient, gate: Gate) -> None:
    mec.push({"gate": gate})
    pr = mec.execute("gate.arrive()", block=False)
    assert pr.get_result(block=False) is None and pr.get_result("not yet", block=False) == "not yet"
    gate.open()
    pr.wait()
    assert len(pr.get_result(default="not yet", block=False)) == 2


def test_V14_barrier(mec: client.MultiEngineClient) -> None:
    mec.block = False
    results = [mec.execute("import time; time.sleep(0.001)") for _ in range(5)]
    bad = mec.execute("1/0")
    mec.barrier((*results, bad))
    assert all(pr.completed() for pr in results) and len(results[0].r) == 2
    with pytest.raises(CompositeError):
        bad.r  # noqa: B018


def test_V15_V16_block_and_targets_are_attributes(mec: client.MultiEngineClient) -> None:
    assert mec.block is True and mec.targets == "all"
    mec.targets, mec.block = [1], False
    pr = mec.execute("a=5")
    assert isinstance(pr, client.PendingResult) and [entry["id"] for entry in pr.r] == [1]
    assert [entry["id"] for entry in mec.execute("a=6", targets="all", block=True)] == [0, 1]
    mec.targets = "all"
    assert mec.pull("a", block=True) == [6, 6]


def test_V17_V18_V19_V20_push_and_pull_give_lists(mec: client.MultiEngineClient) -> None:
    assert mec.push(dict(a=1.03234, b=3453)) == [None, None]
    assert mec.pull("a") == [1.03234, 1.03234]
    assert mec.pull("b", targets=0) == [3453]
    assert mec.pull(("a", "b")) == [[1.03234, 3453], [1.03234, 3453]]


def test_V21_zip_pull(mec: client.MultiEngineClient) -> None:
    mec.push(dict(a=1, b=2))
    assert mec.zip_pull(("a", "b")) == [(1, 1), (2, 2)]
    assert mec.zip_pull(("a", "b"), targets=1, block=False).r == [(1,), (2,)]


def test_V22_push_and_pull_may_not_wait(mec: client.MultiEngineClient) -> None:
    mec.block = False
    assert mec.push(dict(a=7)).r == [None, None]
    assert mec.pull("a").r == [7, 7]


def test_V23_V24_functions(mec: client.MultiEngineClient) -> None:
    f = at_prompt("def f(x):\n    return 2.0*x**4")["f"]
    assert mec.push_function(dict(f=f)) == [None, None]
    mec.execute("y = f(4.0)")
    assert mec["y"] == [512.0, 512.0]
    assert [each(4.0) for each in mec.pull_function("f")] == [512.0, 512.0]


def test_V25_a_dict(mec: client.MultiEngineClient) -> None:
    mec.block = False
    mec["a"] = ["foo", "bar"]
    assert mec["a"] == [["foo", "bar"], ["foo", "bar"]]
    with pytest.raises(TypeError):
        mec[0]  # type: ignore[index]


def test_V26_scatter_and_gather(mec: client.MultiEngineClient) -> None:
    assert mec.scatter("a", range(16)) == [None, None]
    assert mec["a"] == [list(range(8)), list(range(8, 16))] and mec.gather("a") == list(range(16))
    mec.scatter("b", [1, 2], flatten=True)
    assert mec["b"] == [1, 2] and mec.gather("a", targets=1, block=False).r == list(range(8, 16))


def test_V27_map(mec: client.MultiEngineClient) -> None:
    power: Callable[[int], int] = at_prompt("f = lambda x: x**10")["f"]
    assert mec.map(power, range(32)) == list(map(power, range(32)))
    assert mec.map(pow, [1, 2], [3, 4], block=False).r == [1, 16]
    assert mec.parallel()(power)([1, 2]) == [1, 1024] and mec.mapper(dist="r").map(power, [1, 2]) == [1, 1024]


def test_V28_pending_results_by_their_id(mec: client.MultiEngineClient, gate: Gate) -> None:
    mec.push({"gate": gate})
    pr = mec.execute("gate.arrive()", block=False)
    with pytest.raises(error.ResultNotCompleted):
        mec.get_pending_deferred(pr.result_id, block=False)
    gate.open()
    assert len(mec.get_pending_deferred(pr.result_id, block=True)) == 2
    with pytest.raises(KeyError):
        mec.get_pending_deferred(pr.result_id)
    forgotten = mec.pull("abs(-1)", block=False)
    mec.clear_pending_deferreds()
    assert forgotten.r == [1, 1]


def test_V29_errors(mec: client.MultiEngineClient) -> None:
    for call in (lambda: mec.execute("1/0"), lambda: mec.execute("1/0", block=False).r):
        with pytest.raises(client.CompositeError) as caught:
            call()
        assert str(caught.value) == (
            "one or more exceptions from call to method: execute\n"
            "[0:execute]: ZeroDivisionError: division by zero\n[1:execute]: ZeroDivisionError: division by zero"
        )
    with pytest.raises(ZeroDivisionError):
        caught.value.raise_exception()
    with pytest.raises(client.CompositeError):
        mec.execute("1/0", targets=0)


# What the document does not show --------------------------------------------------------------------


def test_the_last_command_of_each_engine(mec: client.MultiEngineClient) -> None:
    a, b = counts(mec)
    mec.execute("x = 1")
    mec.execute("y = 2", targets=1)
    assert [entry["input"]["raw"] for entry in mec.get_result()] == ["x = 1", "y = 2"]
    assert [entry["number"] for entry in mec.get_result(a + 1, targets=0)] == [a + 1]
    assert mec.get_result(targets=1, block=False).r[0]["number"] == b + 2
    with pytest.raises(IndexError, match="no command 99999"):
        mec.get_result(99999)
    with pytest.raises(CompositeError):
        mec.execute("1/0")
    with pytest.raises(CompositeError):
        mec.get_result()


def test_callbacks(mec: client.MultiEngineClient) -> None:
    got: list[Any] = []
    mec.pull("abs(-1)", block=False).add_callback(lambda value, extra: got.append((value, extra)), "more")
    bad = mec.execute("1/0", block=False)
    bad.add_callback(got.append)
    bad.wait()
    deadline = time.monotonic() + PATIENCE
    while not got and time.monotonic() < deadline:
        time.sleep(0.001)
    assert got == [([1, 1], "more")]


def test_the_rest(mec: client.MultiEngineClient, tmp_path: Path, home: Home) -> None:
    script = tmp_path / "script.py"
    script.write_text("z = 3\nprint(z)\n")
    assert [entry["stdout"] for entry in mec.run(str(script))] == ["3\n", "3\n"]
    assert [id for id, _ in mec.queue_status()] == [0, 1] and mec.queue_status(1)[0][1]["queue"] == 0
    mec.clear_queue()
    mec.flush()
    mec.reset()
    assert all("z" not in names for names in mec.keys())
    with pytest.warns(UserWarning, match="IPython prompt"):
        mec.activate()
    assert repr(mec) == "<MultiEngineClient: engines [0, 1]>"


def test_without_engines() -> None:
    with parpool.Pool(1) as pool:
        mec = client.MultiEngineClient(pool.client)
        mec.kill()
    with pytest.raises((NoEngines, parpool.TaskAborted)):
        mec.execute("a = 1")
