"""The names on an engine: code that travelled is bound there, the user's data stays."""

from __future__ import annotations

import pickle
import string
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from parpool.engine.namespace import Missing, Namespace
from parpool.wire import byvalue, functions
from parpool.wire.failure import pack_failure
from parpool.wire.functions import FunctionBook, decode_reference


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    """A namespace makes this process an engine's; afterwards it is none again."""
    before = functions.fetch_hook, byvalue.bind
    yield
    functions.fetch_hook, byvalue.bind = before


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A ``__main__`` to define functions in, as a client does."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module.__dict__


def travelled(namespace: Namespace, book: FunctionBook, function: Any) -> Any:
    """The function as the engine has it, which asks for whatever it lacks."""
    described = book.function(function)
    namespace.learn({described.key: described.blob}, [])
    while True:
        try:
            return namespace.function(described.key)
        except Missing as missing:
            namespace.drop(missing.key)
            namespace.learn({missing.key: book.by_value(missing.key)}, [])


def test_the_same_code_is_the_engine_s_own(main: dict[str, Any]) -> None:
    source = "def f(x):\n    return x + offset\n"
    exec(source, main)
    there: dict[str, Any] = {"__name__": "__main__", "offset": 5}
    exec(source, there)
    function = travelled(Namespace(there), FunctionBook(), main["f"])
    assert function is there["f"] and function(1) == 6


def test_other_code_is_rebuilt_over_the_engine_s_names(main: dict[str, Any]) -> None:
    exec("def f():\n    global a\n    a += 1\n    return a\n", main)
    there: dict[str, Any] = {"a": 10}
    function = travelled(Namespace(there), FunctionBook(), main["f"])
    assert (function(), function(), there["a"]) == (11, 12, 12)
    assert function.__globals__ is there
    assert "a" not in main


def test_newer_code_replaces_older_and_data_stays(main: dict[str, Any]) -> None:
    namespace, book = Namespace(there := {"data": 1, "both": "the user's"}), FunctionBook()
    exec("def both(): pass\ndef g(): return 1\ndef f(): return g(), both\n", main)
    assert travelled(namespace, book, main["f"])() == (1, "the user's")
    exec("def g(): return 2\n", main)
    assert travelled(namespace, book, main["f"])() == (2, "the user's")
    assert there["data"] == 1


def test_modules_come_along(main: dict[str, Any]) -> None:
    exec("import string as s\ndef f(): return s.digits\n", main)
    namespace = Namespace({})
    assert travelled(namespace, FunctionBook(), main["f"])() == string.digits
    assert namespace.names["s"] is string


def test_what_is_not_there_is_missing(main: dict[str, Any]) -> None:
    namespace = Namespace({})
    with pytest.raises(Missing) as caught:
        namespace.function(b"key")
    assert caught.value.key == b"key"
    exec("def f(): return 1\n", main)
    packed = FunctionBook().refer(main["f"])
    with pytest.raises(Missing) as caught:
        pickle.loads(pickle.dumps(Fetched(packed)))
    assert caught.value.key == decode_reference(packed).key


class Fetched:
    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    def __reduce__(self) -> Any:
        return functions.fetch, (self.packed,)


def test_an_error_in_the_place_of_code() -> None:
    namespace = Namespace({})
    namespace.learn({b"key": b"E" + pack_failure(ValueError("why"))}, [])
    with pytest.raises(ValueError, match="why"):
        namespace.function(b"key")
    with pytest.raises(Missing):  # the next time it is asked for again
        namespace.function(b"key")


def test_forget() -> None:
    namespace, book = Namespace({}), FunctionBook()
    described = book.function(len)
    namespace.learn({described.key: described.blob}, [])
    assert namespace.function(described.key) is len
    namespace.learn({}, [described.key, b"never known"])
    with pytest.raises(Missing):
        namespace.function(described.key)


def test_a_function_is_made_once() -> None:
    namespace, book = Namespace({}), FunctionBook()
    described = book.function(lambda: 1)
    namespace.learn({described.key: described.blob}, [])
    assert namespace.function(described.key) is namespace.function(described.key)


def test_closures_of_importable_modules_keep_their_module() -> None:
    def closure() -> Any:
        return string, hooks

    function = travelled(Namespace({}), FunctionBook(), closure)
    assert function.__globals__ is globals()
