"""Daemons: who starts one learns whether it is up, and why not; what they write is in their log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parpool.launch import daemon

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="daemons are forked")

STARTER = """
import logging, os, signal, sys, threading, time
from pathlib import Path
from parpool.errors import EngineStartError
from parpool.launch import daemon

folder, patience = Path(sys.argv[1]), float(sys.argv[2])
daemon.COMING_UP = patience

def serve(up):
    (folder / "pid").write_text(str(os.getpid()))
{serve}

def is_up(pid):
    return (folder / "up").exists() and (folder / "up").read_text() == str(pid)

daemon.be("thing", folder, serve, is_up, {name!r}, log_level="info", daemonize={daemonize})
print("after", os.getpid())
"""

Start = Callable[..., "subprocess.CompletedProcess[str]"]


def source(serve: str, name: str = "", daemonize: bool = True) -> str:
    body = "\n".join(f"    {line}" for line in serve.splitlines())
    return STARTER.format(serve=body, name=name, daemonize=daemonize)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Run a script that becomes a daemon; gives what its caller sees."""

    def run(serve: str, patience: float = 30, name: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", source(serve, name), str(tmp_path), str(patience)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    yield run
    if (tmp_path / "pid").exists() and lives(pid_in(tmp_path)):
        os.kill(pid_in(tmp_path), signal.SIGKILL)


def pid_in(folder: Path) -> int:
    return int((folder / "pid").read_text())


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def await_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    while lives(pid):
        assert time.monotonic() < deadline, "it does not end"
        time.sleep(0.01)


def log_in(folder: Path) -> str:
    (path,) = folder.glob("*.log")
    return path.read_text()


UNTIL_TOLD = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
{up}
while True:
    time.sleep(60)
"""
BY_FILE = '(folder / "up").write_text(str(os.getpid()))'
BY_WORD = 'up("it is")'


@pytest.mark.parametrize("how", [BY_FILE, BY_WORD])
def test_the_caller_waits_until_it_is_up(start: Start, tmp_path: Path, how: str) -> None:
    done = start(UNTIL_TOLD.format(up=how))
    pid = pid_in(tmp_path)
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.splitlines()[0] == f"thing is up: pid {pid}" and done.stdout.count("after") == 1
    assert lives(pid)
    assert os.getsid(pid) not in (pid, os.getsid(0)), "in a session of its own, that it does not lead"
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    log = str(tmp_path / f"thing-{pid}.log")
    assert os.readlink(f"/proc/{pid}/fd/1") == os.readlink(f"/proc/{pid}/fd/2") == log
    os.kill(pid, signal.SIGTERM)
    await_end(pid)


@pytest.mark.parametrize(
    ("what", "reason", "in_log"),
    [
        ('raise EngineStartError("no room")', "no room", "ERROR no room"),
        ('raise FileNotFoundError("no file")', "no file", "ERROR no file"),
        ("1 / 0", "ZeroDivisionError: division by zero", 'File "<string>"'),
        ("os._exit(3)", "it ended before it was up", ""),
        ("os.kill(os.getpid(), 9)", "it ended before it was up", ""),
    ],
)
def test_the_caller_learns_why_it_is_not(start: Start, tmp_path: Path, what: str, reason: str, in_log: str) -> None:
    done = start(what)
    assert done.returncode == 1 and "after" not in done.stdout
    assert done.stderr.splitlines()[-1] == (
        f"ChildProcessError: the thing did not come up: {reason} (its log is in {tmp_path})"
    )
    assert in_log in log_in(tmp_path)
    await_end(pid_in(tmp_path))


def test_one_that_does_not_come_up_in_time_is_ended(start: Start, tmp_path: Path) -> None:
    done = start(UNTIL_TOLD.format(up=""), patience=0.5)
    assert done.returncode == 1 and "it was not up after 0.5 s" in done.stderr
    await_end(pid_in(tmp_path))


def test_one_whose_caller_is_interrupted_is_ended(tmp_path: Path) -> None:
    script = source(UNTIL_TOLD.format(up=""))
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), "60"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
    await_end(pid_in(tmp_path))


def test_one_whose_caller_is_interrupted_before_it_knows_the_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(pid: int, options: int) -> tuple[int, int]:
        raise KeyboardInterrupt

    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        os.write(writing, f"{process.pid}\n".encode())
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(daemon.os, "waitpid", interrupted)
            daemon._wait(0, reading, lambda pid: False, 5.0)
        assert process.wait(20) == -signal.SIGTERM
    os.close(reading)
    os.close(writing)


def test_all_that_it_writes_is_in_the_log(start: Start, tmp_path: Path) -> None:
    done = start(
        'logging.getLogger("parpool").info("by the log")\nlogging.getLogger("parpool").debug("too much")\n'
        'print("by stdout", flush=True)\nos.system("echo by a child >&2")\nup("")',
        name="chosen",
    )
    assert done.returncode == 0 and done.stdout.count("thing is up") == 1
    await_end(pid_in(tmp_path))
    assert (tmp_path / "chosen.log").stat().st_mode & 0o077 == 0
    text = (tmp_path / "chosen.log").read_text()
    assert all(each in text for each in ("INFO by the log", "by stdout", "by a child")) and "too much" not in text
    assert "after" in text  # it goes on behind the call, and ends as any process does


def test_a_log_that_is_large_is_begun_anew_with_stdout_and_stderr(start: Start, tmp_path: Path) -> None:
    done = start(
        "for handler in logging.getLogger('parpool').handlers: handler.maxBytes = 10_000\n"
        "for number in range(400): logging.getLogger('parpool').info('line %d %s', number, 'x' * 100)\n"
        "os.write(1, b'the last of stdout'); os.write(2, b'the last of stderr')\n"
        "up('')",
        name="thing",
    )
    assert done.returncode == 0
    await_end(pid_in(tmp_path))
    assert sorted(each.name for each in tmp_path.glob("*.log*")) == [f"thing.log{n}" for n in ("", ".1", ".2", ".3")]
    text = (tmp_path / "thing.log").read_text()
    assert "the last of stdoutthe last of stderr" in text
    assert all(each.stat().st_size < 11_000 for each in tmp_path.glob("*.log*"))


# In the foreground ----------------------------------------------------------------------------------


def foreground(serve: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", source(serve, daemonize=False), str(folder), "60"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_in_the_foreground_the_log_goes_to_stderr_too(tmp_path: Path) -> None:
    done = foreground('logging.getLogger("parpool").info("a line"); up("it is up")', tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("it is up\nafter")
    assert done.stderr == log_in(tmp_path) and "INFO a line" in done.stderr


def test_in_the_foreground_an_error_is_the_callers_to_tell(tmp_path: Path) -> None:
    done = foreground('raise EngineStartError("no room")', tmp_path)
    assert done.returncode == 1 and done.stderr.count("EngineStartError: no room") == 1
    assert "ERROR no room" in log_in(tmp_path) and "Traceback" not in log_in(tmp_path)


# By a launcher ---------------------------------------------------------------------------------------


def launched(serve: str, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """As a launcher does it: stdout and stderr are a file."""
    log.touch(0o600)
    with log.open("ab") as output:
        command = [sys.executable, "-c", source(serve, name="uid", daemonize=False), str(folder), "60"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)


ALL = 'logging.getLogger("parpool").info("a line"); print("by stdout", flush=True); os.system("echo by a child >&2")'


def test_what_a_launcher_has_begun_a_log_for_has_that_one(tmp_path: Path) -> None:
    process = launched(ALL, tmp_path, tmp_path / "engine-0.log")
    process.communicate(timeout=60)
    assert process.returncode == 0
    lines = log_in(tmp_path).splitlines()
    assert [line for line in lines if "INFO" in line] == [lines[0]] and lines[0].endswith("INFO a line")
    assert lines[1:3] == ["by stdout", "by a child"]


def test_what_ends_it_is_told_once(tmp_path: Path) -> None:
    process = launched('raise EngineStartError("no room")', tmp_path, tmp_path / "engine-0.log")
    process.communicate(timeout=60)
    assert process.returncode == 1 and log_in(tmp_path).count("no room") == 1


def test_a_log_of_a_launcher_is_begun_anew_when_it_is_large(tmp_path: Path) -> None:
    serve = "logging.getLogger('parpool').handlers[0].maxBytes = 1000\nfor n in range(30):\n    " + ALL
    process = launched(serve, tmp_path, tmp_path / "engine-0.log")
    process.communicate(timeout=60)
    assert sorted(each.name for each in tmp_path.glob("*.log*"))[:2] == ["engine-0.log", "engine-0.log.1"]
    assert "by a child" in (tmp_path / "engine-0.log").read_text()


def test_of_several_with_one_log_each_has_its_own(tmp_path: Path) -> None:
    log = tmp_path / "engine-0.log"
    first = launched('up("up"); sys.stdin.read()', tmp_path, log)
    deadline = time.monotonic() + 30
    while "up" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = launched(ALL, tmp_path, log)
    second.communicate(timeout=60)
    first.communicate(timeout=60)
    assert "INFO" not in log.read_text() and "by a child" in log.read_text()
    assert (tmp_path / "uid.log").read_text().endswith("INFO a line\n")


def test_a_file_elsewhere_is_no_log_of_a_launcher(tmp_path: Path) -> None:
    process = launched(ALL, tmp_path, tmp_path.parent / f"{tmp_path.name}.log")
    process.communicate(timeout=60)
    shown = (tmp_path.parent / f"{tmp_path.name}.log").read_text()
    assert "INFO a line" in log_in(tmp_path) and "INFO a line" in shown and "by stdout" not in log_in(tmp_path)


# Signals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_cleanly_and_what_ends_it_is_not_disturbed(tmp_path: Path, number: int) -> None:
    script = source(
        f"def end():\n    os.kill(os.getpid(), {int(number)}); time.sleep(0.05); print('ended', flush=True)\n"
        # A signal that comes just before a sleep begins is heeded behind it.
        "with daemon.ended_by_signals(end):\n    up('up'); sys.stdout.flush()\n    while True: time.sleep(0.05)",
        daemonize=False,
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), "60"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert process.communicate(timeout=30)[0].startswith("ended\nafter") and process.returncode == 0


def test_nohup_is_respected(tmp_path: Path) -> None:
    script = source(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with daemon.ended_by_signals(lambda: print('ended')):\n"
        "    os.kill(os.getpid(), signal.SIGHUP); print('went on')",
    ).replace("daemonize=True", "daemonize=False")
    command = [sys.executable, "-c", script, str(tmp_path), "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("went on\nended\n")
