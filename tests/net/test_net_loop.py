"""The baton: one thread drives at a time, whoever waits gets its result, and signals never cut a step in two."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from forks import in_a_fork

from parpool.net.loop import Baton, Shield
from parpool.net.wake import Wake


class Thing:
    """Something to wait for, as a result is."""

    def __init__(self) -> None:
        self._done = False
        self._parked: list[threading.Lock] | None = None

    def finish(self) -> None:
        self._done = True
        for lock in list(self._parked or ()):
            try:
                lock.release()
            except RuntimeError:
                pass


class FakeLoop:
    """Things that are promised end when somebody drives the loop; it notes who does."""

    def __init__(self) -> None:
        self.asleep = False
        self.due: deque[tuple[float, Thing]] = deque()
        self.lock = threading.Lock()
        self.woken = Wake()  # not an Event: one that Ctrl-C strikes in set() stays locked
        self.driving: int | None = None
        self.overlaps = 0
        self.steps: list[str] = []
        self.inside: Callable[[], None] = lambda: None
        self.alarm, self.bell = os.pipe()
        self.alarm_interval: float | None = None

    def promise(self, seconds: float) -> Thing:
        thing = Thing()
        with self.lock:
            self.due.append((time.monotonic() + seconds, thing))
        if self.asleep:
            self.wake()
        return thing

    def hasten(self) -> None:
        """What is promised ends now."""
        with self.lock:
            self.due = deque((0.0, thing) for _, thing in self.due)
        self.wake()

    def step(self, timeout: float | None) -> None:
        if self.driving is not None:
            self.overlaps += 1
        self.driving = threading.get_ident()
        self.steps.append(threading.current_thread().name)
        try:
            try:
                self.asleep = True  # first: what is promised from now on wakes it
                with self.lock:
                    next_at = min((at for at, _ in self.due), default=None)
                left = None if next_at is None else max(0.0, next_at - time.monotonic())
                limits = [limit for limit in (left, timeout) if limit is not None]
                select.select([self.woken.fd], [], [], min(limits, default=30.0))
            finally:
                self.asleep = False
            self.woken.clear()
            self.inside()
            now = time.monotonic()
            with self.lock:
                ended = [thing for at, thing in self.due if at <= now]
                self.due = deque(pair for pair in self.due if pair[0] > now)
            for thing in ended:
                thing.finish()
        finally:
            self.driving = None

    def wake(self) -> None:
        self.woken.set()

    def outstanding(self) -> bool:
        return bool(self.due)

    def alarms(self) -> list[int]:
        return [self.alarm]

    def close(self) -> None:
        os.close(self.alarm)
        os.close(self.bell)
        self.woken.close()


@pytest.fixture
def loop() -> Iterator[FakeLoop]:
    made = FakeLoop()
    yield made
    made.close()


@pytest.fixture
def baton(loop: FakeLoop) -> Iterator[Baton]:
    made = Baton(loop)
    made.start()
    yield made
    made.close()
    assert loop.overlaps == 0


def in_threads(count: int, target: Callable[[int], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=target, args=(i,), name=f"waiter-{i}") for i in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), f"{thread.name} waits for ever"


# Waiting ----------------------------------------------------------------------------------------------


def test_the_waiter_drives_itself(loop: FakeLoop, baton: Baton) -> None:
    assert baton.wait(loop.promise(0.02)) is True
    assert set(loop.steps) == {"MainThread"}


def test_what_is_done_needs_no_step(loop: FakeLoop, baton: Baton) -> None:
    thing = Thing()
    thing.finish()
    assert baton.wait(thing) is True
    assert loop.steps == []


def test_timeout(loop: FakeLoop, baton: Baton) -> None:
    thing = loop.promise(1000)
    started = time.monotonic()
    assert baton.wait(thing, 0.05) is False
    assert time.monotonic() - started > 0.04
    assert baton.wait(thing, 0) is False
    assert baton.wait(thing, -1) is False
    loop.due.clear()


def test_a_timeout_of_zero_looks_once(loop: FakeLoop, baton: Baton) -> None:
    assert baton.wait(loop.promise(0), 0) is True


def test_many_waiters_each_with_its_own(loop: FakeLoop, baton: Baton) -> None:
    things = [loop.promise(0.01 + 0.003 * ((7 * i) % 20)) for i in range(20)]
    got: list[int] = []

    def wait(i: int) -> None:
        assert baton.wait(things[i]) is True
        got.append(i)

    join(in_threads(20, wait))
    assert sorted(got) == list(range(20))


def test_many_waiters_for_one(loop: FakeLoop, baton: Baton) -> None:
    thing = loop.promise(0.1)
    got: list[bool] = []
    join(in_threads(10, lambda i: got.append(baton.wait(thing))))
    assert got == [True] * 10


def test_the_baton_is_handed_on(loop: FakeLoop, baton: Baton) -> None:
    """The one that drives has its result first; another one takes over."""
    short, long = loop.promise(0.05), loop.promise(0.3)
    threads = in_threads(2, lambda i: baton.wait([short, long][i]))
    join(threads)
    assert {"waiter-1"} <= set(loop.steps)
    assert long._done


def test_a_parked_waiter_s_timeout(loop: FakeLoop, baton: Baton) -> None:
    long, other = loop.promise(1000), loop.promise(1000)
    drives = in_threads(1, lambda i: baton.wait(long))
    while loop.driving is None:
        time.sleep(0.001)
    assert baton.wait(other, 0.05) is False
    assert other._parked == [] and not baton._parked
    loop.hasten()
    join(drives)


def test_a_thing_ended_by_somebody_else(loop: FakeLoop, baton: Baton) -> None:
    """Not by a step: whoever parks is woken all the same."""
    drives = in_threads(1, lambda i: baton.wait(loop.promise(1000)))
    while loop.driving is None:
        time.sleep(0.001)
    thing = Thing()
    threading.Timer(0.05, thing.finish).start()
    assert baton.wait(thing) is True
    loop.hasten()
    join(drives)


def test_waiters_for_one_thing_are_never_forgotten(loop: FakeLoop, baton: Baton) -> None:
    """While another thread drives for long, each of many that begin to wait at one moment is woken."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        ending = loop.promise(3)
        drives = in_threads(1, lambda i: baton.wait(ending))
        while loop.driving is None:
            time.sleep(0.001)
        late = 0.0
        for _ in range(25):
            thing = loop.promise(0.02)
            barrier = threading.Barrier(8)
            waited: list[float] = []

            def wait(i: int) -> None:
                barrier.wait()  # noqa: B023
                baton.wait(thing)  # noqa: B023
                waited.append(time.monotonic())  # noqa: B023

            started = time.monotonic()
            join(in_threads(8, wait))
            late = max(late, max(waited) - started)
        assert late < 1.5
        loop.due.clear()
        ending.finish()
        loop.wake()
        join(drives)
    finally:
        sys.setswitchinterval(interval)


def test_under_stress(loop: FakeLoop, baton: Baton) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    count = [0] * 8

    def use(i: int) -> None:
        for round in range(60):
            thing = loop.promise(0.0005 * ((i + round) % 3))
            if (i + round) % 5 == 0:
                baton.tend()
            while not baton.wait(thing, 0.001 if round % 3 == 0 else None):
                pass
            count[i] += 1

    try:
        join(in_threads(8, use))
    finally:
        sys.setswitchinterval(interval)
    assert count == [60] * 8


def test_a_signal_just_as_a_waiter_parks(loop: FakeLoop, baton: Baton) -> None:
    """Nobody waits there any more: the baton is not to be offered to it, and the background takes over."""

    class Interrupted(deque[Any]):
        def append(self, lock: Any) -> None:
            super().append(lock)
            raise KeyboardInterrupt

    ending = loop.promise(0.3)
    drives = in_threads(1, lambda i: baton.wait(ending))
    while loop.driving is None:
        time.sleep(0.001)
    baton._parked = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        baton.wait(loop.promise(10))
    baton._parked = deque(baton._parked)
    last = loop.promise(0.4)
    join(drives)
    deadline = time.monotonic() + 10
    while not last._done and time.monotonic() < deadline:
        time.sleep(0.01)
    assert last._done
    loop.due.clear()


def fail_once(loop: FakeLoop) -> None:
    def inside() -> None:
        loop.inside = lambda: None
        raise ValueError("step")

    loop.inside = inside


def test_an_error_of_a_step_leaves_the_baton_free(loop: FakeLoop, baton: Baton) -> None:
    fail_once(loop)
    thing = loop.promise(0)
    with pytest.raises(ValueError, match="step"):
        baton.wait(thing)
    assert baton.wait(thing, 2) is True
    assert baton.wait(loop.promise(0.01), 2) is True


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_a_step_in_the_background(loop: FakeLoop, baton: Baton) -> None:
    """It is told, and does not end the background for good."""
    told: list[Any] = []
    hook, threading.excepthook = threading.excepthook, told.append
    try:
        fail_once(loop)
        first = loop.promise(0)
        baton.tend()
        finish(first, baton)
        second = loop.promise(0.01)
        finish(second, baton)
    finally:
        threading.excepthook = hook
    assert [args.exc_type for args in told] == [ValueError] or not told
    assert first._done and second._done


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_a_step_in_the_background_and_nobody_comes(
    loop: FakeLoop, baton: Baton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is under way ends all the same, as callbacks may hang on it."""
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    fail_once(loop)
    thing = loop.promise(0.01)
    baton.tend()
    deadline = time.monotonic() + 10
    while not thing._done and time.monotonic() < deadline:
        time.sleep(0.01)
    assert thing._done and len(told) == 1


def finish(thing: Thing, baton: Baton) -> None:
    """Leave it to the background."""
    deadline = time.monotonic() + 3
    while not thing._done and time.monotonic() < deadline:
        baton.tend()
        time.sleep(0.01)


# In the background ---------------------------------------------------------------------------------------


def test_the_background_drives_where_nobody_waits(loop: FakeLoop, baton: Baton) -> None:
    thing = loop.promise(0.05)
    baton.tend()
    deadline = time.monotonic() + 5
    while not thing._done and time.monotonic() < deadline:
        time.sleep(0.005)
    assert thing._done
    assert set(loop.steps) == {"parpool-background"}


def test_the_background_takes_over_what_a_waiter_leaves(loop: FakeLoop, baton: Baton) -> None:
    first, second = loop.promise(0.02), loop.promise(0.1)
    assert baton.wait(first)
    deadline = time.monotonic() + 5
    while not second._done and time.monotonic() < deadline:
        time.sleep(0.005)
    assert second._done and loop.steps[-1] == "parpool-background"


def test_the_background_gives_way(loop: FakeLoop, baton: Baton) -> None:
    long, short = loop.promise(0.4), loop.promise(0.1)
    baton.tend()
    while loop.driving is None:
        time.sleep(0.001)
    assert baton.wait(short)
    assert "MainThread" in loop.steps
    assert baton.wait(long)


def test_the_background_sleeps_while_nothing_is_outstanding(loop: FakeLoop, baton: Baton) -> None:
    baton.tend()
    baton.wait(loop.promise(0.01))
    time.sleep(0.05)
    before = len(loop.steps)
    time.sleep(0.15)
    assert len(loop.steps) == before and loop.driving is None


def test_tend_many_times(loop: FakeLoop, baton: Baton) -> None:
    for _ in range(1000):
        baton.tend()
    thing = loop.promise(0.01)
    baton.tend()
    deadline = time.monotonic() + 5
    while not thing._done and time.monotonic() < deadline:
        time.sleep(0.005)
    assert thing._done
    assert len(loop.steps) < 50


def test_a_wait_in_the_middle_of_a_step_is_refused(loop: FakeLoop, baton: Baton) -> None:
    """It could never end: it is this thread that would have to go on."""
    other = loop.promise(5)
    errors: list[BaseException] = []

    def inside() -> None:
        try:
            baton.wait(other, 1)
        except RuntimeError as error:
            errors.append(error)

    loop.inside = inside
    assert not baton.mine()
    assert baton.wait(loop.promise(0), 3)
    assert errors and "drives" in str(errors[0])
    loop.inside = lambda: None
    loop.due.clear()
    assert baton.wait(loop.promise(0.01), 2) and not baton.mine()


def test_an_alarm_while_nothing_is_outstanding(loop: FakeLoop, baton: Baton) -> None:
    heeded = threading.Event()

    def inside() -> None:
        os.read(loop.alarm, 1)
        heeded.set()

    loop.inside = inside
    os.write(loop.bell, b"x")
    assert heeded.wait(5)
    assert set(loop.steps) == {"parpool-background"}
    loop.inside = lambda: None
    time.sleep(0.05)
    before = len(loop.steps)
    time.sleep(0.15)
    assert len(loop.steps) == before


def test_an_alarm_while_somebody_drives(loop: FakeLoop, baton: Baton) -> None:
    """It wakes the driver, whose next step may heed it."""
    heeded = threading.Event()

    def inside() -> None:
        if not heeded.is_set() and select.select([loop.alarm], [], [], 0)[0]:
            os.read(loop.alarm, 1)
            heeded.set()

    loop.inside = inside
    drives = in_threads(1, lambda i: baton.wait(loop.promise(60)))
    while loop.driving is None:
        time.sleep(0.001)
    os.write(loop.bell, b"x")
    assert heeded.wait(20)
    loop.hasten()
    join(drives)


def test_steps_that_are_needed_in_any_case(loop: FakeLoop) -> None:
    loop.alarm_interval = 0.02
    baton = Baton(loop)
    baton.start()
    deadline = time.monotonic() + 5
    while len(loop.steps) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    baton.close()
    assert len(loop.steps) >= 3


def background() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "parpool-background"]


def test_close_ends_the_thread(loop: FakeLoop) -> None:
    baton = Baton(loop)
    baton.start()
    loop.promise(20)
    baton.tend()
    while loop.driving is None:
        time.sleep(0.001)
    assert background()
    baton.close()
    assert not background()
    baton.tend()
    assert not background()


def test_close_though_an_earlier_kick_has_shown_the_end(loop: FakeLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    baton = Baton(loop)
    baton.start()
    kick = baton._kick.set

    def kick_late() -> None:
        kick()
        baton._background.join(0.2)
        kick()

    monkeypatch.setattr(baton._kick, "set", kick_late)
    baton.close()
    assert not background()


def test_a_baton_that_never_began(loop: FakeLoop) -> None:
    Baton(loop).discard()


def interrupted_as_it_begins(
    loop: FakeLoop, monkeypatch: pytest.MonkeyPatch, start: Callable[[threading.Thread], None]
) -> None:
    baton = Baton(loop)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(KeyboardInterrupt):
            baton.start()
    assert background()
    baton.discard()
    assert not background()


def test_a_baton_that_began_and_was_interrupted(loop: FakeLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes as the thread begins, afterwards there is none."""

    def start_and_raise(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    start = threading.Thread.start
    interrupted_as_it_begins(loop, monkeypatch, start_and_raise)


# Signals ---------------------------------------------------------------------------------------------------

posix = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers that send signals")


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)}
    yield
    after = {number: signal.getsignal(number) for number in before}
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


@posix
def test_ctrl_c_while_asleep_is_raised_at_once(loop: FakeLoop, baton: Baton, handlers: None) -> None:
    thing = loop.promise(1000)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            baton.wait(thing)
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    loop.due.clear()
    assert baton.wait(loop.promise(0.01), 2)  # the baton is free again


@posix
def test_ctrl_c_in_a_step_waits_for_its_end(loop: FakeLoop, baton: Baton, handlers: None) -> None:
    whole: list[str] = []

    def inside() -> None:
        loop.inside = lambda: None
        whole.append("begun")
        signal.raise_signal(signal.SIGINT)
        for _ in range(1000):
            pass
        whole.append("ended")

    loop.inside = inside
    thing = loop.promise(0)
    with pytest.raises(KeyboardInterrupt):
        baton.wait(thing)
    assert whole == ["begun", "ended"]
    assert thing._done
    loop.inside = lambda: None
    assert baton.wait(loop.promise(0.01), 2)


@posix
def test_ctrl_c_in_a_step_ends_a_wait_that_has_not_ended(loop: FakeLoop, baton: Baton, handlers: None) -> None:
    """The step in which it comes is ended; the wait, which would go on for long, is too."""

    def inside() -> None:
        loop.inside = lambda: None
        signal.raise_signal(signal.SIGINT)

    loop.inside = inside
    loop.promise(0.02)
    thing = loop.promise(1000)
    with pytest.raises(KeyboardInterrupt):
        baton.wait(thing)
    loop.due.clear()


@posix
def test_ctrl_c_while_parked(loop: FakeLoop, baton: Baton, handlers: None) -> None:
    drives = in_threads(1, lambda i: baton.wait(loop.promise(1000)))
    while loop.driving is None:
        time.sleep(0.001)
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        baton.wait(loop.promise(1000))
    assert not baton._parked
    loop.hasten()
    join(drives)


@posix
def test_ctrl_c_while_the_thread_begins(loop: FakeLoop, handlers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised when it has begun, and not before somebody can tell that it has."""

    def begin_late(thread: threading.Thread) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        start(thread)

    start = threading.Thread.start
    interrupted_as_it_begins(loop, monkeypatch, begin_late)


@posix
def test_other_handlers_run_too(loop: FakeLoop, baton: Baton, handlers: None) -> None:
    """A handler that raises nothing runs, once for each signal, and the wait goes on."""
    seen: list[tuple[int, bool]] = []
    signal.signal(signal.SIGALRM, lambda number, frame: seen.append((number, frame is not None)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        loop.inside = lambda: signal.raise_signal(signal.SIGALRM)
        assert baton.wait(loop.promise(0.15))
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert len(seen) >= 3 and set(seen) == {(signal.SIGALRM, True)}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


@posix
def test_a_handler_changed_meanwhile_stays(loop: FakeLoop, baton: Baton) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    new: Any = lambda number, frame: None  # noqa: E731
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        loop.inside = lambda: signal.signal(signal.SIGUSR1, new) and None  # type: ignore[func-returns-value]
        assert baton.wait(loop.promise(0))
        assert signal.getsignal(signal.SIGUSR1) is new
    finally:
        signal.signal(signal.SIGUSR1, before)


@posix
def test_ignored_and_default_stay_as_they_are(loop: FakeLoop, baton: Baton) -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN), signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    seen: list[Any] = []
    try:
        loop.inside = lambda: seen.append((signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGUSR2)))
        assert baton.wait(loop.promise(0))
        assert seen == [(signal.SIG_IGN, signal.SIG_DFL)]
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before[0])
        signal.signal(signal.SIGUSR2, before[1])


@posix
def test_a_storm_of_ctrl_c(loop: FakeLoop, baton: Baton, handlers: None) -> None:
    """Wherever it strikes, no step is cut in two, the baton comes free, and the handlers come back."""
    begun = ended = interrupted = waited = 0

    def inside() -> None:
        nonlocal begun, ended
        begun += 1
        sum(range(200))
        ended += 1

    loop.inside = inside
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0023)
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            try:
                baton.wait(loop.promise(0.0005), 0.01)
                waited += 1
            except KeyboardInterrupt:
                interrupted += 1
            if loop.driving is not None:  # struck between two lines of the fake itself
                loop.driving = None
    except KeyboardInterrupt:
        pass
    finally:
        while True:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0)
                break
            except KeyboardInterrupt:
                continue
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert begun == ended and interrupted > 20 and waited > 20
    loop.inside = lambda: None
    loop.due.clear()
    assert baton.wait(loop.promise(0.01), 2)


def test_no_shield_in_other_threads(loop: FakeLoop, baton: Baton) -> None:
    seen: list[Any] = []
    loop.inside = lambda: seen.append(signal.getsignal(signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    join(in_threads(1, lambda i: baton.wait(loop.promise(0.01))))
    assert seen and set(seen) == {before}


def test_a_shield_by_itself(loop: FakeLoop, handlers: None) -> None:
    shield = Shield(loop)
    shield.lift()
    loop.asleep = False
    signal.raise_signal(signal.SIGINT)  # late
    with pytest.raises(KeyboardInterrupt):
        shield.lower()
    shield = Shield(loop)
    shield.lift()
    loop.asleep = True
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    shield.lower()


# In a process that a thread has forked -------------------------------------------------------------------------------


@posix
def test_who_has_forked_is_the_main_thread_there(loop: FakeLoop) -> None:
    """So its signals wait for the end of a step, as an engine's do that another thread has started."""
    ok: list[bool] = []

    def check() -> bool:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        heard: list[bool] = []
        loop.inside = lambda: heard.append(signal.getsignal(signal.SIGINT) != signal.default_int_handler)
        baton = Baton(loop)
        baton.start()
        return baton.wait(loop.promise(0.01), 5) and all(heard)

    join(in_threads(1, lambda i: ok.append(in_a_fork(check))))
    assert ok == [True]
