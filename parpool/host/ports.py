"""The sockets of a controller: those of its engines, and one each for clients and for heartbeats."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import Any

from ..net.lane import Junction, have_lanes
from ..net.sockets import Context, Doorkeeper, Poller, Router
from ..shm.session import Session
from ..wire.messages import Die, Look, Stop, Who, encode
from .wires import CONTROL, WORK, Wires

CLIENTS, HEART = "clients", "heart"
PORTS = ("client", "work", "control", "heart")
#: whose public keys are let in at which socket
ENGINES_ONLY, CLIENTS_ONLY, BOTH = "engines", "clients", "both"
DOMAINS = {"client": CLIENTS_ONLY, "work": ENGINES_ONLY, "control": ENGINES_ONLY, "heart": BOTH}


class Ports(Wires):
    """By ipc in the session's folder; where there is an ``ip``, by tcp with CURVE for everybody.

    ``keys``: ``public`` and ``secret`` of the controller, and ``engines_public`` and ``clients_public``. Raises OSError
    where a port is taken.
    """

    linger = 1.0

    def __init__(self, session: Session, ip: str, ports: dict[str, int], keys: dict[str, bytes]) -> None:
        self.lane_path = session.path("lane") if have_lanes() else ""
        if self.lane_path:
            _unlink(self.lane_path)
        self._junction = Junction(self.lane_path) if self.lane_path else None
        self._what, self._early = {}, {}
        self._context = None
        self._ip = ip
        self._session = session
        self._ports = ports
        self._keys = keys
        self._doorkeeper: Doorkeeper | None = None
        self._guarded: list[Router] = []
        self.addresses: dict[str, str] = {}
        self.work_address = self.control_address = ""
        self.public = keys["public"] if ip else b""

    def refused(self) -> int:
        """How often somebody has knocked whose keys are wrong, or who has none. To be asked now and then."""
        return sum(socket.refused() for socket in self._guarded)

    def open(self) -> None:
        """Open the sockets."""
        with ExitStack() as undo:
            context = Context()
            undo.callback(context.close)
            if self._ip:
                engines, clients = self._keys["engines_public"], self._keys["clients_public"]
                self._doorkeeper = context.doorkeeper(
                    {ENGINES_ONLY: [engines], CLIENTS_ONLY: [clients], BOTH: [engines, clients]}
                )
                undo.callback(self._doorkeeper.close)
            sockets: dict[str, Router] = {}  # which live until the context has closed them, whatever happens
            for name in PORTS:
                sockets[name] = self._bind(context, name)
            undo.pop_all()
        self._context = context
        self.addresses = {name: socket.address for name, socket in sockets.items()}
        self._work, self._control = sockets["work"], sockets["control"]
        self.clients, self.heart = sockets["client"], sockets["heart"]
        self._guarded = list(sockets.values())
        self._poller = Poller()
        names: dict[str, Any] = {"work": WORK, "control": CONTROL, "client": CLIENTS, "heart": HEART}
        for name, socket in sockets.items():
            self._poller.add(socket)
            self._what[socket.socket] = names[name]

    def dismiss(self, uid: bytes) -> bool:
        """Have an engine end, by its address, whether it is a member or not; False where it is not connected."""
        # Where its second thread is not connected yet, the first may be.
        return self._control.send(uid, encode(Die())) or self._work.send(uid, encode(Stop()))

    def ask_who(self, uid: bytes) -> bool:
        """Have an engine introduce itself again; False where it is not connected."""
        return self._work.send(uid, encode(Who())) and self._control.send(uid, encode(Look()))

    def _bind(self, context: Context, name: str) -> Router:
        if not self._ip:
            path = self._session.path(name)
            _unlink(path)
            return context.router(f"ipc://{path}", domain=DOMAINS[name])
        address = f"tcp://{self._ip}:{self._ports.get(name) or '*'}"
        return context.router(address, secret=self._keys["secret"], public=self._keys["public"], domain=DOMAINS[name])

    def close(self) -> None:
        """Close everything."""
        if self._doorkeeper is not None:
            self._doorkeeper.close()
            self._doorkeeper = None
        super().close()


def _unlink(path: str) -> None:
    """Remove what a controller that was killed has left."""
    with suppress(FileNotFoundError):
        os.unlink(path)
