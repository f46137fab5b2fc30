"""Processes on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from launch_contract import Make, ProcessContract, lives
from servers import wait_until

from parpool.errors import EngineStartError
from parpool.launch.launcher import Site
from parpool.launch.process import ProcessLauncher, await_end, birth, in_sessions


class TestContract(ProcessContract):
    @pytest.fixture
    def make(self, site: Site) -> Make:
        return lambda: ProcessLauncher(site)


SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


@pytest.fixture
def launcher(site: Site) -> Iterator[ProcessLauncher]:
    launcher = ProcessLauncher(site)
    yield launcher
    launcher.stop(patience=0)


def pid_of(launcher: ProcessLauncher, name: str) -> int:
    pid = launcher.record()["processes"][name][0]
    assert isinstance(pid, int)
    return pid


# Starting -------------------------------------------------------------------------------------------------


def test_all_or_none(launcher: ProcessLauncher, tmp_path: Path) -> None:
    # A program that can be started twice, and is gone then.
    program = tmp_path / "program"
    pids = tmp_path / "pids"
    program.write_text(f'#!/bin/sh\necho $$ >> "{pids}"\nsleep 300\n')
    program.chmod(0o700)
    begin, begun = launcher._begin, []

    def twice(name: str, line: list[str]) -> Any:
        if len(begun) == 2:
            wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2, "both run")
            program.unlink()
        begun.append(name)
        return begin(name, line)

    launcher._begin = twice  # type: ignore[method-assign]
    with pytest.raises(EngineStartError, match=r"cannot start .*program \(after 2 of 3\): No such file .* in PATH\?"):
        launcher.start([str(program)], 3)
    assert launcher.poll() == {}
    assert not any(lives(int(pid)) for pid in pids.read_text().split())


def test_what_cannot_be_started(site: Site, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(
        EngineStartError, match="cannot start .*/text: Permission denied; is it installed, may it be run"
    ):
        ProcessLauncher(site).start([str(tmp_path / "text")], 1)
    nowhere = replace(site, folder=tmp_path / "nowhere")
    with pytest.raises(EngineStartError, match="cannot start .*: No such file.*; .*/nowhere must be there"):
        ProcessLauncher(nowhere).start(SLEEP, 1)
    (tmp_path / "file").touch()
    nolog = replace(site, log_folder=tmp_path / "file" / "log")
    with pytest.raises(EngineStartError, match="Not a directory; .*/file.* must be there, and yours to use"):
        ProcessLauncher(nolog).start(SLEEP, 1)


@pytest.mark.skipif(os.name != "posix", reason="limits of processes")
def test_a_limit(site: Site) -> None:
    code = f"""if True:
        import resource, sys
        from pathlib import Path
        from parpool.errors import EngineStartError
        from parpool.launch.launcher import Site
        from parpool.launch.process import ProcessLauncher
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        launcher = ProcessLauncher(Site(Path({str(site.log_folder)!r})))
        held = []
        try:
            while True:
                held.append(open("/dev/null"))
        except OSError:
            del held[-2:]  # enough for the log, and not for the rest
        try:
            launcher.start(["sleep", "300"], 8)
        except EngineStartError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("cannot start sleep") and "start fewer" in done.stdout, done.stderr


def test_sessions_of_their_own(launcher: ProcessLauncher) -> None:
    names = launcher.start(SLEEP, 2)
    pids = [pid_of(launcher, name) for name in names]
    assert [os.getsid(pid) for pid in pids] == pids
    assert sorted(in_sessions(pids)) == sorted(pids) and in_sessions(pids[:1]) == pids[:1]


def test_one_command_for_all(site: Site) -> None:
    launcher = ProcessLauncher(site, "sh -c 'echo $0 \"$@\"' {n}")
    (name,) = launcher.start(["a", "b c"], 3)
    wait_until(lambda: launcher.poll()[name].ended, "ended")
    assert site.log(name).read_text() == "3 a b c\n"
    launcher.stop()
    with pytest.raises(ValueError, match="1 or more, not 0"):
        launcher.start(["a"], 0)


def test_each_is_told_how_many_there_are(site: Site) -> None:
    launcher = ProcessLauncher(site)
    argv = ["sh", "-c", "echo $0; exec sleep 300", "{together}"]
    first = launcher.start(argv, 2)
    launcher.stop([first[0]])
    (second,) = launcher.start(argv, 1)
    for name in (first[1], second):
        wait_until(lambda name=name: site.log(name).read_text() == "2\n", "it has said so")
    launcher.stop()


def test_a_log_is_added_to(site: Site) -> None:
    def run(code: str) -> str:
        launcher = ProcessLauncher(site)  # with the same names
        (name,) = launcher.start([sys.executable, "-c", code], 1)
        wait_until(lambda: launcher.poll()[name].ended, "ended")
        return str(launcher.stop()[name])

    assert "exit code 1: first" in run("print('first'); raise SystemExit(1)")
    assert "first" not in run("import os, time; print('second'); raise SystemExit(0)")
    assert "first" not in run("raise SystemExit(2)")
    assert site.log("engine-0").read_text() == "first\nsecond\n"


# Ending ---------------------------------------------------------------------------------------------------


def test_stopped_ones_hear_the_request(launcher: ProcessLauncher, tmp_path: Path) -> None:
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print(1, flush=True); "
    (name,) = launcher.start([sys.executable, "-c", code + "time.sleep(300)"], 1)
    wait_until(launcher.site.log(name).read_text, "it has its handler")
    launcher.signal(signal.SIGSTOP)
    assert "exit code 7" in launcher.stop(patience=20)[name].words


def test_what_it_has_started_ends_with_it(launcher: ProcessLauncher) -> None:
    script = "sleep 301 & echo $!; (trap '' TERM; sleep 302) & echo $!; trap 'exit 0' TERM; wait"
    (name,) = launcher.start(["sh", "-c", script], 1)
    wait_until(lambda: len(launcher.site.log(name).read_text().split()) == 2, "both are started")
    children = [int(pid) for pid in launcher.site.log(name).read_text().split()]
    assert all(map(lives, children))
    launcher.stop(patience=10)
    wait_until(lambda: not any(map(lives, children)), "they are gone")


def test_what_is_left_of_one_that_has_died_ends_when_it_is_stopped(launcher: ProcessLauncher) -> None:
    (name,) = launcher.start(["sh", "-c", "sleep 301 & echo $!; wait"], 1)
    wait_until(launcher.site.log(name).read_text, "it is started")
    child = int(launcher.site.log(name).read_text())
    launcher.signal(signal.SIGKILL)
    wait_until(lambda: launcher.poll()[name].ended, "killed")
    assert lives(child)
    assert launcher.stop([name])[name].code == -signal.SIGKILL
    wait_until(lambda: not lives(child), "it is gone")


def test_somebody_else_waits_for_our_children(launcher: ProcessLauncher) -> None:
    (name,) = launcher.start([sys.executable, "-c", "raise SystemExit(3)"], 1)
    os.waitpid(pid_of(launcher, name), 0)
    assert launcher.poll()[name].ended  # and how is lost
    assert launcher.stop([name])[name].ended


def test_an_end_does_not_wait(launcher: ProcessLauncher) -> None:
    launcher.start(SLEEP, 3)
    launcher.stop(patience=1000)


def test_ended_ones_get_no_signals(launcher: ProcessLauncher) -> None:
    (name,) = launcher.start([sys.executable, "-c", ""], 1)
    wait_until(lambda: launcher.poll()[name].ended, "ended")
    launcher.signal(signal.SIGUSR1)
    launcher.signal(signal.SIGUSR1, [name])
    assert launcher.record() == {"processes": {}}


# Another's processes --------------------------------------------------------------------------------------


def test_a_number_that_is_somebody_elses_now(launcher: ProcessLauncher, site: Site) -> None:
    """What was recorded has ended, and its number is in use again."""
    (name,) = launcher.start(SLEEP, 1)
    record = launcher.record()
    pid, born, log = record["processes"][name]
    other = ProcessLauncher(site)
    other.adopt({"processes": {name: [pid, str(int(born) - 1), log]}})
    assert other.poll()[name].words == f"pid {pid} is gone"
    other.signal(signal.SIGKILL)
    other.stop(patience=0)
    assert lives(pid) and not launcher.poll()[name].ended


def test_one_that_was_adopted_ends(launcher: ProcessLauncher, site: Site) -> None:
    names = launcher.start(SLEEP, 2)
    other = ProcessLauncher(site)
    other.adopt(launcher.record())
    other.signal(signal.SIGKILL, names[:1])
    wait_until(lambda: other.poll()[names[0]].ended, "killed")
    assert not other.poll()[names[1]].ended
    # Its parent has not waited for it: it is dead all the same.
    assert other.stop(patience=5)[names[1]].words.endswith("is gone")
    assert "SIGKILL" in launcher.poll()[names[0]].words and "SIGTERM" in launcher.poll()[names[1]].words


# Where the system has less --------------------------------------------------------------------------------


def test_without_pidfds(launcher: ProcessLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    (name,) = launcher.start(SLEEP, 1)
    pid = pid_of(launcher, name)
    assert not await_end(pid, time.monotonic() + 0.1)
    assert "SIGTERM" in launcher.stop(patience=5)[name].words
    assert await_end(pid, time.monotonic())


def test_birth() -> None:
    born = birth(os.getpid())
    assert born and born == birth(os.getpid())
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        wait_until(lambda: birth(process.pid) is None, "it has ended, though nobody has waited for it")
