"""What commands say of processes that do not come up, and do with files of other machines."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from parpool.net import address

pytestmark = pytest.mark.timeout(120)

PARPOOL = [sys.executable, "-m", "parpool"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That of a cluster with a controller."""
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("PARPOOL_PROFILE", raising=False)
    process = subprocess.Popen([*PARPOOL, "controller", "--ip", "127.0.0.1"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (address.cluster_folder() / "client.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    yield address.cluster_folder()
    process.terminate()
    assert process.wait(30) == 0


def test_a_daemon_s_reason_is_told(folder: Path, tmp_path: Path) -> None:
    """Also by one that has no time for more than a line in its log."""
    theirs, clients = address.read(folder / "engine.json"), address.read(folder / "client.json")
    wrong = dataclasses.replace(theirs, public_key=clients.public_key, secret_key=clients.secret_key)
    address.write(wrong, tmp_path / "copy" / "engine.json")
    line = [*PARPOOL, "engine", "--file", str(tmp_path / "copy" / "engine.json"), "--daemonize"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and not done.stdout
    assert "it ended before it was up: the controller at tcp://127.0.0.1:" in done.stderr
    assert f"does not let in the key of this engine (its log is in {folder / 'log'})" in done.stderr


def test_a_file_of_another_machine(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = dataclasses.replace(address.read(folder / "client.json"), hostname="elsewhere")
    monkeypatch.setenv("PARPOOL_DIR", str(tmp_path / "here"))
    path = address.cluster_folder() / "client.json"
    address.write(theirs, path)
    done = subprocess.run([*PARPOOL, "status", "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and json.loads(done.stdout)["pid"] == theirs.pid, done.stderr
    done = subprocess.run([*PARPOOL, "stop"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and f"{path} is of elsewhere, where it can be stopped" in done.stderr
