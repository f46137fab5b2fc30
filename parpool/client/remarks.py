"""What tasks have logged and warned of, handled in this process.

Handlers and what shows warnings are the user's: they may block and raise. So they are called in the thread of the
callbacks, one after the other, and between what is printed live. Who takes the value of a call waits for that, so that
what it logged and warned of is known by then, but only for a moment: a handler may wait for this very thread.

Nothing is raised because of a warning, whatever the filters say: the call that it would be raised from went on on the
engine. Where a filter makes it an error, it is shown.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
import weakref
from collections import deque
from typing import Any

from ..wire.remark import REMARKS, Logged, Warned, printable, remarks

WAITING = 32 * 2**20  #: characters of remarks that may wait for their handlers
PATIENCE = 1.0  #: seconds that a value waits for them
KNOWN = 10_000  #: warnings that were shown, of which no second is shown where the filters say so

_shown: dict[Any, Any] = {}  #: those; of the whole process, as the filters are


class Remarks:
    """Those of the tasks of one link."""

    def __init__(self, link: Any) -> None:
        self._link = weakref.ref(link)
        self.wanted = True  #: else they are text on the stderr of their tasks
        self._waiting: deque[tuple[int, int, str]] = deque()
        self._size = 0  #: characters that wait
        self._dropped = 0  #: lines
        self._came = self._handled = 0  #: messages
        self._stuck = -1  #: how many were handled when somebody waited in vain
        self._moved = threading.Condition()

    def sort(self, stream: int, text: str, engine: int, id: int) -> tuple[int, str]:
        """What a task has written (called by whoever drives the loop): the remarks are handled, the rest is given back."""
        if stream != REMARKS:
            return stream, text
        if not self.wanted:
            return 2, printable(text)
        link = self._link()
        with self._moved:
            if link is None or self._size + len(text) > WAITING:
                self._dropped += text.count("\n")
                return stream, ""
            self._size += len(text)
            self._came += 1
            self._waiting.append((engine, id, text))
        link.call_back(self)
        return stream, ""

    def run_callbacks(self) -> None:
        """Handle the first that wait (called in the thread for callbacks)."""
        with self._moved:
            if not self._waiting:
                return
            engine, id, text = self._waiting.popleft()
            dropped, self._dropped = self._dropped, 0
            self._size -= len(text)
        link = self._link()
        task = "" if link is None else link.msg_id(id)
        try:
            if dropped:
                message = "%d log records and warnings of engines were dropped: they came faster than they are handled"
                logging.getLogger("parpool").warning(message, dropped)
            _handle_all(text, engine, task)
        finally:
            with self._moved:
                self._handled += 1
                self._moved.notify_all()

    def settle(self) -> None:
        """Wait until what has come by now was handled, for a moment at the most."""
        if self._came == self._handled:
            return
        link = self._link()
        if link is not None and link.in_callback():
            while self._waiting:  # this thread is the one that would
                self.run_callbacks()
            return
        with self._moved:
            came = self._came
            # Not each value for a moment of its own: a callback may take hours.
            if self._stuck < self._handled and not self._moved.wait_for(lambda: self._handled >= came, PATIENCE):
                self._stuck = self._handled


def _handle_all(text: str, engine: int, task: str) -> None:
    for remark in remarks(text):
        try:
            if isinstance(remark, Warned):
                _warn(remark, engine)
            else:
                _log(remark, engine, task)
        except Exception:
            from .callbacks import tell_hook

            tell_hook()  # and the next one is handled


def _log(remark: Logged, engine: int, task: str) -> None:
    logger = logging.getLogger(remark.name)
    if not logger.isEnabledFor(remark.level):
        return
    file = os.path.basename(remark.path)
    known = {
        "name": remark.name,
        "levelno": remark.level,
        "levelname": remark.level_name,
        "msg": remark.message,
        "args": None,
        "pathname": remark.path,
        "filename": file,
        "module": os.path.splitext(file)[0],
        "lineno": remark.line,
        "funcName": remark.function,
        "created": remark.created,
        "msecs": remark.created % 1 * 1000,
        "process": remark.process,
        "processName": f"engine {engine}",
        "thread": remark.thread,
        "threadName": remark.thread_name,
        "exc_text": remark.exception,
        "stack_info": remark.stack,
        "engine": engine,
        "task": task,
    }
    logger.handle(logging.makeLogRecord(remark.extra | known))


def _warn(remark: Warned, engine: int) -> None:
    text = f"{remark.text} [engine {engine}: {remark.path}:{remark.line}]"
    category = next(filter(None, map(_category, remark.categories)), UserWarning)
    if len(_shown) > KNOWN:
        _shown.clear()
    try:
        warnings.warn_explicit(text, category, remark.path, remark.line, registry=_shown)
    except Exception as error:  # the filters make it an error, or its class wants more than a text
        if isinstance(error, Warning):
            warnings.showwarning(error, category, remark.path, remark.line)
        else:
            warnings.warn_explicit(f"{category.__name__}: {text}", UserWarning, remark.path, remark.line)


def _category(name: str) -> type[Warning] | None:
    """A class of warnings by its name, where it is here. (Nothing is imported for it: then no filter can name it.)"""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for step in path.split("."):
        found = getattr(found, step, None)
    return found if isinstance(found, type) and issubclass(found, Warning) else None
