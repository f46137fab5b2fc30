"""Magics of several views, what is set for them, and how they come and go."""

from __future__ import annotations

import sys
from typing import Any

import pytest

pytest.importorskip("IPython")

from answers import Typed, shown, usage

from parpool import Client, DirectView
from parpool.magics import unload_ipython_extension

# Several views --------------------------------------------------------------------------------------


def test_several_suffixes_at_once(typed: Typed, rc: Client, view: DirectView) -> None:
    first, second = rc[0], rc[1]
    first.block = second.block = True
    first.activate("0")
    second.activate("_of_1")
    view.activate()
    assert shown(typed("%px0 'a'").out) == "Out[0:N]: 'a'\n"
    assert shown(typed("%px_of_1 'b'").out) == "Out[1:N]: 'b'\n"
    assert shown(typed("%%px\n'c'").out) == "Out[0:N]: 'c'\nOut[1:N]: 'c'\n"
    assert shown(typed("%pxresult0").out) == "Out[0:N]: 'a'\n"
    assert shown(typed("%result_of_1").out) == "Out[1:N]: 'b'\n"
    typed("%pxconfig0 --noblock")
    assert (first.block, second.block, view.block) == (False, True, True)

    assert typed("%autopx_of_1").out == "Auto Parallel Enabled\nType %autopx_of_1 to disable\n"
    assert shown(typed("1").out) == "Out[1:N]: 1\n"
    assert typed("%autopx").out == "Auto Parallel Enabled\nType %autopx to disable\n", "from one to the other"
    assert shown(typed("1").out) == "Out[0:N]: 1\nOut[1:N]: 1\n"
    assert typed("autopx").out == "Auto Parallel Disabled\n"
    assert shown(typed("1").out) != "Out[1:N]: 1\n", "not back to the one before"
    assert "%px0 x = 1" in usage(typed("%px0")) and "; %autopx0? lists" in usage(typed("%autopx0 off"))


def test_another_view_may_take_a_suffix(px: Typed, rc: Client) -> None:
    px("%px 1")
    px("%pxconfig --targets 0 --verbose")
    px("%autopx")
    px("%px pass")
    one = rc[1]
    one.block = True
    one.activate()
    assert "no code has been run" in usage(px("%pxresult"))
    assert shown(px("2").out) == "Out[1:N]: 2\n", "autopx goes on, the configuration was for the other view"


@pytest.mark.parametrize("suffix", [" ", "-a", "a b", 0, "(", "result", "result2", "config", "configs"])
def test_suffixes_that_are_none(shell: Any, view: DirectView, suffix: Any) -> None:
    with pytest.raises(ValueError, match="suffix"):
        view.activate(suffix)
    assert "px" not in shell.magics_manager.magics["line"]


def test_pxconfig(px: Typed, view: DirectView) -> None:
    others = "stream=True, progress_after=-1.0, group_outputs=engine, signal_on_interrupt=0"
    assert px("%pxconfig").out == f"%px: <DirectView [0,1]>, targets=[0, 1], block=True, verbose=False, {others}\n"
    assert px("%pxconfig --targets -1 --noblock --verbose").out == ""
    assert px("%pxconfig").out == f"%px: <DirectView [0,1]>, targets=-1, block=False, verbose=True, {others}\n"
    assert view.block is False and view.targets == [0, 1]
    answer = px("%px 1")
    assert answer.value.get().text == "1" and "engines: 1\n" in answer.out
    assert shown(px("%%px --targets all --block\n1").out).endswith("Out[0:N]: 1\nOut[1:N]: 1\n")
    assert "unrecognized" in usage(px("%pxconfig block"))


# Coming and going -----------------------------------------------------------------------------------


def test_load_ext_parpool(typed: Typed, shell: Any) -> None:
    assert typed("%load_ext parpool").out == ""
    for magic in ("%px 1", "%%px\n1", "%autopx", "%pxresult", "%result", "%pxconfig"):
        message = usage(typed(magic))
        assert "view.activate()" in message and "parpool.Pool()" in message
    assert typed("'still here'").value == "still here"
    typed("view.activate()")
    assert shown(typed("%px 1").out) == "Out[0:N]: 1\nOut[1:N]: 1\n"
    typed("%reload_ext parpool")
    assert "view.activate()" in usage(typed("%px 1")), "as new"


def test_unloading_takes_everything_away(typed: Typed, shell: Any, rc: Client) -> None:
    before = {kind: set(magics) for kind, magics in shell.magics_manager.magics.items()}
    typed("%load_ext parpool.magics")
    typed("view.activate(); view.activate('0')")
    typed("%autopx0")
    typed("%unload_ext parpool.magics")
    assert {kind: set(magics) for kind, magics in shell.magics_manager.magics.items()} == before
    assert "showtraceback" not in vars(shell)
    assert typed("mark = 1").error is None and shell.user_ns["mark"] == 1
    typed("view.activate()")
    assert shown(typed("%px 1").out) == "Out[0:N]: 1\nOut[1:N]: 1\n"


def test_unloading_leaves_the_magics_of_others(px: Typed, shell: Any) -> None:
    shell.register_magic_function(lambda line: "theirs", "line", "result")
    unload_ipython_extension(shell)
    assert px("%result").value == "theirs"
    assert "not found" in usage(px("%pxresult"))


def test_help_lists_the_options(px: Typed, shell: Any) -> None:
    text = shell.find_magic("px").__doc__
    for option in ("--block", "--noblock", "--targets", "--verbose", "--out", "--local"):
        assert option in text


def test_activate_without_a_prompt(view: DirectView, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="IPython prompt, and none is running"):
        view.activate()
    monkeypatch.delitem(sys.modules, "IPython")
    with pytest.raises(RuntimeError, match="IPython prompt, and none is running"):
        view.activate()
    assert "IPython" not in sys.modules
