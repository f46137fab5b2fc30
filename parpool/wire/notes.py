"""What crosses between a controller and a hub in a process of its own.

========================  ===================================================================
controller to hub         :class:`Notes`, :class:`Question`
hub to controller         :class:`Written`, :class:`Told`
========================  ===================================================================

A controller numbers its notes and keeps them until the hub has said that they are written; a hub that comes back gets
the others again. What is noted twice is known once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from .messages import _MALFORMED, MalformedFrame


class Submitted(msgspec.Struct, array_like=True, tag=1):
    """A task was submitted. The fields are those of the scheduler's ``Task``, and the uuid of its client."""

    now: float
    client: str
    id: int
    function: bytes
    payload: bytes
    kind: int
    first: int
    count: int
    weight: int
    whole: int | None
    retries: int
    limit: float | None
    targets: list[int] | None
    policy: str | None
    after: list[int]
    follow: list[int]


class Ended(msgspec.Struct, array_like=True, tag=2):
    """An outcome was delivered. ``last``: the task has ended with it."""

    now: float
    client: str
    id: int
    whole: int | None
    count: int
    kind: int
    last: bool
    engine: int | None
    status: int
    item: int
    started: float
    completed: float
    payload: bytes
    detail: str


class Named(msgspec.Struct, array_like=True, tag=3):
    """A client has defined a function."""

    key: bytes
    blob: bytes
    name: str


class Wrote(msgspec.Struct, array_like=True, tag=4):
    """A task has written to a stream."""

    client: str
    id: int
    whole: int | None
    stream: int
    text: str


class Staffed(msgspec.Struct, array_like=True, tag=5):
    """An engine has joined, or is gone."""

    id: int
    uid: str
    facts: dict[str, str | int]
    joined: bool
    now: float


Note: TypeAlias = Submitted | Ended | Named | Wrote | Staffed


class Notes(msgspec.Struct, array_like=True, tag=60):
    """What has happened, in order. ``instance``: of the controller, which numbers these from 1 on."""

    instance: str
    number: int
    notes: list[Note]


class Question(msgspec.Struct, array_like=True, tag=61):
    """Something to be answered, from all that was noted before it."""

    number: int
    what: str
    about: dict[str, Any]


class Written(msgspec.Struct, array_like=True, tag=70):
    """Everything up to this number is where it is to be; and the state of the store."""

    number: int
    status: dict[str, Any]


class Told(msgspec.Struct, array_like=True, tag=71):
    """The answer to a question; ``error``: why there is none, in words."""

    number: int
    value: Any
    error: str | None


ToHub: TypeAlias = Notes | Question
FromHub: TypeAlias = Written | Told

_decode_to_hub: Callable[[bytes], ToHub] = msgspec.msgpack.Decoder(ToHub).decode
_decode_from_hub: Callable[[bytes], FromHub] = msgspec.msgpack.Decoder(FromHub).decode


def to_hub(header: bytes) -> ToHub:
    """Decode what the hub received. Raises MalformedFrame."""
    try:
        return _decode_to_hub(header)
    except _MALFORMED as error:
        raise MalformedFrame(str(error)) from None


def from_hub(header: bytes) -> FromHub:
    """Decode what a controller received from the hub. Raises MalformedFrame."""
    try:
        return _decode_from_hub(header)
    except _MALFORMED as error:
        raise MalformedFrame(str(error)) from None
