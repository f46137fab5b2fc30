"""What views ask of an engine's namespace."""

from __future__ import annotations

import base64
import gc
import linecache
import pickle
import sys
import traceback
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parpool.engine import verbs
from parpool.engine.verbs import Executed, execute, pull, push, run
from parpool.errors import RemoteError, TaskTimeout
from parpool.wire.failure import pack_failure, unpack_failure


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The namespace of an engine that has just started."""
    for name, value in {
        "namespace": verbs.namespace,
        "forget": None,
        "_at_start": frozenset(),
        "_executed": 0,
        "_future": 0,
        "_last": verbs._NOTHING,
        "_sources": [],
    }.items():
        monkeypatch.setattr(verbs, name, value)
    before = dict(linecache.cache)
    names: dict[str, Any] = {}
    verbs.use(names)
    yield names
    linecache.cache.clear()
    linecache.cache.update(before)


def remote_traceback(error: BaseException) -> str:
    """As it arrives at home; on an engine the first frame would be parpool's, too, and not a test's."""
    assert error.__traceback__ is not None
    return str(unpack_failure(pack_failure(error.with_traceback(error.__traceback__.tb_next))).__cause__)


# execute ----------------------------------------------------------------------------------------------


def test_E1_code_runs_in_the_namespace(names: dict[str, Any]) -> None:
    done = execute("a=5")
    assert names["a"] == 5
    assert (done.source, done.execution_count, done.text, done.display) == ("a=5", 1, None, {})
    assert repr(done) == "<ExecuteReply[1]: None>"


def test_E3_code_sees_the_names_of_earlier_code(names: dict[str, Any]) -> None:
    run("def mysquare(x):\n    return x * x\n", "script.py")
    push({"a": 5})
    execute("b=mysquare(a)")
    assert (pull("a"), pull("b")) == (5, 25)


def test_E4_code_may_import(names: dict[str, Any]) -> None:
    execute("import string as s, os.path")
    assert names["s"].digits == "0123456789" and names["os"] is sys.modules["os"]


def test_the_last_expression_is_shown(names: dict[str, Any]) -> None:
    done = execute("a = 5\n'not this'\na * a  # but this\n")
    assert done.text == "25" and repr(done) == "<ExecuteReply[1]: 25>"
    assert execute("'text'").text == "'text'"
    assert execute("a").execution_count == 3
    for code in ("None", "print", "", "# a comment", "a; b = 2"):
        assert (execute(code).text is not None) == (code == "print")
    assert "__doc__" not in names


def test_a_long_value_is_short_in_the_repr(names: dict[str, Any]) -> None:
    done = execute("list(range(100))")
    assert done.text == repr(list(range(100)))
    assert len(repr(done)) < 90 and repr(done).endswith("...>")
    assert "\n" not in repr(Executed(text="a\nb"))


def test_silent_code_shows_nothing(names: dict[str, Any]) -> None:
    done = execute("5", silent=True)
    assert done.text is None and done.execution_count == 1 and "_" not in names
    for code in ("5;", "x = 3\nx + 1 ;  # a remark\n\n# and more;\n"):
        assert execute(code).text is None and "_" not in names
    assert [execute(code).text for code in ("';'", "1; 2", "3  # ;")] == ["';'", "2", "3"]


def test_the_underscore_is_the_last_value(names: dict[str, Any]) -> None:
    execute("[1, 2]")
    assert execute("_[1] + 40").text == "42"
    execute("None")
    execute("x = 3")
    assert names["_"] == 42 and verbs.keys() == ["x"]


def test_a_user_s_underscore_is_left_alone(names: dict[str, Any]) -> None:
    execute("41")
    execute("for _ in range(3): pass")
    execute("'shown'")
    assert names["_"] == 2 and verbs.keys() == ["_"]
    push({"_": None})
    execute("'shown'")
    assert names["_"] is None
    execute("del _")
    execute("'shown'")
    assert names["_"] == "shown" and verbs.keys() == []


def test_indented_code(names: dict[str, Any]) -> None:
    code = """
        def f(x):
            return x + 1

        f(1)
    """
    done = execute(code)
    assert done.text == "2" and done.source == code


def test_lines_of_spaces_in_a_string_stay(names: dict[str, Any]) -> None:
    assert execute("'''a\n  \nb'''").text == repr("a\n  \nb")


def test_nothing_runs_where_some_code_is_not_valid(names: dict[str, Any]) -> None:
    with pytest.raises(SyntaxError) as caught:
        execute("a = 1\nb = = 2")
    assert (caught.value.filename, caught.value.lineno) == ("<execute-1>", 2)
    assert "b = = 2" in remote_traceback(caught.value)
    with pytest.raises(SyntaxError, match="outside function"):
        execute("a = 1\nreturn a")
    assert "a" not in names
    assert execute("1").execution_count == 3, "they count, too"


def test_what_ran_before_an_error_remains(names: dict[str, Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        execute("a = 1\n1/0\nb = 2")
    assert names["a"] == 1 and "b" not in names


def test_code_must_be_a_string(names: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="str, not bytes"):
        execute(b"1")  # type: ignore[arg-type]


def test_future_imports_hold_for_later_code(names: dict[str, Any]) -> None:
    definition = "def f(x: Unknown): pass"
    with pytest.raises(NameError):
        execute(definition)
    execute("a = 1\nfrom __future__ import annotations\n" + definition)
    execute(definition)
    assert names["f"].__annotations__ == {"x": "Unknown"}
    with pytest.raises(NameError):
        run(definition, "a file has its own.py")
    verbs.clear()
    with pytest.raises(NameError):
        execute(definition)


def test_classes_belong_to_main(names: dict[str, Any]) -> None:
    execute("class C: pass\ndef f(): pass")
    assert (names["C"].__module__, names["f"].__module__) == ("__main__", "__main__")
    assert names["f"].__globals__ is names


# await ------------------------------------------------------------------------------------------------


def test_await_outside_of_functions(names: dict[str, Any]) -> None:
    done = execute("""
        import asyncio
        async def double(x):
            await asyncio.sleep(0)
            return 2 * x
        task = asyncio.create_task(double(4))  # in the loop, though nothing is awaited here
        async with asyncio.Lock():
            a = await double(2)
        a + await task
    """)
    assert done.text == "12" and names["a"] == 4
    assert run("b = await double(5)", "script.py").text is None
    assert names["b"] == 10


def test_a_coroutine_is_not_awaited_unasked(names: dict[str, Any]) -> None:
    execute("async def f(): pass")
    text = execute("f()").text
    assert text is not None and text.startswith("<coroutine object f")
    execute("_.close()")


@pytest.mark.parametrize("code", ["1 / zero", "await fail()"])
def test_the_user_s_frames_are_right_below_ours(names: dict[str, Any], code: str) -> None:
    execute("zero = 0\nasync def fail():\n    return 1 / zero")
    with pytest.raises(ZeroDivisionError) as caught:
        execute("a = 1\n" + code)
    frames = traceback.extract_tb(caught.value.__traceback__)[1:]  # the first is this one
    where = [frame.filename for frame in frames]
    ours = where.count(verbs.__file__)
    assert where[:ours] == [verbs.__file__] * ours and where[ours] == "<execute-2>"
    text = remote_traceback(caught.value)
    assert "verbs.py" not in text and "asyncio" not in text
    assert f'File "<execute-2>", line 2, in <module>\n    {code}\n' in text


def test_an_error_of_awaiting_code_is_let_go_at_once(names: dict[str, Any]) -> None:
    execute("class Error(Exception): pass\nasync def fail(): raise Error")
    gc.collect()
    gc.disable()
    try:
        try:
            execute("await fail()")
        except names["Error"] as error:
            seen = weakref.ref(error)
        assert seen() is None
    finally:
        gc.enable()


# Lines for tracebacks ---------------------------------------------------------------------------------


def test_tracebacks_show_the_lines_of_earlier_code(names: dict[str, Any]) -> None:
    execute("def f(x):\n    return 1 / x  # here\n")
    execute("def g(x):\n    return f(x)  # and there", "<cell>")
    linecache.checkcache()
    with pytest.raises(ZeroDivisionError) as caught:
        execute("g(0)")
    text = remote_traceback(caught.value)
    assert '"<execute-1>", line 2, in f\n    return 1 / x  # here\n' in text
    assert '"<cell>", line 2, in g\n    return f(x)  # and there\n' in text


def test_a_bounded_number_of_sources_is_kept(names: dict[str, Any]) -> None:
    for _ in range(verbs.KEPT + 2):
        execute("1", "<cell>")
        execute("2")
    ours = [name for name in linecache.cache if name.startswith(("<execute-", "<cell>"))]
    assert len(ours) == verbs.KEPT and "<cell>" in ours and f"<execute-{verbs._executed}>" in ours


def test_odd_ends_of_lines(names: dict[str, Any]) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        execute("a = 'x\x0c\u2028'\r\nb = 2\r1 / 0")
    assert '"<execute-1>", line 3, in <module>\n    1 / 0\n' in remote_traceback(caught.value)


# How values are shown ---------------------------------------------------------------------------------


RICH = """
class Rich:
    def _repr_html_(self): return "<b>rich</b>"
    def _repr_png_(self): return b"\\x89PNG"
    def _repr_svg_(self): return "<svg/>"
    def _repr_markdown_(self): return "**rich**"
    def _repr_latex_(self): return "$rich$", {"isolated": True}
    def _repr_json_(self): return {"a": (1, 2)}
class Odd:
    def __repr__(self): raise ValueError("no repr")
    def _repr_html_(self): raise ValueError("no html")
    def _repr_png_(self): return "iVBORw=="
    def _repr_svg_(self): return None
    def _repr_markdown_(self): return 5
    def _repr_json_(self): return {1, 2}
    _repr_latex_ = None
class Anything:
    def __getattr__(self, name): return lambda *args: "whatever"
    def __repr__(self): return "Anything()"
"""


def test_other_representations_by_mime_type(names: dict[str, Any]) -> None:
    execute(RICH)
    assert execute("Rich()").display == {
        "text/html": "<b>rich</b>",
        "image/png": base64.b64encode(b"\x89PNG").decode(),
        "image/svg+xml": "<svg/>",
        "text/markdown": "**rich**",
        "text/latex": "$rich$",
        "application/json": {"a": [1, 2]},
    }
    assert execute("Rich").display == {}, "a class is none of its objects"


def test_odd_representations_fail_nothing(names: dict[str, Any]) -> None:
    execute(RICH)
    done = execute("Odd()")
    assert done.text == "<Odd object whose repr raises ValueError>"
    assert done.display == {"image/png": "iVBORw=="}
    assert execute("Anything()").display == {}


def test_a_time_out_in_a_representation_is_one(names: dict[str, Any]) -> None:
    def fail(self: object) -> str:
        raise TaskTimeout("too long")

    push({"fail": fail})
    for method in ("__repr__", "_repr_html_"):
        execute(f"class C: {method} = fail")
        with pytest.raises(TaskTimeout):
            execute("C()")


def test_what_comes_back_pickles_whatever_the_value_is(names: dict[str, Any]) -> None:
    done = execute("""
        class Text(str):
            __slots__ = ()
        class Odd:
            def __repr__(self): return Text("odd")
            def _repr_html_(self): return Text("<i>odd</i>")
        Odd()
    """)
    again = pickle.loads(pickle.dumps(done))
    assert again == done and again is not done
    assert (type(done.text), type(done.display["text/html"])) == (str, str)


def test_a_result_of_another_version_can_be_opened() -> None:
    make, args, state = Executed("a", 3, "5").__reduce__()
    del state["display"]
    other = make(*args)
    vars(other).update(state, news="of a later version")
    assert (other.text, other.display, other.news) == ("5", {}, "of a later version")


# run --------------------------------------------------------------------------------------------------


def test_E2_a_script_leaves_its_names(names: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "myscript.py"
    file.write_text('"""A script."""\nimport math\ndef mysquare(x):\n    return x * x\nvalue = math.pi\nvalue\n')
    done = run(file.read_text(), str(file))
    assert names["mysquare"](3) == 9 and names["value"] > 3 and names["math"].pi
    assert done.text is None and done.execution_count == 1


def test_a_script_is_main_and_has_a_file_while_it_runs(names: dict[str, Any]) -> None:
    names["__name__"] = "elsewhere"
    run("seen = __name__, __file__\nif __name__ == '__main__':\n    ran = True", "dir/script.py")
    assert names["seen"] == ("__main__", "dir/script.py") and names["ran"]
    assert names["__name__"] == "elsewhere" and "__file__" not in names
    names["__file__"] = "before.py"
    with pytest.raises(ZeroDivisionError):
        run("del __file__, __name__\n1/0", "script.py")
    assert (names["__name__"], names["__file__"]) == ("elsewhere", "before.py")


def test_tracebacks_of_a_script_show_lines_of_a_file_that_the_engine_has_not(
    names: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "script.py"
    source = "# first\nfail = 1 / 0  # second\n"
    for content in (None, "other\nlines\n", source):
        if content is not None:
            file.write_text(content)
        with pytest.raises(ZeroDivisionError) as caught:
            run(source, str(file))
        assert f'File "{file}", line 2, in <module>\n    fail = 1 / 0  # second\n' in remote_traceback(caught.value)


def test_lines_that_the_file_itself_has_are_not_kept(names: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text("a = 1\n")
    run(file.read_text(), str(file))
    assert verbs._sources == []
    run("a = 2\n", str(file))
    assert verbs._sources == [str(file)]


@pytest.mark.parametrize("ending", ["sys.exit()", "sys.exit(0)", "raise SystemExit"])
def test_a_script_may_end_with_success(names: dict[str, Any], ending: str) -> None:
    run(f"import sys\na = 1\n{ending}\na = 2", "script.py")
    assert names["a"] == 1


def test_a_script_that_ends_with_a_status_has_failed(names: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="3"):
        run("raise SystemExit(3)", "script.py")


def test_scripts_in_bytes(names: dict[str, Any]) -> None:
    run("# coding: latin-1\na = 'ä'".encode("latin-1"), "script.py")
    assert names["a"] == "ä"
    run("\ufeffb = 'ä'".encode(), "script.py")
    run("\ufeffc = 'ä'", "script.py")
    assert (names["b"], names["c"]) == ("ä", "ä")


# push, pull, delete -----------------------------------------------------------------------------------


def test_F7_push_binds_all(names: dict[str, Any]) -> None:
    assert push(dict(a=1.03234, b=3453)) is None  # type: ignore[func-returns-value]
    assert (names["a"], names["b"]) == (1.03234, 3453)


def test_push_refuses_what_is_no_name(names: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"nothing was pushed: 'a b', 'class', 3$"):
        push({"good": 1, "a b": 2, "class": 3, 3: 4})  # type: ignore[dict-item]
    assert "good" not in names
    with pytest.raises(TypeError, match="mapping of names to values, not list"):
        push([("a", 1)])  # type: ignore[arg-type]


def test_F8_F9_pull_gives_the_object_or_a_list(names: dict[str, Any]) -> None:
    push(dict(a=1.03234, b=3453))
    assert pull("a") is names["a"]
    assert pull(("a", "b")) == [1.03234, 3453] and pull(["b"]) == [3453] and pull([]) == []


def test_pull_takes_expressions(names: dict[str, Any]) -> None:
    push({"a": [1, {"k": types.SimpleNamespace(x=7)}]})
    assert pull("a[1]['k'].x") == 7 and pull(" a[0] ") == 1 and pull("len(a)") == 2
    with pytest.raises(IndexError) as caught:
        pull("a[5]")
    assert "verbs.py" not in remote_traceback(caught.value) and "<pull a[5]>" in remote_traceback(caught.value)
    with pytest.raises(SyntaxError):
        pull("a[")


@pytest.mark.parametrize("keys", [5, {"a"}, ["a", 5], None])
def test_pull_takes_names(names: dict[str, Any], keys: Any) -> None:
    names["a"] = 1
    with pytest.raises(TypeError, match=r"pull\(\) takes a name, or a list or tuple of names, not"):
        pull(keys)


def test_F13_a_missing_name_says_how_to_push_it(names: dict[str, Any]) -> None:
    push({"results": 1, "result_2": 2, "other": 3})
    with pytest.raises(NameError) as caught:
        pull("result")
    text = str(caught.value)
    assert text.startswith("name 'result' is not defined") and "view['result'] = value" in text
    assert "'results' or 'result_2'" in text and "other" not in text
    assert caught.value.__suppress_context__
    with pytest.raises(
        NameError, match=r"^name 'zzz' is not defined on this engine: push it with view\['zzz'\] = value$"
    ):
        pull(["other", "zzz.attribute[2]"])
    error = unpack_failure(pack_failure(caught.value))
    assert isinstance(error, (NameError, RemoteError)) and "Did you mean" not in str(error.__cause__)


def test_a_name_that_the_user_s_function_lacks_is_its_own_matter(names: dict[str, Any]) -> None:
    execute("def f(): return missing")
    with pytest.raises(NameError, match="^name 'missing' is not defined$"):
        pull("f()")
    execute("def f(): raise NameError('own words')")
    with pytest.raises(NameError, match="^own words$"):
        pull("f()")


def test_delete(names: dict[str, Any]) -> None:
    push(dict(a=1, b=2, c=3, d=4))
    verbs.delete("a")
    verbs.delete(("b", "c", "b"))
    assert verbs.keys() == ["d"]
    with pytest.raises(NameError, match="name 'x' is not defined"):
        verbs.delete(["d", "x"])
    with pytest.raises(TypeError, match=r"delete\(\) takes a name"):
        verbs.delete({"d": 1})  # type: ignore[arg-type]
    assert verbs.keys() == ["d"]


# The whole namespace ----------------------------------------------------------------------------------


def test_C24_keys_are_a_sorted_list(names: dict[str, Any]) -> None:
    push(dict(b=1, _a=2, __c=3, __version__=4))
    execute("B = 5")
    assert verbs.keys() == ["B", "__c", "_a", "b"]


def test_Q3_clear_leaves_no_names(names: dict[str, Any]) -> None:
    push(dict(a=1, b=2))
    execute("import sys\n'shown'")
    verbs.clear()
    assert verbs.keys() == [] and set(names) == {"__builtins__", "__name__"}
    execute("'shown'")
    assert names["_"] == "shown"


def test_clear_leaves_the_names_of_the_start(names: dict[str, Any]) -> None:
    names["inherited"] = 1
    verbs.remember()
    calls: list[int] = []
    verbs.forget = lambda: calls.append(1)
    push(dict(a=1, inherited=2))
    verbs.clear()
    assert verbs.keys() == ["inherited"] and names["inherited"] == 2
    assert calls == [1]


def test_clear_survives_what_objects_do_as_they_go(names: dict[str, Any]) -> None:
    class Last:
        def __del__(self) -> None:
            names.pop("other", None)

    push(dict(first=Last(), other=1, more=2))
    verbs.clear()
    assert verbs.keys() == []


def test_without_an_engine_the_namespace_is_main(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setattr(verbs, "namespace", verbs._names_of_main)
    push({"a": 1})
    assert module.a == 1


# load -------------------------------------------------------------------------------------------------


def test_E6_load_imports_as_the_statements_do(names: dict[str, Any]) -> None:
    verbs.load("xml.dom")
    verbs.load("os.path", "p")
    verbs.load("string", fromlist=["digits", ("hexdigits", "h")])
    verbs.load("keyword", fromlist=["*"])
    import keyword
    import os
    import xml.dom

    assert names["xml"] is xml and names["p"] is os.path
    assert (names["digits"], names["h"]) == ("0123456789", "0123456789abcdefABCDEF")
    assert names["iskeyword"] is keyword.iskeyword and "re" not in names
    assert set(verbs.keys()) == {"xml", "p", "digits", "h", *keyword.__all__}


def test_load_errors(names: dict[str, Any]) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        verbs.load("no_such_module")
    with pytest.raises(ImportError, match="nothing_like_it"):
        verbs.load("string", fromlist=["nothing_like_it"])
    for arguments in [
        ("a b",),
        ("",),
        (".relative",),
        ("os", "p q"),
        ("os", None, ["x y"]),
        ("os", None, [("x", "1")]),
    ]:
        with pytest.raises(ValueError, match="not names of Python"):
            verbs.load(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name or fromlist"):
        verbs.load("os", "o", ["path"])
    assert verbs.keys() == []


def test_every_verb_travels_by_reference() -> None:
    for verb in (execute, run, push, pull, verbs.delete, verbs.keys, verbs.clear, verbs.load):
        assert pickle.loads(pickle.dumps(verb)) is verb
