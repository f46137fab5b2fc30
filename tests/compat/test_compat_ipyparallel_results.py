"""parpool.compat.ipyparallel: its results, which are futures."""

from __future__ import annotations

import asyncio
import concurrent.futures
from datetime import datetime

import parpool.compat.ipyparallel as ipp
import pytest
from rows import PATIENCE, Gate

import parpool


@pytest.fixture
def rc(engines: parpool.Client) -> ipp.Client:
    engines.clear()
    return ipp.Client(engines)


def divide(n: int) -> float:
    return 1 / n


# Results --------------------------------------------------------------------------------------------


def test_result_is_a_method_and_r_a_property(rc: ipp.Client) -> None:
    result = rc[0].apply_async(abs, -3)
    assert result.result() == result.result(5) == result.r == result.get() == 3
    assert result.exception() is None and result.done() and result.successful()
    assert repr(result) == "<AsyncResult(apply): finished>"
    failed = rc[0].apply_async(divide, 0)
    assert isinstance(failed.exception(PATIENCE), ZeroDivisionError) and not failed.successful()
    assert repr(failed) == "<AsyncResult(apply): failed>"


def test_timeouts_below_zero_mean_any_time(rc: ipp.Client, gate: Gate) -> None:
    result = rc[0].apply_async(gate.arrive, "x")
    gate.await_one("x")
    for late in (lambda: result.get(0.01), lambda: result[0], lambda: result.wall_time, lambda: result.exception(0)):
        with pytest.raises(ipp.TimeoutError):
            late()
    assert result.wait(0.01) is False and not result.ready() and repr(result).endswith("pending>")
    assert result.completed is None and result["engine_id"] is None
    gate.open()
    assert result.wait() is True and result.wait(-1) is True and result.get(-1) is None
    result.wait_for_send()
    assert result.sent and result.wait_for_output()


def test_a_result_is_a_future(rc: ipp.Client, gate: Gate) -> None:
    held = rc[0].apply_async(gate.arrive)
    quick, bad = rc[1].apply_async(abs, -1), rc[1].apply_async(divide, 0)
    assert isinstance(quick, concurrent.futures.Future)
    done, pending = concurrent.futures.wait([held, quick, bad], PATIENCE, concurrent.futures.FIRST_EXCEPTION)
    assert bad in done and pending == {held}
    gate.open()
    assert {each.exception() is None for each in concurrent.futures.as_completed([held, quick], PATIENCE)} == {True}

    async def waits() -> list[object]:
        return [await quick, await asyncio.wrap_future(rc[0].apply_async(abs, -5))]

    assert asyncio.run(waits()) == [1, 5]


def test_the_first_exception(rc: ipp.Client, gate: Gate) -> None:
    view = rc[:]
    view.scatter("rank", [0, 1], flatten=True, block=True)

    def held(rank: int, gate: Gate) -> float:
        if rank:
            gate.arrive()
        return 1 / rank

    result = view.apply_async(held, ipp.Reference("rank"), gate)
    done, pending = result.wait(PATIENCE, ipp.FIRST_EXCEPTION)
    assert [each.engine_id for each in done] == [0] and len(pending) == 1
    with pytest.raises(ZeroDivisionError):
        result.get(PATIENCE, return_when=ipp.FIRST_EXCEPTION)
    gate.open()
    assert result.get(PATIENCE, return_exceptions=True)[1] == 1.0
    assert ipp.AsyncResult.join(*result.split()).get(return_exceptions=True)[1] == 1.0


def test_metadata_are_attributes_and_items(rc: ipp.Client) -> None:
    result = rc[:].apply_async(abs, -1)
    assert result.get() == [1, 1] and result.engine_id == result["engine_id"] == [0, 1]
    assert all(isinstance(each, datetime) for each in result.completed)
    assert [each.engine_id for each in result.metadata] == [0, 1]
    assert result.get_dict() == result.result_dict == {0: 1, 1: 1} and result[0] == 1 and result[:1] == [1]
    assert result.wall_time == result.timedelta(result.submitted, result.received) or result.wall_time > 0
    assert result.serial_time >= 0 and result.elapsed > 0 and result.progress == len(result) == 2
    assert (
        result.error == result.execute_input == [None, None] and result.data == [{}, {}] and result.label == [None] * 2
    )
    failed = rc[:].apply_async(divmod, 1, 0)
    failed.wait()
    assert [type(error).__name__ for error in failed.error] == ["ZeroDivisionError"] * 2
    infos = [entry[3] for entry in failed.exception().elist]
    assert [(each["engine_id"], each["engine_uuid"]) for each in infos] == list(enumerate(failed.engine_uuid))
    assert failed.error[1].engine_info["engine_uuid"] == failed.engine_uuid[1]
    alone = rc[[0]].execute("1/0")
    alone.wait()
    assert isinstance(alone.error[0], ZeroDivisionError) and alone.metadata[0].error is alone.error[0]
    for missing in ("foo", "__length_hint__", "_foo"):
        assert not hasattr(result, missing)
    with pytest.raises(KeyError):
        result["foo"]
    with pytest.raises(TypeError, match="key type"):
        result[None]
    with pytest.raises(TypeError, match="not iterable"):
        list(rc[0].apply_async(abs, 1))
    assert {"engine_id", "get", "stdout"} <= set(dir(result))
