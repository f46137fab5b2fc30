"""A :class:`concurrent.futures.Executor` over a link, and the one over a view."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from functools import partial
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..errors import ForkedError
from ..wire.functions import Function
from ..wire.messages import CALL, STARMAP
from .call import ViewResult
from .future import CallFuture, FutureCall, FutureCalls, PoolCall, recall
from .remote import send_part

if TYPE_CHECKING:
    from .contract import Link, Terms
    from .view import View


class LinkExecutor(Executor):
    """What executors are, wherever their calls go: to say where, and by which terms, is the subclass's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shut = False
        self._pending: set[CallFuture] = set()  #: not settled yet; those that nobody holds any more, too

    @property
    def _link(self) -> Link:
        raise NotImplementedError

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """``fn(*args, **kwargs)`` on an engine; gives its future.

        Raises RuntimeError after :meth:`shutdown`, and :class:`concurrent.futures.BrokenExecutor` (which is one, too)
        where the pool has ended. Whatever else keeps the call from being made is the exception of the future.
        """
        future = self._begin(lambda future: self._call(future, fn, args, kwargs))
        self._link.tend()
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """An iterator over ``fn(*items)``, in order. The calls are submitted at once, before the first is asked for.

        ``timeout``: seconds from now after which a value that is not there is a :class:`TimeoutError`. ``chunksize``
        items make one task. With ``buffersize`` no more than so many tasks are submitted whose values were not taken,
        and the iterables are read as they are needed. An error or a time-out ends the iteration, and takes back what
        has not begun.
        """
        if not isinstance(chunksize, int) or chunksize < 1:
            raise ValueError(f"chunksize must be an int of 1 or more, not {chunksize!r}")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError(f"buffersize must be None or an int, not {buffersize!r}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be None or 1 or more, not {buffersize!r}")
        deadline = None if timeout is None else timeout + monotonic()
        items = zip(*iterables)  # noqa: B905 (as the builtin map: the shortest decides)
        return _Stream(self, fn, items, chunksize, buffersize).values(deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; ``cancel_futures``: and cancel those that have not begun. The engines serve on.

        With ``wait`` it returns when all calls have ended.
        """
        with self._lock:
            self._shut = True
            pending = self._pending.copy()
        if self._link.foreign:  # a fork, where nothing will ever come
            return
        if cancel_futures:
            recall(pending)
        if wait and self._link.in_callback():
            for future in pending:  # by whom else?
                future.settle_here()
        elif wait:
            wait_for(pending)

    # -- submission -------------------------------------------------------------------------------------------

    def _begin(self, send: Callable[[CallFuture], object]) -> CallFuture:
        """A future, and the call that ``send`` makes for it."""
        try:
            self._link.check_open()
        except ForkedError:
            raise
        except Exception as error:
            raise self._broken_by(error) from error
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            future = CallFuture(self._pending)
            self._pending.add(future)
        try:
            send(future)
        except Exception as error:
            future.fail(error)
        except BaseException:
            self._pending.discard(future)
            raise
        return future

    def _broken_by(self, error: Exception) -> BrokenExecutor:
        return BrokenExecutor(f"no call can be submitted: {error}")

    def _call(self, future: CallFuture, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make the one call of a submit."""
        raise NotImplementedError

    def _call_item(self, future: CallFuture, function: Function, item: tuple[Any, ...], number: int) -> None:
        """Make the call for an item of a map. ``number``: which of its tasks this is."""
        raise NotImplementedError

    def _call_chunk(self, future: CallFuture, function: Function, chunk: list[tuple[Any, ...]], number: int) -> None:
        """Make the task for several items of a map."""
        raise NotImplementedError


class PoolExecutor(LinkExecutor):
    """Submits calls as a Pool does: the engines belong to it."""

    _pool: Any  #: the Pool; results keep it alive
    _terms: Terms  #: of all calls

    @property
    def _link(self) -> Link:
        link: Link = self._pool._link
        return link

    def _call(self, future: CallFuture, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._send(future, *self._link.pack(fn, args, kwargs, self._terms))

    def _call_item(self, future: CallFuture, function: Function, item: tuple[Any, ...], number: int) -> None:
        self._send(future, *self._link.pack(function, item, {}, self._terms))

    def _call_chunk(self, future: CallFuture, function: Function, chunk: list[tuple[Any, ...]], number: int) -> None:
        self._send(future, function, self._link.dumps(chunk), STARMAP, len(chunk))

    def _send(self, future: CallFuture, function: Function, payload: Any, kind: int = CALL, size: int = 1) -> None:
        result = future.call = PoolCall(self._link, self._pool)
        result.promise = future
        result._name = function.name
        result._id = self._link.send_chunk(function, payload, kind, size, 0, result, self._terms)


class ViewExecutor(LinkExecutor):
    """Submits calls to the engines of a view, by the view's flags, and gives :class:`concurrent.futures.Future` objects.

    With a view of several engines ``submit`` calls the function on each of them, and the future's value is the list;
    ``map`` calls it once for each item, with any view. Shutting it down ends it, and neither the view nor the engines.
    Exceptions are those of views: a ValueError of a task is a ValueError and a :class:`~parpool.RemoteError`.
    """

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def __repr__(self) -> str:
        return f"<ViewExecutor on {self.view!r}>"

    @property
    def _link(self) -> Link:
        return self.view._link

    def _call(self, future: CallFuture, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        view, targets = self.view, self._targets()
        packed = view._link.pack(fn, args, kwargs, view._terms)
        if view.balanced or isinstance(view._targets, int):
            self._send(future, packed, targets[0])
        else:
            self._send_to_each(future, packed, targets)

    def _call_item(self, future: CallFuture, function: Function, item: tuple[Any, ...], number: int) -> None:
        self._send(future, self._link.pack(function, item, {}, self.view._terms), self._target(number))

    def _call_chunk(self, future: CallFuture, function: Function, chunk: list[tuple[Any, ...]], number: int) -> None:
        self._send(future, (function, self._link.dumps(chunk)), self._target(number), STARMAP)

    def _targets(self) -> Sequence[int | None]:
        """The engines that calls go to; of a load-balanced view: None, for any."""
        view = self.view
        return [None] if view.balanced else view.client.targets_of(view._targets)

    def _target(self, number: int) -> int | None:
        targets = self._targets()
        return targets[number % len(targets)]

    def _send(self, future: CallFuture, packed: tuple[Function, bytes], target: int | None, kind: int = 0) -> None:
        view = self.view
        result = future.call = FutureCall(view._link, view.client, view._records)
        result.promise = future
        send_part(view, result, *packed, target, kind)

    def _send_to_each(self, future: CallFuture, packed: tuple[Function, bytes], targets: Sequence[int | None]) -> None:
        view = self.view
        parts = [ViewResult(view._link, view.client, view._records) for _ in targets]
        whole = future.call = FutureCalls(view._link, view.client, parts)
        whole.promise = future
        for part, target in zip(parts, targets, strict=True):
            whole.take(part)
            send_part(view, part, *packed, target)


class _Stream:
    """The calls of one map."""

    def __init__(
        self,
        executor: LinkExecutor,
        fn: Callable[..., Any],
        items: Iterator[tuple[Any, ...]],
        chunksize: int,
        buffersize: int | None,
    ) -> None:
        self._executor = executor
        self._link = executor._link
        self._function: Any = fn
        self._chunksize = chunksize
        self._chunks = iter(lambda: list(islice(items, chunksize)), [])
        self._lazy = buffersize is not None  #: are chunks submitted as values are taken?
        self._count = 0  #: chunks that were submitted
        self._futures: deque[CallFuture] = deque()
        self._submit(buffersize)

    def _submit(self, most: int | None) -> None:
        """Submit up to ``most`` chunks (None: all that there are)."""
        try:
            for chunk in islice(self._chunks, most):
                self._futures.append(self._executor._begin(partial(self._send, chunk)))
                self._count += 1
        except BaseException:
            self._abandon()
            raise
        self._link.tend()

    def _send(self, chunk: list[tuple[Any, ...]], future: CallFuture) -> None:
        if type(self._function) is not Function:
            self._function = self._link.function(self._function)
        if self._chunksize == 1:
            self._executor._call_item(future, self._function, chunk[0], self._count)
        else:
            self._executor._call_chunk(future, self._function, chunk, self._count)

    def values(self, deadline: float | None) -> Iterator[Any]:
        """The values, in order. What is given away is held by no name here."""
        try:
            while self._futures:
                if self._chunksize == 1:
                    yield self._take(deadline)
                    continue
                values = self._take(deadline)
                values.reverse()
                while values:
                    yield values.pop()
        finally:
            self._abandon()

    def _take(self, deadline: float | None) -> Any:
        """The value of the next chunk; another one may be submitted in its place."""
        value = self._futures[0].result(None if deadline is None else deadline - monotonic())
        self._futures.popleft()
        if self._lazy:
            self._submit(1)
        return value

    def _abandon(self) -> None:
        """Take back what has not begun. Nobody else has these futures, so nobody waits until that is certain."""
        ids = [id for future in self._futures for id in future.ask_back()]
        self._futures.clear()
        if ids:
            with suppress(ForkedError):  # in a fork, where the iterator is a copy
                self._link.abort(ids)
