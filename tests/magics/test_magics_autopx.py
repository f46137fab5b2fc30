"""%autopx: all that is typed goes to the engines."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("IPython")

from answers import Typed, shown, usage

from parpool import AsyncResult, CompositeError, DirectView, Pool
from parpool.magics import unload_ipython_extension


def test_W5_autopx_toggles(px: Typed, shell: Any, view: DirectView) -> None:
    assert px("%autopx").out == "Auto Parallel Enabled\nType %autopx to disable\n"
    assert shown(px("mark = 3\nmark").out) == "Out[0:N]: 3\nOut[1:N]: 3\n"
    assert px("%autopx").out == "Auto Parallel Disabled\n"
    assert isinstance(px("mark").error, NameError), "it is not here"
    assert view["mark"] == [3, 3]
    px("autopx")
    assert px("autopx").out == "Auto Parallel Disabled\n", "without the percent sign"
    left = shell.input_transformers_cleanup
    assert len(left) == 1 + len(type(shell.input_transformer_manager)().cleanup_transforms), "that for help"
    unload_ipython_extension(shell)
    assert left == type(shell.input_transformer_manager)().cleanup_transforms


def test_W5_autopx_with_cells_of_many_lines(px: Typed, view: DirectView) -> None:
    px("%autopx")
    answer = px("    total = []\n    for i in range(3):\n        total.append(i)\n\n        # more\n    total\n")
    assert shown(answer.out) == "Out[0:N]: [0, 1, 2]\nOut[1:N]: [0, 1, 2]\n"
    px("def f(x):\n    '''%s {x} $x ''\"'''\n    return -x\n")
    assert px(">>> f(1)\n").out == px("%pxresult").out != ""
    assert px(">>> %autopx").out == "Auto Parallel Disabled\n", "as it was pasted"
    assert view.pull("f(2), f.__doc__") == [(-2, "%s {x} $x ''\"")] * 2


def test_W6_autopx_that_does_not_wait(px: Typed, view: DirectView) -> None:
    px("%autopx")
    view.block = False
    for cell in ("mark = []", "for i in range(100):\n    mark.append(i)\n"):
        answer = px(cell)
        assert isinstance(answer.value, AsyncResult)
        assert re.fullmatch(r"Out\[\d+\]: <JoinedResult execute: \w+>\n", answer.out.replace("\n\n", "\n"))
    assert px("%pxresult").out == ""
    view.block = True
    assert shown(px("len(mark)").out) == "Out[0:N]: 100\nOut[1:N]: 100\n"


def test_autopx_with_errors(px: Typed, shell: Any) -> None:
    px("%autopx")
    answer = px("x = (1\ny = 2")
    assert isinstance(answer.error, CompositeError) and "SyntaxError" in answer.out
    answer = px("print('so far')\nnone")
    assert isinstance(answer.error, CompositeError) and "NameError" in answer.out
    assert sorted(answer.out.splitlines()[:2]) == ["[stdout:0] so far", "[stdout:1] so far"]
    assert px("%autopx").out == "Auto Parallel Disabled\n"


def test_what_is_for_the_prompt_with_autopx(px: Typed, shell: Any) -> None:
    shell.user_ns["local"] = 5
    px("%autopx")
    assert "local" in px("%who_ls").value
    assert px("!echo hello").out.split() == ["hello"]
    assert "Run Python code" in px("%px?").out + px("px?").out
    assert px("view?").error is None
    assert px("\n\n").out == "" and px("# nothing").out == ""
    stopped: list[int] = []
    shell.ask_exit = lambda: stopped.append(1)
    for way in ("exit", "quit", "exit()"):
        px(way)
    assert len(stopped) == 3


def test_a_line_with_autopx_ends_what_is_for_the_engines(px: Typed, shell: Any, view: DirectView) -> None:
    px("%autopx")
    answer = px("mark = 'the\\nre'\nprint(mark[:3])\n%autopx\nmark = 'here'\nmark")
    lines = answer.out.splitlines()
    assert sorted(lines[:2]) == ["[stdout:0] the", "[stdout:1] the"] and lines[2] == "Auto Parallel Disabled"
    assert answer.value == shell.user_ns["mark"] == "here" and view["mark"] == ["the\nre"] * 2
    px("%autopx")
    assert isinstance(px("1 / 0\n%autopx").error, CompositeError)
    assert shown(px("'still on'").out).count("'still on'") == 2
    px("if True:\n    mark = 2\n%autopx   ")
    assert view["mark"] == [2, 2] and shell.user_ns["mark"] == "here"
    assert px("mark").value == "here"


def test_with_autopx_the_code_of_other_magics_goes_to_the_engines(px: Typed, shell: Any, view: DirectView) -> None:
    px("%autopx")
    answer = px("%%time\nmark = 1\nmark")
    assert "Out[0:" in answer.out and "mark" not in shell.user_ns
    assert "per loop" in px("%%timeit -n 1 -r 1\nmark = 2").out and view["mark"] == [2, 2]


def test_whether_input_is_complete_is_decided_as_for_python(px: Typed, shell: Any) -> None:
    px("%autopx")
    assert shell.check_complete("x = 1")[0] == "complete"
    assert shell.check_complete("for i in range(3):")[0] == "incomplete"
    assert shell.check_complete("x = 1)")[0] == "invalid"


def test_a_closed_client_does_not_trap_the_prompt(typed: Typed) -> None:
    with Pool(1) as pool:
        mine = pool.client[:]
        mine.activate()
        typed("%autopx")
    pool.join()
    assert "the pool was terminated" in usage(typed("mark = 1"))
    assert typed("%autopx").out == "Auto Parallel Disabled\n"
    assert typed("mark = 1").error is None
