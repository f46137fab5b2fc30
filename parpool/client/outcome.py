"""From an outcome to what the caller gets: a value, or the exception to raise."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

from .. import status as codes
from ..errors import (
    DependencyTimeout,
    EngineLost,
    ImpossibleDependency,
    TaskAborted,
    TaskTimeout,
    UnmetDependency,
)
from ..wire.envelope import load
from ..wire.failure import safe_repr, unpack_failure
from ..wire.messages import CALL, EACH, HOW, VIEW

#: words for ``metadata["status"]``
WORDS = {codes.OK: "ok", codes.ABORTED: "aborted"}


class Arrived:
    """One outcome as it arrived: of a call, of a chunk, or of one item of it."""

    __slots__ = ("id", "status", "payload", "started", "completed", "received", "engine", "size", "single", "chunk")

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
        self.chunk: int | None = None  #: the first item of the chunk that it is of

    def value(self) -> Any:
        """The value, opened now, in this thread. Raises the task's exception."""
        if self.status == codes.OK:
            return load(self.payload)
        raise self.error()

    def error(self) -> BaseException:
        """The exception of an outcome that is not OK."""
        if isinstance(self.payload, BaseException):
            return self.payload
        error = self.payload = unpack_failure(self.payload, self.engine)
        return error


def unmet(task: Any, payload: bytes, engine: int | None) -> UnmetDependency:
    """The exception of a view's task that no engine would run: it names those that were asked."""
    asked = ", ".join(map(str, sorted(task.excluded or ())))
    error: Any = UnmetDependency(f"{unpack_failure(payload, engine)} (engines asked: {asked})")
    error.engine_id = engine
    return error  # type: ignore[no-any-return]


def decided(status: int, detail: object, what: str, engine: int | None, held: bool = True) -> BaseException:
    """The exception for an end that the scheduler decided on. ``what``: the task in words; ``held``: by an engine."""
    if isinstance(detail, BaseException):
        return detail
    error: Any = _decided(status, detail, what, engine, held)
    error.engine_id = engine
    return error  # type: ignore[no-any-return]


def _decided(status: int, detail: object, what: str, engine: int | None, held: bool) -> BaseException:
    if status == codes.LOST:
        how = "died while it ran" if held else "died, and no other may run"
        return EngineLost(f"engine {engine} {how} {what}: {detail or 'its process is gone'}")
    if status == codes.KILLED:
        return TaskTimeout(
            f"{what} ran longer than its task_timeout and did not heed the interrupt; engine {engine} was ended"
        )
    if status == codes.EXPIRED:
        return DependencyTimeout(f"what {what} depends on did not end in time")
    if status == codes.IMPOSSIBLE:
        return ImpossibleDependency(f"{what} can never run: {detail}")
    return TaskAborted(f"{what} was aborted" + (f": {detail}" if detail else " before it began"))


def exception_of(name: str, task: Any, outcome: Any, engine: int | None) -> BaseException:
    """The exception of a chunk, or of an item of it, that did not end well."""
    if outcome.status >= 0:
        if task.kind & VIEW:
            if outcome.status == codes.UNMET:
                return unmet(task, outcome.payload, engine)
            from ..wire.remote import remote_error

            return remote_error(outcome.payload, engine, "map")
        return unpack_failure(outcome.payload, engine)
    how = task.kind & HOW
    each = how >= EACH
    what = in_words(name, how, task.payload, outcome.item if each else 0, 1 if each else task.weight, task.tag)
    return decided(outcome.status, outcome.detail, what, outcome.engine, task.engine is not None)


def in_words(name: str, kind: int, payload: bytes, first: int, size: int, base: int) -> str:
    """A task for an error message: the call with its arguments in short, or the items of the map."""
    kind &= HOW
    try:
        if len(payload) > SHOWN:
            raise ValueError("too large")
        opened = _Opener(io.BytesIO(payload)).load()
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


SHOWN = 2**20  #: bytes of arguments that are opened to show them


class _Opener(pickle.Unpickler):
    """Opens arguments only to show them: opening them may be what has killed the engine.

    So it calls no functions, imports nothing, and what it would need for either is shown by name.
    """

    def find_class(self, module: str, name: str) -> Any:
        """A class that is here, or what stands for the object of this name."""
        found: Any = sys.modules.get(module)
        for step in name.split("."):
            found = getattr(found, step, None)
        return (
            found if isinstance(found, type) or module.partition(".")[0] in _HARMLESS else _Unopened(f"{module}.{name}")
        )


#: Modules whose functions only make objects of what they are given.
_HARMLESS = ("copyreg", "numpy", "_codecs")


class _Unopened:
    """Stands for what was not opened."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def __call__(self, *args: Any) -> _Unopened:
        return _Unopened(f"{self._shown}(...)")

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Its content is not shown."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __repr__(self) -> str:
        return f"<{self._shown}>"
