"""Results in a coroutine: to be awaited, and to be iterated over.

The loop must never wait for an engine, nor may engines know of the loop: what there is to tell it is told by
``call_soon_threadsafe``, and it may have ended by then.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .result import AsyncResult

T = TypeVar("T")

AHEAD = 256  #: values that are opened before somebody has asked for them


async def value_of(result: AsyncResult[T]) -> T:
    """The value of a result. Cancelling this aborts what has not begun of it, and leaves what runs alone."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(_settle, ended)

    if not result.ready():
        result.add_done_callback(tell)
        try:
            await ended
        except asyncio.CancelledError:
            result.abort()
            raise
    return result.get()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Values(AsyncIterator[T]):
    """The values of an iterator that has to wait for them: a thread of its own does so.

    ``give_up`` is called when a task that waits here is cancelled.
    """

    def __init__(self, values: Iterator[T], give_up: Callable[[], object]) -> None:
        self._values = values
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        #: Lists of one value, exceptions, and None at the end.
        self._taken: queue.Queue[Any] = queue.Queue(AHEAD)
        self._more = asyncio.Event()
        self._left = threading.Event()  #: nobody wants more
        self._over = False
        # It holds nothing of ours that would keep us alive: who drops the iterator ends the thread.
        arguments = (values, self._taken, self._left, self._loop, self._more)
        threading.Thread(target=_feed, args=arguments, name="parpool-values", daemon=True).start()

    def __aiter__(self) -> Values[T]:
        return self

    async def __anext__(self) -> T:
        if self._over:
            raise StopAsyncIteration
        while True:
            self._more.clear()
            try:
                entry = self._taken.get_nowait()
                break
            except queue.Empty:
                pass
            try:
                await self._more.wait()
            except asyncio.CancelledError:
                self._end()
                self._give_up()
                raise
        if type(entry) is list:
            value: T = entry[0]
            return value
        self._end()
        if entry is None:
            raise StopAsyncIteration
        raise entry

    def _end(self) -> None:
        self._over = True
        self._left.set()
        with suppress(queue.Empty):  # the thread may be waiting for room
            while True:
                self._taken.get_nowait()

    def __del__(self) -> None:
        self._end()


def _feed(
    values: Iterator[Any],
    taken: queue.Queue[Any],
    left: threading.Event,
    loop: asyncio.AbstractEventLoop,
    more: asyncio.Event,
) -> None:
    entry: Any
    while not left.is_set():
        try:
            entry = [next(values)]
        except StopIteration:
            entry = None
        except BaseException as error:
            entry = error
        taken.put(entry)
        try:
            loop.call_soon_threadsafe(more.set)
        except RuntimeError:  # it has ended
            return
        if type(entry) is not list:
            return
