"""Arrays that are one memory for this process and the engines of the same machine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .shm import memory

if TYPE_CHECKING:
    from .shared_array import SharedArray


def share(array: Any) -> SharedArray:
    """A copy of an array (or of what numpy makes one of) that engines of this machine use as one memory with it.

    What one of them writes, all see; who writes where others read must see to it that they do not do so at once. Where
    there is no shared memory, or not enough, and for engines on other machines, it is an array like any other, and they
    get copies: its attribute ``shared`` tells. An array that is shared already is given back as it is.
    """
    import numpy

    from .shared_array import SharedArray

    if isinstance(array, SharedArray) and array.shared:
        return array
    if isinstance(array, numpy.ma.MaskedArray):
        raise TypeError("a masked array is two: share its data and its mask")
    source = numpy.asarray(array)
    made = empty_shared(source.shape, source.dtype, "F" if source.flags.fnc else "C")
    made[...] = source
    return made


def empty_shared(shape: Any, dtype: Any = float, order: str = "C") -> SharedArray:
    """A new array, whose content is arbitrary, as :func:`share` gives one: for what need not be copied there first."""
    import numpy

    from .shared_array import SharedArray

    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise TypeError(f"what is shared are bytes, and an array of dtype {kind} has objects elsewhere")
    if order not in ("C", "F"):
        raise ValueError(f"order must be 'C' or 'F', not {order!r}")
    lengths = tuple(map(int, shape)) if numpy.iterable(shape) else (int(shape),)
    if any(length < 0 for length in lengths):
        raise ValueError("negative dimensions are not allowed")
    block = memory.make(math.prod(lengths) * kind.itemsize)
    if block is None:
        return numpy.empty(lengths, kind, order).view(SharedArray)  # type: ignore[call-overload, no-any-return]
    made: SharedArray = numpy.ndarray.__new__(SharedArray, lengths, kind, block, order=order)  # type: ignore[arg-type]
    made._block = block
    return made
