"""What tasks print, shown as it comes, with the engine before each line."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..wire.messages import DISPLAYED
from .account import outputs_of
from .front import show_output, who
from .progress import progress_bar

if TYPE_CHECKING:
    from .result import AsyncResult

INTERVAL = 0.1  #: seconds between two looks at what a bar counts

_LINE = re.compile(r"[^\r\n]*(?:\r\n|[\r\n])|[^\r\n]+")


class Lines:
    """Writes text of several engines, so that a line is of one of them. ``tag(engine, stream)`` stands before it.

    A line that is written anew, as those of progress bars are, gets its tag anew, which it would have written over.
    """

    def __init__(self, tag: Callable[[int | None, int], str]) -> None:
        self._tag = tag
        self._at_start = True  #: of a line of its own
        self._again = False  #: or of one that is to be written over
        self._last: tuple[int | None, int] | None = None
        self._broken: set[tuple[int | None, int]] = set()  #: whose last line was ended by us, for that of another

    def write(self, engine: int | None, stream: int, text: str) -> None:
        """Write more of what an engine has written to a stream, or display it."""
        if stream == DISPLAYED:
            self.end()
            for output in outputs_of(text):
                show_output(engine, output)
            sys.stdout.flush()
            return
        target = sys.stdout if stream == 1 else sys.stderr
        if not self._at_start and self._last is not None and self._last != (engine, stream):
            self.end()
        if (engine, stream) in self._broken:
            self._broken.remove((engine, stream))
            text = text.removeprefix("\n")  # that line was ended above
        for line in _LINE.findall(text):
            due = self._at_start or (self._again and line not in ("\n", "\r\n"))
            tagged = due and line != "\r"
            target.write(self._tag(engine, stream) + line if tagged else line)
            self._at_start, self._again = line.endswith("\n"), line.endswith("\r")
        self._last = engine, stream
        target.flush()

    def end(self) -> None:
        """End the line that is not ended."""
        if not self._at_start and self._last is not None:
            stream = sys.stdout if self._last[1] == 1 else sys.stderr
            stream.write("\n")
            stream.flush()
            self._at_start, self._again = True, False
            self._broken.add(self._last)


class Streaming:
    """Prints what the tasks of a result print, from the entry of a ``with`` to its end."""

    def __init__(self, result: AsyncResult) -> None:
        self._result = result
        self._lines = Lines(lambda engine, stream: f"[{who(engine)}] ")
        self._sinks: list[tuple[Any, Any]] = []
        self._pumps: list[Callable[[], None]] = []
        self._printing = threading.Lock()

    def __enter__(self) -> AsyncResult:
        ended = self._result.ready()
        for part in self._result._parts():
            if ended:  # nothing more will come, and perhaps there is no thread of callbacks any more
                for stream, text, engine, _ in part._printed or ():
                    self._lines.write(engine, stream, text)
                continue
            sink = self._sink(part)
            self._sinks.append((part, sink))
            _attach(part, sink)
            sink()  # what it has printed so far
        return self._result

    def __exit__(self, *exc: object) -> None:
        for part, sink in self._sinks:
            part._sinks.remove(sink)
        for pump in self._pumps:
            pump()  # here, and not when the callbacks' thread comes to it: this may be that thread
        self._lines.end()

    def _sink(self, part: Any) -> Any:
        """What prints the rest of what a part has printed. In the callbacks' thread: the loop must not wait for a pipe."""
        more = _rest_of(part)

        def pump(until: int | None = None) -> None:
            with self._printing:
                for stream, text, engine in more(until):
                    self._lines.write(engine, stream, text)

        self._pumps.append(pump)
        # No more than is there now: what it has logged may come next.
        return lambda: self._result._link.call_back(Piece(partial(pump, len(part._printed or ()))))


class Piece:
    """Something for the thread of the callbacks to do."""

    def __init__(self, action: Any) -> None:
        self._action = action

    def run_callbacks(self) -> None:
        """Do it."""
        self._action()


class Following:
    """Shows in the thread that waits for a result what its tasks print meanwhile.

    (In that thread, as a notebook shows what others print in the cell that has started them, if at all.)
    """

    def __init__(self, result: AsyncResult) -> None:
        self._result = result
        self._lines = Lines(lambda engine, stream: f"[{'stdout' if stream == 1 else 'stderr'}:{who(engine)}] ")
        self._rests = [(part, _rest_of(part)) for part in result._parts()]

    def wait(self, progress_after: float | None = None) -> None:
        """Wait for the result; after ``progress_after`` seconds with a bar. Where it is cut short, it can go on."""
        result = self._result
        news: SimpleQueue[Callable[[], list[tuple[int, str, int]]] | None] = SimpleQueue()
        lines = self._lines
        sinks: list[tuple[Any, Any]] = []
        deadline = None if progress_after is None else monotonic() + progress_after
        bar: Any = None
        try:
            for part, rest in self._rests:
                sink = partial(news.put, rest)
                sinks.append((part, sink))
                _attach(part, sink)
                sink()
            result.add_done_callback(lambda ended: news.put(None))
            while True:
                try:
                    more = news.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
                except Empty:
                    bar = progress_bar(len(result)) if bar is None else bar
                    bar.update(result.progress - bar.n)
                    deadline = monotonic() + INTERVAL
                    continue
                if more is None:
                    break
                for stream, text, engine in more():
                    lines.write(engine, stream, text)
        finally:
            for part, sink in sinks:
                part._sinks.remove(sink)
            if bar is not None:
                bar.update(result.progress - bar.n)
                bar.close()
            lines.end()


def _attach(part: Any, sink: Callable[[], object]) -> None:
    if part._sinks is None:
        part._sinks = []
    part._sinks.append(sink)


def _rest_of(part: Any) -> Callable[..., list[tuple[int, str, int]]]:
    """What gives, each time, what a part has printed since the last time; at most the first so many pieces of all."""
    shown = 0

    def rest(until: int | None = None) -> list[tuple[int, str, int]]:
        nonlocal shown
        printed = (part._printed or [])[shown:until]
        shown += len(printed)
        return [(stream, text, engine) for stream, text, engine, _ in printed]

    return rest
