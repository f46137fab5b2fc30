"""How values of some types are pickled where buffers are left out, other than they have it themselves."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from .payload import PROTOCOL

if TYPE_CHECKING:
    from .envelope import Apart


def reduce_view(view: memoryview) -> Any:
    """A memoryview, which pickle refuses: one on a copy of its content."""
    if not view.c_contiguous:
        plain: Any = view.tobytes()
    else:
        plain = view.cast("B") if view.nbytes else b""
    return rebuild_view, (pickle.PickleBuffer(plain), view.format, view.shape)


def rebuild_view(buffer: Any, format: str, shape: tuple[int, ...]) -> memoryview:
    """What such a memoryview becomes where it arrives. (One with fields, which Python cannot cast, as bytes.)"""
    view = memoryview(buffer).cast("B")
    try:
        return view.cast(format, shape) if 0 not in shape else view.cast(format)  # type: ignore[call-overload, no-any-return]
    except (ValueError, TypeError):
        return view


def reduce_memmap(apart: Apart, array: Any) -> Any:
    """By the name of the file, where the receiver can open it."""
    from .mapped import by_name, by_value  # with numpy

    if apart.near and apart.watched and array.nbytes >= (apart.store.threshold or 0):  # type: ignore[union-attr]
        reduced = by_name(array)
        if reduced is not None:
            apart.named.setdefault("", []).append(array)
            return reduced
    return by_value(array)


#: How it goes on in a pickle when a type of numpy with this number in its name has been named there.
_TYPE = b"8\x94\x89\x88\x87"


def holds_dates(stream: bytes) -> bool:
    """Are there arrays of dates or times in a pickle, of which numpy gives no buffer?"""
    at = stream.find(_TYPE)
    while at > 0 and stream[at - 1] not in b"Mm":
        at = stream.find(_TYPE, at + 1)
    return at > 0


def reduce_array(array: Any, thaw: bool = False) -> Any:
    """As the array has it; but one of dates or times as one of bytes, whose buffer can travel apart.

    ``thaw``: who unpickles one that cannot be written to, can write to what comes of it.
    """
    dtype = array.dtype
    if dtype.kind in "MmV" and _has_dates(dtype) and not dtype.hasobject:
        return as_dates, (array.view(f"V{dtype.itemsize}"), dtype)
    reduced = array.__reduce_ex__(PROTOCOL)
    if not thaw or array.flags.writeable or not array.nbytes or type(reduced[1][0]) is not pickle.PickleBuffer:
        return reduced
    import ctypes

    # The same memory, which will only be read.
    alias = (ctypes.c_ubyte * array.nbytes).from_address(array.ctypes.data)
    return reduced[0], (pickle.PickleBuffer(alias), *reduced[1][1:])


def _has_dates(dtype: Any) -> bool:
    if dtype.subdtype is not None:
        return _has_dates(dtype.base)
    return dtype.kind in "Mm" or any(_has_dates(each) for each, *_ in (dtype.fields or {}).values())


def as_dates(plain: Any, dtype: Any) -> Any:
    """An array of bytes as the dates or times, or the records with such, that they are."""
    return plain.view(dtype)
