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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from ..errors import SerializationError
from . import serializers
from .joined import buffers_behind, head_of, joined
from .payload import PLAIN, PROTOCOL
from .reducing import holds_dates, reduce_array, reduce_memmap, reduce_view

#: What an envelope begins with, and no pickle. Long, so that it can be looked for in a message.
MARK = b"\x01parpool-apart\x01"


class _Envelope(msgspec.Struct, array_like=True, gc=False):
    """What follows the mark. Behind it are the buffers that are in the message."""

    stream: bytes  #: the pickle; empty: it is the last of the buffers
    buffers: list[int]  #: how many bytes of the shared memory each of them is; below 0: of the message
    # Where those are that lie in shared memory:
    path: str = ""
    slot: int = 0
    generation: int = 0
    offsets: list[int] = []
    # What the pickle speaks of that is one memory for both sides:
    shared: list[str] = []


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

    @property
    def watched(self) -> bool:
        """Does this process know when what it sends will not be opened any more?"""

    def put(self, buffers: Sequence[memoryview], lent: bool) -> Placed | None:
        """Put buffers there, for one receiver, or ``lent``, for several; None where there is no room."""


#: Gives what lies in a slot: path, slot, generation, and how many bytes it must be at least.
Take = Callable[[str, int, int, int], memoryview]

#: Set by whoever has shared memory: gives what keeps alive the memory of this path that is one for several processes.
attach: Callable[[str], Any] | None = None


# Sealing --------------------------------------------------------------------------------------------------


#: Bytes of a pickle, or of a buffer, below which nobody thinks about where to put it.
LARGE = 32 * 1024


#: Bytes of what is packed in one piece: msgpack counts with 32 bits. (And some room for what tells of it.)
MOST = 2**32 - 2**20


class Large(Exception):
    """There is something in it for :func:`pack` to care about."""


def only_small(buffer: Any) -> bool:
    """A callback for the pickles of most calls: it keeps buffers in the pickle. Raises Large for one that is not small."""
    # To collect them, here, would cost each call a list, and those with a small array an envelope.
    view = memoryview(buffer)
    if view.nbytes >= LARGE or view.readonly:
        raise Large
    return True


def dumps_small(value: object) -> bytes:
    """Plain pickle of what is small, as most is. Raises Large where :func:`pack` is needed."""
    if value.__class__ in PLAIN:
        return pickle.dumps(value, PROTOCOL)
    if value.__class__.__name__ in ARRAYS and is_special(value):
        raise Large
    if not serializers.reducers:
        return pickle.dumps(value, PROTOCOL, buffer_callback=only_small)
    file = io.BytesIO()
    pickler = pickle.Pickler(file, PROTOCOL, buffer_callback=only_small)
    pickler.dispatch_table = {**copyreg.dispatch_table, **dict.fromkeys(serializers.reducers, _refuse)}
    pickler.dump(value)
    return file.getvalue()


def _refuse(value: object) -> Any:
    raise Large


class Apart(list[Any]):
    """The large buffers that a pickler leaves out: this is the callback for that.

    ``thaw``: let arrays that cannot be written to travel as though they could, as they do in pickles of old.
    ``inside``: leave out none. ``store``: memory that the receiver can see. ``special``: there are arrays on which there
    is a word, see :func:`is_special`.
    """

    def __init__(
        self, thaw: bool = False, inside: bool = False, store: Store | None = None, special: bool = False
    ) -> None:
        super().__init__()
        self.thaw = thaw
        self.inside = inside
        self.special = special
        self.frozen = False  #: there are some that cannot be written to
        self.store = store
        self.named: dict[str, Any] = {}  #: what the pickle speaks of, by its path, and what keeps it alive

    def __call__(self, buffer: Any) -> bool:
        """Shall this one stay in the pickle?"""
        view = memoryview(buffer)
        if view.readonly:
            self.frozen = True
        if self.inside or view.nbytes < LARGE or not (view.c_contiguous or view.f_contiguous):
            return True  # (pickle has a word on what is not contiguous)
        self.append(buffer)
        return False

    @property
    def near(self) -> bool:
        """Does the receiver see what this process can name to it: memory, and files?"""
        return self.store is not None and self.store.threshold is not None

    @property
    def watched(self) -> bool:
        """And can this process keep that as long as it is needed?"""
        return self.store is not None and self.store.watched

    def equip(self, pickler: Any) -> None:
        """Make ready a pickler, which was made with this for its callback."""
        known = list(serializers.reducers.items())  # another thread may register more meanwhile
        special: dict[type, Callable[[Any], Any]] = {kind: partial(reduce, self) for kind, reduce in known}
        special.setdefault(memoryview, reduce_view)
        others = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
        numpy = sys.modules.get("numpy")
        if numpy is not None and hasattr(numpy, "memmap"):  # else it is only being imported
            special.setdefault(numpy.memmap, partial(reduce_memmap, self))
            if self.thaw or not (numpy.ndarray in special or numpy.ndarray in others):
                special[numpy.ndarray] = partial(reduce_array, thaw=self.thaw)
        table = {**others, **special}
        # Not by setattr: cloudpickle's class has an attribute of this name, which hides the one that counts.
        vars(pickle.Pickler)["dispatch_table"].__set__(pickler, table)


def equipped(apart: Apart | None) -> Apart | None:
    """What to pickle with, where somebody has a word on how things are pickled."""
    return Apart(inside=True) if apart is None and serializers.reducers else apart


def dumps(value: object, apart: Apart | None = None) -> bytes:
    """Plain pickle."""
    apart = equipped(apart)
    if apart is None or not (apart.thaw or apart.special or serializers.reducers or _begins_with_special(value)):
        data = pickle.dumps(value, PROTOCOL, buffer_callback=apart)
        if apart is None or len(data) <= LARGE or not holds_special(data):
            return data
        apart.clear()  # there was one further inside
    with io.BytesIO() as file:
        pickler = pickle.Pickler(file, PROTOCOL, buffer_callback=apart)
        apart.equip(pickler)
        pickler.dump(value)
        return file.getvalue()


def _begins_with_special(value: Any) -> bool:
    """Is there an array with a word of its own among the arguments, or first of the items?"""
    # What is further inside is found when it has been read. To look for it would cost each call too much.
    first = value[0] if value.__class__ in (list, tuple) and value else value
    values = first if first.__class__ is tuple else (first,)
    # (Whoever has a table of pandas has dates in it, as a rule.)
    return has_special(values) or any([str(each.__class__.__module__).startswith("pandas.") for each in values])


def has_special(values: Sequence[Any]) -> bool:
    """Is one of these an array on which there is a word, and which is best not read for nothing?"""
    for each in values:
        if each.__class__.__name__ in ARRAYS and is_special(each):
            return True
    return False


#: By the name: numpy need not be there.
ARRAYS = frozenset({"ndarray", "memmap"})


def is_special(array: Any) -> bool:
    """Is it a file that numpy has mapped, and may be larger than the memory, or a large array of dates or times?"""
    if array.__class__.__name__ == "memmap":
        return True
    return getattr(getattr(array, "dtype", None), "kind", "") in ("M", "m") and array.nbytes >= LARGE


def holds_special(stream: bytes) -> bool:
    """Are there such arrays in a pickle? (Others are sometimes taken for such.)"""
    # The first is found soon, or there is no array: so most streams are gone through once.
    return stream.find(b"dtype") >= 0 and (holds_dates(stream) or stream.find(b"memmap") >= 0)


def pack(dump: Callable[[Apart | None], bytes], store: Store | None, lent: bool = False, special: bool = False) -> Any:
    """The payload for what ``dump`` pickles. ``special``: see :class:`Apart`."""
    if serializers.waiting:
        serializers.discover()
    apart = Apart(False, False, store, special)
    stream = dump(apart)
    if apart.frozen:
        apart = Apart(True, False, store)
        stream = dump(apart)
    if apart or apart.named or len(stream) > LARGE:
        return seal(stream, apart, store, lent, apart.named)
    return stream


class Borrowed(bytearray):
    """A packed envelope that speaks of memory which is one for both sides: as long as it lives, that is kept."""

    kept: Any


def borrows(payload: Any) -> bool:
    """Does a payload speak of memory that is one for both sides, so that nothing was copied?"""
    return payload.__class__ is memoryview and payload.obj.__class__ is Borrowed


def seal(
    stream: bytes,
    found: Sequence[Any],
    store: Store | None,
    lent: bool = False,
    named: Mapping[str, Any] | None = None,
) -> Any:
    """The payload of a pickle, of the buffers that were left out of it, and of what it speaks of."""
    payload = _seal(stream, found, store, lent, [path for path in named or () if path])
    if not named or not store or not store.watched:
        return payload
    borrowed = Borrowed(payload)
    borrowed.kept = payload, named
    return memoryview(borrowed)


def _seal(stream: bytes, found: Sequence[Any], store: Store | None, lent: bool, paths: list[str]) -> Any:
    buffers = [each.raw() for each in found]
    threshold = None if store is None else store.threshold
    if store is not None and threshold is not None:
        large = [each for each in buffers if each.nbytes >= threshold]
        inside = len(stream) < threshold
        if large or not inside:
            placed = store.put(large if inside else [*large, memoryview(stream)], lent)
            if placed is not None:
                told = [each.nbytes if each.nbytes >= threshold else -each.nbytes for each in buffers]
                if not inside:
                    told.append(len(stream))
                rest = [each for each in buffers if each.nbytes < threshold]
                return placed.hold(joined(MARK, _encode((stream if inside else b"", told, *placed.where, paths)), rest))
    check_size(len(stream) + sum([each.nbytes for each in buffers]))
    if not buffers and not paths:
        return stream
    if len(stream) > LARGE:
        buffers, stream = [*buffers, memoryview(stream)], b""
    return joined(MARK, _encode((stream, [-each.nbytes for each in buffers], "", 0, 0, [], paths)), buffers)


def check_size(size: int) -> None:
    """Raise SerializationError where so many bytes are too many for a message."""
    if size > MOST:
        raise SerializationError(
            f"this has {size / 2**30:.1f} GiB, and a message carries {MOST / 2**30:.1f} at the most; what goes by shared"
            " memory, to engines of the same machine where there is room for it in /dev/shm, may be larger"
        )


# Opening --------------------------------------------------------------------------------------------------


class Opened:
    """An envelope and its buffers. As long as it, or one of the buffers, lives, the shared memory is in use."""

    __slots__ = ("stream", "buffers", "place", "shared", "_size")

    def __init__(self, payload: bytes | memoryview, take: Take | None) -> None:
        head, end = head_of(payload, len(MARK))
        envelope = _decode(head)
        told = envelope.buffers
        #: where the shared memory is: path, slot, generation
        self.place = (envelope.path, envelope.slot, envelope.generation) if envelope.path else None
        places: list[memoryview] = []
        if envelope.path:
            if take is None:
                raise SerializationError("data was sent by shared memory, which this process has no part in")
            sizes = [each for each in told if each >= 0]
            if len(sizes) != len(envelope.offsets):
                raise SerializationError("what was sent by shared memory is not told in full")
            ends = [start + size for start, size in zip(envelope.offsets, sizes, strict=True)]
            memory = take(envelope.path, envelope.slot, envelope.generation, max(ends))
            places = [memory[start:end] for start, end in zip(envelope.offsets, ends, strict=True)]
        self.shared = [_attached(path) for path in envelope.shared]
        given = iter(places)
        behind = iter(buffers_behind(payload, end, [-each for each in told if each < 0]))
        self.buffers: list[Any] = [next(given if each >= 0 else behind) for each in told]
        self.stream: Any = envelope.stream or self.buffers.pop()
        self._size = len(payload) + sum([place.nbytes for place in places])

    def __len__(self) -> int:
        return self._size

    def load(self) -> Any:
        """The value. The second time it shares its buffers with that of the first."""
        return pickle.loads(self.stream, buffers=self.buffers)


def _attached(path: str) -> Any:
    if attach is None:
        raise SerializationError("data lies in shared memory, which this process has no part in")
    return attach(path)


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
    if not is_envelope(payload):
        return payload
    try:
        return Opened(payload, take)
    except Exception as error:
        return Unopened(str(error))


def any_in(frames: Sequence[bytes]) -> bool:
    """May there be an envelope in a message?"""
    return MARK in frames[0] or any([is_envelope(frame) for frame in frames[1:]])


def is_envelope(payload: Any) -> bool:
    """Is it one, as it has arrived: bytes, or a memoryview where it is large?"""
    kind = payload.__class__
    return bool(payload.startswith(MARK) if kind is bytes else kind is memoryview and payload[: len(MARK)] == MARK)


def load(payload: Any) -> Any:
    """Open a payload that was :func:`received`."""
    return pickle.loads(payload) if payload.__class__ in (bytes, memoryview) else payload.load()
