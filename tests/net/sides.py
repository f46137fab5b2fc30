"""Sockets of two sides, and what comes to them."""

from __future__ import annotations

from typing import Any

from parpool.net.sockets import Context, Dealer, Poller, Router


class Keeping(Context):
    """Its sockets live as long as it does, as those of hosts and engines do."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Router | Dealer] = []

    def router(self, *args: Any, **kwargs: Any) -> Router:
        self.kept.append(made := super().router(*args, **kwargs))
        return made

    def dealer(self, *args: Any, **kwargs: Any) -> Dealer:
        self.kept.append(made := super().dealer(*args, **kwargs))
        return made


def await_message(socket: Router | Dealer, seconds: float = 5) -> object:
    poller = Poller()
    poller.add(socket)
    assert poller.poll(seconds), "nothing arrived"
    return socket.receive() if isinstance(socket, Router) else socket.receive(wait=False)
