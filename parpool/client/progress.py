"""A bar for the items of a map: by tqdm, by rich, or as text."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from time import monotonic
from typing import Any

EVERY = 0.1  #: seconds between two looks of a bar
SELDOM = 5.0  #: between two lines of a file


def progress_bar(total: int | None, kind: bool | str | None = True, file: Any = None) -> Any:
    """A bar over ``total`` items (None: not known), on ``file`` or stderr; None where ``kind`` is False, or there is no
    stderr.

    ``kind``: ``"tqdm"``, ``"rich"``, ``"text"``, or True: the first of them that is installed. It has ``update(n)``,
    ``close()``, and ``n``, how many there have been. Raises ValueError for another kind.
    """
    if not kind:
        return None
    named = isinstance(kind, str)
    if (named and kind not in _KINDS) or not (named or kind == 1):  # True, also that of numpy
        raise ValueError(f"progress is True, False, {', '.join(map(repr, _KINDS))}, and not {kind!r}")
    file = file or sys.stderr  # as it is now: tqdm's own default is as it was when tqdm was imported
    if file is None:  # of a process without a console. (tqdm would fail, and never let go of the lock of all bars.)
        return None
    file = _Lenient(file)
    for make in [_KINDS[str(kind)]] if named else _KINDS.values():
        try:
            return make(total, file)
        except ImportError:
            if named:
                raise
    raise AssertionError("text needs nothing")


class _Lenient:
    """A file to which it may be impossible to write, as when a pipe has no reader any more: no map fails to end for
    that. (And tqdm would never let go of the lock of all bars.)"""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(Exception):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(Exception):
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _tqdm(total: int | None, file: Any) -> Any:
    """Without tqdm's own monitor thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a notebook without ipywidgets it says so, and has a bar of text
        from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0

    # As wide as its terminal: by itself it would be that on sys.stderr alone.
    return Bar(total=total, file=file, dynamic_ncols=True)


class _Rich:
    """A bar of rich, without the thread that would renew it."""

    def __init__(self, total: int | None, file: Any) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

        columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, console=Console(file=file), auto_refresh=False)
        self._task = self._progress.add_task("", total=total)
        self._renewed = monotonic()
        self.n = 0
        self._progress.start()

    def update(self, items: int) -> None:
        """So many more."""
        self.n += items
        self._progress.update(self._task, completed=self.n)
        if monotonic() - self._renewed >= EVERY:
            self._progress.refresh()
            self._renewed = monotonic()

    def close(self) -> None:
        """Show it for the last time."""
        self._progress.refresh()
        self._progress.stop()


class _Text:
    """A line that is written anew; in a file, a line now and then."""

    def __init__(self, total: int | None, file: Any) -> None:
        self._of = "" if total is None else f" of {total}"
        self._file = file
        self._rewrites = bool(getattr(file, "isatty", lambda: False)())
        self._written = monotonic()
        self._closed = False
        self.n = 0

    def update(self, items: int) -> None:
        """So many more."""
        self.n += items
        if monotonic() - self._written >= (EVERY if self._rewrites else SELDOM):
            self._write("" if self._rewrites else "\n")

    def close(self) -> None:
        """Write the last line, once."""
        if not self._closed:
            self._closed = True
            self._write("\n")

    def _write(self, end: str) -> None:
        self._file.write(("\r" if self._rewrites else "") + f"{self.n}{self._of}" + end)
        self._file.flush()
        self._written = monotonic()


_KINDS: dict[str, Any] = {"tqdm": _tqdm, "rich": _Rich, "text": _Text}
