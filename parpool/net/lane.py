"""The lane: the short way between a host and an engine of the same machine.

A ZeroMQ socket hands each message to an I/O thread, which writes it, and another one reads it and hands it on: six
threads wake up for one question and its answer. Where the engine is idle and the message small, the caller waits for
nothing but that. A lane is a local socket that the two threads write and read themselves, so two wake up (measured:
50 to 70 µs for the round trip in place of 100 to 120).

A lane never waits: what does not fit, or finds it full, travels by ZeroMQ, as everything does where there are no
lanes. One side may choose the lane again only when nothing of its own can still be under way on the other path; how
the two know that is told at :attr:`~parpool.wire.messages.Work.fresh`. Whoever reads both takes what is in the lane
*after* a message has come out of ZeroMQ, and uses it first: it was sent before.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

#: Bytes of the largest message.
LARGEST = 64 * 1024

_BACKLOG = 1024


def have_lanes() -> bool:
    """Does this system have local sockets that keep messages apart? (Linux does; macOS and Windows do not.)"""
    if not (hasattr(socket, "AF_UNIX") and hasattr(socket, "SOCK_SEQPACKET")):
        return False
    try:
        _socket().close()
    except OSError:
        return False
    return True


class Lane:
    """One end. Closed and empty look the same to its owner, who learns of deaths elsewhere."""

    __slots__ = ("fd", "_socket", "_send", "_receive", "ended")

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.fd = end.fileno()
        self.ended = False  #: nothing will ever come again
        self._socket = end
        self._send = end.send
        self._receive = end.recv

    def send(self, message: bytes) -> bool:
        """Send a message; False where it has to go another way."""
        if len(message) > LARGEST:
            return False
        try:
            self._send(message)
            return True
        except OSError:  # full, or the other end is gone
            return False

    def receive(self) -> bytes | None:
        """The next message, if one is there."""
        try:
            message = self._receive(LARGEST)
        except BlockingIOError:
            return None
        except ConnectionResetError:  # the other end has gone with messages unread: said once, before those from there
            return self.receive()
        except OSError:
            message = b""
        if message:
            return message
        self.ended = True
        return None

    @property
    def pid(self) -> int:
        """The process at the other end, as this one would call it; 0 where the system does not tell."""
        if not hasattr(socket, "SO_PEERCRED"):
            return 0
        try:
            told = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:
            return 0
        return int.from_bytes(told[:4], sys.byteorder)

    def close(self) -> None:
        """Let go of the file descriptor."""
        self.ended = True
        self._socket.close()


def join(path: str, name: str) -> Lane | None:
    """The engine's end of a new lane to the host at ``path``, where it is told ``name``; None where there is none."""
    end = _socket()
    try:
        end.connect(path)
        end.send(name.encode())
    except OSError:
        end.close()
        return None
    return Lane(end)


class Junction:
    """Where engines come in: the host's listening end. Raises OSError where the system has no socket to give."""

    def __init__(self, path: str) -> None:
        self._nameless: list[Lane] = []  #: those that have not told their names yet
        self._socket = _socket()
        try:
            self._socket.setblocking(False)
            self._socket.bind(path)
            self._socket.listen(_BACKLOG)
        except BaseException:
            self._socket.close()
            raise

    def accept(self) -> Iterator[tuple[bytes, Lane]]:
        """Those that have joined since the last call: the name that each has told, and the lane to it."""
        while True:
            try:
                end, _ = self._socket.accept()
            except OSError:  # none is left, or no file descriptor for it
                break
            self._nameless.append(Lane(end))
        lanes, self._nameless = self._nameless, []
        for lane in lanes:
            name = lane.receive()
            if name is not None:
                yield name, lane
            elif lane.ended or len(self._nameless) >= _BACKLOG:
                lane.close()
            else:
                self._nameless.append(lane)  # it is about to tell

    def close(self) -> None:
        """Take in nobody more."""
        for lane in self._nameless:
            lane.close()
        self._socket.close()


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
