"""The tree of exceptions, and the two that a view raises: RemoteError and CompositeError."""

from __future__ import annotations

import builtins
import copy
import multiprocessing
import pickle
import subprocess
import sys
import traceback
from typing import Any

import pytest

from parpool import errors
from parpool.errors import CompositeError, ParpoolError, RemoteError

groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are newer")

MESSAGE = "one or more exceptions from call to method: execute"
TRACEBACK = 'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\nZeroDivisionError: by zero\n'


def entry(engine_id: int, name: str = "ZeroDivisionError", text: str = "by zero", tb: str = TRACEBACK) -> Any:
    return name, text, tb, {"engine_id": engine_id, "method": "execute"}


def composite(count: int = 4) -> CompositeError:
    return CompositeError(MESSAGE, [entry(engine_id) for engine_id in range(count)])


# The tree -------------------------------------------------------------------------------------------


def test_the_drawn_tree_is_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn = {line.split()[1]: line for line in errors.__doc__.splitlines() if line.strip()[:1] in "├└" and line.strip()}
    kinds = {name: getattr(errors, name) for name in errors.__all__}
    ours = {kind.__name__ for kind in kinds.values() if issubclass(kind, ParpoolError)} - {"ParpoolError"}
    assert drawn.keys() == ours | {"ResultTimeout"}
    for name, line in drawn.items():
        if "(also a" in line and (sys.version_info >= (3, 11) or "Group" not in line):
            other = line.split("(also a")[1].removeprefix("n").strip(" )")
            assert issubclass(kinds[name], getattr(builtins, other))


def test_every_name_is_there_and_a_wrong_one_is_not() -> None:
    assert all(issubclass(getattr(errors, name), Exception) for name in errors.__all__)
    with pytest.raises(AttributeError, match="'Timeout'"):
        errors.Timeout  # noqa: B018


def test_S16_S17_S18_older_names_are_the_same_classes() -> None:
    assert errors.AbortedTask is errors.TaskAborted
    assert errors.UnmetDependencyError is errors.UnmetDependency
    assert issubclass(errors.DependencyTimeout, ParpoolError)


def test_L4_L9_dependency_errors_are_told_apart() -> None:
    kinds = [errors.UnmetDependency, errors.DependencyTimeout, errors.ImpossibleDependency, errors.InvalidDependency]
    assert all(not issubclass(one, other) for one in kinds for other in kinds if one is not other)


def test_S19_TimeoutError_is_that_of_multiprocessing() -> None:
    assert errors.TimeoutError is multiprocessing.TimeoutError


def test_J5_ResultTimeout_is_caught_by_either_name() -> None:
    assert errors.ResultTimeout is errors.ResultTimeout
    error = errors.ResultTimeout("Result not ready.")
    assert isinstance(error, multiprocessing.TimeoutError) and isinstance(error, TimeoutError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is errors.ResultTimeout and str(again) == "Result not ready."


def test_the_errors_need_no_multiprocessing() -> None:
    code = "import sys; from parpool import errors; str(errors.RemoteError('E', 'v', 't')); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "multiprocessing" not in done.stdout.split()


# RemoteError ----------------------------------------------------------------------------------------


def test_S1_a_remote_error_prints_its_type_its_text_and_the_remote_traceback() -> None:
    error = RemoteError("ZeroDivisionError", "by zero", TRACEBACK, 0)
    assert str(error) == f"ZeroDivisionError(by zero)\n{TRACEBACK.rstrip()}"
    printed = "".join(traceback.format_exception_only(type(error), error))
    assert printed.startswith("parpool.errors.RemoteError: ZeroDivisionError(by zero)\nTraceback (most recent")


def test_S6_a_remote_error_keeps_name_value_and_text() -> None:
    error = RemoteError("ValueError", "why", TRACEBACK, 3, "apply")
    assert (error.ename, error.evalue, error.traceback) == ("ValueError", "why", TRACEBACK)
    assert (error.engine_id, error.method) == (3, "apply")
    assert error.engine_info == {"engine_id": 3, "method": "apply"}
    assert repr(error) == "<RemoteError ValueError(why) on engine 3>"
    assert error.original is None


def test_a_remote_error_of_which_little_is_known() -> None:
    error = RemoteError("ValueError", "why")
    assert str(error) == "ValueError(why)" and error.engine_id is None and error.method == ""
    assert error.render_traceback() == ["ValueError: why"]
    assert repr(error) == "<RemoteError ValueError(why)>"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_remote_error_is_copied_whole(again: Any) -> None:
    error = RemoteError("ValueError", "why", TRACEBACK, 3, "apply", {"engine_uuid": "u"})
    error.more = 5  # type: ignore[attr-defined]
    other = again(error)
    assert type(other) is RemoteError and other is not error
    assert vars(other) == vars(error) and other.args == error.args and str(other) == str(error)


def test_a_remote_error_without_its_constructor() -> None:
    class Short(RemoteError):
        def __init__(self) -> None:
            pass

    assert str(Short()) == "()" and Short().engine_id is None and Short().method == ""


def test_S14_a_notebook_shows_the_remote_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    error = RemoteError("ZeroDivisionError", "by zero", TRACEBACK, 0)
    assert error._render_traceback_() == error.render_traceback() == TRACEBACK.splitlines()
    error.print_traceback()
    assert capsys.readouterr().out == TRACEBACK


# CompositeError -------------------------------------------------------------------------------------


def test_S8_the_message_has_a_line_for_each_engine() -> None:
    lines = [f"[{engine_id}:execute]: ZeroDivisionError: by zero" for engine_id in range(4)]
    assert str(composite()) == "\n".join([MESSAGE, *lines])


def test_S8_a_long_text_has_one_line_too() -> None:
    error = CompositeError(MESSAGE, [entry(0, "E", "one\ntwo\n"), entry(1, "KeyboardInterrupt", "")])
    assert str(error).splitlines()[1:] == ["[0:execute]: E: one ...", "[1:execute]: KeyboardInterrupt"]


def test_S8_many_lines_are_cut_in_the_middle() -> None:
    assert len(str(composite(21)).splitlines()) == 22  # a line that says "1 more" would be no shorter
    lines = str(composite(100)).splitlines()[1:]
    assert len(lines) == 21
    assert lines[15].startswith("[15:") and lines[16] == "[...]: 80 more, see elist" and lines[17].startswith("[96:")


def test_S8_what_is_not_known_is_a_question_mark() -> None:
    error = CompositeError("m", [("E", "v", "", {}), ("E", "v", "", None)])
    assert str(error) == "m\n[?:?]: E: v\n[?:?]: E: v"


def test_S9_one_of_the_exceptions_is_raised() -> None:
    error = CompositeError(MESSAGE, [entry(0), entry(1, "KeyError", "'k'")])
    with pytest.raises(RemoteError) as first:
        error.raise_exception()
    assert first.value is error.exceptions[0] and first.value.ename == "ZeroDivisionError"
    with pytest.raises(RemoteError) as second:
        error.raise_exception(1)
    assert second.value.ename == "KeyError" and second.value.engine_id == 1
    with pytest.raises(RemoteError) as last:
        error.raise_exception(-1)
    assert last.value is second.value


def test_S9_what_is_raised_does_not_print_the_others() -> None:
    raised: Any = None
    for _ in range(3):
        try:
            raise composite()
        except CompositeError as error:
            try:
                error.raise_exception(2)
            except RemoteError as one:
                raised = one
    printed = "".join(traceback.format_exception(type(raised), raised, raised.__traceback__))
    assert printed.count("ZeroDivisionError(by zero)") == 1 and MESSAGE not in printed
    frames = len(traceback.extract_tb(raised.__traceback__))
    with pytest.raises(RemoteError):
        CompositeError("m", [entry(0)], [raised]).raise_exception()
    assert len(traceback.extract_tb(raised.__traceback__)) == frames


@pytest.mark.parametrize("excid", [4, -5, 100])
def test_S10_an_index_that_does_not_exist(excid: int) -> None:
    with pytest.raises(IndexError) as info:
        composite().raise_exception(excid)
    assert str(info.value) == f"an exception with index {excid} does not exist"


def test_S11_elist_has_name_value_traceback_and_engine() -> None:
    error = composite(2)
    assert error.elist == [entry(0), entry(1)]
    one, two = error.exceptions
    assert isinstance(one, RemoteError) and isinstance(two, RemoteError)
    assert (two.ename, two.evalue, two.traceback, two.engine_id, two.method) == (*entry(1)[:3], 1, "execute")


def test_S12_print_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    error = composite(2)
    error.print_tracebacks()
    assert capsys.readouterr().out == f"[0:execute]: \n{TRACEBACK}\n[1:execute]: \n{TRACEBACK}"
    error.print_traceback()
    assert capsys.readouterr().out == f"[0:execute]: \n{TRACEBACK}\n[1:execute]: \n{TRACEBACK}"
    error.print_traceback(1)
    assert capsys.readouterr().out == f"[1:execute]: \n{TRACEBACK}"
    assert error.render_tracebacks() == error.render_traceback()
    assert error.render_traceback(0) == ["[0:execute]: ", *TRACEBACK.splitlines()]


def test_S12_without_a_traceback_there_is_the_text() -> None:
    assert CompositeError("m", [entry(5, "E", "v", "")]).render_tracebacks() == ["[5:execute]: ", "E: v"]


def test_S13_what_the_debugger_completes() -> None:
    error = composite(2)
    assert error.message == MESSAGE and error.args == (MESSAGE, error.elist)
    assert error._get_engine_str(1) == "[1:execute]: "
    assert error._get_traceback(1) == TRACEBACK.rstrip()
    assert {"elist", "message", "print_tracebacks", "raise_exception"} <= set(dir(error))
    assert repr(error) == f"<CompositeError: {MESSAGE} (2)>"


def test_S14_a_notebook_shows_the_remote_tracebacks() -> None:
    lines = composite(2)._render_traceback_()
    assert lines[0] == f"CompositeError: {MESSAGE}"
    assert lines.count("[0:execute]: ") == lines.count("[1:execute]: ") == 1
    assert all("\n" not in line for line in lines)
    assert "[...]: 80 more, see print_tracebacks()" in composite(100)._render_traceback_()


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_composite_error_is_copied_whole(again: Any) -> None:
    error: Any = composite(2)
    error.results = [error.exceptions[0], 5, error.exceptions[1]]
    error.more = 6
    other = again(error)
    assert type(other) is CompositeError and other is not error
    assert (other.message, other.elist, other.more, str(other)) == (error.message, error.elist, 6, str(error))
    assert other.args == error.args
    assert other.results[0] is other.exceptions[0] and other.results[1] == 5
    assert [each.engine_id for each in other.exceptions] == [0, 1]


def test_of_none_there_is_no_composite_error() -> None:
    with pytest.raises(ValueError):
        CompositeError("m", [])


@groups
def test_S7_a_composite_error_is_an_exception_group() -> None:
    error: Any = CompositeError(MESSAGE, [entry(0), entry(1, "KeyError", "'k'")], results=["x", 1, 2])
    assert isinstance(error, ExceptionGroup) and isinstance(error, ParpoolError)  # noqa: F821
    match, rest = error.split(lambda each: isinstance(each, RemoteError) and each.ename == "KeyError")
    assert type(match) is CompositeError and match.elist == [error.elist[1]] and match.results == ["x", 1, 2]
    assert type(rest) is CompositeError and rest.elist == [error.elist[0]] and rest.exceptions == error.exceptions[:1]
    assert str(rest) == f"{MESSAGE}\n[0:execute]: ZeroDivisionError: by zero"
    assert error.subgroup(RemoteError).exceptions == error.exceptions and error.subgroup(OSError) is None
    part = error.derive([*error.exceptions, ValueError("new")])
    assert str(part).splitlines()[3] == "[?:?]: ValueError: new"


@groups
def test_S7_except_star() -> None:
    # A SyntaxError before 3.11.
    code = """
try:
    raise error
except* TypeError as found:
    caught.append(found)
except* KeyError as found:
    caught.append(found)
"""
    members = [KeyError("a"), TypeError("b"), KeyError("c")]
    error = CompositeError("m", [entry(0, "KeyError"), entry(1, "TypeError"), entry(2, "KeyError")], members)
    caught: list[Any] = []
    exec(code, {"error": error, "caught": caught})
    assert [[each[0] for each in found.elist] for found in caught] == [["TypeError"], ["KeyError", "KeyError"]]
    assert caught[1].exceptions == (members[0], members[2])
