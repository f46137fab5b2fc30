"""Wake a thread that sleeps in a poll, from another thread."""

from __future__ import annotations

import os
import socket


class Wake:
    """A file descriptor that becomes readable when :meth:`set` is called, until :meth:`clear`."""

    def __init__(self) -> None:
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        if hasattr(os, "eventfd"):
            self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._sockets = socket.socketpair()
            for end in self._sockets:
                end.setblocking(False)
            self.fd = self._sockets[0].fileno()

    def set(self) -> None:
        """Make it readable; nothing where it is closed."""
        if self.fd < 0:
            return
        try:
            if self._sockets is None:
                os.eventfd_write(self.fd, 1)
            else:
                self._sockets[1].send(b"\0")
        except BlockingIOError:
            pass  # it is readable, and full of reasons to be

    def clear(self) -> None:
        """Make it unreadable again."""
        try:
            if self._sockets is None:
                os.eventfd_read(self.fd)
            else:
                self._sockets[0].recv(4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Let go of the file descriptors."""
        if self._sockets is not None:
            for end in self._sockets:
                end.close()
        elif self.fd >= 0:
            # Forgotten before it is closed: a late set() must not hit what gets this number next.
            fd, self.fd = self.fd, -1
            os.close(fd)
