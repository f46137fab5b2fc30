"""Objects and the bytes that carry them."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from typing import Any

PROTOCOL = 5
NONE = pickle.dumps(None, PROTOCOL)
NO_ARGUMENTS = pickle.dumps(((), {}), PROTOCOL)

#: What is in the bytes of whatever is no plain pickle: in an envelope's mark, and where there is code by value.
OURS = b"parpool"


#: Types whose values cannot change, and hold nothing that could.
PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})


def independent(items: Iterable[Any]) -> bool:
    """Can these items wait, and be pickled together, as though each had been pickled alone and at once?

    Others may change until then, or share an object, which would be one object in a pickle of both.
    """
    kinds = set(map(type, items))
    if kinds <= PLAIN:
        return True
    inner = (value for item in items if type(item) is tuple for value in item)
    return kinds <= PLAIN | {tuple} and set(map(type, inner)) <= PLAIN


class Packed:
    """A list of numpy scalars of one type, as an array: a twentieth of the pickle, and the same list when opened."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self.array,)


def packable(values: list[Any]) -> Any:
    """What to pickle for the values of a chunk."""
    kind = type(values[0]) if values else None
    if kind is not None and kind.__module__ == "numpy" and len(values) > 8 and hasattr(kind, "dtype"):
        packed = _pack_scalars(values, kind)
        if packed is not None:
            return packed
    return values


def _pack_scalars(values: Sequence[Any], kind: type) -> Packed | None:
    import numpy

    if not issubclass(kind, numpy.generic) or set(map(type, values)) != {kind}:
        return None
    dtype = values[0].dtype
    if dtype.kind not in "biufc":
        return None
    return Packed(numpy.fromiter(values, dtype, len(values)))
