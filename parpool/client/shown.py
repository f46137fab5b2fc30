"""What tasks print and how far they are, shown to the user: outputs, live or afterwards, and a bar."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from .progress import progress_bar

if TYPE_CHECKING:
    from .result import AsyncResult


def display(result: AsyncResult) -> None:
    """Print what the tasks of a result have printed so far, each part under the name of its engine.

    The value of a last expression that ``execute`` has run is shown as a prompt shows it.
    """
    for part in result._parts():
        engine = getattr(part, "_engine", None)
        texts: dict[tuple[int, int], list[str]] = {}
        for number, text, origin, _ in list(part._printed or ()):
            texts.setdefault((origin, number), []).append(text)
        for origin, number in sorted(texts):
            text = "".join(texts[origin, number])
            stream, name = (sys.stdout, "stdout") if number == 1 else (sys.stderr, "stderr")
            stream.write(f"[{name}:{_who(origin)}] {text}" + ("" if text.endswith("\n") else "\n"))
        shown: Any = part.get(return_exceptions=True) if part.ready() else None
        if getattr(shown, "text", None) is not None and hasattr(shown, "execution_count"):
            sys.stdout.write(f"Out[{_who(engine)}:{shown.execution_count}]: {shown.text}\n")


def _who(engine: int | None) -> str:
    return "?" if engine is None else str(engine)


class Streaming:
    """Prints what the tasks of a result print, from the entry of a ``with`` to its end."""

    def __init__(self, result: AsyncResult) -> None:
        self._result = result
        self._at_line_start = True
        self._last: tuple[int | None, int] | None = None
        self._broken: set[tuple[int | None, int]] = set()  #: whose last line was ended by us, for that of another
        self._sinks: list[tuple[Any, Any]] = []
        self._pumps: list[Callable[[], None]] = []
        self._printing = threading.Lock()

    def __enter__(self) -> AsyncResult:
        ended = self._result.ready()
        for part in self._result._parts():
            if ended:  # nothing more will come, and perhaps there is no thread of callbacks any more
                for stream, text, engine, _ in part._printed or ():
                    self._print(engine, stream, text)
                continue
            sink = self._sink(part)
            self._sinks.append((part, sink))
            if part._sinks is None:
                part._sinks = []
            part._sinks.append(sink)
            sink()  # what it has printed so far
        return self._result

    def __exit__(self, *exc: object) -> None:
        for part, sink in self._sinks:
            part._sinks.remove(sink)
        for pump in self._pumps:
            pump()  # here, and not when the callbacks' thread comes to it: this may be that thread
        self._end_line()

    def _end_line(self) -> None:
        if not self._at_line_start and self._last is not None:
            stream = sys.stdout if self._last[1] == 1 else sys.stderr
            stream.write("\n")
            stream.flush()
            self._at_line_start = True

    def _sink(self, part: Any) -> Any:
        """What prints the rest of what a part has printed. In the callbacks' thread: the loop must not wait for a pipe."""
        shown = 0

        def pump() -> None:
            nonlocal shown
            with self._printing:
                for stream, text, engine, _ in (part._printed or [])[shown:]:
                    shown += 1
                    self._print(engine, stream, text)

        self._pumps.append(pump)
        return lambda: self._result._link.call_back(_Piece(pump))

    def _print(self, engine: int | None, stream: int, text: str) -> None:
        target = sys.stdout if stream == 1 else sys.stderr
        if not self._at_line_start and self._last is not None and self._last != (engine, stream):
            self._end_line()
            self._broken.add(self._last)
        if (engine, stream) in self._broken:
            self._broken.remove((engine, stream))
            text = text.removeprefix("\n")  # that line was ended above
        for line in text.splitlines(keepends=True):
            target.write(f"[{_who(engine)}] {line}" if self._at_line_start else line)
            self._at_line_start = line.endswith("\n")
        self._last = engine, stream
        target.flush()


class Passed:
    """Text of a task that is nobody's to show: this process's own streams get it."""

    def __init__(self, stream: int, text: str) -> None:
        self._stream = stream
        self._text = text

    def run_callbacks(self) -> None:
        """Write it (called in the thread for callbacks)."""
        stream = sys.stdout if self._stream == 1 else sys.stderr
        stream.write(self._text)
        stream.flush()


class _Piece:
    """Something for the thread of the callbacks to do."""

    def __init__(self, action: Any) -> None:
        self._action = action

    def run_callbacks(self) -> None:
        """Do it."""
        self._action()


def watch(result: AsyncResult, interval: float, timeout: float | None, file: Any) -> bool:
    """Wait for a result with a bar that counts its items; has it ended within ``timeout`` seconds?"""
    if interval <= 0:
        raise ValueError(f"interval must be more than 0 seconds, not {interval!r}")
    deadline = None if timeout is None else monotonic() + timeout
    bar = progress_bar(len(result), file)
    try:
        while not result.ready():
            left = interval if deadline is None else min(interval, deadline - monotonic())
            if left <= 0:
                break
            result.wait(left)
            bar.update(result.progress - bar.n)
        bar.update(result.progress - bar.n)
    finally:
        bar.close()
    return result.ready()
