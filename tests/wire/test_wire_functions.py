"""How functions travel: those of a script's ``__main__`` (each case of functions_of_main.py), of a prompt, by dill."""

from __future__ import annotations

import ast
import functools
import json
import operator
import os
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from parpool import Pool, SerializationError
from parpool.wire import functions as wire_functions
from parpool.wire.functions import KEPT, FunctionBook, decode_reference

SCRIPT = Path(__file__).with_name("functions_of_main.py")
METHODS = ("fork", "spawn", "forkserver") if hasattr(os, "fork") else ("spawn",)
CASES = [
    node.name
    for node in ast.parse(SCRIPT.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("case_")
]


# Functions of a script's __main__ --------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, str]]:
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(METHODS, threads.map(run_cases, METHODS), strict=True))


def run_cases(method: str) -> dict[str, str]:
    """What each case comes to: ``""``, or what was wrong. Behind a case that hangs begin anew."""
    found: dict[str, str] = {}
    while left := [name for name in CASES if name not in found]:
        command = [sys.executable, str(SCRIPT), method, *left]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        if not told:
            return dict.fromkeys(CASES, f"the script failed with status {done.returncode}:\n{done.stderr}") | found
        found |= dict(told)
    return found


@pytest.mark.timeout(400)  # the first waits for the scripts, where each case has its own limit
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_function_of_main(outcomes: dict[str, dict[str, str]], method: str, case: str) -> None:
    assert outcomes[method][case] == ""


# At a prompt -------------------------------------------------------------------------------------------

PROMPT = """
from parpool import Pool
import multiprocessing, collections
context = multiprocessing.get_context("{method}")
def before(x):
    return "before", x

pool = Pool(1, context=context)
tell = lambda *things: print("==", *things, flush=True)
tell(pool.apply_async(before, (1,)).get(9))
def f(x):
    return x + 1

tell(pool.apply_async(f, (1,)).get(9))
def f(x):
    return x + 2

tell(pool.apply_async(f, (1,)).get(9))
def before(x):
    return "after", x, f(x)

tell(pool.apply_async(before, (1,)).get(9))
def count():
    global n
    try:
        n += 1
    except NameError:
        n = 1
    return n

tell(pool.apply_async(count).get(9), pool.apply_async(count).get(9))
class Box:
    def __init__(self, v):
        self.v = v

def open_box(box):
    return box, box.v, type(box) is Box

tell([type(box) is Box and (v, own) for box, v, own in pool.map_async(open_box, [Box(1), Box(2)]).get(9)])
data = 5
def needs():
    return data

pool.apply_async(needs).get(9)
tell("then", pool.apply_async(lambda: 7).get(9))
pool.terminate()
"""


def type_in(method: str, *options: str) -> subprocess.CompletedProcess[str]:
    text = PROMPT.format(method=method)
    if "-i" not in options:  # there the whole text is one program, which ends with the first error
        text = text.replace("pool.apply_async(needs).get(9)\n", "")
    return subprocess.run([sys.executable, *options], input=text, capture_output=True, text=True, timeout=90)


def told(done: subprocess.CompletedProcess[str]) -> None:
    assert re.findall(r"^(?:>>> )*== (.*)$", done.stdout, re.M) == [
        "('before', 1)",
        "2",
        "3",
        "('after', 1, 3)",
        "1 2",
        "[(1, True), (2, True)]",
        "then 7",
    ], done.stdout + done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_at_a_prompt(method: str) -> None:
    done = type_in(method, "-i")
    told(done)
    assert "NameError: name 'data' is not defined" in done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_on_standard_input(method: str) -> None:
    done = type_in(method, "-")
    if method == "fork":
        told(done)
    else:  # multiprocessing itself looks for the script on the disk; then a clear end, and soon
        assert "EngineStartError: engines die before they are ready" in done.stderr


# By dill ----------------------------------------------------------------------------------------------------

DILL = """
import dill, json, sys
from parpool import Pool
offset = 10
def plus(x):
    return x + 1
if __name__ == "__main__":
    with Pool(1, serializer="dill") as pool:
        n = 5
        def late(x):
            return plus(x) + 100
        found = [
            pool.map(lambda x: x * 2, [1, 2]),
            (lambda n: pool.map(lambda x: x + n, [1, 2]))(3),
            pool.apply(plus, (1,)),
            pool.apply_async(late, (1,)).get(9),
            pool.apply(sum, ((i for i in [1]) and [1, 2],)),
        ]
    print(json.dumps(found))
"""


def test_dill(tmp_path: Path) -> None:
    pytest.importorskip("dill")
    script = tmp_path / "by_dill.py"
    script.write_text(DILL)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[2, 4], [4, 5], 2, 102, 3]


def test_a_serializer_that_is_none() -> None:
    with pytest.raises(ValueError, match="serializer.*'cloudpickle'.*'dill'.*'json'"):
        FunctionBook("json")
    with pytest.raises(ValueError, match="serializer"):
        Pool(1, serializer="marshal")


# The book -----------------------------------------------------------------------------------------------------


def of_this_module(x: object) -> object:
    return x


class Of:
    def method(self) -> Of:
        return self

    @staticmethod
    def static(x: int) -> int:
        return x


def test_an_importable_function_is_its_name() -> None:
    book = FunctionBook()
    for function in (of_this_module, len, os.path.join, Of, Of.static, operator.itemgetter(1), json.dumps):
        described = book.function(function)
        assert described.blob[:1] == b"P"
        assert len(described.blob) < 200
        opened = pickle.loads(described.blob[1:])
        assert opened is function or type(opened) is operator.itemgetter


def test_the_key_is_that_of_the_blob() -> None:
    first, second = FunctionBook(), FunctionBook()
    for function in (of_this_module, len, Of, functools.partial(max, 3)):
        assert first.function(function) == second.function(function) == first.function(function)
    keys = {first.function(each).key for each in (of_this_module, len, Of, Of.static, functools.partial(max, 3))}
    assert len(keys) == 5


def test_a_name_for_everything() -> None:
    class Nameless:
        def __call__(self) -> None:
            pass

    book = FunctionBook()
    assert book.function(of_this_module).name == "of_this_module"
    assert book.function(Of().method).name == "Of.method"
    assert book.function(functools.partial(max, 3)).name == "partial"
    assert book.function(Nameless()).name.endswith("Nameless")
    odd = Nameless()
    odd.__name__ = 5  # type: ignore[attr-defined]
    assert book.function(odd).name.endswith("Nameless")


def test_bound_methods_travel_as_they_are_now() -> None:
    items = [1]
    book = FunctionBook()
    first = book.function(items.append)
    items.append(2)
    second = book.function(items.append)
    assert first.key != second.key
    assert pickle.loads(second.blob[1:]).__self__ == [1, 2]


def test_cells_travel_as_they_are_now() -> None:
    n = 1

    def closure() -> int:
        return n

    book = FunctionBook()
    first = book.function(closure)
    assert book.function(closure).key == first.key
    n = 2
    assert book.function(closure).key != first.key


def test_the_book_is_bounded() -> None:
    book = FunctionBook()
    for number in range(2 * KEPT + 10):
        names: dict[str, Any] = {"__name__": "not_a_module"}
        exec(f"def f{number}(): pass", names)
        with_none = eval(f"lambda: {number}")
        book._remember(with_none, book._known.get(with_none) or wire_functions.Function(b"k", b"b", "n"))
    assert len(book._known) <= KEPT


def test_code_that_is_forgotten_is_an_error_that_says_so() -> None:
    with pytest.raises(SerializationError, match="no longer known"):
        FunctionBook().by_value(b"no such key")


def test_unhashable_callables() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> None:
            pass

    assert FunctionBook().function(Unhashable()).blob


def test_referable(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]

    def of_main() -> None:
        pass

    of_main.__module__, of_main.__qualname__ = "__main__", "of_main"
    assert FunctionBook().reference(of_main) is None  # its name is not bound there
    earlier = FunctionBook()
    monkeypatch.setattr(main, "of_main", of_main, raising=False)
    assert earlier.reference(of_main) is None  # bound after the book was opened
    assert FunctionBook().reference(of_main) is not None
    assert FunctionBook().reference(of_this_module) is None
    local = lambda: None  # noqa: E731
    local.__module__ = "__main__"
    assert FunctionBook().reference(local) is None
    described = FunctionBook().function(of_main)
    assert described.blob[:1] == b"R"
    reference = decode_reference(described.blob[1:])
    assert (reference.qualname, reference.key) == ("of_main", described.key)
    assert wire_functions.fetch(described.blob[1:]) is of_main


def test_many_threads_use_one_book() -> None:
    book = FunctionBook()
    errors: list[BaseException] = []

    def use() -> None:
        try:
            for number in range(400):
                names: dict[str, Any] = {}
                exec(f"def f(x): return x + {number}", names)
                names["f"].__module__ = "__main__"
                assert book.function(names["f"]).blob
                assert book.function(of_this_module).blob
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
