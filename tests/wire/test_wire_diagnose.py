"""The error for what cannot travel names it, and the way to it."""

from __future__ import annotations

import functools
import pickle
import threading
from typing import Any

import pytest

from parpool import SerializationError
from parpool.wire.diagnose import explain, two_natures
from parpool.wire.functions import FunctionBook


class Holder:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def method(self) -> None:
        pass


class Slotted:
    __slots__ = ("lock",)


class Refuses:
    def __reduce__(self) -> Any:
        raise NotImplementedError("not me")

    def __repr__(self) -> str:
        return "<Refuses>"


class RefusesAndRaises:
    def __reduce__(self) -> Any:
        raise KeyError("reduce")

    def __repr__(self) -> str:
        raise RuntimeError("repr")


def refusal(value: object) -> SerializationError:
    with pytest.raises(SerializationError) as caught:
        FunctionBook().dumps(value)
    return caught.value


LOCK = threading.Lock()


def with_cell() -> Any:
    lock = threading.Lock()
    return lambda: lock


def with_default() -> Any:
    def f(x: Any = LOCK) -> Any:
        return x

    return f


PATHS = {
    "nothing around it": (LOCK, ""),
    "item": ([1, 2, 3, LOCK], "[3]"),
    "tuple": ((1, (2, LOCK)), "[1][1]"),
    "dict": ({"a": {"b": LOCK}}, "['a']['b']"),
    "attribute": ([0, 0, 0, Holder(lock=LOCK)], "[3].lock"),
    "attribute of attribute": (Holder(a=Holder(b=[LOCK])), "a.b[0]"),
    "cell": (with_cell(), "__closure__['lock']"),
    "cell of an argument": ([with_cell()], "[0].__closure__['lock']"),
    "default": (with_default(), "__defaults__[0]"),
    "bound method": (Holder(lock=LOCK).method, "__self__.lock"),
    "partial's argument": (functools.partial(max, 1, LOCK), "args[1]"),
    "partial's keyword": (functools.partial(max, key=LOCK), "keywords['key']"),
    "partial's function": (functools.partial(with_cell()), "func.__closure__['lock']"),
}


@pytest.mark.parametrize("case", PATHS)
def test_the_path(case: str) -> None:
    value, path = PATHS[case]
    error = refusal(value)
    assert f"of type lock{' at ' + path if path else ''} to another process" in str(error)
    assert "<unlocked _thread.lock" in str(error)
    assert isinstance(error, TypeError)
    assert isinstance(error.__cause__, TypeError) and not isinstance(error.__cause__, SerializationError)


def test_the_first_of_several() -> None:
    assert "[1].a " in str(refusal([1, Holder(a=LOCK), LOCK]))


def test_it_is_of_the_refusal_s_own_class_too() -> None:
    assert isinstance(refusal([Refuses()]), NotImplementedError)
    assert "<Refuses> of type Refuses at [0]" in str(refusal([Refuses()]))
    assert "not me" in str(refusal(Refuses()))


def test_an_object_without_repr() -> None:
    error = refusal({"k": RefusesAndRaises()})
    assert isinstance(error, KeyError)
    assert "['k']" in str(error) and "repr raises RuntimeError" in str(error)


def test_slots() -> None:
    slotted = Slotted()
    slotted.lock = LOCK  # type: ignore[attr-defined]
    assert "Slotted" in str(refusal([slotted]))


def test_a_circle() -> None:
    circle: list[Any] = []
    circle.append(circle)
    circle.append(LOCK)
    assert "[1]" in str(refusal(circle))


def test_very_deep() -> None:
    deep: Any = LOCK
    for _ in range(50):
        deep = [deep]
    assert "[0][0][0]" in str(refusal(deep))


def test_far_too_deep() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    error = refusal(deep)
    assert isinstance(error, RecursionError)
    assert len(str(error)) < 1000
    while deep != 1:  # taken apart here: the deallocation of so deep a list must not recurse either
        deep = deep[0]


def test_the_text_is_bounded() -> None:
    assert len(str(refusal({"x" * 10_000: [LOCK], "y": ["z" * 10_000]}))) < 1000


def test_a_generator() -> None:
    assert "generator" in str(refusal(((i for i in []),)))


# two_natures ---------------------------------------------------------------------------------------


class Awkward(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one, two)


class Final(Exception):
    def __init_subclass__(cls) -> None:
        raise TypeError("no subclasses")


def test_two_natures() -> None:
    both = two_natures(SerializationError, Awkward(1, 2), "text")
    assert isinstance(both, SerializationError) and isinstance(both, Awkward)
    assert str(both) == "text" and type(both).__name__ == "SerializationError"
    assert isinstance(both.__cause__, Awkward)


def test_two_natures_where_there_can_be_only_one() -> None:
    for original in (Final(), KeyboardInterrupt()):
        error = two_natures(SerializationError, original, "text")
        assert isinstance(error, SerializationError) and error.__cause__ is original
        assert str(error) == "text"


def test_two_natures_of_one() -> None:
    original = SerializationError("mine")
    assert two_natures(SerializationError, original, "text") is original


def test_it_can_be_pickled() -> None:
    error = refusal([LOCK])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is SerializationError and str(again) == str(error)


def test_explain_keeps_the_value_alone() -> None:
    items = [1, LOCK]
    explain(items, TypeError("x"))
    assert items == [1, LOCK]
