"""Two kinds of sockets, as thin as can be: a host's :class:`Router` and an engine's :class:`Dealer`.

Nothing here blocks on sending (queues are not bounded: credit bounds what is sent), nothing lingers after a close,
and a context belongs to one owner, who ends it. tcp is always encrypted and authenticated (CURVE): a peer that does
not know the host's public key never gets a frame through.
"""

from __future__ import annotations

import logging
import os
import struct
import sys
from collections.abc import Sequence
from typing import Any

import zmq
import zmq.backend

from .pieces import cut, joined

Frames = list[bytes]
# As plain ints: an enum's | costs more than the send that it is for.
_NOW = int(zmq.NOBLOCK)
_MORE = int(zmq.SNDMORE)
_RCVMORE = int(zmq.RCVMORE)
_POLLIN = int(zmq.POLLIN)
_EVENTS = int(zmq.EVENTS)


LONGEST_POLL = 1e6  #: seconds
SILENCE = 10_000  #: ms after which a connection is dead of which nothing is heard, where somebody looks

#: what becomes of a connection; SHUT: it has ended in its handshake, as where the other side is killed, or does not
#: have the key that is expected of it
UP, DOWN, REFUSED, SHUT = "up", "down", "refused", "shut"
_CHANGES = {
    int(zmq.EVENT_HANDSHAKE_SUCCEEDED): UP,
    int(zmq.EVENT_DISCONNECTED): DOWN,
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): REFUSED,
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): REFUSED,
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): SHUT,
}


class Context:
    """A zmq context and its sockets. Useless, and harmless, in a process forked from its maker's."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pid = os.getpid()

    def router(self, address: str, *, secret: bytes = b"", public: bytes = b"", domain: str = "") -> Router:
        """A socket bound at ``address``; with keys for tcp. Raises OSError where the system has none to give.

        ``domain``: whose keys are let in, see :class:`Doorkeeper`. A peer that comes again under its name is then
        taken in the place of what is left of its old connection.
        """
        socket = self._socket(zmq.ROUTER)
        try:
            return Router(socket, address, secret, public, domain)
        except zmq.ZMQError as error:
            socket.close(linger=0)
            raise OSError(error.errno, f"no socket at {address}: {_reason(error)}") from error

    def dealer(
        self, address: str, identity: str, *, host_key: bytes = b"", keys: tuple[bytes, bytes] | None = None
    ) -> Dealer:
        """A socket connected to ``address`` under the name ``identity``.

        ``keys``: its own, public and secret (empty where there are none); such a one is connected by its ``connect``.
        """
        return Dealer(self._socket(zmq.DEALER), address, identity, host_key, keys)

    def doorkeeper(self, domains: dict[str, list[bytes]]) -> Doorkeeper:
        """Lets in, to the sockets of each domain, those that have one of these public keys."""
        return Doorkeeper(self._context, domains)

    def echo(self, dealer: Dealer) -> None:
        """Send back whatever a socket receives, from C and without the interpreter's lock, until :meth:`end`."""
        try:
            zmq.proxy(dealer.socket, dealer.socket)
        except zmq.ContextTerminated:
            dealer.socket.close(linger=0)

    def end(self) -> None:
        """End :meth:`echo` in another thread. Its socket must be the only one that is open."""
        if os.getpid() == self._pid:
            self._context.term()

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = 0
        return socket

    def close(self, linger: float = 0.0) -> None:
        """Close every socket and end the context's threads, after ``linger`` seconds for what is still to be sent."""
        if os.getpid() == self._pid:
            self._context.destroy(int(linger * 1000))


def _reason(error: zmq.ZMQError) -> str:
    """Why an address could not be had, and what to do about it."""
    if error.errno == zmq.EADDRINUSE:
        return "Address already in use: choose another port, or let the system do that"
    if error.errno == zmq.EADDRNOTAVAIL:
        return "it is none of this machine: listen at one that is, or at * for all of them"
    return str(error.strerror)


class Router:
    """The host's end: one socket for all engines, which it tells apart by name."""

    def __init__(self, socket: zmq.Socket[bytes], address: str, secret: bytes, public: bytes, domain: str = "") -> None:
        self.socket = socket
        self._encrypted = bool(secret)
        self._knocks: Knocks | None = None
        if secret:
            socket.curve_server = True
            socket.curve_secretkey = secret
            socket.curve_publickey = public
            if domain:
                socket.zap_domain = domain.encode()
                self._knocks = Knocks(socket)
        if domain:
            socket.router_handover = 1
            if address.startswith("tcp:"):
                _notice_silence(socket)
        socket.router_mandatory = 1
        socket.bind(address)
        self.address: str = socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def send(self, peer: bytes, header: bytes, frames: Sequence[bytes] = ()) -> bool:
        """Send a message; False where no such peer is connected."""
        try:
            _send(self.socket, peer, _MORE | _NOW)
            _send_frames(self.socket, header, cut(frames) if self._encrypted else frames)
            return True
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise

    def receive(self) -> tuple[bytes, Frames] | None:
        """The next message and its sender, if one is there."""
        try:
            peer: bytes = _receive(self.socket, _NOW)
        except zmq.Again:
            return None
        # A message of zmq arrives whole: the rest of it is there.
        return peer, _rest(self.socket, 1) if _get(self.socket, _RCVMORE) else []

    def refused(self) -> int:
        """How often somebody has knocked whose keys are wrong, or who has none. To be asked now and then."""
        return self._knocks.count() if self._knocks is not None else 0

    def more(self) -> bool:
        """Would :meth:`receive` give something? Half the cost of having it find nothing."""
        return bool(int(_get(self.socket, _EVENTS)) & _POLLIN)

    def wait(self, seconds: float) -> bool:
        """Wait until :meth:`receive` gives something; False where it does not by then."""
        return bool(self.socket.poll(int(seconds * 1000)))


class Dealer:
    """An engine's end, or a client's."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        address: str,
        identity: str,
        host_key: bytes,
        keys: tuple[bytes, bytes] | None = None,
    ) -> None:
        self.socket = socket
        self._address = address
        self._encrypted = bool(host_key)
        socket.identity = identity.encode()
        if host_key:
            socket.curve_serverkey = host_key
            socket.curve_publickey, socket.curve_secretkey = keys if keys and keys[0] else zmq.curve_keypair()
        socket.reconnect_ivl = 5  # ms: the host may open its socket a moment later
        socket.reconnect_ivl_max = 500
        if keys is None:
            socket.connect(address)

    def connect(self, notice_silence: bool = False) -> Monitor:
        """Connect a socket that was made with ``keys``; the monitor tells what becomes of the connection.

        ``notice_silence``: a connection by ipc is to end, too, when its other side is silent, as one that is stopped.
        """
        monitor = Monitor(self.socket)
        if notice_silence:
            _notice_silence(self.socket)
        self.connect_plainly()
        return monitor

    def connect_plainly(self) -> None:
        """The same without a monitor."""
        if self._address.startswith("tcp:"):  # a cable that is cut tells nobody, ipc tells
            _notice_silence(self.socket)
        self.socket.connect(self._address)

    def send(self, header: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send a message; returns at once. Without a connection, nor one in the making, as after a refusal, it is lost."""
        try:
            _send_frames(self.socket, header, cut(frames) if self._encrypted else frames, _NOW)
        except zmq.Again:
            pass

    def receive(self, wait: bool = True) -> Frames | None:
        """The next message; with ``wait=False`` None where none is there."""
        try:
            header: bytes = _receive(self.socket, 0 if wait else _NOW)
        except zmq.Again:
            return None
        return [header, *_rest(self.socket)] if _get(self.socket, _RCVMORE) else [header]


class Monitor:
    """Tells what becomes of the connection of a socket. It is closed with the socket."""

    def __init__(self, watched: zmq.Socket[bytes]) -> None:
        self.socket: zmq.Socket[bytes] = watched.get_monitor_socket(sum(_CHANGES))
        self.socket.linger = 0

    def changes(self) -> list[str]:
        """What has come about since the last call: :data:`UP`, :data:`DOWN`, :data:`REFUSED`, :data:`SHUT`."""
        found: list[str] = []
        while True:
            try:
                frame: bytes = _receive(self.socket, _NOW)
            except zmq.Again:
                return found
            _rest(self.socket)
            (event,) = struct.unpack_from("=H", frame)  # pyzmq's own way to say it imports asyncio
            found.append(_CHANGES[event])


class Knocks:
    """Counts those who are turned away at a socket with keys: by the doorkeeper, or by zmq itself before that.

    zmq notes each; nobody is woken for it, and the notes are counted when somebody wants to know.
    """

    def __init__(self, watched: zmq.Socket[bytes]) -> None:
        self._seen = 0
        # Not those that hang up before it is known who they are: so ends any connection that is cut early.
        events = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        address = f"inproc://knocks-{id(watched)}"
        watched.monitor(address, events)
        self._socket = watched.context.socket(zmq.PAIR)
        self._socket.linger = self._socket.rcvhwm = 0  # with a bound, whoever notes waits when it is reached
        self._socket.connect(address)

    def count(self) -> int:
        """How many there have been."""
        while True:
            try:
                _receive(self._socket, _NOW)
            except zmq.Again:
                return self._seen
            _rest(self._socket)
            self._seen += 1


LARGE = 256 * 1024  #: bytes from which on a frame stays where it was received


# pyzmq's compiled socket, without the layer of Python over it: a tenth of the time for a small frame.
_send = zmq.backend.Socket.send
_receive = zmq.backend.Socket.recv
_get = zmq.backend.Socket.get
_poll: Any = zmq.backend.zmq_poll


def _send_frames(socket: zmq.Socket[bytes], header: bytes, frames: Sequence[bytes], flags: int = 0) -> None:
    if not frames:
        _send(socket, header, flags)
        return
    _send(socket, header, _MORE | flags)  # the others follow where it goes
    # Copied once, also when they are large: a send without a copy starts a thread of pyzmq's own, with sockets of its
    # own, that stays until the process ends. What has come as a large frame goes on as it is: it is zmq's already.
    for frame in frames[:-1]:
        _send(socket, _as_it_came(frame), _MORE)
    _send(socket, _as_it_came(frames[-1]))


def _as_it_came(frame: Any) -> Any:
    received: Any = frame.obj if frame.__class__ is memoryview else None
    return received if isinstance(received, zmq.Frame) and len(received) == frame.nbytes else frame


def _rest(socket: zmq.Socket[bytes], small: int = 0) -> Frames:
    """The other frames of a message of which the first was received, and more are there.

    Large ones are memoryviews of what zmq has received, which lives as long as they do: to copy it out takes longer than
    all the rest. The first ``small`` of them are bytes in any case.
    """
    frames: list[Any] = []
    while True:
        if len(frames) < small:
            frames.append(_receive(socket))
        else:
            found: Any = _receive(socket, 0, False)
            frames.append(memoryview(found) if len(found) >= LARGE else found.bytes)
        if not _get(socket, _RCVMORE):
            return [*frames[:small], *joined(frames[small:])]


def _notice_silence(socket: zmq.Socket[bytes]) -> None:
    """Have connections end whose other side is silent. (It answers by its I/O thread, whatever else it is at.)"""
    socket.heartbeat_ivl = 2000
    socket.heartbeat_timeout = SILENCE
    socket.heartbeat_ttl = SILENCE


class Doorkeeper:
    """Looks at the public keys of those who knock (ZAP, by pyzmq's authenticator and its thread)."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], domains: dict[str, list[bytes]]) -> None:
        from zmq.auth.thread import ThreadAuthenticator  # with asyncio: only where there are keys to look at

        self._authenticator = ThreadAuthenticator(context, log=logging.getLogger("parpool.keys"))
        self._authenticator.start()
        for domain, keys in domains.items():
            self._authenticator.configure_curve_callback(domain, self._Keys(keys))

    class _Keys:
        def __init__(self, keys: list[bytes]) -> None:
            self._keys = keys

        def callback(self, domain: str, key: bytes) -> bool:
            """May who has this key come in?"""
            return key in self._keys

    def close(self) -> None:
        """Let in nobody more."""
        self._authenticator.stop()


def keypair() -> tuple[bytes, bytes]:
    """A new CURVE key pair: (public, secret)."""
    return zmq.curve_keypair()


def have_ipc() -> bool:
    """Are there local sockets on this system?"""
    return zmq.has("ipc") and sys.platform != "win32"


class Poller:
    """Waits for sockets and file descriptors at once."""

    def __init__(self) -> None:
        self._sources: list[tuple[Any, int]] = []

    def add(self, source: Router | Dealer | Monitor | int) -> None:
        """Watch a socket or file descriptor for something to read."""
        self._sources.append((source if isinstance(source, int) else source.socket, _POLLIN))

    def remove(self, fd: int) -> None:
        """Watch a file descriptor no longer."""
        self._sources.remove((fd, _POLLIN))

    def poll(self, timeout: float | None) -> list[tuple[Any, int]]:
        """Those that have something to read, after ``timeout`` seconds at the most (None: as long as it takes)."""
        # Rounded up: a poll that ends just before a deadline would be followed by one of no time, over and over.
        # Cut at what zmq takes: whoever waits longer asks again.
        milliseconds = -1 if timeout is None else -int(-min(timeout, LONGEST_POLL) * 1000 // 1)
        ready: list[tuple[Any, int]] = _poll(self._sources, milliseconds)
        return ready
