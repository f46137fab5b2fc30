"""One machine: its keeper's folder, and a line that is cut."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from launch_contract import lives
from servers import remote_folders, wait_until

from parpool.errors import EngineStartError, ParpoolError
from parpool.launch.launcher import Site
from parpool.launch.ssh import SshLauncher

pytestmark = pytest.mark.usefixtures("sshd")

SLEEP = ["{python}", "-c", "import time; time.sleep(300)"]

Ssh = Callable[..., SshLauncher]


def pids_of(launcher: SshLauncher) -> list[int]:
    return [pid for pid, _, _ in launcher.record()["machines"]["node1"].values()]


def line_of(launcher: SshLauncher) -> int:
    """The process id of its ssh."""
    line = launcher._posts[0]._line
    assert line is not None
    return line._process.pid


def test_the_folder_there_is_private_and_goes(ssh: Ssh, sshd: Path) -> None:
    launcher = ssh("node1:2")
    names = launcher.start(SLEEP, 2)
    (folder,) = remote_folders(sshd)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "file-0": 0o600,
        "engine-0.log": 0o600,
        "engine-1.log": 0o600,
    }
    launcher.stop(names[:1], patience=5)
    assert folder.exists()
    launcher.stop(patience=5)
    assert not remote_folders(sshd)


def test_a_line_that_is_cut(ssh: Ssh) -> None:
    launcher = ssh("node1:2")
    names = launcher.start(SLEEP, 2)
    pids = pids_of(launcher)
    os.kill(line_of(launcher), signal.SIGKILL)
    assert {state.phase for state in launcher.poll().values()} == {"running"}
    assert pids_of(launcher) == pids and all(map(lives, pids))
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: launcher.poll()[names[0]].ended, "it is seen again")
    os.kill(line_of(launcher), signal.SIGKILL)
    launcher.signal(signal.SIGCONT)
    os.kill(line_of(launcher), signal.SIGKILL)
    assert set(launcher.stop(patience=5)) == set(names)
    assert not any(map(lives, pids))


def test_a_line_that_is_cut_when_all_have_ended(ssh: Ssh) -> None:
    launcher = ssh("node1")
    (name,) = launcher.start(["{python}", "-c", "raise SystemExit(3)"], 1)
    wait_until(lambda: launcher.poll()[name].ended, "ended")
    os.kill(line_of(launcher), signal.SIGKILL)
    assert launcher.stop()[name].code == 3
    (name,) = launcher.start(SLEEP, 1)  # over a new one
    os.kill(line_of(launcher), signal.SIGSTOP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("parpool.launch.ssh.ANSWER", 0.2)
        patch.setattr("parpool.launch.ssh.FORCE", 0.1)
        with pytest.raises(ParpoolError, match="processes may be left on node1: there was no answer in time"):
            launcher.stop(patience=0)
    os.kill(line_of(launcher), signal.SIGCONT)
    assert [*launcher.poll()] == [name]


def test_a_machine_that_is_gone(ssh: Ssh, sshd: Path, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(sshd.read_text())
    launcher = ssh("node1", options=("-F", str(config)))
    (name,) = launcher.start(SLEEP, 1)
    (pid,) = pids_of(launcher)
    (closed, port) = re.findall(r"Port (\d+)", config.read_text())
    config.write_text(config.read_text().replace(port, closed))
    os.kill(line_of(launcher), signal.SIGKILL)
    words = str(launcher.poll()[name])
    assert re.match("lost node1: .*Connection refused.*; what is left there ends when it misses its controller", words)
    assert launcher.poll()[name].ended and lives(pid)
    assert launcher.stop()[name].words == words
    os.kill(pid, signal.SIGKILL)


def test_a_machine_that_does_not_answer_for_a_while(ssh: Ssh, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = ssh("node1")
    (name,) = launcher.start(SLEEP, 1)
    os.kill(line_of(launcher), signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr("parpool.launch.ssh.ANSWER", 0.2)
        state = launcher.poll()[name]
    assert state.phase == "running" and str(state) == "node1 has not answered for 0.2 s"
    os.kill(line_of(launcher), signal.SIGCONT)
    assert str(launcher.poll()[name]) == "running"


def test_what_has_died_there_leaves_nothing(ssh: Ssh) -> None:
    launcher = ssh("node1:2")
    names = launcher.start(["sh", "-c", "sleep 301 & echo $!; wait"], 2)
    wait_until(lambda: all(map(Path.read_text, logs_of(launcher))), "they are started")
    child = int(logs_of(launcher)[0].read_text())
    os.kill(pids_of(launcher)[0], signal.SIGKILL)
    wait_until(lambda: launcher.poll()[names[0]].ended, "killed")
    assert lives(child)
    assert launcher.stop(names[:1])[names[0]].code == -signal.SIGKILL
    wait_until(lambda: not lives(child), "it is gone")


def logs_of(launcher: SshLauncher) -> list[Path]:
    return [Path(log) for _, _, log in launcher.record()["machines"]["node1"].values()]


def test_a_file_that_is_gone(ssh: Ssh, site: Site) -> None:
    site.files["connection_file"].unlink()
    with pytest.raises(EngineStartError, match="cannot reach node1: cannot read .*engine.json: No such file"):
        ssh("node1").start(SLEEP, 1)
