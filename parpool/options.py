"""Settings: frozen, made in one place, handed to whoever needs them."""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

STACK = ".stack"  #: an engine's recorder and this is the path of the file for the stack of a crash


@dataclass(frozen=True)
class EngineSettings:
    """What an engine must know to find its host."""

    uid: str  #: its name on the sockets, given by whoever starts it
    work: str  #: address of the host's work socket
    control: str  #: address of the host's control socket
    host_key: bytes = b""  #: the host's public CURVE key; empty on ipc
    host_pid: int = 0  #: the process whose end is the engine's end; 0: none on this machine
    lane: str = ""  #: path where it joins the host's lanes; empty: there are none
    recorder: str | None = None  #: path of its flight recorder; None: without one
    memory: str | None = ""  #: folder for the memory that it shares; None: one of its own; empty: it shares none
    # of one that was started by itself, and serves a controller:
    heart: str = ""  #: address where heartbeats come from; empty: it is a child of its host
    keys: tuple[bytes, bytes] = (b"", b"")  #: its own CURVE keys, public and secret
    timeout: float = 60.0  #: seconds that it waits for a controller that it has never met
    patience: float = 300.0  #: seconds that it waits for a lost controller to come back
    names: dict[str, Any] = field(default_factory=dict)  #: that its namespace begins with
    ipython: bool = False  #: does it host an IPython shell?
    threads: int = 0  #: that BLAS and OpenMP may have in it; 0: as many as they like

    @classmethod
    def from_connection(
        cls,
        connection: Any,
        uid: str = "",
        *,
        mpi: tuple[int, int] | None = None,
        timeout: float = timeout,
        patience: float = patience,
        ipython: bool = False,
        threads: int = 0,
    ) -> EngineSettings:
        """Of what a connection file for engines says (a :class:`~parpool.net.address.Connection`).

        ``uid``: its name, by default a new one. ``mpi``: its rank, and how many they are. ``ipython``: it hosts a shell.
        """
        uid = uid or f"engine-{uuid.uuid4().hex[:12]}"
        addresses = connection.addresses
        lane = addresses.get("lane", "")
        near = bool(lane) and os.path.exists(lane)
        return cls(
            uid,
            addresses["work"],
            addresses["control"],
            connection.server_key.encode(),
            lane=lane if near else "",
            recorder=os.path.join(os.path.dirname(lane), uid) if near else None,
            memory=None if near else "",
            heart=addresses["heart"],
            keys=(connection.public_key.encode(), connection.secret_key.encode()),
            timeout=timeout,
            patience=patience,
            names={} if mpi is None else {"mpi_rank": mpi[0], "mpi_size": mpi[1]},
            ipython=ipython,
            threads=threads,
        )


@dataclass(frozen=True)
class HubSettings:
    """What a hub in a process of its own is to be."""

    folder: Path  #: of the cluster
    profile: str = "default"
    cluster_id: str = "default"
    ip: str = ""  #: address of this machine that it listens at by tcp; empty: this machine alone, by ipc
    location: str = ""  #: name or address by which the controller reaches it; empty: found out
    port: int = 0  #: 0: any
    db: str = "memory"  #: where records of tasks are kept: ``memory``, ``sqlite:///PATH``, ``postgresql://...``
    owner_pid: int = 0  #: a process of this machine with whose end the hub ends, too; 0: none


@dataclass(frozen=True)
class ControllerSettings:
    """What a controller is to be."""

    folder: Path  #: of the cluster
    profile: str = "default"
    cluster_id: str = "default"
    ip: str = ""  #: address of this machine that it listens at by tcp, ``*`` for all; empty: this machine alone, by ipc
    location: str = ""  #: name or address by which others reach it; empty: found out
    ports: dict[str, int] = field(default_factory=dict)  #: of client, work, control and heart; those not named: any
    db: str = "memory"  #: where records of tasks are kept: ``memory``, ``sqlite:///PATH``, ``postgresql://...``
    hub: str = ""  #: path or URL of the connection to a hub in a process of its own, which then has the ``db``
    heartbeat: float = 1.0  #: seconds between heartbeats
    misses: int = 10  #: heartbeats that may go without an answer
    on_client_lost: str = "drop"  #: what becomes of its tasks that have not begun: ``drop`` or ``keep``
    owner_pid: int = 0  #: a process of this machine with whose end the controller ends, too; 0: none
    policy: str = "leastload"  #: by which of several free engines gets a task
    schedulers: int = 1  #: processes with a scheduler that it has, each with its share of the engines
    number: int = 0  #: which of them this is; 0: the controller itself, which starts the others


DATABASES = "memory, sqlite:///PATH, or postgresql://HOST/NAME with its password in ~/.pgpass"


def names_database(db: str) -> bool:
    """Is it one of those that records can be kept in (`DATABASES`)?"""
    scheme, separator, _ = db.partition(":")
    return db == "memory" or bool(separator and scheme.partition("+")[0] in ("sqlite", "postgresql", "postgres"))


def holds_password(db: str) -> bool:
    """Does the URL of a database hold a password: before its host, or among what follows a question mark?"""
    rest = db.partition("://")[2]
    # As SQLAlchemy reads it, and not by urlsplit: there, one with / ? or # in it would be none.
    if re.match(r"[^:/]*:[^@]*@", rest):
        return True
    names = [name.lower() for name, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True)]
    return any("password" in name or "secret" in name for name in names)  # of libpq: password, sslpassword, ...


@dataclass(frozen=True)
class SegmentSettings:
    """How much memory a process shares with others of its machine, so that large buffers need not be sent."""

    threshold: int = 32 * 1024  #: bytes from which on a buffer goes by shared memory
    most: int = 2**62  #: bytes that are shared at most; 0: none are. (What the system has is a limit as well.)
    idle: int = 1024 * 2**20  #: bytes that are kept for what comes next
    keep: float = 10.0  #: seconds that they are kept
    unclaimed: float = 3600.0  #: seconds that results wait for a client that may have gone

    @classmethod
    def from_environment(cls) -> SegmentSettings:
        """What PARPOOL_SHM_THRESHOLD, _MAX and _IDLE (in bytes) and _KEEP (in seconds) say."""
        found: dict[str, Any] = {}
        for field_, name, kind in (
            ("threshold", "THRESHOLD", int),
            ("most", "MAX", int),
            ("idle", "IDLE", int),
            ("keep", "KEEP", float),
        ):
            text = os.environ.get(f"PARPOOL_SHM_{name}")
            if text:
                try:
                    found[field_] = kind(text)
                except ValueError:
                    raise ValueError(f"PARPOOL_SHM_{name} must be a number, not {text!r}") from None
        return cls(**found)


def cpu_count() -> int:
    """How many CPUs this process may use, by its affinity; at least one."""
    if hasattr(os, "process_cpu_count"):  # 3.13
        return os.process_cpu_count() or 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


#: How many threads BLAS and OpenMP have: the variables of the environment that their libraries read when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def threads_of(chosen: int | str | None, engines: int) -> int:
    """How many threads the libraries of each of so many engines may have; 0: as many as they like.

    ``"auto"`` is the engine's share of the CPUs, where the environment does not say anything else. Raises ValueError or
    TypeError for what cannot be meant.
    """
    if chosen is None:
        return 0
    if chosen == "auto":
        said = any(os.environ.get(name) for name in THREAD_VARIABLES)
        return 0 if said else max(1, cpu_count() // max(1, engines))
    if not isinstance(chosen, int):
        raise TypeError(f"threads_per_engine must be an int, 'auto' or None, not {chosen!r}")
    if chosen < 1:
        raise ValueError(f"threads_per_engine must be 1 or more, not {chosen!r}")
    return chosen


def pool_size(processes: int | None, maxtasksperchild: object, initializer: object) -> int:
    """How many engines a pool is to have. Raises what the standard library's raises for what cannot be meant."""
    size = cpu_count() if processes is None else processes
    if size < 1:
        raise ValueError("Number of processes must be at least 1")
    if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
        raise ValueError("maxtasksperchild must be a positive int or None")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    return size
