"""Imports that go to the engines: which statements count, which names they bind, and what is left here."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import importlib.util
import pickle
import sys
import threading
import types
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parpool import CompositeError, DirectView, Pool, Reference, RemoteError, UnmetDependency, require
from parpool.client import imports
from parpool.client.imports import Importer, StandIn, Statement, Store, SyncImports, statement_at
from parpool.engine import verbs

NOWHERE = "parpool_does_not_find_this"


# Statements -----------------------------------------------------------------------------------------------


class Anything:
    """What the statements of :func:`seen_in` get for a module."""

    __all__ = ()

    def __getattr__(self, name: str) -> Anything:
        return self


def seen_in(code: Any, names: dict[str, Any] | None = None) -> list[Statement | None]:
    """What :func:`statement_at` makes of the imports that run, as it is asked by what they call."""
    seen = []

    def hook(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        frame = sys._getframe(1)
        seen.append(statement_at(frame.f_code, frame.f_lasti, fromlist))
        return Anything()

    exec(code, {"__builtins__": {**vars(builtins), "__import__": hook}, "__name__": "nobody's", **(names or {})})
    return seen


def written(statement: Statement | None) -> str:
    """The statement, as one would write it."""
    assert statement is not None
    module, asname, names, stores = statement
    if names == ("*",):
        return f"from {module} import *"
    if names:
        pairs = [name if name == store.name else f"{name} as {store.name}" for name, store in zip(names, stores)]  # noqa: B905
        return f"from {module} import {', '.join(pairs)}"
    assert [store.name for store in stores] == [asname or module.partition(".")[0]]
    return f"import {module} as {asname}" if asname else f"import {module}"


def separate(source: str) -> list[str]:
    """The imports of a source one by one, without an `as` that changes nothing."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                alias.asname = None if alias.asname == alias.name else alias.asname
        if isinstance(node, ast.Import):
            found += [(node.lineno, node.col_offset, ast.unparse(ast.Import([alias]))) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, node.col_offset, ast.unparse(node)))
    return [text for *_, text in sorted(found, key=lambda each: each[:2])]


def indented(source: str, by: str = "    ") -> str:
    return "".join(by + line for line in source.splitlines(keepends=True))


MANY = 'if 0:\n    "' + '"; "'.join(map(str, range(300))) + '"\n' + "".join(f"v{n} = {n}.5\n" for n in range(300))

SCOPES: dict[str, Callable[[str], str]] = {
    "module": lambda source: source,
    "function": lambda source: f"def f():\n{indented(source)}\nf()\n",
    "class": lambda source: f"class C:\n{indented(source)}\n",
    "global": lambda source: f"def f():\n    global a, b, c, d, x, y\n{indented(source)}\nf()\n",
    "cells": lambda source: f"def f():\n{indented(source)}\n    def g(): return a, b, c, d, x, y\nf()\n",
    "nonlocal": lambda source: (
        "def f():\n    a = b = c = d = x = y = 0\n    def g():\n        nonlocal a, b, c, d, x, y\n"
        f"{indented(source, ' ' * 8)}\n    g()\nf()\n"
    ),
    "generator": lambda source: f"def f():\n    yield\n{indented(source)}\n    yield\nlist(f())\n",
    "coroutine": lambda source: (
        f"async def f():\n{indented(source)}\ntry: f().send(None)\nexcept StopIteration: pass\n"
    ),
    "extended": lambda source: MANY + source,
    "extended function": lambda source: f"def f():\n{indented(MANY + source)}\nf()\n",
    "extended class": lambda source: f"class C:\n{indented(MANY + source)}\n",
}

FORMS = [
    "import a",
    "import a.b",
    "import a.b.c.d",
    "import a as x",
    "import a as a",
    "import a.b as x",
    "import a.b.c.d as x",
    "import a.b as a",
    "import a.b as b",
    "import a, b.c, c as x, c.d as y",
    "import a; import b as x; import a.b.c as y; import d",
    "import a as x; x",
    "import a as x; x; import a.b as y; y, x; from c import d; d",
    "from a import b",
    "from a import b as c, d",
    "from a import b, b as c, b as d",
    "from a.b.c import d as x, y",
    "from a import (a as a, b as x,\n    c,\n    d as d)",
    "from a import b; from b import c as d; x = d",
    "if 1: import a\nelse: import b",
    "for c in 1, 2:\n    from a import b as x",
    "while 1:\n    import a.b as x\n    break",
    "try:\n    import a as x\nfinally:\n    from b import y",
    "try: 1 / 0\nexcept ZeroDivisionError as d: import a.b as x",
    "import a as x; x = y = 1; from b import c",
    "a = 1; import a as b; b = a; c = d = b",
]
TWICE = "for c in 1, 2:\n    from a import b as x"


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("source", FORMS)
def test_statements_are_read_from_the_byte_code(source: str, scope: str) -> None:
    expected = [text for text in separate(source) if text != "import b" or "else" not in source]
    seen = seen_in(SCOPES[scope](source))
    assert list(map(written, seen)) == expected * (2 if source == TWICE else 1)
    stores = [store for statement in seen if statement for store in statement.stores]
    assert stores and {store.is_global for store in stores} == {scope == "global"}


def test_statements_of_code_that_is_watched() -> None:
    # Debuggers and coverage change what the interpreter runs.
    for start in (sys.settrace, sys.setprofile):
        before = sys.gettrace(), sys.getprofile()
        try:
            start(lambda *_: lambda *_: None)
            seen = seen_in(SCOPES["function"]("import a as x; x\nfrom b import c as d, x as y"))
        finally:
            sys.settrace(before[0])
            sys.setprofile(before[1])
        assert list(map(written, seen)) == ["import a as x", "from b import c as d, x as y"]


def test_statements_that_take_all() -> None:
    for source in ("from a import *", "from a.b import *", MANY + "from a import *"):
        assert list(map(written, seen_in(source))) == separate(source)


@pytest.mark.parametrize("scope", ["module", "function"])
def test_a_private_name_is_bound_as_the_class_has_it(scope: str) -> None:
    seen = seen_in(SCOPES[scope]("class C:\n    from m import a as __a, b\n    import m as __m"))
    assert seen == [
        Statement("m", None, ("a", "b"), (Store("_C__a"), Store("b"))),
        Statement("m", "_C__m", (), (Store("_C__m"),)),
    ]


def test_calls_are_no_statements() -> None:
    for source in (
        "__import__('a')",
        "import_ = __import__; import_('a', fromlist=['b'])",
        "list(map(__import__, 'a'))",
    ):
        assert seen_in(source) == [None]


NAMES = st.sampled_from("abcdé")
DOTTED = st.lists(NAMES, min_size=1, max_size=4).map(".".join)
AS = st.one_of(st.just(""), NAMES.map(" as {}".format))
PLAIN = st.lists(st.builds("{}{}".format, DOTTED, AS), min_size=1, max_size=3).map(
    lambda each: "import " + ", ".join(each)
)
TAKING = st.builds(
    "from {} import {}".format, DOTTED, st.lists(st.builds("{}{}".format, NAMES, AS), min_size=1).map(", ".join)
)
USING = st.sampled_from(["a = b = c = d = é = 1", "a = 1; b = a", "a = 1; a"])


@given(
    st.lists(st.one_of(PLAIN, TAKING, USING), min_size=1, max_size=6),
    st.sampled_from(["; ", "\n"]),
    st.sampled_from(["module", "function", "class", "generator"]),
)
def test_any_row_of_statements(statements: list[str], between: str, scope: str) -> None:
    source = between.join(statements)
    assert list(map(written, seen_in(SCOPES[scope](source)))) == separate(source)


# The block ------------------------------------------------------------------------------------------------


class Engines:
    """A view of one engine that lives here: what is asked of it is done in ``names``."""

    _targets = 0
    block = True

    def __init__(self, broken: bool = False) -> None:
        self.names: dict[str, Any] = {}
        self.asked: list[Any] = []
        self.broken = broken

    def _verb(self, verb: str, *args: Any, block: bool | None = None, method: str) -> None:
        self.do((verb, *args), getattr(verbs, verb), args)

    def _call(self, function: Any, args: Any, kwargs: Any, targets: Any, method: str) -> Any:
        assert (targets, kwargs) == (0, {})
        return types.SimpleNamespace(get=lambda: self.do(args[0], pickle.loads(function.blob[1:]), args))

    def do(self, asked: Any, function: Any, args: Any) -> None:
        self.asked.append(asked)
        if self.broken:
            raise RemoteError("ModuleNotFoundError", "No module of the name", "", 0)
        with mock.patch.object(verbs, "namespace", lambda: self.names):
            function(*args)

    def bound(self) -> dict[str, Any]:
        return {name: value for name, value in self.names.items() if name != "__builtins__"}

    def sync_imports(self, local: bool = True, quiet: bool = True) -> SyncImports:
        return SyncImports(self, local, quiet)  # type: ignore[arg-type]


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.fixture(autouse=True)
def hooks_are_gone() -> Iterator[None]:
    before = builtins.__import__, importlib._bootstrap._gcd_import  # type: ignore[attr-defined]
    yield
    assert before == (builtins.__import__, importlib._bootstrap._gcd_import)  # type: ignore[attr-defined]
    assert imports._blocks == () and imports._undo == []


def within(source: str, block: SyncImports, **names: Any) -> dict[str, Any]:
    """Run the source, as a module's, in a with of the block; gives the names that it bound."""
    names = {"__name__": "nobody's", "block": block, **names}
    before = dict(names)
    exec(f"with block:\n{indented(source)}\n", names)
    return {name: value for name, value in names.items() if name not in before and name != "__builtins__"}


REAL = [
    "import wave",
    "import os.path",
    "import wave as w",
    "import xml.dom.minidom as m",
    "import wave, xml.dom as d; import json",
    "from os import path",
    "from os import path as p, sep, linesep as l",
    "from xml.dom import minidom as m",
    "from string import *",
    "import json as j; j\nif j: from json import decoder",
    "try: import wave\nfinally: from xml import sax",
    "import importlib; from importlib import util, import_module",
]


@pytest.mark.parametrize("source", REAL)
def test_the_engines_bind_what_is_bound_here(source: str, engines: Engines) -> None:
    bound = within(source, engines.sync_imports())
    assert bound and engines.bound() == bound


@pytest.mark.parametrize("source", [each for each in REAL if "*" not in each])
def test_the_engines_bind_what_is_bound_in_a_function_or_class(source: str, engines: Engines) -> None:
    for scope, result in (("def f():", "return locals()"), ("class C:", "pass")):
        engines.names.clear()
        names: dict[str, Any] = {"block": engines.sync_imports()}
        exec(f"{scope}\n    with block:\n{indented(source, ' ' * 8)}\n    {result}\n", names)
        bound = names["f"]() if "f" in names else vars(names["C"])
        assert engines.bound() and engines.bound() == {n: bound[n] for n in bound if not n.startswith("__")}


def test_E5_what_is_imported_is_said(engines: Engines, capsys: pytest.CaptureFixture[str]) -> None:
    with engines.sync_imports(quiet=False) as block:
        import wave

        assert capsys.readouterr() == ("importing wave on engine(s)\n", "")
        import xml.dom as d
        from string import ascii_letters as letters
        from string import digits, hexdigits  # noqa: F401

        importlib.import_module("json.decoder")
    assert capsys.readouterr().out.splitlines() == [
        "importing xml.dom on engine(s)",
        "importing ascii_letters from string on engine(s)",
        "importing digits, hexdigits from string on engine(s)",
        "importing json.decoder on engine(s)",
    ]
    assert (wave.__name__, d.__name__, letters[0]) == ("wave", "xml.dom", "a")
    assert isinstance(block, SyncImports)


def test_E6_quiet_says_nothing(engines: Engines, capsys: pytest.CaptureFixture[str]) -> None:
    for local in (True, False):
        within("import wave; from string import *", engines.sync_imports(local, quiet=True))
    assert capsys.readouterr() == ("", "")
    assert len(engines.asked) == 4


def test_only_the_block_itself_counts(engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imports_another.py").write_text("import imported_by_another\n")
    (tmp_path / "imported_by_another.py").write_text("import string\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def helper() -> None:
        import json  # noqa: F401

        importlib.import_module("json")

    import colorsys  # noqa: F401

    with engines.sync_imports():
        helper()
        exec("import json")
        [__import__("json") for _ in ()]
        thread = threading.Thread(target=helper)
        thread.start()
        thread.join()

        class Local:
            import json

        import imports_another  # type: ignore[import-not-found]

    import wave  # noqa: F401

    for name in ("imports_another", "imported_by_another"):
        monkeypatch.delitem(sys.modules, name)
    assert engines.bound() == {"imports_another": imports_another}


def test_what_c_functions_import_does_not_count(engines: Engines) -> None:
    import time

    with imports_listed() as imported:
        for local in (True, False):
            with engines.sync_imports(local):
                assert time.strptime("2011", "%Y").tm_year == 2011
    assert imported.count("_strptime") >= 2, "else this tests nothing"
    assert engines.asked == []


@contextlib.contextmanager
def imports_listed() -> Iterator[list[str]]:
    """The names of what is imported in a with."""
    names = []

    def listing(name: str, *args: Any, real: Any = builtins.__import__) -> Any:
        names.append(name)
        return real(name, *args)

    with mock.patch.object(builtins, "__import__", listing):
        yield names


@pytest.mark.parametrize("source", ["import wave; 1 / 0", "1 / 0; import wave", f"import {NOWHERE}"])
def test_hooks_go_whatever_ends_the_block(source: str, engines: Engines) -> None:
    with pytest.raises((ZeroDivisionError, ImportError)):
        within(source, engines.sync_imports())
    import wave  # noqa: F401

    assert len(engines.asked) == (1 if source.startswith("import wave") else 0)


def test_blocks_of_two_views() -> None:
    outer, inner, other = Engines(), Engines(), Engines()
    with outer.sync_imports():
        import wave

        with inner.sync_imports():
            import json as j

            def use(view: Engines) -> None:
                with view.sync_imports():
                    import colorsys  # noqa: F401

            use(other)
        from string import digits
    assert outer.bound() == {"wave": wave, "j": j, "digits": digits}
    assert inner.bound() == {"j": j}
    assert list(other.bound()) == ["colorsys"]


def test_one_view_twice_imports_once(engines: Engines) -> None:
    with engines.sync_imports(), engines.sync_imports():
        import wave  # noqa: F401
    assert engines.asked == [("load", "wave", None, [])]


def test_the_innermost_block_says_whether_to_import_here() -> None:
    first, second = Engines(), Engines()
    bound = within("with inner: import wave\nimport wave as w", first.sync_imports(), inner=second.sync_imports(False))
    assert (type(bound["wave"]), bound["w"].__name__) == (StandIn, "wave")
    bound = within("with inner: import wave\nimport wave as w", first.sync_imports(False), inner=second.sync_imports())
    assert (bound["wave"].__name__, type(bound["w"])) == ("wave", StandIn)
    assert first.bound() == {"wave": sys.modules["wave"], "w": sys.modules["wave"]}


def test_blocks_end_in_any_order() -> None:
    views = [Engines(), Engines()]
    blocks = [view.sync_imports() for view in views]
    for block in blocks:
        block.__enter__()
    blocks[0].__exit__()
    import wave

    blocks[1].__exit__()
    assert [view.bound() for view in views] == [{}, {"wave": wave}]


def test_a_block_can_be_used_again_but_not_twice_at_once(engines: Engines) -> None:
    block = engines.sync_imports()
    with block, pytest.raises(RuntimeError, match="view.sync_imports"):
        block.__enter__()
    with block:
        import wave
    assert engines.bound() == {"wave": wave}


def test_an_exit_stack_enters_it_for_its_user(engines: Engines) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(engines.sync_imports())
        import wave
    import json  # noqa: F401

    assert engines.bound() == {"wave": wave}


def test_generators_and_coroutines_have_blocks(engines: Engines) -> None:
    def generator() -> Generator[Any, None, None]:
        with engines.sync_imports():
            yield
            import wave

            yield wave

    async def coroutine() -> Any:
        with engines.sync_imports():
            import json as j

            return j

    steps = generator()
    next(steps)
    import colorsys  # noqa: F401

    wave = next(steps)
    steps.close()
    with pytest.raises(StopIteration) as ended:
        coroutine().send(None)
    assert engines.bound() == {"wave": wave, "j": ended.value.value}


def test_another_hook_that_comes_later_stays(engines: Engines) -> None:
    seen = []
    before = builtins.__import__

    def theirs(name: str, *args: Any) -> Any:
        seen.append(name)
        return ours(name, *args)

    try:
        with engines.sync_imports():
            ours, builtins.__import__ = builtins.__import__, theirs  # type: ignore[assignment]
        assert builtins.__import__ is theirs
        with engines.sync_imports():
            import wave
        assert builtins.__import__ is theirs
    finally:
        builtins.__import__ = before
    assert "wave" in seen and engines.bound() == {"wave": wave}


# Calls ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source, module",
    [
        ("found = __import__('{}.inner')", "{}.inner"),
        ("found = __import__('{}', globals(), locals(), ['inner'], 0)", "{}.inner"),
        ("found = __import__(name='{}')", "{}"),
        ("[found] = map(__import__, ['{}'])", "{}"),
        ("found = importlib.import_module('{}.inner')", "{}.inner"),
        ("found = import_module('{}.inner')", "{}.inner"),
        ("found = import_module('.inner', '{}')", "{}.inner"),
        ("found = import_module('..inner', '{}.other')", "{}.inner"),
    ],
)
def test_a_call_imports_without_a_name(
    source: str, module: str, engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = "imported_by_a_call"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / "inner.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    given = {"importlib": importlib, "import_module": importlib.import_module}
    found = {}
    for local in (True, False):
        found[local] = within(source.format(package), engines.sync_imports(local), **given)["found"]
        # What was imported here is no longer, or was not: it was imported for the engine that lives here.
        del sys.modules[module.format(package)]
        for name in (package, f"{package}.inner"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
    assert engines.bound() == {} and len(engines.asked) == 2
    assert isinstance(found[False], StandIn)
    assert eval(found[False].expression, {}).__name__ == found[True].__name__
    for name in (package, f"{package}.inner"):
        sys.modules.pop(name, None)


def test_calls_that_fail_here_go_nowhere(engines: Engines) -> None:
    for source in (
        f"__import__('{NOWHERE}')",
        "__import__(5)",
        f"importlib.import_module('{NOWHERE}')",
        "importlib.import_module('.inner')",
        "importlib.import_module(5)",
    ):
        with pytest.raises((ImportError, TypeError, AttributeError)):
            within(source, engines.sync_imports(), importlib=importlib)
    assert engines.asked == []


def test_importlib_is_left_as_it_was(engines: Engines) -> None:
    before = importlib.import_module
    bound = within("from importlib import import_module", engines.sync_imports())
    assert bound["import_module"] is before is importlib.import_module


# What fails -----------------------------------------------------------------------------------------------


def test_what_cannot_be_imported_here_is_not_imported_there(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all_of_it.py").write_text("__all__ = ['here', 'not_here']\nhere = 1\n")
    (tmp_path / "raises.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for source, error in {
        f"import {NOWHERE}": ModuleNotFoundError,
        f"import os.{NOWHERE} as o": ModuleNotFoundError,
        f"from os import sep, {NOWHERE}": ImportError,
        "from all_of_it import *": AttributeError,
        "import raises": ZeroDivisionError,
    }.items():
        with pytest.raises(error):
            within(source, engines.sync_imports(quiet=False))
    assert engines.asked == [] and capsys.readouterr().out == ""
    del sys.modules["all_of_it"]


def test_a_submodule_need_not_be_an_attribute(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("half_made", "half_made.inner"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    bound = within("from half_made import inner", engines.sync_imports())
    assert engines.bound() == bound == {"inner": sys.modules["half_made.inner"]}


def test_the_block_may_go_on_without(engines: Engines) -> None:
    bound = within(f"try: import {NOWHERE}\nexcept ImportError: import wave", engines.sync_imports())
    assert list(bound) == ["wave"] and engines.bound() == bound


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("source", ["import wave", "from os import path as p", "importlib.import_module('wave')"])
def test_what_fails_there_is_raised_by_the_statement(source: str, local: bool) -> None:
    names: dict[str, Any] = {"block": Engines(broken=True).sync_imports(local), "importlib": importlib}
    with pytest.raises(RemoteError, match="No module of the name") as raised:
        exec(f"with block:\n    {source}\n    went_on = True\n", names)
    assert not {"wave", "p", "went_on"} & set(names)
    if sys.version_info >= (3, 11):
        [note] = raised.value.__notes__
        assert "wave on the engines of" in note or "path from os on the engines of" in note


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    "source, named", [("from . import decoder", "'.'"), ("from .decoder import scanner", "'.decoder'")]
)
def test_relative_imports_are_refused(source: str, named: str, local: bool, engines: Engines) -> None:
    import json

    names = {"__name__": "json", "__package__": "json", "__path__": json.__path__, "block": engines.sync_imports(local)}
    exec(source, names)  # it would do
    with pytest.raises(ImportError, match=f"relative import means nothing on the engines.*{named}"):
        exec(f"with block: {source}", names)
    assert engines.asked == []


# Nothing here ---------------------------------------------------------------------------------------------


def only_there(source: str, **names: Any) -> dict[str, Any]:
    """The names that a block with ``local=False`` binds, and how their stand-ins are shown."""
    view = mock.Mock()
    bound = within(source, SyncImports(view, local=False, quiet=True), **names)
    assert view._verb.call_args_list
    return {name: repr(value) for name, value in bound.items()}


def test_E6_local_imports_nothing_here(engines: Engines) -> None:
    before = set(sys.modules)
    a = "was imported on the engines only>"
    for source, expected in {
        "import {0}": {"{0}": "<{0}: {0} "},
        "import {0}.b.c": {"{0}": "<{0}: {0} "},
        "import {0} as x": {"x": "<x: {0} "},
        "import {0}.b as x": {"x": "<x: {0}.b "},
        "import {0}.b.c.d as x": {"x": "<x: {0}.b.c.d "},
        "from {0} import b": {"b": "<b: {0}.b "},
        "from {0}.b import c as x, d": {"x": "<x: {0}.b.c ", "d": "<d: {0}.b.d "},
        "from {0} import b as x, b as y": {"x": "<x: {0}.b ", "y": "<y: {0}.b "},
        "from {0} import __dict__ as x, __class__ as y": {"x": "<x: {0}.__dict__ ", "y": "<y: {0}.__class__ "},
        "from {0} import *": {},
    }.items():
        shown = {name.format(NOWHERE): text.format(NOWHERE) + a for name, text in expected.items()}
        assert only_there(source.format(NOWHERE)) == shown
    assert set(sys.modules) == before


def test_a_stand_in_says_what_it_is() -> None:
    bound: dict[str, Any] = {}
    exec("with block:\n    import numpy as np\n", bound := {"block": SyncImports(mock.Mock(), False, True)})
    np = bound["np"]
    for use in (lambda: np.zeros, lambda: np(), lambda: np[0], lambda: np + 1, lambda: bool(np), lambda: list(np)):
        with pytest.raises(TypeError, match="numpy was imported on the engines only"):
            use()
    with pytest.raises(AttributeError, match="numpy was imported on the engines only"):
        np.zeros  # noqa: B018
    assert not hasattr(np, "zeros")
    assert pickle.loads(pickle.dumps(np)) == Reference("np")


def test_names_that_are_bound_here_keep_their_objects() -> None:
    import json

    source = f"import json, {NOWHERE}; import {NOWHERE}.b as x; from {NOWHERE} import b as y, c"
    names: dict[str, Any] = {"block": SyncImports(mock.Mock(), False, True), "json": json, "x": 1, "y": None}
    exec(f"with block: {source}", names)
    assert (names["json"], names["x"], names["y"]) == (json, 1, None)
    assert isinstance(names["c"], StandIn) and isinstance(names[NOWHERE], StandIn)

    exec(f"with block: {source}", names)
    assert isinstance(names["c"], StandIn)


def test_each_scope_has_its_own_names() -> None:
    source = """
x = y = "the module's"
def f():
    global y, z
    with block:
        from a import b as x, c as y, d as z
        import a.b as free
    def g(): return free
    return x, g()
def h(kept):
    def inner():
        nonlocal kept
        with block: import a as kept
    inner()
    return kept
class C:
    x = "the class's"
    with block: from a import b as x, c as y
"""
    names: dict[str, Any] = {"block": SyncImports(mock.Mock(), False, True)}
    exec(source, names)
    assert list(map(repr, names["f"]())) == [
        "<x: a.b was imported on the engines only>",
        "<free: a.b was imported on the engines only>",
    ]
    assert names["y"] == "the module's" and repr(names["z"]) == "<z: a.d was imported on the engines only>"
    assert names["h"](5) == 5
    assert names["C"].x == "the class's" and isinstance(names["C"].y, StandIn)


# By name --------------------------------------------------------------------------------------------------


def test_the_importer_imports_by_name(engines: Engines) -> None:
    importer = Importer(engines)  # type: ignore[arg-type]
    before = set(sys.modules)
    assert importer("wave", as_="w") is importer("xml.dom.minidom") is None  # type: ignore[func-returns-value]
    assert engines.bound() == {"w": sys.modules["wave"], "xml": sys.modules["xml"]}
    assert before <= set(sys.modules)
    for name in ("", ".wave", "a..b", "not-a-name", "numpy as np"):
        with pytest.raises(ValueError, match="cannot import"):
            importer(name)
    with pytest.raises(ValueError, match="'1st' is not a name"):
        importer("wave", "1st")
    with pytest.raises(TypeError, match="not module"):
        importer(contextlib)  # type: ignore[arg-type]
    assert len(engines.asked) == 2


def test_the_importer_is_a_context_manager(engines: Engines, capsys: pytest.CaptureFixture[str]) -> None:
    with Importer(engines):  # type: ignore[arg-type]
        import wave
    assert engines.bound() == {"wave": wave}
    assert capsys.readouterr().out == "importing wave on engine(s)\n"


# On engines -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as made:
        made.client[:].apply_sync(abs, -1)  # its threads and sockets are no test's leftover
        yield made
    made.join()


@pytest.fixture(params=["one", "all"])
def view(pool: Pool, request: pytest.FixtureRequest) -> Iterator[DirectView]:
    """A view of one engine, then of both, whose namespaces are empty."""
    pool.client.clear()
    yield pool.client[0] if request.param == "one" else pool.client[:]
    pool.client.clear()


def at_a_prompt(source: str, **names: Any) -> Any:
    """The function ``f`` of the source, as though it had been defined at a prompt."""
    names |= {"__name__": "__main__"}
    exec(source, names)
    return names["f"]


def each(value: Any, view: DirectView) -> Any:
    """What a call that gives this value gives on the engines of the view."""
    return value if isinstance(view.targets, int) else [value] * len(view.targets)


@contextlib.contextmanager
def raises_on(view: DirectView, kind: type[Exception], text: str) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Each engine of the view raises this kind of error, with this text in it."""
    with pytest.raises((kind, CompositeError)) as raised:
        yield raised
    one = isinstance(view.targets, int)
    errors: Any = [raised.value] if one else raised.value.exceptions  # type: ignore[attr-defined]
    assert [error.engine_id for error in errors] == ([view.targets] if one else view.targets)
    assert all(isinstance(error, kind) and text in str(error) for error in errors)


def test_E4_execute_imports(view: DirectView) -> None:
    view.execute("import colorsys", block=True)
    assert view.apply_sync(at_a_prompt("def f(): return colorsys.__name__")) == each("colorsys", view)


def test_E5_sync_imports(view: DirectView, capsys: pytest.CaptureFixture[str]) -> None:
    with view.sync_imports():
        import xml.dom.minidom as m
        from os import path as p
        from os import sep

        import numpy
    assert capsys.readouterr().out.splitlines() == [
        "importing xml.dom.minidom on engine(s)",
        "importing path from os on engine(s)",
        "importing sep from os on engine(s)",
        "importing numpy on engine(s)",
    ]
    f = at_a_prompt("def f(x): return numpy.linalg.norm([x, 4]), m.__name__, p.__name__, sep")
    assert view.apply_sync(f, 3) == each((numpy.linalg.norm([3, 4]), m.__name__, p.__name__, sep), view)


def test_E6_only_on_the_engines(view: DirectView, tmp_path: Path) -> None:
    (tmp_path / "only_on_engines.py").write_text("answer = 42\n")
    view.execute(f"import sys; sys.path.insert(0, {str(tmp_path)!r})", block=True)
    try:
        with view.sync_imports(local=False, quiet=True):
            import only_on_engines as there  # type: ignore[import-not-found]
            from only_on_engines import answer
        assert "only_on_engines" not in sys.modules
        with pytest.raises(AttributeError, match="only_on_engines was imported on the engines only"):
            there.answer  # noqa: B018
        assert view.apply_sync(at_a_prompt("def f(): return there.answer, answer")) == each((42, 42), view)
        # In a closure, and as an argument.
        assert view.apply_sync(lambda: there.answer) == each(42, view)
        assert view.apply_sync(getattr, there, "answer") == view.apply_sync(int, answer) == each(42, view)
    finally:
        view.execute(f"sys.path.remove({str(tmp_path)!r}); del sys.modules['only_on_engines']", block=True)


def test_E6_what_engines_cannot_import(view: DirectView) -> None:
    block = view.sync_imports(local=False, quiet=True)
    for source in (f"import {NOWHERE}", f"from os import {NOWHERE}", f"__import__('{NOWHERE}')"):
        with raises_on(view, ImportError, NOWHERE) as raised:
            within(source, block)
        assert isinstance(view.targets, int) or "[1:sync_imports]" in str(raised.value)


def test_E6_calls_bind_nothing_on_the_engines(view: DirectView) -> None:
    before = view.keys()
    with view.sync_imports(quiet=True):
        __import__("xml.dom")
        importlib.import_module("json.tool")
    assert view.keys() == before
    f = at_a_prompt("def f(): import sys; return 'json.tool' in sys.modules")
    assert view.apply_sync(f) == each(True, view)


def test_the_importer_honours_block(view: DirectView) -> None:
    with view.temp_flags(block=True):
        assert view.importer("wave", as_="w") is None
        with raises_on(view, ImportError, NOWHERE):
            view.importer(NOWHERE)
    with view.temp_flags(block=False):
        view.importer("xml.dom")
        view.importer(NOWHERE)
        assert view.wait()
        with pytest.raises(ImportError, match=NOWHERE):
            view.results[view.history[-1]]
    f = at_a_prompt("def f(): return w.__name__, xml.dom.__name__")
    assert view.apply_sync(f) == each(("wave", "xml.dom"), view)
    assert NOWHERE not in sys.modules


def test_L5_require_handles_imports_on_a_direct_view(view: DirectView) -> None:
    source = "@require('re', colorsys)\ndef f(): return re.findall('a.', 'abad'), colorsys.__name__\n"
    import colorsys

    f = at_a_prompt(source, require=require, colorsys=colorsys)
    assert view.apply_sync(f) == each((["ab", "ad"], "colorsys"), view)
    for unmet in (require(NOWHERE)(abs), require(f"json.{NOWHERE}")(at_a_prompt("def f(x): pass"))):
        with pytest.raises((UnmetDependency, CompositeError)) as raised:
            view.apply_sync(unmet, 1)
        assert str(raised.value).count(NOWHERE) >= (1 if isinstance(view.targets, int) else len(view.targets))


def test_C20_modules_come_with_the_function(view: DirectView) -> None:
    import colorsys

    f = at_a_prompt("def f(): return colorsys.__name__", colorsys=colorsys)
    assert view.apply_sync(f) == each("colorsys", view)
    without = at_a_prompt("def f(): return fractions.Fraction(1)")
    with raises_on(view, NameError, "fractions"):
        view.apply_sync(without)


def test_C20_names_of_the_engine_win(view: DirectView) -> None:
    import colorsys

    view.push({"colorsys": types.SimpleNamespace(__name__="the engine's")}, block=True)
    f = at_a_prompt("def f(): return colorsys.__name__", colorsys=colorsys)
    assert view.apply_sync(f) == each("the engine's", view)
