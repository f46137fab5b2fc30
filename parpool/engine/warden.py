"""The engine's second thread: what must go on while the first runs a task.

It answers the control socket (revoke, interrupt), sends outcomes that wait behind a longer task of their batch, and
ends the process when the host's process is gone: that of its parent, or, after a time of patience, a controller. While
the engine has nothing to do it sleeps.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

from .. import __version__
from ..net import deaths
from ..net.sockets import DOWN, SHUT, UP, Monitor, Poller
from ..net.wake import Wake
from ..options import EngineSettings
from ..shm.session import sweep
from ..wire.messages import PROTOCOL, Break, Die, Hello, Look, MalformedFrame, Noted, Revoke, encode, to_control

if TYPE_CHECKING:
    from .engine import Engine
    from .mail import Mail

LATE = 0.010  #: seconds that a finished outcome may wait behind the next task
LOOK_LONGEST = 10.0  #: seconds between the last two looks for a message that was announced
IN_ORDER = 2.0  #: seconds after a signal in which the main thread must have begun to end
CHECK_PARENT = 0.5  #: seconds between looks at the parent, where the system cannot tell us
#: exit statuses of an engine: its host is gone, its key is not known there, it was told to end at once
ORPHANED, REFUSED_KEY, TOLD_TO_DIE = 120, 121, 122

log = logging.getLogger("parpool")


class Warden(threading.Thread):
    """Owns the control socket."""

    def __init__(self, engine: Engine, mail: Mail, settings: EngineSettings) -> None:
        super().__init__(name="parpool-warden", daemon=True)
        self._engine = engine
        self._control = mail.control
        self._noted = mail.noted
        self._host_pid = settings.host_pid
        self._settings = settings
        self._monitors = mail.monitors
        self._logs = mail.lasting  #: has it a log of its own?
        self._met: set[Monitor] = set()  #: those whose connections were made at least once
        self._alone_since: float | None = monotonic() if mail.lasting else None  #: without a controller
        self._look_at: float | None = None  #: when to look into the work socket
        self._look_again = 0.0  #: seconds until the look after that
        self._insist_at: float | None = None  #: when to interrupt once more what has not heeded it
        self._insist_again = 0.0  #: seconds until the time after that
        self._revokes: list[Revoke] = []  #: not answered yet
        self._wake = Wake()
        self._watching = False
        self._ending = False
        self._end_by: float | None = None  #: when the process must have begun to end
        #: something to do now and then; gives the seconds until the next time (None: never)
        self.chore: Callable[[], float | None] = lambda: None
        #: ends the process at once
        self.exit: Callable[[int], NoReturn] = os._exit

    def watch(self) -> None:
        """The engine begins a batch: see to it that no outcome waits long behind another task."""
        if not self._watching:
            try:
                self._watching = True
                self._wake.set()
            except BaseException:  # of a signal handler, between the two
                self._watching = False
                raise

    def go_on(self) -> None:
        """The controller has heard what the engine holds: what it asks back can be given."""
        if self._revokes:
            self._wake.set()

    def wake(self) -> None:
        """Have :attr:`chore` looked at."""
        self._wake.set()

    def end(self) -> None:
        """End the thread, and wait for its end."""
        self._ending = True
        self._wake.set()
        self.join()
        self._wake.close()

    def end_process(self) -> NoReturn:
        """End the process in order, from a signal's handler. What is raised can be lost there, in the middle of what has
        nobody to give it to, as an object's ``__del__``; so where this thread still runs a while later, at once."""
        self._end_by = monotonic() + IN_ORDER
        self._wake.set()
        raise SystemExit(0)

    def tell_end(self, why: str) -> None:
        """Log why this engine ends. From any thread, and from a signal's handler."""
        if self._logs and why:
            with suppress(Exception):  # of a stream that is just being written to
                log.info("engine %s ends: %s", self._settings.uid, why)

    def run(self) -> None:
        """The loop: sleep until something is to be done."""
        parent = deaths.watch(self._host_pid) if self._host_pid else None
        poller = Poller()
        poller.add(self._control)
        poller.add(self._wake.fd)
        if parent is not None:
            poller.add(parent)
        for monitor in self._monitors:
            poller.add(monitor)
        idle = None if parent is not None or not self._host_pid else CHECK_PARENT
        while not self._ending:
            now = monotonic()
            if self._end_by is not None and self._end_by <= now:
                self.exit(0)
            due = (self._look_at, self._insist_at, self._end_by)
            waits = [LATE if self._watching else idle, *(None if each is None else each - now for each in due)]
            waits += [self.chore(), None if self._alone_since is None else self._patience()]
            wait = min((max(0.0, each) for each in waits if each is not None), default=None)
            ready = dict(poller.poll(wait))
            for monitor in self._monitors:
                if monitor.socket in ready:
                    self._heed_connection(monitor)
            if parent in ready or (parent is None and self._host_pid and not deaths.alive(self._host_pid)):
                self._orphaned()
            if self._wake.fd in ready:
                self._wake.clear()
            while (frames := self._control.receive(wait=False)) is not None:
                self._obey(frames)
            self._give_back()
            if self._look_at is not None and monotonic() >= self._look_at:
                self._look()
            if self._insist_at is not None and monotonic() >= self._insist_at:
                self._insist_at = None
                if self._insist_again < LOOK_LONGEST and self._engine.unheeded():
                    self._interrupt(self._insist_again)
            if self._watching:
                # Taken back first: a batch that begins in this moment sets it again, and wakes us.
                self._watching = False
                if self._engine.send_late():
                    self._watching = True
        if parent is not None:
            os.close(parent)

    def _look(self) -> None:
        """Look for what was announced: it comes on another connection, and may come later than the word of it."""
        if self._engine.look() or self._engine.receiving or self._look_again > LOOK_LONGEST:
            self._look_at = None
        else:
            self._look_at = monotonic() + self._look_again
            self._look_again *= 2

    def _patience(self) -> float:
        """Seconds that are left until the controller must be back."""
        assert self._alone_since is not None
        settings = self._settings
        left = self._alone_since + (settings.patience if self._met else settings.timeout) - monotonic()
        if left <= 0 and self._met:
            log.error("no controller for %g s: engine %s ends", settings.patience, settings.uid)
            self._orphaned()
        elif left <= 0:
            log.error(
                "no controller answers at %s for %g s: does the cluster still run, is the connection file that of this "
                "start of it, and can this machine reach that address?",
                settings.control,
                settings.timeout,
            )
            self._orphaned()
        return left

    def _heed_connection(self, monitor: Monitor) -> None:
        for change in monitor.changes():
            if change is UP:
                if monitor in self._met:  # it may be another controller, and what was on its way may be lost
                    self._control.send(encode(Hello(PROTOCOL, __version__, os.getpid(), socket.gethostname())))
                elif not self._met:
                    log.info("engine %s has met its controller", self._settings.uid)
                self._met.add(monitor)
                self._alone_since = None
            elif change in (DOWN, SHUT):
                self._alone_since = self._alone_since or monotonic()
            else:
                log.error("the controller at %s does not let in the key of this engine", self._settings.control)
                self.exit(REFUSED_KEY)

    def _orphaned(self) -> None:
        # The task that runs is nobody's any more. No clean-up of its: it may never end.
        sweep()
        self.exit(ORPHANED)

    def _give_back(self) -> None:
        # They stay in the list until they are answered, so that :meth:`go_on` never misses one.
        while self._revokes:
            answer = self._engine.give_back(self._revokes[0].ids, self._revokes[0].whole)
            if answer is None:
                return
            del self._revokes[0]
            self._control.send(encode(answer))

    def _obey(self, frames: list[bytes]) -> None:
        try:
            order = to_control(frames[0])
        except MalformedFrame:
            return
        if isinstance(order, Revoke):
            self._revokes.append(order)
            self._give_back()
        elif isinstance(order, Noted):
            self._noted(order.number)
        elif isinstance(order, Look):
            self._look_at, self._look_again = monotonic(), LATE
        elif isinstance(order, Die):
            self.tell_end("its controller has told it to end at once")
            self.exit(TOLD_TO_DIE)
        elif self._engine.break_off() if isinstance(order, Break) else self._engine.overdue(order.id, order.item):
            self._interrupt(LATE)

    def _interrupt(self, again: float) -> None:
        # A signal, not just an exception: it also ends a sleep or a wait of the main thread. But not one that begins in
        # this moment, when Python has looked for signals the last time: so it is sent until it has been heeded.
        self._engine.signals += 1
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        self._insist_at, self._insist_again = monotonic() + again, again * 2
