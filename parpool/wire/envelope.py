"""Payloads whose large buffers travel apart.

A payload is a pickle, or an *envelope*: a pickle without its buffers, and where these are. Large ones lie in memory that
both sides can see; small ones, and all where there is no such memory, lie in the envelope. To whoever only passes it on
it is bytes like any others.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from ..errors import SerializationError
from .payload import PROTOCOL

#: What an envelope begins with, and no pickle. Long, so that it can be looked for in a message.
MARK = b"\x01parpool-apart\x01"


class _Envelope(msgspec.Struct, array_like=True, gc=False):
    """What follows the mark."""

    stream: memoryview  #: the pickle; empty: it is the last of the buffers
    buffers: list[int | memoryview]  #: each a buffer, or how many bytes of the shared memory are one
    # Where those are that lie in shared memory:
    path: str = ""
    slot: int = 0
    generation: int = 0
    offsets: list[int] = []


_decode = msgspec.msgpack.Decoder(_Envelope).decode
_encode = msgspec.msgpack.Encoder().encode


class Placed(Protocol):
    """Where buffers were put."""

    @property
    def where(self) -> tuple[str, int, int, list[int]]:
        """Path, slot, generation, and at which byte each of them begins."""

    def hold(self, packed: bytes) -> Any:
        """The packed envelope, as an object whose end says that nobody will take the buffers any more."""


class Store(Protocol):
    """Memory that the receiver can see."""

    @property
    def threshold(self) -> int | None:
        """From how many bytes on a buffer is put there; None: none is."""

    def put(self, buffers: Sequence[memoryview], lent: bool) -> Placed | None:
        """Put buffers there, for one receiver, or ``lent``, for several; None where there is no room."""


#: Gives what lies in a slot: path, slot, generation, and how many bytes it must be at least.
Take = Callable[[str, int, int, int], memoryview]


# Sealing --------------------------------------------------------------------------------------------------


#: Bytes of a pickle, or of a buffer, below which nobody thinks about where to put it.
LARGE = 64 * 1024


class Large(Exception):
    """There is something in it for :func:`pack` to care about."""


def only_small(buffer: Any) -> bool:
    """A callback for the pickles of most calls: it keeps buffers in the pickle. Raises Large for one that is not small."""
    # To collect them, here, would cost each call a list, and those with a small array an envelope.
    view = memoryview(buffer)
    if view.nbytes >= LARGE or view.readonly:
        raise Large
    return True


class Apart(list[Any]):
    """The large buffers that a pickler leaves out: this is the callback for that.

    ``thaw``: let arrays that cannot be written to travel as though they could, as they do in pickles of old.
    """

    def __init__(self, thaw: bool = False) -> None:
        super().__init__()
        self.thaw = thaw
        self.frozen = False  #: there are some that cannot be written to

    def __call__(self, buffer: Any) -> bool:
        """Shall this one stay in the pickle?"""
        view = memoryview(buffer)
        if view.readonly:
            self.frozen = True
        if view.nbytes < LARGE or not (view.c_contiguous or view.f_contiguous):  # pickle has a word on the latter
            return True
        self.append(buffer)
        return False

    def equip(self, pickler: Any) -> None:
        """Make ready a pickler, which was made with this for its callback."""
        if self.thaw:
            pickler.dispatch_table = {**getattr(pickler, "dispatch_table", copyreg.dispatch_table), **_thawing()}


def dumps(value: object, apart: Apart | None = None) -> bytes:
    """Plain pickle."""
    if apart is None or not apart.thaw:
        return pickle.dumps(value, PROTOCOL, buffer_callback=apart)
    with io.BytesIO() as file:
        pickler = pickle.Pickler(file, PROTOCOL, buffer_callback=apart)
        apart.equip(pickler)
        pickler.dump(value)
        return file.getvalue()


def pack(dump: Callable[[Apart | None], bytes], store: Store | None, lent: bool = False) -> Any:
    """The payload for what ``dump`` pickles."""
    apart = Apart()
    stream = dump(apart)
    if apart.frozen:
        apart = Apart(thaw=True)
        stream = dump(apart)
    return seal(stream, apart, store, lent) if apart or len(stream) > LARGE else stream


def seal(stream: bytes, found: Sequence[Any], store: Store | None, lent: bool = False) -> Any:
    """The payload of a pickle, and of the buffers that were left out of it."""
    buffers = [each.raw() for each in found]
    threshold = None if store is None else store.threshold
    if store is not None and threshold is not None:
        large = [each for each in buffers if each.nbytes >= threshold]
        inside = len(stream) < threshold
        if large or not inside:
            placed = store.put(large if inside else [*large, memoryview(stream)], lent)
            if placed is not None:
                told = [each.nbytes if each.nbytes >= threshold else each for each in buffers]
                if not inside:
                    told.append(len(stream))
                return placed.hold(MARK + _encode((stream if inside else b"", told, *placed.where)))
    return MARK + _encode((stream, buffers)) if buffers else stream


def _thawing() -> dict[type, Callable[[Any], Any]]:
    numpy = sys.modules.get("numpy")
    return {} if numpy is None else {numpy.ndarray: _reduce_array}


def _reduce_array(array: Any) -> Any:
    """As the array has it; but who unpickles one that cannot be written to, can write to what comes of it."""
    reduced = array.__reduce_ex__(PROTOCOL)
    if array.flags.writeable or not array.nbytes or type(reduced[1][0]) is not pickle.PickleBuffer:
        return reduced
    import ctypes

    # The same memory, which will only be read.
    alias = (ctypes.c_ubyte * array.nbytes).from_address(array.ctypes.data)
    return reduced[0], (pickle.PickleBuffer(alias), *reduced[1][1:])


# Opening --------------------------------------------------------------------------------------------------


class Opened:
    """An envelope and its buffers. As long as it, or one of the buffers, lives, the shared memory is in use."""

    __slots__ = ("stream", "buffers", "place", "_size")

    def __init__(self, payload: bytes, take: Take | None) -> None:
        envelope = _decode(memoryview(payload)[len(MARK) :])
        told = envelope.buffers
        #: where the shared memory is: path, slot, generation
        self.place = (envelope.path, envelope.slot, envelope.generation) if envelope.path else None
        places: list[memoryview] = []
        if envelope.path:
            if take is None:
                raise SerializationError("data was sent by shared memory, which this process has no part in")
            sizes = [each for each in told if isinstance(each, int)]
            if len(sizes) != len(envelope.offsets):
                raise SerializationError("what was sent by shared memory is not told in full")
            ends = [start + size for start, size in zip(envelope.offsets, sizes, strict=True)]
            memory = take(envelope.path, envelope.slot, envelope.generation, max(ends))
            places = [memory[start:end] for start, end in zip(envelope.offsets, ends, strict=True)]
        given = iter(places)
        self.buffers: list[Any] = [next(given) if isinstance(each, int) else bytearray(each) for each in told]
        self.stream: Any = envelope.stream if envelope.stream or not envelope.path else self.buffers.pop()
        self._size = len(payload) + sum([place.nbytes for place in places])

    def __len__(self) -> int:
        return self._size

    def load(self) -> Any:
        """The value. The second time it shares its buffers with that of the first."""
        return pickle.loads(self.stream, buffers=self.buffers)


class Unopened:
    """Stands for an envelope that cannot be opened: who tries gets the error."""

    __slots__ = ("_why",)

    def __init__(self, why: str) -> None:
        self._why = why  # and not the exception: its frames would keep what they have in hand

    def __len__(self) -> int:
        return 0

    def load(self) -> Any:
        """Raises SerializationError."""
        raise SerializationError(self._why)


def received(payload: Any, take: Take | None) -> Any:
    """A payload that has arrived: an envelope is opened as far as its buffers are claimed, others are as they are."""
    if payload.__class__ is not bytes or not payload.startswith(MARK):
        return payload
    try:
        return Opened(payload, take)
    except Exception as error:
        return Unopened(str(error))


def any_in(frames: Sequence[bytes]) -> bool:
    """May there be an envelope in a message?"""
    return MARK in frames[0] or any([frame.startswith(MARK) for frame in frames[1:]])


def load(payload: Any) -> Any:
    """Open a payload that was :func:`received`."""
    return pickle.loads(payload) if payload.__class__ is bytes else payload.load()
