"""Arrays that are mapped files: they travel by the name of the file, where the receiver has the same files."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy

from .payload import PROTOCOL


def by_name(array: Any) -> Any:
    """How a pickler should reduce a memmap, or a part of one, by its file; None where the file is not all there is."""
    root = array
    while isinstance(root.base, numpy.ndarray):
        root = root.base
    name, mode = getattr(root, "filename", None), getattr(root, "mode", None)
    if not isinstance(root.base, mmap.mmap) or name is None or mode not in ("r", "r+", "w+") or array.dtype.hasobject:
        return None  # "c": it may have been changed, and the file has not
    low, high = bounds(array)
    start = root.offset + low - address(root)
    if array.size == 0 or not os.path.exists(name):
        return None
    return open_part, (str(name), start, high - low, address(array) - low, array.dtype, array.shape, array.strides)


def open_part(
    name: str, start: int, size: int, first: int, dtype: Any, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Any:
    """Map a part of a file: what is written there stays with this process, as with every array that arrives."""
    flat: Any = numpy.memmap(name, numpy.uint8, "c", start, (size,))
    one = flat[first : first + dtype.itemsize].view(dtype)
    return numpy.lib.stride_tricks.as_strided(one, shape, strides, subok=True)


def by_value(array: Any) -> Any:
    """How a pickler should reduce a memmap otherwise: as an array, whose buffer can travel apart."""
    plain = array.view(numpy.ndarray)
    return (view_as, (type(array), plain)) if type(array) is numpy.memmap else plain.__reduce_ex__(PROTOCOL)


def view_as(kind: type, array: Any) -> Any:
    """An array as one of another class."""
    return array.view(kind)


def address(array: Any) -> int:
    """Where the first item of an array lies."""
    place: int = array.__array_interface__["data"][0]
    return place


def bounds(array: Any) -> tuple[int, int]:
    """Where the memory of an array begins, and where it ends."""
    low = high = address(array)
    for count, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            low += (count - 1) * stride
        else:
            high += (count - 1) * stride
    return low, high + array.itemsize
