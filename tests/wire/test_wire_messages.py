"""The schema: what is encoded is what is decoded, and whatever else arrives is a MalformedFrame."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parpool.wire import messages
from parpool.wire.messages import (
    Call,
    Done,
    Farewell,
    GivenBack,
    Hello,
    Interrupt,
    MalformedFrame,
    Need,
    Outcome,
    Refused,
    Revoke,
    Stop,
    Work,
    done_header,
    encode,
)

DECODERS = [messages.to_engine, messages.from_engine, messages.to_control, messages.from_control]

numbers = st.integers(-(2**63), 2**63 - 1)
small = st.integers(0, 2**31)
seconds = st.floats(allow_nan=False)
blobs = st.binary(max_size=300)
keys = st.binary(min_size=16, max_size=16)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
calls = st.builds(Call, numbers, keys, blobs, st.integers(0, 4), small, small, st.integers(0, 1))
outcomes = st.builds(Outcome, numbers, st.integers(-5, 3), small, seconds, seconds, blobs, st.integers(0, 1))

to_engine = st.one_of(
    st.builds(Work, st.lists(calls, max_size=5), st.dictionaries(keys, blobs, max_size=3), st.lists(keys, max_size=3)),
    st.just(Stop()),
    st.builds(Refused, names),
)
from_engine = st.one_of(
    st.builds(Hello, small, names, small),
    st.builds(Done, st.lists(outcomes, max_size=5)),
    st.builds(Need, keys),
    st.builds(Farewell, blobs),
)
to_control = st.one_of(st.builds(Revoke, st.lists(numbers, max_size=9)), st.builds(Interrupt, numbers, small))
from_control = st.builds(GivenBack, st.lists(numbers, max_size=9), st.lists(numbers, max_size=9))


@given(to_engine)
def test_round_trip_to_engine(message: Any) -> None:
    assert messages.to_engine(encode(message)) == message


@given(from_engine)
def test_round_trip_from_engine(message: Any) -> None:
    assert messages.from_engine(encode(message)) == message


@given(to_control)
def test_round_trip_to_control(message: Any) -> None:
    assert messages.to_control(encode(message)) == message


@given(from_control)
def test_round_trip_from_control(message: Any) -> None:
    assert messages.from_control(encode(message)) == message


def test_every_message_has_a_tag_of_its_own() -> None:
    kinds = (Work, Stop, Refused, Hello, Done, Need, Farewell, Revoke, Interrupt, GivenBack)
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert len(set(tags)) == len(tags)


def test_a_message_is_refused_on_the_other_way() -> None:
    for header, decode in [
        (encode(Stop()), messages.from_engine),
        (encode(Hello(1, "1", 1)), messages.to_engine),
        (encode(Revoke([1])), messages.from_control),
        (encode(GivenBack([1], [])), messages.to_control),
        (encode(Revoke([1])), messages.to_engine),
    ]:
        with pytest.raises(MalformedFrame):
            decode(header)


# The hello --------------------------------------------------------------------------------------


def test_the_hello_begins_with_protocol_and_version() -> None:
    raw = msgspec.msgpack.decode(encode(Hello(messages.PROTOCOL, "1.2.3", 77)))
    assert raw[:3] == [10, messages.PROTOCOL, "1.2.3"]


@pytest.mark.parametrize("rest", [[], [77], [77, "more", {"than": 1}], [{"other": "things"}]], ids=repr)
def test_the_hello_of_another_version_can_be_read(rest: list[Any]) -> None:
    # Else nobody could tell that engine what is wrong with it.
    hello = messages.from_engine(msgspec.msgpack.encode([10, 99, "9.0", *rest]))
    assert isinstance(hello, Hello)
    assert (hello.protocol, hello.version) == (99, "9.0")


# done_header ------------------------------------------------------------------------------------


@given(st.lists(outcomes, max_size=40))
def test_done_header_is_read_as_done(sent: list[Outcome]) -> None:
    header = done_header(len(sent), b"".join(map(encode, sent)))
    assert messages.from_engine(header) == messages.from_engine(encode(Done(sent))) == Done(sent)


@given(outcomes)
def test_an_outcome_is_a_tuple_of_its_fields(outcome: Outcome) -> None:
    assert encode(msgspec.structs.astuple(outcome)) == encode(outcome)


@given(calls)
def test_a_call_is_a_tuple_of_its_fields(call: Call) -> None:
    work = encode(Work([msgspec.structs.astuple(call)], {}, []))  # type: ignore[list-item]
    assert work == encode(Work([call], {}, []))


def test_done_header_with_a_wrong_count() -> None:
    one = encode(Outcome(1, 0, 0, 1.0, 2.0, b"x", 0))
    for count, data in [(2, one), (0, one), (1, b""), (1, one[:-1]), (2**32 - 1, one)]:
        with pytest.raises(MalformedFrame):
            messages.from_engine(done_header(count, data))


# What is not of the schema ------------------------------------------------------------------------

NESTED = b"\x91" * 200_000
CURIOUS = [
    b"",
    b"\xc1",
    NESTED,
    b"\x93\x0d\xc4\x00" + NESTED,  # behind a whole Farewell
    b"\x92\x0b\xdd" + struct.pack(">I", 2**32 - 1),
    b"\x92\x0b\xdf" + struct.pack(">I", 2**32 - 1),
    b"\x92\x03\xa4\xff\xff\xff\xff",  # a text that is no UTF-8
    msgspec.msgpack.encode([True]),
    msgspec.msgpack.encode([10]),
    msgspec.msgpack.encode([10, -1.5, "x", 3]),
    msgspec.msgpack.encode([1, [[2**63, b"", b"", 0, 0, 0, 0]], {}, []]),
    msgspec.msgpack.encode([255, 1]),
    msgspec.msgpack.encode({"type": 1}),
]


def read(decode: Callable[[bytes], Any], data: bytes) -> None:
    """A message or MalformedFrame: any other error fails the test."""
    try:
        decode(data)
    except MalformedFrame as error:
        assert str(error)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("data", CURIOUS, ids=lambda data: repr(data[:24]))
def test_curious_frames(decode: Callable[[bytes], Any], data: bytes) -> None:
    read(decode, data)


@given(st.binary(max_size=200), st.sampled_from(DECODERS))
def test_random_frames(data: bytes, decode: Callable[[bytes], Any]) -> None:
    read(decode, data)


@given(st.one_of(to_engine, from_engine, to_control, from_control), st.data())
@example(Hello(1, "1", 1), None)
def test_damaged_frames(message: Any, data: st.DataObject | None) -> None:
    whole = encode(message)
    if data is None:
        frames = [whole[:end] for end in range(len(whole))] + [whole + b"\0"]
    else:
        place = data.draw(st.integers(0, len(whole) - 1))
        byte = data.draw(st.integers(0, 255))
        frames = [whole[:place] + bytes([byte]) + whole[place + 1 :], whole[:place], whole[:place] + whole]
    for frame in frames:
        for decode in DECODERS:
            read(decode, frame)


@pytest.mark.parametrize("decode", DECODERS)
def test_what_comes_behind_a_message_is_refused(decode: Callable[[bytes], Any]) -> None:
    for message in (Stop(), Hello(1, "1", 1), Revoke([1]), GivenBack([], [])):
        with pytest.raises(MalformedFrame):
            decode(encode(message) + b"\0")
