"""A client on paper that says what a test wants."""

from __future__ import annotations

from typing import Any

from paper import Paper
from paper_wires import Peer

from parpool import __version__
from parpool.host.ports import CLIENTS
from parpool.wire.messages import PROTOCOL, encode
from parpool.wire.requests import SHIFT, ClientHello, Order, Stamp, Welcome, to_client


class Speaker(Peer):
    """A client that says what a test wants."""

    def __init__(self, paper: Paper, name: str = "client") -> None:
        super().__init__(paper, name)
        self.name = name
        self.turn = self.number = self.said = 0
        self.connect()

    def hello(self, instance: str = "", got: int = 0, number: int = 0, **more: Any) -> list[Any]:
        self.turn, self.said = self.turn + 1, 0
        fields = {"name": self.name, "protocol": PROTOCOL, "keep": None, **more}
        hello = ClientHello(
            fields["protocol"], __version__, fields["name"], number, instance, got, self.turn, fields["keep"], {}
        )
        self.say(CLIENTS, encode(hello))
        answers = self.hears()
        if answers and isinstance(answers[0], Welcome):
            self.number = answers[0].number
        return answers

    def tell(self, message: Any, *frames: bytes) -> list[Any]:
        self.said += 1
        self.say(CLIENTS, encode(message), [*frames, encode(Stamp(self.turn, self.said))])
        return self.hears()

    def hears(self) -> list[Any]:
        self.paper.step(3)
        messages = []
        while (frames := self.heard(CLIENTS)) is not None:
            messages.append(to_client(frames[0]))
        return messages

    def order(self, number: int, **more: Any) -> Order:
        fields = {"payload": b"payload", "kind": 0, "first": 0, "count": 1, "weight": 1, "frames": 0, "terms": -1}
        return Order(self.number << SHIFT | number, b"function", **{**fields, **more})
