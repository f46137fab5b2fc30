"""One machine in the use of a `ssh.SshLauncher`: the line to its keeper, and what is known of its processes."""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .. import __version__
from ..errors import EngineStartError, ParpoolError
from .launcher import RUNNING, Site, State
from .line import Line, Lost
from .machines import Machine
from .process import GLANCE
from .tunnel import Reverse, rewritten

ANSWER = 10.0  #: seconds that a keeper has for an answer
END = 5.0  #: seconds that it has to remove its folder

#: What to do about what ssh or the shell there says; else, to try it by hand.
STEPS = (
    ("No module named", "install parpool there, or name the interpreter that has it (python=...)"),
    ("not found", "name the interpreter there (python=...)"),
    ("No such file", "name the interpreter there (python=...)"),
    ("Permission denied", "give it your key (ssh-copy-id), and let ssh-agent hold it"),
    ("Host key verification failed", "log in once by hand and accept its key"),
    ("resolve hostname", "is the name right?"),
    ("remote port forwarding failed", "does the sshd there allow tunnels (AllowTcpForwarding)?"),
)


class Outpost:
    """A machine, its keeper and its processes, whose names are ``engine-0@address`` here and ``engine-0`` there."""

    def __init__(
        self, machine: Machine, site: Site, command: Sequence[str], tunnels: Sequence[str], master: bool, timeout: float
    ) -> None:
        self.machine = machine
        self.slots = machine.slots
        self.states: dict[str, State] = {}
        self._site = site
        self._command = [*command, *machine.options]
        self._tunnels = Reverse(tunnels, master)
        self._timeout = timeout
        self._line: Line | None = None
        self._deadline = 0.0
        self._records: dict[str, list[Any]] = {}  # by their names there, what another keeper needs to take them over
        self._held: set[str] = set()  # by their names there, those that the keeper knows of

    # The line ------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """There is a line."""
        return self._line is not None

    def call(self) -> None:
        """Begin a connection; `greet` waits for it."""
        self._deadline = time.monotonic() + self._timeout
        remote = f"exec {self.machine.interpreter} -m parpool.launch.keeper"
        log = self._site.log(f"ssh-{re.sub('[^A-Za-z0-9_.@-]', '_', self.machine.address)}")
        try:
            self._line = Line([*self._command, *self._tunnels.options(), "--", self.machine.address, remote], log)
        except OSError as error:
            raise EngineStartError(f"cannot run {self._command[0]}: {error.strerror}; is it installed?") from error
        self._line.ask("hello")

    def greet(self) -> None:
        """Wait for the connection; tell the keeper what the processes need, and of those that are there already."""
        assert self._line is not None
        hello = self._line.answer(1, self._deadline)
        if hello["version"] != __version__:
            raise EngineStartError(f"parpool {hello['version']} is there, and {__version__} here: install the same")
        self.slots = self.slots or hello["cpus"]
        self._tunnels.open(self._command, self.machine.address, self._timeout)
        while not self._tunnels.told(self._line.allocated()):
            if time.monotonic() > self._deadline:
                raise EngineStartError("ssh does not tell of the ports of the tunnels")
            time.sleep(GLANCE)  # it writes them into a file
        files = {}
        for name, path in self._site.files.items():
            try:
                content = path.read_bytes()
            except OSError as error:
                raise EngineStartError(f"cannot read {path}: {error.strerror}; the processes there need it") from error
            if self._tunnels.addresses:
                content = rewritten(content.decode(), self._tunnels.entrances).encode()
            files[name] = base64.b64encode(content).decode()
        environment = {**self._site.environment, **self.machine.environment}
        folder = self.machine.folder or (str(self._site.folder) if self._site.folder else None)
        self._tell("prepare", environment=environment, folder=folder, files=files, label=self._site.label)
        self._held = set(self._records)
        if self._records:
            self._tell("adopt", record={"processes": self._records})

    def close(self) -> None:
        """Leave the machine."""
        line, self._line = self._line, None
        if line is not None:
            line.close(END)
            self._tunnels.close(self._command, self.machine.address, self._timeout)
        self._records.clear()

    def cut(self) -> None:
        """The line is lost."""
        if self._line is not None:
            self._line.close(0)
            self._line = None

    def ask(self, order: str, **arguments: Any) -> int:
        """Send an order; gives the number of its answer."""
        assert self._line is not None
        return self._line.ask(order, **arguments)

    def answer(self, number: int, seconds: float) -> Any:
        """What the keeper said to it."""
        assert self._line is not None
        return self._line.answer(number, time.monotonic() + seconds)

    def _tell(self, order: str, **arguments: Any) -> Any:
        """Send an order, and wait for its answer."""
        return self.answer(self.ask(order, **arguments), ANSWER)

    @contextmanager
    def named(self, what: str, kind: type[ParpoolError] = ParpoolError) -> Iterator[None]:
        """An error inside is one of this machine, and says what to do."""
        try:
            yield
        except ParpoolError as error:
            address, words = self.machine.address, str(error)
            step = f"; does this work: ssh {address} true?" if isinstance(error, Lost) else ""
            step = next((f"; {step}" for said, step in STEPS if isinstance(error, Lost) and said in words), step)
            raise kind(f"{what} {address}: {words}{step}") from error

    # The processes -------------------------------------------------------------------------------------

    @property
    def living(self) -> int:
        """How many are there."""
        return sum(not state.ended for state in self.states.values())

    def _ours(self, name: str) -> str:
        """The name here of one there."""
        return f"{name}@{self.machine.address}"

    def theirs(self, names: Sequence[str]) -> list[str]:
        """Of names here, those that live on this machine, as they are there."""
        return [self._there(name) for name in names if name in self.states and not self.states[name].ended]

    def held(self, names: Sequence[str]) -> list[str]:
        """Of names here, those that the keeper has to forget, as they are there: also of some that have ended."""
        there = [self._there(name) for name in names if name in self.states] if self.connected else []
        return [name for name in there if name in self._held]

    def stopped(self, reply: Mapping[str, tuple[str, int | None]]) -> None:
        """The keeper has ended these, and forgotten them."""
        self.heard(reply)
        self._held.difference_update(reply)

    def _there(self, name: str) -> str:
        return name.removesuffix(f"@{self.machine.address}")

    def fill(self, argv: Sequence[str]) -> list[str]:
        """The command line, with what the keeper knows better left to it."""
        return self._site.fill(argv, python=self.machine.python, **{name: f"{{{name}}}" for name in self._site.files})

    def began(self, reply: Mapping[str, Any]) -> list[str]:
        """The keeper has started these; gives their names here."""
        self._records = dict(reply["processes"])
        self._held.update(reply["names"])
        names = [self._ours(name) for name in reply["names"]]
        self.states.update(dict.fromkeys(names, RUNNING))
        return names

    def heard(self, reply: Mapping[str, tuple[str, int | None] | None]) -> None:
        """The keeper tells of those that have ended, in words, and of the others."""
        for theirs, end in reply.items():
            name = self._ours(theirs)
            if name not in self.states:  # it was stopped, and is of no interest any more
                continue
            if end is None:
                self.states[name] = RUNNING
            elif not self.states[name].ended:
                self._records.pop(theirs, None)
                words = re.sub(r" \(log: [^)]*\)$", f" (log: {self._log(theirs)})", end[0])
                self.states[name] = State("ended", f"on {self.machine.address}: {words}", end[1])

    def _log(self, theirs: str) -> str:
        """Have the log of one that has ended here: the folder there does not stay."""
        path = self._site.log(self._ours(theirs))
        try:
            content = base64.b64decode(self._tell("log", name=theirs))
        except ParpoolError as error:
            return f"none: {error}"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.write(content)
        return str(path)

    def odd(self, words: str) -> None:
        """Nothing is known at the moment of those that were there."""
        self._all("running", words)

    def _all(self, phase: Any, words: str) -> None:
        for name, state in self.states.items():
            if not state.ended:
                self.states[name] = State(phase, words)

    def take_over(self) -> None:
        """Call again after the line was cut: the processes may be there still."""
        try:
            with self.named("lost"):
                self.call()
                self.greet()
        except ParpoolError as error:
            self.cut()
            self._all("ended", f"{error}; what is left there ends when it misses its controller")

    def record(self) -> dict[str, Any]:
        """What a launcher in another process needs."""
        return dict(self._records)

    def remember(self, record: Mapping[str, Any]) -> None:
        """These were started by a launcher in another process."""
        self._records = dict(record)
        self.states.update({self._ours(name): RUNNING for name in record})
