"""What a cluster is to be, and how its processes are started: their command lines, and the launchers for them.

There are no secrets in either: those stand in the connection files alone.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..launch import choose
from ..launch.launcher import Launcher, Site
from ..launch.process import ProcessLauncher
from ..net import address
from ..options import (
    DATABASES,
    ControllerSettings,
    EngineSettings,
    cpu_count,
    holds_password,
    names_database,
    threads_of,
)

#: What starts engines: the name of a launcher, a function of a `Site` and options that makes one, or a launcher.
Engines = str | Launcher | Callable[..., Launcher]

ENGINE_FILE = "engine.json"
OWNER = hasattr(ControllerSettings, "owner_pid")  #: does a controller heed ``--owner``?


@dataclass
class Plan:
    """As `Cluster` is given it."""

    folder: Path  #: of the cluster
    profile: str
    cluster_id: str
    n: int | None = None
    engines: Engines = "local"
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    engine_arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int | str | None = "auto"  #: of BLAS and OpenMP, in each engine
    ip: str = ""
    location: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    db: str = "memory"
    heartbeat: float = ControllerSettings.heartbeat
    misses: int = ControllerSettings.misses
    patience: float = EngineSettings.patience
    on_client_lost: str = ControllerSettings.on_client_lost
    controller_arguments: Sequence[str] = ()
    restarts: int = 3
    timeout: float | None = 60.0
    log_level: str = "info"
    python: str | None = None
    keep: bool = False
    schedulers: int = 1
    ipython: bool = False
    made_up: bool = False  #: the name of the cluster is no one's choice

    def check(self) -> None:
        """ValueError for what no cluster can be."""
        threads_of(self.threads, 1)
        if self.n is not None and self.n < 0:
            raise ValueError(f"n must be 0 or more, not {self.n!r}")
        if self.schedulers < 1:
            raise ValueError(f"schedulers must be 1 or more, not {self.schedulers!r}")
        if self.restarts < 0:
            raise ValueError(f"restarts must be 0 or more, not {self.restarts!r}")
        for name in ("heartbeat", "patience"):
            if not 0 < (seconds := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} is a number of seconds above 0, and not {seconds!r}")
        if self.misses < 1:
            raise ValueError(f"misses must be 1 or more, not {self.misses!r}")
        if self.on_client_lost not in ("drop", "keep"):
            raise ValueError(f"on_client_lost is 'drop' or 'keep', and not {self.on_client_lost!r}")
        if not names_database(self.db):
            raise ValueError(f"db may be {DATABASES}")
        if holds_password(self.db):
            raise ValueError(
                "there is a password in db, which would stand on a command line for others to read: leave it out, and "
                "keep it where the database's own clients look for it, as in ~/.pgpass"
            )

    def controller_line(self) -> list[str]:
        """The command line of the controller."""
        given = {
            "--profile": self.profile,
            "--cluster-id": self.cluster_id,
            "--ip": self.ip,
            "--location": self.location,
            "--db": self.db,
            "--heartbeat": str(self.heartbeat),
            "--misses": str(self.misses),
            "--on-client-lost": self.on_client_lost,
            "--log-level": self.log_level,
            "--schedulers": str(self.schedulers) if self.schedulers > 1 else "",
        }
        line = [self.python or sys.executable, "-m", "parpool", "controller"]
        line += [part for option, value in given.items() if value for part in (option, value)]
        line += [part for name, port in self.ports.items() for part in ("--port", f"{name}={port}")]
        if OWNER and not self.keep:
            line += ["--owner", str(os.getpid())]
        return line + list(self.controller_arguments)

    def engine_line(self) -> list[str]:
        """The command line of an engine. What stands in braces is for the launcher to fill in, for where it runs."""
        python, file, braces = self.python or "{python}", f"{{{ENGINE_FILE}}}", True
        if not isinstance(self.engines, str) and not callable(self.engines):
            # One that was made without us: it may know of no braces, nor of the file.
            python, file, braces = self.python or sys.executable, str(self.folder / ENGINE_FILE), False
        line = [python, "-m", "parpool", "engine", "--file", file]
        line += ["--patience", str(self.patience), "--log-level", self.log_level]
        if self.threads != "auto":
            line += ["--threads", str(self.threads or 0)]
        elif braces:
            line += ["--together", "{together}"]  # for its share of the CPUs
        if self.ipython:
            line.append("--ipython")
        if self.engines == "mpi":
            line.append("--mpi")
        elif self.schedulers > 1:
            line += ["--number", "{number}"]  # so that they are shared out evenly
        return line + list(self.engine_arguments)

    def here(self) -> ProcessLauncher:
        """The launcher for the controller: on this machine."""
        return ProcessLauncher(Site(self.folder / "log", label="controller"))

    def launcher(self) -> Launcher:
        """The launcher for the engines. The controller is there."""
        options = dict(self.engine_options)
        environment = {**self._import_path(), **self.environment}
        site = Site(self.folder / "log", environment, None, {ENGINE_FILE: self.folder / ENGINE_FILE})
        if options.get("tunnels") is True:
            addresses = address.read(self.folder / ENGINE_FILE, "engine").addresses.values()
            options["tunnels"] = [each[6:] for each in addresses if each.startswith("tcp://")]
        if isinstance(self.engines, str):
            return choose.launcher(self.engines, site, **options)
        if callable(self.engines):
            return self.engines(site, **options)
        if options:
            raise TypeError(f"engine_options are for a launcher that is made here, and not for {self.engines!r}")
        return self.engines

    def _import_path(self) -> dict[str, str]:
        """What engines on this machine need to import what this process can: modules beside the script above all."""
        if self.python is not None or self.engines not in ("local", "mpi"):
            return {}
        theirs = (sys.prefix, sys.base_prefix)  # what is in there, the interpreter finds by itself
        mine = [path for path in sys.path if path and os.path.isdir(path) and not path.startswith(theirs)]
        return {"PYTHONPATH": os.pathsep.join(mine)} if mine else {}

    def number(self, n: int | None, launcher: Launcher) -> int:
        """How many engines to start, where ``n`` were asked for."""
        for known in (n, self.n or None, launcher.slots):
            if known is not None:
                return known
        return cpu_count()

    # For another process ---------------------------------------------------------------------------------

    def how(self) -> dict[str, Any] | None:
        """What another process needs to make the launcher for the engines; None: it cannot."""
        found: dict[str, Any] = {"name": self.engines, "options": dict(self.engine_options), "ipython": self.ipython}
        found["environment"], found["threads"] = dict(self.environment), self.threads
        try:
            json.dumps(found)
        except TypeError:  # an object, or a function among the options
            return None
        return found

    def learn(self, how: Mapping[str, Any]) -> None:
        """From another process."""
        self.engines, self.engine_options, self.environment = how["name"], how["options"], how["environment"]
        self.ipython = how.get("ipython", False)
        self.threads = how.get("threads", "auto")
