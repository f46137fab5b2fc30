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
    if not (source.flags.c_contiguous or source.flags.f_contiguous):
        source = source.copy()
    return _made(source.shape, source.dtype, "F" if source.flags.fnc else "C", source)


def empty_shared(shape: Any, dtype: Any = float, order: str = "C") -> SharedArray:
    """A new array, whose content is arbitrary, as :func:`share` gives one: for what need not be copied there first."""
    import numpy

    kind = numpy.dtype(dtype)
    if order not in ("C", "F"):
        raise ValueError(f"order must be 'C' or 'F', not {order!r}")
    lengths = tuple(map(int, shape)) if numpy.iterable(shape) else (int(shape),)
    if any(length < 0 for length in lengths):
        raise ValueError("negative dimensions are not allowed")
    return _made(lengths, kind, order)


def _made(lengths: tuple[int, ...], kind: Any, order: str, source: Any = None) -> SharedArray:
    import numpy

    from .shared_array import SharedArray

    if kind.hasobject:
        raise TypeError(f"what is shared are bytes, and an array of dtype {kind} has objects elsewhere")
    size = math.prod(lengths) * kind.itemsize
    content = None
    if source is not None and size:
        content = memoryview(source.reshape(-1, order="A").view(numpy.uint8))
    block = memory.make(size, content)
    if block is None and source is not None:
        return source.copy(order="A").view(SharedArray)  # type: ignore[no-any-return]
    if block is None:
        return numpy.empty(lengths, kind, order).view(SharedArray)  # type: ignore[call-overload, no-any-return]
    made: SharedArray = numpy.ndarray.__new__(SharedArray, lengths, kind, block, order=order)  # type: ignore[arg-type]
    made._block = block
    return made
