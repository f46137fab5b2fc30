"""An engine's mail: the work socket, the lane beside it, and what must be able to be sent again.

All of it is used under the engine's wire lock, but for :meth:`Mail.noted`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from ..net import lane
from ..net.heart import Heart
from ..net.signals import drain, woken_by_signals
from ..net.sockets import Context, Dealer, Monitor, Poller
from ..options import EngineSettings
from ..wire.messages import done_header
from .outbox import Outbox

LINGER = 2.0  #: seconds that the last outcomes have to leave the process


class Mail:
    """Sends to the host of ``settings``, and receives from it.

    ``lasting``: is the host a controller, which may be lost and come back?
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._context = Context()
        self.lasting = bool(settings.heart)
        self._outbox = Outbox() if self.lasting else None
        self._heart: Heart | None = None
        self.monitors: list[Monitor] = []  #: of the connections to a controller
        keys = settings.keys if self.lasting else None
        uid, host_key = settings.uid, settings.host_key
        self._work = self._context.dealer(settings.work, uid, host_key=host_key, keys=keys)
        self.control: Dealer = self._context.dealer(settings.control, uid, host_key=host_key, keys=keys)
        if keys is not None:
            self.monitors = [self._work.connect(), self.control.connect()]
            self._heart = Heart(settings.heart, uid, host_key=host_key, keys=keys)
        self._lane: lane.Lane | None = None
        self.by_lane = False  #: may the next message take the lane?
        self._closing = ExitStack()
        self._signals: socket.socket | None = None  #: readable when one has come
        self._poller = Poller()
        self._poller.add(self._work)
        self._join()

    def _join(self) -> None:
        if self._lane is None and self._settings.lane:
            self._lane = lane.join(self._settings.lane, self._settings.uid)
            if self._lane is not None:
                self._poller.add(self._lane.fd)

    def wake_by_signals(self) -> None:
        """Have a signal end the wait in :meth:`receive`, also one that comes as that begins. (Called in the main thread.)"""
        self._signals = self._closing.enter_context(woken_by_signals())
        self._poller.add(self._signals.fileno())

    def send_outcomes(self, count: int, outcomes: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send outcomes, encoded one behind the other."""
        outbox = self._outbox
        self.send(done_header(count, outcomes) if outbox is None else outbox.put(count, outcomes, frames), frames)

    def send(self, header: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send a message, by the lane where it may take it."""
        if not self.by_lane or frames or not self._lane or not self._lane.send(header):
            self.by_lane = False
            self._work.send(header, frames)

    def introduce(self, hello: Callable[[int, int], bytes]) -> None:
        """Say hello, and again all that was not noted; what follows goes the sure way until the host holds nothing.

        ``hello`` makes it of the numbers of the first message that follows and of the last.
        """
        first, last, kept = (1, 0, []) if self._outbox is None else self._outbox.snapshot()
        self.by_lane = False
        self._join()  # before: by its lane a controller knows that an engine is near, and what to do for those
        self._work.send(hello(first, last))
        for header, frames in kept:
            self._work.send(header, frames)

    def noted(self, number: int) -> None:
        """The outcomes in the messages up to this number have arrived. (Any thread.)"""
        if self._outbox is not None:
            self._outbox.noted(number)

    def receive(self, take_in: Callable[[list[bytes]], None], wait: bool) -> bool:
        """Have what has come taken in, after a wait for it unless told not to; was there anything?"""
        near, came = self._lane, False
        if near is None and self._signals is None:
            frames = self._work.receive(wait)
        else:
            if wait:
                ready = self._poller.poll(None)
                if near is not None and len(ready) == 1 and ready[0][0] == near.fd:  # as most often
                    return self._take_from_lane(near, take_in)
                if self._signals is not None and len(ready) == 1 and ready[0][0] == self._signals.fileno():
                    drain(self._signals)  # the handlers have run
            frames = self._work.receive(wait=False)
            while near is not None and self._take_from_lane(near, take_in):  # it was sent before
                came = True
        if frames is not None:
            take_in(frames)
        return came or frames is not None

    def look(self, take_in: Callable[[list[bytes]], None]) -> bool:
        """Have the next messages taken in, if they are there already; were they?"""
        # The lane first, where most of it comes: to ask the socket costs three times as much.
        return (self._lane is not None and self._take_from_lane(self._lane, take_in)) or self.receive(take_in, False)

    def _take_from_lane(self, near: lane.Lane, take_in: Callable[[list[bytes]], None]) -> bool:
        message = near.receive()
        if message is not None:
            take_in([message])
            return True
        if near.ended and self._lane is not None:
            self._poller.remove(near.fd)
            self._lane = None
            near.close()
        return False

    def close(self, last: bytes) -> None:
        """Send a last word to a controller, and close; what was sent has a moment to leave."""
        if self._heart is not None:
            self.send(last)
            self._heart.close()
        if self._lane is not None:
            self._lane.close()
        self._context.close(LINGER)
        self._closing.close()
