"""Wake a thread that sleeps in a poll, from another thread."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable


class Wake:
    """A file descriptor that becomes readable when :meth:`set` is called, until :meth:`clear`."""

    def __init__(self) -> None:
        self._eventfd: _Eventfd | None = None
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        if hasattr(os, "eventfd"):
            self._eventfd = _Eventfd()
            self.fd = self._eventfd.fd
        else:
            self._sockets = socket.socketpair()
            for end in self._sockets:
                end.setblocking(False)
            self.fd = self._sockets[0].fileno()

    def set(self) -> None:
        """Make it readable; nothing where it is closed."""
        eventfd, sockets = self._eventfd, self._sockets
        try:
            if eventfd is not None:
                os.eventfd_write(eventfd.fd, 1)
            elif sockets is not None:
                sockets[1].send(b"\0")
        except OSError:
            pass  # it is readable, and full of reasons to be; or closed in this moment

    def clear(self) -> None:
        """Make it unreadable again."""
        eventfd, sockets = self._eventfd, self._sockets
        try:
            if eventfd is not None:
                os.eventfd_read(eventfd.fd)
            elif sockets is not None:
                sockets[0].recv(4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Let go of the file descriptors."""
        sockets, self._sockets = self._sockets, None
        for end in sockets or ():
            end.close()
        self._eventfd = None
        self.fd = -1


class _Eventfd:
    """Closed when nobody has it any more: a thread in the middle of set() must not hit what gets this number next."""

    __slots__ = ("fd",)

    def __init__(self) -> None:
        self.fd = -1
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self.fd >= 0:
            close(self.fd)
