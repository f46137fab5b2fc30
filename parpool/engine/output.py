"""What tasks print, on its way home while they run.

:func:`install` puts an :class:`Output` in the place of ``sys.stdout`` and of ``sys.stderr``, for good. While no
captured task runs, each of them is the stream that it replaced, in all but its type. Between :meth:`Capture.begin` and
:meth:`Capture.end` what is written goes to a list instead, in the order of the writes to both, and leaves it in pieces.

What is captured is what goes through Python's ``sys.stdout`` and ``sys.stderr``, or through a reference to either that
was taken after the installation. Not captured, and left to go where it always went: what C libraries and child
processes write to the file descriptors, ``os.write``, ``sys.__stdout__``, ``sys.stdout.buffer.raw``, and all that a
child forked by a task prints. Threads that a task starts are captured with it; one that outlives it is not, afterwards.

Consistency rests on two rules. The list changes in single steps that no other thread and no signal can divide (an
append; the exchange of a slice), and a piece stays in it until it has been delivered. One thread at a time delivers,
under a lock that is only ever held in a ``with``, which no signal handler's exception can leave locked; and a thread
that delivers already does not begin again. An exception that a signal handler raises in the main thread may come
before ``deliver`` has sent, or after: such a handler asks :meth:`Capture.postpone` first. Where it does not, the piece
that was on its way is delivered again.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import threading
import weakref
from _thread import get_ident
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from ..errors import TaskTimeout
from ..wire.messages import DISPLAYED
from ..wire.remark import REMARKS, printable

FLUSH = 0.1  #: seconds since the last delivery after which the end of a line is delivered at once
BUFFERED = 8 * 1024  #: characters that may wait
MOST = 64 * 1024  #: about the characters that one piece may have

NOBODY = -1  #: the task, while no captured one runs

Deliver = Callable[[int, int, str], object]

try:  # the number of threads that Python started; a tenth of the time of threading.active_count
    from _thread import _count as count_threads
except ImportError:  # it is nowhere promised
    count_threads = threading.active_count


def install(deliver: Deliver) -> Capture:
    """Replace ``sys.stdout`` and ``sys.stderr``, in the main thread; gives what begins and ends the capture.

    ``deliver(task_id, stream_number, text)`` is given what a task wrote, stream 1 being stdout and 2 stderr, in the
    order of the writes: by whichever thread writes, by the one that ends the task, or by the one that calls
    :meth:`Capture.flush_late`; never by two at once. Any UTF-8 codec can encode the text. Where it returns False it
    has not taken the text, which then stays for the next time: so may a thread that must not wait for a lock.
    """
    capture = Capture(deliver, sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = capture.stdout, capture.stderr
    if hasattr(os, "register_at_fork"):
        this = weakref.ref(capture)

        def forked() -> None:
            if (capture := this()) is not None:
                capture._forked()

        os.register_at_fork(after_in_child=forked)
    return capture


_capture: Capture | None = None  #: this process's


def installed(deliver: Deliver) -> Capture:
    """:func:`install`, but in a child forked from an engine the capture that it inherited, with its own ``deliver``."""
    global _capture
    if _capture is None:
        _capture = install(deliver)
    _capture.deliver = deliver
    return _capture


class Capture:
    """The text of the captured task that runs now, and the two streams that it comes from.

    ``begin`` and ``end`` are the main thread's, and stand as close around the user's code as can be: a lock that
    ``deliver`` takes must not be held in between.
    """

    def __init__(self, deliver: Deliver, stdout: Any, stderr: Any) -> None:
        self.deliver = deliver  #: where the text goes
        self.waiting: Callable[[], object] = lambda: None  #: called when text begins to wait for its delivery
        self.hindered: Callable[[], bool] = lambda: False  #: is this thread where it cannot deliver? (see _drain)
        self._task = NOBODY
        self.ending = NOBODY  #: the task whose end delivers the last of its text
        #: (task, number of the stream, str or bytes), in the order of the writes
        self._pieces: list[tuple[int, int, str | bytes]] = []
        self._size = 0  #: of the pieces; only about, as threads add to it at the same time
        self._last = 0.0  #: when something was delivered
        self._lock = threading.Lock()
        self._owner = 0  #: the thread that holds the lock
        self._postponed: BaseException | None = None
        self._main = get_ident()
        #: the threads that were there before the task, and how many they were
        self._older: frozenset[threading.Thread] = frozenset()
        self._threads = self._fewest = sys.maxsize
        self.stdout: Any = Output(self, 1, stdout)
        self.stderr: Any = Output(self, 2, stderr)

    def begin(self, task: int) -> None:
        """From here on what is written belongs to this task (a number, not negative)."""
        if self._pieces:  # an exception cut the end of the last one short
            self._drain(final=True)
        # As long as they are as few as they ever were, they are the same: the engine's own.
        threads = count_threads()
        if threads != self._threads or threads > self._fewest:
            self._look_at_threads(threads)
        self._task = task

    def end(self) -> None:
        """Deliver the rest; what is written from here on goes where it went before.

        After this, ``deliver`` is not called for the task any more. Where an exception of a signal handler cuts it
        short, nothing more is captured, and the rest goes with the next delivery, or with another call of this.
        """
        try:
            if sys.stdout is not self.stdout or sys.stderr is not self.stderr:
                self._flush_others()
        finally:
            task = self._task
            self._task = NOBODY
            if self._pieces:
                if task >= 0:
                    self.ending = task
                self._drain(final=True)

    def flush_late(self) -> None:
        """Deliver what waits, unless someone does already. For any thread, at any time."""
        if self._pieces and not self._owner:
            self._drain()

    def postpone(self, error: BaseException) -> bool:
        """For a signal handler that is about to raise ``error``: not in the middle of a delivery.

        True where the main thread is in the middle of one. The error is then raised as soon as it is out of it, and
        the handler returns. False: nothing is in the way, and the handler raises it itself.
        """
        if self._owner != get_ident():
            return False
        self._postponed = error
        return True

    def _look_at_threads(self, threads: int) -> None:
        self._older = frozenset(threading.enumerate())
        self._threads = threads
        self._fewest = min(threads, self._fewest)

    def _flush_others(self) -> None:
        """The task has put something in the place of ours: text may wait in it that belongs to the task."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and stream is not self.stdout and stream is not self.stderr:
                try:
                    stream.flush()
                except TaskTimeout:
                    raise
                except Exception:
                    pass  # as at the end of an interpreter, it is nobody's error any more

    def _forked(self) -> None:
        """In a forked child: it has no part in the task, and the text that waits is the parent's."""
        self._task = self.ending = NOBODY
        self._pieces = []
        self._lock = threading.Lock()
        self._owner = 0
        self._main = get_ident()

    # -- for the streams --------------------------------------------------------------------------------------

    def catching(self) -> int:
        """The task that the text of this thread belongs to, or NOBODY."""
        task = self._task
        if task >= 0 and get_ident() != self._main and threading.current_thread() in self._older:
            return NOBODY
        return task

    def keep(self, task: int, number: int, piece: str | bytes, line: bool) -> None:
        """Take in what was written to a stream. ``line``: a line ends in it."""
        self._pieces.append((task, number, piece))
        if len(self._pieces) == 1:
            self.waiting()
        self._size = size = self._size + len(piece)
        # The last: the task ended between the look at it and now, and nobody else may come for this piece.
        if size > BUFFERED or (line and monotonic() - self._last > FLUSH) or self._task != task:
            self._drain()

    def flush(self) -> None:
        """Deliver all that was written so far."""
        if self._pieces:
            self._drain()

    # -- delivery ---------------------------------------------------------------------------------------------

    def _drain(self, final: bool = False) -> None:
        """Deliver what is there now; ``final``: the task has ended, so no more bytes of a character will come."""
        me = get_ident()
        # deliver itself has printed, or a signal handler or a finalizer has, in the middle of that or of another message
        if self._owner == me or self.hindered():
            return  # the next delivery takes it along
        try:
            with self._lock:
                # No call before this line and none after the last: only there can a handler's exception come.
                self._owner = me
                try:
                    self._size = 0
                    left = len(self._pieces)  # not those of a thread that prints faster than this delivers
                    while left > 0:
                        left -= self._deliver_first(left, final)
                    self._last = monotonic()
                    if final:
                        self.ending = NOBODY
                finally:
                    self._owner = 0
        finally:
            if self._postponed is not None and me == self._main:
                error, self._postponed = self._postponed, None
                raise error

    def _deliver_first(self, left: int, final: bool) -> int:
        """Deliver the pieces at the front that go together, out of the first ``left``; gives how many went."""
        pieces = self._pieces
        task, number, first = pieces[0]
        size, count = len(first), 1
        while count < left and size < MOST and _together(pieces[0], pieces[count]):
            size += len(pieces[count][2])
            count += 1
        running = task == self._task or task == self.ending
        rest: list[tuple[int, int, str | bytes]] = []
        if isinstance(first, str):
            text = "".join([str(piece[2]) for piece in pieces[:count]])
        else:
            data = b"".join([bytes(piece[2]) for piece in pieces[:count]])  # type: ignore[arg-type]  # as the first
            # Bytes at the end that begin a character stay in the list, where the rest of it may follow.
            if count < len(pieces):
                complete = not _together(pieces[0], pieces[count])
            else:
                complete = final or not running
            text, used = codecs.utf_8_decode(data, "replace", complete)
            if used < len(data):
                rest = [(task, number, data[used:])]
        if not text.isascii():  # lone surrogates are legal in a str and not in UTF-8
            text = text.encode("utf-8", "backslashreplace").decode()
        if text:
            if running:
                if self.deliver(task, number, text) is False:
                    return left  # nobody can know whether it would take the next
            elif number != DISPLAYED:  # written as the task ended: too late
                (self.stdout if number == 1 else self.stderr).pass_on(text if number != REMARKS else printable(text))
        pieces[:count] = rest
        return count - 1 if rest and count < left else count


def _together(one: tuple[int, int, str | bytes], other: tuple[int, int, str | bytes]) -> bool:
    return one[:2] == other[:2] and isinstance(one[2], str) is isinstance(other[2], str)


class Output:
    """Stands in for a text stream: its ``write`` is captured, all else is the stream's own.

    It takes itself for the stream's class, as ``isinstance(sys.stdout, io.TextIOWrapper)`` is a common question before
    ``sys.stdout.reconfigure``. It pickles as the standard stream of the process that opens it.
    """

    def __init__(self, capture: Capture, number: int, stream: Any) -> None:
        self._capture = capture
        self._number = number
        self._stream = _Nowhere() if stream is None else stream
        if hasattr(self._stream, "buffer"):
            self.buffer = _Binary(capture, number, self._stream.buffer)

    def write(self, text: str) -> int:
        """Write a string; gives its length. Raises TypeError for anything else."""
        capture = self._capture
        task = capture.catching()
        if task < 0:
            written: int = self._stream.write(text)
            return written
        if type(text) is not str:
            if not isinstance(text, str):
                raise TypeError(f"write() argument must be str, not {type(text).__name__}")
            text = str.__str__(text)  # of a subclass: its class need not exist at home
        size = len(text)
        if 0 < size <= MOST:
            capture.keep(task, self._number, text, "\n" in text)
        else:
            for start in range(0, size, MOST):
                capture.keep(task, self._number, text[start : start + MOST], False)
        return size

    def writelines(self, lines: Iterable[str]) -> None:
        """Write strings, one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Deliver what the task has written, or flush the stream."""
        if self._capture.catching() >= 0:
            self._capture.flush()
        else:
            self._stream.flush()

    def pass_on(self, text: str) -> None:
        """Write to the stream; whatever becomes of it."""
        try:
            self._stream.write(text)
        except Exception:
            pass  # it may be closed, and the thread that wrote this is long past its write

    def detach(self) -> Any:
        """Detach the stream from its buffer; gives the buffer, whose text is still captured."""
        self._stream.detach()
        return self.buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property  # type: ignore[misc]  # what a mypy class cannot have, an object can
    def __class__(self) -> type:
        return type(self._stream)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Any:
        return iter(self._stream)

    def __reduce__(self) -> tuple[Any, ...]:
        return standard_stream, (self._number,)

    def __repr__(self) -> str:
        return f"<parpool Output {self._number} over {self._stream!r}>"


class _Binary:
    """Stands in for the ``buffer`` of a text stream. What a captured task writes is decoded as UTF-8, errors replaced."""

    def __init__(self, capture: Capture, number: int, buffer: Any) -> None:
        self._capture = capture
        self._number = number
        self._buffer = buffer

    def write(self, data: Any) -> int:
        """Write bytes; gives their number. Raises TypeError for what is none."""
        capture = self._capture
        task = capture.catching()
        if task < 0:
            written: int = self._buffer.write(data)
            return written
        with memoryview(data) as view:
            size = view.nbytes
            if size:  # else there is nothing to cast
                with view.cast("B") as flat:
                    for start in range(0, size, MOST):
                        piece = bytes(flat[start : start + MOST])
                        capture.keep(task, self._number, piece, size <= MOST and b"\n" in piece)
        return size

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write bytes, one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Deliver what the task has written, or flush the buffer."""
        if self._capture.catching() >= 0:
            self._capture.flush()
        else:
            self._buffer.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._buffer, name)

    @property  # type: ignore[misc]  # as above
    def __class__(self) -> type:
        return type(self._buffer)


class _Nowhere(io.TextIOBase):
    """In the place of a stream that a process does not have: ``print`` ignores that there is none, and so does this."""

    def write(self, text: str) -> int:
        return len(text)


def standard_stream(number: int) -> Any:
    """This process's ``sys.stdout`` (1) or ``sys.stderr`` (2)."""
    return sys.stdout if number == 1 else sys.stderr
