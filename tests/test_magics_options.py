"""The options of the magics, the help and the pictures of engines that host a shell, and completion of their names."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("IPython")

from IPython.core import guarded_eval
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from parpool import Pool
from parpool.client.client import Client
from parpool.client.direct import DirectView
from parpool.magics import unload_ipython_extension

Typed = Callable[[str], Any]


@pytest.fixture(scope="module")
def rc() -> Iterator[Client]:
    """Two engines with shells."""
    with Pool(2, ipython=True) as pool:
        pool.apply_async(abs, (-1,), callback=lambda value: None).get()
        pool.client[:].apply_sync(abs, -1)
        yield pool.client
    pool.join()


@pytest.fixture
def view(rc: Client) -> Iterator[DirectView]:
    view = rc[:]
    view.clear(block=True)
    with view.temp_flags(block=True):
        yield view


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Any]:
    main = sys.modules["__main__"]
    config = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})
    config.IPCompleter.use_jedi = False  # it is loaded for seconds, and none of it is asked for here
    shell = InteractiveShell.instance(config=config, ipython_dir=str(tmp_path))
    yield shell
    unload_ipython_extension(shell)
    shell.restore_sys_module_state()
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = main
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)


@pytest.fixture
def px(shell: Any, view: DirectView, rc: Client) -> Typed:
    """What the prompt answers: its text, and what it displays besides (``outputs``), and an error."""
    shell.user_ns.update(rc=rc, view=view)
    view.activate()

    def type_it(cell: str) -> Any:
        with capture_output() as captured:
            result = shell.run_cell(cell, store_history=True)
        captured.error, captured.value = result.error_in_exec, result.result
        captured.out = re.sub(r"(Out\[\d+:)\d+\]", r"\1N]", captured.stdout)
        return captured

    return type_it


PRINTING = "import sys; print('o'); print('e', file=sys.stderr); display('d1'); display('d2'); 'v'"


# What is shown, and when ----------------------------------------------------------------------------


def test_what_is_displayed_is_shown_with_its_engine(px: Typed) -> None:
    answer = px("%px --targets 1 display({'text/plain': 't', 'text/html': '<b>'}, raw=True)")
    assert answer.out == "[output:1]\n"
    assert [each.data for each in answer.outputs] == [{"text/plain": "t", "text/html": "<b>"}]


def test_rich_values_are_shown_as_such(px: Typed) -> None:
    answer = px(
        "%%px --targets 0\nclass A:\n    _repr_html_ = lambda self: '<i>'\n    __repr__ = lambda self: 'A'\nA()"
    )
    assert answer.out == "Out[0:N]:\n"
    assert [each.data for each in answer.outputs] == [{"text/plain": "A", "text/html": "<i>"}]


def test_replies_are_rich_as_well(px: Typed, shell: Any, view: DirectView) -> None:
    view.execute("class A:\n    _repr_html_ = lambda self: '<i>'\n    __repr__ = lambda self: 'A'")
    answer = px("view.execute('A()', targets=0, block=True)")
    assert "<ExecuteReply[" in answer.out
    data, _ = shell.display_formatter.format(answer.value)
    assert data["text/html"] == "<i>" and data["text/plain"].startswith("<ExecuteReply[")


def test_a_terminal_gets_text(px: Typed, shell: Any) -> None:
    shell.display_formatter.active_types = ["text/plain"]  # as IPython's own does in a terminal
    answer = px("%px --targets 1 display({'text/plain': 't', 'text/html': '<b>'}, raw=True)")
    assert answer.out == "[output:1] t\n" and not answer.outputs
    assert px("%px --targets 1 {n: 'x' * 30 for n in range(4)}").out.startswith("Out[1:N]:\n{0: 'xxx")


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
    lines = answer.out.splitlines()
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
    assert order(answer.out) == GROUPED[group] and answer.stderr == "[stderr:0] e\n[stderr:1] e\n"
    assert order(px(f"%pxresult --group-outputs {group}").out) == GROUPED[group]
    px(f"%pxconfig --no-stream --group {group}")
    assert order(px(f"%px {PRINTING}").out) == GROUPED[group]


def test_a_bar(px: Typed) -> None:
    for option in ("--stream", "--no-stream"):
        answer = px(f"%px {option} --progress-after 0 import time; time.sleep(0.3)")
        assert "2/2" in answer.stderr, option
    assert px("%px 1").stderr == px("%px --progress-after 60 1").stderr == ""


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
    assert px(f"%px {line}").out == out


def test_what_is_python_is_no_option(px: Typed, view: DirectView) -> None:
    view.push({"t": [1, 2], "v": 4, "a": 7, "o": 0})
    for code, value in (("-v", "-4"), ("-t[0]", "-1"), ("-a - 5", "-12"), ("-v -v", "-8"), ("--v", "4")):
        assert px(f"%px --targets 0 {code}").out == f"Out[0:N]: {value}\n"


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
    assert px("%px --targets 0 !echo $HOME | wc -l").out.split() == ["[stdout:0]", "1"]
    assert "per loop" in px("%px --targets 0 %timeit -n 1 -r 1 pass").out
    assert px("%px --targets 0 x = 5").out == "" and "'x'" in px("%px --targets 0 %who_ls").out


@pytest.mark.parametrize("line", ["f?", "?f", "f??", "-t 0 f?", "--targets 0 ??f"])
def test_help_on_what_engines_have(px: Typed, line: str) -> None:
    px("%%px\ndef f(x):\n    'Doubles it.'\n    return 2 * x")
    shown = px(f"%px {line}").out
    assert "Doubles it." in shown and "[stdout:0]" in shown
    assert ("2 * x" in shown) is ("??" in line)


def test_help_on_the_magic_itself(px: Typed) -> None:
    shown = px("%px?").out
    assert "--group-outputs" in shown and "[stdout" not in shown


def test_pictures(px: Typed) -> None:
    pytest.importorskip("matplotlib")
    assert px("%px --targets 1 %matplotlib inline").error is None
    answer = px("%%px --targets 1\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert answer.out == "[output:1]\n"
    assert [each.data["image/png"][:5] for each in answer.outputs] == ["iVBOR"]


def test_errors_in_cells_with_autopx(px: Typed) -> None:
    px("%autopx")
    answer = px("x = 1\nx / 0")
    assert "----> 2 x / 0" in answer.out and answer.out.count("ZeroDivisionError: division by zero") == 2
    assert "magics.py" not in answer.out
    assert px("%autopx").out == "Auto Parallel Disabled\n"


# Completion -----------------------------------------------------------------------------------------


@pytest.fixture
def completed(px: Typed, shell: Any, view: DirectView) -> Callable[[str], list[str]]:
    """What a text, with the cursor at its end, may become."""
    view.push({"alpha_one": 1, "alphabet": {"key_of_it": 3}})
    view.client[0]["alpha_here"] = 1

    def complete(text: str) -> list[str]:
        with provisionalcompleter():
            found = list(shell.Completer.completions(text, len(text)))
        return [text[: each.start] + each.text for each in found]

    return complete


@pytest.mark.parametrize(
    "text, whole",
    [
        ("%px alpha_", ["%px alpha_here", "%px alpha_one"]),
        ("px alpha_o", ["px alpha_one"]),
        ("%px -t 1 x = alpha_o", ["%px -t 1 x = alpha_one"]),
        ("%%px\nx = 1\nalpha_o", ["%%px\nx = 1\nalpha_one"]),
        ("%px alphabet.setd", ["%px alphabet.setdefault"]),
        ("%px alphabet['key", ["%px alphabet['key_of_it"]),
        ("view['alpha_", ["view['alpha_one"]),
        ("rc[0]['alpha_", ["rc[0]['alpha_here", "rc[0]['alpha_one"]),
        ("%px2 alpha_", []),
        ("alpha_", []),
    ],
)
def test_names_of_engines_are_completed(completed: Callable[[str], list[str]], text: str, whole: list[str]) -> None:
    assert sorted(completed(text)) == whole


def test_completion_with_autopx(completed: Callable[[str], list[str]], px: Typed) -> None:
    px("%autopx")
    assert completed("for i in range(3):\n    alpha_o") == ["for i in range(3):\n    alpha_one"]
    assert "%autopx" in completed("%autop")
    px("%autopx")
    assert completed("alpha_o") == []


def test_completion_on_a_view_itself(completed: Callable[[str], list[str]]) -> None:
    assert {"view.apply", "view.apply_async"} <= set(completed("view.appl"))


def test_a_busy_engine_completes_nothing(rc: Client, view: DirectView) -> None:
    busy = view.execute("import time\nwhile not go: time.sleep(0.01)" if view.push({"go": []}) else "", block=False)
    try:
        assert view.complete("alpha", timeout=0.2) == ("", [])
        assert view._ipython_key_completions_() == []
    finally:
        rc.interrupt()
        busy.wait()
    assert view.complete("impor") == ("impor", ["import"])


def test_completion_without_a_shell() -> None:
    with Pool(1) as pool:
        one = pool.client[0]
        one.push({"alpha_one": 1, "alphabet": {}}, block=True)
        assert one.complete("x = alp") == ("alp", ["alpha_one", "alphabet"])
        assert one.complete("alphabet.setd") == ("alphabet.setd", ["alphabet.setdefault"])
        assert one.complete("lam")[1] == ["lambda"] and one.complete("nothing.a") == ("nothing.a", [])
        assert one.complete("alphabet['") == ("", [])
        assert {"alpha_one", "alphabet"} <= set(one.complete("f(")[1])
    pool.join()


def test_leaving_takes_completion_away(completed: Callable[[str], list[str]], shell: Any) -> None:
    unload_ipython_extension(shell)
    assert completed("%px alpha_") == []
    assert not shell.Completer.custom_matchers
    assert Client not in guarded_eval.EVALUATION_POLICIES["limited"].allowed_getitem
