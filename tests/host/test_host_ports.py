"""The sockets of a controller: where they are, who gets in, and what is left of one that was killed."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from typing import Any

import pytest

from parpool.host.ports import CLIENTS, HEART, PORTS, Ports
from parpool.host.wires import CONTROL, WORK
from parpool.net.address import new_keys
from parpool.net.sockets import Context, Dealer, have_ipc
from parpool.shm.session import Session
from parpool.wire.messages import Look, Who, encode

KEYS = {}
for name in ("", "engines_", "clients_", "strangers_"):
    public, secret = new_keys()
    KEYS.update({f"{name}public": public.encode(), f"{name}secret": secret.encode()})


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session()
    yield made
    made.close()


def opened(session: Session, ip: str = "", numbers: dict[str, int] | None = None) -> Ports:
    ports = Ports(session, ip, numbers or {}, KEYS)
    try:
        ports.open()
    except BaseException:
        ports.close()
        raise
    return ports


def hears(ports: Ports, seconds: float = 5) -> tuple[str, bytes, list[bytes]]:
    """What comes next, at which of the sockets."""
    deadline = time.monotonic() + seconds
    sockets: dict[str, Any] = {
        WORK: ports.work,
        CONTROL: ports.control,
        CLIENTS: ports.clients.receive,
        HEART: ports.heart.receive,
    }
    while time.monotonic() < deadline:
        for source in ports.poll(0.05):
            assert isinstance(source, str)
            message = sockets[source]()
            if message is not None:
                return source, *message
    raise AssertionError("nothing came")


NAMES = {"client": CLIENTS, "work": WORK, "control": CONTROL, "heart": HEART}


@pytest.mark.skipif(not have_ipc(), reason="local sockets")
def test_on_one_machine(session: Session, context: Context) -> None:
    ports = opened(session)
    assert ports.addresses.keys() == set(PORTS)
    dealers = []
    for name in PORTS:
        path = ports.addresses[name].removeprefix("ipc://")
        assert os.path.dirname(path) == session.folder and stat.S_ISSOCK(os.stat(path).st_mode)
        dealers.append(dealer := context.dealer(ports.addresses[name], "peer"))
        dealer.send(name.encode(), [b"frame"])
        assert hears(ports) == (NAMES[name], b"peer", [name.encode(), b"frame"])
    assert ports.refused() == 0
    ports.close()
    ports.close()


@pytest.mark.skipif(not have_ipc(), reason="local sockets")
def test_in_the_place_of_one_that_was_killed(session: Session, context: Context) -> None:
    """Its sockets lie there still."""
    for name in (*PORTS, "lane"):
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(session.path(name))
        dead.close()
    ports = opened(session)
    dealer = context.dealer(ports.addresses["work"], "engine")
    dealer.send(b"hello")
    assert hears(ports) == (WORK, b"engine", [b"hello"])
    ports.close()


@pytest.mark.skipif(not have_ipc(), reason="local sockets")
def test_who_is_asked(session: Session, context: Context) -> None:
    """Where either connection is missing, it is asked again."""
    ports = opened(session)
    assert not ports.ask_who(b"engine")
    work = context.dealer(ports.addresses["work"], "engine")
    work.send(b"hello")
    hears(ports)
    assert not ports.ask_who(b"engine")
    assert work.receive() == [encode(Who())]
    control = context.dealer(ports.addresses["control"], "engine")
    control.send(b"hello")
    hears(ports)
    assert ports.ask_who(b"engine")
    assert work.receive() == [encode(Who())] and control.receive() == [encode(Look())]
    ports.close()


def dealer(context: Context, ports: Ports, port: str, who: str) -> Dealer:
    keys = (KEYS[f"{who}_public"], KEYS[f"{who}_secret"])
    made = context.dealer(ports.addresses[port], who, host_key=KEYS["public"], keys=keys)
    made.connect_plainly()
    made.send(port.encode())
    return made


def test_by_tcp_everybody_has_a_key_for_what_is_theirs(session: Session, context: Context) -> None:
    ports = opened(session, "127.0.0.1")
    dealers = []
    for port, allowed in [
        ("client", {"clients"}),
        ("work", {"engines"}),
        ("control", {"engines"}),
        ("heart", {"engines", "clients"}),
    ]:
        assert ports.addresses[port].startswith("tcp://127.0.0.1:")
        for who in ("strangers", "engines", "clients"):
            refused = ports.refused()
            dealers.append(dealer(context, ports, port, who))
            if who in allowed:
                assert hears(ports) == (NAMES[port], who.encode(), [port.encode()])
                continue
            deadline = time.monotonic() + 5
            while ports.refused() == refused:
                assert time.monotonic() < deadline, f"{who} knock at {port}, and nobody says no"
                assert ports.poll(0.01) == []
    ports.close()


def test_ports_that_are_given(session: Session) -> None:
    first = opened(session, "127.0.0.1")
    numbers = {name: int(address.rpartition(":")[2]) for name, address in first.addresses.items()}
    assert len(set(numbers.values())) == 4
    first.close()
    second = opened(session, "127.0.0.1", numbers)
    assert second.addresses == first.addresses
    second.close()


def test_a_port_that_is_taken(session: Session) -> None:
    """It says which, and leaves nothing behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(OSError, match=str(number)):
            opened(session, "127.0.0.1", {"control": number})
    opened(session, "127.0.0.1", {"control": number}).close()


def test_closed_before_it_was_opened(session: Session) -> None:
    Ports(session, "127.0.0.1", {}, KEYS).close()
