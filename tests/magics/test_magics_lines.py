"""%px with a line: what is typed, and what the prompt answers; and waiting for it, or not."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("IPython")

from answers import Typed, shown, usage
from rows import until

from parpool import AsyncResult, Client, CompositeError, DirectView, EngineLost, Pool
from parpool.client.joined import JoinedResult

# A line ---------------------------------------------------------------------------------------------


def test_W1_activate_makes_a_view_the_target_of_the_magics(typed: Typed, rc: Client) -> None:
    assert "not found" in usage(typed("%px 1"))
    typed("one = rc[1]; one.block = True; one.activate()")
    assert shown(typed("%px 'here'").out) == "Out[1:N]: 'here'\n"
    typed("view.activate()")
    assert shown(typed("%px 'both'").out) == "Out[0:N]: 'both'\nOut[1:N]: 'both'\n"


def test_W2_px_shows_what_each_engine_printed_and_gave(px: Typed, view: DirectView) -> None:
    answer = px("%px import sys; print('hi'); print('oh', file=sys.stderr); 5**2")
    lines = shown(answer.out).splitlines()
    assert sorted(lines[:2]) == ["[stdout:0] hi", "[stdout:1] hi"], "as they come"
    assert lines[2:] == ["Out[0:N]: 25", "Out[1:N]: 25"]
    assert sorted(answer.err.splitlines()) == ["[stderr:0] oh", "[stderr:1] oh"]
    assert answer.value is None, "it has been shown"
    assert px("%px a = 1").out == ""
    assert view["a"] == [1, 1]
    count = view.execute("a")[0].execution_count
    assert px("%px 'numbered'").out.startswith(f"Out[0:{count + 1}]: ")


def test_W2_verbose_says_what_is_done_before(px: Typed) -> None:
    assert px("%px --verbose x = 1").out == "Executing command on Controller\nengines: [0, 1]\n"
    assert px("%px --verbose --targets 1 x = 1").out == "Executing command on Controller\nengines: 1\n"
    px("%pxconfig --verbose")
    assert px("%px x = 1").out.startswith("Executing command on Controller\n")
    px("%pxconfig --quiet")
    assert px("%px x = 1").out == ""


def test_W3_px_needs_no_percent_sign(px: Typed) -> None:
    assert sorted(px("px print(6 * 7)").out.splitlines()) == ["[stdout:0] 42", "[stdout:1] 42"]


def test_the_code_of_a_line_is_left_as_it_is(px: Typed, shell: Any, view: DirectView) -> None:
    shell.user_ns["x"] = "not this"
    px("%px x = 3; d = [{x}, '$x']")
    assert view["d"] == [[{3}, "$x"]] * 2


def test_a_line_may_begin_with_options(px: Typed) -> None:
    assert shown(px("%px --targets 1 1").out) == "Out[1:N]: 1\n"
    assert shown(px("%px --block --targets=0 -1").out) == "Out[0:N]: -1\n"
    answer = px("%px --noblock --out later 1")
    assert isinstance(answer.value, AsyncResult)
    assert px("later").value is answer.value
    assert shown(px("%px --targets 0 '--noblock' + ' --block'").out) == "Out[0:N]: '--noblock --block'\n"


def test_px_says_when_its_engines_are_gone(typed: Typed) -> None:
    with Pool(2) as pool:
        assert pool.client.wait_for_engines(2, 20)
        mine = pool.client[0]
        mine.block = True
        mine.activate()
        assert shown(typed("%px 1").out) == "Out[0:N]: 1\n"
        pool.client.shutdown(0)
        until(lambda: pool.client.ids == [1])
        for line in ("%px 1", "%%px --noblock\n1"):
            assert "activate() of another view gives %px other engines" in usage(typed(line))
        assert "--targets 0: there is no engine 0: the engines are [1]" in usage(typed("%px --targets 0 1"))
        assert shown(typed("%pxresult").out) == "Out[0:N]: 1\n", "the last that has run"
    pool.join()
    assert "the pool was terminated; activate() of another view" in usage(typed("%px 1"))
    assert "--targets 0: the pool was terminated" in usage(typed("%px --targets 0 1"))


def test_px_says_in_a_line_that_an_engine_has_died(typed: Typed) -> None:
    with Pool(2) as pool:
        assert pool.client.wait_for_engines(2, 20)
        both = pool.client[:]
        both.block = True
        both.activate()
        died = r"EngineLost: engine {} died while it ran execute\(.*\): pid \d+ ended with exit code 3\n"
        one = typed("%px --targets 0 __import__('os')._exit(3)")
        assert isinstance(one.error, EngineLost) and re.fullmatch(died.format(0), one.out)
        assert re.fullmatch(died.format(0), typed("%tb").out)
        until(lambda: len(pool.client.ids) == 2)
        pool.client[:].activate()
        answer = typed("%px --block __import__('os')._exit(3)")
        lines = answer.out.split("\n\n")[1:]
        assert len(lines) == 2, "without frames"
        for number, line in enumerate(lines, 1):
            assert re.fullmatch(rf"\[{number}:execute\]: \n{died.format(number)}", line.rstrip("\n") + "\n")
    pool.join()


def test_px_without_code_says_how_it_is_used(px: Typed) -> None:
    assert "%px x = 1" in usage(px("%px"))
    assert "%px x = 1" in usage(px("%px --targets 0"))
    assert "%px x = 1" in usage(px("%%px\n  \n"))
    for option in ("--targets", "--block --out ", "--progress-after"):
        assert "expected one argument" in usage(px(f"%px {option}"))


# Waiting, or not ------------------------------------------------------------------------------------


def test_W7_px_obeys_block_of_the_view(px: Typed, view: DirectView) -> None:
    view.block = False
    answer = px("%px 7")
    assert isinstance(answer.value, AsyncResult) and "JoinedResult execute" in answer.out
    assert [each.text for each in answer.value.get()] == ["7", "7"]
    assert shown(px("%%px --block\n8").out) == "Out[0:N]: 8\nOut[1:N]: 8\n"
    view.block = True
    assert px("%px 9").value is None
    assert isinstance(px("%%px --noblock\n9").value, AsyncResult)


def test_W7_px_obeys_the_targets_of_the_view(typed: Typed, rc: Client, view: DirectView) -> None:
    typed("one = rc[1]; one.block = True; one.activate()")
    typed("%px where = 'here'")
    assert "where" in rc[1] and "where" not in rc[0]
    typed("everywhere = rc.direct_view('all'); everywhere.block = True; everywhere.activate()")
    typed("%px where = 'all'")
    assert view["where"] == ["all", "all"]


@pytest.mark.parametrize("name", ["pxresult", "result"])
def test_W4_result_shows_the_last_once_more(px: Typed, name: str) -> None:
    assert "no code has been run with %px yet" in usage(px(f"%{name}"))
    px("%px --noblock import os; print('out'); 1")
    expected = "[stdout:0] out\nOut[0:N]: 1\n[stdout:1] out\nOut[1:N]: 1\n"
    assert shown(px(f"%{name}").out) == expected
    assert shown(px(name).out) == expected, "without the percent sign, and again"
    px("%px 1 / 0")
    assert isinstance(px(f"%{name}").error, CompositeError)
    assert "unrecognized" in usage(px(f"%{name} 3"))


def test_ctrl_c_ends_the_wait_and_says_what_then(px: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Any, timeout: Any = None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(JoinedResult, "wait", interrupted)
        answer = px("%px --no-stream 5")
    assert isinstance(answer.error, KeyboardInterrupt)
    assert "%pxresult" in str(answer.error) and "interrupt()" in str(answer.error)
    assert answer.out == f"KeyboardInterrupt: {answer.error}\n", "no frames: they are the magic's"
    assert shown(px("%pxresult").out) == "Out[0:N]: 5\nOut[1:N]: 5\n"
