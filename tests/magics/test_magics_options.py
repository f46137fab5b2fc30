"""The options of the magics, and the help and the pictures of engines that host a shell."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("IPython")

from answers import Typed
from IPython.core.error import UsageError
from IPython.utils.capture import capture_output

from parpool import DirectView

SHELLS = True  #: on the engines

PRINTING = "import sys; print('o'); print('e', file=sys.stderr); display('d1'); display('d2'); 'v'"

# What is shown, and when ----------------------------------------------------------------------------


def test_what_is_displayed_is_shown_with_its_engine(px: Typed) -> None:
    answer = px("%px --targets 1 display({'text/plain': 't', 'text/html': '<b>'}, raw=True)")
    assert answer.shown == "[output:1]\n"
    assert [each.data for each in answer.outputs] == [{"text/plain": "t", "text/html": "<b>"}]


def test_rich_values_are_shown_as_such(px: Typed) -> None:
    answer = px(
        "%%px --targets 0\nclass A:\n    _repr_html_ = lambda self: '<i>'\n    __repr__ = lambda self: 'A'\nA()"
    )
    assert answer.shown == "Out[0:N]:\n"
    assert [each.data for each in answer.outputs] == [{"text/plain": "A", "text/html": "<i>"}]


def test_replies_are_rich_as_well(px: Typed, shell: Any, view: DirectView) -> None:
    view.execute("class A:\n    _repr_html_ = lambda self: '<i>'\n    __repr__ = lambda self: 'A'")
    answer = px("view.execute('A()', targets=0, block=True)")
    assert "<ExecuteReply[" in answer.shown
    data, _ = shell.display_formatter.format(answer.value)
    assert data["text/html"] == "<i>" and data["text/plain"].startswith("<ExecuteReply[")


def test_a_terminal_gets_text(px: Typed, shell: Any) -> None:
    shell.display_formatter.active_types = ["text/plain"]  # as IPython's own does in a terminal
    answer = px("%px --targets 1 display({'text/plain': 't', 'text/html': '<b>'}, raw=True)")
    assert answer.shown == "[output:1] t\n" and not answer.outputs
    assert px("%px --targets 1 {n: 'x' * 30 for n in range(4)}").shown.startswith("Out[1:N]:\n{0: 'xxx")


def test_displays_that_change_do_so_for_their_engine(px: Typed, shell: Any) -> None:
    published: list[dict[str, Any]] = []
    shell.display_pub.publish = lambda data, metadata=None, **more: published.append({"data": data} | more)
    with capture_output(display=False):
        shell.run_cell("%px d = display('a', display_id='x'); d.update('b')")
    ids = [each["transient"]["display_id"] for each in published]
    assert sorted(set(ids)) == ["parpool-0-x", "parpool-1-x"] and len(ids) == 4
    assert sorted(each["data"]["text/plain"] for each in published if each["update"]) == ["'b'", "'b'"]


@pytest.mark.parametrize("option", ["--stream", "--no-stream"])
def test_streaming_or_not(px: Typed, option: str) -> None:
    answer = px(f"%px {option} print('a\\nb'); 1")
    lines = answer.shown.splitlines()
    assert lines[-1] == "Out[1:N]: 1"
    if option == "--stream":
        assert sorted(lines[:4]) == ["[stdout:0] a", "[stdout:0] b", "[stdout:1] a", "[stdout:1] b"]
    else:
        assert lines[:5] == ["[stdout:0] a", "b", "Out[0:N]: 1", "[stdout:1] a", "b"]


GROUPED = {
    "engine": ["o0", "d0", "d0", "v0", "o1", "d1", "d1", "v1"],
    "type": ["o0", "o1", "d0", "d0", "d1", "d1", "v0", "v1"],
    "order": ["o0", "o1", "d0", "d1", "d0", "d1", "v0", "v1"],
}


@pytest.mark.parametrize("group", GROUPED)
def test_outputs_are_grouped(px: Typed, shell: Any, group: str) -> None:
    shell.display_formatter.active_types = ["text/plain"]
    kinds = {"stdout": "o", "output": "d"}

    def order(out: str) -> list[str]:
        tags = re.findall(r"^(?:\[(stdout|output):(\d)\]|Out\[(\d))", out, re.M)
        return [kinds[kind] + engine if kind else "v" + value for kind, engine, value in tags]

    answer = px(f"%px --no-stream --group-outputs {group} {PRINTING}")
    assert order(answer.shown) == GROUPED[group] and answer.err == "[stderr:0] e\n[stderr:1] e\n"
    assert order(px(f"%pxresult --group-outputs {group}").shown) == GROUPED[group]
    px(f"%pxconfig --no-stream --group {group}")
    assert order(px(f"%px {PRINTING}").shown) == GROUPED[group]


def test_a_bar(px: Typed) -> None:
    for option in ("--stream", "--no-stream"):
        answer = px(f"%px {option} --progress-after 0 import time; time.sleep(0.3)")
        assert "2/2" in answer.err, option
    for never in ("", "--progress-after 60", "--progress-after inf", "--no-stream --progress-after 1e300"):
        assert px(f"%px {never} 1").err == ""
    assert "invalid seconds value: 'nan'" in str(px("%px --progress-after nan 1").error)


# How options are written ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, out",
    [
        ("-t 0 5", "Out[0:N]: 5\n"),
        ("-t0 x = 5", ""),
        ("-v -t 1 5", "Executing command on Controller\nengines: 1\nOut[1:N]: 5\n"),
        ("-t 1 -o res -3", "Out[1:N]: -3\n"),
        ("-t 0 !echo hello", "[stdout:0] hello\n"),
    ],
)
def test_short_options(px: Typed, line: str, out: str) -> None:
    assert px(f"%px {line}").shown == out


def test_what_is_python_is_no_option(px: Typed, view: DirectView) -> None:
    view.push({"t": [1, 2], "v": 4, "a": 7, "o": 0})
    for code, value in (("-v", "-4"), ("-t[0]", "-1"), ("-a - 5", "-12"), ("-v -v", "-8"), ("--v", "4")):
        assert px(f"%px --targets 0 {code}").shown == f"Out[0:N]: {value}\n"


def test_not_waiting_in_short(px: Typed, shell: Any) -> None:
    answer = px("%%px -a -o res -t 0\n5")
    assert answer.value is shell.user_ns["res"] and answer.value.get().text == "5"
    assert px("%px -a x = 1").value.get()[1].text is None


@pytest.mark.parametrize("line", ["--loud x = 1", "--group-outputs sideways 1", "--progress-after soon 1"])
def test_options_that_there_are_not(px: Typed, view: DirectView, line: str) -> None:
    assert type(px(f"%px {line}").error) is UsageError
    assert type(px(f"%pxconfig {line.rpartition(' ')[0]}").error) is UsageError
    assert "x" not in view


def test_an_option_without_its_value(px: Typed) -> None:
    for option in ("--targets", "--out", "--group-outputs"):
        answer = px(f"%%px {option}\n1")
        assert "expected one argument" in str(answer.error)


# Shells on engines ----------------------------------------------------------------------------------


def test_what_is_ipythons_own_runs_on_the_engines(px: Typed) -> None:
    assert px("%px --targets 0 !echo $HOME | wc -l").shown.split() == ["[stdout:0]", "1"]
    assert "per loop" in px("%px --targets 0 %timeit -n 1 -r 1 pass").shown
    assert px("%px --targets 0 x = 5").shown == "" and "'x'" in px("%px --targets 0 %who_ls").shown


@pytest.mark.parametrize("line", ["f?", "?f", "f??", "-t 0 f?", "--targets 0 ??f"])
def test_help_on_what_engines_have(px: Typed, line: str) -> None:
    px("%%px\ndef f(x):\n    'Doubles it.'\n    return 2 * x")
    shown = px(f"%px {line}").shown
    assert "Doubles it." in shown and "[stdout:0]" in shown
    assert ("2 * x" in shown) is ("??" in line)


def test_help_on_the_magic_itself(px: Typed) -> None:
    shown = px("%px?").shown
    assert "--group-outputs" in shown and "[stdout" not in shown


def test_pictures(px: Typed) -> None:
    pytest.importorskip("matplotlib")
    assert px("%px --targets 1 %matplotlib inline").error is None
    answer = px("%%px --targets 1\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert answer.shown == "[output:1]\n"
    assert [each.data["image/png"][:5] for each in answer.outputs] == ["iVBOR"]


def test_errors_in_cells_with_autopx(px: Typed) -> None:
    px("%autopx")
    answer = px("x = 1\nx / 0")
    assert "----> 2 x / 0" in answer.shown and answer.shown.count("ZeroDivisionError: division by zero") == 2
    assert "magics.py" not in answer.shown
    assert px("%autopx").shown == "Auto Parallel Disabled\n"
