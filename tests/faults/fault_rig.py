"""A cluster of real processes whose parts tests kill, stop, cut off and start again."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fault_wire import Wire

from parpool import Client
from parpool.client.waits import Errand
from parpool.engine.warden import TOLD_TO_DIE
from parpool.net.folder import write_private
from parpool.shm.session import sweep

HERE = Path(__file__).parent
PARPOOL = [sys.executable, "-m", "parpool"]
PATIENCE = 20.0  #: seconds for what must come about, and takes far less where nothing is wrong
ENDING = 15.0  #: seconds that an engine may take to end


def until(what: Callable[[], Any], why: str = "it does not come about") -> Any:
    """Wait until something is true; gives it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < deadline, why
        time.sleep(0.01)
    return found


def end_with_this_process() -> None:
    """Let a child not outlive the tests, also where they are killed. (Called in the child.)"""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Rig:
    """A cluster in ``folder``. ``tcp``: by loopback and with keys; otherwise by ipc.

    ``limit``: seconds without an answer after which an engine or a client is taken for dead.
    """

    def __init__(
        self, folder: Path, *, tcp: bool = False, limit: float = 10.0, db: str = "memory", options: Sequence[str] = ()
    ) -> None:
        self.folder = folder / "profile_default" / "clusters" / "default"
        self.said = folder.with_suffix(".txt")  #: what all of it has written to stderr
        self.tcp = tcp
        self.controller: subprocess.Popen[bytes] | None = None
        self.engines: list[subprocess.Popen[bytes]] = []
        self.clients: list[Client] = []
        self.controller_options = [f"--heartbeat={limit / 10:g}", "--misses=10", f"--db={db}", *options]
        if tcp:
            self.controller_options.append("--ip=127.0.0.1")
        self.engine_options: list[str] = []
        paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {**os.environ, "PARPOOL_DIR": str(folder), "PYTHONPATH": os.pathsep.join(paths)}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._wires: list[Wire] = []

    # -- the parts --------------------------------------------------------------------------------------------

    def spawn(self, argv: list[str], **more: Any) -> subprocess.Popen[bytes]:
        """Start a process that ends with the rig."""
        options = {"env": self.environment, "cwd": HERE, "preexec_fn": end_with_this_process, **more}
        with open(self.said, "ab") as said:
            process: subprocess.Popen[bytes] = subprocess.Popen(argv, **{"stdout": said, "stderr": said, **options})
        self._processes.append(process)
        return process

    def start_controller(self, *options: str, preexec: Callable[[], None] = end_with_this_process) -> None:
        """Start a controller; it is there when this returns."""
        argv = [*PARPOOL, "controller", *self.controller_options, *options]
        self.controller = process = self.spawn(argv, preexec_fn=preexec)
        until(lambda: process.poll() is not None or self.serves(process.pid), "the controller does not come up")
        assert process.poll() is None, self.log("controller")

    def serves(self, pid: int) -> bool:
        """Has this controller written its files?"""
        with suppress(OSError, ValueError):
            return all(json.loads((self.folder / f"{role}.json").read_bytes())["pid"] == pid for role in ROLES)
        return False

    def start_engines(self, count: int, *options: str, file: Path | None = None, wait: bool = True) -> list[int]:
        """Start engines; gives the ids that have come when all are there. ``file``: their connection file."""
        path = file or self.folder / "engine.json"
        before = set(self.ids()) if wait else set()
        for _ in range(count):
            argv = [*PARPOOL, "engine", f"--file={path}", *self.engine_options, *options]
            self.engines.append(self.spawn(argv))
        if not wait:
            return []
        until(lambda: len(set(self.ids()) - before) == count, "the engines do not come")
        return sorted(set(self.ids()) - before)

    def connect(self, source: Any = None, **options: Any) -> Client:
        """A client, which is closed with the rig."""
        client = Client(source or self.folder / "client.json", **options)
        self.clients.append(client)
        return client

    @property
    def client(self) -> Client:
        """The first client."""
        return self.clients[0] if self.clients else self.connect()

    def ids(self) -> list[int]:
        """The ids of the engines that serve."""
        return [each["id"] for each in self.status()["engines"]]

    def status(self) -> dict[str, Any]:
        """What the controller says of itself. (Here nothing may wait for ever.)"""
        answers: list[tuple[Any, str]] = []
        errand, link = Errand(), self.client.link

        def reply(value: Any, error: str) -> None:
            answers.append((value, error))
            errand.finish()

        link._host.ask("cluster_status", {}, reply)
        assert link._baton.wait(errand, PATIENCE), "the controller does not answer"
        ((value, error),) = answers
        assert not error, error
        found: dict[str, Any] = value
        return found

    def pid_of(self, id: int) -> int:
        """The process of an engine."""
        return next(each["pid"] for each in self.status()["engines"] if each["id"] == id)

    def log(self, kind: str) -> str:
        """What the processes of this kind have logged."""
        return "".join(each.read_text() for each in sorted((self.folder / "log").glob(f"{kind}-*.log*")))

    @property
    def sockets(self) -> Path:
        """The folder of the controller's sockets."""
        return Path(json.loads((self.folder / "controller.json").read_bytes())["session"])

    def wire(self, role: str, **changes: Any) -> tuple[Wire, Path]:
        """A cable to the controller, and the connection file of who uses it, as if from another machine."""
        fields = {**self.fields(role), **changes}
        wire = Wire(fields["addresses"])
        self._wires.append(wire)
        return wire, self.write(
            self.folder.parent / f"{role}{len(self._wires)}.json", {**fields, "addresses": wire.addresses}
        )

    # -- what happens to them ---------------------------------------------------------------------------------

    def kill_controller(self) -> None:
        """End it as the kernel does."""
        assert self.controller is not None
        self.controller.kill()
        self.controller.wait()

    def restart_controller(self) -> None:
        """Kill it, and start another one in its place."""
        self.kill_controller()
        self.start_controller()

    def fields(self, role: str) -> dict[str, Any]:
        """What is in the connection file of a role."""
        found: dict[str, Any] = json.loads((self.folder / f"{role}.json").read_bytes())
        return found

    def write(self, path: Path, fields: dict[str, Any]) -> Path:
        """A connection file elsewhere."""
        write_private(path, json.dumps(fields).encode())
        return path

    def end(self) -> None:
        """End what is left of it. Nothing may be left behind but what a kill leaves."""
        for client in self.clients:
            client.close()
        for process in self._processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
        controller, left = self.controller, []
        if controller is not None and controller.poll() is None:
            controller.terminate()
            try:
                assert controller.wait(ENDING) == 0, f"{controller.returncode}: {self.log('controller')}"
            except subprocess.TimeoutExpired:
                left.append(controller.args)
                controller.kill()
                controller.wait()
        for process in self._processes:
            if controller is None or controller.returncode:  # it has told no engine to end
                process.kill()
            try:
                process.wait(ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                left.append(process.args)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        for wire in self._wires:
            wire.close()
        if any(process.returncode not in (0, TOLD_TO_DIE) for process in self._processes):
            sweep()  # as whoever starts next does
        assert not left, f"these do not end with their controller: {left}"


ROLES = ("client", "engine")

MakeRig = Callable[..., Rig]


def end_of(result: Any) -> Any:
    """The value of a result, or its exception; it must come."""
    result.wait(PATIENCE)
    assert result.ready(), "a result has not come"
    try:
        return result.get(0)
    except Exception as error:
        return error


def ends_of(results: Iterable[Any]) -> list[Any]:
    """Those of several."""
    return [end_of(each) for each in results]


def lines(path: Path) -> list[str]:
    """What tasks have written into a file."""
    return path.read_text().split() if path.exists() else []


def begun(path: Path, count: int = 1, results: Sequence[Any] = ()) -> None:
    """Wait until so many tasks have noted in the file that they run. ``results``: what they come to."""
    deadline = time.monotonic() + PATIENCE
    while len(lines(path)) < count:
        if time.monotonic() > deadline or (results and all(each.ready() for each in results)):
            ends = Counter(kind_of(each) for each in results)
            raise AssertionError(f"{len(lines(path))} of {count} tasks have begun: {ends.most_common(8)}")
        time.sleep(0.01)


def kind_of(result: Any) -> str:
    """In a few words what has become of a result."""
    if not result.ready():
        return "pending"
    error = end_of(result)
    return f"{type(error).__name__}: {error}"[-120:] if isinstance(error, Exception) else "ok"


def let_go(path: Path) -> None:
    """Let the tasks end that wait for the file."""
    Path(f"{path}.go").touch()
