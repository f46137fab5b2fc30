"""Which of the engines' processes have ended."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from time import monotonic

from ..net import deaths

LOOK_EVERY = 0.2  #: seconds between looks, where the system cannot tell us


class Deathwatch:
    """Watches processes through one file descriptor, however many they are."""

    def __init__(self, lives: Callable[[str], bool] = lambda uid: True) -> None:
        """``lives``: says of one of whose end the system does not tell whether it still runs, as far as can be told."""
        self._lives = lives
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._by_fd: dict[int, str] = {}
        self._by_look: dict[str, int] = {}  #: processes that have no file descriptor
        self._looked = 0.0

    @property
    def fds(self) -> list[int]:
        """File descriptors to poll."""
        return [self._epoll.fileno()] if self._epoll is not None else []

    def watch(self, uid: str, pid: int) -> None:
        """Begin to watch a process. Does nothing where it is watched already."""
        if uid in self._by_look or uid in self._by_fd.values():
            return
        fd = deaths.watch(pid) if self._epoll is not None else None
        if fd is None or self._epoll is None:
            self._by_look[uid] = pid
        else:
            self._by_fd[fd] = uid
            self._epoll.register(fd, select.EPOLLIN)

    @property
    def blind(self) -> bool:
        """Are there processes that no file descriptor tells of?"""
        return bool(self._by_look)

    @property
    def must_look(self) -> bool:
        """Is there anything that no file descriptor will tell?"""
        return bool(self._by_look) and monotonic() - self._looked > LOOK_EVERY

    def gone(self) -> list[str]:
        """The processes that have ended since the last call."""
        gone: list[str] = []
        if self._epoll is not None:
            for fd, _ in self._epoll.poll(0):
                gone.append(self._by_fd.pop(fd))
                self._epoll.unregister(fd)
                os.close(fd)
        if self._by_look:
            self._looked = monotonic()
            for uid, pid in list(self._by_look.items()):
                # A child that has ended and was not waited for still has its number.
                if not self._lives(uid) or not deaths.alive(pid):
                    del self._by_look[uid]
                    gone.append(uid)
        return gone

    def close(self) -> None:
        """Let go of the file descriptors."""
        for fd in self._by_fd:
            os.close(fd)
        self._by_fd.clear()
        if self._epoll is not None:
            self._epoll.close()
