"""AsyncResult: one handle for whatever was submitted.

A superset of ``multiprocessing.pool.AsyncResult``. It knows how to wait (through its link), how to turn outcomes
into values (in the thread that asks), and what the tasks' metadata are (made when asked for).
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Generator, Iterator
from datetime import datetime, timezone
from time import time
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from .. import status as codes
from ..net.loop import wake_waiters
from ..wire.failure import unpack_failure
from .outcome import WORDS, Arrived, decided, in_words

if TYPE_CHECKING:
    import concurrent.futures

    from .link import Link


class AsyncResult:
    """The result of a call that may not have ended yet.

    Made by ``apply_async``, ``map_async`` and their like, never by hand. Any number of threads may wait on it; it can
    be awaited in a coroutine, and it gives a :class:`concurrent.futures.Future` where one is needed.
    """

    # The defaults of a result that nothing has happened to yet lie in the class: there may be a million of them.
    _name = ""
    _done = False
    _parked: list[threading.Lock] | None = None
    _callback: Callable[[Any], object] | None = None
    _error_callback: Callable[[BaseException], object] | None = None
    _listeners: list[Callable[[AsyncResult], object]] | None = None

    def __init__(
        self,
        link: Link,
        owner: object,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._link = link
        self._owner = owner  # keeps the pool alive while its results are
        if callback is not None:
            self._callback = callback
        if error_callback is not None:
            self._error_callback = error_callback
        self._submitted = time()

    # -- the stdlib's four ------------------------------------------------------------------------------------

    def get(self, timeout: float | None = None) -> Any:
        """The value, when it has arrived; raises the exception of the task.

        Waits ``timeout`` seconds at the most (None: as long as it takes), then raises
        :class:`multiprocessing.TimeoutError`.
        """
        if not self._done and not self._link.wait(self, timeout):
            self._time_out()
        return self._value()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there, or ``timeout`` seconds have passed. Raises nothing of the task's."""
        if not self._done:
            self._link.wait(self, timeout)

    def ready(self) -> bool:
        """Has the call ended, in whatever way?"""
        return self._done

    def successful(self) -> bool:
        """Did it end without an exception? Raises ValueError while it has not ended."""
        if not self._done:
            raise ValueError(f"{self!r} not ready")
        return self._failure() is None

    # -- more ways to wait ------------------------------------------------------------------------------------

    @property
    def r(self) -> Any:
        """``get()``."""
        return self.get()

    @property
    def result(self) -> Any:
        """``get()``. A property, as in IPython.parallel; :meth:`future` gives an object whose ``result`` is a method."""
        return self.get()

    def done(self) -> bool:
        """The same as :meth:`ready`, by the name that futures have for it."""
        return self._done

    def add_done_callback(self, function: Callable[[AsyncResult], object]) -> None:
        """Call ``function(self)`` when the call has ended: at once where it has, else in the callback thread."""
        with self._link.listeners:
            if self._listeners is None:
                self._listeners = []
            self._listeners.append(function)
            if not self._done:
                return
            # It had ended, or ended just now: whoever takes the listener off the list calls it.
            self._listeners.remove(function)
        function(self)

    def future(self) -> concurrent.futures.Future[Any]:
        """A :class:`concurrent.futures.Future` of this result. Cancelling it aborts what has not begun."""
        from concurrent.futures import Future

        future: Future[Any] = Future()

        def settle(result: AsyncResult) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                value = result.get()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(value)

        future.add_done_callback(lambda f: self.abort() if f.cancelled() else None)
        self.add_done_callback(settle)
        return future

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait in a coroutine. Cancelling the awaiting task aborts what has not begun."""
        import asyncio

        return asyncio.wrap_future(self.future()).__await__()

    def abort(self) -> None:
        """Take back what has not begun; it ends in TaskAborted. What runs goes on."""
        self._link.abort(self._ids())

    # -- what is known of it ----------------------------------------------------------------------------------

    @property
    def msg_ids(self) -> list[str]:
        """The names of its tasks: of those submitted so far, for a map that is fed as engines become free."""
        return [self._link.msg_id(id) for id in self._ids()]

    @property
    def metadata(self) -> Any:
        """A dict on the task that ran (a list of dicts for a map, one a task): who ran it, when, and how it ended.

        Times are aware :class:`~datetime.datetime` objects in UTC, or None while unknown.
        """
        return [self._describe(arrived) for arrived in self._arrived()]

    @property
    def elapsed(self) -> float:
        """Seconds since the call was submitted, until it ended or until now."""
        return (max((a.received for a in self._arrived()), default=time()) if self._done else time()) - self._submitted

    @property
    def serial_time(self) -> float:
        """Seconds that the tasks which have ended took on their engines, added up."""
        return sum(max(0.0, a.completed - a.started) for a in self._arrived())

    @property
    def wall_time(self) -> float:
        """Seconds from the submission to the arrival of the last outcome; while there is none, until now."""
        return self.elapsed

    @property
    def progress(self) -> int:
        """How many of its ``len()`` items have ended."""
        return sum(a.size for a in self._arrived())

    def __len__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        return True  # and not a matter of len()

    def __iter__(self) -> Iterator[Any]:
        """The values, each as soon as it and those before it have arrived."""
        yield self.get()

    def __dir__(self) -> list[str]:
        # Without r and result: what looks at every attribute, as a manager does, should not have to wait.
        return [name for name in super().__dir__() if name not in ("r", "result")]

    def __class_getitem__(cls, item: Any) -> GenericAlias:
        return GenericAlias(cls, item)

    def __repr__(self) -> str:
        state = "pending" if not self._done else "ready" if self._failure() is None else "failed"
        return f"<{type(self).__name__} {self._name}: {state}>"

    def __reduce__(self) -> Any:
        raise NotImplementedError("results cannot be passed between processes or pickled")

    @staticmethod
    def _time_out() -> None:
        from multiprocessing import TimeoutError

        raise TimeoutError("Result not ready.")

    # -- for subclasses ---------------------------------------------------------------------------------------

    def _value(self) -> Any:
        raise NotImplementedError

    def _failure(self) -> object:
        """What made the call fail; None where nothing did."""
        raise NotImplementedError

    def _arrived(self) -> list[Arrived]:
        raise NotImplementedError

    def _ids(self) -> list[int]:
        raise NotImplementedError

    def _describe(self, arrived: Arrived) -> dict[str, Any]:
        engine = arrived.engine
        return {
            "msg_id": self._link.msg_id(arrived.id),
            "submitted": _date(self._submitted),
            "started": _date(arrived.started),
            "completed": _date(arrived.completed),
            "received": _date(arrived.received),
            "engine_id": engine,
            "engine_uuid": None if engine is None else self._link.engine_uuid(engine),
            "after": [],
            "follow": [],
            "status": WORDS.get(arrived.status, "error") if arrived.received else "pending",
            "stdout": "",
            "stderr": "",
        }

    def _finish(self) -> None:
        """The last outcome is in. Callbacks come first: who waits for the result finds them done."""
        if self._callback is not None or self._error_callback is not None or self._listeners is not None:
            self._link.call_back(self)
        else:
            self._settle()

    def _settle(self) -> None:
        with self._link.listeners:
            self._done = True
            listeners, self._listeners = self._listeners, None
        if listeners is not None:  # added between the last outcome and now
            self._listeners = listeners
            self._link.call_back(self)
        if self._parked is not None:
            wake_waiters(self)

    def run_callbacks(self) -> None:
        """Run the callbacks (called in the thread for that)."""
        callback, error_callback = self._callback, self._error_callback
        self._callback = self._error_callback = None
        try:
            if callback is not None or error_callback is not None:
                try:
                    value = self._value()
                except BaseException as error:
                    if error_callback is not None:
                        error_callback(error)
                else:
                    if callback is not None:
                        callback(value)
        finally:
            listeners, self._listeners = self._listeners, None
            if not self._done:
                self._settle()
            for listener in listeners or ():
                self._link.listen(listener, self)


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
            # Of several threads that open it at once, all get what the first one made.
            opened = self.__dict__.setdefault("_opened", pickle.loads(payload))
            outcome.payload = b""
            return opened
        opened = self._opened
        if opened is _CLOSED:
            if outcome.status < 0:
                task = self._task
                what = in_words(self._name, task.kind, task.payload, 0, 1, 0)
                opened = decided(outcome.status, outcome.detail, what, outcome.engine)
            else:
                opened = unpack_failure(outcome.payload, self._engine)
            self._opened = opened
        raise opened

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
        return self._describe(arrived[0] if arrived else Arrived(self._id, codes.OK, b"", 0.0, 0.0, 0.0, None, 1))

    def _ids(self) -> list[int]:
        return [self._id] if self._id >= 0 else []


def _date(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, timezone.utc) if seconds else None
