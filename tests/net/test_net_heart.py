"""Heartbeats: who lives answers, whatever it does; who does not is found out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from sides import Keeping

from parpool.net.heart import Heart, Pulse
from parpool.net.sockets import Context, Poller, Router, have_ipc, keypair

# The side that asks ------------------------------------------------------------------------------------------


def test_who_answers_is_never_lost() -> None:
    pulse = Pulse(3)
    pulse.watch(b"a")
    for _ in range(20):
        assert pulse.beat() == ([b"a"], [])
        assert pulse.answered(b"a")


def test_who_does_not_answer_is_lost_once() -> None:
    pulse = Pulse(3)
    pulse.watch(b"a")
    pulse.watch(b"b")
    for _ in range(3):
        assert pulse.beat() == ([b"a", b"b"], [])
        pulse.answered(b"b")
    assert pulse.beat() == ([b"b"], [b"a"])
    assert not pulse.answered(b"a")  # too late: nobody watches it
    pulse.answered(b"b")
    assert pulse.beat() == ([b"b"], [])


def test_one_answer_is_enough() -> None:
    pulse = Pulse(3)
    pulse.watch(b"a")
    for _ in range(10):
        pulse.beat()
        pulse.beat()
        assert pulse.beat() == ([b"a"], [])
        assert pulse.answered(b"a")


def test_to_watch_again_is_a_new_beginning() -> None:
    pulse = Pulse(2)
    pulse.watch(b"a")
    pulse.beat()
    pulse.beat()
    pulse.watch(b"a")
    assert pulse.beat() == ([b"a"], [])


def test_who_is_forgotten_is_not_asked() -> None:
    pulse = Pulse(2)
    pulse.watch(b"a")
    pulse.forget(b"a")
    pulse.forget(b"b")
    assert pulse.beat() == ([], []) and not pulse.answered(b"a")


# The side that answers -----------------------------------------------------------------------------------------

local = pytest.mark.skipif(not have_ipc(), reason="local sockets")


def echoed(router: Router, name: bytes, data: bytes = b"", seconds: float = 5) -> bool:
    """Does an answer come to what it is sent now?"""
    deadline = time.monotonic() + seconds
    while not router.send(name, data):  # it is connecting
        assert time.monotonic() < deadline
        time.sleep(0.005)
    poller = Poller()
    poller.add(router)
    while poller.poll(max(0.0, deadline - time.monotonic())):
        message = router.receive()
        if message is not None and message == (name, [data]):
            return True
    return False


@local
def test_it_echoes(context: Context, address: str) -> None:
    router = context.router(address, domain="both")
    heart = Heart(address, "engine-a")
    for data in (b"", b"x", os.urandom(100)):
        assert echoed(router, b"engine-a", data)
    heart.close()
    assert not any(thread.name == "parpool-heart" for thread in threading.enumerate())


@local
def test_it_answers_whoever_comes_next(context: Context, address: str) -> None:
    """A controller that was killed is followed by another at the same address."""
    heart = Heart(address, "engine-a")
    for _ in range(2):
        other = Keeping()
        router = other.router(address)
        assert echoed(router, b"engine-a")
        other.close()
    heart.close()


@local
def test_it_ends_where_nobody_ever_was(address: str) -> None:
    Heart(address, "engine-a").close()


@local
def test_many_begin_and_end_at_once(context: Context, address: str) -> None:
    router = context.router(address)
    hearts = [Heart(address, f"engine-{n}") for n in range(20)]
    assert all(echoed(router, b"engine-%d" % n) for n in range(20))
    for heart in hearts:
        heart.close()


def test_by_tcp_with_keys(context: Context) -> None:
    public, secret = keypair()
    mine = keypair()
    router = context.router("tcp://127.0.0.1:*", secret=secret, public=public)
    heart = Heart(router.address, "engine-a", host_key=public, keys=mine)
    assert echoed(router, b"engine-a")
    heart.close()


BUSY = """
import ctypes, sys, time
from parpool.net.heart import Heart
heart = Heart(sys.argv[1], "engine-a")
print("ready", flush=True)
sys.stdin.readline()
ctypes.PyDLL(None).sleep(60)  # it does not let go of the interpreter's lock
"""


@local
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="signals")
def test_a_process_that_holds_the_lock_answers_and_one_that_is_stopped_does_not(context: Context, address: str) -> None:
    router = context.router(address)
    command = [sys.executable, "-c", BUSY, address]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert echoed(router, b"engine-a")
        process.stdin.write("\n")
        process.stdin.flush()
        for number in range(20):
            assert echoed(router, b"engine-a", b"%d" % number)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert not echoed(router, b"engine-a", b"stopped", 0.3)
        process.send_signal(signal.SIGCONT)
        assert echoed(router, b"engine-a", b"again")
    finally:
        process.kill()
        process.communicate()
