"""Settings: frozen, made in one place, handed to whoever needs them."""

from __future__ import annotations

import os
from dataclasses import dataclass

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


def cpu_count() -> int:
    """How many CPUs this process may use, by its affinity; at least one."""
    if hasattr(os, "process_cpu_count"):  # 3.13
        return os.process_cpu_count() or 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
