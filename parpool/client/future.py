"""Futures of calls, with a ``cancel`` that can be relied on.

A call of which ``cancel`` says True has not run and never will. Tasks travel to the engines before they run, so that
takes a word with the engine; as long as it is not clear whether a call has begun, it counts as begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from concurrent.futures import process as stdlib
from time import monotonic
from typing import TYPE_CHECKING, Any

from .. import status as codes
from ..errors import EngineLost, ParpoolError, TaskAborted
from .call import CallResult, ViewResult
from .joined import JoinedResult
from .result import AsyncResult

if TYPE_CHECKING:
    from .contract import Link

PATIENCE = 1.0  #: seconds that an engine has to say whether it has begun a call that is to be cancelled


class CallFuture(Future[Any]):
    """A future of a view's call."""

    def __init__(self, pending: set[CallFuture]) -> None:
        super().__init__()
        self.call: Promising | None = None  #: until it has ended
        self._pending = pending
        self._asked_back = False
        self._claimed = False  #: has a thread taken on to settle it?

    def cancel(self) -> bool:
        """Take the call back where it has not begun. True: it has not run, and never will."""
        recall([self])
        return self.cancelled()

    def result(self, timeout: float | None = None) -> Any:
        """What the call has given; raises what it has raised. Waits for it, ``timeout`` seconds at the most."""
        return super().result(self._awaited_here(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call has raised; None: nothing. Waits for it, ``timeout`` seconds at the most."""
        return super().exception(self._awaited_here(timeout))

    def _awaited_here(self, timeout: float | None) -> float | None:
        """In the thread for callbacks: wait for the call, as nobody else will settle it. Gives how long to wait after that."""
        call = self.call
        if call is None or self.done() or not call._link.in_callback():
            return timeout
        call.wait(timeout)
        if not call.ready():
            return 0
        self.settle(call)
        return timeout

    def running(self) -> bool:
        """Is the call being run, so that it cannot be cancelled?"""
        call = self.call
        if call is not None and not super().running() and not call._done and call._link.failure is None:
            if not _first_in_line(call._link).isdisjoint(call._ids()):
                self.begun()
        return super().running()

    def begun(self) -> None:
        """From now on it cannot be cancelled."""
        with self._condition:
            if not self.done() and not Future.running(self):
                self.set_running_or_notify_cancel()

    def ask_back(self) -> list[int]:
        """The tasks to abort for it to be cancelled."""
        call = self.call
        if call is None or call._done or Future.running(self):
            return []
        self._asked_back = True
        return call._ids()

    def fail(self, error: BaseException) -> None:
        """The call could not be made."""
        if self._claim():
            self.begun()
            self.set_exception(error)
            self._forget()

    def settle(self, call: Promising) -> None:
        """The call has ended."""
        if not self._claim():
            return
        if self._asked_back and _was_taken_back(call) and super().cancel():
            self.set_running_or_notify_cancel()  # which tells those who wait
        else:
            self.begun()
            try:
                value = call.get()
            except BaseException as error:
                self.set_exception(error)
            else:
                self.set_result(value)
        self._forget()

    def _claim(self) -> bool:
        with self._condition:
            claimed, self._claimed = self._claimed, True
        return not claimed

    def _forget(self) -> None:
        self._pending.discard(self)
        self.call = None

    def settle_here(self) -> None:
        """Wait for the call, and settle it in this thread, which is that of the callbacks."""
        call = self.call
        if call is not None:
            call.wait()
            self.settle(call)

    def settled_as_cancelled(self, call: Promising) -> None:
        """The call was taken back: see to it that this can be seen when this returns."""
        self.settle(call)
        with self._condition:  # another thread may be at it
            self._condition.wait_for(self.done)


class Promising(AsyncResult):
    """A result that settles a future when it has ended, in the thread for callbacks."""

    promise: CallFuture | None = None

    def run_callbacks(self) -> None:
        """Settle the future (called in the thread for callbacks)."""
        super().run_callbacks()
        promise, self.promise = self.promise, None
        if promise is not None:
            promise.settle(self)


class _PromisingCall(Promising, CallResult):
    def deliver(self, task: Any, outcome: Any, engine: int | None) -> None:
        """The outcome has arrived (called by whoever drives the loop)."""
        super().deliver(task, outcome, engine)
        self._link.call_back(self)


class FutureCall(_PromisingCall, ViewResult):
    """A view's call to one engine."""


class FutureCalls(Promising, JoinedResult):
    """A view's call to each of several engines."""

    def _finish(self) -> None:
        super()._finish()
        self._link.call_back(self)


class BrokenByEngine(EngineLost, stdlib.BrokenProcessPool):
    """The engine that ran the call died. The call alone has failed: the executor serves on, with another engine."""


class PoolCall(_PromisingCall):
    """A call of an executor: what it ends in is what the standard library's would end in."""

    def _value(self) -> Any:
        try:
            return super()._value()
        except EngineLost as error:
            if type(error) is not EngineLost:  # of an executor that the task itself has used
                raise
            lost: Any = BrokenByEngine(*error.args)
            lost.engine_id = self._engine
            raise lost from None
        except TaskAborted as error:
            if self._link.failure is None:  # of an executor that the task itself has used
                raise
            raise stdlib.BrokenProcessPool(str(error)) from None
        except BaseException as error:
            if error is self._link.failure:
                name = "" if isinstance(error, ParpoolError) else f"{type(error).__name__}: "  # of an initializer
                raise stdlib.BrokenProcessPool(f"the engines cannot start: {name}{error}") from error
            raise

    def _unpack(self, payload: bytes) -> BaseException:
        error = super()._unpack(payload)
        cause = error.__cause__
        if type(cause).__name__ == "RemoteTraceback":  # that of Pool; the one of executors is another class
            remote: Any = vars(stdlib)["_RemoteTraceback"]  # which the stubs do not know
            BaseException.__setattr__(error, "__cause__", remote(cause.tb))  # type: ignore[union-attr]
        return error


def recall(futures: Iterable[CallFuture]) -> None:
    """Cancel the futures whose calls have not begun, and return when that is certain of each."""
    calls = {future: call for future in futures if (call := future.call) is not None and not Future.running(future)}
    asked = False
    pause, deadline = 0.001, monotonic() + PATIENCE
    while True:
        for future, call in list(calls.items()):
            if call._done:
                if future._asked_back and _was_taken_back(call):
                    future.settled_as_cancelled(call)
                del calls[future]
        if not calls:
            return
        link = next(iter(calls.values()))._link
        if link.failure is None:
            first = _first_in_line(link)
            for future, call in list(calls.items()):
                if _has_begun(call, first):
                    future.begun()
                    del calls[future]
            if not calls:
                return
        if not asked:
            asked = True
            link.abort([id for future in calls for id in future.ask_back()])
        left = deadline - monotonic()
        if left <= 0:
            for future in calls:
                future.begun()
            return
        # Until the engines have answered; meanwhile a call may also come to its turn.
        until = monotonic() + min(pause, left)
        for call in calls.values():
            if not link.wait(call, max(0.0, until - monotonic())):
                break
        pause *= 2


def _first_in_line(link: Link) -> set[int]:
    """The tasks that engines run now, as far as is known here: of those that an engine holds, the first."""
    try:
        status = link.control.status()
    except Exception:
        if link.failure is None:
            raise
        return set()  # the pool has ended in this moment
    engines = [entry for entry in status.values() if isinstance(entry, dict)]
    return {engine["tasks"][0] for engine in engines if engine["tasks"]}


def _has_begun(call: Promising, first: set[int]) -> bool:
    ended = [part._outcome.status for part in call._parts() if part._outcome is not None]
    return any(status != codes.ABORTED for status in ended) or not first.isdisjoint(call._ids())


def _was_taken_back(call: Promising) -> bool:
    return all(part._outcome.status == codes.ABORTED for part in call._parts())
