"""What tasks print: every character once, in order, to the right place, whatever threads and signals do meanwhile."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from parpool.engine import output
from parpool.engine.output import BUFFERED, MOST, Capture, Output


class Home:
    """Where the text arrives, and the streams that ours replaced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pieces: list[tuple[int, int, str]] = []
        self.before = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n") for _ in (1, 2)]
        self._monkeypatch = monkeypatch

    def replace(self) -> None:
        """Put our own streams in the place of pytest's, which sets its own again before each phase of a test."""
        self._monkeypatch.setattr(sys, "stdout", self.before[0])
        self._monkeypatch.setattr(sys, "stderr", self.before[1])
        self._monkeypatch.setattr(output, "_capture", None)

    def install(self) -> Capture:
        self.replace()
        return output.install(self.deliver)

    def deliver(self, task: int, stream: int, text: str) -> None:
        self.pieces.append((task, stream, text))

    def text(self, task: int = 1, stream: int = 1) -> str:
        return "".join(piece[2] for piece in self.pieces if piece[:2] == (task, stream))

    def passed(self, stream: int = 1) -> str:
        """What went to the replaced stream."""
        before: Any = self.before[stream - 1]
        before.flush()
        return str(before.buffer.getvalue().decode())


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home(monkeypatch)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves because time has passed."""
    monkeypatch.setattr(output, "FLUSH", 1e9)


class Interrupt(BaseException):
    """Raised by a signal handler."""


# Captured or not --------------------------------------------------------------------------------------


def test_text_is_captured_between_begin_and_end(home: Home) -> None:
    capture = home.install()
    print("before")
    capture.begin(7)
    print("on", "stdout")
    print("on stderr", file=sys.stderr)
    capture.end()
    print("after")
    assert home.text(7) == "on stdout\n" and home.text(7, 2) == "on stderr\n"
    assert home.passed() == "before\nafter\n" and home.passed(2) == ""


def test_nothing_is_replaced_before_the_first_capture(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.replace()
    assert sys.stdout is home.before[0]
    capture = output.installed(home.deliver)
    capture.begin(1)
    print("one")
    capture.end()
    other = Home(monkeypatch)
    assert output.installed(other.deliver) is capture, "and only once"
    capture.begin(2)
    print("two")
    capture.end()
    assert (home.text(), other.text(2)) == ("one\n", "two\n")


def test_the_order_across_both_streams_is_that_of_the_writes(home: Home, soon: None) -> None:
    capture = home.install()
    capture.begin(1)
    for number in range(3):
        print(number)
        print("even", number, file=sys.stderr)
    capture.end()
    assert home.pieces == [
        piece for number in range(3) for piece in [(1, 1, f"{number}\n"), (1, 2, f"even {number}\n")]
    ]


def test_an_end_without_text_delivers_nothing(home: Home) -> None:
    capture = home.install()
    capture.begin(1)
    sys.stdout.write("")
    sys.stdout.buffer.write(b"")
    capture.flush_late()
    capture.end()
    capture.end()
    assert home.pieces == []


def test_the_stream_is_itself_in_all_but_its_type(home: Home) -> None:
    home.install()
    stream, before = sys.stdout, home.before[0]
    assert type(stream) is Output and isinstance(stream, io.TextIOWrapper)
    assert (stream.encoding, stream.errors, stream.newlines) == (before.encoding, before.errors, before.newlines)
    assert (stream.isatty(), stream.writable(), stream.closed) == (False, True, False)
    stream.reconfigure(line_buffering=True)
    assert before.line_buffering
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()  # a BytesIO has none
    with pytest.raises(AttributeError, match="no_such_thing"):
        stream.no_such_thing  # type: ignore[attr-defined]  # noqa: B018
    assert stream.buffer.getvalue() == b"" and isinstance(stream.buffer, io.BytesIO)  # type: ignore[attr-defined]
    with stream as same:
        assert same is stream
    assert before.closed
    with pytest.raises(ValueError, match="closed"):
        print("too late")


def test_fileno_is_the_stream_s(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.replace()
    read, write = os.pipe()
    with open(read, "rb") as end:
        with open(write, "w") as file:
            monkeypatch.setattr(sys, "stdout", file)
            capture = output.install(home.deliver)
            capture.begin(1)
            assert sys.stdout.fileno() == write
            os.write(sys.stdout.fileno(), b"not captured")
            capture.end()
        assert end.read() == b"not captured" and home.pieces == []


def test_a_process_without_streams(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.replace()
    monkeypatch.setattr(sys, "stdout", None)
    capture = output.install(home.deliver)
    print("nowhere")
    capture.begin(1)
    print("home")
    capture.end()
    assert home.text() == "home\n" and not hasattr(sys.stdout, "buffer")


def test_a_stream_pickles_as_that_of_the_process_that_opens_it(home: Home) -> None:
    home.install()
    assert pickle.loads(pickle.dumps([sys.stderr, sys.stdout])) == [sys.stderr, sys.stdout]


def test_an_abandoned_stream_closes_nothing(home: Home) -> None:
    home.install()
    sys.stdout, sys.stderr = home.before
    gc.collect()
    print("still open")
    assert home.passed() == "still open\n"


# When text leaves -------------------------------------------------------------------------------------


def test_more_than_the_buffer_holds_leaves_at_once(home: Home, soon: None) -> None:
    capture = home.install()
    capture.begin(1)
    sys.stdout.write("a" * BUFFERED)
    assert home.pieces == []
    sys.stderr.write("b")
    assert home.pieces == [(1, 1, "a" * BUFFERED), (1, 2, "b")]
    sys.stdout.write("c")
    assert len(home.pieces) == 2
    capture.end()
    assert home.pieces[2:] == [(1, 1, "c")]


def test_a_line_leaves_when_the_last_delivery_is_long_ago(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = home.install()
    now = 100.0
    monkeypatch.setattr(output, "monotonic", lambda: now)
    capture.begin(1)
    print("one")
    print("two")
    assert home.text() == "one\n"
    now += output.FLUSH * 1.01
    sys.stdout.write("and")
    assert home.text() == "one\n", "no line ends here"
    sys.stdout.write(" three\n")
    assert home.text() == "one\ntwo\nand three\n"
    capture.end()


def test_flush_delivers(home: Home, soon: None) -> None:
    capture = home.install()
    capture.begin(1)
    print("1", end="", flush=True)
    assert home.text() == "1"
    sys.stdout.buffer.write(b"2")
    sys.stdout.buffer.flush()
    assert home.text() == "12"
    print("3", end="")
    capture.flush_late()
    assert home.text() == "123"
    capture.end()


def test_flush_reaches_the_stream_where_nothing_is_captured(home: Home) -> None:
    home.install()
    sys.stdout.write("passed")
    sys.stdout.flush()
    assert home.before[0].buffer.getvalue() == b"passed"  # type: ignore[attr-defined]
    sys.stdout.buffer.write(b" on")
    sys.stdout.buffer.flush()
    assert home.before[0].buffer.getvalue() == b"passed on"  # type: ignore[attr-defined]


def test_a_huge_text_leaves_in_pieces(home: Home) -> None:
    capture = home.install()
    size = 3 * MOST + 17
    capture.begin(1)
    assert sys.stdout.write("x" * size) == size
    assert sys.stderr.buffer.write(memoryview(b"y" * size)) == size
    assert sum(len(piece[2]) for piece in home.pieces) > 2 * (size - MOST), "while it is written"
    capture.end()
    assert home.text() == "x" * size and home.text(1, 2) == "y" * size
    assert max(len(piece[2]) for piece in home.pieces) <= 2 * MOST


def test_what_deliver_does_not_take_stays(home: Home, soon: None) -> None:
    taken: list[str] = []
    offered = 0
    willing = False

    def deliver(task: int, stream: int, text: str) -> bool:
        nonlocal offered
        offered += 1
        if willing:
            taken.append(text)
        return willing

    home.replace()
    capture = output.install(deliver)
    capture.begin(1)
    print("one")
    print("two", file=sys.stderr)
    capture.flush_late()
    assert taken == [] and offered == 1
    willing = True
    capture.end()
    assert taken == ["one\n", "two\n"]


# Whatever is written ----------------------------------------------------------------------------------


def test_write_gives_the_length_and_takes_strings_only(home: Home) -> None:
    capture = home.install()

    class Text(str):
        def __str__(self) -> str:
            return "not what it is"

    capture.begin(1)
    assert sys.stdout.write("four") == 4
    assert sys.stdout.write(Text(" sub")) == 4
    sys.stdout.writelines([" and", " lines"])
    with pytest.raises(TypeError, match=r"write\(\) argument must be str, not int"):
        sys.stdout.write(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bytes-like"):
        sys.stdout.buffer.write("text")  # type: ignore[arg-type]
    capture.end()
    assert home.text() == "four sub and lines"
    assert all(type(piece[2]) is str for piece in home.pieces)
    with pytest.raises(TypeError, match="must be str, not int"):
        sys.stdout.write(5)  # type: ignore[arg-type]


def test_lone_surrogates_arrive_as_text_that_can_be_encoded(home: Home) -> None:
    capture = home.install()
    capture.begin(1)
    print("a\ud800b", "ä")
    capture.end()
    assert home.text().encode() == "a\\ud800b ä\n".encode()


def test_bytes_and_text_keep_their_order(home: Home, soon: None) -> None:
    capture = home.install()
    capture.begin(1)
    print("text")
    assert sys.stdout.buffer.write(bytearray(b"bytes\n")) == 6
    print("text")
    sys.stdout.buffer.writelines([b"more ", b"bytes \xff\n"])
    capture.end()
    assert home.text() == "text\nbytes\ntext\nmore bytes \ufffd\n"
    sys.stdout.buffer.write(b"passed")
    assert home.passed() == "passed"


@pytest.mark.parametrize("late", [False, True])
def test_a_character_written_in_two_halves(home: Home, soon: None, late: bool) -> None:
    capture = home.install()
    first, second = "a€b".encode()[:3], "a€b".encode()[3:]
    capture.begin(1)
    sys.stdout.buffer.write(first)
    if late:
        capture.flush_late()
        assert home.text() == "a"
    sys.stdout.buffer.write(second)
    sys.stdout.buffer.write(first)
    capture.flush_late()
    sys.stdout.write("!")
    sys.stdout.buffer.write(first)
    capture.end()
    assert home.text() == "a€ba\ufffd!a\ufffd", "and halves that nothing completes are replaced"


@pytest.mark.parametrize("buffered", [BUFFERED, 10**9], ids=["as they come", "all at once"])
def test_many_halves(home: Home, monkeypatch: pytest.MonkeyPatch, buffered: int) -> None:
    capture = home.install()
    monkeypatch.setattr(output, "BUFFERED", buffered)
    text = "€" * 40_000
    data = text.encode()
    capture.begin(1)
    for start in range(0, len(data), 1250):
        sys.stdout.buffer.write(data[start : start + 1250])
    capture.end()
    assert home.text() == text


# What tasks do with the streams -----------------------------------------------------------------------


def test_a_redirection_takes_its_text_away(home: Home) -> None:
    capture = home.install()
    capture.begin(1)
    with contextlib.redirect_stdout(io.StringIO()) as other, contextlib.redirect_stderr(sys.stdout):
        print("away")
        print("too", file=sys.stderr)
    print("home")
    with contextlib.redirect_stderr(capture.stdout):
        print("as stdout", file=sys.stderr)
    capture.end()
    assert other.getvalue() == "away\ntoo\n" and home.text() == "home\nas stdout\n" and home.text(1, 2) == ""


def test_a_stream_of_the_task_s_own_over_ours_is_flushed_at_the_end(home: Home) -> None:
    """Its text belongs to the task that wrote it, and it stays in place as it does without a pool."""
    capture = home.install()
    ours = sys.stdout
    capture.begin(1)
    wrapper = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
    sys.stdout = wrapper
    print("ä" * 3)
    assert home.text() == ""
    capture.end()
    assert home.text() == "äää\n" and sys.stdout is wrapper
    capture.begin(2)
    print("and on")
    capture.end()
    assert home.text(2) == "and on\n"
    sys.stdout = ours
    wrapper.detach()  # else it closes what it wraps


def test_a_flush_that_raises_does_not_keep_the_end(home: Home) -> None:
    capture = home.install()

    class Odd(io.StringIO):
        def flush(self) -> None:
            raise OSError("no")

    capture.begin(1)
    print("text")
    with contextlib.redirect_stdout(Odd()):
        capture.end()
    print("after")
    assert home.text() == "text\n" and home.passed() == "after\n"


def test_what_was_detached_is_captured_still(home: Home) -> None:
    capture = home.install()
    capture.begin(1)
    buffer = sys.stdout.detach()
    buffer.write(b"raw\n")
    sys.stdout = io.TextIOWrapper(buffer, encoding="utf-8", write_through=True)
    print("wrapped")
    capture.end()
    assert home.text() == "raw\nwrapped\n"
    sys.stdout.detach()


def test_a_logging_handler_that_kept_the_stream(home: Home) -> None:
    capture = home.install()
    logger = logging.Logger("task")
    logger.addHandler(logging.StreamHandler())
    capture.begin(1)
    logger.warning("one")
    capture.end()
    logger.warning("between")
    capture.begin(2)
    logger.warning("two")
    capture.end()
    assert (home.text(1, 2), home.text(2, 2), home.passed(2)) == ("one\n", "two\n", "between\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_child_has_no_part_in_the_task(home: Home, soon: None) -> None:
    capture = home.install()
    read, write = os.pipe()
    capture.begin(1)
    print("parent's")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the thread that watches over the time of this test
        pid = os.fork()
    if pid == 0:
        print("child's")
        capture.end()
        os.write(write, pickle.dumps((home.pieces, home.passed())))
        os._exit(0)
    os.close(write)
    with open(read, "rb") as end:
        assert pickle.loads(end.read()) == ([], "child's\n")
    os.waitpid(pid, 0)
    capture.end()
    assert home.text() == "parent's\n" and home.passed() == ""


# Threads ----------------------------------------------------------------------------------------------


def test_threads_of_the_task_are_captured(home: Home) -> None:
    capture = home.install()
    capture.begin(1)
    thread = threading.Thread(target=print, args=("from a thread",))
    thread.start()
    thread.join()
    capture.end()
    assert home.text() == "from a thread\n"


class Talker(threading.Thread):
    """Prints what it is told to, and stays."""

    def __init__(self) -> None:
        super().__init__()
        self._said, self._heard = threading.Semaphore(0), threading.Semaphore(0)
        self._text: str | None = None
        self.start()

    def say(self, text: str | None) -> None:
        self._text = text
        self._said.release()
        self._heard.acquire()

    def run(self) -> None:
        while self._said.acquire() and self._text is not None:
            print(self._text)
            self._heard.release()
        self._heard.release()

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.say(None)
        self.join()


def test_a_thread_that_outlives_its_task_is_not_captured_any_more(home: Home) -> None:
    capture = home.install()
    with Talker() as resident:  # as the engine's warden is
        capture.begin(1)
        with Talker() as old:
            old.say("captured")
            resident.say("older")
            capture.end()
            old.say("between")
            capture.begin(2)
            old.say("late")
            with Talker() as young:
                young.say("of the second")
                capture.end()
                capture.begin(3)
                young.say("late, too")
                old.say("later")
        with Talker() as last:
            last.say("of the third")
            resident.say("resident")
        capture.end()
        capture.begin(4)
        resident.say("as ever")
        capture.end()
    assert (home.text(1), home.text(2), home.text(3)) == ("captured\n", "of the second\n", "of the third\n")
    assert home.passed() == "older\nbetween\nlate\nlate, too\nlater\nresident\nas ever\n"


def test_a_thread_in_the_place_of_another_is_known_to_be_older(home: Home) -> None:
    """Between two tasks the number of threads has not changed, and yet it is not the same ones."""
    capture = home.install()
    capture.begin(1)
    with Talker() as first:
        capture.end()
        capture.begin(2)
        first.say("late")
    with Talker() as second:
        second.say("captured")
        capture.end()
        capture.begin(3)
        second.say("late, too")
        capture.end()
    assert home.text(2) == "captured\n" and home.passed() == "late\nlate, too\n" and home.text(3) == ""


def test_text_that_comes_as_the_task_ends_is_not_delivered_after_its_end(home: Home, soon: None) -> None:
    """A thread looked whether it is captured, and the task ended before it wrote."""
    capture = home.install()
    capture.begin(1)
    print("in time")
    task = capture.catching()
    capture.end()
    capture.keep(task, 1, "late\n", True)
    capture.keep(task, 2, b"half \xe2\x82", False)
    assert home.pieces == [(1, 1, "in time\n")] and (home.passed(), home.passed(2)) == ("late\n", "half \ufffd")
    capture.begin(2)
    capture.keep(task, 1, "later\n", True)
    home.before[0].close()
    capture.keep(task, 1, "much later\n", True)
    print("second")
    capture.end()
    assert home.pieces[1:] == [(2, 1, "second\n")]


def test_nothing_is_lost_doubled_or_moved_between_threads(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = home.install()
    monkeypatch.setattr(output, "BUFFERED", 100)
    ended = threading.Event()
    delivering = 0

    def deliver(task: int, stream: int, text: str) -> None:
        nonlocal delivering
        delivering += 1
        assert delivering == 1, "one at a time"
        home.deliver(task, stream, text)
        delivering -= 1

    def talk(name: str) -> None:
        for number in range(500):
            stream = sys.stdout if number % 3 else sys.stderr
            stream.write(f"{name}{number}\n")

    def flush() -> None:
        while not ended.is_set():
            capture.flush_late()

    capture.deliver = deliver
    warden = threading.Thread(target=flush)
    warden.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        capture.begin(1)
        threads = [threading.Thread(target=talk, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        talk("m")
        for thread in threads:
            thread.join()
        capture.end()
    finally:
        sys.setswitchinterval(interval)
        ended.set()
        warden.join()
    for stream in (1, 2):
        lines = home.text(1, stream).splitlines()
        for name in "abcm":
            assert [line for line in lines if line[0] == name] == [
                f"{name}{number}" for number in range(500) if bool(number % 3) == (stream == 1)
            ]
        assert all(line[0] in "abcm" for line in lines)


# Signals ----------------------------------------------------------------------------------------------


@pytest.fixture
def on_signal() -> Iterator[Any]:
    """Sets what SIGUSR1 does."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, lambda signum, frame: handler())
    signal.signal(signal.SIGUSR1, before)


def test_a_handler_may_print_in_the_middle_of_a_delivery(home: Home, on_signal: Any) -> None:
    capture = home.install()
    on_signal(lambda: print("handler", flush=True))

    def deliver(task: int, stream: int, text: str) -> None:
        if not home.pieces:
            signal.raise_signal(signal.SIGUSR1)
        home.deliver(task, stream, text)

    capture.deliver = deliver
    capture.begin(1)
    print("task", flush=True)
    capture.end()
    assert home.text() == "task\nhandler\n"


def test_an_error_waits_until_the_delivery_is_done(home: Home, on_signal: Any) -> None:
    capture = home.install()

    def handler() -> None:
        if not capture.postpone(error := Interrupt("of the handler")):
            raise error

    def deliver(task: int, stream: int, text: str) -> None:
        signal.raise_signal(signal.SIGUSR1)
        home.deliver(task, stream, text)

    on_signal(handler)
    capture.deliver = deliver
    capture.begin(1)
    with pytest.raises(Interrupt, match="of the handler"):
        print("text", flush=True)
    assert home.text() == "text\n"
    capture.deliver = home.deliver
    print("more")
    with pytest.raises(Interrupt):
        signal.raise_signal(signal.SIGUSR1)
    capture.end()
    assert home.text() == "text\nmore\n"


def test_an_error_while_another_thread_delivers(home: Home, on_signal: Any, soon: None) -> None:
    """The main thread waits in ``end`` for the other one, and is interrupted there."""

    capture = home.install()

    def handler() -> None:
        if not capture.postpone(error := Interrupt()):
            raise error

    def deliver(task: int, stream: int, text: str) -> None:
        if threading.current_thread() is warden:
            delivering.set()
            go_on.wait()
        home.deliver(task, stream, text)

    def interrupt() -> None:
        main = threading.main_thread().ident or 0
        while sys._current_frames()[main].f_code.co_name != "_drain":  # where it waits for the other one
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGUSR1)

    on_signal(handler)
    delivering, go_on = threading.Event(), threading.Event()
    warden = threading.Thread(target=capture.flush_late)
    interrupter = threading.Thread(target=interrupt)
    capture.deliver = deliver
    capture.begin(1)
    sys.stdout.write("one ")
    warden.start()
    delivering.wait()
    sys.stdout.write("two ")
    interrupter.start()
    try:
        with pytest.raises(Interrupt):
            capture.end()
    finally:
        go_on.set()
        warden.join()
        interrupter.join()
    capture.end()
    assert home.text() == "one two "
    print("after")
    assert home.passed() == "after\n"


def interrupted(capture: Capture, moment: int, ask: bool) -> tuple[int, set[int]]:
    """Write 20 words, with an exception at the ``moment``-th of the moments at which one may come.

    A signal handler runs where a function begins, and where one in C has returned: that is where Python looks, and
    where a profiler is called. Gives the number of moments that came, and the words whose write was cut short.
    """
    moments, cut = 0, set()
    code = (capture.deliver.__code__, output.__file__)  # type: ignore[attr-defined]

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal moments
        if event in ("call", "c_return") and (frame.f_code is code[0] or frame.f_code.co_filename == code[1]):
            if moments == moment:
                return  # where it was postponed
            moments += 1
            if moments == moment:
                error = Interrupt()
                if not (ask and capture.postpone(error)):
                    raise error

    sys.setprofile(profile)
    try:
        try:
            capture.begin(1)
        except Interrupt:
            capture.begin(1)
        for number in range(20):
            stream: Any = (sys.stdout, sys.stderr, sys.stdout.buffer)[number % 3]
            word: Any = f"<{number}>" if number % 3 < 2 else f"<{number}>".encode()
            try:
                stream.write(word)
            except Interrupt:
                cut.add(number)
        try:
            capture.end()
        except Interrupt:
            capture.end()
    finally:
        sys.setprofile(None)
    return moments, cut


@pytest.mark.parametrize("ask", [True, False], ids=["the handler asks", "the handler just raises"])
def test_an_exception_at_any_moment(home: Home, monkeypatch: pytest.MonkeyPatch, ask: bool) -> None:
    capture = home.install()
    monkeypatch.setattr(output, "BUFFERED", 20)
    moment = moments = 0
    while moments == moment:  # until it was over before the moment came
        moment += 1
        home.pieces.clear()
        moments, cut = interrupted(capture, moment, ask)
        for stream in (1, 2):
            arrived = [int(word) for word in home.text(1, stream).replace("<", "").split(">") if word]
            written = [number for number in range(20) if (number % 3 == 1) == (stream == 2)]
            once = list(dict.fromkeys(arrived))
            assert [number for number in once if number not in cut] == [n for n in written if n not in cut], moment
            assert sorted(once) == once
            assert not ask or arrived == once, f"twice, at moment {moment}"
        assert home.passed() == ""
        capture.begin(2)
        print("next")
        capture.end()
        assert home.text(2) == "next\n", f"does not work any more after moment {moment}"
    assert moment > 100 and not cut


def test_a_delivery_that_raises_loses_nothing(home: Home, soon: None) -> None:
    capture = home.install()

    def deliver(task: int, stream: int, text: str) -> None:
        raise OSError("the socket is closed")

    capture.deliver = deliver
    capture.begin(1)
    with pytest.raises(OSError, match="closed"):
        print("one", flush=True)
    with pytest.raises(OSError, match="closed"):
        capture.end()
    capture.deliver = home.deliver
    capture.begin(2)
    print("two")
    capture.end()
    assert home.pieces == [(1, 1, "one\n"), (2, 1, "two\n")]


def test_where_it_cannot_be_delivered_it_waits(home: Home, soon: None) -> None:
    """What a signal handler or a finalizer prints while the engine sends something else."""
    capture = home.install()
    capture.begin(1)
    capture.hindered = lambda: True
    print("x" * 2 * BUFFERED, flush=True)
    assert not home.pieces
    capture.hindered = lambda: False
    capture.end()
    assert home.text() == "x" * 2 * BUFFERED + "\n"
