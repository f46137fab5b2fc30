"""The driver: starts a process for each contestant of a case, asks them in turn, and ends them all.

Isolation and fairness come from the same arrangement. A contestant shares its process with nobody, and
sleeps while another is asked, so rounds interleave (A B A B ...) and what disturbs the machine for a
second disturbs neighbours alike. Nothing is left running: a process group and a token in the environment lead
to every process a library has started, also to those that detach themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cases import Case
from measures import Sample

HERE = Path(__file__).resolve().parent
TOKEN = "PARPOOL_BENCHMARK_RUN"
OPENING = 120.0  # seconds a library may take to import, open and warm up
CLOSING = 15.0  # and to end by itself


class Failed(Exception):
    """A contestant could not give a sample; the text says why."""


@dataclass
class Column:
    """What one contestant reached in one case."""

    samples: list[Sample] = field(default_factory=list)
    failure: str = ""

    @property
    def values(self) -> list[float]:
        return [sample.value for sample in self.samples]

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.samples else None


Columns = dict[str, Column]
Progress = Callable[[str], None]


def ratio(subject: Column, reference: Column) -> float | None:
    """The median of the ratios within each round, which cancels what slows a whole round down."""
    pairs = list(zip(subject.values, reference.values, strict=False))
    return statistics.median(mine / theirs for mine, theirs in pairs) if pairs else None


class Measured:
    """A contestant in its own process, process group and working folder."""

    def __init__(self, case: Case, name: str, quick: bool) -> None:
        self.token = secrets.token_hex(8)
        self.limit = case.limit
        self.folder = tempfile.mkdtemp(prefix="bench-")
        self.log = Path(self.folder, "log")
        command = [sys.executable, str(HERE / "measured.py"), case.name, name, "quick" if quick else "full"]
        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self.folder,
                    env=self.environment(),
                    start_new_session=True,  # Ctrl-C reaches the driver alone, which then ends everybody
                )
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def environment(self) -> dict[str, str]:
        # Workers of every library must find `workload`, and the folder is no longer the caller's.
        inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        paths = [str(HERE), *(str(Path(path).resolve()) for path in inherited if path)]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "IPYTHONDIR": str(Path(self.folder, "ipython")),
            "RAY_USAGE_STATS_ENABLED": "0",
            TOKEN: self.token,
        }

    def ready(self) -> None:
        self.answer(OPENING)

    def sample(self) -> Sample:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"go\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Failed(self.last_words()) from error
        answer = self.answer(self.limit)
        return Sample(answer["value"], answer["detail"])

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next line, read without a buffer of our own so that `select` always tells the truth."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        end, line = time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            remaining = end - time.monotonic()
            if remaining < 0:
                raise Failed(f"no answer within {seconds:g} s")
            # Asked first and looked at last: what it wrote before it ended is not lost. Its workers may
            # hold the pipe, so the end of the process does not always show as an end of file.
            ended = self.process.poll() is not None
            readable, _, _ = select.select([descriptor], [], [], 0.0 if ended else min(0.5, remaining))
            if not readable and not ended:
                continue
            if not readable:
                raise Failed(self.last_words())
            part = os.read(descriptor, 65536)
            if not part:
                raise Failed(self.last_words())
            line += part
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "ended without a word"

    def close(self, patience: float = CLOSING) -> None:
        """End it and everything it started: by its own means first, then by force."""
        try:
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            for process in marked(self.token):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)
            self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


def marked(token: str) -> list[int]:
    """Processes that inherited the token, whatever group or parent they have by now (Linux only)."""
    mark, found = f"{TOKEN}={token}".encode(), []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return found


@contextlib.contextmanager
def opened(case: Case, name: str, quick: bool) -> Iterator[Measured]:
    measured = Measured(case, name, quick)
    patience = 0.0  # after a failure or Ctrl-C nobody waits for manners
    try:
        measured.ready()
        yield measured
        patience = CLOSING
    finally:
        measured.close(patience)


def duel(case: Case, names: Sequence[str], quick: bool, progress: Progress, rounds: int | None = None) -> list[Column]:
    """Every contestant of a case, round by round in turn; a column for each, in the order of `names`.

    A name may come twice: the stdlib against itself shows the noise of the machine.
    """
    columns = [Column() for _ in names]
    open_: dict[int, Measured] = {}
    with contextlib.ExitStack() as stack:

        def take(place: int) -> Sample:
            if case.fresh:
                with opened(case, names[place], quick) as measured:
                    return measured.sample()
            if place not in open_:
                open_[place] = stack.enter_context(opened(case, names[place], quick))
            return open_[place].sample()

        rounds = rounds or (case.quick_rounds if quick else case.rounds)
        progress(f"{case.name}: {rounds} rounds of {', '.join(names)}")
        for _ in range(rounds):
            for place, column in enumerate(columns):
                if column.failure:  # it keeps the samples it gave, and is not asked again
                    continue
                try:
                    column.samples.append(take(place))
                except Failed as failure:
                    column.failure = str(failure)
    return columns
