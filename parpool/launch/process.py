"""Processes on this machine.

Each is the leader of a session of its own: Ctrl-C at the terminal of who started it does not reach it, and neither does
the end of that terminal. So it outlives its starter, by intention or because that one crashed. It is not left behind
for ever: an engine ends by itself when its controller is gone, and a controller when it is told to.

When one is stopped, what it has started in its session ends with it, also if it has ended long before. So the ranks of
an ``mpiexec`` that had to be killed do not stay, nor the children of an engine that died.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import EngineStartError, ParpoolError
from .launcher import PATIENCE, RUNNING, Many, Names, Site, State, chosen, describe, last_words, multiplied, numbered

FORCE = 10.0  #: seconds that a killed process has to vanish
GLANCE = 0.02  #: seconds between two looks, where the system cannot wake us
POSIX = os.name == "posix"


class ProcessLauncher:
    """Starts processes here, and ends them."""

    #: Who asks for more than there are cores has a reason.
    slots: int | None = None

    def __init__(self, site: Site, many: Many | None = None) -> None:
        self.site = site
        self.many = many
        #: Whoever knows of names elsewhere may say which is next.
        self.names = Names(site.label)
        self._children: dict[str, _Child] = {}

    def start(self, argv: Sequence[str], n: int) -> list[str]:
        """Start ``n`` of them, or one command that starts all."""
        names = self.names.new(n if self.many is None else min(n, 1))
        line = self.site.fill(argv)
        alike = self.many is not None
        if self.many is not None:
            line = multiplied(self.many, line, n)
        begun: dict[str, _Child] = {}
        together = sum(not child.state().ended for child in self._children.values()) + len(names)
        try:
            for name in names:
                begun[name] = self._begin(name, line if alike else numbered(line, name, together))
        except OSError as error:
            _end(list(begun.values()), 0)
            raise EngineStartError(_refused(line, error, len(begun), len(names))) from error
        self._children.update(begun)
        return names

    def _begin(self, name: str, line: list[str]) -> _Child:
        log = self.site.log(name)
        # Added to, never begun anew: it may be all that tells of an earlier process of this name.
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(fd, "ab") as output:
            process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.site.folder,
                env={**os.environ, **self.site.environment},
                start_new_session=POSIX,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
            return _Child(process.pid, birth(process.pid), log, output.tell(), process)

    def poll(self) -> dict[str, State]:
        """What has become of them."""
        return {name: child.state() for name, child in self._children.items()}

    def signal(self, signum: int, names: Iterable[str] | None = None) -> None:
        """Send a signal to the processes, not to what they have started."""
        for name in chosen(names, self._children):
            self._children[name].send(signum)

    def stop(self, names: Iterable[str] | None = None, patience: float = PATIENCE) -> dict[str, State]:
        """End them, and what is left in their sessions, also in those of processes that have ended by themselves."""
        names = chosen(names, self._children)
        _end([self._children[name] for name in names], patience)
        return {name: self._children.pop(name).state() for name in names}

    def record(self) -> dict[str, Any]:
        """The process ids, and when each process began: a number alone may be another's by and by."""
        return {
            "processes": {
                name: [child.pid, child.birth, str(child.log)]
                for name, child in self._children.items()
                if not child.state().ended
            }
        }

    def adopt(self, record: Mapping[str, Any]) -> None:
        """Take over processes that are not our children. (Not on Windows, where a number is all there is of them.)"""
        if POSIX:
            self.names.used(record["processes"])
            for name, (pid, born, log) in record["processes"].items():
                self._children[name] = _Child(pid, born, Path(log))

    def wait(self) -> None:
        """Until all have ended by themselves."""
        for child in self._children.values():
            while not child.state().ended:
                await_end(child.pid, time.monotonic() + 60)


class _Child:
    """A process: ours, or with ``process`` None one that we have taken over.

    One that has ended is not waited for until it is stopped: so long nobody else can have its number, and what is left
    in its session is known for its own.
    """

    def __init__(
        self,
        pid: int,
        born: str | None,
        log: Path,
        offset: int = 0,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.pid = pid
        self.birth = born
        self.log = log
        self._offset = offset  # where its part of the log begins
        self._process = process

    def _lives(self) -> bool:
        if self._process is None:
            return birth(self.pid) == self.birth is not None
        return self._process.returncode is None and _glance(self._process) is None

    def state(self) -> State:
        if self._lives():
            return RUNNING
        code = None
        if self._process is not None:
            code = _glance(self._process) if self._process.returncode is None else self._process.returncode
        words = f"pid {self.pid} {describe(code)}"
        if code:
            words += f": {said}" if (said := last_words(self.log, self._offset)) else ""
            words += f" (log: {self.log})"
        return State("ended", words, code)

    def send(self, signum: int) -> None:
        if self._lives():
            with contextlib.suppress(ProcessLookupError):  # one that we have taken over, in between
                os.kill(self.pid, signum)

    def ask(self) -> None:
        """Ask it to end."""
        self.send(signal.SIGTERM)
        if sys.platform != "win32":
            self.send(signal.SIGCONT)  # one that was stopped hears it then, too

    @property
    def session(self) -> int | None:
        """The session that is its own; None: it may be another's by now."""
        if self._process is None:
            return self.pid if self._lives() else None
        return self.pid if self._process.returncode is None else None

    def reap(self) -> None:
        """It was killed: wait until it is gone."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(FORCE)
        elif self._lives():
            await_end(self.pid, time.monotonic() + FORCE)
        if self._lives():
            raise ParpoolError(f"process {self.pid} does not end, though it was killed: look at what it waits for")


def _end(children: list[_Child], patience: float) -> None:
    """Let them end for so long; after that by force, as what is left in their sessions."""
    sessions = [session for child in children if (session := child.session) is not None]
    for child in children:
        child.ask()
    deadline = time.monotonic() + patience
    for child in children:
        if child.session is not None:
            await_end(child.pid, deadline)
    kill_sessions(sessions)
    for child in children:
        child.reap()


def _glance(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a child, which is left to be waited for; None: it lives."""
    if not hasattr(os, "waitid"):  # not on Windows, nor on a Mac before Python 3.13
        return process.poll()
    try:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # somebody else has waited for it
        return process.poll()
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _refused(line: list[str], error: OSError, begun: int, n: int) -> str:
    if error.filename is not None and str(error.filename) != line[0]:
        step = f"{error.filename} must be there, and yours to use"
    elif isinstance(error, (FileNotFoundError, PermissionError)):
        step = "is it installed, may it be run, and is its folder in PATH?"
    else:
        step = "start fewer, or raise the limit of processes or memory (ulimit -a)"
    count = f" (after {begun} of {n})" if begun else ""
    return f"cannot start {line[0]}{count}: {error.strerror or error}; {step}"


# Processes and sessions, by their numbers ---------------------------------------------------------------


def birth(pid: int) -> str | None:
    """When the process began, in the system's own terms; None: there is none, or it has only not been waited for."""
    if (fields := _stat(pid)) is not None:
        return None if fields[0] in "ZX" else fields[19]
    if not POSIX or os.path.exists("/proc/self/stat"):
        return None
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return None if not shown or shown.startswith("Z") else shown.split(None, 1)[1]


def _stat(pid: int | str) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def await_end(pid: int, deadline: float) -> bool:
    """Wait until the process has ended, without reaping it; at most until then. Says whether it has."""
    left = max(0.0, deadline - time.monotonic())
    if hasattr(os, "pidfd_open"):
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # an old kernel, or no descriptors left
        else:
            try:
                # Not select.select: that knows no numbers beyond 1023.
                poller = select.poll()
                poller.register(fd, select.POLLIN)
                return bool(poller.poll(left * 1000))
            finally:
                os.close(fd)
    while birth(pid) is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(GLANCE)
    return True


def kill_sessions(sids: Sequence[int]) -> None:
    """SIGKILL to all processes of these sessions."""
    if sys.platform == "win32":
        for sid in sids:
            with contextlib.suppress(OSError):
                os.kill(sid, signal.SIGTERM)  # which is an end by force there
    elif os.path.exists("/proc/self/stat"):
        # Until there is nobody new: what was being forked a moment ago is found in the next round.
        while sids and (members := in_sessions(sids)):
            for pid in members:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + FORCE
            if not all([await_end(pid, deadline) for pid in members]):
                return  # in the kernel's hands
    else:
        for sid in sids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(sid, signal.SIGKILL)


def in_sessions(sids: Sequence[int]) -> list[int]:
    """The living processes of these sessions."""
    wanted, members = set(map(str, sids)), []
    for name in os.listdir("/proc"):
        if name.isdecimal() and (fields := _stat(name)) is not None:
            if fields[3] in wanted and fields[0] not in "ZX":
                members.append(int(name))
    return members
