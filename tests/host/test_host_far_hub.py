"""The hub in a process of its own: it answers as one in the controller does, and may die and come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import parpool
from parpool.wire.messages import MalformedFrame
from parpool.wire.notes import Question, Written, from_hub, to_hub

PATIENCE = 20.0


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (met := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return met


class Site:
    """The processes of a cluster whose hub is apart."""

    def __init__(self, folder: Path, db: str, tcp: list[str]) -> None:
        self.db, self.tcp = db, tcp
        self.environment = os.environ | {"PARPOOL_DIR": str(folder)}
        self.folder = folder / "profile_default" / "clusters" / "default"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.hub = self.start_hub()
        hub = self.folder / "hub.json"  # by its file, and by tcp by its address: the keys are in the folder
        named = json.loads(hub.read_text())["addresses"]["hub"] if tcp else str(hub)
        self.controller = self.run("controller", "--hub", named, *tcp)
        until((self.folder / "client.json").exists)
        self.engine = self.run("engine")

    def run(self, *arguments: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "parpool", *arguments]
        process = subprocess.Popen(line, env=self.environment, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def start_hub(self) -> subprocess.Popen[bytes]:
        process = self.run("hub", "--db", self.db, *self.tcp)
        path = self.folder / "hub.json"
        until(lambda: path.exists() and json.loads(path.read_text())["pid"] == process.pid)
        return process

    def end(self) -> None:
        for process in self.processes:  # also the engine, which may never have met its controller
            process.terminate()
        for process in self.processes:
            process.wait(PATIENCE)


@pytest.fixture(params=["ipc", "tcp"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    pytest.importorskip("sqlalchemy", reason="the hub's database needs it")
    tcp = ["--ip", "127.0.0.1"] if request.param == "tcp" else []
    made = Site(tmp_path, f"sqlite:///{tmp_path}/tasks.db", tcp)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def rc(site: Site) -> Iterator[parpool.Client]:
    with parpool.Client(site.folder / "client.json") as client:
        assert client.wait_for_engines(1, PATIENCE)
        yield client


def test_it_answers_as_one_in_the_controller(site: Site, rc: parpool.Client) -> None:
    view = rc.load_balanced_view()
    results = [view.apply_async(divmod, number, 7) for number in range(20)]
    failed = view.apply_async(divmod, 1, 0)
    assert rc.wait(timeout=PATIENCE)
    names = [name for result in (*results, failed) for name in result.msg_ids]
    assert until(lambda: (history := rc.hub_history()) and len(history) == 21 and history) == names
    (record,) = rc.db_query({"status": "error"})
    assert record["msg_id"] == failed.msg_ids[0] and record["name"] == "divmod"
    with parpool.Client(site.folder / "client.json") as other:
        assert other.get_result(names[9]).get(PATIENCE) == (1, 2)
        assert other.resubmit(names[10]).get(PATIENCE) == (1, 3)
    assert rc.cluster_status()["hub"]["kind"] == "sqlite"


def test_killed_alone_it_misses_nothing(site: Site, rc: parpool.Client) -> None:
    view = rc.load_balanced_view()
    results = [view.apply_async(abs, -number) for number in range(500)]
    site.hub.kill()
    site.hub.wait(PATIENCE)
    results += [view.apply_async(abs, -number) for number in range(500)]
    assert [result.get(PATIENCE) for result in results] == [*range(500)] * 2, "work goes on without it"
    names = [result.msg_ids[0] for result in results]

    def refused() -> str:
        try:
            rc.hub_history()
        except parpool.ParpoolError as error:
            return str(error)
        return ""

    assert "parpool hub" in until(refused)
    site.hub = site.start_hub()
    until(lambda: not refused() and len(rc.db_query({"status": "ok"}, keys=["msg_id"])) == 1000)
    assert rc.hub_history() == names


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="SIGSTOP")
def test_stopped_it_keeps_nobody_waiting(site: Site, rc: parpool.Client) -> None:
    """What it is asked ends in an error, also what was asked before anybody knew. When it goes on, so does all."""
    assert rc.load_balanced_view().apply_sync(abs, -1) == 1
    until(lambda: len(rc.hub_history()) == 1)
    site.hub.send_signal(signal.SIGSTOP)
    try:
        for _ in range(2):
            with pytest.raises(parpool.ParpoolError, match="does not answer"):
                rc.hub_history()
        assert rc.load_balanced_view().apply_sync(abs, -2) == 2
        until(lambda: rc.cluster_status()["hub"]["backlog"] >= 2)  # submitted, and ended
    finally:
        site.hub.send_signal(signal.SIGCONT)

    def again() -> int:
        try:
            return len(rc.hub_history())
        except parpool.ParpoolError:
            return 0

    until(lambda: again() == 2)


def test_a_second_hub_is_refused(site: Site) -> None:
    line = [sys.executable, "-m", "parpool", "hub"]
    done = subprocess.run(line, env=site.environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and f"a hub serves this cluster already (pid {site.hub.pid} on" in done.stderr
    assert site.hub.poll() is None


def test_commands_know_its_process(site: Site, rc: parpool.Client) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "parpool", *arguments]
        return subprocess.run(line, env=site.environment, capture_output=True, text=True, timeout=2 * PATIENCE)

    def told() -> int | None:
        pid: int | None = rc.cluster_status()["hub"].get("pid")
        return pid

    assert told() == site.hub.pid and rc[0].apply_sync(abs, -1) == 1
    (row,) = json.loads(command("list", "--json").stdout)
    assert row["hub_pid"] == site.hub.pid
    assert "hub_pid" in (text := command("list").stdout) and str(site.hub.pid) in text
    site.hub.kill()
    site.hub.wait(PATIENCE)
    until(lambda: told() is None)
    (row,) = json.loads(command("list", "--json").stdout)
    assert row["hub_pid"] is None and "hub_pid" not in command("list").stdout
    site.hub = site.start_hub()
    assert rc[0].apply_sync(abs, -1) == 1
    until(lambda: told() == site.hub.pid)

    done = command("stop")
    assert done.returncode == 0 and f"its hub goes on (pid {site.hub.pid} on" in done.stderr
    assert site.hub.poll() is None
    done = command("stop", "--hub")
    assert done.returncode == 0 and not done.stderr and site.hub.wait(PATIENCE) == 0
    done = command("stop", "--hub")
    assert done.returncode == 3


def test_it_is_stopped_with_its_cluster(site: Site, rc: parpool.Client) -> None:
    line = [sys.executable, "-m", "parpool", "stop", "--hub"]
    done = subprocess.run(line, env=site.environment, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert site.controller.wait(PATIENCE) == 0 and site.hub.wait(PATIENCE) == 0


def test_it_ends_by_a_signal(site: Site) -> None:
    site.hub.send_signal(signal.SIGTERM)
    assert site.hub.wait(PATIENCE) == 0
    assert not (site.folder / "hub.json").exists()


def test_an_address_without_its_keys(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "parpool", "controller", "--hub", "tcp://127.0.0.1:5000"]
    environment = os.environ | {"PARPOOL_DIR": str(tmp_path)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 1 and "hub.json" in done.stderr and "parpool hub" in done.stderr


@pytest.mark.parametrize("open_", [to_hub, from_hub])
@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x93\x3c\x01", b"\x91" * 100_000])
def test_malformed(open_: Callable[[bytes], object], junk: bytes) -> None:
    with pytest.raises(MalformedFrame):
        open_(junk)


def test_messages_go_their_own_way() -> None:
    with pytest.raises(MalformedFrame):
        to_hub(parpool.wire.messages.encode(Written(1, {})))
    with pytest.raises(MalformedFrame):
        from_hub(parpool.wire.messages.encode(Question(1, "history", {})))
