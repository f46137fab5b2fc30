"""Processes with their records in PostgreSQL: the controller, or a hub apart, as the command line starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import servers
from servers_of_postgres import PASSWORD, Postgres

import parpool
from parpool.errors import ParpoolError
from parpool.net import address

PATIENCE = 30.0
MANY = 500

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    servers.need("initdb")
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def processes(server: Postgres, tmp_path: Path) -> Iterator[Processes]:
    made = Processes(server, tmp_path)
    yield made
    made.end()


class Processes:
    """Of a cluster whose database asks for a password."""

    def __init__(self, server: Postgres, folder: Path) -> None:
        self.url = server.guarded_url()
        passwords = server.password_file(folder / "passwords")
        self.environment = {**os.environ, "PARPOOL_DIR": str(folder / "data"), "PGPASSFILE": str(passwords)}
        self.folder = folder / "data" / "profile_default" / "clusters" / "default"
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "parpool", command, *arguments]
        process = subprocess.Popen(line, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.started.append(process)
        if command != "engine":
            path = self.folder / {"controller": "client.json", "hub": "hub.json"}[command]
            until(lambda: process.poll() is not None or (path.exists() and pid_in(path) == process.pid))
            assert process.poll() is None, self.logs()
        return process

    def logs(self) -> str:
        return "".join(each.read_text() for each in (self.folder / "log").iterdir())

    def end(self) -> None:
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait(PATIENCE)


def pid_in(path: Path) -> int:
    return address.read(path, gone_too=True).pid


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (met := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return met


def names(results: list[Any]) -> set[str]:
    return {name for result in results for name in result.msg_ids}


def recorded(rc: parpool.Client) -> set[str]:
    """The tasks that the database knows to have ended well."""
    with suppress(ParpoolError):  # the hub is not there
        return {each["msg_id"] for each in rc.db_query({"status": "ok"}, keys=["msg_id"])}
    return set()


@pytest.mark.parametrize("apart", [False, True], ids=["controller", "hub"])
def test_killed_and_started_again(processes: Processes, apart: bool) -> None:
    database = ["--db", processes.url]
    kept = ["hub", *database] if apart else ["controller", *database]
    keeper = processes.start(*kept)
    if apart:
        processes.start("controller", "--hub", str(processes.folder / "hub.json"))
    processes.start("engine")
    with (
        parpool.Client(processes.folder / "client.json") as rc,
        parpool.Client(processes.folder / "client.json") as other,
    ):
        assert rc.wait_for_engines(1, PATIENCE)
        view = rc.load_balanced_view()
        batches = [[view.apply_async(divmod, number, 7) for number in range(MANY)]]
        first = names(batches[0])
        until(lambda: recorded(rc) >= first)
        batches += [[view.apply_async(divmod, number, 7) for number in range(MANY)]]
        batches[1][0].get(PATIENCE)
        keeper.kill()
        keeper.wait()
        keeper = processes.start(*kept)
        batches += [[view.apply_async(divmod, number, 7) for number in range(MANY)]]
        for batch in batches:
            assert [result.get(PATIENCE) for result in batch] == [divmod(number, 7) for number in range(MANY)]
        # What a controller had not written when it was killed, a moment's worth, it has taken along.
        sure = names(batches[2]) | first | (names(batches[1]) if apart else set())
        until(lambda: recorded(rc) >= sure)
        assert rc.hub_history()[:MANY] == [result.msg_ids[0] for result in batches[0]]
        assert other.get_result(batches[2][-1].msg_ids[0]).get(PATIENCE) == divmod(MANY - 1, 7)
        assert rc.cluster_status()["hub"]["kind"] == "postgresql"
        for process in processes.started:
            if process.poll() is None:
                for seen in ("cmdline", "environ"):
                    assert PASSWORD.encode() not in Path(f"/proc/{process.pid}/{seen}").read_bytes()
    assert PASSWORD not in processes.logs() and "Traceback" not in processes.logs()


@pytest.mark.parametrize("command", ["controller", "hub"])
def test_without_its_password(processes: Processes, command: str) -> None:
    environment = {**processes.environment, "PGPASSFILE": "/no/such/file"}
    line = [sys.executable, "-m", "parpool", command, "--db", processes.url]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "no password supplied" in done.stderr and "Traceback" not in done.stderr
    assert not address.running(processes.folder)
