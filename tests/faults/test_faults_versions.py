"""Engines and clients of another version: refused at once, and told why, on both sides."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from fault_rig import PATIENCE, MakeRig, Rig, end_of, until
from fault_tasks import add

from parpool import ProtocolError, __version__
from parpool.wire.messages import PROTOCOL, Refused, to_engine
from parpool.wire.requests import Refused as ClientRefused
from parpool.wire.requests import to_client

OTHER = PROTOCOL + 98
#: makes of a process one of another version, before anything else is imported of it
BE_ANOTHER = f"""
import sys, parpool
parpool.__version__ = "9.8.7"
import parpool.wire.messages as messages
messages.PROTOCOL = {OTHER}
"""
CLIENT = f"{BE_ANOTHER}\nparpool.Client(sys.argv[1])"
ENGINE = f"{BE_ANOTHER}\nfrom parpool.cli import main\nmain(['engine', '--file', sys.argv[1]])"


def end_of_process(rig: Rig, script: str, file: Path) -> tuple[int, str]:
    """How a process of another version ends, and its last words."""
    process = rig.spawn([sys.executable, "-c", script, str(file)], stderr=-1)
    assert process.stderr is not None
    said = process.stderr.read().decode().strip()
    return process.wait(PATIENCE), said.splitlines()[-1] if said else ""


@pytest.mark.parametrize("role", ["client", "engine"])
def test_another_version_that_reads_the_connection_file(make_rig: MakeRig, role: str) -> None:
    rig = make_rig(0)
    code, said = end_of_process(rig, CLIENT if role == "client" else ENGINE, rig.folder / f"{role}.json")
    assert code == 1 and f"{role}.json" in said and "install the same version on both sides" in said
    assert f"parpool {__version__} (protocol {PROTOCOL})" in said and f"parpool 9.8.7 (protocol {OTHER})" in said


@pytest.mark.parametrize("role", ["client", "engine"])
def test_another_version_that_comes_to_the_controller(make_rig: MakeRig, tcp: bool, role: str) -> None:
    """As a file that was not read again tells nothing of it."""
    rig = make_rig(1, tcp=tcp)
    file = rig.write(rig.folder.parent / "other.json", {**rig.fields(role), "protocol": OTHER, "version": "9.8.7"})
    code, said = end_of_process(rig, CLIENT if role == "client" else ENGINE, file)
    theirs, ours = f"protocol {OTHER} (parpool 9.8.7)", f"speaks {PROTOCOL} (parpool {__version__})"
    assert code == 1 and theirs in said and ours in said, said
    (told,) = (line for line in rig.log("controller").splitlines() if " ERROR refused " in line)
    assert theirs in told and ours in told
    assert len(rig.status()["engines"]) == 1 and len(rig.status()["clients"]) == 1
    assert end_of(rig.client.load_balanced_view().apply_async(add, 1, 2)) == 3


def test_a_file_of_another_version(make_rig: MakeRig) -> None:
    rig = make_rig(0)
    file = rig.write(rig.folder.parent / "other.json", {"protocol": OTHER, "version": "9.8.7", "new": [1]})
    with pytest.raises(ProtocolError, match=r"other.json is of parpool 9.8.7 \(protocol 99\).* install the same"):
        rig.connect(file)


@pytest.mark.parametrize("more", [[], [None], [b"\xff" * 9, {"a": [1]}], [1] * 40])
@pytest.mark.parametrize("role, port, tag", [("engine", "work", 10), ("client", "client", 30)])
def test_a_hello_of_another_shape(make_rig: MakeRig, more: list[Any], role: str, port: str, tag: int) -> None:
    """Of other versions only the first two fields are known."""
    rig = make_rig(0)
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.identity = b"another"
        dealer.connect(rig.fields(role)["addresses"][port])
        dealer.send(msgspec.msgpack.encode([tag, OTHER, "9.8.7", *more]))
        assert dealer.poll(PATIENCE * 1000)
        answer = (to_engine if role == "engine" else to_client)(dealer.recv())
        assert isinstance(answer, (Refused, ClientRefused)) and "9.8.7" in answer.reason
    until(lambda: rig.status()["engines"] == [])
    assert rig.status()["malformed"] == {"clients": 0, "engines": 0, "keys": 0}
