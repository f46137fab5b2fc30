"""The magics at an IPython prompt: what is typed there, and what the prompt answers."""

from __future__ import annotations

import doctest
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("IPython")

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from parpool import AsyncResult, CompositeError, Pool, RemoteError
from parpool.client.client import Client
from parpool.client.direct import DirectView
from parpool.client.joined import JoinedResult
from parpool.magics import unload_ipython_extension

PAGE = Path(__file__).parents[1] / "docs" / "prompt.md"


@pytest.fixture(scope="module")
def rc() -> Iterator[Client]:
    with Pool(2) as pool:
        # The threads of the client and its wires to both engines are no test's leftover.
        pool.apply_async(abs, (-1,), callback=lambda value: None).get()
        pool.client[:].apply_sync(abs, -1)
        yield pool.client
    pool.join()


@pytest.fixture
def view(rc: Client) -> Iterator[DirectView]:
    view = rc[:]
    with view.temp_flags(block=True):
        yield view
    view.clear(block=True)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Any]:
    """A prompt, as get_ipython() finds it."""
    main = sys.modules["__main__"]
    noted = {name: getattr(sys, name) for name in ("last_type", "last_value", "last_traceback") if hasattr(sys, name)}
    config = Config({"HistoryManager": {"enabled": False}})
    shell = InteractiveShell.instance(config=config, ipython_dir=str(tmp_path))
    yield shell
    unload_ipython_extension(shell)
    shell.restore_sys_module_state()
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = main
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):  # they hold frames
        vars(sys).pop(name, None)
    vars(sys).update(noted)


@dataclass
class Answer:
    out: str
    err: str
    error: BaseException | None
    value: Any


@pytest.fixture
def typed(shell: Any, view: DirectView, rc: Client) -> Callable[[str], Answer]:
    """What the prompt answers, with ``rc`` and ``view`` bound and no view active."""
    shell.user_ns.update(rc=rc, view=view)

    def type_it(cell: str) -> Answer:
        with capture_output() as captured:
            result = shell.run_cell(cell, store_history=True)
        out = re.sub(r"\x1b\[[\d;]*m", "", captured.stdout)  # tracebacks of IPython are coloured
        return Answer(out, captured.stderr, result.error_in_exec, result.result)

    return type_it


@pytest.fixture
def px(typed: Callable[[str], Answer], view: DirectView) -> Callable[[str], Answer]:
    """What the prompt answers where the view is active."""
    view.activate()
    return typed


def shown(text: str) -> str:
    """Without the numbers of what runs on an engine: they depend on the tests before."""
    return re.sub(r"(Out\[\d+:)\d+\]", r"\1N]", text)


def usage(answer: Answer) -> str:
    assert type(answer.error) is UsageError
    assert answer.err.startswith("UsageError: ")
    return str(answer.error)


# A line ---------------------------------------------------------------------------------------------


def test_W1_activate_makes_a_view_the_target_of_the_magics(typed: Callable[[str], Answer], rc: Client) -> None:
    assert "not found" in usage(typed("%px 1"))
    typed("one = rc[1]; one.block = True; one.activate()")
    assert shown(typed("%px 'here'").out) == "Out[1:N]: 'here'\n"
    typed("view.activate()")
    assert shown(typed("%px 'both'").out) == "Out[0:N]: 'both'\nOut[1:N]: 'both'\n"


def test_W2_px_shows_what_each_engine_printed_and_gave(px: Callable[[str], Answer], view: DirectView) -> None:
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


def test_W2_verbose_says_what_is_done_before(px: Callable[[str], Answer]) -> None:
    assert px("%px --verbose x = 1").out == "Executing command on Controller\nengines: [0, 1]\n"
    assert px("%px --verbose --targets 1 x = 1").out == "Executing command on Controller\nengines: 1\n"
    px("%pxconfig --verbose")
    assert px("%px x = 1").out.startswith("Executing command on Controller\n")
    px("%pxconfig --quiet")
    assert px("%px x = 1").out == ""


def test_W3_px_needs_no_percent_sign(px: Callable[[str], Answer]) -> None:
    assert sorted(px("px print(6 * 7)").out.splitlines()) == ["[stdout:0] 42", "[stdout:1] 42"]


def test_the_code_of_a_line_is_left_as_it_is(px: Callable[[str], Answer], shell: Any, view: DirectView) -> None:
    shell.user_ns["x"] = "not this"
    px("%px x = 3; d = [{x}, '$x']")
    assert view["d"] == [[{3}, "$x"]] * 2


def test_a_line_may_begin_with_options(px: Callable[[str], Answer]) -> None:
    assert shown(px("%px --targets 1 1").out) == "Out[1:N]: 1\n"
    assert shown(px("%px --block --targets=0 -1").out) == "Out[0:N]: -1\n"
    answer = px("%px --noblock --out later 1")
    assert isinstance(answer.value, AsyncResult)
    assert px("later").value is answer.value
    assert shown(px("%px --targets 0 '--noblock' + ' --block'").out) == "Out[0:N]: '--noblock --block'\n"


def test_px_without_code_says_how_it_is_used(px: Callable[[str], Answer]) -> None:
    assert "%px x = 1" in usage(px("%px"))
    assert "%px x = 1" in usage(px("%px --targets 0"))
    assert "%px x = 1" in usage(px("%%px\n  \n"))


# Waiting, or not ------------------------------------------------------------------------------------


def test_W7_px_obeys_block_of_the_view(px: Callable[[str], Answer], view: DirectView) -> None:
    view.block = False
    answer = px("%px 7")
    assert isinstance(answer.value, AsyncResult) and "JoinedResult execute" in answer.out
    assert [each.text for each in answer.value.get()] == ["7", "7"]
    assert shown(px("%%px --block\n8").out) == "Out[0:N]: 8\nOut[1:N]: 8\n"
    view.block = True
    assert px("%px 9").value is None
    assert isinstance(px("%%px --noblock\n9").value, AsyncResult)


def test_W7_px_obeys_the_targets_of_the_view(typed: Callable[[str], Answer], rc: Client, view: DirectView) -> None:
    typed("one = rc[1]; one.block = True; one.activate()")
    typed("%px where = 'here'")
    assert "where" in rc[1] and "where" not in rc[0]
    typed("everywhere = rc.direct_view('all'); everywhere.block = True; everywhere.activate()")
    typed("%px where = 'all'")
    assert view["where"] == ["all", "all"]


@pytest.mark.parametrize("name", ["pxresult", "result"])
def test_W4_result_shows_the_last_once_more(px: Callable[[str], Answer], name: str) -> None:
    assert "no code has been run with %px yet" in usage(px(f"%{name}"))
    px("%px --noblock import os; print('out'); 1")
    expected = "[stdout:0] out\nOut[0:N]: 1\n[stdout:1] out\nOut[1:N]: 1\n"
    assert shown(px(f"%{name}").out) == expected
    assert shown(px(name).out) == expected, "without the percent sign, and again"
    px("%px 1 / 0")
    assert isinstance(px(f"%{name}").error, CompositeError)
    assert "unrecognized" in usage(px(f"%{name} 3"))


def test_ctrl_c_ends_the_wait_and_says_what_then(px: Callable[[str], Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Any, timeout: Any = None) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(JoinedResult, "wait", interrupted)
        answer = px("%px --no-stream 5")
    assert isinstance(answer.error, KeyboardInterrupt)
    assert "%pxresult" in str(answer.error) and "interrupt()" in str(answer.error)
    assert str(answer.error) in answer.out and "interrupted" not in answer.out, "no frames below the magic's"
    assert shown(px("%pxresult").out) == "Out[0:N]: 5\nOut[1:N]: 5\n"


# A cell ---------------------------------------------------------------------------------------------


def test_W8_a_cell_runs_on_the_engines(px: Callable[[str], Answer], view: DirectView) -> None:
    answer = px("%%px\ntotal = 0\nfor i in range(4):\n    total += i\n\nprint(total)\n[n**2 for n in range(total)]")
    for engine in (0, 1):
        assert f"[stdout:{engine}] 6\n" in answer.out and f"Out[{engine}:N]: [0, 1, 4, 9, 16, 25]\n" in shown(
            answer.out
        )
    assert view["total"] == [6, 6]


TARGETS = [("0", [0]), ("-1", [1]), ("1,0", [1, 0]), ("[0]", [0]), ("[0,1]", [0, 1]), ("::-1", [1, 0])]


@pytest.mark.parametrize("word, engines", [*TARGETS, ("1:", [1]), ("all", [0, 1])])
def test_W8_targets_of_a_cell(px: Callable[[str], Answer], word: str, engines: list[int]) -> None:
    assert shown(px(f"%%px --targets {word}\n1").out) == "".join(f"Out[{id}:N]: 1\n" for id in engines)
    assert shown(px("%%px\n1").out) == "Out[0:N]: 1\nOut[1:N]: 1\n", "it was for that cell"


@pytest.mark.parametrize("word", ["7", "0,x", "x:", "0.5", "1:1", "0,0", "''", "0,7", "every"])
def test_targets_that_are_none(px: Callable[[str], Answer], view: DirectView, word: str) -> None:
    for magic in (f"%%px --targets {word}\nmark = 1", f"%pxconfig --targets {word}"):
        assert "--targets" in usage(px(magic))
    assert "mark" not in view
    assert shown(px("%px 1").out) == "Out[0:N]: 1\nOut[1:N]: 1\n"


def test_out_binds_the_result_here(px: Callable[[str], Answer], shell: Any) -> None:
    assert px("%%px --out res\n1").value is None
    assert [each.text for each in shell.user_ns["res"].get()] == ["1", "1"]
    answer = px("%%px --noblock -o res\n2")
    assert shell.user_ns["res"] is answer.value
    for name in ("1a", "if", "a.b"):
        assert "--out takes a name" in usage(px(f"%%px --out {name}\nmark = 1"))


def test_local_runs_a_cell_here_as_well(px: Callable[[str], Answer], shell: Any, view: DirectView) -> None:
    answer = px("%%px --local\nmark = 1\nmark + 1")
    assert re.sub(r"\[(\d+)\]", "[]", shown(answer.out)) == "Out[]: 2\nOut[0:N]: 2\nOut[1:N]: 2\n"
    assert shell.user_ns["mark"] == 1 and view["mark"] == [1, 1]
    shell.user_ns["only_here"] = 1
    answer = px("%%px --local\nonly_here")
    assert isinstance(answer.error, CompositeError) and "Out[" in answer.out
    px("%autopx")
    px("%%px --local\nmark = 2")
    assert shell.user_ns["mark"] == 2 and view["mark"] == [2, 2]


def test_options_that_there_are_not(px: Callable[[str], Answer], view: DirectView) -> None:
    assert "unrecognized arguments: --loud" in usage(px("%%px --loud\nmark = 1"))
    assert "mark" not in view


# Errors ---------------------------------------------------------------------------------------------


def test_errors_of_several_engines(px: Callable[[str], Answer], view: DirectView) -> None:
    answer = px("%%px\nprint('before')\n1 / 0")
    assert isinstance(answer.error, CompositeError) and isinstance(answer.error.exceptions[0], ZeroDivisionError)
    assert sorted(answer.out.splitlines()[:2]) == ["[stdout:0] before", "[stdout:1] before"]
    assert "[0:execute]" in answer.out and "[1:execute]" in answer.out, "the remote tracebacks"
    assert "1 / 0" in answer.out and "magics.py" not in answer.out, "and not the local one"
    assert sys.last_value is answer.error, "for %debug"
    assert view["__name__"] and shown(px("%px 1").out) == "Out[0:N]: 1\nOut[1:N]: 1\n"


def test_an_error_of_one_engine_of_two(px: Callable[[str], Answer], rc: Client) -> None:
    rc[1]["only"] = 4
    answer = px("%px only")
    assert shown(answer.out).startswith("Out[1:N]: 4\n")
    assert isinstance(answer.error, CompositeError) and len(answer.error.exceptions) == 1
    assert "NameError" in answer.out and answer.error.results[1].text == "4"


def test_an_error_of_one_target_is_of_its_own_class(px: Callable[[str], Answer]) -> None:
    answer = px("%px --targets 0 {}['k']")
    assert isinstance(answer.error, KeyError) and isinstance(answer.error, RemoteError)
    assert "magics.py" not in answer.out and "KeyError: 'k'" in answer.out


@pytest.mark.parametrize("targets", ["0", "0,1"])
def test_code_that_is_none(px: Callable[[str], Answer], view: DirectView, targets: str) -> None:
    answer = px(f"%%px --targets {targets}\nmark = 1\nmark mark")
    [error] = set(map(type, getattr(answer.error, "exceptions", [answer.error])))
    assert issubclass(error, SyntaxError) and issubclass(error, RemoteError)
    assert "mark mark" in answer.out and "SyntaxError: invalid syntax" in answer.out
    assert "magics.py" not in answer.out
    assert "mark" not in view


def test_tb_shows_the_remote_tracebacks_once_more(px: Callable[[str], Answer]) -> None:
    for code in ("1 / 0", "mark mark", "--targets 0 {}[1]", "--targets 0 mark mark"):
        answer = px(f"%px {code}")
        assert 'File "<execute-' in answer.out
        assert px("%tb").out == answer.out


@pytest.mark.parametrize("mode", ["Context", "Plain", "Verbose", "Minimal"])
def test_errors_of_other_calls_are_shown_the_same_way(px: Callable[[str], Answer], mode: str) -> None:
    px(f"%xmode {mode}")
    lines = px("view.apply_sync(divmod, 1, 0)").out.splitlines()
    assert lines[0].startswith("CompositeError: ") and any(line.startswith("[1:apply]") for line in lines)
    assert not any("parpool/client" in line for line in lines)


def test_errors_from_here_are_shown_as_ever(px: Callable[[str], Answer]) -> None:
    assert "1 / none" in px("1 / none").out
    assert "SyntaxError" in px("1 1").out


# All that is typed ----------------------------------------------------------------------------------


def test_W5_autopx_toggles(px: Callable[[str], Answer], shell: Any, view: DirectView) -> None:
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


def test_W5_autopx_with_cells_of_many_lines(px: Callable[[str], Answer], view: DirectView) -> None:
    px("%autopx")
    answer = px("    total = []\n    for i in range(3):\n        total.append(i)\n\n        # more\n    total\n")
    assert shown(answer.out) == "Out[0:N]: [0, 1, 2]\nOut[1:N]: [0, 1, 2]\n"
    px("def f(x):\n    '''%s {x} $x ''\"'''\n    return -x\n")
    assert px(">>> f(1)\n").out == px("%pxresult").out != ""
    assert px(">>> %autopx").out == "Auto Parallel Disabled\n", "as it was pasted"
    assert view.pull("f(2), f.__doc__") == [(-2, "%s {x} $x ''\"")] * 2


def test_W6_autopx_that_does_not_wait(px: Callable[[str], Answer], view: DirectView) -> None:
    px("%autopx")
    view.block = False
    for cell in ("mark = []", "for i in range(100):\n    mark.append(i)\n"):
        answer = px(cell)
        assert isinstance(answer.value, AsyncResult)
        assert re.fullmatch(r"Out\[\d+\]: <JoinedResult execute: \w+>\n", answer.out.replace("\n\n", "\n"))
    assert px("%pxresult").out == ""
    view.block = True
    assert shown(px("len(mark)").out) == "Out[0:N]: 100\nOut[1:N]: 100\n"


def test_autopx_with_errors(px: Callable[[str], Answer], shell: Any) -> None:
    px("%autopx")
    answer = px("x = (1\ny = 2")
    assert isinstance(answer.error, CompositeError) and "SyntaxError" in answer.out
    answer = px("print('so far')\nnone")
    assert isinstance(answer.error, CompositeError) and "NameError" in answer.out
    assert sorted(answer.out.splitlines()[:2]) == ["[stdout:0] so far", "[stdout:1] so far"]
    assert px("%autopx").out == "Auto Parallel Disabled\n"


def test_what_is_for_the_prompt_with_autopx(px: Callable[[str], Answer], shell: Any) -> None:
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


def test_with_autopx_the_code_of_other_magics_goes_to_the_engines(px: Callable[[str], Answer], shell: Any) -> None:
    px("%autopx")
    answer = px("%%time\nmark = 1\nmark")
    assert "Out[0:" in answer.out and "mark" not in shell.user_ns


def test_whether_input_is_complete_is_decided_as_for_python(px: Callable[[str], Answer], shell: Any) -> None:
    px("%autopx")
    assert shell.check_complete("x = 1")[0] == "complete"
    assert shell.check_complete("for i in range(3):")[0] == "incomplete"
    assert shell.check_complete("x = 1)")[0] == "invalid"


def test_a_closed_client_does_not_trap_the_prompt(typed: Callable[[str], Answer]) -> None:
    with Pool(1) as pool:
        mine = pool.client[:]
        mine.activate()
        typed("%autopx")
    pool.join()
    assert typed("mark = 1").error is not None
    assert typed("%autopx").out == "Auto Parallel Disabled\n"
    assert typed("mark = 1").error is None


# Several views --------------------------------------------------------------------------------------


def test_several_suffixes_at_once(typed: Callable[[str], Answer], rc: Client, view: DirectView) -> None:
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
    assert "%px0 x = 1" in usage(typed("%px0"))


def test_another_view_may_take_a_suffix(px: Callable[[str], Answer], rc: Client) -> None:
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


def test_pxconfig(px: Callable[[str], Answer], view: DirectView) -> None:
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


def test_load_ext_parpool(typed: Callable[[str], Answer], shell: Any) -> None:
    assert typed("%load_ext parpool").out == ""
    for magic in ("%px 1", "%%px\n1", "%autopx", "%pxresult", "%result", "%pxconfig"):
        message = usage(typed(magic))
        assert "view.activate()" in message and "parpool.Pool()" in message
    assert typed("'still here'").value == "still here"
    typed("view.activate()")
    assert shown(typed("%px 1").out) == "Out[0:N]: 1\nOut[1:N]: 1\n"
    typed("%reload_ext parpool")
    assert "view.activate()" in usage(typed("%px 1")), "as new"


def test_unloading_takes_everything_away(typed: Callable[[str], Answer], shell: Any, rc: Client) -> None:
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


def test_unloading_leaves_the_magics_of_others(px: Callable[[str], Answer], shell: Any) -> None:
    shell.register_magic_function(lambda line: "theirs", "line", "result")
    unload_ipython_extension(shell)
    assert px("%result").value == "theirs"
    assert "not found" in usage(px("%pxresult"))


def test_help_lists_the_options(px: Callable[[str], Answer], shell: Any) -> None:
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


# The page -------------------------------------------------------------------------------------------


def engine(line: str) -> str:
    return line.partition("]")[0]


def test_the_session_of_the_manual(shell: Any) -> None:
    pytest.importorskip("matplotlib")
    blocks = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    parts = re.split(r"^In \[(\d+)\]: ", "\n".join(blocks), flags=re.M)[1:]
    assert len(parts) > 20
    try:
        for number, text in zip(parts[::2], parts[1::2], strict=True):
            first, *rest = text.splitlines()
            more = [line for line in rest if re.match(r" +\.\.\.: ?", line)]
            cell = "\n".join([first, *(re.sub(r"^ +\.\.\.: ?", "", line) for line in more)])
            expected = "\n".join(rest[len(more) :]).strip() + "\n"
            assert shell.execution_count == int(number)
            with capture_output(display=False) as captured:
                shell.run_cell(cell, store_history=True)
            got = "\n".join(each for each in (captured.stdout.strip(), captured.stderr.strip()) if each) + "\n"
            got = re.sub(r"^ *[~^]+\n", "", got, flags=re.M)  # newer Pythons draw them into tracebacks
            printed = r"(?:^\[stdout:\d+\] .*\n)+"  # in any order, as it comes
            got = re.sub(printed, lambda found: "".join(sorted(found[0].splitlines(True), key=engine)), got, flags=re.M)
            agree = doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS)
            assert agree, f"In [{number}]: {cell}\n{got}"
    finally:
        for name in ("rc", "shells"):
            if name in shell.user_ns:
                shell.user_ns[name].close()
