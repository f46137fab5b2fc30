"""What the tests of the mission's rows have in common: pools whose threads are all there, and tasks that wait."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parpool import Client, Cluster, Pool, TaskTimeout

PATIENCE = 20.0  #: seconds until a test gives up on what must come about


@contextmanager
def warm_pool(engines: int = 2, **options: Any) -> Iterator[Pool]:
    """A pool for a whole module: the threads that it starts with their first use are no test's leftover."""
    with Pool(engines, **options) as pool:
        assert pool.client.wait_for_engines(engines, PATIENCE)
        pool.map_async(abs, [-1] * 8, 1, callback=lambda value: None).get(PATIENCE)
        with pytest.raises(TaskTimeout):
            pool.apply_async(time.sleep, (5,), task_timeout=0.01).get(PATIENCE)
        yield pool
    pool.join()


@dataclass
class Home:
    """Where engines are, and who knows them."""

    pool: Pool
    client: Client


@contextmanager
def cluster(engines: int) -> Iterator[Client]:
    """The client of a cluster in processes of its own, with everything in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PARPOOL_DIR": folder}
        # Not in the checkout, whose parpool/ would be found first, and is not the whole package.
        run = partial(subprocess.Popen, env=environment, cwd=folder)
        controller = run([sys.executable, "-c", CONTROLLER, folder])
        others: list[subprocess.Popen[bytes]] = []
        try:
            path, last = Path(folder, "engine.json"), Path(folder, "client.json")
            until(lambda: last.exists() or controller.poll() is not None)
            others += [run([sys.executable, "-c", ENGINE, str(path)]) for _ in range(engines)]
            rc = Client(Path(folder, "client.json"))
            try:
                assert rc.wait_for_engines(engines, PATIENCE)
                called = threading.Event()  # the threads that are started with their first use are no test's leftover
                rc.load_balanced_view().map_async(abs, [-1] * 8).add_done_callback(lambda result: called.set())
                assert called.wait(PATIENCE)
                yield rc
            finally:
                rc.close()
        finally:
            controller.terminate()
            controller.wait(PATIENCE)
            for engine in others:
                engine.terminate()  # it may never have met its controller
                engine.wait(PATIENCE)


def sharded(rc: Client) -> bool:
    """Do several schedulers share the engines?"""
    return getattr(getattr(rc.link, "connection", None), "schedulers", 1) > 1


@contextmanager
def schedulers(engines: int) -> Iterator[Client]:
    """The client of a cluster whose engines are shared out among two schedulers."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARPOOL_DIR", folder)
        with Cluster(n=engines, schedulers=2) as rc:
            called = threading.Event()
            rc.load_balanced_view().map_async(abs, [-1] * 8).add_done_callback(lambda result: called.set())
            assert called.wait(PATIENCE)
            yield rc


CONTROLLER = """
import sys
from pathlib import Path
from parpool.host.controller import main
from parpool.options import ControllerSettings
main(ControllerSettings(Path(sys.argv[1])))
"""
ENGINE = """
import sys
from parpool.engine.engine import main
from parpool.net.address import read
from parpool.options import EngineSettings
main(EngineSettings.from_connection(read(sys.argv[1])))
"""


def until(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds, and give what it gave; fail where that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not (met := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)
    return met


class Gate:
    """Holds tasks until it is opened, and knows which of them have come to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._path = os.path.join(self.folder, "open")

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *exc: object) -> None:
        self.open()  # whatever becomes of the test, no engine is to wait for ever

    def open(self) -> None:
        """Let all pass."""
        Path(self._path).touch()

    def arrive(self, name: object = "") -> None:
        """For a task: say that it is here, and wait until it may pass."""
        Path(self.folder, f"here-{name}").touch()
        while not os.path.exists(self._path):
            time.sleep(0.001)

    def has(self, name: object = "") -> bool:
        """Has this task come?"""
        return os.path.exists(os.path.join(self.folder, f"here-{name}"))

    def arrived(self) -> list[str]:
        """The names of those that have come."""
        return [name.removeprefix("here-") for name in os.listdir(self.folder) if name.startswith("here-")]

    def await_one(self, name: object = "") -> None:
        """Wait until this task has come."""
        until(lambda: self.has(name))


def through(gate: Gate, value: Any = None) -> Any:
    """A task that waits at a gate."""
    gate.arrive(value)
    return value


def fail(error: BaseException) -> Any:
    """A task that raises."""
    raise error


def fail_through(gate: Gate, error: BaseException) -> Any:
    """A task that waits at a gate, and raises then."""
    gate.arrive()
    raise error


def at_prompt(source: str) -> dict[str, Any]:
    """What a piece of code defines, as though it had been typed at a prompt: it travels by value."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(source, names)
    return names
