"""Objects and the bytes that carry them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

PROTOCOL = 5
NONE = pickle.dumps(None, PROTOCOL)
NO_ARGUMENTS = pickle.dumps(((), {}), PROTOCOL)


class Packed:
    """A list of numpy scalars of one type, as an array: a twentieth of the pickle, and the same list when opened."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self.array,)


def dump_value(value: object) -> bytes:
    """Pickle what a task returned. Plain pickle, by contract: what it refuses is a MaybeEncodingError."""
    return NONE if value is None else pickle.dumps(value, PROTOCOL)


def dump_values(values: list[Any]) -> bytes:
    """Pickle the values of a chunk."""
    kind = type(values[0]) if values else None
    if kind is not None and kind.__module__ == "numpy" and len(values) > 8 and hasattr(kind, "dtype"):
        packed = _pack_scalars(values, kind)
        if packed is not None:
            return pickle.dumps(packed, PROTOCOL)
    return pickle.dumps(values, PROTOCOL)


def _pack_scalars(values: Sequence[Any], kind: type) -> Packed | None:
    import numpy

    if not issubclass(kind, numpy.generic) or set(map(type, values)) != {kind}:
        return None
    dtype = values[0].dtype
    if dtype.kind not in "biufc":
        return None
    return Packed(numpy.fromiter(values, dtype, len(values)))


load = pickle.loads
