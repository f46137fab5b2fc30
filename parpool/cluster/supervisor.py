"""Who looks after the processes of a cluster: starts them, has the dead replaced, writes down what there is, ends all."""

from __future__ import annotations

import atexit
import os
import shutil
import threading
import time
from contextlib import suppress
from typing import Any

from ..errors import ConnectionFileError, ControllerLost, EngineStartError, ForkedError, ParpoolError
from ..net import address
from . import record
from .places import Places
from .plan import ENGINE_FILE, Plan

GLANCE = 0.005  #: seconds between two looks for the controller's file
SLICE = 0.1  #: seconds after which a wait for engines looks whether one of them has died
LINES = 12  #: of a log that an error shows


class Supervisor:
    """Looks after one cluster, from the start of its controller to its end. Its methods are for any thread."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.failure: ControllerLost | None = None  #: why it ended, where nobody wanted it to
        self.controller: Places | None = None
        self.engines: Places | None = None
        self.over = threading.Event()
        self._up = False  # the controller was ready once
        self._words = ""  # how the controller ended
        self._earlier: dict[str, int] = {}  # how much was in which log before
        self.marred = False  # there is something in the logs that somebody may want to read
        # The order in which locks are taken: this one, that for writing, those of the places.
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._pid = os.getpid()

    @property
    def foreign(self) -> bool:
        """This process was forked from the one that looks after the cluster."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raise where there is nothing to look after any more."""
        if self.foreign:
            raise ForkedError(
                "this process was forked from the one that started the cluster: Cluster.from_file() is for it"
            )
        if self.failure is not None:
            raise self.failure
        if self.controller is None:
            raise ParpoolError("the cluster does not run: start_cluster() starts it")

    # The controller ----------------------------------------------------------------------------------------

    def start_controller(self, deadline: float) -> None:
        """Start it, and wait until it is ready."""
        plan, folder = self.plan, self.plan.folder
        if holder := address.holder(folder):
            raise ConnectionFileError(
                f"a controller serves this cluster already (pid {holder[0]} on {holder[1]}): {folder}. Connect to it with "
                "Client(), stop it with `parpool stop`, or give the new cluster another cluster_id"
            )
        record.sweep(plan.profile)
        address.make_folder(folder / "log")
        self._earlier = {each.name: each.stat().st_size for each in (folder / "log").iterdir()}
        for name in ("client.json", ENGINE_FILE):  # of one that was killed
            (folder / name).unlink(missing_ok=True)
        atexit.register(self._at_exit)
        self._look_after_controller(plan.controller_line())
        assert self.controller is not None
        try:
            self.controller.start(1)
            from ..client import client, standalone  # noqa: F401 (the start takes a moment, in which they can be loaded)

            self._await_controller(self.controller, deadline)
        except BaseException:
            self.marred = True
            self.end()
            raise

    def _look_after_controller(self, line: list[str]) -> None:
        self.controller = Places(
            self.plan.here(),
            line,
            self.plan.restarts,
            wanted=self._wanted,
            on_change=self.write,
            on_vacant=self._on_controller_gone,
        )

    def _wanted(self) -> bool:
        """Are the dead to be replaced? Not when all are to end; and who dies at the start would do so again."""
        return self._up and not record.over(self.plan.folder)

    def _await_controller(self, controller: Places, deadline: float) -> None:
        path, pid = self.plan.folder / "client.json", controller.pid()
        while True:
            with suppress(ParpoolError):
                # On Windows, what we started may be a stub that has started the interpreter.
                self._up = path.exists() and (address.read(path, gone_too=True).pid == pid or os.name == "nt")
            if self._words:  # after that is set: if it has ended in this moment, one of the two threads sees it
                raise ControllerLost(
                    f"the controller ended before it was ready: {self._words}{self._tail(self._words)}"
                )
            if self.controller is None:
                raise ParpoolError("the cluster was stopped while it was started")
            if self._up:
                return
            if time.monotonic() > deadline:
                raise ControllerLost(
                    f"the controller (pid {pid}) was not ready in time: look at what it waits for, or give it longer with "
                    f"timeout={self._tail(next(iter(controller.states()), ''))}"
                )
            time.sleep(GLANCE)

    def _on_controller_gone(self, words: str) -> None:
        self._words = words
        if not self._up:
            return
        with self._lock:
            if self.controller is None:
                return  # we have ended it ourselves
            if not record.over(self.plan.folder):
                self.marred = True
                self.failure = ControllerLost(
                    f"the controller of cluster {self.plan.cluster_id!r} has ended too often, and the cluster with it: "
                    f"{words}{self._tail(words)}"
                )
            self.end()

    # Engines -----------------------------------------------------------------------------------------------

    def start_engines(self, n: int | None) -> str:
        """Start a set of them; gives its id. Not waited for."""
        with self._lock:
            self.check()
            engines = self._places_of_engines()
            return engines.start(self.plan.number(n, engines.launcher))

    def _places_of_engines(self) -> Places:
        if self.engines is None:
            self.engines = Places(
                self.plan.launcher(),
                self.plan.engine_line(),
                self.plan.restarts,
                wanted=self._wanted,
                told=0,
                on_change=self.write,
            )
        return self.engines

    def await_engines(self, client: Any, set_id: str, deadline: float, queued_too: bool) -> None:
        """Wait until the first engines of the cluster serve; all, or those that the launcher's system has begun."""
        engines = self.engines
        assert engines is not None
        n = engines.sets[set_id]
        while not client.wait_for_engines(n, min(SLICE, max(0.0, deadline - time.monotonic()))):
            self.check()
            if engines.deaths:
                raise EngineStartError(f"{engines.deaths[0]}{self._tail(engines.deaths[0])}")
            states = engines.states(set_id)
            here = len(client.ids)
            if not queued_too and here + sum(n for n, state in states.values() if state.phase == "queued") >= n:
                return
            if time.monotonic() > deadline:
                shown = ", ".join(f"{name} {state}" for name, (_, state) in list(states.items())[:4])
                raise EngineStartError(
                    f"{here} of {n} engines were ready in time ({shown}): see {self.plan.folder / 'log'}, or give them "
                    f"longer with timeout={self._tail(next(iter(states), ''))}"
                )

    def _tail(self, words: str) -> str:
        """The end of the log of the process that the words begin with, if it is on this machine."""
        name = f"{words.partition(':')[0]}.log"
        with suppress(OSError):
            with (self.plan.folder / "log" / name).open("rb") as file:
                size, begin = file.seek(0, 2), self._earlier.get(name, 0)
                file.seek(max(begin if begin <= size else 0, size - 4000))
                lines = file.read().decode(errors="replace").strip().splitlines()[-LINES:]
                if all(line in words for line in lines):
                    return ""
                return "".join(f"\n  | {line}" for line in lines)
        return ""

    # The end, and other processes --------------------------------------------------------------------------

    def end(self, for_good: bool = False) -> None:
        """End all there is. Does nothing the second time, or in a process forked from ours.

        ``for_good``: what a controller that was killed has left for its successor is not needed either.
        """
        if self.foreign:
            return
        with self._lock:
            controller, engines = self.controller, self.engines
            if controller is None:
                return
            self._up = False
            try:
                controller.close()  # first: it says to engines and clients that it was meant
            finally:
                if engines is not None:
                    self.marred = self.marred or bool(engines.deaths)
                    engines.close()
            self.marred = self.marred or bool(controller.deaths)
            with self._writing:
                self.controller = self.engines = None
                (self.plan.folder / record.FILE).unlink(missing_ok=True)
            if for_good and not address.running(self.plan.folder):
                record.clear(self.plan.folder)
            atexit.unregister(self._at_exit)
            if self.plan.made_up and not self.marred:
                shutil.rmtree(self.plan.folder, ignore_errors=True)
            self.over.set()

    def _at_exit(self) -> None:
        if not self.plan.keep:
            self.end(for_good=True)

    def write(self) -> None:
        """Write down what there is."""
        with self._writing:
            if self.controller is None:
                return
            engines = None if self.engines is None else {**self.engines.record(), "how": self.plan.how()}
            record.write(self.plan.folder, {"controller": self.controller.record(), "engines": engines})

    def take_over(self, to_end: bool = False) -> None:
        """Be the one who looks after a cluster whose own supervisor is gone; or is to be ended, with ``to_end``."""
        folder = self.plan.folder
        with self._lock:
            known = record.read(folder)
            if known is None:
                raise ParpoolError(
                    f"nobody looks after the cluster in {folder}: `parpool engine` starts engines for it"
                )
            if not to_end and not record.keeper(known) and known["engines"] and not known["engines"]["how"]:
                raise ParpoolError(
                    f"the engines of the cluster in {folder} were started by a launcher that was an object of process "
                    f"{known['pid']}, and cannot be made again: stop_cluster() ends what there is"
                )
            theirs = record.claim(folder)
            engines = theirs["engines"]
            self.plan.restarts = theirs["controller"]["restarts"]
            self._up = not to_end
            self._look_after_controller(theirs["controller"]["argv"])
            assert self.controller is not None
            self.controller.adopt(theirs["controller"])
            if engines is not None and engines["how"]:
                self.plan.learn(engines["how"])
                self._places_of_engines().adopt(engines)
