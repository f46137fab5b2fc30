"""imap: results as they come, from items that are read as engines become free.

Items of a list, range or array are cut out of it. Any other iterable is read by a thread of its own: it may be slow,
and nothing else should wait for it. Either way only a little more is read than the engines have asked for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from .. import status as codes
from ..net.parking import wake_waiters
from ..wire.envelope import load
from ..wire.messages import EACH, HOW, VIEW
from ..wire.payload import independent
from .mapping import Feed, map_kind, sliceable
from .outcome import exception_of
from .reading import Reader
from .result import AsyncResult, time_out_of_view
from .shown import Passed
from .waits import AlsoAwaited

if TYPE_CHECKING:
    from ..wire.functions import Function
    from .contract import Link, Terms

T = TypeVar("T")


class IMapIterator(AlsoAwaited[T]):
    """An iterator over the results of ``imap`` and ``imap_unordered``."""

    def __init__(
        self,
        link: Link,
        owner: object,
        function: Function,
        iterable: Iterable[Any],
        terms: Terms,
        *,
        ordered: bool = True,
        chunk: int = 1,
        single: bool = False,
        star: bool = False,
        buffersize: int | None = None,
        bar: Any = None,
    ) -> None:
        self._link = link
        self._owner = owner
        self._function = function
        self._terms = terms
        self._chunk = chunk  #: items that come as one list, in one task; 1: each by itself, in tasks as is best
        self._star = star  #: is each item a tuple of arguments?
        self._single = single  #: one item a task, whatever is best
        self._buffersize = buffersize
        self._bar = bar
        self._ordered = ordered
        self._arrived: dict[int, Any] = {}  #: when ordered: outcomes by their number
        self._queue: deque[Any] = deque()  #: when not: outcomes as they came
        self._taken = 0  #: results that the user has taken
        self._length: int | None = None  #: how many there will be, when that is known
        self._expected: int | None = None  #: how many its iterable says that there will be
        self._error: BaseException | None = None  #: what the iterable raised
        self._done = False  #: is there something to take, or nothing more to come?
        self._parked: list[threading.Lock] | None = None
        self._lock = threading.RLock()
        self._feed: Feed | None = None
        self._reader: Reader | None = None
        if type(iterable) is list:
            iterable = iterable[:]  # it is cut as engines become free, and may change until then
        if link.failure is not None:
            self.finished(0, link.failure)
        elif sliceable(iterable) and chunk == 1:
            self._length = len(iterable)  # type: ignore[arg-type]
            alone = single or (type(iterable) in (list, tuple) and not independent(iterable))
            self._feed = Feed(link, function, iterable, self, terms, map_kind(star, True), 1 if alone else None)  # type: ignore[arg-type]
            with self._lock:
                self._send_more()
                self._mark()
        else:
            try:
                iterator = iter(iterable)
            except Exception as error:  # by contract it comes out of the first next()
                self.finished(0, error)
            else:
                with suppress(Exception):  # else it would be theirs alone who ask for it
                    self._expected = len(iterable) if isinstance(iterable, Sized) and chunk == 1 else None
                self._reader = Reader(self, iterator)
                self._reader.start()

    # -- the iterator -----------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[T]:
        return self

    def __length_hint__(self) -> int:
        """How many results are still to be taken, where that can be known: for what shows progress."""
        length = self._expected if self._length is None else self._length
        return NotImplemented if length is None else max(0, length - self._taken)

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout: float | None = None) -> T:
        """The next result; raises the exception of its task, and StopIteration after the last.

        Waits ``timeout`` seconds at the most (None: as long as it takes), then raises
        :class:`multiprocessing.TimeoutError`.
        """
        with self._lock:
            entry = self._pop()
        if entry is None:
            entry = self._wait_for_next(timeout)
        task, outcome, engine = entry
        if self._taken == self._length:
            self._mark()  # other threads may be waiting for what will not come
        if self._buffersize is not None:
            self._make_room()
        if outcome.status == codes.OK:
            value: T = load(outcome.payload)
            self._advance(len(value) if self._chunk > 1 else 1)  # type: ignore[arg-type]  # a chunk is a list
            return value
        self._advance(self._chunk)
        if isinstance(outcome, _Unsent):
            raise outcome.error
        error = exception_of(self._function.name, task, outcome, engine)
        if isinstance(error, StopIteration):  # it would end the iteration
            raise RuntimeError("the task raised StopIteration") from error
        raise error

    def close(self) -> None:
        """Read no further. The results of what was sent can still be taken."""
        with self._lock:
            if self._feed is not None:
                self._length = self._feed.total = self._feed.next
        if self._reader is not None:
            self._reader.stop()
        self._mark()

    def printed(self, task: Any, engine: int, stream: int, text: str) -> None:
        """A task has written to a stream (called by whoever drives the loop): it is passed on to this process's own."""
        stream, text = self._link.remarks.sort(stream, text, engine, task.origin)
        if text:
            self._link.call_back(Passed(stream, text, engine))

    def _pop(self) -> Any:
        """The next outcome, if it is there. Under the lock."""
        if self._ordered:
            entry = self._arrived.pop(self._taken, None)
        else:
            entry = self._queue.popleft() if self._queue else None
        if entry is not None:
            self._taken += 1
        return entry

    def _wait_for_next(self, timeout: float | None) -> Any:
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            with self._lock:
                entry = self._pop()
                if entry is not None:
                    return entry
                if self._length is not None and self._taken >= self._length:
                    self._mark()
                    self._close_bar()
                    if self._error is not None:
                        error, self._error = self._error, None
                        raise error
                    raise StopIteration
                self._done = False
                entry = self._pop()
                if entry is not None:  # it came in this moment, from a thread that thought we knew
                    self._done = True
                    return entry
            left = None if deadline is None else max(0.0, deadline - monotonic())
            if not self._link.wait(self, left):
                if self._terms.get("kind", 0) & VIEW:
                    time_out_of_view()
                AsyncResult._time_out()

    def _advance(self, items: int) -> None:
        if self._bar is not None:
            self._bar.update(items)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    # -- what arrives -----------------------------------------------------------------------------------------

    def deliver(self, task: Any, outcome: Any, engine: int | None) -> None:
        """An outcome has arrived (called by whoever drives the loop)."""
        item = outcome.item if task.kind & HOW >= EACH else 0
        if self._ordered:
            self._arrived[task.tag + item] = (task, outcome, engine)
        else:
            self._queue.append((task, outcome, engine))
        if self._feed is not None:
            if self._feed.window.came(task.tag):
                with self._lock:
                    self._send_more()
        elif self._reader is not None:
            self._reader.came(task.tag)
        if not self._done or self._parked:
            self._mark()

    def _mark(self) -> None:
        """Tell waiters where there is something to take, or nothing more to come."""
        with self._lock:
            something = self._taken in self._arrived if self._ordered else bool(self._queue)
            if something or (self._length is not None and self._taken >= self._length):
                self._done = True
        if self._done and self._parked:
            wake_waiters(self)
        self._link.nudge()

    def _send_more(self) -> None:
        feed = self._feed
        limit = None if self._buffersize is None else self._taken + self._buffersize
        while feed is not None and feed.wants_more(limit):
            if self._link.failure is not None:
                self._length, self._error, feed.next = feed.next, self._link.failure, feed.total
                self._mark()
                return
            start, items = feed.cut(limit)
            try:
                feed.send(start, items)
            except Exception as error:
                if len(items) == 1:
                    self.refused(start, error)
                    continue
                for offset in range(len(items)):  # only the one that cannot be pickled fails
                    try:
                        feed.send(start + offset, items[offset : offset + 1])
                    except Exception as error:
                        self.refused(start + offset, error)

    def refused(self, number: int, error: BaseException) -> None:
        """An item, or chunk, that cannot be sent ends with the error that says why."""
        entry = (None, _Unsent(error), None)
        if self._ordered:
            self._arrived[number] = entry
        else:
            self._queue.append(entry)
        self._mark()

    def finished(self, length: int, error: BaseException | None) -> None:
        """The iterable has ended: there will be ``length`` results, and then ``error``, if any."""
        with self._lock:
            if self._length is None:
                self._length = length
                self._error = error
        self._mark()

    def _make_room(self) -> None:
        if self._feed is not None:
            with self._lock:
                self._send_more()
            self._link.tend()
        elif self._reader is not None:
            self._reader.make_room()


class _Unsent:
    """Stands for the outcome of an item that could not be sent."""

    __slots__ = ("error",)
    status = codes.ERROR

    def __init__(self, error: BaseException) -> None:
        self.error = error
