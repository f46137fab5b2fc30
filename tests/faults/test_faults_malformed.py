"""100,000 frames that nobody would send, to each of the ports of one live controller: none crashes it, all are counted."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from fault_frames import damaged, fill, some_of_schema
from fault_rig import PATIENCE, Rig, end_of, until
from fault_tasks import add

from parpool.status import ERROR, OK, OVERTIME, UNMET
from parpool.wire import messages, requests
from parpool.wire.messages import PROTOCOL, MalformedFrame

COUNT = 100_000  #: frames for each of the four ports
FROM_SCHEMA = 1_000  #: of those, made from the schema of that port; as many from that of others
RANDOM = 30_000  #: and that are just bytes; the rest are damaged messages
SENDERS = 5
GROWTH = 64  #: MB that the controller may have grown by all that


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One controller for all of it, which must live to the end. What joins as an engine is soon missed."""
    rig = Rig(tmp_path_factory.mktemp("malformed") / "clusters", limit=3.0)
    try:
        rig.start_controller()
        rig.start_engines(1)
        yield rig
    finally:
        rig.end()


def well(rig: Rig) -> None:
    """Does the controller serve?"""
    (engine,) = (each["id"] for each in rig.status()["engines"] if each["pid"] == rig.engines[0].pid)
    assert end_of(rig.client[engine].apply_async(add, 1, 2)) == 3
    other = rig.connect()
    assert end_of(other.get_result(rig.client.history[-1])) == 3
    other.close()
    assert "Traceback" not in rig.log("controller") and "Traceback" not in rig.said.read_text()


def counted(rig: Rig) -> int:
    """All that was dropped so far."""
    return sum(rig.status()["malformed"].values())


def megabytes(rig: Rig) -> int:
    """The memory of the controller."""
    assert rig.controller is not None
    status = Path(f"/proc/{rig.controller.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def frames_for(union: Any, others: list[Any], seed: int) -> list[bytes]:
    """Those that one port gets."""
    rng = random.Random(seed)
    right = some_of_schema(union, FROM_SCHEMA)
    wrong = [frame for each in others for frame in some_of_schema(each, FROM_SCHEMA // len(others))]
    found = right + wrong
    found += [rng.randbytes(rng.choice((0, 1, 2, 10, 100, 2000))) for _ in range(RANDOM)]
    while len(found) < COUNT:
        found.append(damaged(rng.choice(right), rng, rng.choice(wrong)))
    rng.shuffle(found)
    return found


def send(address: str, names: list[bytes], frames: list[bytes], last: bytes = b"") -> None:
    """Send the frames by several sockets, and at last one that is answered, by each."""
    with zmq.Context() as context:
        for number, name in enumerate(names):
            with context.socket(zmq.DEALER) as dealer:
                dealer.linger, dealer.sndhwm, dealer.rcvhwm = 10_000, 0, 0
                if name:
                    dealer.identity = name
                dealer.connect(address)
                for at, frame in enumerate(frames[number :: len(names)]):
                    dealer.send_multipart([frame, b"", b"x" * 50] if at % 7 == 0 else [frame])
                if last:
                    dealer.send(last)
                while last:
                    assert dealer.poll(PATIENCE * 1000), "the controller does not answer"
                    if is_last(dealer.recv_multipart()[0]):
                        break


def is_last(answer: bytes) -> bool:
    """Is this how the last of all is refused?"""
    return b"9.8.7" in answer


def fails(decode: Callable[[bytes], Any], frame: bytes) -> bool:
    try:
        decode(frame)
    except MalformedFrame:
        return True
    return False


def test_the_port_of_clients(rig: Rig) -> None:
    frames = frames_for(requests.FromClient, [requests.ToClient, messages.FromEngine], 1)
    before, size = counted(rig), megabytes(rig)
    names = [b"one", b"", b"\xff\xfe\xfd", "ü/ß".encode(), b"x" * 255]
    last = fill(requests.ClientHello, protocol=PROTOCOL + 1, version="9.8.7")
    send(rig.fields("client")["addresses"]["client"], names, frames, last)
    # Nobody of these says its own name.
    wrong = [f for f in frames if fails(requests.from_client, f) or is_hello(requests.from_client(f))]
    assert counted(rig) - before == len(wrong) > COUNT // 2
    assert len(rig.status()["clients"]) == 1 and megabytes(rig) - size < GROWTH
    well(rig)


def is_hello(message: Any) -> bool:
    return isinstance(message, requests.ClientHello) and message.protocol == PROTOCOL


@pytest.mark.parametrize(
    "names", [[b"one", b"two", b"three-3"], [b"", b"\xff\xfe", b"../../lock", b"lock", b"x" * 255]]
)
def test_the_port_of_engines(rig: Rig, names: list[bytes]) -> None:
    """The first names are those that an engine may have, the others none."""
    frames = frames_for(messages.FromEngine, [messages.ToEngine, requests.FromClient], 2)[: COUNT // 2]
    before, size = counted(rig), megabytes(rig)
    send(rig.fields("engine")["addresses"]["work"], names, frames)
    good = names[0] == b"one"
    wrong = [frame for frame in frames if not good or fails(messages.from_engine, frame)]
    until(lambda: counted(rig) - before >= len(wrong))
    assert len(wrong) > COUNT // 4 and megabytes(rig) - size < GROWTH
    # Outcomes that cannot be are counted, too, where there is an engine by then that says them.
    assert counted(rig) - before <= len(wrong) + (sum(map(odd_outcomes, frames)) if good else 0)
    until(lambda: len(rig.ids()) == 1)
    well(rig)


def odd_outcomes(frame: bytes) -> int:
    """How many outcomes are in a message that no task can have at an engine?"""
    try:
        message = messages.from_engine(frame)
    except MalformedFrame:
        return 0
    outcomes = message.outcomes if isinstance(message, messages.Done) else []
    return sum(each.status not in (OK, ERROR, UNMET, OVERTIME) for each in outcomes)


def test_the_port_of_orders(rig: Rig) -> None:
    frames = frames_for(messages.FromControl, [messages.ToControl, messages.FromEngine], 3)
    before, size = counted(rig), megabytes(rig)
    send(rig.fields("engine")["addresses"]["control"], [b"one", b"", b"\xff\xfe\xfd", b"x" * 255], frames)
    wrong = [frame for frame in frames if fails(messages.from_control, frame)]
    until(lambda: counted(rig) - before >= len(wrong))
    assert counted(rig) - before == len(wrong) > COUNT // 2 and megabytes(rig) - size < GROWTH
    well(rig)


def test_the_port_of_heartbeats(rig: Rig) -> None:
    """There nothing is ever said but nothing."""
    frames = frames_for(messages.FromEngine, [requests.FromClient], 4)
    before, size = counted(rig), megabytes(rig)
    send(rig.fields("engine")["addresses"]["heart"], [b"one", b"", b"\xff\xfe\xfd", b"x" * 255], frames)
    wrong = [frame for number, frame in enumerate(frames) if frame]
    until(lambda: counted(rig) - before >= len(wrong))
    assert megabytes(rig) - size < GROWTH
    well(rig)


@pytest.mark.leaves_processes("engines, which end with the module's controller")
@pytest.mark.leaves_files("where such keep their shared memory")
def test_the_lanes(rig: Rig) -> None:
    """Whoever is in the private folder may call; what he says is a name."""
    rng = random.Random(5)
    path = rig.fields("engine")["addresses"]["lane"]
    for number in range(600):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
            end.connect(path)
            if number % 3:
                end.send(rng.randbytes(rng.choice((1, 20, 5000))))
                end.send(b"more")
        if number % 200 == 199:
            (id,) = rig.start_engines(1)  # then the controller looks there
            assert end_of(rig.client[id].apply_async(add, 1, 2)) == 3
    well(rig)


def test_messages_without_a_content(rig: Rig) -> None:
    addresses = {**rig.fields("client")["addresses"], **rig.fields("engine")["addresses"]}
    before = counted(rig)
    with zmq.Context() as context:
        for port in ("client", "work", "control", "heart"):
            with context.socket(zmq.DEALER) as dealer:
                dealer.linger = 10_000
                dealer.identity = b"empty"
                dealer.connect(addresses[port])
                for _ in range(100):
                    dealer.send(b"")
                    dealer.send_multipart([b""] * 300)
    until(lambda: counted(rig) - before >= 600)
    well(rig)
