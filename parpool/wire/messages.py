"""The one schema of everything that crosses a socket.

A message is a list of frames. The first is a header in msgpack, made and checked by msgspec: a malformed one is a
:class:`MalformedFrame`, never a crash. Payloads (pickles) are opaque here; small ones lie in the header, larger ones
follow it as frames of their own.

========  ==================  ===========================================================
socket    direction           messages
========  ==================  ===========================================================
work      host to engine      :class:`Work`, :class:`Stop`, :class:`Refused`, :class:`Who`, :class:`Begin`
work      engine to host      :class:`Hello`, :class:`Done`, :class:`Need`, :class:`Printed`, :class:`Farewell`
control   host to engine      :class:`Revoke`, :class:`Interrupt`, :class:`Break`, :class:`Noted`, :class:`Look`, :class:`Die`
control   engine to host      :class:`GivenBack`, :class:`Hello` (after a new connection)
========  ==================  ===========================================================
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

#: Raised with every change that an older peer would misunderstand.
PROTOCOL = 1

#: Payloads above this many bytes travel as frames of their own.
INLINE = 32 * 1024

# How an engine runs a payload.
CALL = 0  #: (args, kwargs) of one call
MAP = 1  #: a sequence of items; one outcome, the list of values
STARMAP = 2  #: the same with an argument tuple an item
EACH = 3  #: a sequence of items; an outcome for each
EACHSTAR = 4  #: the same with an argument tuple an item
HOW = 7  #: the bits of ``kind`` that say the above
VIEW = 8  #: a flag beside it: what the task prints comes home, and its value may go by value
SHARED = 16  #: a flag beside it: whoever submitted it sees the memory of this machine

#: The ``stream`` of what is displayed, beside 1 (stdout) and 2 (stderr): a line of JSON each, as notebooks have outputs.
DISPLAYED = 3


class MalformedFrame(Exception):
    """A header that is not of the schema."""


class Call(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One task for an engine. ``first``, ``count``: where its items begin and end, for a task whose items end
    separately. ``frames``: how many frames after the header hold its payload (0: it is in here)."""

    id: int
    function: bytes
    payload: bytes
    kind: int
    first: int
    count: int
    frames: int


class Work(msgspec.Struct, array_like=True, tag=1):
    """Tasks in the order in which they are to run; functions, by key, that the engine has not seen; keys to forget.

    ``fresh``: when this was sent the engine held nothing, so everything that it had sent had arrived. With that both
    sides may take the lane (see ``net/lane.py``) again, until one of them has had to send something the other way.

    ``number``: which it is since :class:`Begin`, from 1 on; 0 where nothing can be lost. One that is not the next is
    not taken: what came before it was lost, and must be done before it.
    """

    calls: list[Call]
    functions: dict[bytes, bytes]
    forget: list[bytes]
    fresh: bool = False
    number: int = 0


class Stop(msgspec.Struct, array_like=True, tag=2):
    """End when everything received before this is done."""


class Refused(msgspec.Struct, array_like=True, tag=3):
    """The host will not have this engine."""

    reason: str


class Who(msgspec.Struct, array_like=True, tag=4):
    """Say again what was not :class:`Noted`, and then :class:`Hello`: the controller has been started anew, or what it
    had sent may have been lost."""


class Begin(msgspec.Struct, array_like=True, tag=5):
    """The answer to the :class:`Hello` of this number: what is sent from here on is counted anew. In between an engine
    takes no tasks, so both know the same of what it holds."""

    said: int


class Outcome(msgspec.Struct, array_like=True, gc=False):
    """What came of a task, or of one item of it. Times are seconds since the epoch on the engine's clock.

    Engines encode a tuple of these fields in this order: the same bytes, and cheaper to make.
    """

    id: int
    status: int
    item: int
    started: float
    completed: float
    payload: bytes
    frames: int


class Hello(msgspec.Struct, array_like=True, tag=10):
    """The first message of an engine. The first two fields keep their place and meaning in every version."""

    protocol: int
    version: str
    pid: int
    hostname: str = ""
    #: the tasks that it holds, where it serves a controller and says this again
    held: list[int] | None = None
    first: int = 1  #: the number of the first :class:`Done` that was not :class:`Noted`
    last: int = 0  #: the number of the last
    said: int = 0  #: how often it has said this
    #: of those that it holds and has given back in part, the first item that it will not begin
    rests: list[tuple[int, int]] = []
    memory: str = ""  #: the folder of the memory that it shares, where that is its own


class Done(msgspec.Struct, array_like=True, tag=11):
    """Outcomes in the order in which they came about. Engines build this one by hand: see :func:`done_header`.

    Those that serve a controller number it, from 1 on, and keep it until it is :class:`Noted`.
    """

    outcomes: list[Outcome]
    number: int = 0


class Need(msgspec.Struct, array_like=True, tag=12):
    """The engine has no such code: send the function or class of this key by value."""

    key: bytes


class Farewell(msgspec.Struct, array_like=True, tag=13):
    """The engine ends before it could serve; ``failure`` is the packed exception of the initializer."""

    failure: bytes


class Printed(msgspec.Struct, array_like=True, tag=14):
    """Text that a task wrote to ``stream``: 1 is stdout, 2 stderr; beside `DISPLAYED` and `REMARKS` (see ``remark.py``).

    Comes before the outcome of the task.
    """

    id: int
    stream: int
    text: str


class Revoke(msgspec.Struct, array_like=True, tag=20):
    """Give back these tasks, or the last items of them, if they have not begun. ``whole``: no items of one that runs."""

    ids: list[int]
    whole: bool = False


class Interrupt(msgspec.Struct, array_like=True, tag=21):
    """Raise TaskTimeout in this item of this task if it runs."""

    id: int
    item: int


class Break(msgspec.Struct, array_like=True, tag=23):
    """Raise KeyboardInterrupt in the task that runs, if one does."""


class Noted(msgspec.Struct, array_like=True, tag=24):
    """The outcomes in all :class:`Done` up to this number have arrived where they were to."""

    number: int


class Look(msgspec.Struct, array_like=True, tag=25):
    """There is a message for you on the work socket. (A task may keep the engine from looking.)"""


class Die(msgspec.Struct, array_like=True, tag=26):
    """End the process, whatever it does."""


class GivenBack(msgspec.Struct, array_like=True, tag=22):
    """Answer to Revoke: the tasks given back, those that had begun or ended, and, of tasks in whose items the engine
    was, the first of those items that it had not begun.

    ``said``: how often the engine had said :class:`Hello` by then. What it has said since tells of this, too, so an
    answer that comes later than that is not heeded.
    """

    ids: list[int]
    kept: list[int]
    rests: list[tuple[int, int]] = []
    said: int = 0


ToEngine: TypeAlias = Work | Stop | Refused | Who | Begin
FromEngine: TypeAlias = Hello | Done | Need | Farewell | Printed
ToControl: TypeAlias = Revoke | Interrupt | Break | Noted | Look | Die
FromControl: TypeAlias = GivenBack | Hello

# RecursionError: nested junk behind a whole message, which msgspec skips by recursion.
_MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode


def _decoder(kind: Any) -> Any:
    return msgspec.msgpack.Decoder(kind).decode


_decode_to_engine: Callable[[bytes], ToEngine] = _decoder(ToEngine)
_decode_from_engine: Callable[[bytes], FromEngine] = _decoder(FromEngine)
_decode_to_control: Callable[[bytes], ToControl] = _decoder(ToControl)
_decode_from_control: Callable[[bytes], FromControl] = _decoder(FromControl)


def to_engine(header: bytes) -> ToEngine:
    """Decode a header that an engine received on its work socket."""
    try:
        return _decode_to_engine(header)
    except _MALFORMED as error:
        raise MalformedFrame(str(error)) from None


def from_engine(header: bytes) -> FromEngine:
    """Decode a header that the host received on its work socket."""
    try:
        return _decode_from_engine(header)
    except _MALFORMED as error:
        foreign = _foreign_hello(header)
        if foreign is not None:
            return foreign
        raise MalformedFrame(str(error)) from None


def _foreign_hello(header: bytes) -> Hello | None:
    """The Hello of another version, of which only the first two fields are known."""
    try:
        tag, protocol, version, *_ = msgspec.msgpack.decode(header)
    except (*_MALFORMED, TypeError, ValueError):
        return None
    if tag == 10 and isinstance(protocol, int) and isinstance(version, str) and protocol != PROTOCOL:
        return Hello(protocol, version, 0)
    return None


def to_control(header: bytes) -> ToControl:
    """Decode a header that an engine received on its control socket."""
    try:
        return _decode_to_control(header)
    except _MALFORMED as error:
        raise MalformedFrame(str(error)) from None


def from_control(header: bytes) -> FromControl:
    """Decode a header that the host received on its control socket."""
    try:
        return _decode_from_control(header)
    except _MALFORMED as error:
        raise MalformedFrame(str(error)) from None


def done_header(count: int, outcomes: bytes, number: int = 0) -> bytes:
    """The header of :class:`Done` from outcomes that are encoded already, one behind the other."""
    # msgpack: an array of two or three, the tag, an array of ``count``, and the number.
    if number:
        return b"\x93\x0b\xdd" + struct.pack(">I", count) + outcomes + b"\xcf" + struct.pack(">Q", number)
    return b"\x92\x0b\xdd" + struct.pack(">I", count) + outcomes
