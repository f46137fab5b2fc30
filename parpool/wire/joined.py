"""Buffers that travel in a message: behind an envelope, each where an array may begin.

They are copied once, when the message is made, and not at all where it is opened. A message is bytes, or a memoryview of
what was received::

    mark | length of the head | head | buffer | buffer ...
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from struct import Struct
from typing import Any

from ..errors import SerializationError

ALIGN = 16  #: buffers begin at multiples of this, as memory does that is allocated
_length = Struct("<I")


def joined(mark: bytes, head: bytes, buffers: Sequence[memoryview]) -> bytes:
    """A message of these."""
    pieces: list[Any] = [mark, _length.pack(len(head)), head]
    end = len(mark) + _length.size + len(head)
    for buffer in buffers:
        gap = -end % ALIGN
        pieces += [bytes(gap), buffer]
        end += gap + buffer.nbytes
    return b"".join(pieces)


def head_of(payload: Any, mark: int) -> tuple[memoryview, int]:
    """The head of such a message, behind a mark of this length, and where it ends."""
    start = mark + _length.size
    end = start + _length.unpack_from(payload, mark)[0]
    return memoryview(payload)[start:end], end


def buffers_behind(payload: Any, end: int, sizes: Sequence[int]) -> list[memoryview]:
    """The buffers of these sizes, which can be written to, behind a head that ends there.

    Raises SerializationError where they are not all there.
    """
    if not sizes:
        return []
    memory, found = _own(payload), []
    for size in sizes:
        start = end + -end % ALIGN
        end = start + size
        found.append(memory[start:end])
    if end > len(payload):
        raise SerializationError("what was sent has come in part")
    return found


def _own(payload: Any) -> memoryview:
    """A message as memory that can be written to: it is one value's alone, and nobody looks at it again."""
    if payload.__class__ is memoryview:
        return payload if not payload.readonly else memoryview(bytearray(payload))
    import ctypes

    # Of few types, as it costs more to make one than to copy a small message. It may be longer, and the view is not.
    bits = len(payload).bit_length()
    kind = _kinds.get(bits) or _kinds.setdefault(bits, ctypes.c_ubyte * 2**bits)
    own = kind.from_address(ctypes.cast(payload, ctypes.c_void_p).value)
    own.payload = payload
    return pickle.PickleBuffer(own).raw()[: len(payload)]


_kinds: dict[int, Any] = {}  #: by the number of bits of their length
