"""What crosses between a client and a controller in another process: the schema of that socket.

As in ``messages.py``: a header in msgpack, checked when it is decoded, and large payloads in frames of their own.

======================  =====================================================================================
direction               messages
======================  =====================================================================================
client to controller    :class:`ClientHello`, :class:`Submit`, :class:`Abort`, :class:`Got`, :class:`Forget`,
                        :class:`Ask`, :class:`Leave`
controller to client    :class:`Welcome`, :class:`Refused`, :class:`Delivery`, :class:`Text`, :class:`Came`,
                        :class:`Gone`, :class:`Answer`, :class:`Over`, :class:`Failed`, :class:`Who`
======================  =====================================================================================

The last frame of every message of a client but :class:`ClientHello` is its :class:`Stamp`. What is not the next one is
not taken: something before it was lost, and the client will say hello, and all that is under way, again.

Nothing is lost where either side, or what lies between, fails for a while. A client keeps what it has submitted until
the outcome has come, and submits it again to a controller that was started anew. A controller numbers its deliveries
to a client and keeps them until the client has said :class:`Got`; to one that comes back it sends the others again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from .messages import _MALFORMED, PROTOCOL, MalformedFrame

#: A task's number is that of its client, shifted by this, and the client's own count.
SHIFT = 36

#: Items of one task that end separately: each may need an outcome of the controller's own making.
MOST_ITEMS = 1 << 20

#: Clients are numbered below this, so that tasks' numbers stay clear of those that the scheduler gives to parts.
CLIENTS = 1 << 21


class Stamp(msgspec.Struct, array_like=True, frozen=True):
    """Which message this is: ``number``, from 1 on, since the hello ``turn``."""

    turn: int
    number: int


_decode_stamp: Callable[[bytes], Stamp] = msgspec.msgpack.Decoder(Stamp).decode


def to_stamp(frame: bytes) -> Stamp:
    """Decode the last frame of a message of a client. Raises MalformedFrame."""
    try:
        return _decode_stamp(frame)
    except _MALFORMED as error:
        raise MalformedFrame(str(error)) from None


class Relation(msgspec.Struct, array_like=True, frozen=True):
    """A dependency, as the scheduler has it."""

    ids: list[int]
    all: bool
    success: bool
    failure: bool


class Terms(msgspec.Struct, array_like=True, frozen=True):
    """What a task asks for beyond the usual: fields of the scheduler's ``Task``."""

    retries: int = 0
    limit: float | None = None
    targets: list[int] | None = None
    policy: str | None = None
    patience: float | None = None
    remembered: bool = False
    after: Relation | None = None
    follow: Relation | None = None
    ended: list[int] = []  #: items behind ``first`` that have ended, of a task that is submitted again
    part_of: int | None = None  #: the task that it was cut from, of which others have, or had, the rest


class Order(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A task. ``frames``: how many frames after the header hold its payload (0: it is in here)."""

    id: int
    function: bytes
    payload: bytes
    kind: int
    first: int
    count: int
    weight: int
    frames: int
    terms: int  #: which of the message's terms; -1: none


class Definition(msgspec.Struct, array_like=True, frozen=True):
    """A function that the controller has not seen from this client."""

    key: bytes
    blob: bytes
    name: str


class ClientHello(msgspec.Struct, array_like=True, tag=30):
    """The first message of a client, and the first after every new connection.

    The first two fields keep their place and meaning in every version. ``number`` is what an earlier
    :class:`Welcome` gave, 0 for none. ``got`` is the last delivery of controller ``instance`` that has arrived.
    ``tasks`` are all that are under way: a controller that knows them not will have them next.
    """

    protocol: int
    version: str
    name: str
    number: int
    instance: str
    got: int
    turn: int  #: how often it has said this
    keep: bool | None  #: what becomes of its tasks when it is lost: True, they go on; None: as the controller has it
    facts: dict[str, str | int]


class Submit(msgspec.Struct, array_like=True, tag=31):
    """Tasks in their order; functions and terms that they refer to; ``again``: they were submitted before."""

    orders: list[Order]
    terms: list[Terms] = []
    functions: list[Definition] = []
    again: bool = False
    #: of tasks that those here depend on, and that have ended: id, with success, and the engine
    ends: list[tuple[int, bool, int | None]] = []


class Abort(msgspec.Struct, array_like=True, tag=32):
    """Take back these tasks, as far as they have not begun. ``elsewhere``: they go to another scheduler of the cluster."""

    ids: list[int]
    elsewhere: bool = False


class Got(msgspec.Struct, array_like=True, tag=33):
    """All deliveries up to this number have arrived."""

    number: int


class Forget(msgspec.Struct, array_like=True, tag=34):
    """The client will not use these functions again without defining them."""

    keys: list[bytes]


class Ask(msgspec.Struct, array_like=True, tag=35):
    """A question, or something to be done, by its name; ``number`` comes back with the answer."""

    number: int
    what: str
    about: dict[str, Any]


class Leave(msgspec.Struct, array_like=True, tag=36):
    """The client ends. What it has under way is kept where ``keep``, or dropped; None: as when it is lost."""

    keep: bool | None


class Fellow(msgspec.Struct, array_like=True, frozen=True):
    """An engine that serves."""

    id: int
    uid: str
    pid: int
    hostname: str
    memory: str = ""  #: the folder of the controller's session, where it sees that, too


class Welcome(msgspec.Struct, array_like=True, tag=40):
    """The client is let in, as ``number``, by the controller ``instance``. ``again``: that knew it already, and has all
    that had arrived from it; otherwise it needs all tasks that are under way, and all functions, anew."""

    number: int
    instance: str
    again: bool
    engines: list[Fellow]
    next: int  #: the number of the delivery that comes next
    turn: int  #: the hello that this answers
    keep: bool = False  #: its tasks go on when it is lost


class Refused(msgspec.Struct, array_like=True, tag=41):
    """The client is not let in."""

    reason: str


class Result(msgspec.Struct, array_like=True, gc=False):
    """One outcome. ``status`` below 0: the scheduler's decision, and ``payload`` its reason as text.

    ``engine``: -1 for none; ``more``: the engines that would not run it, where it is unmet; whether an engine held it
    (one item or none), where the scheduler decided.
    """

    id: int
    status: int
    item: int
    started: float
    completed: float
    payload: bytes
    frames: int
    engine: int
    more: list[int] | None = None


class Delivery(msgspec.Struct, array_like=True, tag=42):
    """Outcomes in the order in which they came about."""

    number: int
    results: list[Result]


class Text(msgspec.Struct, array_like=True, tag=43):
    """A task has written to a stream."""

    id: int
    engine: int
    stream: int
    text: str


class Came(msgspec.Struct, array_like=True, tag=44):
    """Engines have joined."""

    engines: list[Fellow]


class Gone(msgspec.Struct, array_like=True, tag=45):
    """Engines serve no more."""

    ids: list[int]


class Answer(msgspec.Struct, array_like=True, tag=46):
    """To an :class:`Ask`. ``error``: why there is none, in words; empty: there is."""

    number: int
    error: str
    value: Any


class Over(msgspec.Struct, array_like=True, tag=47):
    """The controller ends for good."""

    reason: str


class Failed(msgspec.Struct, array_like=True, tag=49):
    """What this client has every engine begin with has failed on one; ``failure`` is the packed exception."""

    engine: int
    failure: bytes


class Who(msgspec.Struct, array_like=True, tag=48):
    """The controller does not know this client: it should say :class:`ClientHello` again."""


FromClient: TypeAlias = ClientHello | Submit | Abort | Got | Forget | Ask | Leave
ToClient: TypeAlias = Welcome | Refused | Delivery | Text | Came | Gone | Answer | Over | Failed | Who

_decode_from_client: Callable[[bytes], FromClient] = msgspec.msgpack.Decoder(FromClient).decode
_decode_to_client: Callable[[bytes], ToClient] = msgspec.msgpack.Decoder(ToClient).decode


def from_client(header: bytes) -> FromClient:
    """Decode a header that the controller received from a client."""
    try:
        return _decode_from_client(header)
    except _MALFORMED as error:
        foreign = _foreign_hello(header)
        if foreign is not None:
            return foreign
        raise MalformedFrame(str(error)) from None


def _foreign_hello(header: bytes) -> ClientHello | None:
    """The hello of a client of another version, of which only the first two fields are known."""
    try:
        tag, protocol, version, *_ = msgspec.msgpack.decode(header)
    except (*_MALFORMED, TypeError, ValueError):
        return None
    if tag == 30 and isinstance(protocol, int) and isinstance(version, str) and protocol != PROTOCOL:
        return ClientHello(protocol, version, "", 0, "", 0, 0, None, {})
    return None


def to_client(header: bytes) -> ToClient:
    """Decode a header that a client received."""
    try:
        return _decode_to_client(header)
    except _MALFORMED as error:
        raise MalformedFrame(str(error)) from None
