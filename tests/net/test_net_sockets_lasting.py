"""Sockets of those that may lose their host and find it again, and whose keys are looked at."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from sides import Keeping, await_message

from parpool.net.sockets import DOWN, REFUSED, SHUT, UP, Context, Monitor, Poller, Router, have_ipc, keypair

pytestmark = pytest.mark.skipif(not have_ipc(), reason="local sockets")


def await_refusals(router: Router, count: int) -> None:
    deadline = time.monotonic() + 10
    while router.refused() < count:
        assert time.monotonic() < deadline, "it is not counted"
        time.sleep(0.01)


# What becomes of a connection -------------------------------------------------------------------------------------


def await_change(monitor: Monitor, change: str, seconds: float = 10) -> None:
    poller = Poller()
    poller.add(monitor)
    deadline = time.monotonic() + seconds
    while poller.poll(max(0.0, deadline - time.monotonic())):
        if change in monitor.changes():
            return
    raise AssertionError(f"it is not {change}")


def test_a_connection_comes_and_goes_and_comes(context: Context, address: str) -> None:
    dealer = context.dealer(address, "engine", keys=(b"", b""))
    monitor = dealer.connect()
    assert monitor.changes() == []
    for _ in range(3):
        other = Keeping()
        router = other.router(address, domain="engines")
        await_change(monitor, UP)
        dealer.send(b"hello")
        assert await_message(router) == (b"engine", [b"hello"])
        other.close()
        await_change(monitor, DOWN)


def test_a_connection_that_ends_in_its_handshake(context: Context, other: Context) -> None:
    """As where the other side is killed just then: nobody has refused anything, and who comes next may be met."""
    with socket.create_server(("127.0.0.1", 0)) as shut:
        address = f"tcp://127.0.0.1:{shut.getsockname()[1]}"
        public, secret = keypair()
        dealer = context.dealer(address, "engine", host_key=public, keys=keypair())
        monitor = dealer.connect()
        for _ in range(2):
            shut.accept()[0].close()
            await_change(monitor, SHUT)
    other.router(address, secret=secret, public=public, domain="engines")
    await_change(monitor, UP)


def test_what_is_sent_without_a_connection_waits_for_one(context: Context, address: str) -> None:
    dealer = context.dealer(address, "engine", keys=(b"", b""))
    monitor = dealer.connect()
    dealer.send(b"before")
    first = Keeping()
    assert await_message(first.router(address)) == (b"engine", [b"before"])
    first.close()
    await_change(monitor, DOWN)
    for number in range(100):
        dealer.send(b"%d" % number, [b"frame"])
    second = Keeping()
    router = second.router(address)
    assert [await_message(router) for _ in range(100)] == [(b"engine", [b"%d" % n, b"frame"]) for n in range(100)]
    second.close()


def test_a_dealer_with_keys_is_not_connected_before_it_is_told_to(context: Context, address: str) -> None:
    router = context.router(address)
    dealer = context.dealer(address, "engine", keys=(b"", b""))
    assert not router.send(b"engine", b"anybody there?")
    dealer.connect_plainly()
    dealer.send(b"hello")
    assert await_message(router) == (b"engine", [b"hello"])


def test_who_comes_again_under_its_name_takes_its_place(context: Context, address: str) -> None:
    """What is left of the old connection does not keep out the new one, where a domain is named."""
    router = context.router(address, domain="engines")
    old = context.dealer(address, "engine")
    old.send(b"old")
    assert await_message(router) == (b"engine", [b"old"])
    new = context.dealer(address, "engine")
    new.send(b"new")
    assert await_message(router) == (b"engine", [b"new"])
    assert router.send(b"engine", b"for the new one")
    assert await_message(new) == [b"for the new one"]
    assert old.receive(wait=False) is None


# Whose keys are let in ----------------------------------------------------------------------------------------------


class Guarded:
    """A socket for engines and one for clients, and a key for each."""

    def __init__(self, context: Context) -> None:
        self.public, secret = keypair()
        self.engines, self.clients = keypair(), keypair()
        engines, clients = self.engines[0], self.clients[0]
        self.keeper = context.doorkeeper({"engines": [engines], "clients": [clients], "both": [engines, clients]})
        self.sockets = {
            domain: context.router("tcp://127.0.0.1:*", secret=secret, public=self.public, domain=domain)
            for domain in ("engines", "clients", "both")
        }


@pytest.fixture
def guarded(context: Context) -> Iterator[Guarded]:
    made = Guarded(context)
    yield made
    made.keeper.close()


def test_keys_open_their_own_doors(guarded: Guarded, other: Context) -> None:
    for domain, keys, let_in in [
        ("engines", guarded.engines, True),
        ("engines", guarded.clients, False),
        ("clients", guarded.clients, True),
        ("clients", guarded.engines, False),
        ("both", guarded.engines, True),
        ("both", guarded.clients, True),
        ("both", keypair(), False),
    ]:
        router = guarded.sockets[domain]
        refused = router.refused()
        dealer = other.dealer(router.address, "peer", host_key=guarded.public, keys=keys)
        monitor = dealer.connect()
        if let_in:
            await_change(monitor, UP)
            dealer.send(b"hello")
            assert await_message(router) == (b"peer", [b"hello"])
            assert router.refused() == refused
        else:
            await_change(monitor, REFUSED)
            await_refusals(router, refused + 1)
            assert router.receive() is None
        dealer.socket.close()


def test_no_key_at_all(guarded: Guarded, other: Context) -> None:
    router = guarded.sockets["both"]
    deadline = time.monotonic() + 10
    while not router.refused():  # one that sees for itself that it is wrong here may hang up before it has said so
        assert time.monotonic() < deadline, "it is not counted"
        plain = other.dealer(router.address, "plain", keys=(b"", b""))
        await_change(plain.connect(), REFUSED)
        plain.socket.close()
    before = router.refused()
    wrong = other.dealer(router.address, "wrong", host_key=keypair()[0], keys=guarded.engines)
    wrong.connect()
    wrong.send(b"hello")
    good = other.dealer(router.address, "good", host_key=guarded.public, keys=guarded.engines)
    good.connect()
    good.send(b"hello")
    assert await_message(router) == (b"good", [b"hello"])
    assert router.receive() is None
    await_refusals(router, before + 1)  # that of another server, too


def test_who_only_looks_whether_somebody_listens_is_not_counted(guarded: Guarded, other: Context) -> None:
    router = guarded.sockets["both"]
    port = int(router.address.rpartition(":")[2])
    for _ in range(20):
        socket.create_connection(("127.0.0.1", port)).close()
    good = other.dealer(router.address, "good", host_key=guarded.public, keys=guarded.engines)
    good.connect()
    good.send(b"hello")
    assert await_message(router) == (b"good", [b"hello"]) and router.refused() == 0


def test_the_doorkeeper_ends(context: Context) -> None:
    keeper = context.doorkeeper({"engines": []})
    keeper.close()
    keeper.close()


REFUSED_PEER = """
import sys
from parpool.net.sockets import REFUSED, Context, Poller, keypair
address, host_key = sys.argv[1:]
context = Context()
dealer = context.dealer(address, "peer", host_key=host_key.encode(), keys=keypair())
monitor, poller = dealer.connect(), Poller()
poller.add(monitor)
while REFUSED not in monitor.changes():
    poller.poll(None)
for _ in range(100):
    dealer.send(b"header", [b"frame"])
    poller.poll(0.005)
context.close()
"""


def test_who_is_refused_does_not_wait_for_ever(guarded: Guarded) -> None:
    """There is no connection any more, and there will be none: what is sent is lost, and nobody hangs in it."""
    command = [sys.executable, "-c", REFUSED_PEER, guarded.sockets["engines"].address, guarded.public.decode()]
    peer = subprocess.Popen(command)
    try:
        assert peer.wait(5) == 0
    finally:
        peer.kill()
        peer.wait()
