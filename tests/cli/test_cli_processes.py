"""The processes of a cluster, as the command line starts, shows and ends them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from parpool import Client
from parpool.engine.warden import ORPHANED, TOLD_TO_DIE
from parpool.net import address

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="/proc and signals"),
    pytest.mark.timeout(120),
    pytest.mark.once,  # about processes: what a command line says is tested on each interpreter beside this
]

PARPOOL = [sys.executable, "-m", "parpool"]
NOT_RUNNING = 3

Spawn = Callable[..., "subprocess.Popen[str]"]


def parpool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([*PARPOOL, *arguments], capture_output=True, text=True, timeout=90)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of the default cluster."""
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path))
    monkeypatch.delenv("PARPOOL_PROFILE", raising=False)
    return address.cluster_folder()


@pytest.fixture
def spawn(folder: Path) -> Iterator[Spawn]:
    """Start a command and leave it running until the test ends."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PARPOOL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield run
    for number in (signal.SIGTERM, signal.SIGKILL):  # ended by force, a controller leaves its sockets behind
        deadline = time.monotonic() + 20
        for pid in ours(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while ours(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
            [process.poll() for process in started]
    for process in started:
        process.communicate()


def ours(folder: Path) -> list[int]:
    """The living processes that work for the clusters of this test."""
    mark = f"PARPOOL_DIR={os.environ['PARPOOL_DIR']}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            try:
                if mark in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                    found.append(int(name))
            except OSError:
                pass  # it has ended, or is another user's
    return found


def until(what: Callable[[], Any], *, process: subprocess.Popen[str] | None = None) -> Any:
    """Wait until something is true; gives it."""
    deadline = time.monotonic() + 30
    while not (found := what()):
        assert time.monotonic() < deadline, "it does not come about"
        if process is not None and process.poll() is not None:
            pytest.fail(f"it has ended with {process.returncode}: {process.communicate()}")
        time.sleep(0.02)
    return found


def controller(spawn: Spawn, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    process = spawn("controller", *arguments)
    until((folder / "client.json").exists, process=process)
    return process


def status(*arguments: str) -> dict[str, Any]:
    done = parpool("status", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def log(folder: Path, kind: str) -> str:
    return "".join(each.read_text() for each in (folder / "log").glob(f"{kind}-*.log"))


# The controller -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_controller_from_its_start_to_its_end(spawn: Spawn, folder: Path, number: int) -> None:
    process = controller(spawn, folder)
    assert {each.name: each.stat().st_mode & 0o777 for each in folder.glob("*.json")} == dict.fromkeys(
        ("client.json", "engine.json", "controller.json"), 0o600
    )
    assert address.read(folder / "client.json", "client").pid == process.pid
    assert address.find("client") == folder / "client.json"
    (row,) = json.loads(parpool("list", "--json").stdout)
    assert row["running"] and row["pid"] == process.pid
    found = status()
    assert found["pid"] == process.pid and found["engines"] == []
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and "Traceback" not in errors
    assert f"pid {process.pid}" in log(folder, "controller") and errors == log(folder, "controller")
    assert not (folder / "client.json").exists() and not json.loads(parpool("list", "--json").stdout)[0]["running"]
    assert parpool("status").returncode == NOT_RUNNING


def test_a_cluster_has_one_controller(spawn: Spawn, folder: Path) -> None:
    process = controller(spawn, folder)
    before = (folder / "client.json").read_bytes()
    for arguments in ([], ["--daemonize"]):
        done = parpool("controller", *arguments)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert f"a controller serves this cluster already (pid {process.pid} on " in done.stderr.splitlines()[-1]
    assert (folder / "client.json").read_bytes() == before and status()["pid"] == process.pid
    other = controller(spawn, address.cluster_folder("mpi", "other"), "--profile", "mpi", "--cluster-id", "other")
    assert status("--profile", "mpi", "--cluster-id", "other")["pid"] == other.pid


def test_a_controller_that_was_killed(spawn: Spawn, folder: Path) -> None:
    process = controller(spawn, folder)
    process.kill()
    process.wait()
    done = parpool("status")
    assert done.returncode == NOT_RUNNING and len(done.stderr.splitlines()) == 1
    assert "is gone" in parpool("status", "--file", str(folder / "client.json")).stderr
    again = spawn("controller")
    until(lambda: address.read(folder / "client.json", gone_too=True).pid == again.pid, process=again)
    assert status()["pid"] == again.pid


def test_a_controller_as_a_daemon(spawn: Spawn, folder: Path) -> None:
    done = parpool("controller", "--daemonize", "--log-level", "debug")
    assert done.returncode == 0, done.stderr
    pid = address.read(folder / "client.json").pid
    assert done.stdout == f"controller is up: pid {pid}\n" and status()["pid"] == pid
    os.kill(pid, signal.SIGTERM)
    until(lambda: not address.running(folder))
    assert f"pid {pid}" in log(folder, "controller") and "Traceback" not in log(folder, "controller")


def test_a_port_that_is_taken(spawn: Spawn, folder: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for arguments in ([], ["--daemonize"]):
            done = parpool("controller", "--ip", "127.0.0.1", "--port", f"client={port}", *arguments)
            assert done.returncode == 1 and "Traceback" not in done.stderr
            assert str(port) in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (folder / "client.json").exists() and not address.running(folder)


def test_what_programs_read_is_what_the_manual_shows(spawn: Spawn, folder: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    listed, shown = (json.loads(each) for each in re.findall(r"^```json\n(.*?)^```$", manual, re.MULTILINE | re.DOTALL))
    process = controller(spawn, folder)
    spawn("engine")
    until(lambda: status()["engines"], process=process)
    assert shape(json.loads(parpool("list", "--json").stdout)) == shape(listed)
    assert shape(status()) == shape(shown)


def shape(value: Any) -> Any:
    """The names in what JSON says, and the kinds of the values."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(value[0])] if isinstance(value, list) else type(value)


# Engines --------------------------------------------------------------------------------------------


def test_engines_come_and_go(spawn: Spawn, folder: Path) -> None:
    head = controller(spawn, folder)
    process = spawn("engine")
    (row,) = until(lambda: status()["engines"], process=process)
    assert row["pid"] == process.pid
    done = parpool("engine", "--daemonize")
    assert done.returncode == 0, done.stderr
    rows = status()["engines"]
    assert len(rows) == 2 and done.stdout == f"engine is up: pid {rows[1]['pid']}\n"
    text = parpool("status").stdout
    assert "2 engines" in text and all(str(each["pid"]) in text and each["uid"] in text for each in rows)
    assert len(list((folder / "log").glob("engine-*.log"))) == 2
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    until(lambda: len(status()["engines"]) == 1)
    head.terminate()
    head.communicate(timeout=30)
    until(lambda: ours(folder) == [])


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("SIGTERM", "SIGTERM has come"),
        ("SIGINT", "SIGINT has come"),
        ("busy", "SIGTERM has come while a task ran"),
        ("shutdown", "its controller has told it to, and what it held is done"),
        ("controller", "its controller has told it to end at once"),
    ],
)
def test_an_engine_says_why_it_ends(spawn: Spawn, folder: Path, how: str, why: str, tmp_path: Path) -> None:
    head = controller(spawn, folder)
    process = spawn("engine")
    with Client() as rc:
        rc.wait_for_engines(1)
        if how == "busy":
            rc[0].execute(f"import time; open({str(tmp_path / 'busy')!r}, 'w').close(); time.sleep(60)", block=False)
            until((tmp_path / "busy").exists)
        if how == "shutdown":
            rc.shutdown(rc.ids)
        elif how == "controller":
            head.terminate()
        else:
            process.send_signal(signal.SIGTERM if how == "busy" else getattr(signal, how))
        _, errors = process.communicate(timeout=30)
    last = errors.splitlines()[-1]
    assert f"{process.pid} INFO engine engine-" in last and last.endswith(f" ends: {why}")
    assert log(folder, "engine") == errors


def test_an_engine_of_a_folder_elsewhere(spawn: Spawn, folder: Path, tmp_path: Path) -> None:
    head = controller(spawn, folder, "--ip", "127.0.0.1")
    copied = tmp_path / "copied" / "mine.json"
    address.write(address.read(folder / "engine.json"), copied)
    process = spawn("engine", "--file", str(copied))
    until(lambda: status()["engines"], process=process)
    assert not (copied.parent / "log").exists() and list((folder / "log").glob("engine-*.log"))
    done = parpool("engine", "--file", str(folder / "client.json"))
    assert done.returncode == 1 and "use engine.json" in done.stderr
    (folder / "client.json").rename(tmp_path / "client.json")  # as on another machine: nobody can ask
    assert parpool("engine", "--file", str(copied), "--daemonize").returncode == 0
    assert len(status("--file", str(tmp_path / "client.json"))["engines"]) == 2
    head.terminate()
    head.communicate(timeout=30)
    process.communicate(timeout=30)
    assert process.returncode == TOLD_TO_DIE


def test_an_engine_that_is_there_before_its_controller(spawn: Spawn, folder: Path) -> None:
    process = spawn("engine")
    assert process.stderr is not None and process.stderr.readline().startswith("waiting for a controller, for 60 s: ")
    controller(spawn, folder)
    (row,) = until(lambda: status()["engines"], process=process)
    assert row["pid"] == process.pid


def test_an_engine_whose_controller_was_killed_waits_for_the_next(spawn: Spawn, folder: Path) -> None:
    head = controller(spawn, folder)
    head.kill()
    head.wait()
    process = spawn("engine")
    assert process.stderr is not None and "is gone" in process.stderr.readline()
    again = spawn("controller")
    (row,) = until(lambda: address.running(folder) and status()["engines"], process=again)
    assert row["pid"] == process.pid


def test_an_engine_with_the_file_of_a_cluster_elsewhere_that_has_ended(folder: Path, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:  # who listens there is none of ours
        where = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        addresses = {name: where for name in ("work", "control", "heart")}
        public, secret = address.new_keys()
        old = address.Connection(
            "engine", "lab", "default", addresses, public, public, secret, pid=1, hostname="elsewhere"
        )
        address.write(old, tmp_path / "engine.json")
        done = parpool("engine", "--file", str(tmp_path / "engine.json"), "--timeout", "0.5", "--patience", "900")
    assert done.returncode == ORPHANED
    assert f"no controller answers at {where} for 0.5 s" in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1] in log(address.cluster_folder("default", "lab"), "engine")


# Clusters -------------------------------------------------------------------------------------------


has_cluster = pytest.mark.skipif(not find_spec("parpool.cluster"), reason="parpool.cluster is not there yet")


@has_cluster
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "stop"])
def test_a_cluster_from_its_start_to_its_end(spawn: Spawn, folder: Path, how: str) -> None:
    process = spawn("start", "-n", "2")
    assert process.stdout is not None
    assert str(folder / "client.json") in process.stdout.readline()
    until(lambda: len(status()["engines"]) == 2, process=process)
    if how == "stop":
        done = parpool("stop")
        assert done.returncode == 0, done.stderr
        assert not address.running(folder)
    else:
        process.send_signal(getattr(signal, how))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in errors
    until(lambda: ours(folder) == [])
    assert parpool("stop").returncode == NOT_RUNNING


@has_cluster
def test_a_cluster_as_a_daemon(spawn: Spawn, folder: Path) -> None:
    done = parpool("start", "-n", "1", "--daemonize")
    assert done.returncode == 0 and done.stdout.startswith("cluster is up: pid "), done.stderr
    until(lambda: len(status()["engines"]) == 1)
    done = parpool("start", "-n", "1", "--daemonize")
    assert done.returncode == 1 and "already" in done.stderr
    assert len(status()["engines"]) == 1
    assert parpool("stop").returncode == 0
    until(lambda: ours(folder) == [])


@has_cluster
def test_a_cluster_whose_starter_was_killed_can_be_stopped(spawn: Spawn, folder: Path) -> None:
    process = spawn("start", "-n", "1")
    until(lambda: (folder / "client.json").exists() and status()["engines"], process=process)
    process.kill()
    process.wait()
    assert parpool("stop").returncode in (0, NOT_RUNNING)  # it may have noticed by itself
    until(lambda: ours(folder) == [])


@has_cluster
def test_what_a_cluster_is_told_of_losses(spawn: Spawn, folder: Path) -> None:
    arguments = ["-n", "1", "--heartbeat", "0.5", "--misses", "7", "--patience", "1.5", "--on-client-lost", "keep"]
    process = spawn("start", *arguments)
    (row,) = until(lambda: (folder / "client.json").exists() and status()["engines"], process=process)
    assert status()["clients"][0]["keep"]
    head = address.read(folder / "client.json").pid
    shown = Path(f"/proc/{head}/cmdline").read_text()
    assert "--heartbeat\x000.5\0" in shown and "--misses\x007\0" in shown
    process.send_signal(signal.SIGSTOP)  # it would start another controller
    os.kill(head, signal.SIGKILL)
    until(lambda: row["pid"] not in ours(folder))
    assert "no controller for 1.5 s" in log(folder, "engine")
    process.kill()


@has_cluster
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engines", "nowhere"], "there is no launcher 'nowhere'; there are: "),
        (["--engines", "ssh", "-o", "host=x"], "the launcher 'ssh'"),
        (["--engines", "local", "-o", "many=1", "-o", "x=2"], "the launcher 'local'"),
    ],
)
@pytest.mark.parametrize("daemonize", [[], ["--daemonize"]])
def test_a_cluster_that_cannot_be_started(
    spawn: Spawn, folder: Path, arguments: list[str], message: str, daemonize: list[str]
) -> None:
    done = parpool("start", *arguments, *daemonize)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr and "Traceback" not in log(folder, "cluster")
    until(lambda: ours(folder) == [])
    assert not address.running(folder)


# Secrets --------------------------------------------------------------------------------------------


def test_no_key_is_where_others_could_see_it(spawn: Spawn, folder: Path) -> None:
    head = controller(spawn, folder, "--ip", "127.0.0.1", "--log-level", "debug")
    assert parpool("engine", "--log-level", "debug", "--daemonize").returncode == 0
    spawn("engine", "--log-level", "debug")
    until(lambda: len(status()["engines"]) == 2)
    keys = {
        getattr(address.read(folder / f"{role}.json"), f"{name}_key").encode()
        for role in ("client", "engine")
        for name in ("server", "public", "secret")
    }
    assert len(keys) == 5 and b"" not in keys
    pids = ours(folder)
    assert len(pids) == 3
    for pid in pids:
        for seen in ("cmdline", "environ"):
            data = Path(f"/proc/{pid}/{seen}").read_bytes()
            assert data and not any(key in data for key in keys)
    logs = [each.read_bytes() for each in (folder / "log").iterdir()]
    assert any(logs) and not any(key in data for key in keys for data in logs)
    shown = "".join(parpool(*each).stdout for each in (["status"], ["status", "--json"], ["list", "--json"])).encode()
    assert not any(key in shown for key in keys)
    shown = b"".join(each.encode() for each in head.communicate(timeout=30)) if head.terminate() is None else b""
    assert shown and not any(key in shown for key in keys)
