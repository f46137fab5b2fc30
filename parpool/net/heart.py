"""Heartbeats: who is asked is answered for by a thread in C.

The controller sends each engine and client a few bytes now and then, and what comes back says that the process lives.
The echo needs neither Python nor its lock, so a task that holds the lock for an hour is not taken for dead; a process
that is stopped, or a machine that is gone, does not answer. (The idea is IPython.parallel's.)
"""

from __future__ import annotations

import threading

from .sockets import Context


class Heart:
    """The side that answers, under the name ``identity``. Its context is its own, and so is its thread of ZeroMQ: large
    messages of the others do not delay it."""

    def __init__(
        self, address: str, identity: str, *, host_key: bytes = b"", keys: tuple[bytes, bytes] | None = None
    ) -> None:
        self._context = Context()
        dealer = self._context.dealer(address, identity, host_key=host_key, keys=keys or (b"", b""))
        dealer.connect_plainly()
        self._thread = threading.Thread(target=self._context.echo, args=(dealer,), name="parpool-heart", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._context.end()
        self._thread.join()


class Pulse:
    """The side that asks: whose answers are missing. Time is told by calls of :meth:`beat`, one an interval, so a
    process that was stopped itself, or whose clock jumped, takes nobody for dead."""

    def __init__(self, misses: int) -> None:
        self._misses = misses
        self._missed: dict[bytes, int] = {}  #: beats since the last answer

    def watch(self, name: bytes) -> None:
        """Someone is there who should answer from here on."""
        self._missed[name] = 0

    def forget(self, name: bytes) -> None:
        """Nobody needs to know about this one any more."""
        self._missed.pop(name, None)

    def answered(self, name: bytes) -> bool:
        """An answer has come; was it one that is watched?"""
        if name not in self._missed:
            return False
        self._missed[name] = 0
        return True

    def beat(self) -> tuple[list[bytes], list[bytes]]:
        """An interval has gone by: who is to be asked now, and who has missed too many and is watched no longer."""
        lost = [name for name, missed in self._missed.items() if missed >= self._misses]
        for name in lost:
            del self._missed[name]
        for name in self._missed:
            self._missed[name] += 1
        return list(self._missed), lost
