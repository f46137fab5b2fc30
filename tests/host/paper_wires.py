"""What is between a station and everybody else, as lists: see ``paper.py``."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from parpool.host.ports import CLIENTS, HEART
from parpool.host.wires import CONTROL, WORK
from parpool.wire.messages import Die, Who, encode
from parpool.wire.requests import Stamp


class Clock:
    """Stands for ``monotonic``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Peer:
    """The far end of a connection: what has arrived, and what leaves when there is a connection again."""

    def __init__(self, paper: Any, name: str) -> None:
        self.paper = paper  # see there
        self.address = name.encode()
        self.inbox: dict[str, deque[list[bytes]]] = {}
        self.later: list[tuple[str, list[bytes]]] = []
        self.connected = False

    def say(self, kind: str, header: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send to the controller; without a connection, when there is one."""
        if self.connected:
            self.paper.ports.inbox[kind].append((self.address, [header, *frames]))
        else:
            self.later.append((kind, [header, *frames]))

    def heard(self, kind: str) -> list[bytes] | None:
        """The next message that has arrived."""
        box = self.inbox.get(kind)
        return box.popleft() if box else None

    def connect(self) -> None:
        """There is a connection."""
        self.connected = True
        self.paper.ports.peers[self.address] = self
        later, self.later = self.later, []
        for kind, frames in later:
            self.say(kind, frames[0], frames[1:])

    def cut(self) -> None:
        """The connection is no more, and with it goes what was on its way."""
        self.connected = False
        self.inbox.clear()
        ports = self.paper.ports
        ports.peers.pop(self.address, None)
        for kind, box in ports.inbox.items():
            ports.inbox[kind] = deque(each for each in box if each[0] != self.address)


class Socket:
    """One of the controller's."""

    def __init__(self, ports: PaperPorts, kind: str) -> None:
        self._ports = ports
        self._kind = kind

    def send(self, name: bytes, header: bytes, frames: Sequence[bytes] = ()) -> bool:
        """Send to somebody; False where nobody is connected under this name."""
        peer = self._ports.peers.get(name)
        if peer is None:
            return False
        peer.inbox.setdefault(self._kind, deque()).append([header, *frames])
        return True

    def receive(self) -> tuple[bytes, list[bytes]] | None:
        """What has arrived."""
        box = self._ports.inbox[self._kind]
        return box.popleft() if box else None

    def more(self) -> bool:
        """Has more arrived?"""
        return bool(self._ports.inbox[self._kind])


class PaperPorts:
    """In the place of the sockets of a controller."""

    lane_path = work_address = control_address = ""
    public = b""

    def __init__(self) -> None:
        self.peers: dict[bytes, Peer] = {}
        self.inbox: dict[str, deque[tuple[bytes, list[bytes]]]] = {
            kind: deque() for kind in (WORK, CONTROL, CLIENTS, HEART)
        }
        self._work, self._control = Socket(self, WORK), Socket(self, CONTROL)
        self.clients, self.heart = Socket(self, CLIENTS), Socket(self, HEART)
        self.work, self.control = self._work.receive, self._control.receive
        self.more_work = self._work.more

    def refused(self) -> int:
        return 0

    def poll(self, timeout: float | None) -> list[str]:
        return [kind for kind, box in self.inbox.items() if box]

    def send(self, member: Any, header: bytes, frames: Sequence[bytes] = (), fresh: bool = False) -> None:
        self._work.send(member.address, header, frames)

    def tell(self, member: Any, order: bytes) -> None:
        self._control.send(member.address, order)

    def dismiss(self, address: bytes) -> None:
        self._control.send(address, encode(Die()))

    def ask_who(self, uid: bytes) -> bool:
        return self._work.send(uid, encode(Who()))

    def nothing(self, *args: Any) -> None:
        """There are no lanes, no files."""

    open = watch = join = part = from_lane = close = nothing


class PaperSession:
    """A folder that is not there."""

    folder = ""

    def path(self, name: str) -> str:
        return f"/nowhere/{name}"

    def close(self) -> None:
        pass


class PaperLine:
    """In the place of a client's socket."""

    patience = 1e9

    def __init__(self, paper: Any, name: str, patience: float) -> None:
        self.peer = Peer(paper, name)
        self.again = False
        self.turn = self.said = 0

    def say_hello(self, header: bytes) -> None:
        self.turn += 1
        self.said = 0
        self.peer.say(CLIENTS, header)

    def send(self, header: bytes, frames: Sequence[bytes] = ()) -> None:
        self.said += 1
        self.peer.say(CLIENTS, header, [*frames, encode(Stamp(self.turn, self.said))])

    def poll(self, timeout: float | None) -> list[tuple[Any, int]]:
        return [(self, 1)]

    def read(self, ready: Any) -> tuple[list[bytes] | None, bool]:
        again, self.again = self.again, False
        return self.peer.heard(CLIENTS), again

    def left(self) -> None:
        return None

    def wake(self) -> None:
        pass
