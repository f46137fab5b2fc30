"""By tcp nobody gets a frame through without the key that is for him."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.utils.monitor
from fault_frames import fill
from fault_rig import PARPOOL, PATIENCE, MakeRig, Rig, end_of, until
from fault_tasks import add

from parpool import AuthenticationError, Client, ConnectionFileError
from parpool.engine.warden import REFUSED_KEY
from parpool.net.address import new_keys
from parpool.wire.messages import PROTOCOL, GivenBack, Hello
from parpool.wire.requests import ClientHello

PORTS = ("client", "work", "control", "heart")
NONE = {"clients": 0, "engines": 0, "keys": 0}
#: what the controller would answer, or count
FRAMES = [
    fill(ClientHello, protocol=PROTOCOL, name="stranger"),
    fill(Hello, protocol=PROTOCOL),
    fill(GivenBack),
    b"junk",
    b"",
]
FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """A cluster by tcp with one engine."""
    return make_rig(1, tcp=True)


@pytest.fixture
def context() -> Iterator[Any]:
    with zmq.Context() as context:
        yield context


class Stranger:
    """A socket that says what it can, and what becomes of it."""

    def __init__(self, context: Any, address: str, **options: Any) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.identity = b"stranger"
        for name, value in options.items():
            setattr(self.socket, name, value.encode() if isinstance(value, str) else value)
        self._monitor = self.socket.get_monitor_socket(FAILED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.socket.connect(address)
        with suppress(zmq.Again):  # after a refusal there is nowhere to send
            for frame in FRAMES * 20:
                self.socket.send(frame, zmq.NOBLOCK)
                self.socket.send_multipart([frame, frame], zmq.NOBLOCK)

    def refused(self) -> bool:
        """Is it turned away? False where it is let in."""
        try:
            assert self._monitor.poll(PATIENCE * 1000), "nothing becomes of it"
            event = zmq.utils.monitor.recv_monitor_message(self._monitor)["event"]
            return event != zmq.EVENT_HANDSHAKE_SUCCEEDED and not self.socket.poll(0)
        finally:
            self.socket.disable_monitor()
            self._monitor.close()
            self.socket.close()


def keys_of(rig: Rig, role: str) -> dict[str, str]:
    """As options of a socket."""
    fields = rig.fields(role)
    return {f"curve_{end}key": fields[f"{name}_key"] for end, name in KEYS}


KEYS = (("public", "public"), ("secret", "secret"), ("server", "server"))


def test_keys_that_the_controller_does_not_know(rig: Rig, context: Any) -> None:
    before = rig.status()
    public, secret = new_keys()
    own = {**keys_of(rig, "client"), "curve_publickey": public, "curve_secretkey": secret}
    addresses = {**rig.fields("client")["addresses"], **rig.fields("engine")["addresses"]}
    for number, port in enumerate(PORTS, 1):
        assert Stranger(context, addresses[port], **own).refused()
        assert rig.status()["malformed"]["keys"] >= number
    untouched(rig, before)


@pytest.mark.parametrize("role, ports", [("engine", ["client"]), ("client", ["work", "control"])])
def test_keys_of_the_other_role(rig: Rig, context: Any, role: str, ports: list[str]) -> None:
    before = rig.status()
    addresses = {**rig.fields("client")["addresses"], **rig.fields("engine")["addresses"]}
    for number, port in enumerate(ports, 1):
        assert Stranger(context, addresses[port], **keys_of(rig, role)).refused()
        assert rig.status()["malformed"]["keys"] >= number
    untouched(rig, before)
    assert not Stranger(context, addresses["heart"], **keys_of(rig, role)).refused()  # that is for both


@pytest.mark.parametrize("how", ["null", "plain", "another server", "public alone", "wrong secret"])
def test_other_ways_than_a_key(rig: Rig, context: Any, how: str) -> None:
    before = rig.status()
    addresses = {**rig.fields("client")["addresses"], **rig.fields("engine")["addresses"]}
    for number, port in enumerate(PORTS, 1):
        keys = keys_of(rig, "client" if port in ("client", "heart") else "engine")
        options: dict[str, dict[str, Any]] = {
            "null": {},
            "plain": {"plain_username": "admin", "plain_password": "admin"},
            "another server": {**keys, "curve_serverkey": new_keys()[0]},
            "public alone": {**keys, "curve_secretkey": new_keys()[1]},
            "wrong secret": {**keys, "curve_secretkey": keys["curve_serverkey"]},
        }
        while True:  # one that sees for itself that it is wrong here may hang up before it has said so
            assert Stranger(context, addresses[port], **options[how]).refused()
            if rig.status()["malformed"]["keys"] >= number:
                break
    untouched(rig, before)


def test_bytes_that_are_not_of_zeromq(rig: Rig) -> None:
    before = rig.status()
    addresses = {**rig.fields("client")["addresses"], **rig.fields("engine")["addresses"]}
    ends = []
    for port in PORTS:
        host, _, number = addresses[port].removeprefix("tcp://").rpartition(":")
        for said in (
            b"",
            b"GET / HTTP/1.1\r\n\r\n",
            os.urandom(1000),
            b"\xff" + bytes(8) + b"\x7f\x03",
            b"\0" * 100_000,
        ):
            end = socket.create_connection((host, int(number)), timeout=PATIENCE)
            ends.append(end)
            try:
                end.sendall(said)
            except OSError:  # it has had enough
                pass
    untouched(rig, before)
    for end in ends:
        end.close()
    untouched(rig, before)


def untouched(rig: Rig, before: dict[str, Any], known: dict[str, int] | None = None) -> None:
    """The controller has heard nothing of them but what is ``known``, and serves."""
    assert end_of(rig.client.load_balanced_view().apply_async(add, 1, 2)) == 3
    after = rig.status()
    assert {**after["malformed"], "keys": 0, **(known or {})} == NONE
    assert [after[each] for each in ("clients", "tasks", "pid")] == [
        before[each] for each in ("clients", "tasks", "pid")
    ]
    assert [each["uid"] for each in after["engines"]] == [each["uid"] for each in before["engines"]]


# Files ----------------------------------------------------------------------------------------------


def test_the_file_of_engines_gives_no_client_rights(rig: Rig) -> None:
    engine, client = rig.fields("engine"), rig.fields("client")
    with pytest.raises(ConnectionFileError, match="one for engines, not for clients"):
        Client(rig.folder / "engine.json")
    assert not set(json.dumps(engine).split('"')) & {client["secret_key"], client["public_key"]}
    assert "client" not in engine["addresses"]
    made = {**engine, "role": "client", "addresses": client["addresses"]}  # as who guesses the port
    with pytest.raises(AuthenticationError, match="does not let in this key"):
        Client(made, timeout=PATIENCE)
    assert rig.status()["malformed"]["keys"] >= 1


def test_the_file_of_clients_makes_no_engine(rig: Rig, tmp_path: Path) -> None:
    engine, client = rig.fields("engine"), rig.fields("client")
    assert not set(json.dumps(client).split('"')) & {engine["secret_key"], engine["public_key"]}
    file = rig.write(tmp_path / "made.json", {**client, "role": "engine", "addresses": engine["addresses"]})
    process = rig.spawn([*PARPOOL, "engine", f"--file={file}"], stderr=subprocess.PIPE)
    assert process.stderr is not None and b"does not let in the key" in process.stderr.read()
    assert process.wait(PATIENCE) == REFUSED_KEY and len(rig.ids()) == 1


def test_files_of_a_cluster_that_was_made_anew(make_rig: MakeRig, tmp_path: Path) -> None:
    """The keys are new, and the old ones are of no use though the ports may be the same."""
    rig = make_rig(0, tcp=True)
    old = rig.fields("client")
    ports = [f"--port={name}={address.rpartition(':')[2]}" for name, address in old["addresses"].items()]
    assert rig.controller is not None
    rig.clients and rig.clients.pop().close()
    rig.controller.terminate()
    rig.controller.wait(PATIENCE)
    rig.start_controller(*ports)
    assert rig.fields("client")["addresses"] == old["addresses"]
    with pytest.raises(AuthenticationError):
        Client({**old, "pid": rig.controller.pid}, timeout=PATIENCE)
    assert rig.connect().ids == []


def test_what_belongs_to_nobody_else(make_rig: MakeRig, tcp: bool) -> None:
    rig = make_rig(1, tcp=tcp)
    assert rig.sockets.stat().st_mode & 0o777 == 0o700 and rig.folder.stat().st_mode & 0o777 == 0o700
    files = [each for each in rig.folder.rglob("*") if each.is_file()]
    assert {each.name for each in files} >= {"client.json", "engine.json", "controller.json", "journal.0"}
    assert {each.name: oct(each.stat().st_mode & 0o077) for each in files if each.suffix != ".log"} == {
        each.name: "0o0" for each in files if each.suffix != ".log"
    }


# Secrets --------------------------------------------------------------------------------------------


def test_secrets_are_in_the_files_alone(rig: Rig, tmp_path: Path) -> None:
    """Not on a command line, in the environment, or in a log, also of those who are turned away."""
    fields = [
        rig.fields("client"),
        rig.fields("engine"),
        json.loads((rig.folder / "controller.json").read_bytes())["keys"],
    ]
    secrets = {value for each in fields for name, value in each.items() if "secret" in name and value}
    assert len(secrets) == 3
    rig.start_engines(1, "--log-level=debug")
    rig.connect().close()
    with pytest.raises(AuthenticationError) as caught:
        Client({**rig.fields("engine"), "role": "client", "addresses": rig.fields("client")["addresses"]})
    rig.restart_controller()
    until(lambda: len(rig.ids()) == 2)
    processes = [rig.controller, *rig.engines]
    texts = [
        Path(f"/proc/{process.pid}/{name}").read_text()
        for process in processes
        for name in ("cmdline", "environ")
        if process
    ]
    texts += [rig.log("controller"), rig.log("engine"), rig.said.read_text(), str(caught.value), repr(rig.client)]
    texts += [json.dumps(rig.status()), repr(rig.client.link.connection)]
    assert len(texts) == 13 and all(texts)
    assert not [secret for secret in secrets for text in texts if secret in text]


def test_nothing_can_be_read_on_the_line(make_rig: MakeRig) -> None:
    rig = make_rig(0, tcp=True)
    wires = [rig.wire("client"), rig.wire("engine")]
    rig.start_engines(1, file=wires[1][1])
    client = rig.connect(wires[0][1])
    assert (
        end_of(client.load_balanced_view().apply_async(bytes.upper, b"whisper it " * 20_000)) == b"WHISPER IT " * 20_000
    )
    assert client.link.name
    for wire, _ in wires:
        assert len(wire.seen) > 400_000
        for word in (b"whisper", b"WHISPER", b"upper", client.link.name.encode(), b"pickle"):
            assert word not in wire.seen


# Pickles --------------------------------------------------------------------------------------------

GUARD = """
import pickle, _pickle, sys, os
def refuse(*args, **kwargs):
    open(os.environ["OPENED"], "a").write("opened\\n")
    raise RuntimeError("a pickle was opened")
for module in (pickle, _pickle):
    module.loads = module.load = module.Unpickler = refuse
pickle._loads = pickle._load = pickle._Unpickler = refuse
"""


@pytest.mark.parametrize("hub", ["memory", "sqlite", "apart"])
def test_controller_and_hub_open_no_pickle(make_rig: MakeRig, tmp_path: Path, hub: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    opened = tmp_path / "opened"
    db = hub if hub == "memory" else f"sqlite:///{tmp_path / 'tasks.db'}"
    rig = Rig(tmp_path / "guarded", db=db)
    plain = dict(rig.environment)
    rig.environment.update(PYTHONPATH=f"{plain['PYTHONPATH']}{os.pathsep}{tmp_path}", OPENED=str(opened))
    try:
        if hub == "apart":
            start_hub(rig, db)
            rig.controller_options[-1] = f"--hub={rig.folder / 'hub.json'}"
        rig.start_controller()
        restart = dict(rig.environment)
        rig.environment = plain  # the others may
        rig.start_engines(2)
        client, view = rig.client, rig.client.load_balanced_view()
        results = [view.apply_async(add, number, 1) for number in range(100)] + [view.apply_async(divmod, 1, 0)]
        results += [client[:].apply_async(print, "text")]
        assert view.map_sync(lambda x: x, range(100)) == list(range(100))
        names = [result.msg_ids[0] for result in results[:100]]
        for result in results:
            result.wait(PATIENCE)
        other = rig.connect()
        assert [end_of(other.get_result(name)) for name in names[:3]] == [1, 2, 3] and len(other.hub_history()) > 100
        assert end_of(other.resubmit(names[0])) == 1 and other.db_query({"status": "error"})
        rig.environment = restart
        rig.restart_controller()
        assert end_of(view.apply_async(add, 1, 2)) == 3
        os.kill(rig.engines[0].pid, 9)
        until(lambda: len(client.ids) == 1)
        client.purge_everything()
        assert not opened.exists() and "Traceback" not in rig.log("controller") + rig.log("hub")
        assert ("is ready" in rig.log("hub")) == (hub == "apart")
    finally:
        for process in rig._processes:
            if "hub" in list(process.args):
                process.terminate()
        rig.end()


def start_hub(rig: Rig, db: str) -> None:
    process = rig.spawn([*PARPOOL, "hub", f"--db={db}"])
    path = rig.folder / "hub.json"
    until(lambda: process.poll() is not None or path.exists())
    assert process.poll() is None, rig.log("hub")


def test_the_guard_would_tell(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OPENED": str(tmp_path / "opened")}
    script = "import pickle; pickle.loads(pickle.dumps(1))"
    done = subprocess.run([PARPOOL[0], "-c", script], env=environment, capture_output=True)
    assert done.returncode == 1 and (tmp_path / "opened").read_text() == "opened\n"
