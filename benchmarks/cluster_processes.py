"""Clusters for the benchmarks: every process is started by the command that a user would type, and ended at last.

A child that reads commands ends with its input, so whatever becomes of the benchmark, nobody stays behind for long.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).parent
PATIENCE = 60.0  #: seconds that a process has for what is asked of it
TICK = 0.002  #: seconds between two looks at what another process does


class Cluster:
    """A controller, and engines of two kinds, in a folder of their own: a context manager.

    ``engines`` run tasks. ``light`` ones are sockets in one process (``cluster_light.py``), with ``lanes`` as though
    they were on this machine. ``transport`` is ``ipc`` or ``tcp``; ``db`` is ``memory`` or ``sqlite``.
    """

    def __init__(
        self,
        engines: int = 0,
        *,
        light: int = 0,
        lanes: bool = False,
        transport: str = "ipc",
        db: str = "memory",
        wait: bool = True,
    ) -> None:
        import parpool  # here, as `cluster_peers.py` does without

        self._numbers = engines, light
        self._lanes = lanes
        self._wait = wait
        self._temporary = tempfile.TemporaryDirectory(prefix="cluster-")
        self._folder = Path(self._temporary.name)
        self.home = self._folder / "profile_default" / "clusters" / "default"
        self.file = str(self.home / "client.json")
        self._environment = {
            **os.environ,
            "PARPOOL_DIR": str(self._folder),
            # Engines import the functions, too; and all have the parpool that this process has.
            "PYTHONPATH": os.pathsep.join((str(HERE), str(Path(parpool.__file__).parents[1]))),
        }
        self._options = ["--ip", "127.0.0.1"] if transport == "tcp" else []
        if db == "sqlite":
            self._options += ["--db", f"sqlite:///{self._folder / 'tasks.db'}"]
        self._errors = (self._folder / "errors").open("ab")
        self._controller: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []
        self._started: list[subprocess.Popen[bytes]] = []  #: all of them

    def __enter__(self) -> Cluster:
        try:
            self.start_controller()
            engines, light = self._numbers
            for _ in range(engines):
                self._others.append(self._run("-m", "parpool", "engine", "--log-level", "warning"))
            if light:
                arguments = ["--lanes"] if self._lanes else []
                code = str(HERE / "cluster_light.py")
                self._others.append(self._run(code, str(self.home / "engine.json"), str(light), *arguments))
            if self._wait:
                self.wait_for_engines(engines + light)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        # In a thread: what Ctrl-C raises in the main one would lose a process that has begun, and is not returned yet.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._start, arguments).result()

    def _start(self, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=self._environment,
            cwd=self._folder,  # `python -m` looks for modules there first
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )
        self._started.append(process)
        return process

    def start_controller(self) -> float:
        """Start one, and wait for its files; gives when it was started, by the monotonic clock."""
        for name in ("client.json", "engine.json"):  # of one that was killed
            (self.home / name).unlink(missing_ok=True)
        begun = time.monotonic()
        self._controller = process = self._run("-m", "parpool", "controller", "--log-level", "warning", *self._options)
        self.until(lambda: (self.home / "client.json").exists() or process.poll() is not None, "the controller")
        if process.poll() is not None:
            raise RuntimeError(f"the controller has ended: {self.errors()}")
        return begun

    def kill_controller(self) -> None:
        """End it by force."""
        assert self._controller is not None
        self._controller.kill()
        self._controller.wait()

    def errors(self) -> str:
        """The end of what the processes have written on stderr."""
        with contextlib.suppress(OSError):
            return (self._folder / "errors").read_text(errors="replace").strip()[-300:]
        return ""

    def until(self, done: Any, what: str, limit: float = PATIENCE) -> None:
        """Wait until ``done()``."""
        deadline = time.monotonic() + limit
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: nothing within {limit:g} s ({self.errors()})")
            time.sleep(TICK)

    def wait_for_engines(self, count: int) -> None:
        """Wait until so many serve."""
        import parpool

        with parpool.Client(self.file) as client:
            if not client.wait_for_engines(count, timeout=PATIENCE):
                raise TimeoutError(f"{len(client.ids)} of {count} engines have come: {self.errors()}")

    def close(self) -> None:
        """End everything."""
        # The controller first: it tells its engines to end.
        for process in filter(None, (self._controller, *self._started)):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._errors.close()
        self._temporary.cleanup()

    # -- what the controller costs ----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the controller."""
        assert self._controller is not None
        return self._controller.pid

    def cpu(self) -> float:
        """Seconds of CPU that the controller has used, with all its threads."""
        return cpu(self.pid)

    def engines_cpu(self) -> float:
        """The same of all engines."""
        return sum(cpu(process.pid) for process in self._others)

    def rss(self) -> int:
        """Bytes of memory that the controller has."""
        return rss(self.pid)

    def clients(self, count: int) -> Children:
        """So many clients, each a process of its own."""
        return Children([self._client() for _ in range(count)])

    def _client(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(HERE / "cluster_client.py"), self.file],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


class Children:
    """Processes that each take a command a line, and answer it in a line of JSON: a context manager."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for process in self._processes:
            if kind is not None:
                process.kill()
            with process:  # closes the pipes, and waits for its end
                pass

    def ask(self, what: str, *about: object, first: int | None = None) -> list[dict[str, Any]]:
        """Give a command to all, or to the ``first`` of them, at once; their answers."""
        asked = self._processes[:first]
        for process in asked:
            assert process.stdin is not None
            process.stdin.write(json.dumps([what, *about]) + "\n")
            process.stdin.flush()
        return [self._answer(process) for process in asked]

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a client has ended with exit status {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def commands() -> Iterator[tuple[str, list[Any]]]:
    """In a child: what it is asked, until its input ends."""
    for line in sys.stdin:
        what, *about = json.loads(line)
        yield what, about


def answer(**values: Any) -> None:
    """In a child: answer."""
    print(json.dumps(values), flush=True)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    try:
        told = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        if told:
            return sum(int(each.split()[0]) for each in told) / 1e9
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:  # a system without these files
        return float("nan")


def rss(pid: int) -> int:
    """Bytes of memory that a process has."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
