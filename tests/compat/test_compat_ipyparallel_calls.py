"""parpool.compat.ipyparallel: what a view knows of its calls, their labels, and tasks that are tried again."""

from __future__ import annotations

import os
from pathlib import Path

import parpool.compat.ipyparallel as ipp
import pytest
from parpool.compat.ipyparallel import metadata, views
from rows import PATIENCE, Gate

import parpool


@pytest.fixture
def rc(engines: parpool.Client) -> ipp.Client:
    engines.clear()
    return ipp.Client(engines)


def fail_till(path: str, attempts: int) -> int:
    """Which attempt this is; the first ones raise."""
    with open(path, "a") as file:
        file.write("x")
    made = os.path.getsize(path)
    if made < attempts:
        raise ValueError(f"attempt {made}")
    return made


# Whose calls they are -------------------------------------------------------------------------------


def test_each_view_has_its_own(rc: ipp.Client) -> None:
    one, other, balanced = rc[0], rc[0], rc.load_balanced_view()
    first = one.apply_async(abs, -1)
    second = one.map_async(abs, [-2])
    third = other.execute("x = 1")
    fourth = balanced.map_async(abs, [-3, -4])
    assert one.history == [*first.msg_ids, *second.msg_ids] and other.history == third.msg_ids
    assert balanced.history == fourth.msg_ids and rc[0].history == []
    assert one.get_result(0).get(PATIENCE) == 1 and one.get_result().get(PATIENCE) == [2]
    assert one.get_result([0, 1]).msg_ids == one.history
    with pytest.raises(IndexError):
        rc[0].get_result()
    assert one.apply_sync(abs, -5) == 5 and len(one.history) == 3


def test_waiting_and_aborting_mean_its_own(rc: ipp.Client, gate: Gate) -> None:
    view, bystander = rc[0], rc[0]
    held = bystander.apply_async(gate.arrive)
    gate.await_one()
    late, theirs = view.apply_async(abs, -1), bystander.apply_async(abs, -2)
    assert view.outstanding == {*late.msg_ids} and not view.wait(timeout=0)
    assert rc[0].wait(timeout=0), "a view without calls has nothing to wait for"
    rc[0].abort()
    view.abort()
    with pytest.raises(ipp.TaskAborted):
        late.get(PATIENCE)
    assert view.wait(timeout=0) and not view.outstanding
    gate.open()
    assert theirs.get(PATIENCE) == 2 and held.ready()


def test_a_long_history_is_cut(rc: ipp.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "HISTORY", 3)
    view = rc[0]
    made = [view.apply_async(abs, -number).msg_ids[0] for number in range(8)]
    assert view.history == made[-len(view.history) :] and 3 <= len(view.history) <= 6


# Labels ---------------------------------------------------------------------------------------------


def test_labels(rc: ipp.Client) -> None:
    balanced = rc.load_balanced_view()
    mapped = balanced.map(abs, [-1, -2], label="mapped")
    with balanced.temp_flags(label="one"):
        one = balanced.apply_async(abs, -3)
    many = rc[:].map(abs, range(4), label="many")
    code = rc[:].execute("x = 1", label="code")
    plain = balanced.apply_async(abs, -4)
    assert rc.wait([mapped, one, many, code, plain], PATIENCE)
    assert mapped.label == ["mapped"] * 2 and one.label == one.metadata.label == "one" and plain.label is None
    assert many.label == ["many"] * 2 and code.label == ["code"] * 2
    parallel = ipp.parallel(balanced, block=False, label="cut")(sum)
    assert set(parallel.map([[1], [2]]).label) == {"cut"} and balanced.label is None


def test_labels_in_queries() -> None:
    labels = metadata.Labels()
    labels.put(["a", "b"], "first")
    labels.put(["c"], "second")
    assert labels.matching("first") == ["a", "b"] and labels.matching({"$in": ["second", "third"]}) == ["c"]
    assert labels.matching({"$nin": [""], "$regex": "^f"}) == ["a", "b"] and labels.matching({"$ne": "first"}) == ["c"]
    with pytest.raises(ValueError, match=r"\$eq.*not by \$near"):
        labels.matching({"$near": 1})
    labels.MOST = 2
    labels.put(["d"], "third")
    assert labels.get("a") is labels.get("b") is None and labels.get("d") == "third"


@pytest.mark.once
def test_the_hub_is_asked_by_labels() -> None:
    with ipp.Cluster(n=1) as rc:
        view = rc.load_balanced_view()
        one = view.map_async(abs, [-1, -2], label="one")
        two = view.map_async(abs, [-3], label="two")
        view.apply_sync(abs, -4)
        assert one.get(PATIENCE) == [1, 2] and two.get(PATIENCE) == [3]
        found = rc.db_query({"label": {"$in": ["one", "two"]}}, keys=["label"])
        assert {each["msg_id"]: each["label"] for each in found} == dict(
            zip([*one.msg_ids, *two.msg_ids], ["one", "one", "two"], strict=True)
        )
        assert [each["msg_id"] for each in rc.db_query({"label": "two", "msg_id": {"$ne": "x"}})] == two.msg_ids
        assert rc.db_query({"label": "nobody's"}) == []
        assert {each["label"] for each in rc.db_query({})} == {"one", "two", None}
        assert view.get_result(0).get(PATIENCE) == [1, 2] and view.get_result(-1).get(PATIENCE) == 4, "the hub has it"
        for ask in (rc.get_result, rc.resubmit):
            with pytest.raises(ipp.RemoteError, match="nobody") as caught:
                ask(["nobody's"])
            assert caught.value.ename == "KeyError" and isinstance(caught.value, KeyError)


# Retries --------------------------------------------------------------------------------------------


def test_what_a_task_raises_is_tried_again(rc: ipp.Client, tmp_path: Path) -> None:
    view = rc.load_balanced_view()
    with view.temp_flags(retries=2):
        assert view.apply_sync(fail_till, str(tmp_path / "applied"), 3) == 3
        assert view.map_sync(fail_till, [str(tmp_path / "mapped")], [2]) == [2]
        assert list(view.imap(fail_till, [str(tmp_path / "imapped")], [2])) == [2]
        assert view.parallel(block=True)(fail_till).map([str(tmp_path / "cut")], [2]) == [2]
        with pytest.raises(ValueError, match="attempt 3"):
            view.apply_sync(fail_till, str(tmp_path / "in_vain"), 9)
    with pytest.raises(ValueError, match="attempt 1"):
        view.apply_sync(fail_till, str(tmp_path / "once"), 9)


def test_tried_again_it_is_the_same_function(rc: ipp.Client) -> None:
    rc[:].push({"there": 5}, block=True)
    view = rc.load_balanced_view(retries=1)

    @ipp.interactive
    def see() -> int:
        return there  # type: ignore[name-defined,no-any-return]  # noqa: F821  # on the engines

    assert view.apply_sync(see) == 5

    @ipp.require("math")
    def below(number: float) -> int:
        return math.floor(number)  # type: ignore[name-defined,no-any-return]  # noqa: F821  # on the engines

    assert view.apply_sync(below, 2.5) == 2

    @ipp.depend(lambda: False)
    def nowhere() -> None:
        """No engine is fit for it."""

    with pytest.raises(ipp.UnmetDependency):
        view.apply_sync(nowhere)


# Executors ------------------------------------------------------------------------------------------


def test_a_views_executor_knows_what_it_has_submitted(rc: ipp.Client, gate: Gate) -> None:
    view = rc.load_balanced_view()
    held = view.executor.submit(gate.arrive)
    assert view.executor is view.executor
    gate.await_one()
    gate.open()
    view.executor.shutdown(wait=True)
    assert held.done()
    assert view.executor.submit(abs, -1).result(PATIENCE) == 1, "the view has another one now"
    with pytest.warns(UserWarning, match="no timeout"):
        assert list(view.executor.map(abs, [-1], timeout=1)) == [1]
