"""The schema between clients and controllers: what is encoded is decoded, and nothing else is."""

from __future__ import annotations

import os
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from parpool.core.parts import WHOLE_BITS
from parpool.wire import requests
from parpool.wire.messages import PROTOCOL, Hello, MalformedFrame, encode, from_engine
from parpool.wire.requests import (
    CLIENTS,
    SHIFT,
    Abort,
    Answer,
    Ask,
    ClientHello,
    Delivery,
    FromClient,
    Order,
    Result,
    Stamp,
    Submit,
    ToClient,
    Who,
    from_client,
    to_client,
    to_stamp,
)


def kinds(union: Any) -> list[type]:
    return list(union.__args__)


@pytest.mark.parametrize(("union", "decode"), [(FromClient, from_client), (ToClient, to_client)])
def test_every_message_there_and_back(union: Any, decode: Any) -> None:
    numbers = st.integers(-(2**63), 2**63 - 1)
    plain = st.none() | st.booleans() | numbers | st.text(max_size=5) | st.binary(max_size=5)

    @settings(max_examples=20)
    @given(st.data())
    def there_and_back(data: st.DataObject) -> None:
        with_simple = {int: numbers, Any: plain, float: st.floats(allow_nan=False)}
        for kind in kinds(union):
            fields = {
                field.name: data.draw(_of(field.type, with_simple, plain)) for field in msgspec.structs.fields(kind)
            }
            message = kind(**fields)
            assert decode(encode(message)) == message

    there_and_back()


def _of(kind: Any, simple: dict[Any, Any], plain: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    if kind in simple:
        found: st.SearchStrategy[Any] = simple[kind]
        return found
    origin, args = getattr(kind, "__origin__", None), list(getattr(kind, "__args__", ()))
    if origin is list:
        return st.lists(_of(args[0], simple, plain), max_size=2)
    if origin is dict:
        return st.dictionaries(_of(args[0], simple, plain), _of(args[1], simple, plain), max_size=2)
    if origin is tuple:
        return st.tuples(*(_of(each, simple, plain) for each in args))
    if args:
        return st.one_of(*(_of(each, simple, plain) for each in args))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = {field.name: _of(field.type, simple, plain) for field in msgspec.structs.fields(kind)}
        return st.builds(kind, **fields)
    return st.from_type(kind)


def test_every_kind_has_a_tag_of_its_own() -> None:
    tags = [kind.__struct_config__.tag for kind in (*kinds(FromClient), *kinds(ToClient))]  # type: ignore[attr-defined]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("message", [Who(), Delivery(1, []), Answer(1, "", None)])
def test_what_a_controller_says_a_client_may_not(message: Any) -> None:
    with pytest.raises(MalformedFrame):
        from_client(encode(message))


@pytest.mark.parametrize("message", [Abort([1]), Submit([]), Ask(1, "x", {})])
def test_what_a_client_says_a_controller_may_not(message: Any) -> None:
    with pytest.raises(MalformedFrame):
        to_client(encode(message))


def test_a_message_of_an_engine_is_not_a_client_s() -> None:
    hello = Hello(PROTOCOL, "0", 1)
    with pytest.raises(MalformedFrame):
        from_client(encode(hello))
    with pytest.raises(MalformedFrame):
        from_engine(encode(ClientHello(PROTOCOL, "0", "n", 0, "", 0, 1, None, {})))


def test_tuples_are_encoded_as_their_structs() -> None:
    """As the hot paths do it."""
    order = (1 << 40, b"key", b"payload", 3, 0, 5, 5, 0, -1)
    assert from_client(encode(Submit([order]))) == Submit([Order(*order)])  # type: ignore[list-item]
    result = (1 << 40, 0, 0, 1.0, 2.0, b"value", 0, -1, None)
    assert to_client(encode(Delivery(3, [result]))) == Delivery(3, [Result(*result)])  # type: ignore[list-item]


# Other versions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [[], ["name"], [{"all": "else"}, 7], [None] * 20])
def test_the_hello_of_another_version(rest: list[Any]) -> None:
    hello = from_client(msgspec.msgpack.encode([30, 77, "99.0", *rest]))
    assert isinstance(hello, ClientHello) and (hello.protocol, hello.version) == (77, "99.0")


@pytest.mark.parametrize(
    "header",
    [[30, PROTOCOL, "0.1"], [30, "77", "99.0"], [30, 77], [30, 77, 99], [31, 77, "99.0"], [], [30], {"30": 77}],
)
def test_what_is_no_hello_of_another_version(header: Any) -> None:
    with pytest.raises(MalformedFrame):
        from_client(msgspec.msgpack.encode(header))


# Junk ------------------------------------------------------------------------------------------------------------

JUNK = [
    b"",
    b"\xc1",
    b"\0" * 50,
    b"\x91" * 100_000,
    b"\x93\x1e" + b"\x91" * 200_000,
    b"\xdd\xff\xff\xff\xff",
    b"\xc6" * 9,
]


@pytest.mark.parametrize("decode", [from_client, to_client, to_stamp])
def test_junk(decode: Any) -> None:
    for junk in (*JUNK, os.urandom(300)):
        with pytest.raises(MalformedFrame):
            decode(junk)


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_random_bytes(data: bytes) -> None:
    for decode in (from_client, to_client, to_stamp):
        try:
            decode(data)
        except MalformedFrame:
            pass


@settings(max_examples=300)
@given(
    st.recursive(st.integers() | st.text() | st.none(), lambda inner: st.lists(inner, max_size=4), max_leaves=9),
    st.integers(25, 55),
)
def test_almost_messages(value: Any, tag: int) -> None:
    try:
        data = msgspec.msgpack.encode([tag, *(value if isinstance(value, list) else [value])])
    except OverflowError:
        return
    for decode in (from_client, to_client, to_stamp):
        try:
            decode(data)
        except MalformedFrame:
            pass


# Numbers ---------------------------------------------------------------------------------------------------------


def test_stamps() -> None:
    stamp = Stamp(3, 2**40)
    assert to_stamp(encode(stamp)) == stamp
    with pytest.raises(MalformedFrame):
        to_stamp(encode([1]))


def test_the_numbers_of_tasks_leave_room_for_those_of_parts() -> None:
    assert requests.SHIFT + (CLIENTS - 1).bit_length() <= WHOLE_BITS
    assert (CLIENTS - 1) << SHIFT | ((1 << SHIFT) - 1) < 1 << WHOLE_BITS
