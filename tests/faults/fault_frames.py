"""Messages for a live controller that no honest peer would send: made from the schema, and by damage to those."""

from __future__ import annotations

import math
import random
import typing
from typing import Any

import hypothesis
import msgspec
from hypothesis import strategies as st

from parpool.wire.messages import PROTOCOL

INTEGERS = st.sampled_from([0, 1, -1, 2, 7, PROTOCOL, 1 << 40, (1 << 62) + 1, (1 << 63) - 1, -(1 << 63)]) | st.integers(
    -(1 << 63), (1 << 63) - 1
)
FLOATS = st.sampled_from([0.0, -1.0, math.nan, math.inf, -math.inf, 1e308, 5e-324]) | st.floats()
BYTES = st.binary(max_size=40)
TEXTS = st.text(max_size=20)
ANYTHING = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS | BYTES,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXTS, each, max_size=3),
    max_leaves=6,
)


def of_type(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a type of the schema, as they lie in msgpack."""
    inspect = msgspec.inspect
    plain = {
        inspect.IntType: INTEGERS,
        inspect.FloatType: FLOATS,
        inspect.BoolType: st.booleans(),
        inspect.StrType: TEXTS,
        inspect.BytesType: BYTES,
        inspect.NoneType: st.none(),
        inspect.AnyType: ANYTHING,
    }
    if type(kind) in plain:
        return plain[type(kind)]
    if isinstance(kind, inspect.UnionType):
        return st.one_of([of_type(each) for each in kind.types])
    if isinstance(kind, inspect.ListType):
        return st.lists(of_type(kind.item_type), max_size=3)
    if isinstance(kind, inspect.TupleType):
        return st.tuples(*map(of_type, kind.item_types)).map(list)
    if isinstance(kind, inspect.DictType):
        return st.dictionaries(of_type(kind.key_type), of_type(kind.value_type), max_size=3)
    assert isinstance(kind, inspect.StructType), kind
    tag = [] if kind.tag is None else [st.just(kind.tag)]
    return st.tuples(*tag, *(of_type(field.type) for field in kind.fields)).map(list)


def of_schema(union: Any) -> st.SearchStrategy[bytes]:
    """Messages of one direction, encoded; each kind as often as the others."""
    kinds = typing.get_args(union)
    return st.one_of([of_type(msgspec.inspect.type_info(each)) for each in kinds]).map(msgspec.msgpack.encode)


def some_of_schema(union: Any, count: int) -> list[bytes]:
    """So many messages of one direction, always the same."""
    found: list[bytes] = []
    at_once = 5

    @hypothesis.settings(
        max_examples=-(-count // at_once),
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.lists(of_schema(union), min_size=at_once, max_size=at_once))
    def gather(messages: list[bytes]) -> None:
        found.extend(messages)

    gather()
    rng = random.Random(count)
    while len(found) < count:
        found.append(damaged(rng.choice(found), rng))
    return found[:count]


def damaged(frame: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """The same with something wrong in it."""
    data = bytearray(frame)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(6)
        if how == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif how == 2:
            del data[at:]
        elif how == 3:
            del data[at : at + rng.randint(1, 8)]
        elif how == 4:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
        else:
            data[at:] = other[min(at, len(other)) :]
    return bytes(data)


def fill(kind: type[Any], /, **fields: Any) -> bytes:
    """A message of this kind, encoded, with these fields and nothing in the others."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType) and fields.keys() <= {each.name for each in info.fields}, fields
    values = [fields[each.name] if each.name in fields else _nothing(each) for each in info.fields]
    return msgspec.msgpack.encode([] + ([] if info.tag is None else [info.tag]) + values)


def _nothing(field: msgspec.inspect.Field) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    kinds = field.type.types if isinstance(field.type, msgspec.inspect.UnionType) else (field.type,)
    name = "none" if any(isinstance(each, msgspec.inspect.NoneType) for each in kinds) else type(kinds[0]).__name__
    return {"none": None, "IntType": 0, "StrType": "", "BytesType": b"", "FloatType": 0.0, "BoolType": False}.get(
        name, {} if name in ("DictType", "AnyType") else []
    )
