"""The faces that :mod:`concurrent.futures` and iterators give to views."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from parpool import RemoteError

from .error import translated, translating

if TYPE_CHECKING:
    from .results import AsyncResult
    from .views import View


class LazyMapIterator:
    """The values of :meth:`LoadBalancedView.imap`."""

    def __init__(self, values: Iterator[Any], return_exceptions: bool = False) -> None:
        self._values: Iterator[Any] | None = values
        self._return_exceptions = return_exceptions

    def __iter__(self) -> LazyMapIterator:
        return self

    def __next__(self) -> Any:
        if self._values is None:
            raise StopIteration
        with translating():
            try:
                return next(self._values)
            except RemoteError as error:
                if not self._return_exceptions:
                    raise
                return translated(error)

    def cancel(self) -> None:
        """Read no more items. What was sent runs to its end."""
        close = getattr(self._values, "close", None)
        self._values = None
        if close is not None:
            close()


class ViewExecutor(Executor):
    """Submits calls to the engines of a view. Its futures are AsyncResults."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._submitted: set[AsyncResult] = set()
        self._shut = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncResult:
        """``fn(*args, **kwargs)`` by the view's ``apply_async``."""
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        result = self.view.apply_async(fn, *args, **kwargs)
        self._submitted.add(result)
        result.add_done_callback(self._submitted.discard)
        return result

    def map(self, func: Callable[..., Any], *iterables: Any, **kwargs: Any) -> Iterator[Any]:  # type: ignore[override]
        """An iterator over the values, by the view's ``imap``. ``timeout`` is not kept, as there, but warned of."""
        if kwargs.pop("timeout", None) is not None:
            warnings.warn("ViewExecutor.map() keeps no timeout: map_async(...).get(timeout) does", stacklevel=2)
        kwargs.pop("chunksize", None)  # parpool puts items together by itself
        return self.view.imap(func, *iterables, **kwargs)

    @property
    def is_shut(self) -> bool:
        """Does it take no more calls?"""
        return self._shut

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. The engines serve on."""
        self._shut = True
        pending = list(self._submitted)
        if cancel_futures:
            for result in pending:
                result.abort()
        if wait:
            for result in pending:
                result.wait()
