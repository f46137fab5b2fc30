"""How types travel that have more to say of it than pickle asks for: those that users register.

A registration travels with the data: whoever opens a value of the type has its registration from then on, so that the
value can go back. A process that is to send the first one must have it by itself: from the import of the module that
registers the type, or from a package that says by an entry point of the group ``parpool.serializers`` what to call.
"""

from __future__ import annotations

import os
import pickle
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from ..errors import SerializationError
from .fingerprint import MAIN

T = TypeVar("T")

GROUP = "parpool.serializers"

Encode = Callable[[Any], "tuple[Any, Iterable[Any]]"]
Decode = Callable[[Any, "list[memoryview]"], Any]

#: What picklers that collect buffers do with a type: of the collector and the value, what ``__reduce__`` gives.
reducers: dict[type, Callable[[Any, Any], Any]] = {}


class _Serializer(NamedTuple):
    encode: Encode
    decode: Decode
    maker: int  #: the process that has registered it; 0: it came with data


_serializers: dict[type, _Serializer] = {}


def register_serializer(
    type: type[T], encode: Callable[[T], tuple[Any, Iterable[Any]]], decode: Callable[[Any, list[memoryview]], T]
) -> None:
    """Say how values of a type travel, from this process and back to it.

    ``encode(value)`` gives ``(metadata, buffers)``: metadata is anything that can be pickled, and buffers are what has
    the buffer protocol, contiguous: arrays, bytes, memoryviews. Large ones travel apart, as those of arrays do.
    ``decode(metadata, buffers)`` makes the value of them where it arrives; each buffer is a memoryview of bytes there.

    Engines get the registration with the first value. It is for this very type: a subclass has one of its own. What was
    registered before for the type is replaced.
    """
    if not isinstance(type, _type):
        raise TypeError(f"a serializer is for a type, not for {type!r}")
    if type in _PICKLES_OWN:
        raise TypeError(f"pickle has a way of its own for {type.__name__}, and asks nobody: register a subclass of it")
    for name, function in (("encode", encode), ("decode", decode)):
        if not callable(function):
            raise TypeError(f"{name} must be a function, not {function!r}")
    _serializers[type] = _Serializer(encode, decode, os.getpid())
    reducers[type] = _reduce


_type = type

#: What pickle carries before it looks whether anybody has a word on it.
_PICKLES_OWN = frozenset(
    {int, float, bool, str, bytes, bytearray, tuple, list, dict, set, frozenset, _type, types.FunctionType, _type(None)}
)


def _reduce(apart: Any, value: Any) -> Any:
    kind = type(value)
    encode, decode, maker = _serializers[kind]
    encoded = encode(value)
    if not isinstance(encoded, tuple) or len(encoded) != 2:
        raise SerializationError(
            f"the encode function for {kind.__qualname__} must give metadata and buffers, not {type(encoded).__name__}"
        )
    metadata, buffers = encoded
    packed = [pickle.PickleBuffer(buffer) for buffer in buffers]
    # Where it came with data, or by a fork, whoever gets it has the functions; and they may be such that have no names.
    here = maker == os.getpid()
    functions = (encode, decode) if here or (_has_name(encode) and _has_name(decode)) else None
    return rebuild, (kind, functions, metadata, packed)


def _has_name(function: Any) -> bool:
    module, found = getattr(function, "__module__", None), None
    if module not in MAIN:
        found = sys.modules.get(module or "")
        for name in getattr(function, "__qualname__", "").split("."):
            found = getattr(found, name, None)
    return found is function


def rebuild(kind: type, functions: tuple[Encode, Decode] | None, metadata: Any, buffers: list[Any]) -> Any:
    """What such a value becomes when it is opened."""
    known = _serializers.get(kind)
    if functions is not None and (known is None or not known.maker):
        known = _serializers[kind] = _Serializer(*functions, 0)
        reducers[kind] = _reduce
    if known is None:
        raise SerializationError(
            f"there is no serializer for {kind.__module__}.{kind.__qualname__} in this process:"
            " parpool.register_serializer says how its values are made"
        )
    decode = known.decode if functions is None else functions[1]
    return decode(metadata, [memoryview(buffer).cast("B") for buffer in buffers])


# Those that packages bring -----------------------------------------------------------------------------------


waiting = True  #: may there be something to :func:`discover`?
_found: dict[str, Any] | None = None  #: entry points that were not called yet, by the module that they are about


def discover() -> bool:
    """Call what packages have said is to be called, for the modules that this process has imported by now.

    Was there any?
    """
    global _found, waiting
    if _found is None:
        from importlib import metadata

        found: dict[str, Any] = {}
        for point in metadata.entry_points(group=GROUP):
            found.setdefault(point.name, []).append(point)
        if _found is None:  # else another thread was faster, and may have called some
            _found = found
    due = [name for name in list(_found) if name in sys.modules]
    for name in due:
        for point in _found.pop(name, ()):
            try:
                point.load()()
            except Exception as error:  # it is no fault of whoever sends something just now
                warnings.warn(
                    f"the serializers of {name} ({point.value}) cannot be loaded: {error!r};"
                    " look at the package that brings them",
                    RuntimeWarning,
                    stacklevel=2,
                )
    waiting = bool(_found)
    return bool(due)
