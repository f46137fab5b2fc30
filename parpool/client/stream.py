"""imap: results as they come, from items that are read as engines become free.

Items of a list, range or array are cut out of it. Any other iterable is read by a thread of its own: it may be slow,
and nothing else should wait for it. Either way only a little more is read than the engines have asked for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import status as codes
from ..net.loop import wake_waiters
from ..wire.envelope import load
from ..wire.messages import EACH, HOW, VIEW
from ..wire.payload import independent
from .mapping import AHEAD, Feed, Window, chunk_size, map_kind, sliceable
from .outcome import exception_of
from .result import AsyncResult, time_out_of_view
from .shown import Passed

if TYPE_CHECKING:
    from ..wire.functions import Function
    from .contract import Link, Terms

T = TypeVar("T")


class IMapIterator(Generic[T]):
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
        self._error: BaseException | None = None  #: what the iterable raised
        self._done = False  #: is there something to take, or nothing more to come?
        self._parked: list[threading.Lock] | None = None
        self._lock = threading.RLock()
        self._feed: Feed | None = None
        self._reader: _Reader | None = None
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
                self._reader = _Reader(self, iterator)
                self._reader.start()

    # -- the iterator -----------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[T]:
        return self

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


class _Reader:
    """Reads an iterable in a thread of its own, and sends what it reads."""

    def __init__(self, stream: IMapIterator[Any], iterator: Iterator[Any]) -> None:
        self._stream = stream
        self._link = stream._link
        self._iterator = iterator
        self._room = threading.Condition(threading.Lock())
        self._window = Window()
        self._pending: list[Any] = []  #: read and not sent
        self._sent = 0  #: items sent, or chunks
        self._alone = stream._single  #: must each item be pickled as soon as it is read, and apart from the others?
        self._stopped = False

    def start(self) -> None:
        """Begin to read."""
        self._link.readers.add(self)
        threading.Thread(target=self._run, name="parpool-reader", daemon=True).start()

    def stop(self, error: BaseException | None = None) -> None:
        """Read no further: the stream ends now (in ``error``), also while its iterable lets us wait."""
        with self._room:
            self._stopped = True
            self._pending.clear()
            self._room.notify_all()
        self._stream.finished(self._sent, error)

    def came(self, start: int) -> None:
        """An outcome has come: where it was a chunk's last, there is room for what was read meanwhile."""
        if not self._window.came(start):
            return
        with self._room:
            if self._pending and self._stream._chunk == 1:
                self._send()
            self._room.notify_all()

    def make_room(self) -> None:
        """The user has taken a result."""
        with self._room:
            self._room.notify_all()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._read()
        except BaseException as raised:
            error = raised
        finally:
            with self._room:
                # By contract a chunk that the error cut short is dropped.
                if self._pending and (error is None or self._stream._chunk == 1):
                    self._send()
                length = self._sent
            self._stream.finished(length, error)
            self._link.readers.discard(self)
            self._link.nudge()

    def _read(self) -> None:
        stream, room = self._stream, self._room
        while True:
            with room:
                while not self._stopped and self._full():
                    if self._pending and not len(self._window):  # a buffer smaller than a chunk
                        self._send()
                    room.wait()
                if self._stopped:
                    return
            try:
                item = next(self._iterator)
            except StopIteration:
                return
            with room:
                if stream._chunk == 1 and not self._alone and not independent((item,)):
                    # The iterable may change it before it gives the next one, as those do that use a buffer again.
                    self._alone = True
                    if self._pending:
                        self._send()
                self._pending.append(item)
                if stream._chunk > 1 or self._alone:
                    if len(self._pending) >= stream._chunk:
                        self._send()
                elif len(self._window) < self._link.engines * AHEAD:
                    self._send()

    def _full(self) -> bool:
        """Has enough been read for now?"""
        stream = self._stream
        if stream._buffersize is not None:
            under_way = self._sent * stream._chunk + len(self._pending) - stream._taken * stream._chunk
            if under_way >= stream._buffersize:
                return True
        if len(self._window) < self._link.engines * AHEAD:
            return False
        if stream._chunk > 1 or self._alone:
            return len(self._window) >= self._link.engines * 16
        return len(self._pending) >= chunk_size(self._link, stream._function, 1 << 30)

    def _send(self) -> None:
        """Send what is pending. Under the lock."""
        stream, link = self._stream, self._link
        pending, self._pending = self._pending, []
        if stream._chunk > 1:
            groups = [pending]
            each = False
        else:
            groups = [pending[:]] if not self._alone else [[item] for item in pending]
            each = True
        for group in groups:
            self._send_group(stream, link, each, group)
        link.tend()

    def _send_group(self, stream: IMapIterator[Any], link: Link, each: bool, group: list[Any]) -> None:
        number = self._sent
        self._sent += len(group) if each else 1
        try:
            payload = link.dumps(group)
            link.check()
        except Exception:
            if len(group) == 1 or not each:
                try:
                    link.dumps(group, (f"[{number}]",) if each else ())  # again: it tells the place
                except Exception as told:
                    error = told
                stream.refused(number, error)
                return
            self._sent = number
            for item in group:  # only the one that cannot be pickled fails
                self._send_group(stream, link, each, [item])
            return
        self._window.sent(number, len(group) if each else 1)
        kind = map_kind(stream._star, each)
        link.send_chunk(stream._function, payload, kind, len(group), number, stream, stream._terms)
