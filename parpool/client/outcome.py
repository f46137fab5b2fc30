"""From an outcome to what the caller gets: a value, or the exception to raise."""

from __future__ import annotations

import pickle
from typing import Any

from .. import status as codes
from ..errors import (
    DependencyTimeout,
    EngineLost,
    ImpossibleDependency,
    TaskAborted,
    TaskTimeout,
)
from ..wire.failure import safe_repr, unpack_failure
from ..wire.messages import CALL, HOW

#: words for ``metadata["status"]``
WORDS = {codes.OK: "ok", codes.ABORTED: "aborted"}


class Arrived:
    """One outcome as it arrived: of a call, of a chunk, or of one item of it."""

    __slots__ = ("id", "status", "payload", "started", "completed", "received", "engine", "size", "single")

    def __init__(
        self,
        id: int,
        status: int,
        payload: Any,
        started: float,
        completed: float,
        received: float,
        engine: int | None,
        size: int,
    ) -> None:
        self.id = id
        self.status = status
        self.payload = payload  #: a pickle; for what the scheduler decided, the exception
        self.started = started
        self.completed = completed
        self.received = received
        self.engine = engine
        self.size = size  #: items that it answers for
        self.single = False  #: is its value that of one item, and not a list of values?

    def value(self) -> Any:
        """The value, opened now, in this thread. Raises the task's exception."""
        if self.status == codes.OK:
            return pickle.loads(self.payload)
        raise self.error()

    def error(self) -> BaseException:
        """The exception of an outcome that is not OK."""
        if isinstance(self.payload, BaseException):
            return self.payload
        error = self.payload = unpack_failure(self.payload, self.engine)
        return error


def decided(status: int, detail: object, what: str, engine: int | None) -> BaseException:
    """The exception for an end that the scheduler decided on. ``what``: the task in words."""
    if isinstance(detail, BaseException):
        return detail
    error: Any = _decided(status, detail, what, engine)
    error.engine_id = engine
    return error  # type: ignore[no-any-return]


def _decided(status: int, detail: object, what: str, engine: int | None) -> BaseException:
    if status == codes.LOST:
        return EngineLost(f"engine {engine} died while it ran {what}: {detail or 'its process is gone'}")
    if status == codes.KILLED:
        return TaskTimeout(
            f"{what} ran longer than its task_timeout and did not heed the interrupt; engine {engine} was ended"
        )
    if status == codes.EXPIRED:
        return DependencyTimeout(f"what {what} depends on did not end in time")
    if status == codes.IMPOSSIBLE:
        return ImpossibleDependency(f"{what} can never run: {detail}")
    return TaskAborted(f"{what} was aborted" + (f": {detail}" if detail else " before it began"))


def in_words(name: str, kind: int, payload: bytes, first: int, size: int, base: int) -> str:
    """A task for an error message: the call with its arguments in short, or the items of the map."""
    kind &= HOW
    try:
        opened = pickle.loads(payload)
        if kind == CALL:
            args, kwds = opened
            parts = [safe_repr(arg, 60) for arg in args] + [f"{k}={safe_repr(v, 60)}" for k, v in kwds.items()]
            return f"{name}({', '.join(parts)})"
        if size == 1:
            return f"{name}({safe_repr(opened[first], 60)})"
    except Exception:
        if kind == CALL:
            return f"{name}(...)"
    if size == 1:
        return f"{name} on item {base + first}"
    return f"{name} on items {base + first} to {base + first + size - 1}"
