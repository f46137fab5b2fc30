"""A client and an engine that speak the protocol by hand, and say whatever a test has them say."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import zmq
from fault_frames import fill
from fault_rig import PATIENCE

from parpool.wire import messages, requests
from parpool.wire.messages import PROTOCOL


class Peer:
    """A socket under a name."""

    open: ClassVar[list[Peer]] = []  #: those that are to be closed

    def __init__(self, context: Any, address: str, name: str) -> None:
        self.open.append(self)
        self.name = name
        self._socket = context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.identity = name.encode()
        self._socket.connect(address)

    def hear(self, seconds: float = PATIENCE) -> list[bytes]:
        """The next message."""
        assert self._socket.poll(seconds * 1000), "the controller does not answer"
        frames: list[bytes] = self._socket.recv_multipart()
        return frames

    def close(self) -> None:
        """Go away."""
        self._socket.close()


class RawClient(Peer):
    """A client that is let in."""

    def __init__(self, context: Any, address: str, name: str = "raw") -> None:
        super().__init__(context, address, name)
        self._turn = self._number = 0
        self._last: tuple[bytes, tuple[bytes, ...]] = (b"", ())
        self.number = 0
        self.greet()

    def greet(self, **fields: Any) -> Any:
        """Say hello."""
        self._turn, self._number = self._turn + 1, 0
        known = {"protocol": PROTOCOL, "version": "1", "name": self.name, "number": self.number, "turn": self._turn}
        self._socket.send(fill(requests.ClientHello, **{**known, **fields}))
        welcome = self.expect(requests.Welcome)
        self.number = welcome.number
        return welcome

    def say(self, header: bytes, *frames: bytes) -> None:
        """Send a message, with its stamp."""
        self._number += 1
        self._last = header, frames
        stamp = msgspec.msgpack.encode(requests.Stamp(self._turn, self._number))
        self._socket.send_multipart([header, *frames, stamp])

    def expect(self, kind: Any) -> Any:
        """The next message of this kind. Where something malformed was not heard, say hello and the last again."""
        while True:
            message = requests.to_client(self.hear()[0])
            if isinstance(message, kind):
                return message
            if isinstance(message, requests.Who):
                header, frames = self._last
                self.greet()
                self.say(header, *frames)

    def ask(self, what: str, about: Any) -> Any:
        """The answer to a question."""
        self.say(fill(requests.Ask, number=7, what=what, about=about))
        return self.expect(requests.Answer)

    def order(self, which: int, **fields: Any) -> bytes:
        """A task of this client."""
        known = {"id": (self.number << requests.SHIFT) + which, "count": 1, "weight": 1, "terms": -1}
        return fill(requests.Order, **{**known, **fields})

    def submit(self, *orders: bytes, terms: Any = (), **more: Any) -> None:
        """Submit tasks."""
        decode = msgspec.msgpack.decode
        self.say(fill(requests.Submit, orders=list(map(decode, orders)), terms=list(map(decode, terms)), **more))


class RawEngine(Peer):
    """An engine that joins. It has no heart."""

    def __init__(self, context: Any, addresses: dict[str, str], name: str = "raw-engine", **hello: Any) -> None:
        super().__init__(context, addresses["work"], name)
        self.control = Peer(context, addresses["control"], name)
        self.say(fill(messages.Hello, **{"protocol": PROTOCOL, "version": "1", "pid": 1, **hello}))

    def say(self, header: bytes, *frames: bytes) -> None:
        """Send a message."""
        self._socket.send_multipart([header, *frames])

    def order(self, header: bytes) -> None:
        """Send one by the socket for orders."""
        self.control._socket.send(header)

    def work(self) -> Any:
        """The next tasks that it is given."""
        while True:
            message = messages.to_engine(self.hear()[0])
            if isinstance(message, messages.Work) and message.calls:
                return message

    def close(self) -> None:
        """Go away."""
        self.control.close()
        super().close()
