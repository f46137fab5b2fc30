"""The line from a client to a controller: one socket, what becomes of its connection, and the answer to heartbeats."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from time import monotonic
from typing import Any

from ..errors import AuthenticationError, ControllerLost
from ..net.address import unknown_host
from ..net.heart import Heart
from ..net.sockets import DOWN, REFUSED, SHUT, UP, Context, Poller
from ..net.wake import Wake
from ..wire.messages import encode
from ..wire.requests import Stamp

SHUT_OUT = 5  #: handshakes that end early until this is not taken for a controller that is just being started
Ready = list[tuple[Any, int]]  #: sources that can be read


class Line:
    """Connected under ``name`` to where ``connection`` says. Whoever steps may use it, and :meth:`wake` any thread.

    ``patience``: seconds that the controller has to come back when it is lost.
    """

    def __init__(self, connection: Any, name: str, patience: float) -> None:
        self.patience = patience
        self._connection = connection
        self.turn = 0  #: how many hellos were said
        self._said = 0  #: messages since the last
        self._met = False  #: was there ever somebody?
        self._shut = 0  #: handshakes that have ended early
        self.over = False  #: has the controller said that it ends?
        self._down_since: float | None = monotonic()
        keys = (connection.public_key.encode(), connection.secret_key.encode())
        host_key = connection.server_key.encode()
        with ExitStack() as undo:
            self._wake = Wake()
            undo.callback(self._wake.close)
            self._context = Context()
            undo.callback(self._context.close)
            self._socket = self._context.dealer(connection.addresses["client"], name, host_key=host_key, keys=keys)
            self._monitor = self._socket.connect(notice_silence=True)
            self._heart = Heart(connection.addresses["heart"], name, host_key=host_key, keys=keys)
            undo.pop_all()
        self._poller = Poller()
        for source in self.sources:
            self._poller.add(source)

    def say_hello(self, header: bytes) -> None:
        """Send a hello, behind which messages are numbered anew."""
        self.turn += 1
        self._said = 0
        self._socket.send(header)

    def send(self, header: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send a message, with its stamp; returns at once."""
        self._said += 1
        self._socket.send(header, [*frames, encode(Stamp(self.turn, self._said))])

    @property
    def sources(self) -> list[Any]:
        """What :meth:`poll` waits for."""
        return [self._socket, self._monitor, self._wake.fd]

    def poll(self, timeout: float | None) -> Ready:
        """Wait until something has come, ``timeout`` seconds at the most."""
        return self._poller.poll(timeout)

    def read(self, ready: Ready) -> tuple[list[bytes] | None, bool]:
        """Of what has come: the next message, if one is among it; and whether the connection is a new one.

        Raises AuthenticationError where the controller does not know the key.
        """
        frames, again = None, False
        for source, _ in ready:
            if source is self._socket.socket:
                frames = self._socket.receive(wait=False)
            elif source is self._monitor.socket:
                again = self._heed_connection()
            else:
                self._wake.clear()
        return frames, again

    def _heed_connection(self) -> bool:
        again = False
        for change in self._monitor.changes():
            if change is UP:
                again = self._met
                self._met, self._down_since = True, None
            elif change in (DOWN, SHUT):
                self._down_since = self._down_since or monotonic()
                self._shut += change is SHUT
            if change is REFUSED or (self._shut >= SHUT_OUT and not self._met):
                raise AuthenticationError(
                    f"the controller at {self._connection.addresses['client']} does not let in this key: the "
                    f"connection file {self._of_path()}is not of the controller that runs there"
                )
        return again

    def left(self) -> float | None:
        """Seconds that the controller has to come back; None: it is there."""
        if self._down_since is None:
            return None
        return self._down_since + self.patience - monotonic()

    def lost(self) -> ControllerLost:
        """The error for a controller that has not come back."""
        address = self._connection.addresses["client"]
        what = "was lost and has not come back" if self._met else "does not answer"
        where = f"the controller {self._of_path()}at {address} {what} within {self.patience:g} s"
        if not self._met and (host := unknown_host(address)):
            return ControllerLost(
                f"{where}: this machine knows no address of {host}. Start the controller with a --location that it knows"
            )
        return ControllerLost(f"{where}: is it running? `parpool list` shows the clusters that are")

    def _of_path(self) -> str:
        path = getattr(self._connection, "path", None)
        return "" if path is None else f"{path} "

    def wake(self) -> None:
        """End a :meth:`poll` in another thread."""
        self._wake.set()

    def close(self, last: bytes) -> None:
        """Send a last message, where somebody is there, and let go of everything."""
        there = self._met and self._down_since is None and not self.over
        if there:
            self.send(last)
        self._heart.close()
        self._context.close(1.0 if there else 0.0)
        self._wake.close()
