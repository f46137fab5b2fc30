"""What must be so before a task runs: conditions of engines, and the naming of other tasks."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parpool import (
    AsyncResult,
    DependencyTimeout,
    ImpossibleDependency,
    Pool,
    UnmetDependency,
    UnmetDependencyError,
)
from parpool.client import depend as depend_module
from parpool.client.depend import Dependency, depend, dependent, named, require
from parpool.client.outcome import decided
from parpool.engine.namespace import Missing, Namespace
from parpool.errors import InvalidDependency
from parpool.status import EXPIRED, IMPOSSIBLE
from parpool.wire import byvalue
from parpool.wire import functions as wire_functions
from parpool.wire.functions import FunctionBook

METHODS = ("fork", "spawn") if hasattr(os, "fork") else ("spawn",)
NOWHERE = "parpool_does_not_find_this"


def give(value: object) -> object:
    return value


def claimed_by_another(path: str) -> bool:
    """Was another process the first to ask?"""
    try:
        with open(path, "x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        pass
    return Path(path).read_text() != str(os.getpid())


def refuse() -> None:
    raise UnmetDependency("not on a Sunday")


def stumble() -> None:
    raise KeyError("the condition's own")


@depend(give, True)
def plus(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


@require("colorsys", json, "os.path")
def uses() -> object:
    return colorsys.rgb_to_hsv(0, 0, 0), json.dumps(1), os.path.sep  # type: ignore[name-defined]  # noqa: F821


@require("json", NOWHERE)
def uses_what_is_not_there() -> None:
    raise AssertionError("it ran")


class Tool:
    def __init__(self, n: int) -> None:
        self.n = n

    @require("json")
    def dump(self, more: int) -> str:
        """Dump."""
        return json.dumps([self.n, more])

    @staticmethod
    @depend(give, 1)
    def of_none(n: int) -> int:
        return n

    @classmethod
    @depend(give, 1)
    def of_class(cls, n: int) -> tuple[str, int]:
        return cls.__name__, n


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as made:
        assert made.client.wait_for_engines(2, 20)  # its threads and sockets are no test's leftover
        made.map(abs, [-1] * 8, 1)
        yield made
    made.join()


# Conditions -----------------------------------------------------------------------------------------------


def test_L1_depend_tries_another_engine(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "first"
    ran = pool.apply(depend(claimed_by_another, str(path))(os.getpid))
    assert path.read_text() != str(ran)


@pytest.mark.parametrize("unmet", [depend(give, False), depend(give, value=0), depend(give, []), depend(refuse)])
def test_L1_depend_that_no_engine_meets(pool: Pool, unmet: Callable[[Any], Any]) -> None:
    with pytest.raises(UnmetDependency):
        pool.apply(unmet(os.getpid))
    with pytest.raises(UnmetDependency):
        pool.map(unmet(abs), [1, 2, 3])


@pytest.mark.parametrize("value", [True, 1, "yes", None])
def test_L1_a_condition_that_gives_nothing_false_is_met(value: object) -> None:
    assert depend(give, value)(abs)(-1) == 1


def test_L1_other_errors_of_a_condition_are_the_task_s(pool: Pool) -> None:
    with pytest.raises(KeyError, match="the condition's own"):
        pool.apply(depend(stumble)(os.getpid))


def test_what_a_refusal_says() -> None:
    with pytest.raises(UnmetDependency, match=r"^plus depends on give\(value=0\), which is 0$"):
        depend(give, value=0)(plus)(1)
    with pytest.raises(UnmetDependency, match=r"^plus depends on abs\(0\), which is 0$"):
        dependent(plus, abs, 0)(1)
    with pytest.raises(UnmetDependency, match="^not on a Sunday$"):
        depend(refuse)(plus)(1)


def test_the_error_of_a_function_is_its_own(pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        pool.apply(depend(give, 1)(divmod), (1, 0))


def test_conditions_are_asked_in_the_order_in_which_they_stand() -> None:
    asked: list[int] = []

    @depend(asked.append, 1)
    @require("json")
    @depend(asked.append, 2)
    @depend(give, False)
    @depend(asked.append, 3)
    def function() -> None: ...

    assert inspect.isfunction(function.__wrapped__)
    with pytest.raises(UnmetDependency):
        function()
    assert asked == [1, 2]


# What is needed -------------------------------------------------------------------------------------------


def test_L2_modules_by_name_are_there(pool: Pool) -> None:
    @require("fractions", "xml.dom")
    def local() -> object:
        return str(fractions.Fraction(1, 3)), xml.dom.__name__  # type: ignore[name-defined]  # noqa: F821

    assert pool.apply(local) == ("1/3", "xml.dom")
    assert pool.apply(uses) == ((0.0, 0.0, 0), "1", os.path.sep)
    assert pool.map(Tool(1).dump, [2, 3]) == ["[1, 2]", "[1, 3]"]


def test_L3_modules_and_objects_as_they_are() -> None:
    import difflib

    def helper() -> str:
        return "helped"

    names = {"__name__": "nobody's", "helper": "earlier"}
    source = "def function():\n    return difflib.ndiff, near, helper(), Tool, limit\n"
    exec(source, names)
    function = require(difflib, helper, Tool, near=difflib, limit=3)(names["function"])  # type: ignore[arg-type]
    assert function() == (difflib.ndiff, difflib, "helped", Tool, 3)


def test_L4_what_cannot_be_imported_is_unmet(pool: Pool) -> None:
    def local() -> None:
        raise AssertionError("it ran")

    message = f"requires {NOWHERE}, which cannot be imported: ModuleNotFoundError"
    for function in (uses_what_is_not_there, require(NOWHERE)(local), require(f"json.{NOWHERE}")(local)):
        with pytest.raises(UnmetDependencyError, match="requires .*which cannot be imported: ModuleNotFoundError"):
            pool.apply(function)
    with pytest.raises(UnmetDependency, match=message):
        uses_what_is_not_there()


def test_L4_a_module_that_raises_is_unmet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raises_at_import.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnmetDependency, match="raises_at_import.*ZeroDivisionError"):
        require("raises_at_import")(abs)(1)


def test_L5_it_handles_imports_where_the_function_goes(main: dict[str, Any]) -> None:
    exec("from parpool.client.depend import require\n@require('re')\ndef f(): return re.findall('a.', 'abad')\n", main)
    there: dict[str, Any] = {"re": "something else"}
    assert travelled(Namespace(there), FunctionBook(), main["f"])() == ["ab", "ad"]
    assert there["re"] is sys.modules["re"]
    assert "re" not in main


def test_a_module_of_its_own_keeps_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("keeps_its_names")
    monkeypatch.setitem(sys.modules, "keeps_its_names", module)
    exec("json = 'its own'\ndef function(): return json, colorsys\n", vars(module))
    kept, bound = require("json", "colorsys")(module.function)()
    assert kept == "its own" and bound.__name__ == "colorsys"


def test_the_innermost_function_sees_what_is_needed() -> None:
    names: dict[str, Any] = {}
    exec("def function(): return limit\nclass Callable:\n    def __call__(self): return limit\n", names)
    function = names["function"]

    @functools.wraps(function)
    def wrapper() -> Any:
        return function()

    wrappers = [wrapper, functools.lru_cache(function), functools.partial(wrapper), names["Callable"]()]
    for n, wrapped in enumerate(wrappers):
        assert require(limit=n)(wrapped)() == n
    assert require(limit=1, json=json)(abs)(-1) == 1, "a builtin sees nothing"
    kind = require(limit=9)(names["Callable"])
    assert kind()() == 9 and isinstance(kind(), names["Callable"])


@pytest.mark.parametrize("name", ["", "not-a-name", "numpy as np", ".relative", "a..b", "1st"])
def test_what_cannot_be_a_module_is_told_at_the_decoration(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a module"):
        require(name)


def test_what_has_no_name_is_told_at_the_decoration() -> None:
    for thing in (5, lambda: 1, functools.partial(abs)):
        with pytest.raises(TypeError, match="keyword"):
            require(thing)
    with pytest.raises(ValueError, match="'dump'"):
        require(json.dump, pickle.dump)
    with pytest.raises(ValueError, match="'dump'"):
        require(json.dump, dump=pickle.dump)


def test_what_cannot_be_decorated() -> None:
    with pytest.raises(TypeError, match="5 cannot be decorated.*parentheses"):
        require(give)(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="condition must be callable, and 5"):
        depend(5)(give)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="put @classmethod above"):
        depend(give)(classmethod(give))  # type: ignore[arg-type]


# What it is -----------------------------------------------------------------------------------------------


def test_name_docstring_and_signature_are_kept() -> None:
    assert (plus.__name__, plus.__qualname__, plus.__module__) == ("plus", "plus", __name__)
    assert plus.__doc__ == "Add." and str(inspect.signature(plus)) == "(a: 'int', b: 'int' = 1) -> 'int'"
    assert isinstance(plus, dependent) and plus.__wrapped__(1, b=5) == plus(1, b=5) == 6
    assert repr(plus) == "<dependent plus>"
    assert str(inspect.signature(Tool(1).dump)) == "(more: 'int') -> 'str'"


def test_methods() -> None:
    assert Tool(1).dump(2) == "[1, 2]" == Tool.dump(Tool(1), more=2)
    assert Tool.of_none(3) == Tool(1).of_none(3) == 3
    assert Tool.of_class(3) == ("Tool", 3)


# How it travels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [plus, uses, Tool.dump])
def test_importable_ones_go_by_reference(function: dependent[..., Any]) -> None:
    data = pickle.dumps(function)
    assert pickle.loads(data) is function and copy.deepcopy(function) is function
    assert len(data) < 150


def test_others_are_made_again() -> None:
    again = pickle.loads(pickle.dumps(depend(give, 0)(json.dumps)))
    assert isinstance(again, dependent) and again.__wrapped__ is json.dumps and again.__name__ == "dumps"
    with pytest.raises(UnmetDependency):
        again(1)
    noted = require("json")(os.getcwd)
    noted.note = "mine"  # type: ignore[attr-defined]
    assert copy.copy(noted).note == "mine" and copy.copy(noted) is not noted  # type: ignore[attr-defined]


def test_what_it_needs_is_looked_for_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine without a module cannot open what refers to it, and is to say that it is not the right one."""
    there = types.ModuleType("only_here")
    exec("def helper(): pass\n", vars(there))
    there.helper.__module__ = "only_here"
    monkeypatch.setitem(sys.modules, "only_here", there)
    book = FunctionBook()

    def refers() -> object:
        return only_here  # type: ignore[name-defined]  # noqa: F821

    names = {"only_here": there, "__name__": "__main__"}
    inner = types.FunctionType(refers.__code__, names)
    inner.__module__ = "__main__"
    blobs = [book.function(require(*need)(inner)).blob for need in [(there,), (there.helper,)]]
    monkeypatch.setattr(there, "function", function := require(there)(give), raising=False)
    vars(function).update(__module__="only_here", __qualname__="function")
    blobs.append(book.function(function).blob)
    assert all(isinstance(pickle.loads(blob[1:]), dependent) for blob in blobs)
    monkeypatch.delitem(sys.modules, "only_here")
    for blob in blobs:
        with pytest.raises(UnmetDependency, match="requires only_here"):
            pickle.loads(blob[1:])


def test_modules_registered_to_go_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    module = types.ModuleType("goes_by_value")
    monkeypatch.setitem(sys.modules, "goes_by_value", module)
    exec("def function(): return 'by value'\n", vars(module))
    module.function = require("json")(module.function)
    cloudpickle.register_pickle_by_value(module)
    try:
        blob = FunctionBook().function(module.function).blob
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    monkeypatch.delitem(sys.modules, "goes_by_value")
    assert pickle.loads(blob[1:])() == "by value"


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A ``__main__`` to define functions in, as a client does; a namespace makes this process an engine's, too."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    for owner, name in ((wire_functions, "fetch_hook"), (byvalue, "bind"), (byvalue, "bind_later")):
        monkeypatch.setattr(owner, name, None)
    exec("from parpool.client.depend import depend, require\n", vars(module))
    yield vars(module)


def travelled(namespace: Namespace, book: FunctionBook, function: Any) -> Any:
    """The function as the engine has it, which asks for whatever it lacks."""
    described = book.function(function)
    namespace.learn({described.key: described.blob}, [])
    while True:
        try:
            made = namespace.function(described.key)
            namespace.bind_referred()
            return made
        except Missing as missing:
            namespace.drop(missing.key)
            namespace.learn({missing.key: book.by_value(missing.key)}, [])


def test_the_engine_s_own_is_used(main: dict[str, Any]) -> None:
    source = "@require('json')\ndef f():\n    return json.dumps(offset)\n"
    exec(source, main)
    there: dict[str, Any] = {"__name__": "__main__", "require": require, "offset": 5}
    exec(source, there)
    function = travelled(Namespace(there), FunctionBook(), main["f"])
    assert function is there["f"] and function() == "5"


def test_by_value_it_lives_in_the_namespace(main: dict[str, Any]) -> None:
    source = """
        limit = "the client's"
        def helper(): return limit
        def holds(): return limit
        @depend(holds)
        @require(helper, step=2)
        def count(n):
            global total
            total += step
            return count(n - 1) if n else (helper(), total)
        def calls(): return count(0)
    """
    exec(inspect.cleandoc(source), main)
    there: dict[str, Any] = {"limit": "the engine's", "total": 0}
    namespace, book = Namespace(there), FunctionBook()
    count = travelled(namespace, book, main["count"])
    assert count(2) == ("the engine's", 6) == (count(0)[0], there["total"] - 2)
    assert count.__wrapped__.__globals__ is there and there["count"].__name__ == "count"
    assert travelled(namespace, book, main["calls"])() == ("the engine's", 10)
    there["limit"] = ""
    with pytest.raises(UnmetDependency):
        count(0)


def test_another_condition_of_the_same_function_travels(main: dict[str, Any]) -> None:
    namespace, book = Namespace({"__name__": "__main__"}), FunctionBook()
    for met in (1, 0, 1):
        exec(f"@depend(len, {met} * 'x')\ndef f(): return 'ran'\n", main)
        function = travelled(namespace, book, main["f"])
        if met:
            assert function() == "ran"
        else:
            with pytest.raises(UnmetDependency):
                function()


SCRIPT = """
import json, multiprocessing, sys
from parpool import Pool, UnmetDependency
from parpool.client.depend import depend, require

calls = 0

def positive(n):
    return n > 0

@require("re")
def findall(pattern, text):
    return re.findall(pattern, text)

@depend(positive, 1)
@require("os.path", positive, step=2)
def count(n):
    global calls
    calls += step
    return [os.path.sep, positive(n), calls] + (count(n - 1) if n else [])

@depend(positive, -1)
def never():
    return "it ran"

class Box:
    def __init__(self, v):
        self.v = v

    @require("json")
    def dump(self, more):
        return json.dumps([self.v, more])

def outcome(pool, function, *args):
    try:
        return pool.apply_async(function, args).get(20)
    except UnmetDependency as error:
        return "unmet: " + str(error)

if __name__ == "__main__":
    told = []
    with Pool(1, context=multiprocessing.get_context(sys.argv[1])) as pool:
        told.append(outcome(pool, findall, "a.", "abad"))
        told.append(outcome(pool, count, 1))
        told.append(calls)
        told.append(outcome(pool, never))
        told.append(pool.map(Box(1).dump, [2, 3]))

        @depend(positive, -2)
        def never():
            return "it ran"

        told.append(outcome(pool, never))

        @require("colorsys")
        def late(n):
            return [colorsys.__name__] + (late(n - 1) if n else [])

        told.append(outcome(pool, late, 1))
        told.append(outcome(pool, lambda: findall("b.", "babc")))
    print(json.dumps(told))
"""


@pytest.mark.parametrize("method", METHODS)
def test_functions_of_main(method: str, tmp_path: Path) -> None:
    script = tmp_path / "depends.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script), method], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        ["ab", "ad"],
        [os.sep, True, 2, os.sep, False, 4],
        0,
        "unmet: never depends on positive(-1), which is False",
        ["[1, 2]", "[1, 3]"],
        "unmet: never depends on positive(-2), which is False",
        ["colorsys", "colorsys"],
        ["ba", "bc"],
    ]


# The naming of tasks --------------------------------------------------------------------------------------


class Result:
    """As much of an AsyncResult as a dependency looks at."""

    def __init__(self, *msg_ids: str, failed: bool = False) -> None:
        self.msg_ids = list(msg_ids)
        self._failed = failed

    def ready(self) -> bool:
        return self._failed

    def successful(self) -> bool:
        return not self._failed

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("this would wait for the result")


def test_L6_a_dependency_is_a_set_of_message_ids_with_flags() -> None:
    dependency = Dependency([Result("a"), "b", [Result("c", "d"), ("e", {"f"})], Dependency("g", failure=True)])
    assert dependency == set("abcdefg") and isinstance(dependency, set)
    assert (dependency.all, dependency.success, dependency.failure) == (True, True, False)
    other = Dependency(Result("a"), all=False, success=False, failure=True)
    assert (other.all, other.success, other.failure) == (False, False, True)
    assert repr(other) == "Dependency(['a'], all=False, success=False, failure=True)"
    assert Dependency() == Dependency([]) == set()
    assert Dependency(name for name in "ab") == {"a", "b"}


def test_L6_of_a_real_result(pool: Pool) -> None:
    result = pool.apply_async(abs, (-1,))
    assert isinstance(result, AsyncResult)
    assert Dependency([result]) == set(result.msg_ids) != set()
    result.get()


@pytest.mark.parametrize(
    "copied",
    [
        Dependency.copy,
        copy.copy,
        copy.deepcopy,
        lambda dependency: pickle.loads(pickle.dumps(dependency)),
        lambda dependency: Dependency.from_dict(dependency.as_dict()),
        lambda dependency: Dependency.from_dict(json.loads(json.dumps(dependency.as_dict()))),
    ],
)
def test_L6_copies_keep_the_flags(copied: Callable[[Dependency], Dependency]) -> None:
    first = Dependency({"a", "b"}, all=False, success=False, failure=True)
    second = copied(first)
    assert type(second) is Dependency and second == first and second is not first
    assert (second.all, second.success, second.failure) == (False, False, True)


@pytest.mark.parametrize(
    ("flags", "completed", "failed", "met", "unreachable"),
    [
        ({}, "a", "", False, False),
        ({}, "ab", "", True, False),
        ({}, "a", "b", False, True),
        ({"all": False}, "a", "", True, False),
        ({"all": False}, "", "a", False, False),
        ({"all": False}, "", "ab", False, True),
        ({"failure": True}, "a", "b", True, False),
        ({"success": False, "failure": True}, "", "ab", True, False),
        ({"success": False, "failure": True}, "a", "", False, True),
        ({"all": False, "success": False, "failure": True}, "a", "b", True, False),
        ({"all": False, "success": False, "failure": True}, "ab", "", False, True),
    ],
)
def test_L6_check_and_unreachable(
    flags: dict[str, bool], completed: str, failed: str, met: bool, unreachable: bool
) -> None:
    dependency = Dependency(["a", "b"], **flags)
    assert dependency.check(set(completed), set(failed)) is met
    assert dependency.unreachable(set(completed), set(failed)) is unreachable
    nothing = Dependency([], **flags)
    assert nothing.check(set()) and not nothing.unreachable(set("ab"), set("ab"))
    if not failed:
        assert dependency.check(set(completed)) is met


def test_L6_flags_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="must be met by"):
        Dependency("a", success=False)
    with pytest.raises(TypeError, match="all must be a bool, not 1"):
        Dependency("a", all=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="failure must be a bool, not None"):
        Dependency("a", failure=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [5, "", b"a", None, {"a": "b"}, object])
def test_L9_what_names_no_task_is_invalid(wrong: object) -> None:
    for make in (Dependency, named):
        with pytest.raises(InvalidDependency, match="message ids"):
            make(["a", [wrong]])


def test_L9_what_was_added_later_is_looked_at_too() -> None:
    dependency = Dependency("a")
    dependency.add(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidDependency, match="message ids.* 5 is neither"):
        named(dependency)


def test_L9_a_result_that_never_left_is_invalid() -> None:
    with pytest.raises(InvalidDependency, match="failed before it was sent"):
        named([Result("a"), Result(failed=True)])
    assert named(Result()) is None, "the map of nothing has no tasks"


def test_what_is_named_in_any_form() -> None:
    plain = (frozenset("a"), True, True, False)
    for form in ("a", Result("a"), ["a"], {"a"}, [[Result("a")]], ("a", "a"), Dependency("a"), [Dependency("a"), "a"]):
        assert named(form) == plain
    for nothing in (None, [], Dependency(), Dependency(all=False), [[], Dependency(failure=True)]):
        assert named(nothing) is None


def test_flags_hold_for_the_whole_of_a_collection() -> None:
    either = Dependency("a", failure=True)
    assert named(either) == named([either]) == (frozenset("a"), True, True, True)
    assert named([either, Dependency("b", failure=True)]) == (frozenset("ab"), True, True, True)
    assert named([Dependency(["a", "b"], all=False)]) == (frozenset("ab"), False, True, False)
    assert named([Dependency(["a"]), "b"]) == (frozenset("ab"), True, True, False)
    for mixed in ([either, "b"], [Dependency("a", all=False), "b"], [Dependency(each, all=False) for each in "ab"]):
        with pytest.raises(InvalidDependency, match="flags of their own"):
            named(mixed)
        assert Dependency(mixed, failure=True) == {"a", "b"}, "there, it is said what is to hold"


# Their errors ---------------------------------------------------------------------------------------------


def test_S17_the_error_of_a_dependency_that_is_late() -> None:
    error = decided(EXPIRED, "", "f()", None)
    assert isinstance(error, DependencyTimeout) and isinstance(error, TimeoutError)
    assert isinstance(decided(IMPOSSIBLE, "why", "f()", None), ImpossibleDependency)


def test_S18_both_names_of_the_error() -> None:
    assert UnmetDependencyError is UnmetDependency
    with pytest.raises(UnmetDependencyError):
        uses_what_is_not_there()


def test_L10_there_are_no_properties() -> None:
    assert not {name for name in vars(depend_module) if "propert" in name.lower()}
