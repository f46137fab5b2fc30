"""Processes in jobs of a batch system: Slurm, PBS, Grid Engine, LSF, HTCondor, or any that fits into a row of `systems`.

A job is a script in the log folder. It writes the exit code of its process into a file beside it, as the systems forget
a job sooner or later, and tell of its end in many ways, or not at all; so the log folder has to be one that the nodes
share, as the connection file has to be on one. What the queue alone knows, it is asked for, and not too often.

Why not PSI/J (psij-python), the library for this? It knows neither Grid Engine nor HTCondor, submits no job arrays,
can send no signals, and polls in a thread of its own; it asks for narrow versions of four other packages, which every
user of parpool would have to have. What it would save us is the table in `systems`: and that has to be there in any
case for the two systems that it does not know.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal as signals
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import EngineStartError, ParpoolError
from .launcher import PATIENCE, RUNNING, Many, Names, Site, State, chosen, describe, last_words, multiplied
from .systems import System

FORCE = 60.0  #: seconds that a system has to end what it was told to end by force
COMMAND = 60.0  #: seconds that one of its commands may take
PAUSES = (0.1, 2.0)  #: seconds between two looks at the queue while we wait for an end: first, and at most


@dataclass
class _Element:
    """A job, or an element of an array: one name of ours."""

    name: str
    id: str
    tail: str
    index: int | None  # None: not of an array
    log: str
    offset: int  # where its part of the log begins
    exit: str  # where its script leaves the exit code
    since: float
    seen: bool = False  # the queue has known it
    deleted: bool = False
    state: State = field(default=State("queued"))


class BatchLauncher:
    """Starts processes as jobs of a batch system."""

    #: The queue takes more than there is room for.
    slots: int | None = None

    def __init__(
        self,
        site: Site,
        system: System,
        *,
        directives: Sequence[str] = (),
        prelude: str = "",
        template: str | Path | None = None,
        many: Many | None = None,
        array: bool = True,
        every: float = 10.0,
        settle: float = 60.0,
    ) -> None:
        """In jobs of this system, each with these directives: ``("--partition=long", "--time=2:00:00")`` for Slurm.

        ``prelude`` are shell commands that come before (``module load python``). ``template`` is a script, or the path
        of one, to be used instead of ours; ``{command}`` in it is where the process is started, and the other
        placeholders of `systems` may be in it, too. Where there is no job array, ``array=False``. The queue is asked
        at most ``every`` so many seconds; a job that it does not know within ``settle`` seconds is taken for lost.
        """
        self.site = site
        self.system = system
        self._directives = tuple(directives)
        self._prelude = prelude
        self._template = system.template if template is None else str(template)
        if "\n" not in self._template and "{" not in self._template:
            self._template = Path(self._template).read_text()
        needed = "{script}" if system.described else "{command}"
        if needed not in self._template:
            raise ValueError(f"the template of a job for {system.name} must have {needed} where the process is started")
        self._many = many
        self._array = array
        self._every = every
        self._settle = settle
        self._names = Names(site.label)
        self._elements: dict[str, _Element] = {}
        self._looked = -1e9

    # Start ---------------------------------------------------------------------------------------------

    def start(self, argv: Sequence[str], n: int) -> list[str]:
        """Submit them: one array, a job each, or one job with one command for all."""
        names = self._names.new(n if self._many is None else min(n, 1))
        line = self.site.fill(argv)
        if self._many is not None:
            line = multiplied(self._many, line, n)
        size = len(names) if self._array else 1
        begun: list[_Element] = []
        try:
            for first in range(0, len(names), size):
                begun += self._submit(names[first : first + size], line, n if self._many else 1)
        except EngineStartError:
            if begun:
                self._run(self._filled(self.system.delete, begun))
            raise
        self._elements.update((element.name, element) for element in begun)
        self._looked = -1e9
        return names

    def _submit(self, names: list[str], line: list[str], tasks: int) -> list[_Element]:
        logs = [self.site.log(name) for name in names]
        offsets = [log.stat().st_size if log.exists() else 0 for log in logs]  # now: the jobs may begin at once
        token = secrets.token_hex(4)  # no other launcher's files are meant, nor those of an earlier run
        stem = logs[0].with_suffix(f".{token}")
        script = self._write(stem, len(names), tasks, self._commands(names, line, token))
        done = self._run([part.replace("{script}", str(script)) for part in self.system.submit], script)
        match = self.system.job.search(done.stdout)
        if done.returncode or match is None:
            said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}")[-1000:]
            raise EngineStartError(
                f"{self.system.name} does not take the job: {said}; "
                f"look at {script}, and at the directives that were given"
            )
        now = time.monotonic()
        return [
            _Element(
                name,
                match["id"],
                match["tail"],
                self.system.first + number if len(names) > 1 else None,
                str(log),
                offsets[number],
                f"{log.with_suffix('')}.{token}.exit",
                now,
            )
            for number, (name, log) in enumerate(zip(names, logs, strict=True))
        ]

    def _write(self, stem: Path, n: int, tasks: int, commands: str) -> Path:
        """Write what is submitted, for nobody else to read: what is in it may be meant for the processes alone."""
        system, script = self.system, Path(f"{stem}.sh")
        label = self.site.label
        many = system.array if n > 1 else system.tasks if tasks > 1 else system.single
        values = {
            "label": label,
            "stem": str(stem),
            "many": many.replace("{n}", str(max(n, tasks))).replace("{label}", label),
            "directives": "\n".join(system.prefix + each.removeprefix(system.prefix) for each in self._directives),
            "command": commands,
            "script": str(script),
            "n": str(max(n, tasks)),
        }
        # Not str.format: a script has braces of its own. What has a $ before it is the shell's.
        known = re.compile(r"(?<!\$)\{(" + "|".join(values) + r")\}(\n?)")
        text = known.sub(lambda match: values[match[1]] and values[match[1]] + match[2], self._template)
        if not system.described:
            return _written(script, text)
        _written(script, f"#!/bin/sh\n{commands}\n")
        return _written(Path(f"{stem}.job"), text)

    def _commands(self, names: list[str], line: list[str], token: str) -> str:
        """What a job does."""
        first = int(names[0].rpartition("-")[2])
        number = f"$(({first - self.system.first} + {self.system.index}))" if len(names) > 1 else str(first)
        base = shlex.quote(str(self.site.log(self.site.label).with_suffix("")))
        where = shlex.quote(str((self.site.folder or Path.cwd()).absolute()))
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.site.environment.items()]
        return "\n".join(
            [
                "umask 077",
                f"base={base}-{number}",
                'exec < /dev/null >> "$base.log" 2>&1',
                *exports,
                f"cd {where} || exit",
                *([self._prelude] if self._prelude else []),
                # A signal is for the process. The shell hears it, too, and has to live to tell of the end.
                "trap : HUP INT TERM USR1 USR2",
                shlex.join(line),
                "code=$?",
                f'echo "$code" > "$base.{token}.new" && mv "$base.{token}.new" "$base.{token}.exit"',
                'exit "$code"',
            ]
        )

    # What has become of them ---------------------------------------------------------------------------

    def poll(self) -> dict[str, State]:
        """What the scripts have left, and what the queue says."""
        self._look()
        return {name: element.state for name, element in self._elements.items()}

    def _look(self, now: bool = False) -> None:
        living = [element for element in self._elements.values() if not element.state.ended]
        for element in living:
            if (code := _exit_code(element)) is not None:
                element.state = self._ended(element, code)
        living = [element for element in living if not element.state.ended]
        if not living or (time.monotonic() - self._looked < self._every and not now):
            return
        self._looked = time.monotonic()
        try:
            done = self._run(self._filled(self.system.status, living, whole=True))
        except EngineStartError as error:
            said = str(error)
        else:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            if not done.returncode or self.system.unknown.search(done.stderr + done.stdout):
                said = ""
        if said:  # it may be down for a while, and the jobs live on
            for element in living:
                element.state = State(element.state.phase, f"its state is not known: {said}")
            return
        states: dict[tuple[str, str | None], re.Match[str]] = {}
        for match in self.system.found.finditer(done.stdout):
            states[match["id"], match["index"]] = states[match["id"], None] = match
        stuck = []
        for element in living:
            index = None if element.index is None else str(element.index)
            if (entry := states.get((element.id, index))) is not None:
                element.seen = True
                if self._heard(element, entry) == "stuck":
                    stuck.append(element)
            elif element.seen or element.deleted or time.monotonic() - element.since > self._settle:
                element.state = self._ended(element, _exit_code(element))
        self._delete(stuck)

    def _heard(self, element: _Element, entry: re.Match[str]) -> str | None:
        """The queue has told of it; gives what that means."""
        state = entry["state"]
        phase = self.system.phases.get(state)
        why = f" ({entry['why']})" if entry.groupdict().get("why") else ""
        if phase == "ended":
            element.state = self._ended(element, _exit_code(element), f" in state {state}")
        elif phase == "stuck":
            words = f"could not be started, and was deleted from the queue in state {state}{why}; see: {self._more(element)}"
            element.state = State("ended", f"job {self._called(element)} {words}")
        elif phase == "queued":
            element.state = State("queued", f"queued in state {state}{why}")
        else:
            element.state = RUNNING if phase else State("running", f"in state {state}")
        return phase

    def _ended(self, element: _Element, code: int | None, how: str = "") -> State:
        job = f"job {self._called(element)}"
        if code is None and element.deleted:
            return State("ended", f"{job} was deleted")
        if code is None:
            return State(
                "ended",
                f"{job} left the queue{how} before its script came to its end: it was cancelled, its time or memory ran "
                f"out, its node was lost or does not share {Path(element.log).parent}; see: {self._more(element)}",
            )
        # A shell tells of a signal so.
        code = 128 - code if code > 128 else code
        words = f"{job} {describe(code)}"
        if code:
            words += f": {said}" if (said := last_words(Path(element.log), element.offset)) else ""
            words += f" (log: {element.log})"
        return State("ended", words, code)

    def _more(self, element: _Element) -> str:
        return self.system.more.replace("{id}", element.id)

    # Signals and the end -------------------------------------------------------------------------------

    def signal(self, signum: int, names: Iterable[str] | None = None) -> None:
        """Send a signal to those that run. A system that has no way to can still end them."""
        meant = [self._elements[name] for name in chosen(names, self._elements)]
        self._look(now=True)
        running = [element for element in meant if element.state.phase == "running"]
        if self.system.signal is None and signum not in (signals.SIGTERM, signals.SIGKILL):
            raise ValueError(f"{self.system.name} has no way to send {signals.Signals(signum).name} to a job")
        if running and (said := self._send(signum, running)):
            raise ParpoolError(f"{self.system.name} does not send {signals.Signals(signum).name}: {said}")

    def _send(self, signum: int, elements: list[_Element]) -> str:
        """Send it as far as the system can; gives what it complains about."""
        command = self._filled(self.system.signal or self.system.delete, elements)
        signame = signals.Signals(signum).name.removeprefix("SIG")
        done = self._run([part.replace("{signame}", signame) for part in command])
        return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else ""

    def stop(self, names: Iterable[str] | None = None, patience: float = PATIENCE) -> dict[str, State]:
        """Delete the jobs, waiting ones and running ones, and wait until the queue has let go of them.

        Where a system can send signals, running ones are asked to end first. To be deleted is the same for a job, but
        with the patience of the system, which may be less, or more (Slurm's KillWait, half a minute).
        """
        names = chosen(names, self._elements)
        meant = [self._elements[name] for name in names]
        self._look(now=True)
        left = [element for element in meant if not element.state.ended]
        if self.system.signal is not None:
            if running := [element for element in left if element.state.phase == "running"]:
                self._send(signals.SIGTERM, running)
                self._delete([element for element in left if element not in running])
                if left := self._await(left, patience):
                    self._send(signals.SIGKILL, left)
        said = self._delete(left)
        if left := self._await(left, FORCE):
            jobs = ", ".join(self._called(element) for element in left)
            raise ParpoolError(
                f"{self.system.name} does not end {jobs}: {said or 'without a word'}; delete them by hand"
            )
        return {name: self._elements.pop(name).state for name in names}

    def _delete(self, elements: list[_Element]) -> str:
        """Have the system delete them; gives what it complains about, such as that one has ended meanwhile."""
        if not elements:
            return ""
        for element in elements:
            element.deleted = True
        return self._run(self._filled(self.system.delete, elements)).stderr.strip()

    def _await(self, elements: list[_Element], seconds: float) -> list[_Element]:
        """Wait so long until they have ended; gives those that have not. The systems wake nobody: we have to look."""
        deadline, pause = time.monotonic() + seconds, PAUSES[0]
        while True:
            self._look(now=True)
            left = [element for element in elements if not element.state.ended]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(2 * pause, PAUSES[1])

    # For another process -------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """The jobs."""
        living = [asdict(element) for element in self._elements.values() if not element.state.ended]
        return {"system": self.system.name, "jobs": [{**job, "state": None, "since": 0.0} for job in living]}

    def adopt(self, record: Mapping[str, Any]) -> None:
        """Take over jobs."""
        if record["system"] != self.system.name:
            raise ValueError(f"these are jobs of {record['system']}, and not of {self.system.name}")
        for job in record["jobs"]:
            element = _Element(**{**job, "state": State("queued"), "since": time.monotonic()})
            self._elements[element.name] = element
        self._names.used(self._elements)
        self._looked = -1e9

    # Commands ------------------------------------------------------------------------------------------

    def _called(self, element: _Element) -> str:
        """What the commands call it."""
        return (self.system.whole if element.index is None else self.system.element).format(**vars(element))

    def _filled(self, command: tuple[str, ...], elements: list[_Element], whole: bool = False) -> list[str]:
        """The command for these jobs: for their elements, or each job as a whole."""
        ids = [self._called(element) for element in elements]
        if whole:
            array = self.system.whole_array or self.system.whole
            ids = [(self.system.whole if each.index is None else array).format(**vars(each)) for each in elements]
        ids = list(dict.fromkeys(ids))
        filled: list[str] = []
        for part in command:
            filled += ids if part == "{ids}" else [part.replace("{ids}", ",".join(ids))]
        return filled

    def _run(self, command: list[str], script: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of the system."""
        text = script.read_text() if script is not None and self.system.stdin else ""
        try:
            return subprocess.run(command, input=text, capture_output=True, text=True, timeout=COMMAND)
        except subprocess.TimeoutExpired as error:
            raise EngineStartError(
                f"{command[0]} has not answered for {COMMAND:g} s; is {self.system.name} up?"
            ) from error
        except OSError as error:
            step = f"run this where jobs are submitted, with the commands of {self.system.name} in PATH"
            raise EngineStartError(f"cannot run {command[0]}: {error.strerror}; {step}") from error


def _written(path: Path, text: str) -> Path:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "w") as file:
        file.write(text)
    return path


def _exit_code(element: _Element) -> int | None:
    """The exit code that its script has left; None: not yet, or never."""
    try:
        return int(Path(element.exit).read_text())
    except (OSError, ValueError):
        return None
