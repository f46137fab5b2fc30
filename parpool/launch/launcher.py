"""The contract of launchers, and what all of them share.

A launcher knows a command line and how often it is wanted. It does not know what it starts: that an engine is one, how
it finds its controller and whether it got there is for others to know. *Where* processes run and *how many* a command
line starts are two things, and they are combined:

=================  ==============================================  =============================================
where              class                                           how many
=================  ==============================================  =============================================
on this machine    `process.ProcessLauncher`                       a process each; or `many`: one command for all
on others, by ssh  `ssh.SshLauncher`                               a process each, by the places on each machine
in batch jobs      `batch.BatchLauncher` with a row of `systems`   an element of a job array each, a job each, or
                                                                   `many`: one job with one command for all
=================  ==============================================  =============================================

``many`` is the beginning of a command line, with the number as ``{n}``: ``"srun --ntasks={n}"``; or any function of a
command line and a number that gives a command line, such as `mpi.Mpi`.

What a launcher starts outlives the process that asked for it: that is what a cluster is for. Nothing is left for ever
all the same, for an engine ends by itself when its controller is gone; and `record` and `adopt` hand what was started
to another process.

A launcher is used by one thread at a time. It has no threads or timers that act on their own: whoever wants to know
asks.
"""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

PATIENCE = 5.0  #: seconds between the request to end and the end by force
KEPT = 2000  #: how many bytes of a log's end are looked at for the last words

Many = str | Callable[[Sequence[str], int], "list[str]"]  #: what starts so many of a command line by one


@dataclass(frozen=True)
class State:
    """What a launcher knows of a process."""

    #: queued: the system has accepted it, and has not started it yet.
    phase: Literal["queued", "running", "ended"]
    #: Why it waits, or how it ended; of one that runs, what is odd about it.
    words: str = ""
    #: The exit code of one that has ended: -9 for one that was killed by SIGKILL; None: nobody knows it.
    code: int | None = None

    @property
    def ended(self) -> bool:
        """It is there no more, and will not come."""
        return self.phase == "ended"

    def __str__(self) -> str:
        return self.words or self.phase


RUNNING = State("running")


@dataclass(frozen=True)
class Site:
    """What every launcher is told: the surroundings of the processes."""

    #: Where the logs go, one for each process; made if need be, for its owner only.
    log_folder: Path
    #: What the environment of the processes has besides.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Where they work; None: where their starter does, and on other machines the home folder.
    folder: Path | None = None
    #: Files that they read, by the name that stands for the path in a command line: ``{name}``. They may be secret.
    files: Mapping[str, Path] = field(default_factory=dict)
    #: How the names of the processes begin.
    label: str = "engine"

    def fill(self, argv: Sequence[str], *, python: str = sys.executable, **paths: str) -> list[str]:
        """The command line with the path of the interpreter for ``{python}``, and of each file for its name."""
        known = {"python": python, **{name: str(path.absolute()) for name, path in self.files.items()}, **paths}
        filled = []
        for each in argv:
            for name, path in known.items():
                each = each.replace(f"{{{name}}}", path)
            filled.append(each)
        return filled

    def log(self, name: str) -> Path:
        """The path of a process's log; its folder is there now."""
        self.log_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.log_folder.absolute() / f"{name}.log"


class Launcher(Protocol):
    """Who starts processes somewhere, and ends them.

    Names that it does not know are a KeyError everywhere. What the system refuses is an EngineStartError with what it
    said and the next step.
    """

    @property
    def slots(self) -> int | None:
        """How many processes there is room for in all; None: nobody has said."""

    def start(self, argv: Sequence[str], n: int) -> list[str]:
        """Start ``n`` processes of the command line, all or none; gives their names, which are never used again.

        One command that starts all of them has one name. Whether they live on is for `poll` to say.
        """

    def poll(self) -> dict[str, State]:
        """What is known of each process. One that has ended is told of until `stop` is called for it."""

    def signal(self, signum: int, names: Iterable[str] | None = None) -> None:
        """Send a signal to these processes, or to all; what has ended is left out. ValueError: there is no way to."""

    def stop(self, names: Iterable[str] | None = None, patience: float = PATIENCE) -> dict[str, State]:
        """End these processes, or all, and forget them: first by SIGTERM, after ``patience`` seconds by force.

        Comes back when they are gone, and says how each has ended. ParpoolError: something is still there.
        """

    def record(self) -> dict[str, Any]:
        """What another process needs to `adopt` what was started here: plain values, fit for JSON, no secrets."""

    def adopt(self, record: Mapping[str, Any]) -> None:
        """Take over what a launcher of the same kind has recorded. How it ends may then be known less well."""


def multiplied(many: Many, argv: Sequence[str], n: int) -> list[str]:
    """The command line that starts ``n`` of ``argv``."""
    if callable(many):
        return many(argv, n)
    return [part.replace("{n}", str(n)) for part in shlex.split(many)] + list(argv)


# Names ------------------------------------------------------------------------------------------------


class Names:
    """Gives names that no other process of the launcher has, or had: ``engine-0``, ``engine-1``, ..."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.next = 0

    def new(self, n: int) -> list[str]:
        """As many names."""
        if n < 1:
            raise ValueError(f"the number of processes to start must be 1 or more, not {n!r}")
        first, self.next = self.next, self.next + n
        return [f"{self.label}-{number}" for number in range(first, self.next)]

    def used(self, names: Iterable[str]) -> None:
        """These are taken, by processes that came from elsewhere."""
        for name in names:
            number = name.rpartition("-")[2]
            if number.isdecimal():
                self.next = max(self.next, int(number) + 1)


def numbered(argv: Sequence[str], name: str, together: int = 0) -> list[str]:
    """The command line with the number of the process in the place of ``{number}``, where that stands alone.

    So with ``{together}``: how many there are on its machine, if that is known.
    """
    known = {"{number}": name.partition("@")[0].rpartition("-")[2]}
    if together:
        known["{together}"] = str(together)
    return [known.get(part, part) for part in argv]


def chosen(names: Iterable[str] | None, known: Iterable[str]) -> list[str]:
    """The names that are meant; all that are known for None."""
    there = list(known)
    if names is None:
        return there
    names = list(dict.fromkeys(names))
    if unknown := [name for name in names if name not in there]:
        raise KeyError(f"there is no process {unknown[0]!r}; there are: {', '.join(there) or 'none'}")
    return names


# Words ------------------------------------------------------------------------------------------------


def describe(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "is gone"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (_KILLERS.get(name, ""))


_KILLERS = {
    "SIGKILL": " (kill -9, or the kernel when memory runs out)",
    "SIGSEGV": " (a segmentation fault in native code)",
}


def last_words(log: Path, start: int = 0) -> str:
    """The last line of a log that has words on it, from the byte ``start``: that of a traceback says the most.

    Of a line of parpool's own log what it says. One that tells neither of an error nor of an end is no reason: then
    nothing was said.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start if start <= size else 0, size - KEPT))  # it may have been begun anew, when it was large
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    line = next((line.strip() for line in reversed(lines) if any(map(str.isalnum, line))), "")
    if own := _LOGGED.fullmatch(line):
        level, message = own.groups()
        return message if level in ("ERROR", "CRITICAL") or " ends: " in message else ""
    return line


_LOGGED = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ \d+ ([A-Z]+) (.*)")
