"""What tasks have printed and how far they are, shown to the user: outputs, sorted, and a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import zip_longest
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..wire.messages import DISPLAYED
from .account import outputs_of
from .front import show_output, show_value, who
from .progress import progress_bar

if TYPE_CHECKING:
    from .result import AsyncResult

GROUPS = ("engine", "type", "order")
VALUE = DISPLAYED + 1  #: behind the streams: the value of a last expression

Shown = dict[int, list[Callable[[], None]]]  #: by kind, what shows it


def display(result: AsyncResult, groupby: str = "engine", result_only: bool = False) -> None:
    """Show what the tasks of a result have printed and displayed so far, each part under the name of its engine.

    The value of a last expression that ``execute`` has run is shown as a prompt shows it; with ``result_only`` that
    alone. ``groupby``: all of an engine together (``"engine"``); what is of a kind together, first what was printed
    (``"type"``); or so, and of what was displayed the first of each engine, then the second (``"order"``).
    """
    if groupby not in GROUPS:
        raise ValueError(f"groupby is one of {', '.join(map(repr, GROUPS))}, and not {groupby!r}")
    parts = [_shown(part, result_only) for part in result._parts()]
    if groupby == "engine":
        shows = [show for part in parts for kind in sorted(part) for show in part[kind]]
    else:
        shows = []
        for kind in (1, 2, DISPLAYED, VALUE):
            column = [part.get(kind, []) for part in parts]
            if kind == DISPLAYED and groupby == "order":
                column = [[show for show in row if show is not None] for row in zip_longest(*column)]
            shows += [show for each in column for show in each]
    for show in shows:
        show()


def _shown(part: Any, result_only: bool) -> Shown:
    """What there is to show of a part."""
    shown: Shown = {}
    texts: dict[tuple[int, int], list[str]] = {}
    for number, text, origin, _ in () if result_only else list(part._printed or ()):
        texts.setdefault((number, origin), []).append(text)
    for (number, origin), pieces in sorted(texts.items()):
        shows, text = shown.setdefault(number, []), "".join(pieces)
        if number == DISPLAYED:
            shows += [_later(show_output, origin, output) for output in outputs_of(text)]
        else:
            shows.append(_later(_write, number, origin, text))
    value: Any = part.get(return_exceptions=True) if part.ready() else None
    if hasattr(value, "execution_count") and (value.text is not None or value.display):
        engine = getattr(part, "_engine", None)
        shown[VALUE] = [_later(show_value, engine, value.execution_count, value.text, value.display, value.metadata)]
    return shown


def _later(function: Callable[..., None], *args: Any) -> Callable[[], None]:
    return lambda: function(*args)


def _write(number: int, engine: int, text: str) -> None:
    stream, name = (sys.stdout, "stdout") if number == 1 else (sys.stderr, "stderr")
    stream.write(f"[{name}:{who(engine)}] {text}" + ("" if text.endswith("\n") else "\n"))


class Passed:
    """Text of a task that is nobody's to show: this process's own streams get it."""

    def __init__(self, stream: int, text: str, engine: int) -> None:
        self._stream = stream
        self._text = text
        self._engine = engine

    def run_callbacks(self) -> None:
        """Write it (called in the thread for callbacks)."""
        if self._stream == DISPLAYED:
            for output in outputs_of(self._text):
                show_output(self._engine, output)
            return
        stream = sys.stdout if self._stream == 1 else sys.stderr
        stream.write(self._text)
        stream.flush()


def watch(result: AsyncResult, interval: float, timeout: float | None, file: Any, kind: bool | str = True) -> bool:
    """Wait for a result with a bar that counts its items; has it ended within ``timeout`` seconds?"""
    if interval <= 0:
        raise ValueError(f"interval must be more than 0 seconds, not {interval!r}")
    deadline = None if timeout is None else monotonic() + timeout
    bar = progress_bar(len(result), kind, file)
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
