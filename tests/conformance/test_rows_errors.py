"""The mission's rows of remote errors (S), end to end; and engines that die, or are interrupted, under views' calls."""

from __future__ import annotations

import asyncio
import builtins
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import pytest
from rows import PATIENCE, Gate, at_prompt, fail, through, until

import parpool
from parpool import (
    AsyncResult,
    Client,
    CompositeError,
    DependencyTimeout,
    EngineLost,
    NoEngines,
    ParpoolError,
    Pool,
    RemoteError,
    SerializationError,
    TaskAborted,
    TaskTimeout,
    UnmetDependency,
)
from parpool.wire.remote import collect_exceptions


def caught(result: AsyncResult, kind: Any = Exception) -> Any:
    with pytest.raises(kind) as info:
        result.get(PATIENCE)
    return info.value


def divide(a: int, b: int) -> float:
    return a / b  # this very line


def deeper(a: int) -> float:
    try:
        return divide(a, 0)
    except ZeroDivisionError as error:
        raise LookupError("nothing there") from error


def fail_in(pid: int, error: Exception) -> str:
    if os.getpid() == pid:
        raise error
    return "fine"


def pids(rc: Client) -> list[int]:
    return rc[:].apply_sync(os.getpid)


BOTH = """\
one or more exceptions from call to method: execute
[0:execute]: ZeroDivisionError: division by zero
[1:execute]: ZeroDivisionError: division by zero"""


def composite(rc: Client) -> CompositeError:
    error: CompositeError = caught(rc[:].execute("1/0"), CompositeError)
    return error


# S1 to S6. One engine ------------------------------------------------------------------------------------


def test_S1_type_and_text_and_the_remote_traceback(rc: Client) -> None:
    for result in (rc[0].apply_async(divide, 1, 0), rc.load_balanced_view().apply_async(divide, 1, 0)):
        result.wait(PATIENCE)  # raises nothing: only who asks for the result gets it
        error = caught(result, RemoteError)
        first, second, *_, last = str(error).splitlines()
        assert first == "ZeroDivisionError(division by zero)"
        assert second == "Traceback (most recent call last):" and last == "ZeroDivisionError: division by zero"
        assert "in divide" in str(error) and "a / b  # this very line" in str(error)
        assert "parpool" not in str(error).replace(str(Path(__file__).parents[2]), ""), "its own frames are left out"


def test_S2_right_away_where_the_call_blocks(rc: Client) -> None:
    with pytest.raises(RemoteError) as info:
        rc[0].execute("1/0", block=True)
    assert isinstance(info.value, ZeroDivisionError) and info.value.method == "execute"
    with pytest.raises(ZeroDivisionError):
        rc[0].apply_sync(divide, 1, 0)
    for view in (rc[0], rc.load_balanced_view()):
        with view.temp_flags(block=True), pytest.raises(ZeroDivisionError):
            view.apply(divide, 1, 0)
    with pytest.raises(NameError):
        rc[0]["no_such_name"]


def test_S3_when_asked_for_where_it_does_not(rc: Client) -> None:
    result = rc[0].execute("1/0")
    result.wait(PATIENCE)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            result.get(PATIENCE)
        with pytest.raises(ZeroDivisionError):
            result.r  # noqa: B018
    assert isinstance(result.get(return_exceptions=True), ZeroDivisionError)


def test_S4_both_natures_and_the_cause(rc: Client) -> None:
    error = caught(rc[0].apply_async(deeper, 1))
    assert isinstance(error, RemoteError) and isinstance(error, LookupError) and isinstance(error, ParpoolError)
    assert error.args == ("nothing there",) and error.engine_id == 0
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    for words in ("in divide", "in deeper", "direct cause", "ZeroDivisionError: division by zero", "nothing there"):
        assert words in shown
    assert isinstance(error.original, LookupError) and "in deeper" in str(error.original.__cause__)


def test_S4_attributes_and_odd_classes(rc: Client) -> None:
    error = caught(rc[0].apply_async(os.listdir, "/no/such/folder"), FileNotFoundError)
    assert isinstance(error, RemoteError) and error.filename == "/no/such/folder" and error.errno == 2
    error = caught(rc[0].apply_async(raise_demanding), Demanding)
    assert isinstance(error, RemoteError) and (error.one, error.other) == (1, "two") and "1 and two" in str(error)
    error = caught(rc[0].apply_async(bytes.decode, b"\xff"), UnicodeDecodeError)
    assert (error.encoding, error.object, error.start) == ("utf-8", b"\xff", 0)
    error = caught(rc[0].apply_async(fail, KeyError("k")), KeyError)
    assert error.args == ("k",)


class Demanding(Exception):
    """Its constructor is not that of other exceptions, and it has no pickle that opens by itself."""

    def __init__(self, one: int, *, other: str) -> None:
        super().__init__(f"{one} and {other}")
        self.one, self.other = one, other

    def __reduce__(self) -> Any:
        return make_demanding, (self.one, self.other)


def make_demanding(one: int, other: str) -> Demanding:
    return Demanding(one, other=other)


def raise_demanding() -> NoReturn:
    raise Demanding(1, other="two")


def test_S4_tracebacks_have_the_lines_of_code_that_is_in_no_file_here(rc: Client, tmp_path: Path) -> None:
    error = caught(rc[0].execute("def broken(x):\n    return [x][3]  # in a string\nbroken(1)"), IndexError)
    assert "return [x][3]  # in a string" in str(error) and "in broken" in str(error)
    error = caught(rc[0].apply_async(lambda: [][1]), IndexError)
    assert "lambda: [][1]" in str(error)
    script = tmp_path / "script.py"
    script.write_text("def of_file():\n    raise KeyError('of a file')\nof_file()\n")
    error = caught(rc[0].run(script), KeyError)
    assert "raise KeyError('of a file')" in str(error) and str(script) in str(error)
    rc.clear()


def test_S5_remote_for_one_engine_composite_for_several(rc: Client) -> None:
    first = pids(rc)[0]
    for view in (rc[0], rc[-1], rc.load_balanced_view(), rc.load_balanced_view([1])):
        error = caught(view.apply_async(divide, 1, 0))
        assert isinstance(error, RemoteError) and not isinstance(error, CompositeError)
    for view in (rc[:], rc[[0]], rc[0, 1], rc.direct_view("all")):
        assert isinstance(caught(view.apply_async(divide, 1, 0)), CompositeError)
    assert isinstance(caught(rc[:].apply_async(fail_in, first, ValueError())), CompositeError), "even where one failed"


def test_S6_name_value_and_traceback(rc: Client) -> None:
    error = caught(rc[1].apply_async(divide, 1, 0))
    assert (error.ename, error.evalue) == ("ZeroDivisionError", "division by zero")
    assert error.traceback.startswith("Traceback (most recent call last):\n") and "in divide" in error.traceback
    assert error.engine_info["engine_id"] == error.engine_id == 1 and error.engine_info["method"] == "apply"
    made = RemoteError("KeyError", "'k'", "Traceback: ...")
    assert (made.ename, made.evalue, made.traceback) == ("KeyError", "'k'", "Traceback: ...")
    assert str(made).startswith("KeyError('k')")


# S7 to S15. Several engines -------------------------------------------------------------------------------


def test_S7_composite_errors_wrap_one_for_each_engine(rc: Client) -> None:
    error = composite(rc)
    assert len(error.exceptions) == 2
    for id, each in enumerate(error.exceptions):
        assert isinstance(each, ZeroDivisionError) and isinstance(each, RemoteError) and each.engine_id == id
    assert isinstance(error, ParpoolError)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and [type(each) for each in again.exceptions]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no exception groups")
def test_S7_composite_errors_are_exception_groups(rc: Client) -> None:
    seen: dict[str, Any] = {"rc": rc, "found": []}
    exec(
        "try:\n"
        "    rc[:].apply_sync(int, 'x')\n"
        "except* ValueError as group:\n"
        "    found.append(group)\n"
        "except* TypeError:\n"
        "    raise AssertionError\n",
        seen,
    )
    (group,) = seen["found"]
    assert len(group.exceptions) == 2 and isinstance(group, CompositeError)
    matching, others = composite(rc).split(lambda each: getattr(each, "engine_id", None) == 1)
    assert [each.engine_id for each in matching.exceptions] == [1]
    assert [each.engine_id for each in others.exceptions] == [0]
    assert str(matching).splitlines()[1:] == ["[1:execute]: ZeroDivisionError: division by zero"]


def test_S8_the_exact_text(rc: Client) -> None:
    assert str(composite(rc)) == BOTH
    error = caught(rc[:].apply_async(fail_in, pids(rc)[1], KeyError("k")))
    assert str(error) == "one or more exceptions from call to method: apply\n[1:apply]: KeyError: 'k'"
    error = caught(rc[1, 0].pull("no_such_name"))
    assert [line.split("]")[0] for line in str(error).splitlines()[1:]] == ["[1:pull", "[0:pull"]
    mapped = caught(rc[:].map_async(divide, [1, 1], [0, 0]), CompositeError)
    assert str(mapped).splitlines()[0] == "one or more exceptions from call to method: map"
    pushed = caught(rc[:].push({"x": Unopenable()}), CompositeError)
    assert str(pushed).splitlines()[:2] == [
        "one or more exceptions from call to method: push",
        "[0:push]: LookupError: cannot be opened",
    ]


class Unopenable:
    """Cannot be opened on an engine."""

    def __reduce__(self) -> Any:
        return refuse_to_open, ()


def refuse_to_open() -> NoReturn:
    raise LookupError("cannot be opened")


def test_S9_raise_exception(rc: Client) -> None:
    error = caught(rc[:].apply_async(raise_pid))
    first, second = pids(rc)
    with pytest.raises(ValueError) as info:
        error.raise_exception()
    assert info.value.args == (first,) and isinstance(info.value, RemoteError)
    with pytest.raises(ValueError) as info:
        error.raise_exception(excid=1)
    assert info.value.args == (second,)


def raise_pid() -> NoReturn:
    raise ValueError(os.getpid())


def test_S10_an_index_that_does_not_exist(rc: Client) -> None:
    with pytest.raises(IndexError) as info:
        composite(rc).raise_exception(5)
    assert str(info.value) == "an exception with index 5 does not exist"


def test_S11_elist(rc: Client) -> None:
    error = composite(rc)
    assert len(error.elist) == 2
    for id, (name, value, text, engine) in enumerate(error.elist):
        assert (name, value) == ("ZeroDivisionError", "division by zero")
        assert "Traceback" in text and (engine["engine_id"], engine["method"]) == (id, "execute")


def test_S12_print_tracebacks(rc: Client, capsys: pytest.CaptureFixture[str]) -> None:
    error = composite(rc)
    error.print_tracebacks()
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0] == "[0:execute]: " and "[1:execute]: " in lines
    assert shown.count("Traceback (most recent call last):") == shown.count("ZeroDivisionError: division by zero") == 2
    error.print_traceback()
    assert capsys.readouterr().out == shown
    error.print_traceback(1)
    assert capsys.readouterr().out.startswith("[1:execute]: \nTraceback")


def test_S13_what_completion_shows(rc: Client) -> None:
    error = composite(rc)
    assert error.message == "one or more exceptions from call to method: execute"
    assert error.args[0] == error.message and error.args[1] == error.elist
    assert error._get_engine_str(1) == "[1:execute]: " and "Traceback" in error._get_traceback(1)
    assert {"message", "args", "elist", "raise_exception", "print_tracebacks", "results"} <= set(dir(error))


def test_S14_notebooks_and_debuggers(rc: Client) -> None:
    error = composite(rc)
    rendered = error._render_traceback_()
    assert isinstance(rendered, list) and all(isinstance(line, str) and "\n" not in line for line in rendered)
    assert any("[1:execute]" in line for line in rendered)
    single = caught(rc[0].apply_async(divide, 1, 0))._render_traceback_()
    assert isinstance(single, list) and single[-1] == "ZeroDivisionError: division by zero"
    try:
        rc[:].execute("1/0", block=True)
    except CompositeError as raised:
        last = raised.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        assert last is not None and last.tb_frame.f_code is not None, "there is a frame to look at"


def test_S15_collect_exceptions(rc: Client) -> None:
    assert collect_exceptions([1, 2], "apply") == [1, 2]
    error = caught(rc[1].apply_async(divide, 1, 0))
    with pytest.raises(CompositeError) as info:
        collect_exceptions([1, error, 3], "gather")
    assert info.value.message == "one or more exceptions from call to method: gather"
    assert info.value.results == [1, error, 3] and info.value.elist[0][3]["engine_id"] == 1


# S16 to S19. The classes -----------------------------------------------------------------------------------


def test_S16_aborted_task(rc: Client, gate: Gate) -> None:
    assert parpool.AbortedTask is TaskAborted and parpool.errors.AbortedTask is TaskAborted
    held = rc[:].apply_async(arrive_each, gate)
    until(lambda: len(gate.arrived()) == 2)
    waiting = [rc[0].apply_async(abs, -1), rc.load_balanced_view().apply_async(abs, -1)]
    rc.abort(waiting)
    for result in waiting:
        assert "abs(-1)" in str(caught(result, TaskAborted)), "it says what was aborted"
    gate.open()
    held.wait(PATIENCE)


def arrive_each(gate: Gate) -> int:
    gate.arrive(os.getpid())
    return os.getpid()


def test_S17_dependency_timeout(rc: Client, gate: Gate) -> None:
    held = rc[0].apply_async(through, gate)
    with rc.load_balanced_view().temp_flags(after=held, timeout=0.01):
        late = rc.load_balanced_view().apply_async(abs, -1)
    assert isinstance(caught(late, DependencyTimeout), TimeoutError)
    gate.open()
    held.wait(PATIENCE)


def test_S18_unmet_dependency(rc: Client) -> None:
    assert parpool.UnmetDependencyError is UnmetDependency is parpool.errors.UnmetDependencyError
    error = caught(rc.load_balanced_view().apply_async(parpool.depend(bool, 0)(abs), -1), parpool.UnmetDependencyError)
    assert "engines asked: 0, 1" in str(error) and isinstance(error, ParpoolError)


def test_S19_timeout_error(rc: Client, gate: Gate) -> None:
    assert parpool.errors.TimeoutError is multiprocessing.TimeoutError is parpool.TimeoutError
    result = rc[0].apply_async(through, gate)
    for kind in (parpool.errors.TimeoutError, builtins.TimeoutError, parpool.ResultTimeout):
        with pytest.raises(kind, match=r"^Result not ready\.$"):
            result.get(0.01)
    gate.open()
    result.wait(PATIENCE)


# The issue: one failing engine of many ----------------------------------------------------------------------


def test_the_results_of_the_others_remain_reachable(rc: Client) -> None:
    first, second = pids(rc)
    for failing, results in ((first, [None, "fine"]), (second, ["fine", None])):
        result = rc[:].apply_async(fail_in, failing, ValueError("only here"))
        error = caught(result, CompositeError)
        id = results.index(None)
        assert error.results[1 - id] == "fine" and error.results[id] is error.exceptions[0]
        assert [entry[3]["engine_id"] for entry in error.elist] == [id]
        assert result.get(return_exceptions=True)[1 - id] == "fine" == result[1 - id]
        assert [part.successful() for part in result.split()] == [id == 1, id == 0]
        assert [data["status"] for data in result.metadata] == ["error" if n == id else "ok" for n in (0, 1)]


def test_execute_fails_on_one_engine(rc: Client) -> None:
    rc[0].push({"zero": 0}, block=True)
    rc[1].push({"zero": 1}, block=True)
    error = caught(rc[:].execute("y = 1 / zero; y"), CompositeError)
    assert str(error).splitlines()[1:] == ["[0:execute]: ZeroDivisionError: division by zero"]
    assert error.results[1].text == "1.0" and rc[1]["y"] == 1.0
    rc.clear()


# The issue: odd exceptions ------------------------------------------------------------------------------------


ODD = [
    SystemExit(3),
    SystemExit("text"),
    KeyboardInterrupt("k"),
    GeneratorExit(),
    asyncio.CancelledError(),
    StopIteration(1),
    StopAsyncIteration(),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_base_exceptions_are_outcomes_like_any_other(rc: Client, odd: BaseException) -> None:
    before = pids(rc)
    for view in (rc[0], rc.load_balanced_view()):
        error = caught(view.apply_async(fail, odd), RemoteError)
        assert (error.ename, error.evalue) == (type(odd).__name__, str(odd))
        assert not isinstance(error, type(odd)), "it would end something here"
    error = caught(rc[:].apply_async(fail, odd), CompositeError)
    assert [entry[0] for entry in error.elist] == [type(odd).__name__] * 2
    code = f"import {type(odd).__module__} as home; raise home.{type(odd).__name__}('x')"
    assert caught(rc[0].execute(code), RemoteError).ename == type(odd).__name__
    assert pids(rc) == before, "and the engines live on"
    rc.clear()


def test_exceptions_that_cannot_travel(rc: Client) -> None:
    error = caught(rc[0].apply_async(raise_with_lock), RemoteError)
    assert (error.ename, error.evalue) == ("RuntimeError", "has a lock") and "in raise_with_lock" in str(error)
    error = caught(rc[0].execute("class Unknown(Exception): pass\nraise Unknown('only there')"), RemoteError)
    assert (error.ename, error.evalue) == ("Unknown", "only there")
    error = caught(rc[0].apply_async(raise_without_text), RemoteError)
    assert error.ename == "Textless" and "not available" in error.evalue
    error = caught(rc[:].apply_async(raise_with_lock), CompositeError)
    assert str(error).count("RuntimeError: has a lock") == 2
    rc.clear()


def raise_with_lock() -> NoReturn:
    error = RuntimeError("has a lock")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


class Textless(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        raise OSError("no text")

    def __reduce__(self) -> Any:
        raise TypeError("no pickle")


def raise_without_text() -> NoReturn:
    raise Textless


def test_exceptions_that_engines_got_from_engines(rc: Client) -> None:
    """A task may itself have views, and fail by what they raise."""
    error = caught(rc[0].apply_async(use_a_pool))
    assert isinstance(error, KeyError) and isinstance(error, RemoteError) and error.engine_id == 0


def use_a_pool() -> None:
    with Pool(1) as pool:
        pool.client[0].apply_sync(fail, KeyError("of an inner engine"))


# The issue: what cannot be pickled, or opened -------------------------------------------------------------------


class CannotBeOpened:
    """Pickles well, and raises when it is opened here."""

    def __reduce__(self) -> Any:
        return raise_here, (os.getpid(),)


def raise_here(pid: int) -> str:
    if os.getpid() != pid:
        raise LookupError("not in this process")
    return "opened"


def test_values_that_cannot_be_opened(rc: Client) -> None:
    lview = rc.load_balanced_view()
    result = rc[0].apply_async(CannotBeOpened)
    for _ in range(2):
        assert caught(result, LookupError).args == ("not in this process",)
    error = caught(rc[:].apply_async(CannotBeOpened), CompositeError)
    assert [entry[3]["engine_id"] for entry in error.elist] == [0, 1] and "not in this process" in str(error)
    mixed = lview.map_async(openable_if, [1, 0, 1], chunksize=1)
    error = caught(mixed, CompositeError)
    assert error.results[0] == error.results[2] == "fine" and isinstance(error.results[1], LookupError)
    assert error.elist[0][3]["engine_id"] in rc.ids
    with pytest.raises(LookupError):
        list(mixed)
    assert lview.apply_sync(abs, -1) == 1, "and nothing else is wedged"


def openable_if(flag: int) -> Any:
    return "fine" if flag else CannotBeOpened()


def test_values_that_cannot_be_pickled(rc: Client) -> None:
    for view in (rc[0], rc.load_balanced_view()):
        error = caught(view.apply_async(threading.Lock), RemoteError)
        assert error.ename == "MaybeEncodingError" and "lock" in str(error)
        assert isinstance(error, multiprocessing.pool.MaybeEncodingError)
    assert str(caught(rc[:].apply_async(threading.Lock), CompositeError)).count("MaybeEncodingError") == 2
    error = caught(rc[0].pull("__import__('threading').Lock()"))
    assert "lock" in str(error)


def test_values_that_travel_by_value(rc: Client) -> None:
    function = rc[0].apply_sync(make_adder, 5)
    assert function(3) == 8
    assert [each(1) for each in rc[:].apply_sync(make_adder, 5)] == [6, 6]
    assert [each(1) for each in rc.load_balanced_view().map_sync(make_adder, range(3))] == [1, 2, 3]


def make_adder(number: int) -> Any:
    return lambda x: x + number


@pytest.mark.parametrize("sort", ["one engine", "several", "balanced"])
def test_arguments_that_cannot_be_pickled_raise_at_the_call_and_name_the_path(rc: Client, sort: str) -> None:
    view = {"one engine": rc[0], "several": rc[:], "balanced": rc.load_balanced_view()}[sort]
    lock = threading.Lock()
    assert rc.wait(timeout=PATIENCE)
    before = set(rc.history)
    for call in (view.apply, view.apply_async, view.apply_sync):
        with pytest.raises(SerializationError) as info:
            call(print, 1, [0, {"key": (lock,)}])
        assert "args[1][1]['key'][0]" in str(info.value) and "lock" in str(info.value)
        with pytest.raises(SerializationError, match=r"kwds\['end'\]|kwargs\['end'\]"):
            call(print, 1, end=lock)
    with pytest.raises(TypeError):  # the class of pickle's own refusal
        view.apply(print, lock)
    with pytest.raises(SerializationError, match="lock"):
        view.apply(lambda: lock)
    assert not rc.outstanding and set(rc.history) <= before, "nothing was sent"
    assert view.apply_sync(abs, -1) in (1, [1, 1])


def test_names_that_cannot_be_pickled_raise_at_the_call(rc: Client) -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationError, match="lock"):
        rc[:].push({"fine": 1, "bad": [lock]})
    with pytest.raises(SerializationError, match="lock"):
        rc[0]["bad"] = lock
    with pytest.raises(SerializationError, match="lock"):
        rc[:].scatter("bad", [1, lock])
    assert "bad" not in rc[0] and "fine" not in rc[0]


# Engines that die under views' calls -------------------------------------------------------------------------------


def kill_if(pid: int, gate: Gate) -> str:
    gate.arrive(os.getpid())
    if os.getpid() == pid:
        os.kill(pid, signal.SIGKILL)
    return "alive"


def test_an_engine_that_is_killed_during_a_call() -> None:
    with Pool(2) as pool:
        rc = pool.client
        error = caught(rc[0].apply_async(os.kill, 0, 0).join(rc[0].apply_async(die)), CompositeError)
        assert isinstance(error.results[1], EngineLost)
        error = error.results[1]
        assert "engine 0 died while it ran die()" in str(error) and error.engine_id == 0 and "SIGKILL" in str(error)
        assert rc.wait_for_engines(2, PATIENCE)
        result = rc.load_balanced_view().apply_async(die)
        assert isinstance(caught(result), EngineLost) and result.metadata["status"] == "error"
        assert rc.wait_for_engines(2, PATIENCE)
        assert len(set(pids(rc))) == 2 and rc.load_balanced_view().map_sync(abs, [-1] * 9) == [1] * 9
    pool.join()


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_an_engine_of_several_that_is_killed(tmp_path: Path) -> None:
    with Pool(2) as pool, Gate(tmp_path) as gate:
        rc = pool.client
        first, second = pids(rc)
        result = rc[:].apply_async(kill_if, second, gate)
        queued = rc[:].apply_async(os.getpid)
        gate.await_one(first)
        gate.await_one(second)
        gate.open()
        error = caught(result, CompositeError)
        assert error.results[0] == "alive" and isinstance(error.results[1], EngineLost) and len(error.elist) == 1
        assert str(error).splitlines()[1].startswith("[1:apply]: EngineLost: engine 1 died while it ran kill_if(")
        values = queued.get(PATIENCE, return_exceptions=True)
        assert values[0] == first and isinstance(values[1], EngineLost), "what was for it alone is lost with it"
    pool.join()


def test_an_engine_that_is_killed_from_outside_by_whoever(tmp_path: Path) -> None:
    with Pool(2) as pool, Gate(tmp_path) as gate:
        rc = pool.client
        result = rc.load_balanced_view([1]).apply_async(arrive_each, gate)
        pid = pids_of(rc, 1)
        gate.await_one(pid)
        os.kill(pid, signal.SIGKILL)
        error = caught(result, EngineLost)
        assert error.engine_id == 1 and "arrive_each(" in str(error)
        assert 1 not in rc.ids or pids_of(rc, 1) != pid
        assert rc.wait_for_engines(2, PATIENCE)
    pool.join()


def pids_of(rc: Client, id: int) -> int:
    pid: int = rc.queue_status(id, verbose=True)["pid"]
    return pid


def test_a_call_of_an_engine_that_is_gone_says_who_is_there() -> None:
    with Pool(2) as pool:
        rc = pool.client
        view = rc[1]
        rc.shutdown(1)
        until(lambda: rc.ids == [0])
        with pytest.raises(NoEngines, match=r"engine 1 .*\[0\]"):
            view.apply(abs, -1)
        with pytest.raises(IndexError, match=r"\[0\]"):
            rc[1]
        assert rc[:].apply_sync(abs, -1) == [1]
    pool.join()


def test_retries_of_a_view_s_call(tmp_path: Path) -> None:
    with Pool(2) as pool:
        view = pool.client.load_balanced_view()
        with view.temp_flags(retries=2):
            assert view.apply_sync(die_often, str(tmp_path), 2) == 2
            assert isinstance(caught(view.apply_async(die_often, str(tmp_path), 9)), EngineLost)
        assert len(list(tmp_path.iterdir())) == 5
    pool.join()


def die_often(folder: str, times: int) -> int:
    deaths = len(os.listdir(folder))
    if deaths < times:
        Path(folder, str(deaths)).touch()
        os._exit(1)
    return deaths


def test_results_when_the_pool_ends(tmp_path: Path) -> None:
    with Gate(tmp_path) as gate:
        with Pool(1) as pool:
            rc = pool.client
            running, queued = rc[0].apply_async(through, gate), rc.load_balanced_view().apply_async(abs, -1)
            mapped, both = rc.load_balanced_view().map_async(abs, range(99)), rc[:].apply_async(abs, -1)
            gate.await_one(None)
        pool.join()
        for result in (running, queued):
            assert isinstance(caught(result), TaskAborted)
        for several in (mapped, both):
            error = caught(several, CompositeError)
            assert {type(each) for each in error.exceptions} == {TaskAborted}
        for call in (lambda: rc[0], lambda: rc.load_balanced_view().apply(abs, -1), lambda: rc[:].apply(abs, -1)):
            with pytest.raises((ParpoolError, ValueError, IndexError)):
                call()


# Time limits and interrupts ---------------------------------------------------------------------------------------


def test_task_timeout(rc: Client) -> None:
    before = pids(rc)
    for view in (rc[0], rc.load_balanced_view()):
        with view.temp_flags(task_timeout=0.03):
            result = view.apply_async(time.sleep, 60)
            error = caught(result, TaskTimeout)
            assert isinstance(error, TimeoutError) and result.metadata["status"] == "error"
        with view.temp_flags(task_timeout=PATIENCE):
            assert view.apply_sync(abs, -1) == 1, "others are quick enough"
            assert view.apply_async(time.sleep, 0).get(PATIENCE) is None
    with rc[:].temp_flags(task_timeout=1.0):  # which is for all, also for those that have nothing to do
        error = caught(rc[:].apply_async(sleep_in, before[1]), CompositeError)
        assert error.results[0] == "awake" and isinstance(error.results[1], TaskTimeout)
    result = rc.load_balanced_view().map_async(time.sleep, [0, 60, 0], chunksize=1, task_timeout=1.0)
    values = result.get(PATIENCE, return_exceptions=True)
    assert values[0] is values[2] is None and isinstance(values[1], TaskTimeout)
    assert pids(rc) == before, "and the engines live on"


def sleep_in(pid: int) -> str:
    if os.getpid() == pid:
        time.sleep(60)
    return "awake"


def test_task_timeout_of_what_does_not_heed_it() -> None:
    with Pool(2) as pool:
        rc = pool.client
        with rc.load_balanced_view([1]).temp_flags(task_timeout=0.05):
            stubborn = rc.load_balanced_view([1]).apply_async(never_mind)
        assert "never_mind()" in str(caught(stubborn, TaskTimeout))
        assert rc.wait_for_engines(2, PATIENCE) and len(set(pids(rc))) == 2
    pool.join()


def never_mind() -> NoReturn:
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: B036
            pass


def test_interrupt(rc: Client) -> None:
    before = pids(rc)
    first, second = rc[0].apply_async(say_and_sleep), rc[1].apply_async(say_and_sleep)
    behind = rc[0].apply_async(abs, -1)
    until(lambda: first.stdout and second.stdout)
    rc.interrupt(0)
    error = caught(first, RemoteError)
    assert error.ename == "KeyboardInterrupt" and not isinstance(error, KeyboardInterrupt)
    assert behind.get(PATIENCE) == 1, "what runs next is not touched"
    assert not second.ready()
    rc.interrupt()
    assert caught(second, RemoteError).ename == "KeyboardInterrupt"
    rc.interrupt()  # nothing runs
    assert pids(rc) == before
    with pytest.raises(IndexError):
        rc.interrupt(7)


def say_and_sleep() -> None:
    print("here", flush=True)
    time.sleep(60)


def test_interrupt_ends_one_item_of_a_map(rc: Client) -> None:
    result = rc.load_balanced_view([0]).map_async(sleep_at, range(4), [2] * 4)
    until(lambda: "sleeping" in result.stdout)
    rc.interrupt([0])
    values = result.get(PATIENCE, return_exceptions=True)
    assert values[:2] == [0, 1] and values[3] == 3 and values[2].ename == "KeyboardInterrupt"


def sleep_at(number: int, place: int) -> int:
    if number == place:
        print("sleeping", flush=True)
        time.sleep(60)
    return number


def test_interrupt_can_be_caught_by_the_task(rc: Client) -> None:
    result = rc[0].apply_async(catch_interrupt)
    until(lambda: result.stdout)
    rc.interrupt([0])
    assert result.get(PATIENCE) == "caught"
    execution = rc[1].execute("import time\nprint('here', flush=True)\ntime.sleep(60)")
    until(lambda: execution.stdout)
    rc.interrupt(1)
    assert caught(execution, RemoteError).ename == "KeyboardInterrupt"
    rc.clear()


def catch_interrupt() -> str:
    try:
        print("here", flush=True)  # from then on it may come
        time.sleep(60)
    except KeyboardInterrupt:
        return "caught"
    return "slept"


def test_code_of_a_prompt_keeps_its_errors(rc: Client) -> None:
    """A class of a prompt, raised by a function of the same prompt, is that class here."""
    names = at_prompt("class Odd(Exception): pass\ndef raise_odd(): raise Odd('strange')")
    error = caught(rc[0].apply_async(names["raise_odd"]), RemoteError)
    assert (error.ename, error.evalue) == ("Odd", "strange")
