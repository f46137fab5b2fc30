"""Engines as children of this process, started by a multiprocessing context.

So they inherit what users expect: with fork everything, with spawn and forkserver the main module, and locks, queues
and shared values in ``initargs`` under each of them.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import select
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing import connection
from typing import Any

from ..options import EngineSettings
from .launcher import describe

#: What runs in the process, by name: a launcher imports nothing of it.
ENGINE = "parpool.engine.engine:main"
GRACE = 1.0  #: seconds between SIGTERM and SIGKILL

# Loaded once here, so that forked engines need not load it each. (By name: what it does is no business of a launcher.)
importlib.import_module(ENGINE.partition(":")[0])


def run(entry: str, settings: EngineSettings, initializer: Callable[..., object] | None, initargs: Any) -> None:
    """The target of the process."""
    # An engine may itself make pools and processes. (The parent's record of it stays daemonic, so that an interpreter
    # that ends takes its engines along.)
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    module, _, name = entry.partition(":")
    getattr(importlib.import_module(module), name)(settings, initializer, initargs)


class LocalCrew:
    """Starts engines through ``context`` and ends them."""

    def __init__(
        self,
        context: Any,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        ipython: bool = False,
        threads: int = 0,
    ) -> None:
        self._context = context
        self._ipython = ipython  #: do the engines host IPython shells?
        self._threads = threads
        self._initializer = initializer
        self._initargs = initargs
        #: the living engines' processes, in the order of their start (scripts look at it as ``Pool._pool``)
        self.processes: list[Any] = []
        self._by_uid: dict[str, Any] = {}
        self._handles: dict[Any, int] = {}  #: descriptors of the processes that are no children of ours

    @property
    def forks(self) -> bool:
        """Does an engine begin with all that is open here?"""
        return getattr(self._context, "get_start_method", str)() == "fork"

    def start(self, settings: EngineSettings) -> int:
        """Start an engine's process; gives its pid."""
        settings = replace(settings, ipython=self._ipython, threads=self._threads)
        process = self._context.Process(target=run, args=(ENGINE, settings, self._initializer, self._initargs))
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork beside threads. It is the start method that was asked for; there is nothing
            # that the user could do at this place, and the child touches nothing that threads of the parent lock.
            warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
            process.start()
        self.processes.append(process)
        self._by_uid[settings.uid] = process
        if _is_apart(process) and hasattr(os, "pidfd_open"):
            # When the fork server is killed, multiprocessing takes its children for ended, and ends them no more.
            with suppress(OSError):  # it has ended already, or there is no descriptor
                self._handles[process] = os.pidfd_open(process.pid)
        return getattr(process, "pid", 0) or 0

    def lives(self, uid: str) -> bool:
        """Does the process still run, as far as is known? (For systems that do not tell of its end.)"""
        process = self._by_uid.get(uid)
        return process is None or _is_apart(process) or process.is_alive()

    def ended(self, uid: str) -> str:
        """Reap the process; says how it ended."""
        process = self._by_uid.pop(uid, None)
        if process is None:  # the crew was ended in the meantime
            return "its process was ended"
        process.join(GRACE)
        self._let_go(process)
        if process in self.processes:
            self.processes.remove(process)
        return f"pid {process.pid} {describe(process.exitcode)}"

    def kill(self, uid: str) -> None:
        """End the process by force."""
        process = self._by_uid.get(uid)
        if process is not None:
            process.kill()
            self._send(process, signal.SIGKILL)

    def end(self, patience: float = GRACE) -> None:
        """End all processes: SIGTERM, and SIGKILL for those that are still there after ``patience`` seconds."""
        processes, self.processes = self.processes, []
        self._by_uid.clear()
        for process in processes:
            if process.exitcode is None:
                process.terminate()
            else:
                self._send(process, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while alive := [p.sentinel for p in processes if p.exitcode is None and hasattr(p, "sentinel")]:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            # In short looks: a sentinel stays silent while something that the engine forked holds its other end.
            connection.wait(alive, min(left, 0.05))
        for process in processes:
            if process.exitcode is None and hasattr(process, "sentinel"):
                process.kill()
            process.join()
        for process in processes:
            if not self._has_ended(process, max(0.0, deadline - time.monotonic())):
                self._send(process, signal.SIGKILL)
                self._has_ended(process, GRACE)
            self._let_go(process)

    def _send(self, process: Any, number: int) -> None:
        """Send a signal to a process that is no child of ours, whatever multiprocessing thinks of it."""
        if process in self._handles:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handles[process], number)

    def _has_ended(self, process: Any, seconds: float) -> bool:
        """Wait for the end of a process that is no child of ours, so long at the most; has it come?"""
        if process not in self._handles:
            return True
        poller = select.poll()
        poller.register(self._handles[process], select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def _let_go(self, process: Any) -> None:
        if process in self._handles:
            os.close(self._handles.pop(process))

    def disown(self) -> None:
        """This process was forked from the one that started the engines: they are not its children to end."""
        from multiprocessing import process

        process._children.difference_update(self.processes)  # type: ignore[attr-defined]


def _is_apart(process: Any) -> bool:
    """Is it a child of a fork server, and none of ours?"""
    return getattr(getattr(process, "_popen", None), "method", "") == "forkserver"
