"""A controller and engines in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parpool import Client
from parpool.shm.session import sweep

CONTROLLER = """
import sys
from pathlib import Path
from parpool.host.controller import main
from parpool.options import ControllerSettings
main(ControllerSettings(Path(sys.argv[1]), db=sys.argv[2], heartbeat=float(sys.argv[3])))
"""
ENGINE = """
import sys
from parpool.engine.engine import main
from parpool.net.address import read
from parpool.options import EngineSettings
main(EngineSettings.from_connection(read(sys.argv[1])))
"""


class RealCluster:
    """Its processes, and the files by which clients find it."""

    def __init__(self, folder: str, db: str = "memory", heartbeat: float = 1.0) -> None:
        self.folder = Path(folder)
        self.file = self.folder / "client.json"
        self._options = (db, str(heartbeat))
        self._environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PARPOOL_DIR": folder}
        self.engines: list[subprocess.Popen[bytes]] = []
        self.start_controller()

    def _run(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", script, *arguments], env=self._environment)

    def start_controller(self) -> None:
        self.file.unlink(missing_ok=True)
        self.controller = self._run(CONTROLLER, str(self.folder), *self._options)
        until(lambda: self.file.exists() or self.controller.poll() is not None)
        assert self.controller.poll() is None

    def kill_controller(self) -> None:
        self.controller.send_signal(signal.SIGKILL)
        self.controller.wait()

    def add_engines(self, count: int) -> None:
        self.engines += [self._run(ENGINE, str(self.folder / "engine.json")) for _ in range(count)]

    def client(self, **options: Any) -> Client:
        return Client(self.file, **options)

    def end(self) -> None:
        ended = self.controller.poll() is not None
        self.controller.terminate()
        self.controller.wait(20)
        for engine in self.engines:
            if ended:  # there was nobody to tell them
                engine.kill()
            engine.wait(20)


@contextmanager
def real_cluster(engines: int, **options: Any) -> Iterator[RealCluster]:
    """A cluster for as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        made = RealCluster(folder, **options)
        try:
            made.add_engines(engines)
            yield made
        finally:
            made.end()
            sweep()  # as the next one to start does, here or anywhere: the memory of engines that were killed


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait until a condition holds, and give what it gave."""
    deadline = time.monotonic() + seconds
    while not (met := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)
    return met


def begun(gate: Path) -> None:
    """Wait until a task is at the gate."""
    until(lambda: Path(f"{gate}.begun").exists())


# Tasks --------------------------------------------------------------------------------------------------


def at_gate(path: str) -> str:
    Path(path + ".begun").touch()
    while not os.path.exists(path):
        time.sleep(0.002)
    return path


def fail(text: str) -> None:
    raise LookupError(text)
