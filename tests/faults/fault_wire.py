"""A cable of our own between a peer and the controller, which can be cut, silenced and mended."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

WHOLE, SILENT, CUT = "whole", "silent", "cut"
PIECE = 1 << 16
MOST = 1 << 20  #: bytes that are taken from one side before they are passed on to the other


class Wire:
    """Passes bytes between who connects to :attr:`addresses` and ``addresses``, which are by tcp and have names."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._state = WHOLE
        self._selector = selectors.DefaultSelector()
        self._jobs: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._bell, self._ear = socket.socketpair()
        self._selector.register(self._ear, selectors.EVENT_READ, None)
        self._ends: dict[socket.socket, _End] = {}
        self._listeners: list[socket.socket] = []
        self._ended = False
        self.passed = 0  #: connections that were made
        self.seen = bytearray()  #: all that went by
        self.addresses: dict[str, str] = {}
        for name, address in addresses.items():
            if not address.startswith("tcp://"):
                continue
            host, _, port = address[6:].rpartition(":")
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setblocking(False)
            self._listeners.append(listener)
            self._selector.register(listener, selectors.EVENT_READ, (host, int(port)))
            self.addresses[name] = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, name="wire")
        self._thread.start()

    # -- from the test's thread -------------------------------------------------------------------------------

    def cut(self) -> None:
        """End all connections, with what is on its way, and let nobody through."""
        self._do(self._cut)

    def silence(self) -> None:
        """Pass on nothing, and say nothing of it: connections stay, and new ones seem to be made."""
        self._do(lambda: self._become(SILENT))

    def mend(self) -> None:
        """Pass on what comes, and what has come while it was silent."""
        self._do(lambda: self._become(WHOLE))

    def close(self) -> None:
        """End the connections and the thread."""
        self._do(self._end)
        self._thread.join()

    def _do(self, job: Callable[[], object]) -> None:
        done = threading.Event()

        def act() -> None:
            job()
            done.set()

        self._jobs.put(act)
        self._bell.send(b"!")
        assert done.wait(10)

    # -- in its thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ended:
            for key, events in self._selector.select():
                there: Any = key.fileobj
                if self._ended:
                    return
                if there is self._ear:
                    self._ear.recv(PIECE)
                    while not self._jobs.empty():
                        self._jobs.get()()
                elif isinstance(key.data, tuple):
                    self._accept(there, key.data)
                elif there in self._ends:
                    self._serve(self._ends[there], events)

    def _accept(self, listener: socket.socket, to: tuple[str, int]) -> None:
        near, _ = listener.accept()
        if self._state == CUT:
            near.close()
            return
        try:
            far = socket.create_connection(to, timeout=5)
        except OSError:  # nobody listens there: nor here
            near.close()
            return
        self.passed += 1
        one, other = _End(near), _End(far)
        one.peer, other.peer = other, one
        for end in (one, other):
            end.socket.setblocking(False)
            end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends[end.socket] = end
            self._selector.register(end.socket, selectors.EVENT_READ)
            self._watch(end)

    def _serve(self, end: _End, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                data = end.socket.recv(PIECE)
                end.over = not data
                end.peer.outgoing += data
                self.seen += data
            if end.outgoing and events & selectors.EVENT_WRITE:
                del end.outgoing[: end.socket.send(end.outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._part(end)
            return
        if any(each.over and not each.peer.outgoing for each in (end, end.peer)):
            self._part(end)  # not before: what one has said last, the other is to hear
            return
        self._watch(end)
        self._watch(end.peer)

    def _watch(self, end: _End) -> None:
        """Look for what this end can do now."""
        events = 0
        if self._state == WHOLE:
            events = selectors.EVENT_READ if len(end.peer.outgoing) < MOST and not end.over else 0
            events |= selectors.EVENT_WRITE if end.outgoing else 0
        if events == end.events:
            return
        if not end.events:
            self._selector.register(end.socket, events)
        elif events:
            self._selector.modify(end.socket, events)
        else:
            self._selector.unregister(end.socket)
        end.events = events

    def _become(self, state: str) -> None:
        self._state = state
        for end in self._ends.values():
            self._watch(end)

    def _cut(self) -> None:
        self._state = CUT
        for end in list(self._ends.values()):
            self._part(end)

    def _part(self, end: _End) -> None:
        for each in (end, end.peer):
            if self._ends.pop(each.socket, None) is not None:
                if each.events:
                    self._selector.unregister(each.socket)
                each.socket.close()

    def _end(self) -> None:
        self._cut()
        for each in (*self._listeners, self._ear, self._bell):
            with suppress(KeyError):
                self._selector.unregister(each)
            each.close()
        self._selector.close()
        self._ended = True


class _End:
    """One end of a connection, and what is to be sent there."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.outgoing = bytearray()
        self.over = False  #: it has said its last
        self.events = selectors.EVENT_READ  #: that are watched
        self.peer: _End
