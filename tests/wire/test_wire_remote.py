"""What a view makes of exceptions: two natures where it can be, and never a break where it cannot."""

from __future__ import annotations

import abc
import asyncio
import copy
import dataclasses
import errno
import gc
import json
import multiprocessing.pool
import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from parpool.errors import CompositeError, EngineLost, RemoteError, TaskTimeout
from parpool.wire import remote
from parpool.wire.failure import pack_failure, unpack_failure
from parpool.wire.remote import TwoNatured, collect_exceptions, composite_error, remote_error

T = TypeVar("T")
REMOTE_TRACEBACK: Any = vars(multiprocessing.pool)["RemoteTraceback"]  # which the stubs do not know

groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are newer")


class Custom(Exception):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.more = [1, 2]


class Required(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason

    def __reduce__(self) -> Any:
        return make_required, (self.code, self.reason)


def make_required(code: int, reason: str) -> Required:
    return Required(code, reason=reason)


class Slotted(Exception):
    __slots__ = ("code", "unset")
    code: int

    def __reduce__(self) -> Any:
        return make_slotted, (type(self), self.code)


class SlottedTwice(Slotted):
    __slots__ = ("ename",)  # a name that RemoteError has, too
    ename: str


def make_slotted(kind: type[Slotted], code: int) -> Slotted:
    error = kind("slotted")
    error.code = code
    if isinstance(error, SlottedTwice):
        error.ename = "mine"
    return error


class OwnWays(Exception):
    """Equal to all of its kind, and therefore without a hash."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnWays)

    def __str__(self) -> str:
        return f"my text, {len(self.args)}"

    def __len__(self) -> int:
        return 0


class BadStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Registered(Exception):
    kinds: ClassVar[list[type]] = []

    def __init_subclass__(cls) -> None:
        Registered.kinds.append(cls)


class Refusing(Exception):
    def __init_subclass__(cls) -> None:
        raise SystemExit("no more of them")


class Refuse(type):
    def __new__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any]) -> Any:
        if Exception not in bases:
            raise KeyboardInterrupt
        return super().__new__(cls, name, bases, members)


class OddMeta(Exception, metaclass=Refuse):
    pass


class Abstract(Exception, metaclass=abc.ABCMeta):
    @abc.abstractmethod
    def what(self) -> str: ...


class Concrete(Abstract):
    def what(self) -> str:
        return "this"


class GenericError(Exception, Generic[T]):
    pass


class SameNames(Exception):
    """Calls its own attributes what RemoteError calls its own."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.evalue, self.method, self.engine_id = "mine", "POST", "V8"

    @property
    def traceback(self) -> str:
        return "mine"


class NoSetting(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("not to be set")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int

    def __reduce__(self) -> Any:
        return Frozen, (self.code,)


class Delegating(Exception):
    def __init__(self, inner: object) -> None:
        super().__init__(inner)
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class NoAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__"):
            raise RuntimeError(f"no {name}")
        return super().__getattribute__(name)


class SelfCopying(Exception):
    def __copy__(self) -> Any:
        return type(self)("copied by itself")

    def __deepcopy__(self, memo: Any) -> Any:
        return type(self)("copied by itself")


class OwnNew(Exception):
    made = 0

    def __new__(cls, text: str) -> OwnNew:
        OwnNew.made += 1
        return super().__new__(cls, text)


class Lying(Exception):
    def __reduce__(self) -> Any:
        return ValueError, ("it never was a Lying",)


class NotAnException(Exception):
    def __reduce__(self) -> Any:
        return str, ("a text",)


class Once(Exception):
    """Can be pickled once."""

    over = False

    def __reduce__(self) -> Any:
        if Once.over:
            raise RuntimeError("not twice")
        return Once, self.args


class WithOsError(KeyError, OSError):
    pass


class MyRemoteError(RemoteError):
    pass


class BaseOnly(BaseException):
    pass


def by_two(x: int) -> float:
    return x / 0


def caught(raiser: Callable[[], object]) -> BaseException:
    try:
        raiser()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raised(error: BaseException) -> BaseException:
    def raiser() -> None:
        raise error

    return caught(raiser)


def arrived(error: BaseException, engine_id: int = 3, method: str = "execute") -> Any:
    return remote_error(pack_failure(raised(error)), engine_id, method)


def args_of(error: BaseException) -> Any:
    return BaseException.__getattribute__(error, "args")


def pickled(error: Any) -> Any:
    return pickle.loads(pickle.dumps(error))


ways = pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled], ids=["copy", "deepcopy", "pickle"])


# Two natures ----------------------------------------------------------------------------------------


def test_S1_S4_either_name_catches_it() -> None:
    error = remote_error(pack_failure(caught(lambda: by_two(1))), 0, "execute")
    with pytest.raises(ZeroDivisionError):
        raise error
    with pytest.raises(RemoteError):
        raise error
    assert str(error).startswith("ZeroDivisionError(division by zero)\nTraceback (most recent call last):\n")
    assert "return x / 0" in str(error) and str(error).endswith("\nZeroDivisionError: division by zero")
    assert (error.ename, error.evalue, error.engine_id, error.method) == (
        "ZeroDivisionError",
        "division by zero",
        0,
        "execute",
    )


def test_S4_the_original_has_the_remote_traceback_as_its_cause() -> None:
    original: Any = remote_error(pack_failure(caught(lambda: by_two(1)))).original
    assert type(original) is ZeroDivisionError and original.args == ("division by zero",)
    assert type(original.__cause__) is REMOTE_TRACEBACK
    assert "return x / 0" in str(original.__cause__)


def test_printed_it_has_the_remote_frames_once() -> None:
    error = caught(lambda: by_two(1))
    error.__cause__ = raised(KeyError("before"))
    error = raised(remote_error(pack_failure(error), 0))
    printed = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert printed.count("return x / 0") == 1 and printed.count("KeyError: 'before'") == 1
    assert printed.count("ZeroDivisionError: ZeroDivisionError(division by zero)") == 1


def test_printed_a_syntax_error_has_its_place_and_the_remote_frames_once() -> None:
    error = raised(arrived(caught(lambda: compile("a b", "there.py", "exec"))))
    assert isinstance(error, SyntaxError) and (error.filename, error.lineno, error.text) == ("there.py", 1, "a b\n")
    printed = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert printed.count('compile("a b", "there.py", "exec")') == printed.count("def raiser") + 1 == 1
    assert 'File "there.py", line 1' in printed
    assert "there.py" in str(error) and "Traceback" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("z"),
        Exception("bare"),
        KeyError("k"),
        OSError(errno.ENOENT, "no such", "file"),
        FileNotFoundError(errno.ENOENT, "no such", "one", None, "two"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        UnicodeEncodeError("ascii", "\udcff", 0, 1, "bad"),
        ImportError("no module", name="m", path="p"),
        NameError("name 'a' is not defined"),
        json.JSONDecodeError("bad", "doc", 2),
        subprocess.CalledProcessError(3, ["cmd"], b"out"),
        TaskTimeout("too long"),
        Custom("a", 1),
        Required(5, reason="why"),
        make_slotted(Slotted, 7),
        make_slotted(SlottedTwice, 7),
        OwnWays(1, 2),
        BadStr("b"),
        Registered("r"),
        Refusing("r"),
        Concrete("c"),
        GenericError("g"),
        SameNames("s"),
        NoSetting("n"),
        Frozen(9),
        SelfCopying("s"),
        OwnNew("o"),
        WithOsError(1, "two"),
        ValueError("a\udcff\ud800\0"),
        Lying("l"),
        multiprocessing.TimeoutError("m"),
        MyRemoteError("E", "v"),
    ],
    ids=lambda error: type(error).__name__,
)
@ways
def test_two_natures(error: BaseException, again: Callable[[Any], Any]) -> None:
    first = arrived(error)
    for it in (first, again(first), again(again(first))):
        kind = type(it.original)
        assert isinstance(it, RemoteError) and isinstance(it, kind) and isinstance(it, TwoNatured)
        assert type(it) is type(first) and type(it).__name__ == kind.__name__ and type(it).__module__ == kind.__module__
        assert kind is ValueError if isinstance(error, Lying) else kind is type(error)
        assert it.args == it.original.args
        assert it.engine_id == 3 and it.method == "execute" and it.engine_info == {"engine_id": 3, "method": "execute"}
        assert it.traceback == first.traceback and str(it) == str(first) and it.ename in str(it)
        assert type(it.original.__cause__) is REMOTE_TRACEBACK
        with pytest.raises(kind):
            raise it
        assert "".join(traceback.format_exception(type(it), it, it.__traceback__))
        assert repr(it).endswith("on engine 3>")


def test_attributes_are_kept() -> None:
    assert arrived(OSError(errno.ENOENT, "no such", "file")).errno == errno.ENOENT
    assert arrived(OSError(errno.ENOENT, "no such", "file")).filename == "file"
    assert arrived(FileNotFoundError(2, "no such", "one", None, "two")).filename2 == "two"
    wrong = arrived(UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "bad"))
    assert (wrong.encoding, wrong.object, wrong.start, wrong.end, wrong.reason) == ("utf-8", b"a\xff", 1, 2, "bad")
    assert arrived(ImportError("no module", name="m", path="p")).name == "m"
    assert arrived(json.JSONDecodeError("bad", "doc", 2)).pos == 2
    assert arrived(subprocess.CalledProcessError(3, ["cmd"], b"out")).returncode == 3
    assert arrived(Custom()).more == [1, 2]
    assert (arrived(Required(5, reason="why")).code, arrived(Required(5, reason="why")).reason) == (5, "why")
    assert arrived(make_slotted(Slotted, 7)).code == 7 and not hasattr(arrived(make_slotted(Slotted, 7)), "unset")
    assert arrived(Concrete()).what() == "this"
    assert arrived(OwnWays(1)) == OwnWays() and arrived(OwnWays(1)).evalue == "my text, 1"
    assert arrived(Frozen(9)).code == 9
    assert pickled(arrived(OSError(errno.ENOENT, "no such", "file"))).errno == errno.ENOENT


def test_names_that_both_use_are_those_of_the_remote_error() -> None:
    for error in (arrived(SameNames("s")), pickled(arrived(SameNames("s")))):
        assert (error.ename, error.evalue, error.method, error.engine_id) == ("SameNames", "s", "execute", 3)
        assert "Traceback" in error.traceback
        original = error.original
        assert (original.evalue, original.method, original.engine_id, original.traceback) == (
            "mine",
            "POST",
            "V8",
            "mine",
        )


def test_what_was_added_later_travels_on() -> None:
    error = arrived(Custom("a"))
    error.note, error.more = "mine", [3]
    for other in (pickled(error), copy.copy(error), copy.deepcopy(error)):
        assert other.note == "mine" and other.more == [3] and other.original.more == [1, 2]
    plain = arrived(SystemExit(3))
    plain.note = "mine"
    assert pickled(plain).note == copy.copy(plain).note == "mine"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes are newer")
def test_notes_are_kept_and_added() -> None:
    noted = ValueError("v")
    noted.add_note("first")
    error = arrived(noted)
    error.add_note("second")
    assert pickled(error).__notes__ == error.__notes__ == ["first", "second"]
    assert error.original.__notes__ == ["first"]


def test_surrogates_are_in_the_args_and_not_in_the_texts() -> None:
    error = arrived(ValueError("a\udcff"))
    assert error.args == ("a\udcff",) and error.evalue == "a\\udcff"
    str(error).encode()


def test_one_class_for_each_original_class() -> None:
    one, two = arrived(Custom()), arrived(Custom())
    assert type(one) is type(two) is type(pickled(one)) and type(one) is not type(arrived(KeyError()))


def test_the_classes_do_not_outlive_the_exceptions() -> None:
    def make() -> None:
        local = type("Local", (Exception,), {})
        remote._class_for(local)

    gc.collect()
    before = len(remote._classes)
    make()
    gc.collect()
    assert len(remote._classes) == before


def test_an_id_that_is_used_again_is_another_class() -> None:
    class One(Exception):
        pass

    class Two(Exception):
        pass

    remote._classes[id(Two)] = stale = remote._class_for(One)
    fresh = remote._class_for(Two)
    assert fresh is not stale and issubclass(fresh, Two)


def test_the_original_class_hears_nothing_of_it() -> None:
    error = arrived(Registered("r"))
    assert isinstance(error, TwoNatured) and Registered.kinds == []


def test_the_class_makes_the_original_one() -> None:
    made = type(arrived(Custom()))("more", 2)
    assert type(made) is Custom and made.args == ("more", 2)


def test_a_constructor_that_is_not_called_again() -> None:
    data = pack_failure(OwnNew("o"))
    before = OwnNew.made
    assert isinstance(remote_error(data), OwnNew)
    assert OwnNew.made == before + 1  # by the pickle


# Groups ---------------------------------------------------------------------------------------------


@groups
def test_a_group_keeps_its_exceptions() -> None:
    group = ExceptionGroup("several", [ValueError(1), ExceptionGroup("inner", [KeyError(2)])])  # noqa: F821
    for error in (arrived(group), pickled(arrived(group)), copy.copy(arrived(group))):
        assert isinstance(error, ExceptionGroup) and isinstance(error, RemoteError)  # noqa: F821
        assert error.message == "several" and [type(each) for each in error.exceptions] == [
            ValueError,
            ExceptionGroup,  # noqa: F821
        ]
        match, rest = error.split(KeyError)
        assert match is not None and rest is not None
        assert repr(match.exceptions[0]) == "ExceptionGroup('inner', [KeyError(2)])"
        assert "inner" in error.traceback and error.ename == "ExceptionGroup"


@groups
def test_a_group_with_what_is_no_exception_is_plain() -> None:
    group = BaseExceptionGroup("several", [ValueError(1), KeyboardInterrupt()])  # noqa: F821
    error: Any = arrived(group)
    original = error.original
    assert type(error) is RemoteError and error.ename == "BaseExceptionGroup"
    assert [type(each) for each in original.exceptions] == [ValueError, KeyboardInterrupt]


def test_an_error_of_a_view_in_a_task() -> None:
    inner = arrived(OSError(errno.ENOENT, "no such"), 7, "apply")
    for outer in (arrived(inner), pickled(arrived(inner)), pickled(arrived(pickled(inner)))):
        assert type(outer) is type(inner) and outer.errno == errno.ENOENT
        assert (outer.ename, outer.evalue) == ("FileNotFoundError", "[Errno 2] no such")
        assert (
            outer.engine_id == 3
            and outer.original.engine_id == 7
            and type(outer.original.original) is type(inner.original)
        )


def test_a_plain_error_of_a_view_in_a_task() -> None:
    outer = arrived(arrived(SystemExit(4), 7))
    assert type(outer) is RemoteError and (outer.ename, outer.evalue) == ("SystemExit", "4")
    assert type(outer.original) is RemoteError and outer.original.engine_id == 7


def test_a_composite_error_in_a_task() -> None:
    inner = composite_error([arrived(KeyError("k"), 1), arrived(ValueError("v"), 2)], "apply", ["value"])
    for outer in (arrived(inner), pickled(arrived(inner)), copy.deepcopy(arrived(inner))):
        assert isinstance(outer, CompositeError) and isinstance(outer, RemoteError)
        assert [each[0] for each in outer.elist] == ["KeyError", "ValueError"] and outer.results == ["value"]
        assert isinstance(outer.exceptions[0], KeyError)
        with pytest.raises(ValueError):
            outer.raise_exception(1)
        assert outer.render_tracebacks() == outer.render_traceback() == outer.traceback.splitlines()


# One nature -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseOnly("b"), asyncio.CancelledError(), StopIteration(5)]
    + [StopAsyncIteration(5), OddMeta("o"), NoAttributes("n"), RemoteError("ValueError", "v")],
    ids=lambda error: type(error).__name__,
)
@ways
def test_one_nature(error: BaseException, again: Callable[[Any], Any]) -> None:
    first = arrived(error)
    for it in (first, again(first)):
        assert type(it) is RemoteError
        assert it.ename == (error.ename if isinstance(error, RemoteError) else type(error).__name__)
        assert type(it.original) is type(error) and args_of(it.original) == args_of(error)
        assert it.engine_id == 3 and it.method == "execute"
        assert str(it) == str(first) and "Traceback" in str(it)


def test_where_the_original_cannot_be_opened() -> None:
    local = type("Local", (ValueError,), {})("local")
    for error in (local, NotAnException("local"), NotAnException(lambda: None)):
        it = arrived(error)
        assert type(it) is RemoteError and it.ename == type(error).__name__ and it.original is None
        assert type(pickled(it)) is RemoteError and str(pickled(it)) == str(it)
    it = remote_error(b"nonsense", 2)
    assert type(it) is RemoteError and "cannot be read" in it.evalue and it.engine_id == 2


def test_an_original_that_cannot_be_pickled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    error = arrived(Once("o"))
    monkeypatch.setattr(Once, "over", True)
    assert isinstance(pickled(error), Once)


def test_a_class_that_is_not_known_where_it_goes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    error = arrived(Custom("c"))
    data = pickle.dumps(error)
    with monkeypatch.context() as away:
        away.delattr(sys.modules[__name__], "Custom")
        there = pickle.loads(data)
        assert type(there) is RemoteError and there.ename == "Custom" and str(there) == str(error)
        data = pickle.dumps(there)
    assert isinstance(pickle.loads(data), Custom)


def test_attributes_that_ask_another_object() -> None:
    error = arrived(Delegating({"a": 1}))
    assert isinstance(error, Delegating) and list(error.items()) == [("a", 1)]
    assert isinstance(pickled(error), Delegating)


def test_a_pools_exception_is_as_before() -> None:
    data = pack_failure(caught(lambda: by_two(1)))
    error = unpack_failure(data, 3)
    assert type(error) is ZeroDivisionError and type(error.__cause__) is REMOTE_TRACEBACK
    proxy = unpack_failure(pack_failure(NotAnException("n")), 3)
    assert type(proxy) is RemoteError and str(proxy) == "NotAnException(n)"
    assert type(unpack_failure(pack_failure(NoSetting("n")), 3)) is NoSetting


# Several targets ------------------------------------------------------------------------------------


def test_S15_results_without_an_exception_are_as_they_are() -> None:
    for results in ([], [1, None, ValueError, "Error"]):
        assert collect_exceptions(results, "execute") is results


def test_S15_exceptions_become_one() -> None:
    failed = [arrived(KeyError("k"), 1), arrived(ValueError("v"), 2)]
    results = ["value", failed[0], None, failed[1]]
    with pytest.raises(CompositeError) as info:
        collect_exceptions(results, "execute")
    error = info.value
    assert str(error) == (
        "one or more exceptions from call to method: execute\n[1:execute]: KeyError: 'k'\n[2:execute]: ValueError: v"
    )
    assert error.exceptions == tuple(failed) and error.results == results
    assert error.elist[1] == ("ValueError", "v", failed[1].traceback, {"engine_id": 2, "method": "execute"})
    with pytest.raises(KeyError) as first:
        error.raise_exception()
    assert first.value is failed[0]
    copied = pickled(error)
    assert isinstance(copied.exceptions[1], ValueError) and copied.results[3] is copied.exceptions[1]


def test_S15_the_method_is_that_of_the_exception_or_else_that_of_the_call() -> None:
    error = composite_error([arrived(KeyError("k"), 1, ""), arrived(KeyError("k"), 2, "push")], "execute")
    assert [info["method"] for *_, info in error.elist] == ["execute", "push"]


def test_S15_other_exceptions_are_members_too() -> None:
    lost = EngineLost("engine 4 died")
    lost.engine_id = 4  # type: ignore[attr-defined]
    pools = unpack_failure(pack_failure(caught(lambda: by_two(1))))
    said = raised(ValueError('he said "no"'))
    proxy = unpack_failure(pack_failure(NotAnException("n")), 5)
    error = composite_error([lost, pools, unpack_failure(pack_failure(said)), proxy, KeyboardInterrupt()], "apply")
    assert error.exceptions[:2] == (lost, pools)
    assert str(error).splitlines()[1:] == [
        "[4:apply]: EngineLost: engine 4 died",
        "[?:apply]: ZeroDivisionError: division by zero",
        '[?:apply]: ValueError: he said "no"',
        "[5:apply]: NotAnException: n",
        "[?:apply]: KeyboardInterrupt",
    ]
    assert "return x / 0" in error.elist[1][2]
    assert error.elist[2][2].startswith("Traceback") and error.elist[2][2].endswith('he said "no"\n')
    last: Any = error.exceptions[4]
    assert type(last) is RemoteError and type(last.original) is KeyboardInterrupt


def test_S15_odd_exceptions_are_members_too() -> None:
    error = composite_error([BadStr("b"), OwnWays(1), arrived(BadStr("b")), arrived(OwnWays(1))], "apply")
    assert [each[0] for each in error.elist] == ["BadStr", "OwnWays", "BadStr", "OwnWays"]
    assert "not available" in str(error)
    assert "".join(traceback.format_exception(type(error), error, None))


def test_S15_a_value_that_claims_to_be_an_exception_is_a_value() -> None:
    class Claims:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            return ValueError

    results = [Claims()]
    assert collect_exceptions(results) is results


@groups
def test_S7_except_star_finds_the_original_classes() -> None:
    failed = [arrived(KeyError("k"), 1, "apply"), arrived(OSError(2, "no"), 2, "apply")]
    error: Any = composite_error(failed, "apply", [1, 2])
    match, rest = error.split(OSError)
    assert type(match) is CompositeError and match.exceptions[0].errno == 2 and match.results == [1, 2]
    assert type(rest) is CompositeError and re.search(r"^\[1:apply\]: KeyError", str(rest), re.M)
    nested: Any = composite_error([arrived(ExceptionGroup("g", [KeyError(1), ValueError(2)]), 5)], "apply")  # noqa: F821
    match, rest = nested.split(KeyError)
    assert type(match) is CompositeError and "ExceptionGroup: g" in str(match)


def test_S14_ipython_shows_the_remote_traceback(tmp_path: Path) -> None:
    module = pytest.importorskip("IPython.core.interactiveshell")
    quiet = pytest.importorskip("traitlets.config").Config({"HistoryManager": {"enabled": False}})
    shell = module.InteractiveShell(config=quiet, ipython_dir=str(tmp_path))
    shown: list[Any] = []
    shell._showtraceback = lambda kind, value, lines: shown.append(lines)
    shell.user_ns["error"] = arrived(KeyError("k"))
    shell.run_cell("raise error")
    assert shown[-1] == shell.user_ns["error"].render_traceback()
