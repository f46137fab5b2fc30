"""The mission's rows of code, names and data on engines: E, F, G, N, O3 to O5, O13 and O14; and the seeds' sessions."""

from __future__ import annotations

import array
import functools
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sessions
from rows import PATIENCE

import parpool
from parpool import AsyncResult, Client, CompositeError, Reference, RemoteError

SCRIPT = """\
import math
import os
import sys

a=5

def mysquare(x):
    return x*x
"""


ENGINES = 4


@pytest.fixture
def e0(rc: Client) -> Iterator[Any]:
    with rc[0].temp_flags(block=True) as view:
        yield view


@pytest.fixture
def dview(rc: Client) -> Iterator[Any]:
    with rc[:].temp_flags(block=True) as view:
        yield view


@pytest.fixture(params=sessions.WAY)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    return functools.partial(sessions.play, request.param, tmp_path)


def same(value: Any) -> Any:
    return value


# E: code and imports --------------------------------------------------------------------------------


def test_E1_execute_a_string(rc: Client, e0: Any) -> None:
    assert rc[0, 1, 2].execute("a=5", block=True) is not None
    assert [("a" in view) for view in rc] == [True, True, True, False]
    e0.execute("a += 1\nfor n in range(3):\n    a += n")
    assert e0["a"] == 9


def test_E1_execute_gives_the_value_of_a_last_expression(e0: Any, dview: Any) -> None:
    reply = e0.execute("b = 5; b * 2")
    assert (reply.text, reply.source) == ("10", "b = 5; b * 2")
    assert [reply.text for reply in dview.execute("'text'")] == ["'text'"] * 4
    assert e0.execute("b = 6").text is None and e0.execute("").text is None
    assert e0["b"] == 6


def test_E1_execute_does_not_block_by_default(rc: Client) -> None:
    result = rc[0].execute("c = 5; c")
    assert isinstance(result, AsyncResult) and result.get().text == "5"
    assert rc[0]["c"] == 5


def test_E1_execute_shows_what_a_prompt_shows(e0: Any, capsys: pytest.CaptureFixture[str]) -> None:
    e0.execute("print('printed'); 6 * 7")
    assert capsys.readouterr().out == ""
    number = e0.execute("print('printed'); 6 * 7", silent=False).execution_count
    assert capsys.readouterr().out == f"[stdout:0] printed\nOut[0:{number}]: 42\n"
    with pytest.raises(ZeroDivisionError):
        e0.execute("print('before it'); 1/0", silent=False)
    assert capsys.readouterr().out == "[stdout:0] before it\n"


def test_E1_errors_show_the_line(e0: Any, dview: Any) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        e0.execute("x = 1\ndef divide():\n    return x / 0\ndivide()")
    assert "return x / 0" in caught.value.traceback and ", line 3, in divide" in caught.value.traceback
    with pytest.raises(SyntaxError):
        e0.execute("a = = 5")
    with pytest.raises(CompositeError) as several:
        dview.execute("1/0")
    assert str(several.value).splitlines() == [
        "one or more exceptions from call to method: execute",
        *(f"[{id}:execute]: ZeroDivisionError: division by zero" for id in range(4)),
    ]


def test_E2_run_a_file(e0: Any, tmp_path: Path) -> None:
    script = tmp_path / "myscript.py"
    script.write_text(SCRIPT)
    e0.run(script)
    script.unlink()
    assert e0["mysquare"](3) == 9 and e0["a"] == 5 and {"math", "os", "sys"} <= set(e0.keys())
    with pytest.raises(FileNotFoundError):
        e0.run(script)


def test_E2_run_as_a_script(dview: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("names = __name__, __file__\nif __name__ == '__main__':\n    ran = True\n")
    before = dview.apply(eval, "__import__('__main__').__dict__.get('__file__')")
    dview.run(str(script))
    assert dview["names"] == [("__main__", str(script))] * 4 and dview["ran"] == [True] * 4
    assert dview.apply(eval, "__import__('__main__').__dict__.get('__file__')") == before


def test_E2_run_has_what_the_file_printed(e0: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint('out')\nsys.stderr.write('err')\n")
    reply = e0.run(script, block=True)
    assert (reply.stdout, reply.stderr) == ("out\n", "err")


def test_E2_run_shows_the_line_of_an_error(e0: Any, tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text("def f():\n    raise ValueError('in the script')\nf()\n")
    with pytest.raises(ValueError, match="in the script") as caught:
        e0.run(script)
    assert f'File "{script}", line 2, in f' in caught.value.traceback
    assert "raise ValueError('in the script')" in caught.value.traceback


def test_E2_run_reads_the_declared_encoding(e0: Any, tmp_path: Path) -> None:
    script = tmp_path / "latin.py"
    script.write_bytes("# -*- coding: latin-1 -*-\nword = 'caf\xe9'\n".encode("latin-1"))
    e0.run(script)
    assert e0["word"] == "caf\xe9"


def test_E3_what_follows_sees_the_names_of_the_script(e0: Any, tmp_path: Path) -> None:
    script = tmp_path / "myscript.py"
    script.write_text(SCRIPT)
    e0.run(script)
    e0.execute("b=mysquare(a)")
    assert (e0["a"], e0["b"]) == (5, 25)


def test_E4_execute_an_import(e0: Any) -> None:
    e0.execute("import colorsys, json as j")
    assert e0.pull("colorsys.__name__") == "colorsys" and e0.pull("j.dumps([1])") == "[1]"


def test_E5_sync_imports(play: Callable[..., Any]) -> None:
    ended = play("""
        with dview.sync_imports():
            import colorsys
        assert colorsys.ONE_THIRD and dview.pull("colorsys.ONE_THIRD") == [colorsys.ONE_THIRD] * 2
        assert dview.apply(lambda: colorsys.ONE_THIRD) == [colorsys.ONE_THIRD] * 2
    """)
    assert "importing colorsys on engine(s)\n" in ended.out


def test_E6_sync_imports_in_every_form(play: Callable[..., Any]) -> None:
    ended = play("""
        with dview.sync_imports(quiet=True):
            import xml.dom as d, xml.sax
            from fractions import Fraction, Fraction as F
        assert e0.pull("d.__name__") == "xml.dom" and e0.pull("xml.sax.__name__") == "xml.sax"
        assert e0.pull("F is Fraction") and F is Fraction
    """)
    assert "importing" not in ended.out


def test_E6_sync_imports_only_there(play: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "only_there.py").write_text("value = 5\ndef double(x): return 2 * x\n")
    play("""
        dview.execute("import sys; sys.path.insert(0, 'there')")
        with dview.sync_imports(local=False):
            import only_there
            from only_there import double as twice
        import sys
        assert "only_there" not in sys.modules
        assert dview.apply(lambda: (only_there.value, twice(4))) == [(5, 8)] * 2
        with raises(TypeError, "only_there was imported on the engines only"):
            only_there.value
        with raises(ModuleNotFoundError):
            with dview.sync_imports():
                import only_there
        with raises(parpool.CompositeError, "No module named 'nowhere_at_all'"):
            with dview.sync_imports(local=False):
                import nowhere_at_all
    """)


def test_E6_importer(e0: Any) -> None:
    e0.importer("colorsys", as_="c")
    assert e0.pull("c.__name__") == "colorsys"
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"):
        e0.importer("nowhere_at_all")


def test_E7_two_units_of_execution(e0: Any) -> None:
    e0.execute("a = 5")
    assert e0.apply(same, Reference("a")) == 5
    for wrong in (5, b"a=5", None):
        with pytest.raises(TypeError, match="execute takes a string of Python code"):
            e0.execute(wrong)


def test_E8_an_example_of_both(e0: Any, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text("def area(r):\n    return 3 * r ** 2\n")
    e0.run(script)
    e0.execute("areas = [area(r) for r in range(4)]")
    assert e0["areas"] == [0, 3, 12, 27]


def test_E9_stdout_is_not_the_result(rc: Client) -> None:
    result = rc[:].execute("import sys\nprint('out')\nprint('err', file=sys.stderr)\n5")
    assert [reply.text for reply in result.get(PATIENCE)] == ["5"] * 4
    assert result.stdout == ["out\n"] * 4 and result.stderr == ["err\n"] * 4
    assert [told["stdout"] for told in result.metadata] == ["out\n"] * 4


# F: the namespace as a dict, push and pull ----------------------------------------------------------


def test_F1_item_assignment_pushes_to_every_target(rc: Client, dview: Any) -> None:
    dview["a"] = ["foo", "bar"]
    assert [view["a"] for view in rc] == [["foo", "bar"]] * 4
    with dview.temp_flags(block=False):
        dview["a"] = 1  # it is waited for all the same
        assert rc[3]["a"] == 1


def test_F2_item_read_pulls(dview: Any) -> None:
    dview["a"] = ["foo", "bar"]
    assert dview["a"] == [["foo", "bar"]] * 4


def test_F3_one_engine_gives_it_bare(e0: Any) -> None:
    e0["a"] = ["foo", "bar"]
    assert e0["a"] == ["foo", "bar"]


def test_F4_get(e0: Any, dview: Any) -> None:
    dview["a"] = 3
    assert e0.get("a") == 3 and dview.get("a") == [3] * 4
    with pytest.raises(NameError, match="name 'b' is not defined on this engine: push it with"):
        e0.get("b")


def test_F5_update(rc: Client, e0: Any) -> None:
    assert e0.update(dict(a=1, b=2)) is None and e0["b"] == 2
    assert isinstance(rc[:].update({"c": 1}), AsyncResult)


def test_F_the_rest_of_a_dict(rc: Client, e0: Any, dview: Any) -> None:
    dview.push({"a": 1, "b": 2})
    assert "a" in dview and {"a", "b"} <= set(e0.keys())
    del e0["a"]
    assert "a" not in e0 and "a" not in dview and "a" in rc[1]
    with pytest.raises(NameError, match="'a' is not defined"):
        del e0["a"]
    with pytest.raises(CompositeError) as caught:
        del dview["a"]
    assert len(caught.value.elist) == 1 and caught.value.elist[0][3] == {"engine_id": 0, "method": "delete"}
    assert "a" not in rc[1], "where it was, it is deleted"


def test_F6_they_are_ordinary_calls(rc: Client, e0: Any) -> None:
    before = rc.queue_status(0)["completed"]
    e0["a"] = 1
    assert e0["a"] == 1
    assert rc.queue_status(0)["completed"] == before + 2
    result = e0.pull("a", block=False)
    assert result.get() == 1 and len(result.msg_ids) == 1
    assert result.msg_ids[0] in rc.history and result.metadata["engine_id"] == 0


def test_F7_push(rc: Client, e0: Any) -> None:
    assert e0.push(dict(a=1.03234, b=3453)) is None
    assert rc[:].push({"c": "speed"}, block=True) == [None] * 4
    assert (e0["a"], e0["b"], e0["c"]) == (1.03234, 3453, "speed")
    assert e0.push({}) is None


def test_F7_push_binds_all_names_or_none(rc: Client, e0: Any) -> None:
    for names in ({"fine": 1, "not a name": 2}, {"fine": 1, "class": 2}, {"fine": 1, 5: 2}):
        with pytest.raises(ValueError, match="not names of Python, so nothing was pushed: "):
            e0.push(names)
    assert "fine" not in e0
    for wrong in ([("a", 1)], "a", None):
        with pytest.raises(TypeError, match="push takes a dict of names and values, not"):
            e0.push(wrong)


def test_F8_pull_one_name(e0: Any) -> None:
    e0.push(dict(a=1.03234, b=3453))
    assert e0.pull("a") == 1.03234 and e0.pull("b") == 3453


def test_F9_pull_several_names(e0: Any, dview: Any) -> None:
    dview.push(dict(a=1.03234, b=3453))
    assert e0.pull(("a", "b")) == e0.pull(["a", "b"]) == [1.03234, 3453]
    assert dview.pull(("b", "a")) == [[3453, 1.03234]] * 4
    assert e0.pull(name for name in "ab") == [1.03234, 3453] and e0.pull([]) == []
    for wrong, told in ((5, "names are strings, not 5"), (None, "names are strings, not None"), (["a", 5], "not 5")):
        with pytest.raises(TypeError, match=told):
            e0.pull(wrong)


def test_F9_pull_expressions(e0: Any) -> None:
    e0["a"] = {"x": [1, 2, 3]}
    assert e0.pull("a['x'][1]") == 2 and e0.pull(["len(a)", "sum(a['x'])"]) == [1, 6]
    with pytest.raises(KeyError):
        e0.pull("a['y']")
    with pytest.raises(SyntaxError):
        e0.pull("a b")


def test_F10_without_blocking(rc: Client) -> None:
    pushed = rc[0].push({"a": 5})
    pulled = rc[0].pull("a", block=False)
    assert isinstance(pushed, AsyncResult) and isinstance(pulled, AsyncResult)
    assert pushed.get() is None and pulled.get() == 5


def test_F11_targets_and_block_of_one_call(dview: Any) -> None:
    dview["a"] = 5
    assert dview.pull("a", targets=[0, 1], block=False).r == [5, 5]
    assert dview.pull("a", targets=0) == 5 and dview.push({"a": 6}, targets=[3]) == [None]
    assert dview["a"] == [5, 5, 5, 6]


def test_F12_push_handles_functions(play: Callable[..., Any]) -> None:
    play("""
        import math
        def f(x): return 2.0 * x ** 4
        def make(n): return lambda x: x + n
        class Kind:
            def double(self): return 2 * self.x
        dview.push(dict(f=f, add=make(5), Kind=Kind, m=math, square=lambda x: x * x))
        e0.execute("y = f(4.0)")
        assert e0["y"] == 512.0
        e0.execute("k = Kind(); k.x = add(1); z = k.double(), m.sqrt(square(3))")
        assert e0["z"] == (12, 3.0) and type(e0["k"]) is Kind
        assert e0["f"](1) == 2.0 and e0["add"](1) == 6 and e0["m"] is math and e0["Kind"] is Kind
    """)


def test_F13_a_missing_name_is_a_name_error(e0: Any, dview: Any) -> None:
    # Names that are like no others: the engines may be forked from a process that has had all the tests before.
    with pytest.raises(
        NameError, match=r"name 'qwxyz' is not defined on this engine: push it with view\['qwxyz'\] = value"
    ) as caught:
        e0["qwxyz"]
    assert isinstance(caught.value, RemoteError) and caught.value.engine_id == 0
    e0["qwxyy"] = 1
    with pytest.raises(NameError, match="Is it 'qwxyy' that is meant?"):
        e0["qwxyz"]
    with pytest.raises(CompositeError) as several:
        dview["qwxyy"]
    assert several.value.results[0] == 1 and len(several.value.elist) == 3


def test_F14_arrays_arrive_as_they_are(e0: Any, dview: Any) -> None:
    numpy = pytest.importorskip("numpy")
    a = numpy.arange(300_000.0).reshape(300, 1000)
    dview["A"] = a
    assert all((back == a).all() and back.flags.writeable for back in dview["A"])
    e0.scatter("A", a)
    assert (e0.gather("A") == a).all()


class Counted:
    """Counts how often it is pickled."""

    times = 0

    def __reduce__(self) -> Any:
        type(self).times += 1
        return int, (5,)


def test_F14_what_goes_to_several_engines_is_pickled_once(dview: Any) -> None:
    Counted.times = 0
    dview.push({"a": Counted(), "b": bytes(100_000)})
    assert Counted.times == 1 and dview["a"] == [5] * 4


# G: scatter and gather ------------------------------------------------------------------------------


def test_G1_scatter(rc: Client, dview: Any) -> None:
    assert dview.scatter("a", range(16)) == [None] * 4
    assert rc[0].scatter("b", range(3), block=True) is None and rc[0]["b"] == [0, 1, 2]
    result = rc[:].scatter("a", range(4), block=False)
    assert isinstance(result, AsyncResult) and result.get() == [None] * 4


@pytest.mark.parametrize(
    ("items", "parts"),
    [
        (range(10), [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]),
        ([1, 2], [[1], [2], [], []]),
        ((1, 2, 3, 4, 5), [(1, 2), (3,), (4,), (5,)]),
        ("abcdef", ["ab", "cd", "e", "f"]),
        (b"abcd", [b"a", b"b", b"c", b"d"]),
        (lambda: iter("abcd"), [["a"], ["b"], ["c"], ["d"]]),
        (lambda: (n * n for n in range(3)), [[0], [1], [4], []]),
        ({"x": 1, "y": 2}, [["x"], ["y"], [], []]),
        ([], [[], [], [], []]),
        (array.array("i", [1, 2, 3]), [array.array("i", [n]) for n in (1, 2, 3)] + [array.array("i")]),
    ],
    ids=["range", "list", "tuple", "str", "bytes", "iterator", "generator", "dict", "empty", "array"],
)
def test_G1_any_sequence(dview: Any, items: Any, parts: list[Any]) -> None:
    dview.scatter("a", items() if callable(items) else items)  # each can be used up only once
    assert dview["a"] == parts


def test_G1_what_is_no_sequence(dview: Any) -> None:
    with pytest.raises(TypeError):
        dview.scatter("a", 5)
    for call in (functools.partial(dview.scatter, "a", [1]), functools.partial(dview.gather, "a")):
        with pytest.raises(
            ValueError, match=r"there is no distribution 'x'; there are 'b' \(Blocks\), 'r' \(RoundRobin\)"
        ):
            call(dist="x")
    with pytest.raises(CompositeError) as caught:
        dview.scatter("not a name", [1])
    assert "not names of Python" in str(caught.value)


def test_G2_blocks_follow_the_order_of_the_targets(rc: Client, dview: Any) -> None:
    dview.scatter("a", range(16))
    assert dview["a"] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
    rc[3, 0].scatter("a", range(4), block=True)
    assert (rc[3]["a"], rc[0]["a"]) == ([0, 1], [2, 3])


def test_G3_gather(rc: Client, dview: Any) -> None:
    dview.scatter("a", range(16))
    assert dview.gather("a") == list(range(16))
    assert rc[::-1].gather("a", block=True) == [*range(12, 16), *range(8, 12), *range(4, 8), *range(4)]
    result = dview.gather("a", block=False)
    assert result.get() == list(result) == list(range(16))
    assert rc[1].gather("a", block=True) == [4, 5, 6, 7]


@pytest.mark.parametrize("dist", ["b", "r"])
@pytest.mark.parametrize("shape", [(16,), (10,), (3,), (0,), (7, 3), (9, 2, 4), (2, 0, 5)], ids=str)
def test_G3_arrays_of_any_dimension(dview: Any, shape: tuple[int, ...], dist: str) -> None:
    numpy = pytest.importorskip("numpy")
    a = numpy.arange(numpy.prod(shape), dtype="int32").reshape(shape)
    dview.scatter("a", a, dist=dist)
    parts, back = dview["a"], dview.gather("a", dist=dist)
    assert all(type(part) is numpy.ndarray and part.shape[1:] == shape[1:] for part in parts)
    assert back.dtype == a.dtype and back.shape == a.shape and (back == a).all()


def test_G3_gather_of_single_values(rc: Client, dview: Any) -> None:
    for id in rc.ids:
        rc[id]["n"] = id * id
    assert dview.gather("n") == [0, 1, 4, 9]
    rc[0]["n"] = [5, 6]
    assert dview.gather("n") == [5, 6, 1, 4, 9]


def test_G3_gather_of_what_some_lack(rc: Client, dview: Any) -> None:
    rc[1:].push({"a": [1]}, block=True)
    with pytest.raises(CompositeError) as caught:
        dview.gather("a")
    assert caught.value.results[1:] == [[1]] * 3 and isinstance(caught.value.results[0], NameError)
    with pytest.raises(NameError) as alone:
        rc[0].gather("a", block=True)
    assert isinstance(alone.value, RemoteError)


def test_G4_from_the_client_to_the_engines_and_back(dview: Any) -> None:
    dview.scatter("x", range(8))
    dview.execute("y = [n ** 2 for n in x]")
    assert dview.gather("y") == [n**2 for n in range(8)]


def test_G5_round_robin(rc: Client, dview: Any) -> None:
    dview.scatter("a", range(10), dist="r")
    assert dview["a"] == [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]
    assert dview.gather("a", dist="r") == list(range(10))


def test_G5_flatten(dview: Any) -> None:
    dview.scatter("rank", range(4), flatten=True)
    assert dview["rank"] == [0, 1, 2, 3]
    dview.scatter("a", "abcde", flatten=True)
    assert dview["a"] == ["ab", "c", "d", "e"]


# N: Reference ---------------------------------------------------------------------------------------


def test_N1_a_reference_stands_for_an_object_of_the_engine(e0: Any) -> None:
    assert parpool.Reference is Reference and repr(Reference("a")) == "<Reference 'a'>"
    e0["a"] = [1, 2, 3]
    assert e0.apply(len, Reference("a")) == 3


def test_N2_as_an_argument_of_a_task(rc: Client, dview: Any) -> None:
    dview["A"] = 6
    assert rc.load_balanced_view().apply(divmod, Reference("A"), 4).get() == (1, 2)
    assert dview.map(pow, [Reference("A")] * 4, range(4)) == [1, 6, 36, 216]
    assert rc.load_balanced_view().map_sync(divmod, [Reference("A")] * 9, range(1, 10))[5] == (1, 0)


def test_N3_it_is_looked_up_at_each_call(e0: Any) -> None:
    ra = Reference("a")
    e0["a"] = 10
    assert e0.apply(lambda x: x * 2, ra) == 20
    e0["a"] = 5
    assert e0.apply(lambda x: x * 2, ra) == 10
    with e0.temp_flags(block=False):
        queued = [e0.apply(same, ra), e0.execute("a = 7"), e0.apply(same, ra)]
    assert [queued[0].get(), queued[2].get()] == [5, 7]


def test_N3_each_engine_has_its_own(rc: Client, dview: Any) -> None:
    for id in rc.ids:
        rc[id]["me"] = id
    assert dview.apply(same, Reference("me")) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "use",
    [
        lambda ref: ref * 2,
        lambda ref: 2 + ref,
        lambda ref: ref[0],
        lambda ref: ref(),
        lambda ref: len(ref),
        lambda ref: list(ref),
        lambda ref: bool(ref),
        lambda ref: int(ref),
        lambda ref: ref.attribute,
        lambda ref: ref < 5,
    ],
)
def test_N4_used_here_it_is_a_clear_error(use: Callable[[Any], Any]) -> None:
    with pytest.raises(
        TypeError,
        match=r"<Reference 'a'> here: it stands for an object on the engines.*view.apply\(f, Reference\('a'\)\)",
    ):
        use(Reference("a"))


@pytest.mark.parametrize("wrong", ["", "a b", "a = 5", "import os", "1 +", "a\0"], ids=repr)
def test_N4_what_is_no_expression(wrong: str) -> None:
    with pytest.raises(SyntaxError, match="a Reference needs a name or another Python expression, not"):
        Reference(wrong)
    with pytest.raises(TypeError, match="needs the name of an object as a str, not int"):
        Reference(5)  # type: ignore[arg-type]


def test_N4_a_missing_name_is_the_error_of_the_call(e0: Any) -> None:
    with pytest.raises(NameError, match="nope"):
        e0.apply(same, Reference("nope"))
    with pytest.raises(AttributeError, match="nope"):
        e0.apply(same, Reference("len.nope"))
    assert e0.apply(same, 1) == 1


def test_N5_anywhere_in_the_arguments(rc: Client, dview: Any) -> None:
    dview["a"] = {"b": [10, 20]}
    ref, item = Reference("a"), Reference("a['b'][1]")
    value = {"b": [10, 20]}
    deep = [item, (ref,), {"key": {item: [ref]}}]
    expected = [20, (value,), {"key": {20: [value]}}]
    for view in (rc[2], rc.load_balanced_view()):
        assert view.apply_sync(same, deep) == expected
        assert view.apply_sync(dict, x=ref, y=[item]) == {"x": value, "y": [20]}
    assert dview.map(same, [item] * 8) == [20] * 8
    rc[0].push({"c": ref}, block=True)
    rc[0].execute("c['b'].append(30)", block=True)
    assert rc[0]["a"] == {"b": [10, 20, 30]}, "it is the very object"


def test_N5_dotted_names_and_expressions(e0: Any) -> None:
    e0.execute("import math\nclass C:\n    class D: x = [1, 2, 3]")
    values = [
        e0.apply(same, Reference(text))
        for text in ("math.pi", "C.D.x", "C.D.x[-1]", "len(C.D.x)", "[n for n in C.D.x]")
    ]
    assert values == [__import__("math").pi, [1, 2, 3], 3, 3, [1, 2, 3]]


def test_N5_the_object_is_not_sent_each_time(e0: Any) -> None:
    e0["big"] = bytes(2_000_000)
    assert len(pickle.dumps(Reference("big"))) < 100
    assert e0.apply(len, Reference("big")) == 2_000_000


def test_N5_in_what_a_function_has_with_it(e0: Any) -> None:
    e0["a"] = 1
    ref: Any = Reference("a")
    f = lambda default=ref: (default, ref)  # noqa: E731
    assert e0.apply(f) == (1, 1)
    e0["a"] = 2
    assert e0.apply(f) == (2, 2)
    assert e0.apply(functools.partial(divmod, ref), 2) == (1, 0)


# O: writable arrays, and what is sendable -----------------------------------------------------------


def setter(a: Any) -> Any:
    a[0] = 1
    return a


def careful_setter(a: Any) -> Any:
    """Only copies read-only arrays."""
    if not a.flags.writeable:
        a = a.copy()
    a[0] = 1
    return a


SIZES = [2, 1000, 3_000_000]  # in the header of a message, and beside it


@pytest.mark.parametrize("size", SIZES)
def test_O3_arrays_arrive_writable(rc: Client, size: int) -> None:
    numpy = pytest.importorskip("numpy")
    a = numpy.zeros(size)
    for view in (rc[0], rc.load_balanced_view()):
        assert view.apply_sync(setter, a)[0] == 1
    assert rc[:].apply_sync(lambda x: setter(x)[0], a) == [1] * 4
    assert rc.load_balanced_view().map_sync(lambda x: setter(x)[0], [a, a]) == [1, 1]
    assert rc[0].apply_sync(lambda deep: setter(deep["x"][0])[0], {"x": [a]}) == 1
    assert not a.any(), "each engine has a copy of its own"


@pytest.mark.parametrize("size", SIZES)
def test_O3_pushed_arrays_are_writable(rc: Client, dview: Any, size: int) -> None:
    numpy = pytest.importorskip("numpy")
    dview["a"] = numpy.zeros(size)
    dview.execute("a[0] += 2")
    assert dview.pull("a[0]") == [2.0] * 4
    dview.scatter("b", numpy.zeros(size))
    dview.execute("b[:1] += 3")
    assert dview.gather("b").sum() == 3 * min(4, size)


def test_O4_the_work_around_still_works(rc: Client) -> None:
    numpy = pytest.importorskip("numpy")
    assert (rc[0].apply_sync(careful_setter, numpy.zeros(2)) == [1.0, 0.0]).all()


@pytest.mark.parametrize("size", SIZES)
def test_O5_results_are_writable(rc: Client, size: int) -> None:
    numpy = pytest.importorskip("numpy")
    back = rc[0].apply_sync(setter, numpy.zeros(size))
    assert back.flags.writeable
    back[1] = 5
    for each in rc[:].apply_sync(numpy.zeros, size):
        each += 1
    rc[0]["a"] = numpy.zeros(size)
    rc[0]["a"][0] = 1
    rc.load_balanced_view().map_sync(numpy.zeros, [size])[0][0] = 1


def test_O13_closures_are_sendable(play: Callable[..., Any]) -> None:
    play("""
        def f(a):
            def inner():
                # inner will have a closure
                return a
            return inner
        f1 = f(1)
        f2 = f(2)
        assert (f1(), f2()) == (1, 2)
        assert (e0.apply(f1), e0.apply(f2)) == (1, 2)
        assert e0.apply(f, 3)() == 3 and dview.apply(lambda: f(4)()) == [4] * 2
    """)


def test_O14_missing_globals_are_looked_up_on_the_engine_at_call_time(play: Callable[..., Any]) -> None:
    play("""
        def g(b):
            # note that `b` is not referenced in inner's scope
            def inner():
                # this inner will *not* have a closure
                return a
            return inner
        g1 = g(1)
        g2 = g(2)
        with raises(NameError, "'a'"):
            e0.apply(g1)
        e0["a"] = 5
        assert e0.apply(g2) == 5 and e0.apply(g1) == 5
        with raises(NameError, "'a'"):
            g1()
        a = 6
        assert g2() == 6 and e0.apply(g2) == 5
    """)


# The seeds' sessions, in their order ----------------------------------------------------------------


def test_the_session_of_the_basics(play: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    (tmp_path / "myscript.py").write_text("import numpy\n" + SCRIPT)
    ended = play(
        """
        from parpool import Reference, require
        import os, time, datetime, multiprocessing

        assert rc.ids == [0, 1, 2, 3]
        e0 = rc[0]
        e0.block = True

        # apply
        import numpy
        def get_norms(A, levels=[2]):
            norms = []
            for level in levels:
                norms.append(numpy.linalg.norm(A, level))
            return norms
        A = numpy.random.random(1024)
        here = get_norms(A, levels=[1, 2, 3, numpy.inf])
        assert e0.apply(get_norms, A, levels=[1, 2, 3, numpy.inf]) == here

        e0.execute("import numpy")
        with e0.sync_imports():
            import numpy
        assert e0.apply(numpy.linalg.norm, A, 2) == numpy.linalg.norm(A, 2)

        # execute and run
        e0.run("myscript.py")
        e0.execute("b=mysquare(a)")
        assert e0["a"] == 5
        assert e0["b"] == 25

        # decorators
        @e0.remote(block=True)
        def getpid():
            import os
            return os.getpid()
        assert getpid() == rc.queue_status(0, verbose=True)["pid"] != os.getpid()

        # the namespace
        def inc_a(increment):
            global a
            a = a+increment
        def mul_by_a(b):
            return a*b
        e0["a"] = 10
        assert e0.apply(mul_by_a, 2) == 20
        e0.apply(inc_a, 1)
        assert e0["a"] == 11
        ra = Reference("a")
        e0["a"] = 10
        def double(x):
            return x*2
        with raises(TypeError, "stands for an object on the engines"):
            double(ra)
        assert e0.apply(double, ra) == 20
        e0["a"] = 5
        assert e0.apply(double, ra) == 10

        # push and pull
        assert e0.push(dict(a=1.03234, b=3453)) is None
        assert e0.pull("a") == 1.03234
        assert e0.pull("b") == 3453
        assert e0.pull(("a", "b")) == [1.03234, 3453]
        e0.push(dict(c="speed"))
        ar = e0.pull("a", block=False)
        assert ar.get() == 1.03234
        e0["a"] = ["foo", "bar"]
        assert e0["a"] == ["foo", "bar"]

        # without blocking
        def wait(t):
            import time
            tic = time.time()
            time.sleep(t)
            return time.time()-tic
        ar = e0.apply_async(wait, 0.1)
        assert ar.get() >= 0.09
        ar = e0.apply_async(wait, 100)
        assert ar.ready() is False
        for kind in (TimeoutError, multiprocessing.TimeoutError):
            with raises(kind, "^Result not ready.$"):
                ar.get(0.1)
        while not rc.queue_status(0)["tasks"]:
            time.sleep(0.01)
        rc.interrupt(0)
        assert isinstance(ar.get(return_exceptions=True), parpool.RemoteError)
        assert [name for name in dir(e0) if name.startswith("apply")] == ["apply", "apply_async", "apply_sync"]

        # metadata
        ar = e0.apply_async(wait, 0.01)
        ar.get()
        told = ar.metadata
        assert set(told) >= {"after", "completed", "engine_id", "engine_uuid", "follow", "msg_id", "received"}
        assert set(told) >= {"started", "status", "stderr", "stdout", "submitted"}
        assert (told["after"], told["follow"], told["engine_id"], told["status"]) == ([], [], 0, "ok")
        assert (told["stdout"], told["stderr"]) == ("", "")
        times = [told[key] for key in ("submitted", "started", "completed", "received")]
        assert times == sorted(times) and all(isinstance(time, datetime.datetime) for time in times)

        # require
        @require("re")
        def findall(pat, x):
            # re is guaranteed to be available
            return re.findall(pat, x)
        @require(time)
        def wait(t):
            time.sleep(t)
            return t
        assert e0.apply(findall, "[a-z]", "a1b2") == ["a", "b"]
        assert e0.apply(wait, 0.01) == 0.01
        @require("nowhere_at_all")
        def never():
            return "called"
        with raises(parpool.UnmetDependencyError, "nowhere_at_all"):
            e0.apply(never)

        # exceptions
        with raises(parpool.RemoteError) as caught:
            e0.execute("1/0", block=True)
        lines = str(caught[0]).splitlines()
        assert lines[0] == "ZeroDivisionError(division by zero)"
        assert lines[1] == "Traceback (most recent call last):" and lines[-1] == "ZeroDivisionError: division by zero"
        e0.block = False
        ar = e0.execute("1/0")
        with raises(parpool.RemoteError, "^ZeroDivisionError"):
            ar.get()
        """,
        engines=4,
    )
    assert "importing numpy on engine(s)" in ended.out


def test_the_session_of_the_details(play: Callable[..., Any]) -> None:
    pytest.importorskip("numpy")
    play(
        """
        from parpool import Reference
        import numpy, time

        # arrays
        A = numpy.zeros(2)
        def setter(a):
            a[0]=1
            return a
        assert (rc[0].apply_sync(setter, A) == [1, 0]).all()
        def setter(a):
            '''only copy read-only arrays'''
            if not a.flags.writeable:
                a=a.copy()
            a[0]=1
            return a
        _ = rc[0].apply_sync(setter, A)
        assert (_ == [1, 0]).all() and _.flags.writeable

        A = numpy.random.random((1024,1024))
        view = rc[1]
        view.track=True
        ar = view.apply_async(lambda x: 2*x, A)
        ar.wait_on_send()
        assert ar.sent
        assert (ar.get() == 2*A).all()

        # closures
        def f(a):
            def inner():
                return a
            return inner
        f1 = f(1)
        f2 = f(2)
        assert (e0.apply(f1), e0.apply(f2)) == (1, 2)
        def g(b):
            def inner():
                return a
            return inner
        g1 = g(1)
        g2 = g(2)
        with raises(NameError):
            e0.apply(g1)
        e0["a"] = 5
        assert e0.apply(g2) == 5
        assert e0.apply(lambda : a) == e0.pull("a")

        # apply in full
        add = lambda x, y=0: x + y
        assert rc.send_apply_message(add, (1,), dict(y=2), block=True) == 3
        assert rc.send_apply_message(add, [1], block=True, targets=[0, 2]) == [1, 1]
        assert rc.send_apply_message(add, [1], block=True, targets="all") == [1] * 4
        ar = rc.send_apply_message(add, [1], block=False, track=True, targets=3)
        ar2 = rc.send_apply_message(add, [2], targets=[1, 2], balanced=True, after=[ar], follow=None, timeout=30)
        assert ar2.get() == 2 and ar2.metadata["engine_id"] in (1, 2)

        # views
        v1 = rc.load_balanced_view([1,2,3])
        v2 = rc.load_balanced_view([1,2,3])
        assert v2 is v1
        for name in ("targets", "balanced"):
            with raises(AttributeError):
                setattr(v1, name, None)
        assert repr(rc[0]) == "<DirectView 0>"
        assert repr(rc[0,1,2]) == "<DirectView [0,1,2]>"
        assert repr(rc[-1]) == repr(rc[rc.ids[-1]]) == "<DirectView 3>"
        assert repr(rc[::2]) == repr(rc[rc.ids[::2]]) == "<DirectView [0,2]>"

        # data
        dview["a"]=["foo","bar"]
        assert dview["a"] == [ ["foo", "bar"], ["foo", "bar"], ["foo", "bar"], ["foo", "bar"] ]
        assert dview.scatter("a",range(16)) == [None,None,None,None]
        assert dview["a"] == [ [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15] ]
        assert dview.gather("a") == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]

        # results, queues, control
        ar = rc[0].apply_async(time.sleep, 100)
        queued = rc[0].apply_async(time.sleep, 0)
        assert rc.outstanding == {*ar.msg_ids, *queued.msg_ids}
        status = rc.queue_status()
        assert status[0]["queue"] + status[0]["tasks"] == 2
        assert rc.result_status([ar, queued]) == {"pending": ar.msg_ids + queued.msg_ids, "completed": []}
        assert rc.wait([ar], timeout=0.05) is False
        rc.abort(queued.msg_ids)
        with raises(parpool.AbortedTask):
            queued.get()
        while not rc.queue_status(0)["tasks"]:
            time.sleep(0.01)
        rc.interrupt(0)
        rc.spin()
        assert rc.wait() is True and rc.outstanding == set()
        rc.purge_results("all")
        assert rc.history == []
        rc.clear()
        assert not {"a", "setter"} & set(e0.keys())

        # map
        assert dview.map(lambda x, y: x + y, range(10), range(10), block=True) == [2 * x for x in range(10)]
        lbview = rc.load_balanced_view()
        assert lbview.map(pow, range(10), [2] * 10, block=True, bound=True) == [x * x for x in range(10)]
        amr = dview.map_async(lambda x: x**10, range(32))
        assert list(amr) == [x**10 for x in range(32)]
        assert dview.reduce(lambda x, y: x + y, range(100)) == 4950

        rc.shutdown()
        assert rc.ids == []
        """,
        engines=4,
    )
