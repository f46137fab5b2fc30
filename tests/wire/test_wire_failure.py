"""Exceptions across processes: what arrives can always be raised, and says where it comes from."""

from __future__ import annotations

import linecache
import multiprocessing.pool
import pickle
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from parpool import Pool, RemoteError, TaskTimeout
from parpool.wire.failure import pack_failure, read_failure, safe_repr, unpack_failure


class TwoArguments(Exception):
    def __init__(self, one: str, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Required(Exception):
    def __init__(self, *, key: int) -> None:
        super().__init__()
        self.key = key


class WithAttributes(Exception):
    pass


class BadStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class BadStrBase(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")


class BadReduce(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


class NotAnException(Exception):
    def __reduce__(self) -> Any:
        return str, ("a text",)


class NoSetting(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("not to be set")


class ExitsOnLoad(Exception):
    def __reduce__(self) -> Any:
        return sys.exit, (5,)


def caught(raiser: Callable[[], object]) -> BaseException:
    try:
        raiser()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def there_and_back(error: BaseException) -> BaseException:
    return unpack_failure(pack_failure(error), 3)


# In one process -----------------------------------------------------------------------------------


def test_type_args_and_attributes() -> None:
    error = WithAttributes("a", 1)
    error.more = [1, 2]  # type: ignore[attr-defined]
    back = there_and_back(error)
    assert type(back) is WithAttributes and back.args == ("a", 1)
    assert back.more == [1, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "name", "text"),
    [
        (TwoArguments("a", 1), "TwoArguments", "a and 1"),
        (Required(key=1), "Required", ""),
        (BadReduce("why"), "BadReduce", "why"),
        (NotAnException("why"), "NotAnException", "why"),
        (ExitsOnLoad("why"), "ExitsOnLoad", "why"),
        (BadStr("x"), "BadStr", None),
        (type("Local", (Exception,), {})("local"), "Local", "local"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_cannot_be_rebuilt(error: BaseException, name: str, text: str | None) -> None:
    back = there_and_back(error)
    if type(back) is type(error):  # it could
        assert back.args == error.args
        return
    assert isinstance(back, RemoteError)
    assert back.ename == name and back.engine_id == 3
    assert text is None or (back.evalue == text and str(back) == f"{name}({text})")
    assert name in back.traceback
    assert pickle.loads(pickle.dumps(back)).args == back.args


def test_an_attribute_that_cannot_be_pickled() -> None:
    error = WithAttributes("text")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    back = there_and_back(error)
    assert isinstance(back, RemoteError) and back.ename == "WithAttributes" and back.evalue == "text"


@pytest.mark.parametrize("error", [BadStr("x"), BadStrBase("x")])
def test_a_text_that_cannot_be_had(error: BaseException) -> None:
    packed = pack_failure(error, lambda error: 1 / 0)  # type: ignore[arg-type,return-value]
    back = unpack_failure(packed)
    assert isinstance(back, RemoteError)
    assert back.ename == type(error).__name__ and "not available" in back.evalue


def test_surrogates() -> None:
    back = there_and_back(ValueError("a\udcff\ud800b\0"))
    assert back.args == ("a\udcff\ud800b\0",)
    assert "a\\udcff\\ud800b" in str(back.__cause__)
    lone = there_and_back(type("Na\u1234me", (Exception,), {})("\ud800"))
    assert isinstance(lone, RemoteError) and lone.ename == "Na\u1234me" and lone.evalue == "\\ud800"


def test_lines_of_code_that_only_this_process_has(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def f():\n    return 1 / 0\n\ndef g():\n    try:\n        f()\n    except ZeroDivisionError as error:\n"
    names: dict[str, Any] = {}
    exec(compile(f"{source}        raise ValueError(f'of {{error}}') from error", "a cell", "exec"), names)
    exec(compile("def h():\n    raise KeyError(3)", "another", "exec"), names)
    packed = [pack_failure(caught_of(names[name])) for name in "gh"]
    lines = [*source.splitlines(keepends=True), "        raise what_is_known_here\n"]
    monkeypatch.setitem(linecache.cache, "a cell", (1, None, lines, "a cell"))
    first, second = (read_failure(data).traceback for data in packed)
    for line, code in ((6, "f()"), (2, "return 1 / 0"), (8, "raise what_is_known_here")):
        assert re.search(rf'^  File "a cell", line {line}, in [fg]\n    {re.escape(code)}\n', first, re.M)
    assert first.count("    function()\n") == 1, "what has its line keeps it"
    assert second.rstrip().endswith('File "another", line 2, in h\nKeyError: 3')
    if sys.version_info >= (3, 11):
        linecache.cache.pop("a cell")
        packed = [pack_failure(ExceptionGroup("several", [caught_of(names["g"]), caught_of(names["g"])]))]  # noqa: F821
        linecache.cache["a cell"] = (1, None, lines, "a cell")
        grouped = read_failure(packed[0]).traceback
        assert grouped.count("    |     f()\n") == 2


def caught_of(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError


def test_base_exceptions() -> None:
    for error in (SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(5)):
        back = there_and_back(error)
        assert type(back) is type(error) and back.args == error.args


def test_a_very_long_chain() -> None:
    error: BaseException = ValueError(0)
    for number in range(3000):
        following = ValueError(number)
        following.__context__ = error
        error = following
    back = there_and_back(error)
    assert back.args == (2999,)


def test_a_circle_of_causes() -> None:
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__cause__ = two, one
    assert there_and_back(one).args == (1,)


def test_a_class_that_forbids_to_set_attributes() -> None:
    back = there_and_back(NoSetting("n"))
    assert type(back) is NoSetting and "NoSetting: n" in str(back.__cause__)


def test_a_remote_error_says_what_it_was_at_first() -> None:
    error = RemoteError("KeyError", "'k'", "Traceback ...\nKeyError: 'k'\n", 7)
    failure = read_failure(pack_failure(error))
    assert (failure.ename, failure.evalue) == ("KeyError", "'k'")
    back = there_and_back(error)
    assert isinstance(back, RemoteError) and back.engine_id == 7 and back.args == error.args
    named = type("Named", (RemoteError,), {"__init__": lambda self: None})()
    assert read_failure(pack_failure(named)).ename == "Named"


def test_a_remote_error_of_a_pool_is_printed_with_the_remote_frames_once() -> None:
    back = there_and_back(caught(lambda: raise_two_arguments(0)))
    assert str(back) == "TwoArguments(a and 1)"
    printed = "".join(traceback.format_exception(type(back), back, None))
    assert printed.count('raise TwoArguments("a", 1)') == 1


def test_safe_repr() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    assert safe_repr([1]) == "[1]"
    assert safe_repr(Bad()) == "<Bad object whose repr raises KeyboardInterrupt>"
    assert len(safe_repr("x" * 1000, 50)) == 50 and safe_repr("x" * 1000, 50).endswith("...")


# From an engine --------------------------------------------------------------------------------------


def raise_deep(depth: int) -> None:
    if depth:
        raise_deep(depth - 1)
    raise ValueError("the deep line")


def raise_chained(kind: str) -> None:
    try:
        {}["first"]
    except KeyError as error:
        if kind == "from":
            raise TypeError("second") from error
        if kind == "none":
            raise TypeError("second") from None
        raise TypeError("second")  # noqa: B904


def raise_it(error: BaseException) -> None:
    raise error


def raise_group(x: object) -> None:
    raise ExceptionGroup("several", [ValueError("one"), ExceptionGroup("inner", [KeyError("two")])])  # noqa: F821


def raise_two_arguments(x: object) -> None:
    raise TwoArguments("a", 1)


def raise_bad_str(x: object) -> None:
    raise BadStr("x")


def raise_syntax_error(x: object) -> None:
    compile("a b", "there.py", "exec")


def raise_with_note(x: object) -> None:
    error = ValueError("noted")
    error.add_note("the note")
    raise error


def nothing() -> None:
    pass


@pytest.fixture(scope="module")
def pool() -> Any:
    with Pool(1) as pool:
        pool.map_async(abs, [-1]).get()  # it has its threads and sockets now: they are no test's leftover
        with pytest.raises(TaskTimeout):
            pool.apply(time.sleep, (5,), task_timeout=0.05)
        yield pool
    pool.join()


def remote_text(error: BaseException) -> str:
    cause = error.__cause__
    assert type(cause) is multiprocessing.pool.RemoteTraceback
    assert str(cause) == cause.tb
    return cause.tb


def test_the_cause_has_the_source_lines_and_no_frames_of_ours(pool: Any) -> None:
    text = remote_text(caught(lambda: pool.apply(raise_deep, (2,))))
    assert text.count("raise_deep(depth - 1)") == 2
    assert 'raise ValueError("the deep line")' in text
    assert text.rstrip('"\n').endswith("ValueError: the deep line")
    assert "parpool" not in re.sub(r'File ".*/tests/', 'File "', text).replace(__file__, "")
    assert text.startswith('\n"""\nTraceback (most recent call last):\n') and text.endswith('"""')


@pytest.mark.parametrize("how", ["map", "map_async", "imap", "starmap", "imap_unordered", "timed map"])
def test_in_each_kind_of_call(pool: Any, how: str) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "map": lambda: pool.map(raise_deep, [1]),
        "map_async": lambda: pool.map_async(raise_deep, [1]).get(),
        "imap": lambda: list(pool.imap(raise_deep, iter([1]))),
        "starmap": lambda: pool.starmap(raise_deep, [(1,)]),
        "imap_unordered": lambda: list(pool.imap_unordered(raise_deep, [1])),
        "timed map": lambda: pool.map(raise_deep, [1], task_timeout=60),
    }
    error = caught(calls[how])
    text = remote_text(error)
    assert 'raise ValueError("the deep line")' in text
    frames = re.findall(r'File "(.*?)", line', text)
    assert frames and set(frames) == {__file__}


def test_the_whole_chain_is_in_the_text(pool: Any) -> None:
    text = remote_text(caught(lambda: pool.apply(raise_chained, ("from",))))
    assert "KeyError: 'first'" in text and "direct cause of the following" in text and "TypeError: second" in text
    text = remote_text(caught(lambda: pool.apply(raise_chained, ("while",))))
    assert "KeyError: 'first'" in text and "During handling of the above" in text
    text = remote_text(caught(lambda: pool.apply(raise_chained, ("none",))))
    assert "KeyError" not in text


def test_it_prints_with_both_sides(pool: Any) -> None:
    error = caught(lambda: pool.apply(raise_deep, (0,)))
    printed = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert (
        printed.index("the deep line") < printed.index("direct cause") < printed.index("pool.apply(raise_deep, (0,))")
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are newer")
def test_exception_group(pool: Any) -> None:
    error = caught(lambda: pool.apply(raise_group, (0,)))
    assert type(error) is ExceptionGroup and len(error.exceptions) == 2  # noqa: F821
    text = remote_text(error)
    assert "ValueError: one" in text and "KeyError: 'two'" in text


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes are newer")
def test_notes(pool: Any) -> None:
    error = caught(lambda: pool.apply(raise_with_note, (0,)))
    assert error.__notes__ == ["the note"]  # type: ignore[attr-defined]
    assert "the note" in remote_text(error)


def test_odd_constructors_from_an_engine(pool: Any) -> None:
    error = caught(lambda: pool.apply(raise_two_arguments, (0,)))
    assert isinstance(error, RemoteError) and error.ename == "TwoArguments" and error.evalue == "a and 1"
    assert error.engine_id in pool.client.ids
    assert "raise TwoArguments" in error.traceback and "raise TwoArguments" in remote_text(error)


def test_a_bad_str_from_an_engine(pool: Any) -> None:
    error = caught(lambda: pool.apply(raise_bad_str, (0,)))
    assert isinstance(error, BadStr)
    assert "raise BadStr" in remote_text(error)


def test_syntax_errors_keep_their_place(pool: Any) -> None:
    error = caught(lambda: pool.apply(raise_syntax_error, (0,)))
    assert isinstance(error, SyntaxError) and error.filename == "there.py" and error.lineno == 1


def test_a_wrong_call_has_a_text_too(pool: Any) -> None:
    error = caught(lambda: pool.apply(nothing, (1, 2)))
    assert isinstance(error, TypeError)
    assert "TypeError: nothing() takes 0 positional arguments but 2 were given" in remote_text(error)


def test_an_argument_that_is_an_exception(pool: Any) -> None:
    for error in (ValueError("v"), OSError(2, "no", "file"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")):
        back = caught(lambda error=error: pool.apply(raise_it, (error,)))  # type: ignore[misc]
        assert type(back) is type(error) and back.args == error.args and str(back) == str(error)
