"""The engine's second thread: what must go on while the first runs a task.

It answers the control socket (revoke, interrupt), sends outcomes that wait behind a longer task of their batch, and
ends the process when the host's process is gone. While the engine has nothing to do it sleeps.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from ..net import deaths
from ..net.sockets import Dealer, Poller
from ..net.wake import Wake
from ..shm.session import sweep
from ..wire.messages import Break, MalformedFrame, Revoke, encode, to_control

if TYPE_CHECKING:
    from .engine import Engine

LATE = 0.010  #: seconds that a finished outcome may wait behind the next task
CHECK_PARENT = 0.5  #: seconds between looks at the parent, where the system cannot tell us
ORPHANED = 120  #: exit status of an engine whose host is gone


class Warden(threading.Thread):
    """Owns the control socket."""

    def __init__(self, engine: Engine, control: Dealer, host_pid: int) -> None:
        super().__init__(name="parpool-warden", daemon=True)
        self._engine = engine
        self._control = control
        self._host_pid = host_pid
        self._wake = Wake()
        self._watching = False
        self._ending = False

    def watch(self) -> None:
        """The engine begins a batch: see to it that no outcome waits long behind another task."""
        if not self._watching:
            try:
                self._watching = True
                self._wake.set()
            except BaseException:  # of a signal handler, between the two
                self._watching = False
                raise

    def end(self) -> None:
        """End the thread, and wait for its end."""
        self._ending = True
        self._wake.set()
        self.join()
        self._wake.close()

    def run(self) -> None:
        """The loop: sleep until something is to be done."""
        parent = self._watch_parent()
        poller = Poller()
        poller.add(self._control)
        poller.add(self._wake.fd)
        if parent is not None:
            poller.add(parent)
        idle = None if parent is not None or not self._host_pid else CHECK_PARENT
        while not self._ending:
            ready = dict(poller.poll(LATE if self._watching else idle))
            if parent in ready or (parent is None and self._host_pid and not deaths.alive(self._host_pid)):
                self._orphaned()
            if self._wake.fd in ready:
                self._wake.clear()
            while (frames := self._control.receive(wait=False)) is not None:
                self._obey(frames)
            if self._watching:
                # Taken back first: a batch that begins in this moment sets it again, and wakes us.
                self._watching = False
                if self._engine.send_late():
                    self._watching = True
        if parent is not None:
            os.close(parent)

    def _watch_parent(self) -> int | None:
        if not self._host_pid:
            return None
        try:
            return deaths.watch(self._host_pid)
        except ProcessLookupError:
            self._orphaned()
            raise

    def _orphaned(self) -> None:
        # The task that runs is nobody's any more. No clean-up of its: it may never end.
        sweep()
        os._exit(ORPHANED)

    def _obey(self, frames: list[bytes]) -> None:
        try:
            order = to_control(frames[0])
        except MalformedFrame:
            return
        if isinstance(order, Revoke):
            self._control.send(encode(self._engine.give_back(order.ids)))
        elif self._engine.break_off() if isinstance(order, Break) else self._engine.overdue(order.id, order.item):
            # A signal, not just an exception: it also ends a sleep or a wait of the main thread.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
