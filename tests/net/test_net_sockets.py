"""Sockets: what is sent arrives, once and in order; without the key nothing arrives."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import time

import pytest
import zmq
from sides import Keeping, await_message

from parpool.net.sockets import LARGE, Context, Poller, have_ipc, keypair

pytestmark = pytest.mark.skipif(not have_ipc(), reason="local sockets")


def test_there_and_back(context: Context, other: Context, address: str) -> None:
    router = context.router(address)
    dealer = other.dealer(address, "engine-1")
    assert router.address == address
    dealer.send(b"hello")
    assert await_message(router) == (b"engine-1", [b"hello"])
    assert router.receive() is None
    assert router.send(b"engine-1", b"header") is True
    assert await_message(dealer) == [b"header"]
    assert dealer.receive(wait=False) is None
    assert router.send(b"engine-1", b"again")
    assert dealer.receive() == [b"again"]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3_000_000])
def test_frames(context: Context, other: Context, address: str, size: int) -> None:
    router = context.router(address)
    dealer = other.dealer(address, "e")
    frames = [os.urandom(size), b"", os.urandom(size + 3)]
    dealer.send(b"header", frames)
    assert await_message(router) == (b"e", [b"header", *frames])
    router.send(b"e", b"back", frames)
    assert await_message(dealer) == [b"back", *frames]
    router.send(b"e", b"one", frames[:1])
    assert await_message(dealer) == [b"one", frames[0]]


def test_large_frames_stay_where_they_were_received(context: Context, other: Context, address: str) -> None:
    router = context.router(address)
    dealer = other.dealer(address, "a")
    content = bytes(range(256)) * (LARGE // 256)
    for _ in range(2):  # the second time what has come goes back
        dealer.send(b"header", [content, b"small", content[1:]])
        peer, (header, large, small, almost) = await_message(router)
        assert type(header) is type(small) is type(almost) is bytes and type(large) is memoryview
        assert large == content and almost == content[1:]
        assert router.send(peer, header, [large, large[1:]])
        back = await_message(dealer)
        assert back[1] == content and back[2] == content[1:]
    large[0] = 77  # it can be written to, and is not what was sent
    assert back[1][0] == 0
    kept = back[1][5:10]
    del back, large
    gc.collect()
    assert bytes(kept) == bytes(range(5, 10))


def test_a_dealer_may_connect_first(context: Context, other: Context, address: str) -> None:
    dealer = other.dealer(address, "early")
    dealer.send(b"hello")
    router = context.router(address)
    assert await_message(router, 10) == (b"early", [b"hello"])


def test_order_and_no_bound(context: Context, other: Context, address: str) -> None:
    """Far more than zmq's own bound of 1000 is taken at once, and nothing is lost."""
    router = context.router(address)
    dealer = other.dealer(address, "e")
    dealer.send(b"hello")
    await_message(router)
    for number in range(20_000):
        assert router.send(b"e", b"%d" % number)
    for number in range(20_000):
        assert dealer.receive() == [b"%d" % number]
    for number in range(20_000):
        dealer.send(b"%d" % number)
    received = 0
    while received < 20_000:
        _, frames = await_message(router)  # type: ignore[misc]
        assert frames == [b"%d" % received]
        received += 1


def test_a_peer_that_is_not_there(context: Context, other: Context, address: str) -> None:
    router = context.router(address)
    assert router.send(b"nobody", b"x") is False
    assert router.send(b"nobody", b"x", [b"y", b"z"]) is False
    dealer = other.dealer(address, "e")
    dealer.send(b"hello")
    await_message(router)
    assert router.send(b"nobody", b"x", [b"y" * 100_000]) is False
    assert router.send(b"e", b"then", [b"whole"])
    assert await_message(dealer) == [b"then", b"whole"]


def test_a_peer_that_has_gone(context: Context, other: Context, address: str) -> None:
    router = context.router(address)
    dealer = other.dealer(address, "e")
    dealer.send(b"hello")
    await_message(router)
    other.close()
    deadline = time.monotonic() + 5
    while router.send(b"e", b"x", [b"y"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert router.send(b"e", b"x") is False


def test_a_name_in_use_stays_with_who_has_it(context: Context, other: Context, address: str) -> None:
    router = context.router(address)
    dealer = other.dealer(address, "e")
    dealer.send(b"hello")
    await_message(router)
    impostor = other.dealer(address, "e")
    impostor.send(b"me too")
    poller = Poller()
    poller.add(router)
    assert not poller.poll(0.3)
    router.send(b"e", b"for you")
    assert await_message(dealer) == [b"for you"]


def test_names_that_are_no_text(context: Context, address: str) -> None:
    router = context.router(address)
    with zmq.Context() as plain, plain.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.identity = b"\xff\xfe"
        dealer.connect(address)
        dealer.send(b"x")
        name, frames = await_message(router)  # type: ignore[misc]
        assert name == b"\xff\xfe" and frames == [b"x"]
        assert router.send(name, b"y") is True


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.PUSH, zmq.PUB, zmq.ROUTER])
def test_sockets_of_other_kinds(context: Context, other: Context, address: str, kind: int) -> None:
    """What they send is dropped or is a message like any other; nothing breaks."""
    router = context.router(address)
    with zmq.Context() as plain, plain.socket(kind) as strange:
        strange.linger = 0
        strange.identity = b"strange"
        strange.connect(address)
        try:
            strange.send(b"x", zmq.NOBLOCK)
        except zmq.ZMQError:
            pass
        dealer = other.dealer(address, "e")
        dealer.send(b"hello")
        seen = await_message(router)
        while seen is not None and seen[0] != b"e":  # type: ignore[index]
            seen = await_message(router)
        assert seen == (b"e", [b"hello"])


def test_bytes_that_are_no_zmq(context: Context, other: Context, address: str) -> None:
    import socket

    router = context.router(address)
    for junk in (b"GET / HTTP/1.0\r\n\r\n", os.urandom(5000), b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL", b""):
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(address[len("ipc://") :])
            try:
                plain.sendall(junk)
            except OSError:
                pass
    dealer = other.dealer(address, "e")
    dealer.send(b"hello")
    seen = await_message(router)
    while seen[0] != b"e":  # type: ignore[index]  # by chance it may have been a message of zmq's oldest protocol
        seen = await_message(router)
    assert seen == (b"e", [b"hello"])


# tcp -----------------------------------------------------------------------------------------------------


def test_addresses_that_cannot_be_had(context: Context) -> None:
    public, secret = keypair()
    router = context.router("tcp://127.0.0.1:*", secret=secret, public=public)
    for taken, words in [(router.address, "choose another port"), ("tcp://192.0.2.1:*", "it is none of this machine")]:
        with pytest.raises(OSError, match=f"no socket at {re.escape(taken)}: .*{words}"):
            context.router(taken, secret=secret, public=public)


def test_tcp_with_the_key(context: Context, other: Context) -> None:
    public, secret = keypair()
    router = context.router("tcp://127.0.0.1:*", secret=secret, public=public)
    assert not router.address.endswith("*")
    dealer = other.dealer(router.address, "e", host_key=public)
    dealer.send(b"hello", [b"x" * 100_000])
    assert await_message(router) == (b"e", [b"hello", b"x" * 100_000])
    router.send(b"e", b"back")
    assert await_message(dealer) == [b"back"]


def test_tcp_without_the_key(context: Context, other: Context) -> None:
    """Plain, with the key of another host, or with the key and no encryption of its own: no frame gets through."""
    public, secret = keypair()
    router = context.router("tcp://127.0.0.1:*", secret=secret, public=public)
    wrong = other.dealer(router.address, "wrong", host_key=keypair()[0])
    plain = other.dealer(router.address, "plain")
    for stranger in (wrong, plain):
        stranger.send(b"let me in")
    with zmq.Context() as third, third.socket(zmq.DEALER) as by_password:
        by_password.linger = 0
        by_password.plain_username, by_password.plain_password = b"user", b"password"
        by_password.connect(router.address)
        by_password.send(b"let me in")
        dealer = other.dealer(router.address, "right", host_key=public)
        dealer.send(b"hello")
        assert await_message(router) == (b"right", [b"hello"])
        poller = Poller()
        poller.add(router)
        assert not poller.poll(0.3)
        assert router.send(b"wrong", b"secret") is False and router.send(b"plain", b"secret") is False
        assert wrong.receive(wait=False) is None and plain.receive(wait=False) is None


def test_a_dealer_with_a_key_refuses_a_plain_host(context: Context, other: Context) -> None:
    router = context.router("tcp://127.0.0.1:*")
    dealer = other.dealer(router.address, "e", host_key=keypair()[0])
    dealer.send(b"secret")
    poller = Poller()
    poller.add(router)
    assert not poller.poll(0.3)


# Context --------------------------------------------------------------------------------------------------


def test_close_does_not_wait_for_what_nobody_takes(address: str) -> None:
    context = Context()
    dealer = context.dealer(address, "e")  # nobody is there
    dealer.send(b"x" * 1_000_000)
    context.close()  # or it would wait for ever


def test_close_may_wait_for_what_is_to_be_sent(context: Context, address: str) -> None:
    router = context.router(address)
    leaving = Keeping()
    dealer = leaving.dealer(address, "e")
    for number in range(50):
        dealer.send(b"%d" % number, [bytes(100_000)])
    leaving.close(linger=5)
    for number in range(50):
        assert await_message(router) == (b"e", [b"%d" % number, bytes(100_000)])


def test_close_twice() -> None:
    context = Context()
    context.close()
    context.close()


def test_after_a_fork_the_child_closes_nothing(tmp_path: object) -> None:
    script = """
import os, sys, tempfile
from parpool.net.sockets import Context
folder = tempfile.mkdtemp(dir="/tmp")
address = f"ipc://{folder}/s"
host, guest = Context(), Context()
router, dealer = host.router(address), guest.dealer(address, "e")
dealer.send(b"one")
pid = os.fork()
if pid == 0:
    host.close()
    guest.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
dealer.send(b"two")
router.socket.poll(5000)
import time
time.sleep(0.2)
assert router.receive() == (b"e", [b"one"]) and router.receive() == (b"e", [b"two"])
host.close(); guest.close()
os.rmdir(folder) if not os.listdir(folder) else None
import shutil; shutil.rmtree(folder, ignore_errors=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_poller(context: Context, other: Context, address: str) -> None:
    router = context.router(address)
    read, write = os.pipe()
    poller = Poller()
    poller.add(router)
    poller.add(read)
    assert poller.poll(0) == []
    os.write(write, b"x")
    assert [source for source, _ in poller.poll(1)] == [read]
    other.dealer(address, "e").send(b"hello")
    deadline = time.monotonic() + 5
    while len(found := dict(poller.poll(1))) < 2 and time.monotonic() < deadline:
        pass
    assert set(found) == {read, router.socket}
    os.read(read, 1)
    assert [source for source, _ in poller.poll(1)] == [router.socket]
    assert await_message(router) == (b"e", [b"hello"])
    started = time.monotonic()
    assert poller.poll(0.05) == []
    assert time.monotonic() - started > 0.04
    os.close(read)
    os.close(write)
