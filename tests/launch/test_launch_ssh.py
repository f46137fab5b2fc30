"""Processes on other machines: this one by several names, through a real sshd."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from launch_contract import Make, ProcessContract, command_line
from servers import wait_until

from parpool.errors import EngineStartError
from parpool.launch.launcher import Site
from parpool.launch.ssh import SshLauncher

pytestmark = pytest.mark.usefixtures("sshd")

SLEEP = ["{python}", "-c", "import time; time.sleep(300)"]
HELLO = ["{python}", "-c", "print('hello')"]

Ssh = Callable[..., SshLauncher]


class TestContract(ProcessContract):
    @pytest.fixture
    def make(self, sshd: Path, site: Site) -> Make:
        return lambda: SshLauncher(site, "node1:4", python=sys.executable, options=("-F", str(sshd)))


def pid_of(launcher: SshLauncher, name: str) -> int:
    theirs, _, address = name.partition("@")
    pid = launcher.record()["machines"][address][theirs][0]
    assert isinstance(pid, int)
    return pid


# Several machines -----------------------------------------------------------------------------------------


def test_several_machines(ssh: Ssh) -> None:
    launcher = ssh("node1:2, node2:4")
    assert launcher.slots == 6
    names = launcher.start(SLEEP, 3)
    assert names == ["engine-0@node1", "engine-1@node2", "engine-2@node2"]
    names += launcher.start(SLEEP, 3)
    assert [name.partition("@")[2] for name in names].count("node1") == 2
    assert len({pid_of(launcher, name) for name in names}) == len(names) == 6
    with pytest.raises(EngineStartError, match="room for 0 more processes on these hosts, not for 1"):
        launcher.start(SLEEP, 1)
    ended = launcher.stop(["engine-0@node1"], patience=5)
    assert ended["engine-0@node1"].words.startswith("on node1: pid ") and len(launcher.poll()) == 5
    os.kill(pid_of(launcher, "engine-1@node2"), signal.SIGKILL)
    # Both have left room, the one that was stopped and the one that died.
    wait_until(lambda: launcher.poll()["engine-1@node2"].ended, "killed")
    again = launcher.start(SLEEP, 2)
    assert sorted(name.partition("@")[2] for name in again) == ["node1", "node2"] and not {*again} & {*names}
    assert "SIGKILL" in str(launcher.poll()["engine-1@node2"])


def test_as_many_as_there_are_cores(ssh: Ssh) -> None:
    assert ssh("node1, node2:3").slots == len(os.sched_getaffinity(0)) + 3


def test_what_is_special_on_a_machine(ssh: Ssh, site: Site, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    python = script(tmp_path / "my python", f'echo Welcome to this machine\nexec {sys.executable} "$@"')
    terms = {"slots": 1, "python": str(python), "folder": str(tmp_path / "there"), "environment": {"WORD": "there"}}
    launcher = ssh({"node1": 1, "node2": terms}, site=replace(site, environment={"WORD": "here"}))
    code = "import os, sys; print(sys.argv[1], os.environ['WORD'], os.getcwd())"
    names = launcher.start(["{python}", "-c", code, "{python}"], 2)
    wait_until(lambda: all(state.ended for state in launcher.poll().values()), "ended")
    assert site.log(names[0]).read_text() == f"{sys.executable} here {site.folder}\n"
    assert site.log(names[1]).read_text().endswith(f"\n{python} there {tmp_path}/there\n")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


# What cannot be reached -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "words", "step"),
    [
        ("closed", "Connection refused", "does this work: ssh closed true?"),
        ("stranger", "Host key verification failed", "log in once by hand"),
        ("nobody", "Permission denied", "ssh-copy-id"),
        ({"node1": {"python": "/no python"}}, "no python", "python=..."),
        ({"node1": {"options": ["-o", "HostName=no.such.host.invalid"]}}, "resolve hostname", "is the name right?"),
    ],
)
def test_no_way_there(ssh: Ssh, host: Any, words: str, step: str) -> None:
    name = host if isinstance(host, str) else "node1"
    options = {"python": "python3"} if name != host else {}
    launcher = ssh(host, **options)
    with pytest.raises(EngineStartError, match=f"^cannot reach {name}: .*{words}") as caught:
        launcher.start(HELLO, 1)
    assert step in str(caught.value)
    assert launcher.poll() == {} == launcher.stop()


def test_parpool_is_not_there(ssh: Ssh, tmp_path: Path) -> None:
    python = script(tmp_path / "python", f'exec {sys.executable} -S -E "$@"')  # no installed packages
    launcher = ssh("node1", python=str(python))
    with pytest.raises(EngineStartError, match="cannot reach node1: .*No module named .*install parpool there"):
        launcher.start(HELLO, 1)


def test_another_version_is_there(ssh: Ssh, tmp_path: Path) -> None:
    code = "import parpool, runpy; parpool.__version__ = '0.0.1'; "
    code += "runpy.run_module('parpool.launch.keeper', run_name='__main__')"
    python = script(tmp_path / "python", f'exec {sys.executable} -c "{code}"')
    with pytest.raises(EngineStartError, match="cannot reach node1: parpool 0.0.1 is there, and .* here: install"):
        ssh("node1", python=str(python)).start(HELLO, 1)


def test_there_is_no_ssh(ssh: Ssh) -> None:
    with pytest.raises(EngineStartError, match="cannot run no-ssh: No such file.*; is it installed?"):
        ssh("node1", program="no-ssh").start(HELLO, 1)


def test_nobody_answers(ssh: Ssh, tmp_path: Path) -> None:
    program = script(tmp_path / "ssh", "exec sleep 300")
    with pytest.raises(EngineStartError, match="cannot reach node1: there was no answer in time; does this work"):
        ssh("node1", program=str(program), timeout=0.3).start(HELLO, 1)


def test_all_machines_or_none(ssh: Ssh, tmp_path: Path) -> None:
    launcher = ssh("node1:2, closed:2")
    with pytest.raises(EngineStartError, match="cannot reach closed"):
        launcher.start(SLEEP, 2)
    assert launcher.poll() == {}
    # Where all can be reached, and one of them cannot start it.
    launcher = ssh({"node1": 2, "node2": {"slots": 2, "folder": str(tmp_path / "nowhere")}})
    with pytest.raises(EngineStartError, match="cannot start processes on node2: .*/nowhere must be there"):
        launcher.start([*SLEEP, str(tmp_path)], 4)
    assert launcher.poll() == {}
    lines = [command_line(pid) for pid in os.listdir("/proc") if pid.isdecimal()]
    assert not [line for line in lines if str(tmp_path) in line and "time.sleep" in line]


def test_adopted_from_other_hosts(ssh: Ssh) -> None:
    with pytest.raises(ValueError, match="there are processes on node2, which is none of these hosts"):
        ssh("node1").adopt({"machines": {"node2": {"engine-0": [1, "1", "/log"]}}})
