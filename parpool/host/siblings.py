"""The other processes of a controller with several schedulers: the schedulers, and the hub that all of them tell.

Each scheduler is a controller by itself, with sockets, journal and state in a folder of its own; what makes them one
cluster is that their engines' ids do not meet, that they have one set of keys, and one hub. The cluster's controller is
number 0. It starts the others, has them started again when they die, and tells of all of them in its connection files.

They end with it. How, is in a file: for good, so that engines and clients are told; or as they stand, to be followed by
others. Where that file is not, and number 0 is gone, it was killed: they go as though they had been, too.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConnectionFileError, ControllerLost, ParpoolError
from ..net import address
from ..options import ControllerSettings

log = logging.getLogger("parpool")

FOLDER = "schedulers"  #: in the cluster's: what is of the others
STATE = "controller.json"  #: what a controller that follows another one must know
ENDING = "ending"  #: the file that says how they are to end
FOR_GOOD, FOLLOWED = "for good", "to be followed"
COMING_UP = 30.0  #: seconds
LEAVING = 10.0  #: seconds that those of a controller that was killed may take to notice
LOOK = 0.005  #: seconds between two looks


class Kept(Protocol):
    """A process that somebody looks after: what dies is started again, up to a limit."""

    def start(self, n: int) -> str: ...
    def pid(self) -> int: ...
    def signal(self, signum: int) -> None: ...
    def close(self) -> None: ...


class Keep(Protocol):
    """Has a command line looked after. ``gone`` is told, in words, when it is given up; ``wanted``: is it needed?"""

    def __call__(
        self, label: str, argv: Sequence[str], wanted: Callable[[], bool], gone: Callable[[str], None]
    ) -> Kept: ...


class Siblings:
    """Those of the controller of ``settings``, with its ``keys``. ``fresh``: there was no controller before this one."""

    def __init__(self, settings: ControllerSettings, keys: dict[str, str], keep: Keep, fresh: bool) -> None:
        self.folder = settings.folder / FOLDER
        self.failed: dict[str, str] = {}  #: those that were given up, and how they ended
        self._settings = settings
        self._up = False
        self._processes: dict[str, Kept] = {}
        self._await_free()
        if fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        address.make_folder(self.folder)
        for name in (ENDING, "hub.json"):
            (self.folder / name).unlink(missing_ok=True)
        for number in range(1, settings.schedulers):
            _prepare(self.folder / str(number), keys)
        self.hub = str(self.folder / "hub.json")
        if settings.hub:  # by its file, as what is given may hold keys, and command lines can be read by others
            address.write(address.connection_from(settings.hub, "hub"), Path(self.hub))
        try:
            if not settings.hub:
                self._start(keep, "hub", self._hub_line())
            for number in range(1, settings.schedulers):
                self._start(keep, f"scheduler-{number}", self._line(number))
        except BaseException:
            self.close(for_good=False)
            raise

    def _await_free(self) -> None:
        """Those of a controller that was killed may not have noticed yet."""
        deadline = time.monotonic() + LEAVING
        folders = [self.folder / "hub", *(self.folder / str(each) for each in range(1, self._settings.schedulers))]
        while any(held := [address.holder(folder) for folder in folders]):
            if time.monotonic() > deadline:
                pid, hostname = next(filter(None, held))
                raise ConnectionFileError(
                    f"a process of the controller that was here before, pid {pid} on {hostname}, does not end: kill it"
                )
            time.sleep(LOOK)

    def _start(self, keep: Keep, label: str, line: list[str]) -> None:
        kept = self._processes[label] = keep(label, line, lambda: self._up, partial(self._gone, label))
        kept.start(1)

    def _gone(self, label: str, words: str) -> None:
        if self._up:
            log.error("%s is given up: %s", label, words)
        self.failed[label] = words

    def _begun(self, command: str) -> list[str]:
        settings = self._settings
        line = [sys.executable, "-m", "parpool", command, "--profile", settings.profile]
        line += ["--cluster-id", settings.cluster_id, "--owner", str(os.getpid())]
        return [*line, "--log-level", logging.getLevelName(log.getEffectiveLevel()).lower()]

    def _hub_line(self) -> list[str]:
        return [*self._begun("hub"), "--db", self._settings.db]

    def _line(self, number: int) -> list[str]:
        settings = self._settings
        line = [*self._begun("controller"), "--scheduler", str(number), "--schedulers", str(settings.schedulers)]
        line += ["--hub", self.hub, "--heartbeat", f"{settings.heartbeat:g}", "--misses", str(settings.misses)]
        line += ["--on-client-lost", settings.on_client_lost]
        for option, value in (("--ip", settings.ip), ("--location", settings.location)):
            line += [option, value] if value else []
        for name, port in settings.ports.items():
            name, _, whose = name.partition(".")
            line += ["--port", f"{name}={port}"] if whose == str(number) else []
        return line

    # -- what there is ----------------------------------------------------------------------------------------

    def wait(self) -> list[dict[str, dict[str, str]]]:
        """The addresses of the schedulers from number 1 on, by who they are for, when all are there.

        Raises ControllerLost where one does not come up.
        """
        found = []
        for number in range(1, self._settings.schedulers):
            label = f"scheduler-{number}"
            roles = ("client", "engine")
            found.append({role: self._await(label, str(number), f"{role}.json").addresses for role in roles})
        self._up = True
        return found

    def wait_for_hub(self) -> Any:
        """The connection to the hub."""
        if "hub" in self._processes:
            return self._await("hub", "", "hub.json")
        return address.read(self.hub, "hub", gone_too=True)

    def _await(self, label: str, folder: str, file: str) -> Any:
        path, deadline = self.folder / folder / file, time.monotonic() + COMING_UP
        while True:
            if label in self.failed:
                raise ControllerLost(f"{label} ended before it was ready: {self.failed[label]}")
            with suppress(ParpoolError):
                connection = address.read(path, gone_too=True)
                if connection.pid == self._processes[label].pid() or os.name == "nt":
                    return connection
            if time.monotonic() > deadline:
                raise ControllerLost(f"{label} was not ready after {COMING_UP:g} s: look at what it waits for")
            time.sleep(LOOK)

    # -- the end ----------------------------------------------------------------------------------------------

    def tell(self, for_good: bool) -> None:
        """Let the schedulers end, while others do; :meth:`close` waits for it."""
        self._up = False
        (self.folder / ENDING).write_text(FOR_GOOD if for_good else FOLLOWED)
        for label, kept in self._processes.items():
            if label != "hub":
                with suppress(ParpoolError, OSError):
                    kept.signal(signal.SIGTERM)

    def close(self, for_good: bool) -> None:
        """End them, the hub after those that have something to tell it."""
        self.tell(for_good)
        hub = self._processes.pop("hub", None)
        for kept in self._processes.values():
            kept.close()
        if hub is not None:
            hub.close()
        if for_good:
            for path in self.folder.glob(f"*/{STATE}"):
                _remove_session(path)
            shutil.rmtree(self.folder, ignore_errors=True)


def _prepare(folder: Path, keys: dict[str, str]) -> None:
    """Let a scheduler find the keys; also where one was here before, and has left its state."""
    state: dict[str, Any] = {}
    with suppress(FileNotFoundError, ValueError):
        state = json.loads((folder / STATE).read_bytes())
    for name in ("client.json", "engine.json"):
        (folder / name).unlink(missing_ok=True)
    state = {"session": "", "ports": {}, **state, "keys": keys}
    address.write_private(folder / STATE, json.dumps(state, indent=1).encode())


def _remove_session(path: Path) -> None:
    """Of a scheduler that was killed, and is not started again."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        session = Path(json.loads(path.read_bytes())["session"])
        if session.name.startswith("parpool-"):
            shutil.rmtree(session, ignore_errors=True)


def how_to_end(folder: Path) -> str:
    """What the file says that is for the scheduler with this folder; empty: nothing yet."""
    try:
        return (folder.parent / ENDING).read_text()
    except OSError:
        return ""


def await_hub(path: str) -> Any:
    """The connection to a hub that is started beside us."""
    deadline = time.monotonic() + COMING_UP
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise ControllerLost(f"the hub was not ready after {COMING_UP:g} s")
        time.sleep(LOOK)
    return address.read(path, "hub", gone_too=True)
