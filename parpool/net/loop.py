"""Who drives the sockets: the baton.

A thread that waits for a result drives the host's loop itself. The round trip of a call is then two hops, there and
back; a background thread that receives and wakes the waiter would add two more (measured: 225 µs instead of 115).

There is one loop, so one thread at a time may drive it: the one that holds the *baton*. A second waiter parks until
its result is in or the baton is handed on to it. When nobody waits but work is outstanding, a background thread takes
the baton, since callbacks must fire and finished engines must get their next task; it gives it up as soon as a waiter
comes. While nothing is outstanding it sleeps.

The scheduler must never be left half way through a step, and Python runs signal handlers (Ctrl-C among them) between
any two byte codes of the main thread. So while the main thread drives, its signal handlers are put behind a *shield*:
they run at once while the loop sleeps in its poll, and at the end of the step otherwise.
"""

from __future__ import annotations

import importlib
import os
import selectors
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from .parking import Waitable, park, unpark
from .wake import Wake

AGAIN = 0.1  #: seconds until the background thread goes on after a step that has failed


class Loop(Protocol):
    """What a baton drives."""

    #: True while a step sleeps in its poll
    asleep: bool

    def step(self, timeout: float | None) -> None:
        """Do what is to be done; sleep up to ``timeout`` seconds for it (None: until something comes)."""

    def wake(self) -> None:
        """End the sleep of a step in another thread."""

    def outstanding(self) -> bool:
        """Is anything under way that will need another step?"""

    def alarms(self) -> list[int]:
        """File descriptors that become readable when a step is needed though nothing is outstanding."""

    @property
    def alarm_interval(self) -> float | None:
        """Seconds between steps that are needed in any case; None: none are."""


class Baton:
    """Hands the right to drive a loop from thread to thread."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._baton = threading.Lock()
        self._parked: deque[threading.Lock] = deque()  #: waiters that are not driving
        self._kick = Wake()
        self._kicked = False
        self._background_drives = False
        self._driver = 0  #: ident of the thread that holds the baton
        #: something to do now and then, in the background thread; gives the seconds until the next time (None: never)
        self.chore: Callable[[], float | None] = lambda: None
        self._closed = False
        self._halting = False  #: the interpreter ends
        self._stayed = False  #: and who drove has stopped
        self._last_kick = threading.Event()  #: close() has kicked, and will not again
        self._background = threading.Thread(target=self._tend_forever, name="parpool-background", daemon=True)

    def start(self) -> None:
        """Start the background thread. Where it raises, :meth:`discard` must follow."""
        shield = Shield(self._loop)  # in the middle of this nobody could tell whether the thread will run
        try:
            if threading.get_ident() == _main_ident:
                shield.lift()
            self._background.start()
        finally:
            shield.lower()

    def wait(self, thing: Waitable, timeout: float | None = None) -> bool:
        """Drive, or wait while others drive, until ``thing`` is done; False when ``timeout`` seconds went by first."""
        if self._driver == threading.get_ident():
            raise RuntimeError("this thread drives the loop: it cannot wait for what the loop would bring")
        deadline = None if timeout is None else monotonic() + timeout
        driven = self._try_to_drive(thing, deadline)
        return driven if driven is not None else self._wait_parked(thing, deadline)

    def _try_to_drive(
        self, thing: Waitable, deadline: float | None, parked: threading.Lock | None = None
    ) -> bool | None:
        """Drive where the baton is free; None where it is not. ``parked``: where this thread was waiting."""
        if threading.get_ident() != _main_ident:
            if self._baton.acquire(False):
                return self._drive(thing, deadline, parked)
            return None
        # The shield comes first: no handler may raise between the baton's being taken and the care for its return.
        shield = Shield(self._loop)
        try:
            shield.lift()
            if self._baton.acquire(False):
                return self._drive(thing, deadline, parked, shield)
        finally:
            shield.lower()
        return None

    def _drive(
        self,
        thing: Waitable,
        deadline: float | None,
        parked: threading.Lock | None = None,
        shield: Shield | None = None,
    ) -> bool:
        """Drive with the baton in hand, and hand it on."""
        step = self._loop.step
        try:
            self._driver = threading.get_ident()
            if parked is not None:
                self._forget(parked)
            while not (thing._done or self._closed):
                if shield is not None and shield.late:
                    shield.catch_up()
                if deadline is None:
                    step(None)
                else:
                    left = deadline - monotonic()
                    if left <= 0:
                        # One look at what has arrived already, as a poll with no time would be no look at all.
                        step(0)
                        return thing._done
                    step(left)
            return not self._closed or thing._done
        finally:
            self._driver = 0
            if self._halting:
                self._stay()
            self._baton.release()
            self._hand_on()

    def _wait_parked(self, thing: Waitable, deadline: float | None) -> bool:
        lock = park(thing)
        try:
            self._parked.append(lock)  # in here, as a signal handler may raise just behind it
            while not (thing._done or self._closed):
                if self._background_drives:
                    self._loop.wake()
                driven = self._try_to_drive(thing, deadline, lock)
                if driven is not None:
                    return driven
                if deadline is None:
                    lock.acquire()
                else:
                    left = deadline - monotonic()
                    if left <= 0 or not lock.acquire(timeout=min(left, threading.TIMEOUT_MAX)):
                        return thing._done
            return not self._closed or thing._done
        finally:
            self._forget(lock)
            parked = thing._parked
            if parked is not None and lock in parked:
                parked.remove(lock)
            # It may have been offered the baton in the moment in which it gave up waiting.
            if not self._baton.locked() and not self._closed:
                self._hand_on()

    def _forget(self, lock: threading.Lock) -> None:
        try:
            self._parked.remove(lock)
        except ValueError:
            pass

    def _hand_on(self) -> None:
        """The baton is free: offer it to a waiter, else to the background thread."""
        while self._parked:
            try:
                lock = self._parked[0]
                self._parked.rotate(-1)
            except IndexError:
                break
            unpark(lock)
            return
        if self._loop.outstanding():
            self.tend()

    def mine(self) -> bool:
        """Does the calling thread drive the loop?"""
        return self._driver == threading.get_ident()

    def tend(self) -> None:
        """Something is outstanding: let the background thread drive where nobody else does."""
        if self._kicked or self._closed:
            return
        try:
            # In this order: the background may clear both while set() lets go of the interpreter's lock.
            self._kicked = True
            self._kick.set()
        except BaseException:  # a signal handler's, between the two
            self._kicked = False
            raise

    def _tend_forever(self) -> None:
        try:
            self._tend_until_closed()
        finally:
            self._last_kick.wait()  # an earlier kick may have shown us the end before close() came to its own
            self._kick.close()

    def _tend_until_closed(self) -> None:
        loop = self._loop
        with selectors.DefaultSelector() as selector:
            selector.register(self._kick.fd, selectors.EVENT_READ)
            for fd in loop.alarms():
                selector.register(fd, selectors.EVENT_READ)
            again: float | None = None  # where a step has failed: seconds until the next attempt
            while True:
                interval, left = loop.alarm_interval, self.chore()
                ready = selector.select(
                    min((each for each in (interval, left, again) if each is not None), default=None)
                )
                again = None
                # In this order, and before the looks at what was kicked for: no kick falls in between.
                self._kick.clear()
                self._kicked = False
                if self._closed:
                    return
                # A kick is for outstanding work, and whoever drives sees to that; an alarm stays until it is heeded.
                alarm = (not ready and interval is not None) or any(key.fd != self._kick.fd for key, _ in ready)
                if alarm:
                    loop.wake()
                if (loop.outstanding() and not self._parked) or alarm:
                    try:
                        self._tend_now(alarm)
                    except Exception:
                        # Told as a thread's exception is, and on it goes: without this thread callbacks would hang.
                        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
                        again = AGAIN

    def _tend_now(self, alarm: bool) -> None:
        """Drive while something is outstanding and nobody waits for it; after an alarm, one step at least."""
        loop = self._loop
        if not (self._baton.acquire(timeout=0.05) if alarm else self._baton.acquire(False)):
            return
        self._background_drives = True
        self._driver = threading.get_ident()
        try:
            if alarm:
                loop.step(0)
            while loop.outstanding() and not self._parked and not self._closed:
                loop.step(None)
        finally:
            self._background_drives = False
            self._driver = 0
            if self._halting:
                self._stay()
            self._baton.release()
            if self._parked:
                self._hand_on()

    def halt(self, timeout: float) -> bool:
        """At the end of the interpreter: when this returns True nobody drives, and nobody will.

        Other threads, daemons all of them, are left where they are: what they wait for does not come any more, and an
        error that they would be told of is of no use to anybody. False: one drives still after ``timeout`` seconds.
        """
        deadline = monotonic() + timeout
        self._halting = self._closed = True
        while not (self._baton.acquire(timeout=0.01) or self._stayed):
            if monotonic() > deadline:
                return False
            self._loop.wake()
        return True

    def _stay(self) -> None:
        """Keep the baton until the process has ended."""
        if threading.get_ident() != _main_ident:
            self._stayed = True
            threading.Event().wait()

    def discard(self) -> None:
        """Let go of a baton that was not started, or not to the end."""
        if self._background.is_alive():
            self.close()
        else:
            self._kick.close()

    def close(self) -> None:
        """End the background thread. When this returns nobody drives, and nobody will."""
        self._closed = True
        try:
            self._kick.set()
        finally:
            self._last_kick.set()
        while not self._baton.acquire(timeout=0.05):
            self._loop.wake()
        for lock in list(self._parked):
            unpark(lock)
        if self._background is not threading.current_thread():
            self._background.join()


_main_ident = threading.main_thread().ident


def _in_a_fork() -> None:
    global _main_ident
    _main_ident = threading.get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_fork)

#: Signals that programs give handlers which raise.
_SHIELDED = tuple(
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


class Shield:
    """Keeps the main thread's signal handlers from running in the middle of a step."""

    __slots__ = ("_loop", "_handlers", "late")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.late: list[int] = []  #: signals that came in the middle of a step
        self._handlers: dict[int, Any] = {}

    def lift(self) -> None:
        """Put it up. Whatever happens, :meth:`lower` must follow."""
        handlers = self._handlers
        for number in _SHIELDED:
            handler = _get_handler(number)
            if handler.__class__ is not int and handler is not None:  # neither SIG_DFL nor SIG_IGN
                # Noted before it is replaced, so that whatever happens next it can be put back.
                handlers[number] = handler
                _set_handler(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        if self._loop.asleep:
            self._handlers[number](number, frame)
        else:
            self.late.append(number)

    def catch_up(self) -> None:
        """Let the handlers run that had to wait. Between two steps."""
        while self.late:
            number = self.late.pop(0)
            self._handlers[number](number, sys._getframe(1))

    def lower(self) -> None:
        """Put the handlers back, and let those run that had to wait."""
        try:
            for number, handler in self._handlers.items():
                if _get_handler(number) == self._handle:
                    _set_handler(number, handler)
        except BaseException:  # of a handler that is back already
            self.lower()
            raise
        if self.late:
            self.catch_up()


# The C functions: those of ``signal`` make an enum of each number, and cost ten times as much.
_get_handler: Any = importlib.import_module("_signal").getsignal
_set_handler: Any = importlib.import_module("_signal").signal
