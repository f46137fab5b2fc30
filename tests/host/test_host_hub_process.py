"""The port of a hub in a process of its own: who gets in, and what becomes of bytes that say nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parpool.host import hub_process
from parpool.host.hub_process import Hub
from parpool.net import address
from parpool.net.address import Connection, new_keys
from parpool.net.sockets import REFUSED, Context, Dealer, Poller
from parpool.options import HubSettings
from parpool.wire.messages import encode
from parpool.wire.notes import Notes, Question, Staffed, Told, Written, from_hub

PATIENCE = 20.0
MANY = 20_000
ASK = encode(Question(1, "history", {}))


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (met := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return met


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder = tmp_path_factory.mktemp("hub")
    line = [sys.executable, "-m", "parpool", "hub", "--ip", "127.0.0.1"]
    process = subprocess.Popen(line, env=os.environ | {"PARPOOL_DIR": str(folder)}, stderr=subprocess.DEVNULL)
    path = folder / "profile_default" / "clusters" / "default" / "hub.json"
    until(path.exists)
    yield address.read(path, "hub")
    assert process.poll() is None
    process.terminate()
    assert process.wait(PATIENCE) == 0
    logs = "".join(each.read_text() for each in Path(path.parent, "log").iterdir())
    assert "dropped a malformed message" in logs and "Traceback" not in logs


def let_in(context: Context, hub: Connection, name: str) -> Dealer:
    keys = hub.public_key.encode(), hub.secret_key.encode()
    return context.dealer(hub.addresses["hub"], name, host_key=hub.server_key.encode(), keys=keys)


def answer(dealer: Dealer) -> Any:
    """What the hub says next."""
    poller = Poller()
    poller.add(dealer)
    assert poller.poll(PATIENCE), "it does not answer"
    frames = dealer.receive(wait=False)
    assert frames is not None
    return from_hub(frames[0])


@pytest.mark.parametrize("known", [True, False], ids=["the hub's key", "a key of another"])
def test_nobody_with_other_keys_gets_in(context: Context, hub: Connection, known: bool) -> None:
    theirs, (public, secret) = hub.server_key if known else new_keys()[0], new_keys()
    stranger = context.dealer(
        hub.addresses["hub"], "stranger", host_key=theirs.encode(), keys=(public.encode(), secret.encode())
    )
    monitor = stranger.connect()
    stranger.send(ASK)
    if known:
        until(lambda: REFUSED in monitor.changes())
    friend = let_in(context, hub, "friend")
    friend.connect()
    friend.send(ASK)
    assert answer(friend) == Told(1, [], None)
    assert stranger.receive(wait=False) is None


def test_nobody_without_keys_gets_in(context: Context, hub: Connection) -> None:
    stranger = context.dealer(hub.addresses["hub"], "plain")
    stranger.send(ASK)
    friend = let_in(context, hub, "friend")
    friend.connect()
    friend.send(ASK)
    assert answer(friend) == Told(1, [], None)
    assert stranger.receive(wait=False) is None


def test_malformed_messages_are_counted(context: Context, hub: Connection) -> None:
    dealer = let_in(context, hub, "controller-x")
    dealer.connect()
    draw = random.Random(7)
    for _ in range(MANY):
        dealer.send(b"\xc1" + draw.randbytes(draw.randrange(60)))
    dealer.send(encode(Notes("x", 1, [Staffed(1, "engine-1", {}, True, 1.0)])))
    said = answer(dealer)
    assert isinstance(said, Written) and said.number == 1
    assert said.status["malformed"] == MANY and said.status["pid"] == hub.pid
    dealer.send(ASK)
    assert answer(dealer) == Told(1, [], None)


def test_an_answer_that_is_handed_over_while_others_are_sent(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of the store is at it, and the loop goes round meanwhile."""
    begun, go = threading.Event(), threading.Event()

    def slowly(message: Any) -> bytes:
        if threading.current_thread() is not loop:
            begun.set()
            assert go.wait(PATIENCE)
        return encode(message)

    hub = Hub(HubSettings(tmp_path))
    loop = threading.Thread(target=hub.run)
    loop.start()
    try:
        dealer = let_in(context, address.read(tmp_path / "hub.json", "hub"), "controller-x")
        dealer.connect()
        monkeypatch.setattr(hub_process, "encode", slowly)
        dealer.send(ASK)
        assert begun.wait(PATIENCE)
        dealer.send(encode(Question(2, "heard", {})))
        assert answer(dealer) == Told(2, None, None)
        go.set()
        assert answer(dealer) == Told(1, [], None)
    finally:
        go.set()
        hub.end("the test is over")
        loop.join()
        hub.close()
