"""%%px with a cell, and the errors of both."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

pytest.importorskip("IPython")

from answers import Typed, shown, usage

from parpool import Client, CompositeError, DirectView, RemoteError

# A cell ---------------------------------------------------------------------------------------------


def test_W8_a_cell_runs_on_the_engines(px: Typed, view: DirectView) -> None:
    answer = px("%%px\ntotal = 0\nfor i in range(4):\n    total += i\n\nprint(total)\n[n**2 for n in range(total)]")
    for engine in (0, 1):
        assert f"[stdout:{engine}] 6\n" in answer.out and f"Out[{engine}:N]: [0, 1, 4, 9, 16, 25]\n" in shown(
            answer.out
        )
    assert view["total"] == [6, 6]


TARGETS = [("0", [0]), ("-1", [1]), ("1,0", [1, 0]), ("[0]", [0]), ("[0,1]", [0, 1]), ("::-1", [1, 0]), ("1:", [1])]
TARGETS += [("-1:", [1]), ("-1,-2", [1, 0]), ("[0, 1]", [0, 1]), ("0, 1", [0, 1]), ("'1, 0'", [1, 0]), ("(-2,)", [0])]


@pytest.mark.parametrize("word, engines", [*TARGETS, ("all", [0, 1])])
def test_W8_targets_of_a_cell(px: Typed, word: str, engines: list[int]) -> None:
    assert shown(px(f"%%px --targets {word}\n1").out) == "".join(f"Out[{id}:N]: 1\n" for id in engines)
    assert shown(px("%%px\n1").out) == "Out[0:N]: 1\nOut[1:N]: 1\n", "it was for that cell"
    assert shown(px(f"%px -v -t {word} 1 + 1").out).count("]: 2\n") == len(engines)


@pytest.mark.parametrize("word", ["7", "0,x", "x:", "0.5", "1:1", "0,0", "''", "0,7", "every"])
def test_targets_that_are_none(px: Typed, view: DirectView, word: str) -> None:
    for magic in (f"%%px --targets {word}\nmark = 1", f"%pxconfig --targets {word}"):
        assert "--targets" in usage(px(magic))
    assert "mark" not in view
    assert shown(px("%px 1").out) == "Out[0:N]: 1\nOut[1:N]: 1\n"


def test_out_binds_the_result_here(px: Typed, shell: Any) -> None:
    assert px("%%px --out res\n1").value is None
    assert [each.text for each in shell.user_ns["res"].get()] == ["1", "1"]
    answer = px("%%px --noblock -o res\n2")
    assert shell.user_ns["res"] is answer.value
    for name in ("1a", "if", "a.b"):
        assert "--out takes a name" in usage(px(f"%%px --out {name}\nmark = 1"))


def test_local_runs_a_cell_here_as_well(px: Typed, shell: Any, view: DirectView) -> None:
    answer = px("%%px --local\nmark = 1\nmark + 1")
    assert re.sub(r"\[(\d+)\]", "[]", shown(answer.out)) == "Out[]: 2\nOut[0:N]: 2\nOut[1:N]: 2\n"
    assert shell.user_ns["mark"] == 1 and view["mark"] == [1, 1]
    shell.user_ns["only_here"] = 1
    answer = px("%%px --local\nonly_here")
    assert isinstance(answer.error, CompositeError) and "Out[" in answer.out
    px("%autopx")
    px("%%px --local\nmark = 2")
    assert shell.user_ns["mark"] == 2 and view["mark"] == [2, 2]


def test_an_interrupt_here_ends_the_wait_as_well(px: Typed, rc: Client, view: DirectView) -> None:
    view.push({"here": False, "go": []})
    try:
        answer = px("%%px --local\nif globals().get('here', True): raise KeyboardInterrupt\nwhile not go: pass")
        assert isinstance(answer.error, KeyboardInterrupt) and "the engines go on" in str(answer.error)
    finally:
        rc.interrupt()
    assert isinstance(px("%pxresult").error, CompositeError)


def test_options_that_there_are_not(px: Typed, view: DirectView) -> None:
    for line in ("%%px --loud\nmark = 1", "%px --loud mark = 1", "%px --help", "%%px --help\nmark = 1"):
        assert re.fullmatch("unrecognized arguments: --(loud|help); %px\\? lists the options", usage(px(line)))
    assert "mark" not in view


# Errors ---------------------------------------------------------------------------------------------


def test_errors_of_several_engines(px: Typed, view: DirectView) -> None:
    answer = px("%%px\nprint('before')\n1 / 0")
    assert isinstance(answer.error, CompositeError) and isinstance(answer.error.exceptions[0], ZeroDivisionError)
    assert sorted(answer.out.splitlines()[:2]) == ["[stdout:0] before", "[stdout:1] before"]
    assert "[0:execute]" in answer.out and "[1:execute]" in answer.out, "the remote tracebacks"
    assert "1 / 0" in answer.out and "magics.py" not in answer.out, "and not the local one"
    assert sys.last_value is answer.error, "for %debug"
    assert view["__name__"] and shown(px("%px 1").out) == "Out[0:N]: 1\nOut[1:N]: 1\n"


def test_an_error_of_one_engine_of_two(px: Typed, rc: Client) -> None:
    rc[1]["only"] = 4
    answer = px("%px only")
    assert shown(answer.out).startswith("Out[1:N]: 4\n")
    assert isinstance(answer.error, CompositeError) and len(answer.error.exceptions) == 1
    assert "NameError" in answer.out and answer.error.results[1].text == "4"


def test_an_error_of_one_target_is_of_its_own_class(px: Typed) -> None:
    answer = px("%px --targets 0 {}['k']")
    assert isinstance(answer.error, KeyError) and isinstance(answer.error, RemoteError)
    assert "magics.py" not in answer.out and "KeyError: 'k'" in answer.out


@pytest.mark.parametrize("targets", ["0", "0,1"])
def test_code_that_is_none(px: Typed, view: DirectView, targets: str) -> None:
    answer = px(f"%%px --targets {targets}\nmark = 1\nmark mark")
    [error] = set(map(type, getattr(answer.error, "exceptions", [answer.error])))
    assert issubclass(error, SyntaxError) and issubclass(error, RemoteError)
    assert "mark mark" in answer.out and "SyntaxError: invalid syntax" in answer.out
    assert "magics.py" not in answer.out
    assert "mark" not in view


def test_tb_shows_the_remote_tracebacks_once_more(px: Typed) -> None:
    for code in ("1 / 0", "mark mark", "--targets 0 {}[1]", "--targets 0 mark mark"):
        answer = px(f"%px {code}")
        assert 'File "<execute-' in answer.out
        assert px("%tb").out == answer.out


@pytest.mark.parametrize("mode", ["Context", "Plain", "Verbose", "Minimal"])
def test_errors_of_other_calls_are_shown_the_same_way(px: Typed, mode: str) -> None:
    px(f"%xmode {mode}")
    lines = px("view.apply_sync(divmod, 1, 0)").out.splitlines()
    assert lines[0].startswith("CompositeError: ") and any(line.startswith("[1:apply]") for line in lines)
    assert not any("parpool/client" in line for line in lines)


def test_errors_from_here_are_shown_as_ever(px: Typed) -> None:
    assert "1 / none" in px("1 / none").out
    assert "SyntaxError" in px("1 1").out
