"""Engines that host an IPython shell: what runs there, and how it comes home."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("IPython")

from parpool import Client, DirectView, Pool, RemoteError

PATIENCE = 30.0


@pytest.fixture(scope="module")
def rc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(home / "ipython"))
        with Pool(1, ipython=True) as pool:
            pool.apply_async(abs, (-1,), callback=lambda value: None).get()
            pool.client[0].execute("None", block=True)
            yield pool.client
        pool.join()
    assert list(home.iterdir()) == [], "no history, no profile"


@pytest.fixture
def view(rc: Client) -> Iterator[DirectView]:
    view = rc[0]
    with view.temp_flags(block=True):
        view.clear()
        yield view


def printed(view: DirectView, code: str) -> str:
    result = view.execute(code, block=False)
    result.get(PATIENCE)
    return str(result.stdout)


def raised(view: DirectView, code: str) -> Any:
    with pytest.raises(RemoteError) as caught:
        view.execute(code)
    return caught.value


# What runs ------------------------------------------------------------------------------------------------


def test_code_runs_in_the_namespace_of_the_engine(view: DirectView) -> None:
    view.execute("def f():\n    return a\na = 5")
    assert view["a"] == 5 and view["f()"] == 5
    view["a"] = 6
    assert view.execute("f()").text == "6"


def test_values_are_shown_as_ipython_shows_them(view: DirectView) -> None:
    done = view.execute("{n: 'x' * 20 for n in range(6)}")
    assert done.text.count("\n") == 5 and done.display == {}
    assert view.execute("None").text is None and view.execute("1;").text is None
    view.execute("class A:\n    _repr_html_ = lambda self: '<b>'\n    _repr_png_ = lambda self: (b'png', {'width': 4})")
    done = view.execute("A()")
    assert done.text.startswith("<__main__.A") and done.display == {"text/html": "<b>", "image/png": "cG5n"}
    assert done.metadata == {"image/png": {"width": 4}}


def test_in_and_out_and_underscores(view: DirectView) -> None:
    names = view.keys()
    first = view.execute("'one'")
    assert view.execute("_ + '!'").text == "'one!'"
    assert view.execute("__").text == "'one'"
    number = first.execution_count
    assert view.execute(f"In[{number}], Out[{number}], _{number}, _i{number}").text == str(
        ("'one'", "one", "one", "'one'")
    )
    assert view.keys() == names and view.execute("1").execution_count == number + 4
    view.clear()
    assert view.execute("Out").text == "{}"


def test_magics(view: DirectView) -> None:
    assert "loop" in printed(view, "%timeit -n 1 -r 1 pass")
    assert printed(view, "%%capture caught\nprint('inside')") == ""
    assert printed(view, "caught.show()") == "inside\n"
    assert {"caught", "x"} <= set(printed(view, "x = 5\n%who").split())


def test_commands_of_the_system(view: DirectView, tmp_path: Path) -> None:
    view["folder"] = str(tmp_path)
    Path(tmp_path, "näme").touch()
    assert printed(view, "!ls {folder}") == "näme\n"
    assert printed(view, "!echo wrong >&2; exit 3") == "wrong\n" and view.execute("_exit_code").text == "3"
    assert view.execute("names = !ls $folder\nnames").text == "['näme']"
    assert "background" in str(raised(view, "!sleep 1 &"))


def test_help(view: DirectView) -> None:
    view.execute("def f(x):\n    'What it does.'\n    return -x")
    assert "What it does." in printed(view, "f?") == printed(view, "?f")
    assert "return -x" in printed(view, "f??")
    assert "not found" in printed(view, "nothing_of_that_name?")


def test_await(view: DirectView) -> None:
    assert view.execute("import asyncio\nawait asyncio.sleep(0, 'done')").text == "'done'"


def test_indented_code(view: DirectView) -> None:
    assert view.execute("    a = 3\n    a").text == "3"


# Errors ---------------------------------------------------------------------------------------------------


def test_errors_have_the_traceback_of_the_shell(view: DirectView) -> None:
    view.execute("def f():\n    return 1 / 0")
    error = raised(view, "x = 1\nf()")
    assert isinstance(error, ZeroDivisionError)
    assert "----> 2 f()" in error.traceback and "----> 2     return 1 / 0" in error.traceback
    assert error.traceback.endswith("ZeroDivisionError: division by zero\n") and "parpool" not in error.traceback
    assert error.traceback.strip() in printed(view, "%tb")


def test_names_that_are_missing(view: DirectView) -> None:
    error = raised(view, "nape")
    assert "push it with view['nape']" in str(error) and "push it with view['nape']" in error.traceback


def test_code_that_is_none(view: DirectView) -> None:
    error = raised(view, "x = (")
    assert isinstance(error, SyntaxError) and "x = (" in error.traceback
    error = raised(view, "if 1:\nx")
    assert isinstance(error, IndentationError) and error.traceback.strip()


def test_wrong_usage_of_magics(view: DirectView) -> None:
    error = raised(view, "%nothing_of_that_name")
    assert error.traceback.startswith("UsageError: ") and "\n" not in error.traceback.strip()
    assert "shutdown()" in str(raised(view, "exit")), "the engine goes on"
    assert "%matplotlib inline" in str(raised(view, "get_ipython().enable_gui('tk')"))
    assert view.execute("1").text == "1"


def test_the_end_of_the_interpreter_is_an_error(view: DirectView) -> None:
    assert raised(view, "import sys; sys.exit(3)").ename == "SystemExit"
    assert view.execute("1").text == "1"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of 3.11")
def test_groups_of_errors(view: DirectView) -> None:
    error = raised(view, "raise ExceptionGroup('several', [ValueError(1), KeyError(2)])")
    assert "ValueError: 1" in error.traceback and "KeyError: 2" in error.traceback and "IPython" not in error.traceback


def test_errors_that_a_cell_has_caught_are_printed(view: DirectView) -> None:
    code = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()"
    assert "ZeroDivisionError: division by zero" in printed(view, code)


def test_xmode(view: DirectView) -> None:
    view.execute("%xmode Minimal")
    try:
        assert raised(view, "1 / 0").traceback == "ZeroDivisionError: division by zero\n"
    finally:
        view.execute("%xmode Context")


def test_a_time_limit(rc: Client) -> None:
    view = rc[0]
    with view.temp_flags(block=True, task_timeout=0.5):
        with pytest.raises(TimeoutError):
            view.execute("import time\ntime.sleep(60)")
        with pytest.raises(TimeoutError):
            view.execute("!sleep 60")
    assert view.execute("1", block=True).text == "1"


# What is displayed ----------------------------------------------------------------------------------------


def test_what_is_displayed_comes_home_between_what_is_printed(view: DirectView) -> None:
    code = "print('before')\ndisplay({'text/plain': 'shown', 'text/html': '<b>'}, raw=True)\nprint('after')"
    result = view.execute(code, block=False)
    result.get(PATIENCE)
    assert result.stdout == "before\nafter\n" and result.stderr == ""
    assert [each["data"] for each in result.outputs] == [{"text/plain": "shown", "text/html": "<b>"}]
    assert result.outputs[0]["output_type"] == "display_data"
    assert [entry[0] for entry in result._parts()[0]._printed if entry[1] != "\n"] == [1, 3, 1]


def test_displays_that_change(view: DirectView) -> None:
    code = "shown = display('a', display_id='one')\nshown.update('b')\nfrom IPython.display import clear_output\nclear_output()"
    result = view.execute(code, block=False)
    result.get(PATIENCE)
    assert [each["output_type"] for each in result.outputs] == ["display_data", "update_display_data", "clear_output"]
    assert result.outputs[1]["transient"] == {"display_id": "one"}


def test_functions_display_as_well(rc: Client, view: DirectView) -> None:
    def show() -> None:
        from IPython.display import display

        display("of a function")

    result = rc[:].apply_async(show)
    result.get(PATIENCE)
    [[shown]] = result.outputs
    assert shown["data"] == {"text/plain": "'of a function'"}


def test_what_json_does_not_know_is_left_out(view: DirectView) -> None:
    code = "display({'text/plain': 'shown', 'application/json': {1j}, 'image/png': 5}, raw=True)"
    result = view.execute(code, block=False)
    result.get(PATIENCE)
    assert [each["data"] for each in result.outputs] == [{"text/plain": "shown"}]


def test_an_engine_that_is_forked_from_one_with_a_shell_has_none(view: DirectView) -> None:
    code = "import parpool\nwith parpool.Pool(1) as pool:\n    x = pool.client[0].execute('5', block=True)\npool.join()"
    view.execute(code)
    assert view["x"].text == "5" and "SyntaxError" in str(raised(view, f"{code.replace('5', '%who')}"))


def test_pictures(view: DirectView) -> None:
    pytest.importorskip("matplotlib")
    code = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    result = view.execute(code, block=False)
    assert result.get(PATIENCE).text is None
    [shown] = result.outputs
    assert shown["data"]["image/png"].startswith("iVBOR") and shown["data"]["text/plain"].startswith("<Figure")


# Around it ------------------------------------------------------------------------------------------------


def test_engines_without_a_shell_say_how_to_get_one() -> None:
    with Pool(1) as pool:
        for code in ("%timeit 1", "!ls", "x = 1\n%who", "f?"):
            with pytest.raises(SyntaxError, match="ipython=True"):
                pool.client[0].execute(code, block=True)
        with pytest.raises(SyntaxError) as caught:
            pool.client[0].execute("x = (", block=True)
        assert "ipython" not in str(caught.value)
    pool.join()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_engines_that_are_not_forked(method: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, parpool\n"
        "class A: pass\n"
        "if __name__ == '__main__':\n"
        f"    with parpool.Pool(1, context=multiprocessing.get_context({method!r}), ipython=True) as pool:\n"
        "        view = pool.client[0]\n"
        "        view.execute('def f(): return type(a).__name__, b', block=True)\n"
        "        view.push({'a': A(), 'b': 5}, block=True)\n"
        "        print(view.execute('%precision 3\\nf()', block=True).text, view['f()'])\n"
        "    pool.join()\n"
    )
    environment = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "('A', 5) ('A', 5)\n" and done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "ipython").exists()


def test_engines_of_a_cluster_cannot_be_had_otherwise() -> None:
    with pytest.raises(ValueError, match="ipython is of engines that a pool starts"):
        Pool(client=object(), ipython=True)  # type: ignore[arg-type]
