"""References: what they become on an engine, and what cannot be done with them anywhere else."""

from __future__ import annotations

import copy
import gc
import math
import operator
import pickle
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import dill
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parpool.wire import reference
from parpool.wire.functions import FunctionBook
from parpool.wire.reference import KEPT, Reference, compiled, may_refer

picklers = pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps, dill.dumps, FunctionBook().dumps])


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The namespace of an engine: what this process opens from now on is resolved there."""
    namespace: dict[str, Any] = {}
    monkeypatch.setattr(reference, "resolve_hook", lambda expression: eval(compiled(expression), namespace))
    yield namespace


# The rows of the feature list ------------------------------------------------------------------------


@picklers
def test_N1_a_reference_becomes_the_object_itself_on_an_engine(
    engine: dict[str, Any], dumps: Callable[[Any], bytes]
) -> None:
    engine["a"] = held = object()
    assert pickle.loads(dumps(Reference("a"))) is held


def test_N2_it_may_be_an_argument_by_place_or_by_name(engine: dict[str, Any]) -> None:
    engine["a"] = held = object()
    assert pickle.loads(pickle.dumps(((1, Reference("a")), {"key": Reference("a")}))) == ((1, held), {"key": held})


def test_I2_held_and_sent_data_meet_in_one_call(engine: dict[str, Any]) -> None:
    engine["A"] = numpy.eye(2) * 3
    args = pickle.loads(FunctionBook().dumps((Reference("A"), numpy.ones(2))))
    assert args[0] is engine["A"]
    assert numpy.dot(*args).tolist() == [3.0, 3.0]


def test_N3_each_call_looks_it_up_anew(engine: dict[str, Any]) -> None:
    sent = pickle.dumps(Reference("a"))
    for value in (10, 5):
        engine["a"] = value
        assert pickle.loads(sent) * 2 == value * 2


def test_N4_a_call_of_a_function_here_says_what_to_do() -> None:
    def double(x: Any) -> Any:
        return x * 2

    with pytest.raises(TypeError) as caught:
        double(Reference("a"))
    assert str(caught.value) == (
        "cannot compute with <Reference 'a'> here: it stands for an object on the engines. "
        "Give it to a function that runs there: view.apply(f, Reference('a'))"
    )


@pytest.mark.parametrize(
    ("use", "action"),
    [
        (lambda r: r(), "call"),
        (lambda r: r(1, key=2), "call"),
        (lambda r: r[3], "get an item of"),
        (lambda r: r[1:2], "get an item of"),
        (lambda r: operator.setitem(r, 0, 1), "set an item of"),
        (lambda r: operator.delitem(r, 0), "delete an item of"),
        (lambda r: r.shape, "get the attribute 'shape' of"),
        (lambda r: setattr(r, "shape", 1), "set an attribute of"),
        (lambda r: setattr(r, "expression", "b"), "set an attribute of"),
        (lambda r: delattr(r, "expression"), "delete an attribute of"),
        (iter, "iterate over"),
        (lambda r: [*r], "iterate over"),
        (reversed, "iterate over"),
        (len, "tell the length of"),
        (lambda r: 1 in r, "look for items in"),
        (bool, "tell the truth value of"),
        (lambda r: r or 1, "tell the truth value of"),
        (int, "make an integer of"),
        (range, "make an integer of"),
        (lambda r: [1, 2][r], "make an integer of"),
        (float, "make a float of"),
        (math.sqrt, "make a float of"),
        (complex, "make a complex number of"),
        (bytes, "make bytes of"),
        (numpy.array, "make an array of"),
        (numpy.sin, "make an array of"),
        (numpy.sum, "make an array of"),
        (lambda r: numpy.array([1, r]), "make an array of"),
        (lambda r: numpy.array([r, r], dtype=object), "make an array of"),
        (lambda r: numpy.asarray(r, float), "make an array of"),
        (lambda r: numpy.dot(r, numpy.eye(2)), "make an array of"),
        (lambda r: numpy.arange(2) + r, "make an array of"),
        (lambda r: numpy.arange(2) == r, "make an array of"),
        (lambda r: r + numpy.arange(2), "compute with"),
        (lambda r: r < 1, "compare"),
        (lambda r: 1 <= r, "compare"),
        (lambda r: sorted([r, r]), "compare"),
        (lambda r: max(r, 1), "compare"),
        (round, "round"),
        (math.floor, "round"),
        (math.ceil, "round"),
        (math.trunc, "round"),
        (operator.neg, "compute with"),
        (operator.pos, "compute with"),
        (operator.invert, "compute with"),
        (abs, "compute with"),
        (lambda r: pow(r, 2, 3), "compute with"),
        (lambda r: sum([r, r]), "compute with"),
        (lambda r: operator.iadd(r, 1), "compute with"),
    ],
)
def test_N4_what_needs_the_object_is_refused_here(use: Callable[[Reference], object], action: str) -> None:
    with pytest.raises(TypeError) as caught:
        use(Reference("a"))
    assert str(caught.value).startswith(f"cannot {action} <Reference 'a'> here: it stands for an object on the engines")


@pytest.mark.parametrize(
    "compute",
    [
        operator.add,
        operator.sub,
        operator.mul,
        operator.matmul,
        operator.truediv,
        operator.floordiv,
        operator.mod,
        divmod,
        pow,
        operator.lshift,
        operator.rshift,
        operator.and_,
        operator.or_,
        operator.xor,
    ],
)
def test_N4_nothing_can_be_computed_with_it_from_either_side(compute: Callable[[Any, Any], Any]) -> None:
    for pair in ((Reference("a"), 3), (3, Reference("a")), (Reference("a"), Reference("b"))):
        with pytest.raises(TypeError, match="cannot compute with <Reference 'a'> here"):
            compute(*pair)


def test_N4_what_probes_for_attributes_finds_none() -> None:
    assert not hasattr(Reference("a"), "shape")
    assert getattr(Reference("a"), "__wrapped__", None) is None
    with pytest.raises(AttributeError, match="stands for an object on the engines"):
        Reference("a").shape  # noqa: B018  (the access is the test)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("x", [1, 2, 3, 4]),
        ("x[3]", 4),
        (" x[1:] ", [2, 3, 4]),
        ("len(x)", 4),
        ("thing.attr.real", 7),
        ("[y * thing.attr for y in x]", [7, 14, 21, 28]),
        ("{'x': x}['x'][0] + 1", 2),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}", "summer"),
    ],
)
def test_N5_an_expression_anywhere_in_containers(engine: dict[str, Any], expression: str, value: Any) -> None:
    class Thing:
        attr = 7

    engine.update(x=[1, 2, 3, 4], thing=Thing, été="summer")
    r = Reference(expression)
    sent = pickle.dumps(([r, {"key": (r, {"deep": [r]})}], {"kw": r}))
    assert pickle.loads(sent) == ([value, {"key": (value, {"deep": [value]})}], {"kw": value})


def test_N5_the_object_is_the_one_that_is_there_and_no_copy(engine: dict[str, Any]) -> None:
    engine["x"] = []
    first, (second,) = pickle.loads(pickle.dumps((Reference("x"), [Reference("x")])))
    assert first is second is engine["x"]


# What a Reference is ---------------------------------------------------------------------------------


@picklers
def test_without_an_engine_it_unpickles_as_a_reference(dumps: Callable[[Any], bytes]) -> None:
    opened = pickle.loads(dumps({"key": [Reference("a.b")]}))
    assert opened == {"key": [Reference("a.b")]}


def test_every_protocol_of_pickle_carries_it(engine: dict[str, Any]) -> None:
    engine["a"] = held = object()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        sent = pickle.dumps([Reference("a")], protocol)
        assert pickle.loads(sent) == [held]
        assert may_refer(sent)
        assert not may_refer(pickle.dumps([held.__class__], protocol))


def test_it_can_go_out_again_by_itself(engine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # An engine that is a client of others makes references of its own.
    sent = pickle.dumps(Reference("a"))
    monkeypatch.setattr(reference, "resolve_hook", None)
    assert pickle.loads(sent) == Reference("a")


def test_an_expression_that_fails_on_the_engine_says_so_there(engine: dict[str, Any]) -> None:
    with pytest.raises(NameError, match="name 'missing' is not defined") as caught:
        pickle.loads(pickle.dumps([Reference("missing.attr")]))
    assert traceback.extract_tb(caught.tb)[-1].filename == "<Reference 'missing.attr'>"


def test_copies_stay_references_also_on_an_engine(engine: dict[str, Any]) -> None:
    engine["a"] = 5
    r = Reference("a")
    assert copy.copy(r) is r
    assert copy.deepcopy([r, {"key": r}]) == [r, {"key": r}]


def test_equal_by_expression() -> None:
    assert Reference("a") == Reference(" a ")
    assert Reference("a") != Reference("b")
    assert Reference("a") != "a"
    assert {Reference("a"), Reference("a"), Reference("b")} == {Reference("b"), Reference("a")}
    assert {"a": 1, Reference("a"): 2}[Reference("a")] == 2
    assert Reference("a") in [1, Reference("a")]


def test_it_shows_its_expression() -> None:
    assert repr(Reference("a['b']")) == """<Reference "a['b']">"""
    assert f"{Reference('a')}" == "<Reference 'a'>"
    assert Reference(" a.b ").expression == "a.b"


def test_weak_references_to_it_can_be_made() -> None:
    r = Reference("a")
    weak = weakref.ref(r)
    assert weak() is r
    del r
    gc.collect()
    assert weak() is None


@pytest.mark.parametrize("wrong", [None, 5, b"a", ["a"], Reference("a"), len])
def test_an_expression_is_a_str(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"needs the name of an object as a str, not {type(wrong).__qualname__}"):
        Reference(wrong)


@pytest.mark.parametrize(
    "wrong", ["", " ", "a b", "a = 1", "a; b", "a\nb", "import os", "a[", "\0", "\ud800", "(yield)", "-" * 99_999 + "1"]
)
def test_what_is_no_expression_is_refused_when_it_is_made(wrong: str) -> None:
    with pytest.raises(SyntaxError, match="a Reference needs a name or another Python expression, not ") as caught:
        Reference(wrong)
    assert (repr(wrong.strip()) if len(wrong) < 20 else "'-------") in str(caught.value)
    assert len(str(caught.value)) < 250


@given(st.text(alphabet="ab.[]()1 '=:", max_size=12))
def test_it_takes_what_eval_takes(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # '1()' and the like
        try:
            compile(text.strip(), "", "eval")
        except SyntaxError:
            with pytest.raises(SyntaxError):
                Reference(text)
        else:
            assert pickle.loads(pickle.dumps(Reference(text))) == Reference(text)


def test_an_expression_is_compiled_once_and_few_are_kept() -> None:
    compiled.cache_clear()
    sent = pickle.dumps(Reference("a + a"))
    for _ in range(3):
        pickle.loads(sent)
    assert compiled.cache_info().misses == 1
    for number in range(KEPT + 10):
        Reference(f"a + {number}")
    assert compiled.cache_info().currsize == KEPT
