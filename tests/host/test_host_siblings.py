"""The other processes of a controller with several schedulers, as it starts, awaits and ends them."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from parpool.errors import ConnectionFileError, ControllerLost
from parpool.host import siblings as module
from parpool.host.guests import Guests
from parpool.host.members import Members
from parpool.host.siblings import ENDING, FOLLOWED, FOR_GOOD, Siblings, how_to_end
from parpool.net import address
from parpool.net.address import Connection, ControllerLock, write
from parpool.options import ControllerSettings

KEYS = {"public": "p" * 40, "secret": "s" * 40}


class Process:
    """One that is said to be looked after."""

    def __init__(self, site: Site, label: str, argv: list[str], gone: Callable[[str], None], wanted: Any) -> None:
        self.site, self.label, self.argv, self.gone, self.wanted = site, label, argv, gone, wanted
        self.number = 1000 + len(site.processes)

    def start(self, n: int) -> str:
        assert n == 1
        self.site.log.append(f"start {self.label}")
        self.site.on_start(self)
        return "set-1"

    def pid(self) -> int:
        return self.number

    def signal(self, signum: int) -> None:
        assert self.label != "hub", "who has something to tell it ends first"

    def close(self) -> None:
        ending = (self.site.folder / "schedulers" / ENDING).read_text()
        self.site.log.append(f"end {self.label} {ending}")


class Site:
    """A cluster's folder, and what runs there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[Process] = []
        self.log: list[str] = []
        self.on_start: Callable[[Process], None] = self.come_up

    def keep(self, label: str, argv: Sequence[str], wanted: Any, gone: Callable[[str], None]) -> Process:
        self.processes.append(Process(self, label, list(argv), gone, wanted))
        return self.processes[-1]

    def come_up(self, process: Process) -> None:
        """What a process does when it is ready."""
        folder = self.folder / "schedulers"
        if process.label == "hub":
            self.write(folder / "hub.json", "hub", {"hub": "ipc:///hub"}, process.number)
            return
        number = process.label[-1]
        clients = {name: f"ipc:///{number}/{name}" for name in ("client", "heart")}
        engines = {name: f"ipc:///{number}/{name}" for name in ("work", "control", "heart")}
        self.write(folder / number / "client.json", "client", clients, process.number)
        self.write(folder / number / "engine.json", "engine", engines, process.number)

    def write(self, path: Path, role: str, addresses: dict[str, str], pid: int) -> None:
        write(Connection(role, "c", "p", addresses, pid=pid, hostname=socket.gethostname()), path)

    def make(self, fresh: bool = True, **changes: Any) -> Siblings:
        settings = ControllerSettings(self.folder, "p", "c", schedulers=3, **changes)
        return Siblings(settings, KEYS, self.keep, fresh)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def state(site: Site, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((site.folder / "schedulers" / str(number) / "controller.json").read_bytes())
    return found


def test_from_the_start_to_the_end(site: Site) -> None:
    made = site.make(db="sqlite:///x")
    assert site.log == ["start hub", "start scheduler-1", "start scheduler-2"]
    assert made.wait_for_hub().addresses == {"hub": "ipc:///hub"}
    found = made.wait()
    assert [each["client"]["client"] for each in found] == ["ipc:///1/client", "ipc:///2/client"]
    assert [each["engine"]["work"] for each in found] == ["ipc:///1/work", "ipc:///2/work"]
    assert [state(site, number)["keys"] for number in (1, 2)] == [KEYS, KEYS]
    assert all(process.wanted() for process in site.processes)
    site.log.clear()
    made.tell(for_good=True)
    assert how_to_end(site.folder / "schedulers" / "1") == FOR_GOOD and site.log == []
    left = site.folder / "parpool-left"
    left.mkdir()
    (site.folder / "schedulers" / "2" / "controller.json").write_text(json.dumps({"session": str(left)}))
    made.close(for_good=True)
    assert not left.exists(), "that of one that was killed"
    assert not any(process.wanted() for process in site.processes)
    assert site.log == [f"end {label} {FOR_GOOD}" for label in ("scheduler-1", "scheduler-2", "hub")]
    assert not (site.folder / "schedulers").exists()


def test_their_command_lines(site: Site) -> None:
    ports = {"client": 5, "client.1": 6, "work.2": 7}
    site.make(db="sqlite:///x", ip="*", location="here", ports=ports, heartbeat=0.5, misses=3, on_client_lost="keep")
    hub, first, second = (process.argv[3:] for process in site.processes)
    about = ["--profile", "p", "--cluster-id", "c", "--owner", str(os.getpid())]
    assert hub[:7] == ["hub", *about] and hub[-2:] == ["--db", "sqlite:///x"]
    assert first[:7] == ["controller", *about]
    for line, number, port in ((first, "1", "client=6"), (second, "2", "work=7")):
        pairs = dict(zip(line[1::2], line[2::2], strict=True))
        assert pairs["--scheduler"] == number and pairs["--schedulers"] == "3" and pairs["--port"] == port
        assert pairs["--hub"] == str(site.folder / "schedulers" / "hub.json") and "--db" not in pairs
        assert (pairs["--heartbeat"], pairs["--misses"], pairs["--on-client-lost"]) == ("0.5", "3", "keep")
        assert (pairs["--ip"], pairs["--location"]) == ("*", "here")
    assert not any(secret in part for process in site.processes for part in process.argv for secret in KEYS.values())


def test_a_hub_that_is_somebody_else_s(site: Site, tmp_path: Path) -> None:
    theirs = tmp_path / "hub.json"
    site.write(theirs, "hub", {"hub": "ipc:///theirs"}, os.getpid())
    for hub in (str(theirs), address.read(theirs).to_url()):
        site.log.clear()
        made = site.make(hub=hub)
        assert site.log == ["start scheduler-1", "start scheduler-2"]
        assert made.wait_for_hub().addresses == {"hub": "ipc:///theirs"}
        assert not any("ipc:///theirs" in part for process in site.processes for part in process.argv)
        made.close(for_good=False)


def test_what_was_left_by_one_that_was_killed_is_taken_up(site: Site) -> None:
    site.make().close(for_good=False)
    assert f"end scheduler-1 {FOLLOWED}" in site.log
    path = site.folder / "schedulers" / "1" / "controller.json"
    path.write_text(json.dumps({**state(site, 1), "session": "/dev/shm/parpool-x", "ports": {"client": 7}}))
    site.make(fresh=False)
    assert not (site.folder / "schedulers" / ENDING).exists()
    assert state(site, 1)["session"] == "/dev/shm/parpool-x" and state(site, 1)["ports"] == {"client": 7}
    site.make(fresh=True)
    assert state(site, 1)["session"] == "", "there was no controller before: what is there is of no use"


def test_files_of_a_time_before_are_no_sign_of_life(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMING_UP", 0.05)
    site.make().close(for_good=False)
    site.on_start = lambda process: None
    made = site.make(fresh=False)
    with pytest.raises(ControllerLost, match="hub was not ready"):
        made.wait_for_hub()
    for process in site.processes:
        site.come_up(process)
    made.wait()


def test_one_that_does_not_come_up(site: Site) -> None:
    def die(process: Process) -> None:
        if process.label == "scheduler-2":
            process.gone("it had no luck")
        else:
            site.come_up(process)

    site.on_start = die
    made = site.make()
    with pytest.raises(ControllerLost, match="scheduler-2 ended before it was ready: it had no luck"):
        made.wait()


def test_one_that_cannot_be_started(site: Site) -> None:
    def refuse(process: Process) -> None:
        if process.label == "scheduler-1":
            raise OSError("no more processes")

    site.on_start = refuse
    with pytest.raises(OSError, match="no more"):
        site.make()
    assert site.log[-2:] == [f"end scheduler-1 {FOLLOWED}", f"end hub {FOLLOWED}"]


def test_those_of_an_earlier_controller_are_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = ControllerLock(site.folder / "schedulers" / "2")
    monkeypatch.setattr(module, "LEAVING", 0.05)
    with pytest.raises(ConnectionFileError, match=f"pid {os.getpid()} on .* does not end"):
        site.make()
    assert site.log == []
    monkeypatch.setattr(module, "LEAVING", 20.0)
    threading.Timer(0.05, lock.release).start()
    site.make()
    assert len(site.log) == 3


def test_how_they_are_to_end(site: Site) -> None:
    made = site.make()
    folder = site.folder / "schedulers" / "1"
    assert how_to_end(folder) == ""
    made.close(for_good=False)
    assert how_to_end(folder) == FOLLOWED


# Numbers of engines ---------------------------------------------------------------------------------


def test_ids_do_not_meet() -> None:
    ids = []
    for number in range(3):
        members = Members(Guests(), 0, lambda uid: None)  # type: ignore[arg-type, return-value]
        members.number_by(number, 3)
        ids.append([members.admit(f"engine-{each}", 1, None).id for each in range(4)])
        members.number_from(50)
        ids[-1].append(members.admit("after", 1, None).id)
        ids[-1] += [members.admit("old", 1, None, 60 + number).id, members.admit("next", 1, None).id]
        members.close()
    assert ids == [
        [0, 3, 6, 9, 51, 60, 63],
        [1, 4, 7, 10, 52, 61, 64],
        [2, 5, 8, 11, 50, 62, 65],
    ]
