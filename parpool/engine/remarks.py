"""What tasks log, and what they warn of, on its way home.

While a captured task runs (see ``output.py``), a log record is not printed here: it goes home, where the logger of the
same name handles it, and so does what ``warnings`` would show. Three rules keep records from coming twice, or not at all:

- Handlers that were there when the engine began are the client's own, by a fork or because its script was imported
  here. They are passed over: the client itself has them.
- Handlers that code on the engine has made since are called, as it says. Where one of them prints, the record is not sent
  home: it gets there as text, or is on the terminal already. One that nobody has asked for is not meant: that of
  ``basicConfig()`` without a word on how, as ``logging.warning(...)`` calls it where there is no handler.
- What is logged outside of captured tasks, as by those of a Pool's own methods, is not touched, and what parpool itself
  logs is not either: an engine has a log of its own.

Levels and filters of loggers hold on the engine first, as code asks them whether it should log at all.

How much one engine sends is bounded. What is logged beyond is counted, and how much that was is sent.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from time import monotonic
from typing import Any
from weakref import WeakSet

from ..errors import TaskTimeout
from ..wire.failure import safe_repr
from ..wire.remark import REMARKS, Logged, Plain, Warned, sound, to_text
from . import output

BURST = 10_000  #: remarks that may go at once
RATE = 1_000  #: that may go each second, for long
TOLD = 1.0  #: seconds between two remarks on how many did not go

OWN = frozenset({"parpool", "parpool.keys"})  #: the loggers that parpool itself logs by

_ORIGINAL = logging.Logger.callHandlers
_BASIC = logging.basicConfig
_USUAL = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})

_inherited: WeakSet[logging.Handler] = WeakSet()
_showed: Any = None  #: what showed warnings when the engine began
_sender: _Sender | None = None  #: this process's


def remember() -> None:
    """Note what is there as an engine begins. Before any code of its user's runs."""
    global _showed
    _showed = warnings.showwarning
    _inherited.clear()
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        _inherited.update(getattr(logger, "handlers", ()))  # else it stands for a logger that nobody has asked for


def captured(deliver: output.Deliver) -> output.Capture:
    """:func:`output.installed`, with the remarks of tasks as one more stream."""
    global _sender
    sender = _Sender(deliver)
    sender.capture = output.installed(sender.deliver)
    if _sender is None:
        logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign,assignment]
        logging.basicConfig = _basic_config
    # Where code on the engine shows them in a way of its own, that stays.
    if warnings.showwarning is _showed:
        warnings.showwarning = _Shown(warnings.showwarning)
    _sender = sender
    return sender.capture


class _Sender:
    """Sends remarks, as many as may be."""

    capture: output.Capture

    def __init__(self, deliver: output.Deliver) -> None:
        self._deliver = deliver
        self._left = float(BURST)  #: how many may go now
        self._counted = monotonic()  #: when that was so
        self._dropped = 0  #: since that was told
        self._began = 0.0  #: when the first of these was

    def send(self, task: int, line: str) -> None:
        """Send a remark of a task, or count it. Any thread."""
        now = monotonic()
        self._left = min(BURST, self._left + (now - self._counted) * RATE)
        self._counted = now
        if self._left >= 1:
            self._left -= 1
            self.capture.keep(task, REMARKS, line, True)
        else:
            self._dropped += 1
            if self._dropped == 1:
                self._began = now
                self._remind(task)

    def _remind(self, task: int) -> None:
        """Have an empty line delivered, with which the number of the dropped goes; at the end of the task at the latest."""
        self.capture.keep(task, REMARKS, "\n", False)

    def deliver(self, task: int, stream: int, text: str) -> object:
        """What the capture delivers to."""
        dropped = self._dropped
        if stream != REMARKS or not dropped:
            return self._deliver(task, stream, text)
        if monotonic() - self._began < TOLD and task != self.capture.ending:
            if "\n\n" in "\n" + text:
                self._remind(task)
            return not text.strip() or self._deliver(task, stream, text)
        message = f"{dropped} log records and warnings were dropped: they came too fast"
        record = Logged("parpool", logging.WARNING, "WARNING", message, created=logging.makeLogRecord({}).created)
        self._dropped = 0
        if (taken := self._deliver(task, stream, text + to_text(record))) is False:
            self._dropped += dropped
        return taken


# Log records ------------------------------------------------------------------------------------------


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    """In the place of ``Logger.callHandlers``."""
    task = output.NOBODY if _sender is None else _sender.capture.catching()
    if _sender is None or task < 0 or record.name in OWN:
        _ORIGINAL(logger, record)
        return
    printed = False
    for handler in _handlers(logger):
        if handler not in _inherited and record.levelno >= handler.level:
            handler.handle(record)
            printed = printed or _prints(handler, _sender.capture)
    if printed:
        return
    try:
        line = to_text(_logged(record))
    except TaskTimeout:
        raise
    except Exception:  # it cannot be formatted, which logging tells on stderr
        logging.NullHandler().handleError(record)
    else:
        _sender.send(task, line)


def _basic_config(**options: Any) -> None:
    """In the place of ``logging.basicConfig``."""
    before = set(logging.root.handlers)
    _BASIC(**options)
    if not options:
        _inherited.update(each for each in logging.root.handlers if each not in before)


def _handlers(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    """The handlers of a logger and of those above it."""
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _prints(handler: Any, capture: output.Capture) -> bool:
    """Does it write to a standard stream of this process?"""
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    ours = capture.stdout, capture.stderr, capture.stdout._stream, capture.stderr._stream
    return any(stream is each for each in (*ours, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__) if each)


def _logged(record: logging.LogRecord) -> Logged:
    exception = record.exc_text
    if exception is None and record.exc_info and record.exc_info[0] is not None:
        exception = logging.Formatter().formatException(record.exc_info)
    extra = {sound(str(name), 100): _plain(value) for name, value in vars(record).items() if name not in _USUAL}
    return Logged(
        sound(record.name, 1000),
        record.levelno,
        sound(str(record.levelname), 100),
        sound(record.getMessage()),
        sound(record.pathname, 1000),
        record.lineno,
        record.funcName,
        record.created,
        record.process,
        record.thread,
        record.threadName,
        exception and sound(exception),
        record.stack_info and sound(record.stack_info),
        extra,
    )


def _plain(value: Any) -> Plain:
    if value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < 2**63):
        return value  # type: ignore[no-any-return]
    return sound(value if isinstance(value, str) else safe_repr(value, 1000), 1000)


# Warnings ---------------------------------------------------------------------------------------------


class _Shown:
    """In the place of ``warnings.showwarning``; outside of captured tasks it is what it replaced."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(
        self, message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: str | None = None
    ) -> None:
        task = output.NOBODY if _sender is None or file is not None else _sender.capture.catching()
        if _sender is None or task < 0:
            self._before(message, category, filename, lineno, file, line)
            return
        bases = [each for each in category.__mro__ if issubclass(each, Warning)]
        names = [sound(f"{each.__module__}:{each.__qualname__}", 1000) for each in bases]
        _sender.send(task, to_text(Warned(sound(str(message)), names, sound(filename, 1000), lineno)))
