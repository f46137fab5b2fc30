"""The process of a controller: its files, its keys, who comes after it, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from seat import Seat
from stage import Client, Engine

import parpool
from parpool import ConnectionFileError, ParpoolError, __version__
from parpool.host import lobby
from parpool.host.controller import Controller
from parpool.net.address import read
from parpool.net.sockets import Poller, have_ipc
from parpool.options import ControllerSettings
from parpool.wire.messages import PROTOCOL, Die, Stop, encode
from parpool.wire.requests import Over

pytestmark = pytest.mark.skipif(not have_ipc(), reason="a controller on local sockets")


@pytest.fixture
def seat(tmp_path: Path) -> Iterator[Seat]:
    made = Seat(tmp_path)
    yield made
    made.close()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Files -----------------------------------------------------------------------------------------------------


def test_its_files(seat: Seat, tmp_path: Path) -> None:
    assert names(tmp_path) >= {"client.json", "engine.json", "controller.json", "journal.0"}
    for name in ("client.json", "engine.json", "controller.json", "journal.0"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    client, engine = read(tmp_path / "client.json"), read(tmp_path / "engine.json")
    assert (client.role, engine.role) == ("client", "engine")
    assert client.addresses.keys() == {"client", "heart"}
    assert engine.addresses.keys() == {"work", "control", "heart", "lane"}
    for each in (client, engine):
        assert (each.pid, each.hostname, each.version, each.protocol) == (
            os.getpid(),
            socket.gethostname(),
            __version__,
            PROTOCOL,
        )
        assert (each.cluster_id, each.profile) == ("default", "default")
        assert each.server_key == each.secret_key == ""


def test_by_tcp_each_role_has_its_own_key_and_no_other(tmp_path: Path) -> None:
    seat = Seat(tmp_path, ip="127.0.0.1")
    client, engine = read(tmp_path / "client.json"), read(tmp_path / "engine.json")
    assert client.server_key == engine.server_key != ""
    secrets = {client.secret_key, engine.secret_key, seat.controller.keys["secret"]}
    assert len(secrets) == 3
    for path, mine in ((tmp_path / "client.json", client), (tmp_path / "engine.json", engine)):
        text = path.read_text()
        assert [secret for secret in secrets if json.dumps(secret)[1:-1] in text] == [mine.secret_key]
    assert all(address.startswith("tcp://127.0.0.1:") for address in client.addresses.values())
    seat.close()


def test_a_place_by_which_others_reach_it(tmp_path: Path) -> None:
    seat = Seat(tmp_path, ip="127.0.0.1", location="localhost")
    assert read(tmp_path / "client.json").addresses["client"].startswith("tcp://localhost:")
    seat.close()


@pytest.mark.parametrize("for_good", [True, False])
def test_what_is_left(tmp_path: Path, for_good: bool) -> None:
    seat = Seat(tmp_path)
    folder = seat.controller.station.session.folder
    seat.close(for_good)
    left = names(tmp_path) - {"controller.lock"}
    assert left == (set() if for_good else {"controller.json", "journal.0"})
    assert not os.path.exists(folder)


def test_one_cluster_has_one_controller(seat: Seat, tmp_path: Path) -> None:
    before = (tmp_path / "client.json").read_text()
    with pytest.raises(ConnectionFileError, match=str(os.getpid())):
        Seat(tmp_path)
    assert (tmp_path / "client.json").read_text() == before
    client = Client(seat, "client")  # type: ignore[arg-type]
    assert client.hello()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"keys": 1}', "\0"])
def test_a_state_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    """It is not overwritten: the keys of a cluster may be in it."""
    path = tmp_path / "controller.json"
    path.write_text(text)
    with pytest.raises(ConnectionFileError, match="controller.json"):
        Seat(tmp_path)
    assert path.read_text() == text
    path.unlink()
    Seat(tmp_path).close()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match=str(taken.getsockname()[1])):
            Seat(tmp_path, ip="127.0.0.1", ports={"heart": taken.getsockname()[1]})
    assert not names(tmp_path) & {"client.json", "engine.json"}
    Seat(tmp_path).close()


def test_a_hub_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ParpoolError, match="nonsense"):
        Seat(tmp_path, db="nonsense://")
    assert not names(tmp_path) & {"client.json", "engine.json"}
    Seat(tmp_path).close()


# One after the other ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ip", ["", "127.0.0.1"])
def test_the_next_one_is_at_the_same_place_with_the_same_keys(tmp_path: Path, ip: str) -> None:
    first = Seat(tmp_path, ip=ip)
    instance = first.controller.instance
    files = [read(tmp_path / f"{role}.json") for role in ("client", "engine")]
    first.close(for_good=False)
    second = Seat(tmp_path, ip=ip)
    again = [read(tmp_path / f"{role}.json") for role in ("client", "engine")]
    for old, new in zip(files, again, strict=True):
        assert old.addresses == new.addresses
        assert (old.server_key, old.secret_key) == (new.server_key, new.secret_key)
    assert second.controller.instance != instance
    second.close()


def test_the_next_one_awaits_the_engines(tmp_path: Path) -> None:
    first = Seat(tmp_path)
    engine = Engine(first, "engine-a")  # type: ignore[arg-type]
    engine.hello()
    first.until(first.station.fellows)
    assert [each.uid for each in first.station.fellows()] == ["engine-a"]
    engine.close()
    first.close(for_good=False)
    second = Seat(tmp_path)
    assert second.station.fellows() == [] and [each.uid for each in second.station.members] == ["engine-a"]
    back = Engine(second, "engine-a")  # type: ignore[arg-type]
    back.hello([], 1, 0, 1)
    second.steps(10)
    assert [(each.id, each.uid) for each in second.station.fellows()] == [(0, "engine-a")]
    second.close()


def test_a_cluster_that_ended_for_good_has_no_past(tmp_path: Path) -> None:
    first = Seat(tmp_path)
    engine = Engine(first, "engine-a")  # type: ignore[arg-type]
    engine.hello()
    first.until(first.station.fellows)
    first.close()
    second = Seat(tmp_path)
    assert len(second.station.members) == 0
    second.close()


# Its end ------------------------------------------------------------------------------------------------------


def test_everybody_is_told(tmp_path: Path) -> None:
    seat = Seat(tmp_path)
    client, engine = Client(seat, "client"), Engine(seat, "engine-a")  # type: ignore[arg-type]
    client.hello()
    engine.hello()
    seat.until(seat.station.fellows)
    sockets = client.sockets["client"], engine.sockets["control"]
    engine.sockets["control"].send(b"x")  # so that it is known there
    seat.steps()
    seat.controller.end("enough")
    seat.controller.close()
    told = []
    for each in sockets:
        while (frames := each.receive(wait=True)) is not None:
            if frames[0] in (encode(Over("enough")), encode(Die())):
                told.append(frames[0])
                break
    assert len(told) == 2
    client.close()
    engine.close()


def test_an_engine_that_is_about_to_come_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller before this one had it, and its connection is not made yet."""
    monkeypatch.setattr(lobby, "RETURN", 20.0)  # how long connections take is not in question here
    first = Seat(tmp_path)
    engine = Engine(first, "engine-a")  # type: ignore[arg-type]
    engine.hello()
    first.until(first.station.fellows)
    engine.close()
    first.close(for_good=False)
    second = Seat(tmp_path)
    second.controller.end("enough")
    closing = threading.Thread(target=second.controller.close)
    closing.start()
    back = Engine(second, "engine-a")  # type: ignore[arg-type]
    poller = Poller()
    poller.add(back.sockets["control"])
    assert poller.poll(20.0)
    told = back.sockets["control"].receive(wait=False) or []
    closing.join()
    back.close()
    assert encode(Die()) in told or encode(Stop()) in told


def test_it_is_told_to_end_as_it_tells_that_it_is_there(tmp_path: Path) -> None:
    """It ends as any other: nobody is to find what it has left."""
    settings = ControllerSettings(tmp_path)
    controller = Controller(settings, on_made=lambda made: made.told_to_end("enough"))
    assert names(tmp_path) >= {"client.json", "controller.json"}
    controller.run()
    controller.close()
    assert not names(tmp_path) & {"client.json", "engine.json", "controller.json", "journal.0"}


def test_it_runs_until_it_is_told_to_end(tmp_path: Path) -> None:
    seat = Seat(tmp_path, heartbeat=0.01)
    client = Client(seat, "client")  # type: ignore[arg-type]
    client.hello()
    client.said += 1
    seat.controller.end("enough")
    seat.controller.run()  # it returns
    seat.close()


PROCESS = """
import sys
from pathlib import Path
from parpool.host.controller import main
from parpool.options import ControllerSettings
main(ControllerSettings(Path(sys.argv[1])))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    (folder / "client.json").unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-c", PROCESS, str(folder)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (folder / "client.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_by_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    parpool.Client(tmp_path / "client.json").close()  # it is up
    process.send_signal(number)
    assert process.wait(20) == 0 and process.communicate()[1] == ""
    assert names(tmp_path) <= {"controller.lock"}


def test_it_is_killed_and_followed(tmp_path: Path) -> None:
    first = start(tmp_path)
    addresses = read(tmp_path / "client.json").addresses
    second = start(tmp_path)
    assert second.wait(20) != 0 and str(first.pid) in second.communicate()[1]
    first.kill()
    first.communicate()
    third = start(tmp_path)
    assert read(tmp_path / "client.json").addresses == addresses
    assert read(tmp_path / "client.json").pid == third.pid
    third.terminate()
    assert third.wait(20) == 0
    third.communicate()
