"""Maps: an iterable of items, cut into chunks, fed to the engines as they become free.

Chunks are not cut beforehand. A chunk is as long as the engines need it to be, by what the function has taken so far:
long enough to be worth a message, short enough that the last ones end together (factoring, Hummel, Schonberg and
Flynn, 1992). A slice of a range or of an array travels as what it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .. import status as codes
from ..errors import SerializationError, TaskAborted
from ..net.parking import wake_waiters
from ..wire.envelope import load
from ..wire.messages import EACH, EACHSTAR, HOW, MAP, STARMAP
from .outcome import Arrived, exception_of
from .result import AsyncResult

if TYPE_CHECKING:
    from ..wire.functions import Function
    from .contract import Link, Terms

SHORTEST = 0.0003  #: seconds of work that a chunk should have at least
LONGEST = 0.004  #: seconds of work that a chunk should have at most
AHEAD = 2  #: chunks for each engine that are under way at once
AHEAD_FIXED = 256  #: the same where the caller fixed the size of the chunks

#: Types whose slices are cheap and whose items need no code of the user's to be had.
SLICED = (list, tuple, range, str, bytes)


def sliceable(items: object) -> bool:
    """Can chunks be cut out of ``items`` as slices, with the same items as iteration gives?"""
    kind = type(items)
    if kind in SLICED:
        return True
    named = f"{kind.__module__}.{kind.__name__}"
    return named in ("numpy.ndarray", "parpool.shared_array.SharedArray") and getattr(items, "ndim", 0) > 0


class Window:
    """The chunks under way, by the number of their first item, and how many outcomes each has still to bring."""

    __slots__ = ("_chunks",)

    def __init__(self) -> None:
        self._chunks: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._chunks)

    def sent(self, start: int, outcomes: int) -> None:
        """A chunk was sent."""
        self._chunks[start] = outcomes

    def came(self, start: int) -> bool:
        """An outcome of it has come; True where that was the last."""
        left = self._chunks[start] - 1
        if left:
            self._chunks[start] = left
            return False
        del self._chunks[start]
        return True


class Feed:
    """Cuts a sequence of items into chunks, and says when the next should go."""

    __slots__ = (
        "_link", "_function", "_door", "_terms", "_kind", "_items", "_chunk", "next", "total", "window", "sending",
    )  # fmt: skip

    def __init__(
        self,
        link: Link,
        function: Function,
        items: Sequence[Any],
        door: Any,
        terms: Terms,
        kind: int,
        chunk: int | None,
    ) -> None:
        self._link = link
        self._function = function
        self._door = door
        self._terms = terms
        self._kind = kind
        self._items = items
        self._chunk = chunk  #: items in a chunk; None: as the engines need it
        self.next = 0  #: the first item that was not cut off
        self.total = len(items)
        self.window = Window()
        self.sending = False  #: is a chunk that was cut off not pickled yet?

    def wants_more(self, limit: int | None = None) -> bool:
        """Should another chunk go? ``limit``: not beyond this item."""
        if self.next >= (self.total if limit is None else min(limit, self.total)):
            return False
        return len(self.window) < self._link.engines * (AHEAD if self._chunk is None else AHEAD_FIXED)

    def cut(self, limit: int | None = None) -> tuple[int, Sequence[Any]]:
        """The next chunk, and the number of its first item."""
        start = self.next
        end = self.total if limit is None else min(limit, self.total)
        size = chunk_size(self._link, self._function, self.total - start) if self._chunk is None else self._chunk
        self.next = min(start + size, end)
        return start, self._items[start : self.next]

    def send(self, start: int, items: Sequence[Any]) -> int:
        """Send a chunk; gives the id of its task. Raises what pickling raises."""
        link = self._link
        # What items end separately may be cut off and given to another engine, which then opens the same.
        lent = "retries" in (self._terms or ()) or (self._kind >= EACH and len(items) > 1)
        try:
            payload = link.dumps(items, lent=lent)
        except SerializationError:  # again, so that it tells the place in the whole
            payload = link.dumps(items, tuple(f"[{number}]" for number in range(start, start + len(items))))
        link.check()
        self.window.sent(start, len(items) if self._kind >= EACH else 1)
        return link.send_chunk(self._function, payload, self._kind, len(items), start, self._door, self._terms)


def chunk_size(link: Link, function: Function, left: int) -> int:
    """How many of the ``left`` items the next chunk should have, by the running mean of the function."""
    mean = link.pace(function.key)
    if mean is None:
        return 1
    mean = max(mean, 1e-9)
    share = -(-left // (2 * link.engines))
    return max(1, min(max(share, int(SHORTEST / mean)), int(LONGEST / mean)))


def check_chunksize(chunksize: object) -> None:
    """Raise TypeError for a chunksize that can be none."""
    if chunksize is not None and not isinstance(chunksize, int):
        raise TypeError(f"chunksize must be an int, not {chunksize!r}")


def map_kind(star: bool, each: bool) -> int:
    """How engines are to run the chunks of a map: ``star``: with argument tuples; ``each``: an outcome an item."""
    return (EACHSTAR if star else EACH) if each else (STARMAP if star else MAP)


class MapResult(AsyncResult):
    """The result of a map: a list, in the order of the items."""

    def __init__(
        self,
        link: Link,
        owner: object,
        name: str,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        bar: Any = None,
    ) -> None:
        super().__init__(link, owner, callback, error_callback)
        self._name = name
        self._feed: Feed | None = None
        self._total = 0
        self._tasks: list[int] = []
        self._pieces: dict[int, Arrived] = {}
        self._ended = 0  #: items that have ended
        self._error: tuple[Any, Any] | None = None  #: the first that failed: its Arrived or exception, and its task
        self._opened: Any = None
        self._bar = bar
        self._expected: dict[Any, None] = {}  #: what threads wait for that iterate
        self._sending = threading.RLock()  #: the caller sends the first chunks, whoever drives the loop the others

    def begin(self, feed: Feed) -> None:
        """Send the first chunks."""
        self._feed = feed
        self._total = feed.total
        if not feed.total:
            self.end(None)
            return
        with self._sending:
            self._send_more()

    def abort(self) -> None:
        """Take back what has not begun, and send nothing more; the map ends in TaskAborted."""
        with self._sending:
            if self._feed is not None:
                self._send_no_more(self._feed, TaskAborted(f"{self._name} was aborted before all its items had begun"))
        super().abort()

    def _send_no_more(self, feed: Feed, error: BaseException) -> None:
        """End the items that were not sent with ``error``."""
        left, start = feed.total - feed.next, feed.next
        feed.next = feed.total
        if left:
            self._fail(start, left, error)
            self._count(left)

    def end(self, error: BaseException | None) -> None:
        """End without a task: there were no items (None), or they could not be had."""
        if error is not None:
            self._error = (error, None)
        self._close_bar()
        self._finish()

    def _send_more(self) -> None:
        feed = self._feed
        while feed is not None and feed.wants_more():
            self._send_next(feed)

    def _send_all(self) -> None:
        with self._sending:
            while self._feed is not None and self._feed.next < self._feed.total:
                self._send_next(self._feed)

    @property
    def sent(self) -> bool:
        """May the items be changed? They are pickled chunk by chunk, as engines become free."""
        feed = self._feed
        # In this order: another thread may just be at the last chunk, and tell in the end that it is not copied.
        return (feed is None or (feed.next >= feed.total and not feed.sending)) and super().sent

    def wait_on_send(self, timeout: float | None = None) -> bool:
        """Pickle what has not been sent yet, and wait until :attr:`sent`, ``timeout`` seconds at the most; is it?"""
        self._send_all()
        return super().wait_on_send(timeout)

    def _send_next(self, feed: Feed) -> None:
        if self._link.failure is not None:
            self._send_no_more(feed, self._link.failure)
            return
        feed.sending = True
        start, items = feed.cut()
        try:
            id = feed.send(start, items)
        except Exception as error:  # an item that cannot be pickled: its chunk has failed, the others run
            feed.sending = False
            self._fail(start, len(items), error)
            self._count(len(items))
        else:
            feed.sending = False
            self._sent(id, start, len(items))

    def _sent(self, id: int, start: int, size: int) -> None:
        """A chunk is on its way."""
        self._tasks.append(id)

    def _fail(self, start: int, size: int, cause: Any, where: Any = None) -> None:
        """``size`` items from ``start`` on have failed: by an exception, or by what arrived for them."""
        if self._error is None:
            self._error = (cause, where)

    def _count(self, items: int) -> None:
        self._ended += items
        if self._bar is not None:
            self._bar.update(items)
        if self._ended >= self._total:
            self._feed = None
            self._close_bar()
            self._finish()

    def deliver(self, task: Any, outcome: Any, engine: int | None) -> None:
        """A chunk has ended, or one item of a chunk whose items end separately."""
        each = task.kind & HOW >= EACH
        start = task.tag + outcome.item if each else task.tag
        size = 1 if each else task.weight
        decision = outcome.status < 0
        arrived = Arrived(
            task.origin,
            outcome.status,
            outcome.detail if decision else outcome.payload,
            0.0 if decision else outcome.started,
            0.0 if decision else outcome.completed,
            self._link.clock(),
            engine,
            size,
        )
        arrived.single, arrived.chunk = each, task.tag
        self._pieces[start] = arrived
        if outcome.status != codes.OK:
            self._fail(start, size, arrived, (task, outcome))
        with self._sending:
            if self._feed is not None and self._feed.window.came(task.tag):
                self._send_more()
            self._count(size)
        for piece in list(self._expected):
            wake_waiters(piece)

    def _settle(self) -> None:
        super()._settle()
        for piece in list(self._expected):  # there may be no outcome that would wake them
            wake_waiters(piece)

    def await_piece(self, piece: Any) -> None:
        """Wait for what ``piece`` stands for."""
        self._expected[piece] = None
        try:
            self._link.wait(piece, None)
        finally:
            del self._expected[piece]

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _value(self) -> Any:
        if self._error is not None:
            raise self._exception()
        with self._sending:
            if self._opened is None:
                values: list[Any] = []
                for start in sorted(self._pieces):
                    values += self._open(self._pieces[start])
                self._opened = values
                for piece in self._pieces.values():
                    piece.payload = b""
            return self._opened

    def __iter__(self) -> Iterator[Any]:
        """The values in order, each as soon as it has arrived; raises the map's exception when it is its turn."""
        start = 0
        while start < self._total:
            while not self._done and start not in self._pieces:
                self.await_piece(_Piece(self, start))
            piece = self._pieces.get(start)
            if piece is None or piece.status != codes.OK:
                break
            yield from self._values_of(start, piece)
            start += piece.size
        yield from self._rest(start)

    def _values_of(self, start: int, piece: Arrived) -> list[Any]:
        """The values of a piece that ended well. Opened without a lock, as this may run code of the user's."""
        payload = piece.payload  # read before the look at _opened: who opens them all empties it after
        opened = self._opened
        if opened is not None:
            values: list[Any] = opened[start : start + piece.size]
            return values
        value = load(payload)
        return [value] if piece.single else value

    def _rest(self, start: int) -> list[Any]:
        """The values from an item on that was not iterated over as it arrived: it failed, or there are no more."""
        values: list[Any] = self.get()
        return values[start:]

    def _open(self, piece: Arrived) -> list[Any]:
        value = piece.value()
        return [value] if piece.single else value

    def _exception(self) -> BaseException:
        assert self._error is not None
        cause = self._made(*self._error)
        self._error = (cause, None)
        return cause

    def _made(self, cause: Any, where: Any) -> BaseException:
        if isinstance(cause, Arrived):
            task, outcome = where
            return exception_of(self._name, task, outcome, cause.engine)
        assert isinstance(cause, BaseException)
        return cause

    @property
    def progress(self) -> int:
        """How many of its ``len()`` items have ended."""
        return self._ended

    def _failure(self) -> object:
        return self._error

    def _arrived(self) -> list[Arrived]:
        return [piece for _, piece in sorted(self._pieces.items())]

    def _ids(self) -> list[int]:
        return list(self._tasks)

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, index: Any) -> Any:
        """``get()[index]``."""
        return self.get()[index]


class _Piece:
    """The arrival of the piece of a map that begins with an item."""

    def __init__(self, result: MapResult, start: int) -> None:
        self._result = result
        self._start = start
        self._parked: list[threading.Lock] | None = None

    @property
    def _done(self) -> bool:
        return self._result.ready() or self._start in self._result._pieces
