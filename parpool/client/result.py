"""AsyncResult: one handle for whatever was submitted.

A superset of ``multiprocessing.pool.AsyncResult``. It knows how to wait (through its link), how to turn outcomes
into values (in the thread that asks), and what the tasks' metadata are (made when asked for).
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from time import time
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..net.parking import wake_waiters
from .account import Account
from .live import Streaming
from .shown import display, watch

if TYPE_CHECKING:
    import concurrent.futures

    from typing_extensions import TypeVar as TypeVarOfAny

    from .contract import Link
    from .joined import JoinedResult

    T = TypeVarOfAny("T", default=Any)  # to checkers that is a library of their own
else:
    T = TypeVar("T")

NOT_READY = "Result not ready."


def time_out_of_view() -> None:
    """Raise what a view's results raise that are not there in time."""
    from ..errors import ResultTimeout

    raise ResultTimeout(NOT_READY)


class AsyncResult(Account, Generic[T]):
    """The result of a call that may not have ended yet.

    Made by ``apply_async``, ``map_async`` and their like, never by hand. Any number of threads may wait on it; it can
    be awaited in a coroutine, and it gives a :class:`concurrent.futures.Future` where one is needed.
    """

    # The defaults of a result that nothing has happened to yet lie in the class: there may be a million of them.
    _name = ""
    _done = False
    _borrowed = False  #: do the engines use memory or files of the caller's?
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

    def get(self, timeout: float | None = None, return_exceptions: bool = False) -> T:
        """The value, when it has arrived; raises the exception of the task.

        Waits ``timeout`` seconds at the most (None: as long as it takes), then raises
        :class:`multiprocessing.TimeoutError`; results of views :class:`~parpool.ResultTimeout`, which is Python's own
        TimeoutError as well. With ``return_exceptions`` an exception is given in the place of the value that it
        prevented, and not raised.
        """
        if not self._done and not self._link.wait(self, timeout):
            self._time_out()
        value: T = self._values_or_exceptions() if return_exceptions else self._value()
        return value

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
    def r(self) -> T:
        """``get()``."""
        return self.get()

    @property
    def result(self) -> T:
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

    def future(self) -> concurrent.futures.Future[T]:
        """A :class:`concurrent.futures.Future` of this result. Cancelling it aborts what has not begun."""
        from concurrent.futures import Future

        future: Future[T] = Future()

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

    def __await__(self) -> Generator[Any, None, T]:
        """Wait in a coroutine. Cancelling the awaiting task aborts what has not begun."""
        from .asyncs import value_of

        return value_of(self).__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        """The values in a coroutine, as iteration gives them. Cancelling the task that waits aborts what has not begun."""
        from .asyncs import Values

        return Values(iter(self), self.abort)

    def abort(self) -> None:
        """Take back what has not begun; it ends in TaskAborted. What runs goes on."""
        self._link.abort(self._ids())

    def cancel(self) -> None:
        """The same as :meth:`abort`."""
        self.abort()

    # -- what is known of it ----------------------------------------------------------------------------------

    @property
    def msg_ids(self) -> list[str]:
        """The names of its tasks: of those submitted so far, for a map that is fed as engines become free."""
        return [self._link.msg_id(id) for id in self._ids()]

    def __len__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        return True  # and not a matter of len()

    def __iter__(self) -> Iterator[Any]:
        """The values, each as soon as it and those before it have arrived."""
        yield self.get()

    def get_dict(self, timeout: float | None = None) -> dict[int | None, Any]:
        """The values by the engines that they come from. Raises ValueError where an engine gave more than one."""
        values: Any = self.get(timeout)
        engines = [arrived.engine for arrived in self._arrived()]
        values = [values] if self._is_single() else values
        if len(set(engines)) < len(engines) or len(engines) != len(values):
            raise ValueError("more than one value came from an engine: get() gives them all")
        return dict(zip(engines, values, strict=True))

    @property
    def result_dict(self) -> dict[int | None, Any]:
        """``get_dict()``."""
        return self.get_dict()

    @property
    def sent(self) -> bool:
        """May the arguments be changed, without a change of what the engines get?

        They are pickled, or copied, when the call is made: so it is True at once. What is not copied, arrays of
        :func:`parpool.share` and files mapped by numpy, may be changed when the call has ended.
        """
        return self._done or not self._borrowed

    def wait_on_send(self, timeout: float | None = None) -> bool:
        """Wait until :attr:`sent`, ``timeout`` seconds at the most; is it?"""
        if not self.sent:
            self._link.wait(self, timeout)
        return self.sent

    def wait_for_send(self, timeout: float | None = None) -> bool:
        """The same as :meth:`wait_on_send`."""
        return self.wait_on_send(timeout)

    def wait_interactive(
        self, interval: float = 0.1, timeout: float | None = None, file: Any = None, bar: bool | str = True
    ) -> bool:
        """Wait with a progress bar (on ``file``, by default stderr); has it ended within ``timeout`` seconds?

        The bar is renewed every ``interval`` seconds. It is tqdm's; with ``bar="rich"`` that of rich, with ``"text"``
        plain text. Ctrl-C ends the wait and not the tasks.
        """
        return watch(self, interval, timeout, file, bar or "text")

    def display_outputs(self, groupby: str = "engine", result_only: bool = False) -> None:
        """Show what the tasks have printed and displayed so far, and the values that ``execute`` gave.

        ``groupby``: all of an engine together (``"engine"``), all of a kind (``"type"``), or so, with what was displayed
        in turns: the first of each engine, then the second (``"order"``). ``result_only``: the values alone.
        """
        display(self, groupby, result_only)

    def stream_output(self) -> Any:
        """A context manager: within it, what the tasks print is printed here as it comes, tagged by engine."""
        return Streaming(self)

    def join(self, *others: AsyncResult) -> JoinedResult:
        """One result of this and ``others``, with the values one behind the other."""
        from .joined import JoinedResult

        return JoinedResult.of([self, *others])

    def split(self) -> list[AsyncResult]:
        """A result for each task of this one."""
        return [self]

    def __dir__(self) -> list[str]:
        # Without r and result: what looks at every attribute, as a manager does, should not have to wait.
        return [name for name in super().__dir__() if name not in ("r", "result", "result_dict")]

    def __class_getitem__(cls, item: Any) -> GenericAlias:
        return GenericAlias(cls, item)

    def __repr__(self) -> str:
        state = "pending" if not self._done else "ready" if self._failure() is None else "failed"
        return f"<{type(self).__name__} {self._name}: {state}>"

    def _repr_html_(self) -> str:
        from .notebook import result_html

        return result_html(self)

    def __reduce__(self) -> Any:
        raise NotImplementedError("results cannot be passed between processes or pickled")

    @staticmethod
    def _time_out() -> None:
        from multiprocessing import TimeoutError

        raise TimeoutError(NOT_READY)

    # -- for subclasses ---------------------------------------------------------------------------------------

    def _values_or_exceptions(self) -> Any:
        try:
            return self._value()
        except BaseException as error:
            if self._failure() is None and not isinstance(error, Exception):  # Ctrl-C, while it was opened
                raise
            return error

    def _is_single(self) -> bool:
        return True

    def _parts(self) -> list[Any]:
        """The results of single tasks that this one is made of, for what is told task by task."""
        return [self]

    def _value(self) -> Any:
        raise NotImplementedError

    def _failure(self) -> object:
        """What made the call fail; None where nothing did."""
        raise NotImplementedError

    def _ids(self) -> list[int]:
        raise NotImplementedError

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
