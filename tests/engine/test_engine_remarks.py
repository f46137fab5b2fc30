"""What tasks log and warn of: what goes home, what is handled on the engine, and how much at the most."""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from parpool.engine import output, remarks
from parpool.engine.output import Capture
from parpool.wire.remark import REMARKS, Logged, Remark, Warned
from parpool.wire.remark import remarks as read


class Home:
    """Where it arrives."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, int, str]] = []
        self.takes = True
        self.shown: list[str] = []  #: warnings, in the way that the engine began with
        self.stderr = io.StringIO()  #: what the engine began with
        self.set_stream: Callable[[Any, str, Any], None]
        self.capture: Capture

    def install(self) -> Capture:
        """Arrange it. In the test: pytest puts its own streams, and what shows warnings, before each phase of one."""
        self.set_stream(sys, "stdout", io.StringIO())
        self.set_stream(sys, "stderr", self.stderr)
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *args, **kwargs: self.shown.append(str(message))
        remarks.remember()
        self.capture = remarks.captured(self.deliver)
        return self.capture

    def deliver(self, task: int, stream: int, text: str) -> bool:
        if self.takes:
            self.pieces.append((task, stream, text))
        return self.takes

    def remarks(self, task: int = 1) -> list[Remark]:
        return [each for piece in self.pieces if piece[:2] == (task, REMARKS) for each in read(piece[2])]

    def logged(self) -> list[Logged]:
        return [each for each in self.remarks() if isinstance(each, Logged)]

    def said(self) -> list[str]:
        return [each.message if isinstance(each, Logged) else each.text for each in self.remarks()]

    def printed(self, stream: int) -> str:
        return "".join(text for _, number, text in self.pieces if number == stream)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """An engine's own arrangements, in this process: pytest's handlers are those that it inherits."""
    monkeypatch.setattr(output, "_capture", None)
    monkeypatch.setattr(remarks, "_sender", None)
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    monkeypatch.setattr(logging, "basicConfig", logging.basicConfig)
    made = Home()
    made.set_stream = monkeypatch.setattr
    with warnings.catch_warnings():
        yield made


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("parpool.tests.engine")
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()
    logger.propagate = True


class Kept(logging.Handler):
    """Keeps what it handles."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


# Log records ------------------------------------------------------------------------------------------


def test_a_record_goes_home_with_all_that_it_says(home: Home, log: logging.Logger) -> None:
    home.install()
    home.capture.begin(1)
    log.warning("%s and %d", "one", 2, extra={"job": 7, "what": [1], "big": 2**70, "text": "t\ud800"})
    home.capture.end()
    (record,) = home.logged()
    assert (record.name, record.level, record.level_name) == (log.name, logging.WARNING, "WARNING")
    assert record.message == "one and 2" and record.path == __file__ and record.line > 0
    assert record.function == "test_a_record_goes_home_with_all_that_it_says"
    assert record.thread_name == "MainThread" and record.created > 1e9
    assert record.extra == {"job": 7, "what": "[1]", "big": str(2**70), "text": "t\\ud800"}
    assert home.printed(2) == "" and home.stderr.getvalue() == ""


def test_with_the_traceback_and_the_stack(home: Home, log: logging.Logger) -> None:
    home.install()
    home.capture.begin(1)
    try:
        raise LookupError("gone")
    except LookupError:
        log.exception("failed", stack_info=True)
    home.capture.end()
    (record,) = home.logged()
    assert record.exception and record.exception.endswith("LookupError: gone")
    assert record.stack and record.stack.startswith("Stack (most recent call last)")


def test_levels_and_filters_hold_on_the_engine(home: Home, log: logging.Logger) -> None:
    home.install()

    def no(record: logging.LogRecord) -> bool:
        return "no" not in record.getMessage()

    log.addFilter(no)
    home.capture.begin(1)
    log.debug("below")
    log.info("yes")
    log.info("no")
    home.capture.end()
    log.removeFilter(no)
    assert home.said() == ["yes"]


def test_outside_of_tasks_nothing_is_touched(home: Home, log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    home.install()
    log.info("before")
    home.capture.begin(1)
    log.info("within")
    home.capture.end()
    log.info("after")
    assert home.said() == ["within"]
    assert [record.getMessage() for record in caplog.records] == ["before", "after"]


def test_what_the_engine_began_with_is_the_client_s(home: Home, log: logging.Logger) -> None:
    home.install()
    inherited, made_here, child = Kept(), Kept(), logging.getLogger(log.name + ".child")
    log.addHandler(inherited)
    log.propagate = False
    remarks.remember()
    made_here.setLevel(logging.ERROR)
    log.addHandler(made_here)
    home.capture.begin(1)
    child.warning("one")
    child.error("two")
    home.capture.end()
    assert home.said() == ["one", "two"] and inherited.records == []
    assert [record.getMessage() for record in made_here.records] == ["two"]


def test_a_handler_that_nobody_has_asked_for_does_not_count(
    home: Home, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    home.install()
    home.capture.begin(1)
    logging.warning("as most do")  # calls basicConfig
    log.warning("and later")
    home.capture.end()
    assert home.said() == ["as most do", "and later"] and not home.printed(2)
    assert len(logging.root.handlers) == 1, "outside of tasks it prints"
    monkeypatch.setattr(logging.root, "handlers", [])
    home.capture.begin(1)
    logging.basicConfig(format="%(message)s")
    log.warning("as it was asked for")
    home.capture.end()
    assert home.printed(2) == "as it was asked for\n" and len(home.said()) == 2


@pytest.mark.parametrize("stream", ["stderr", "__stderr__", "before"])
def test_what_is_printed_on_the_engine_does_not_come_twice(home: Home, log: logging.Logger, stream: str) -> None:
    home.install()
    target: Any = home.capture.stderr._stream if stream == "before" else getattr(sys, stream)
    printer = logging.StreamHandler(target)
    printer.setLevel(logging.WARNING)
    log.addHandler(printer)
    home.capture.begin(1)
    log.info("goes home")
    log.warning("is printed")
    home.capture.end()
    assert home.said() == ["goes home"]
    if stream == "stderr":
        assert home.printed(2) == "is printed\n"
    if stream == "before":
        assert target.getvalue() == "is printed\n"


def test_a_record_that_cannot_be_formatted_is_told_on_stderr(home: Home, log: logging.Logger) -> None:
    home.install()
    home.capture.begin(1)
    log.info("%d", "no number")
    log.info("next")
    home.capture.end()
    assert "--- Logging error ---" in home.printed(2) and home.said() == ["next"]


def test_remarks_keep_their_place_among_what_is_printed(home: Home, log: logging.Logger) -> None:
    home.install()
    home.capture.begin(1)
    for number in range(3):
        print(number)
        log.info("%d", number)
        print(number, file=sys.stderr)
    home.capture.end()
    assert [stream for _, stream, _ in home.pieces] == [1, REMARKS, 2] * 3


def test_of_threads_of_the_task_and_of_others(
    home: Home, log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    home.install()
    go, done = threading.Event(), threading.Event()

    def older() -> None:
        go.wait(20)
        log.info("older")
        done.set()

    thread = threading.Thread(target=older)
    thread.start()
    home.capture.begin(1)
    go.set()
    assert done.wait(20)
    own = threading.Thread(target=log.info, args=("own",))
    own.start()
    own.join()
    home.capture.end()
    thread.join()
    assert home.said() == ["own"] and [record.getMessage() for record in caplog.records] == ["older"]


# Warnings ---------------------------------------------------------------------------------------------


class OldWarning(DeprecationWarning):
    """One of our own."""


def test_a_warning_goes_home(home: Home) -> None:
    home.install()
    home.capture.begin(1)
    warnings.warn("old", OldWarning, stacklevel=1)
    warnings.showwarning("to a file", UserWarning, "f.py", 1, file=sys.stdout)
    home.capture.end()
    (warning,) = home.remarks()
    assert isinstance(warning, Warned) and (warning.text, warning.path) == ("old", __file__) and warning.line > 0
    names = [f"{__name__}:OldWarning", "builtins:DeprecationWarning", "builtins:Warning"]
    assert warning.categories == names and home.shown == ["to a file"]


def test_one_that_is_looked_for_does_not(home: Home) -> None:
    home.install()
    home.capture.begin(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    warnings.simplefilter("ignore")
    warnings.warn("ignored", stacklevel=1)
    home.capture.end()
    assert len(caught) == 1 and home.remarks() == []


def test_outside_of_tasks_warnings_are_shown_as_before(home: Home) -> None:
    home.install()
    warnings.warn("here", stacklevel=1)
    assert home.pieces == [] and home.shown == ["here"]


def test_who_shows_warnings_in_a_way_of_its_own_goes_on(home: Home) -> None:
    home.install()
    shown = []
    warnings.showwarning = lambda message, *args, **kwargs: shown.append(str(message))
    remarks.captured(home.deliver)
    home.capture.begin(1)
    warnings.warn("mine", stacklevel=1)
    home.capture.end()
    assert shown == ["mine"] and home.remarks() == []


# How much ---------------------------------------------------------------------------------------------


def test_a_flood_is_cut_and_counted(home: Home, log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    home.install()
    monkeypatch.setattr(remarks, "BURST", 100)
    monkeypatch.setattr(remarks, "RATE", 1e-9)
    sender: Any = remarks._sender
    sender._left = 100.0
    home.capture.begin(1)
    for number in range(1000):
        log.info("%d", number)
        if number == 500:
            home.takes = False
            home.capture.flush()
            home.takes = True
    home.capture.end()
    said = home.logged()
    assert [record.message for record in said if record.name == log.name] == [str(n) for n in range(100)]
    told = [record for record in said if record.name == "parpool"]
    assert [record.message.split(":")[0] for record in told] == ["900 log records and warnings were dropped"]
    assert told[0].level == logging.WARNING


def test_a_flood_that_lasts_is_told_of_now_and_then(
    home: Home, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.install()
    sender: Any = remarks._sender
    now = [1000.0]
    monkeypatch.setattr(remarks, "monotonic", lambda: now[0])
    sender._left, sender._counted = 0.0, now[0]
    home.capture.begin(1)
    for _ in range(10_000):  # twice as many as may go, for 5 seconds
        now[0] += 0.5 / remarks.RATE
        log.info("x")
        home.capture.flush()
    home.capture.end()
    said = home.logged()
    told = [int(record.message.split()[0]) for record in said if record.name == "parpool"]
    assert 4 <= len(told) <= 6 and sum(told) + len(said) - len(told) == 10_000
    assert len(home.pieces) <= len(said), "and nothing empty was sent"


def test_after_a_while_more_may_go(home: Home, log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    home.install()
    sender: Any = remarks._sender
    now = [1000.0]
    monkeypatch.setattr(remarks, "monotonic", lambda: now[0])
    sender._left, sender._counted = 0.0, now[0]
    home.capture.begin(1)
    log.info("lost")
    now[0] += 1.5 / remarks.RATE
    log.info("goes")
    log.info("lost")
    now[0] += 1e9
    for _ in range(remarks.BURST + 1):
        log.info("x")
    home.capture.end()
    said = home.said()
    assert "goes" in said and "lost" not in said and said.count("x") == remarks.BURST


def test_what_comes_after_the_end_of_its_task_is_readable(home: Home, log: logging.Logger) -> None:
    home.install()
    home.capture.begin(1)
    home.takes = False
    log.info("late")
    home.capture.end()
    home.takes = True
    home.capture.ending = output.NOBODY
    home.capture.flush()
    assert home.stderr.getvalue() == f"INFO:{log.name}:late\n"
