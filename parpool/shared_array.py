"""The class of shared arrays. (By itself, as it needs numpy.)"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy

from .shm import memory
from .wire import serializers
from .wire.envelope import Apart
from .wire.mapped import address
from .wire.payload import PROTOCOL


class SharedArray(numpy.ndarray[Any, Any]):
    """An array of numpy in shared memory. Made by :func:`parpool.share` and :func:`parpool.empty_shared`.

    It, and every view of it (slices, ``reshape``, ``T``, a field), travels without a copy to the engines of this
    machine, and from there back: they read and write the very same memory. A view that cannot be written to cannot be
    written to there, either. ``numpy.asarray(a)`` is an ordinary array on the memory, which travels as a copy; results of
    computations are ordinary arrays.

    Used as a context manager it is unshared at the end.
    """

    _block: Any = None  #: the memory that it lies in

    def __array_finalize__(self, obj: Any) -> None:
        block = getattr(obj, "_block", None)
        if block is not None and 0 <= address(self) - ctypes.addressof(block) < block.memory.size:
            self._block = block

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        if array is self:
            return array
        return array[()] if return_scalar or not array.shape else array.view(numpy.ndarray)

    @property
    def shared(self) -> bool:
        """Is it one memory with what engines of this machine get? If not, it travels as any other array."""
        return self._block is not None and self._block.memory.is_there()

    def unshare(self) -> None:
        """Share it no longer, neither the whole of it nor views. All who have it can go on using it.

        Calls that have not begun cannot have it any more. Without this it is shared as long as this process has it. Does
        nothing on an engine.
        """
        if self._block is not None:
            memory.remove(self._block.memory)

    def __enter__(self) -> SharedArray:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.unshare()

    def __reduce_ex__(self, protocol: Any) -> Any:
        # To whoever knows nothing of this: another program, or a file.
        return self.view(numpy.ndarray).__reduce_ex__(protocol)


def _reduce(apart: Apart, array: SharedArray) -> Any:
    block = array._block
    if block is not None and apart.near and array.size and not array.dtype.hasobject:
        shared = block.memory
        # Of its own, whoever cannot tell how long it will be needed sends a copy.
        if (apart.watched or not shared.is_own) and shared.is_there():
            apart.named[shared.path] = block
            offset = address(array) - ctypes.addressof(block)
            return rebuild, (
                shared.path, offset, array.dtype, array.shape, array.strides, array.flags.writeable,
            )  # fmt: skip
    return array.view(numpy.ndarray).__reduce_ex__(PROTOCOL)


def rebuild(
    path: str, offset: int, dtype: Any, shape: tuple[int, ...], strides: tuple[int, ...], writeable: bool
) -> SharedArray:
    """What a shared array becomes where it arrives."""
    block = memory.attach(path)
    buffer = block if writeable else memoryview(block).toreadonly()
    made: SharedArray = numpy.ndarray.__new__(SharedArray, shape, dtype, buffer, offset, strides)
    made._block = block
    return made


serializers.reducers[SharedArray] = _reduce
