"""Two kinds of sockets, as thin as can be: a host's :class:`Router` and an engine's :class:`Dealer`.

Nothing here blocks on sending (queues are not bounded: credit bounds what is sent), nothing lingers after a close,
and a context belongs to one owner, who ends it. tcp is always encrypted and authenticated (CURVE): a peer that does
not know the host's public key never gets a frame through.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import zmq

Frames = list[bytes]
# As plain ints: an enum's | costs more than the send that it is for.
_NOW = int(zmq.NOBLOCK)
_MORE = int(zmq.SNDMORE)
COPY_BELOW = 64 * 1024  #: frames from this size on are handed to zmq without a copy


class Context:
    """A zmq context and its sockets. Useless, and harmless, in a process forked from its maker's."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._pid = os.getpid()

    def router(self, address: str, *, secret: bytes = b"", public: bytes = b"") -> Router:
        """A socket bound at ``address``; with keys for tcp."""
        return Router(self._socket(zmq.ROUTER), address, secret, public)

    def dealer(self, address: str, identity: str, *, host_key: bytes = b"") -> Dealer:
        """A socket connected to ``address`` under the name ``identity``."""
        return Dealer(self._socket(zmq.DEALER), address, identity, host_key)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = 0
        return socket

    def close(self, linger: float = 0.0) -> None:
        """Close every socket and end the context's threads, after ``linger`` seconds for what is still to be sent."""
        if os.getpid() == self._pid:
            self._context.destroy(int(linger * 1000))


class Router:
    """The host's end: one socket for all engines, which it tells apart by name."""

    def __init__(self, socket: zmq.Socket[bytes], address: str, secret: bytes, public: bytes) -> None:
        self.socket = socket
        if secret:
            socket.curve_server = True
            socket.curve_secretkey = secret
            socket.curve_publickey = public
        socket.router_mandatory = 1
        socket.bind(address)
        self.address: str = socket.last_endpoint.decode()

    def send(self, peer: str, header: bytes, frames: Sequence[bytes] = ()) -> bool:
        """Send a message; False where no such peer is connected."""
        try:
            if not frames:
                self.socket.send_multipart((peer.encode(), header), _NOW)
            else:
                self.socket.send_multipart((peer.encode(), header), _MORE)
                for frame in frames[:-1]:
                    self.socket.send(frame, _MORE, copy=len(frame) < COPY_BELOW)
                self.socket.send(frames[-1], copy=len(frames[-1]) < COPY_BELOW)
            return True
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise

    def receive(self) -> tuple[str, Frames] | None:
        """The next message and its sender, if one is there."""
        try:
            frames = self.socket.recv_multipart(_NOW)
        except zmq.Again:
            return None
        return frames[0].decode("utf-8", "replace"), frames[1:]


class Dealer:
    """An engine's end."""

    def __init__(self, socket: zmq.Socket[bytes], address: str, identity: str, host_key: bytes) -> None:
        self.socket = socket
        socket.identity = identity.encode()
        if host_key:
            public, secret = zmq.curve_keypair()
            socket.curve_serverkey = host_key
            socket.curve_publickey, socket.curve_secretkey = public, secret
        socket.connect(address)

    def send(self, header: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send a message; returns at once."""
        if not frames:
            self.socket.send(header)
        else:
            self.socket.send(header, _MORE)
            for frame in frames[:-1]:
                self.socket.send(frame, _MORE, copy=len(frame) < COPY_BELOW)
            self.socket.send(frames[-1], copy=len(frames[-1]) < COPY_BELOW)

    def receive(self, wait: bool = True) -> Frames | None:
        """The next message; with ``wait=False`` None where none is there."""
        try:
            return self.socket.recv_multipart(0 if wait else _NOW)
        except zmq.Again:
            return None


def keypair() -> tuple[bytes, bytes]:
    """A new CURVE key pair: (public, secret)."""
    return zmq.curve_keypair()


def have_ipc() -> bool:
    """Are there local sockets on this system?"""
    return zmq.has("ipc") and sys.platform != "win32"


class Poller:
    """Waits for sockets and file descriptors at once."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self.poll: Callable[[float | None], list[tuple[object, int]]] = self._poller.poll

    def add(self, source: Router | Dealer | int) -> None:
        """Watch a socket or file descriptor for something to read."""
        self._poller.register(source if isinstance(source, int) else source.socket, zmq.POLLIN)

    def remove(self, source: Router | Dealer | int) -> None:
        """Watch it no longer."""
        self._poller.unregister(source if isinstance(source, int) else source.socket)
