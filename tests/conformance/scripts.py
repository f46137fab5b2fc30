"""Run a Python script as its own session, under a hard limit, and say what it left behind.

Whatever the script does (hang, be killed, forget its children), the caller gets an `Ended` in bounded time and the
machine is clean afterwards. Output goes to files, not pipes: an orphan that holds a pipe open would block the reader.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

MARK = "CONFORMANCE_RUN"
"""The environment variable by which a run's processes are known, also those that left its session."""

GRACE = 8.0
"""Seconds that processes get to notice the script's end. The promise is about one; loaded machines are slow."""


@dataclass
class Ended:
    """How a script ended."""

    status: int | None
    """Exit status, negative for a signal; None when the limit was reached."""
    out: str
    err: str
    seconds: float
    left: list[str] = field(default_factory=list)
    """Processes of the script that were still there after the grace time."""

    def report(self) -> str:
        end = "ran into its limit" if self.status is None else f"ended with status {self.status}"
        left = f"\nleft behind: {self.left}" if self.left else ""
        return (
            f"{end} after {self.seconds:.1f} s{left}\n--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-12000:]}"
        )


def run(
    argv: Sequence[str],
    limit: float,
    *,
    env: Mapping[str, str] | None = None,
    meanwhile: Callable[[subprocess.Popen[bytes], Path], None] | None = None,
    cwd: str | None = None,
) -> Ended:
    """Run ``python *argv``. `meanwhile(process, path of its stdout)` may act on it while it runs."""
    mark = uuid.uuid4().hex
    started = time.monotonic()
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**environment(), **(env or {}), MARK: mark},
            start_new_session=True,
            cwd=cwd,
        )
        failed: Exception | None = None
        status: int | None = None
        try:
            if meanwhile is not None:
                meanwhile(process, Path(out.name))
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler writes every thread's stack
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        except AssertionError as error:
            failed = error
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            seconds = time.monotonic() - started
            left = sweep(process.pid, mark, GRACE if status is not None else 0.0)
        ended = Ended(status, _text(out), _text(err), seconds, left)
    if failed is not None:
        raise AssertionError(f"{failed}: {ended.report()}") from failed
    return ended


def environment() -> dict[str, str]:
    """This process's environment, with the folder of a parpool that is not installed on the path."""
    env = {name: value for name, value in os.environ.items() if name != MARK}
    spec = importlib.util.find_spec("parpool")
    folders = [str(Path(__file__).resolve().parent)]
    if spec is not None and spec.origin is not None and "site-packages" not in spec.origin:
        folders.append(str(Path(spec.origin).resolve().parent.parent))
    if env.get("PYTHONPATH"):
        folders.append(env["PYTHONPATH"])
    env["PYTHONPATH"] = os.pathsep.join(folders)
    env.pop("PYTHONWARNINGS", None)
    return env


def wait_for(process: subprocess.Popen[bytes], path: Path, text: str, seconds: float) -> str:
    """Wait until a script has written a whole line that begins with `text`; return that line."""
    end = time.monotonic() + seconds
    while True:
        ended = process.poll() is not None
        for line in path.read_text(errors="replace").splitlines(keepends=True):
            if line.startswith(text) and line.endswith("\n"):
                return line.rstrip("\n")
        assert not ended, f"it ended without a line {text!r}"
        assert time.monotonic() < end, f"no line {text!r} within {seconds} s"
        time.sleep(0.02)


def sweep(session: int, mark: str, grace: float) -> list[str]:
    """Wait up to `grace` seconds for the run's processes to be gone; name and kill those that are not."""
    end = time.monotonic() + grace
    while (pids := _members(session, mark)) and time.monotonic() < end:
        time.sleep(0.05)
    left = [f"{pid}: {_command(pid)}" for pid in pids]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    return left


def alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not: nobody may be there to collect it."""
    return _state(pid)[0] not in ("", "Z", "X")


def gone(pids: Sequence[int], seconds: float) -> list[int]:
    """Wait for processes to end; return those that did not."""
    end = time.monotonic() + seconds
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def _members(session: int, mark: str) -> list[int]:
    if not os.path.isdir("/proc/self"):
        return []  # no cheap way to list processes here; the tests' other assertions still hold
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            state, of = _state(int(name))
            if state not in ("", "Z", "X") and (of == session or _marked(name, mark)):
                found.append(int(name))
    return found


def _state(pid: int) -> tuple[str, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return "", -1
    return fields[0].decode(), int(fields[3])


def _marked(pid: str, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return "?"


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
