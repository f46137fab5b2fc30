"""The result of one call."""

from __future__ import annotations

import re
from time import time
from typing import TYPE_CHECKING, Any

from .. import status as codes
from ..wire.envelope import load
from ..wire.failure import unpack_failure
from ..wire.payload import PLAIN
from .outcome import Arrived, decided, in_words, unmet
from .result import AsyncResult, time_out_of_view

if TYPE_CHECKING:
    from .contract import Link
    from .joined import JoinedResult
    from .records import Records

_CLOSED: Any = object()  #: stands for the value of a result that was not opened yet


class CallResult(AsyncResult):
    """The result of one call."""

    _id = -1
    _engine: int | None = None
    _received = 0.0
    _task: Any = None
    _outcome: Any = None
    _opened: Any = _CLOSED

    def deliver(self, task: Any, outcome: Any, engine: int | None) -> None:
        """The outcome has arrived (called by whoever drives the loop)."""
        self._engine = engine
        self._received = time()
        self._outcome = outcome
        if outcome.status < 0:
            self._task = task  # to be named in the error
        if self._callback is not None or self._error_callback is not None or self._listeners is not None:
            self._finish()
            return
        self._done = True
        # A listener or a waiter that came in this moment has either seen that it is done or is seen here.
        if self._listeners is not None or self._parked is not None:
            self._settle()

    def fail(self, error: BaseException) -> None:
        """The call never left: ``error`` says why."""
        self._engine, self._received = None, time()
        self._outcome = Arrived(-1, codes.ERROR, error, 0.0, 0.0, self._received, None, 1)
        self._opened = error
        self._finish()

    def _value(self) -> Any:
        outcome = self._outcome
        if outcome.status == 0:
            payload = outcome.payload  # read before the look at _opened: who opens it empties it after
            if self._opened is not _CLOSED:
                return self._opened
            opened = load(payload)
            if opened.__class__ in PLAIN:  # one is as good as another
                self._opened = opened
            else:  # of several threads that open it at once, all get what the first one made
                opened = self.__dict__.setdefault("_opened", opened)
            outcome.payload = b""
            return opened
        opened = self._opened
        if opened is _CLOSED:
            if outcome.status < 0:
                task = self._task
                what = in_words(self._name, task.kind, task.payload, 0, 1, 0)
                detail = outcome.detail
                if outcome.status == codes.IMPOSSIBLE:  # the brain knows tasks by their numbers
                    detail = re.sub(
                        r"\btask (\d+)", lambda found: f"task {self._link.msg_id(int(found[1]))}", str(detail)
                    )
                opened = decided(outcome.status, detail, what, self._engine, task.engine is not None)
            else:
                opened = self._unpack(outcome.payload)
            self._opened = opened
            self._task = None  # and with it the arguments, which may be large
        raise opened

    def _unpack(self, payload: bytes) -> BaseException:
        return unpack_failure(payload, self._engine)

    def _failure(self) -> object:
        return None if self._outcome.status == codes.OK else self._outcome

    def _arrived(self) -> list[Arrived]:
        if self._outcome is None:
            return []
        outcome, ran = self._outcome, self._outcome.status >= 0
        started, completed = (outcome.started, outcome.completed) if ran else (0.0, 0.0)
        return [Arrived(self._id, outcome.status, b"", started, completed, self._received, self._engine, 1)]

    @property
    def metadata(self) -> dict[str, Any]:
        """A dict on the call: which engine ran it, when, and how it ended. Times are None while unknown."""
        arrived = self._arrived()
        pending = Arrived(self._id, codes.OK, b"", 0.0, 0.0, 0.0, None, 1)
        return self._describe(arrived[0] if arrived else pending, self._texts())

    def _ids(self) -> list[int]:
        return [self._id] if self._id >= 0 else []


class ViewResult(CallResult):
    """The result of a view's call to one engine. What a task raised is a RemoteError of two natures here.

    It is known to its client by its ``msg_id``, and holds what the task printed.
    """

    _whole: JoinedResult | None = None
    _method = "apply"
    _target: int | None = None  #: the engine that it is for
    _time_out = staticmethod(time_out_of_view)

    def __init__(self, link: Link, owner: object, records: Records) -> None:
        # As AsyncResult has it, without the call: there are many of these.
        self._link = link
        self._owner = owner
        self._submitted = time()
        self._records = records

    def printed(self, task: Any, engine: int, stream: int, text: str) -> None:
        """The task has written to a stream (called by whoever drives the loop)."""
        self._engine = engine
        stream, text = self._link.remarks.sort(stream, text, engine, self._id)
        if text:
            self._keep_text(stream, text, engine)

    def deliver(self, task: Any, outcome: Any, engine: int | None) -> None:
        """The outcome has arrived (called by whoever drives the loop)."""
        self._engine = self._target if engine is None else engine
        self._received = time()
        self._outcome = outcome
        self._records.ended(self, self._id, outcome)
        if outcome.status < 0 or outcome.status == codes.UNMET:
            self._task = task  # it knows its arguments, and the engines that were asked
        if self._callback is not None or self._error_callback is not None or self._listeners is not None:
            self._finish()
        else:
            self._done = True
            if self._listeners is not None or self._parked is not None:  # as CallResult has it
                self._settle()
        if self._whole is not None:
            self._whole.part_ended()

    @property
    def size(self) -> int:
        """Bytes of the value, while nobody has read it, and of what was printed."""
        outcome, printed = self._outcome, sum([len(entry[1]) for entry in self._printed or ()])
        return printed + (len(outcome.payload) if outcome is not None and outcome.status >= 0 else 0)

    def _value(self) -> Any:
        if self._opened is _CLOSED:
            self._records.read(self._id, self)
            self._link.remarks.settle()
            if self._method in ("execute", "run"):
                reply = CallResult._value(self)
                reply.stdout, reply.stderr = self._text(1), self._text(2)
                return reply
        return CallResult._value(self)

    def _unpack(self, payload: bytes) -> BaseException:
        if self._outcome.status == codes.UNMET:
            return unmet(self._task, payload, self._engine)
        from ..wire.remote import remote_error

        return remote_error(payload, self._engine, self._method)
