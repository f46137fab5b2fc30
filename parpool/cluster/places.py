"""Places for processes of one command line: a launcher fills them, and a thread fills them again when one has died.

A launcher knows nothing of time: it starts, and answers when it is asked. Here it is asked. The thread sleeps until a
process ends, which the system tells it of those on this machine; launchers that reach further are asked now and then.

What is decided here is whether somebody is to take the place of the dead, and nothing else: what the processes are, and
whether they are still wanted, is for the owner of the places to know.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from ..errors import ParpoolError
from ..launch.launcher import Launcher, State, numbered
from ..launch.process import ProcessLauncher
from ..net import deaths
from ..net.wake import Wake

log = logging.getLogger("parpool")

EVERY = 2.0  #: seconds between two questions to a launcher that cannot wake us
LOOK = 0.2  #: the same, where it could if the system did
#: Seconds until a process is started again: the first time at once, then longer and longer.
PAUSES = (0.0, 0.5, 2.0, 5.0, 15.0, 60.0)
TOLD_TO_DIE = 122  #: exit code of an engine that its controller has ended
DOUBT = 0.5  #: seconds until it is known whether the controller ends, too
KEPT = 100  #: how many deaths are remembered


@dataclass
class Place:
    """A process, and those that came after it when it had died. One that is a command may stand for several engines."""

    name: str | None  #: what the launcher calls who is there; None: nobody is, for the moment
    n: int = 1  #: how many it stands for; 0: the place is not needed any more
    restarts: int = 0  #: how often it was filled again
    first: str = ""  #: what the first one there was called
    due: float | None = None  #: when it is to be filled again, by the monotonic clock
    doubt: str = ""  #: how the last one ended, as long as it is not known whether it was told to


class Places:
    """The places of one launcher, in sets. All methods are for any thread."""

    def __init__(
        self,
        launcher: Launcher,
        argv: Sequence[str],
        restarts: int,
        *,
        wanted: Callable[[], bool] = lambda: True,
        told: int | None = None,
        on_change: Callable[[], None] = lambda: None,
        on_vacant: Callable[[str], None] = lambda words: None,
    ) -> None:
        """``wanted``: is there still somebody who needs them? ``told``: the exit code of one that was told to end.

        ``on_change`` is called when `record` would say something else, ``on_vacant`` when a place is given up, with how
        the last one there ended. Both come without a lock being held, and may come from a thread of these places.
        """
        self.launcher = launcher
        self.argv = list(argv)
        self.restarts = restarts
        self.deaths: deque[str] = deque(maxlen=KEPT)  #: how those ended that nobody had told to, in words
        self._wanted = wanted
        self._told = told
        self._on_change = on_change
        self._on_vacant = on_vacant
        self._sets: dict[str, list[Place]] = {}
        self._count = 0  # of the sets that there have been
        self._lock = threading.RLock()  # for all that is above, and for the launcher
        self._wake = Wake()
        self._thread: threading.Thread | None = None
        self._closed = False

    # What can be asked -------------------------------------------------------------------------------------

    @property
    def sets(self) -> dict[str, int]:
        """The sets, and how many processes are meant to be in each."""
        with self._lock:
            return {id: sum(place.n for place in places) for id, places in self._sets.items()}

    def states(self, set_id: str | None = None) -> dict[str, tuple[int, State]]:
        """Of those that are there by name: how many each stands for, and what the launcher knows."""
        with self._lock:
            states = self.launcher.poll()
            known = {place.name: place.n for place in self._chosen(set_id)}
        return {name: (n, states[name]) for name, n in known.items() if name is not None and name in states}

    def pid(self) -> int:
        """The process id of the only one there is, on this machine; 0: it is not known."""
        with self._lock:
            pids = self._pids()
        return pids[0] if len(pids) == 1 else 0

    # What can be done --------------------------------------------------------------------------------------

    def start(self, n: int) -> str:
        """Start a new set of ``n``; gives its id. Whether they live is not waited for."""
        with self._lock:
            self._check_open()
            places = self._begin(n)
            self._count += 1
            set_id = f"set-{self._count}"
            self._sets[set_id] = places
        self._changed()
        return set_id

    def stop(self, set_id: str | None = None) -> None:
        """End a set, or all, and come back when they are gone. Nobody takes their places."""
        with self._lock:
            places = self._chosen(set_id)
            for id in list(self._sets) if set_id is None else [set_id]:
                del self._sets[id]
            self._end(places)
        self._changed()

    def restart(self, set_id: str | None = None) -> None:
        """End a set, or all, and start as many again; each place has all its restarts before it once more."""
        with self._lock:
            self._check_open()
            self._chosen(set_id)
            for id in list(self._sets) if set_id is None else [set_id]:
                old, n = self._sets[id], sum(place.n for place in self._sets[id])
                self._sets[id] = [Place(None, n)] if n else []  # what is left to be started if it cannot be done now
                self._end(old)
                if n:
                    self._sets[id] = self._begin(n)
        self._changed()

    def signal(self, signum: int, set_id: str | None = None) -> None:
        """Send a signal to those of a set, or to all."""
        with self._lock:
            self.launcher.signal(signum, _names(self._chosen(set_id)))

    def close(self, stop: bool = True) -> None:
        """Look after them no more; end them, unless told not to."""
        with self._lock:
            self._closed = True
            if self._thread is None:
                self._wake.close()
        self._wake.set()
        if stop:
            self.stop()

    def record(self) -> dict[str, Any]:
        """What another process needs to `adopt` them: plain values, no secrets."""
        with self._lock:
            sets = {id: [[each.name, each.n, each.restarts] for each in places] for id, places in self._sets.items()}
            return {"argv": self.argv, "restarts": self.restarts, "sets": sets, "launcher": self.launcher.record()}

    def adopt(self, record: Mapping[str, Any]) -> None:
        """Take over what another process has recorded. One that has died meanwhile is started again."""
        with self._lock:
            self.launcher.adopt(record["launcher"])
            there = self.launcher.poll()
            for id, places in record["sets"].items():
                self._sets[id] = [
                    Place(name, n, restarts) if name in there else Place(None, n, restarts, due=monotonic())
                    for name, n, restarts in places
                ]
                self._count = max(self._count, int(id.rpartition("-")[2]))
            self._watch_over()
        self._changed()

    # Steps -------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ParpoolError("this cluster has ended: start_cluster() starts it anew")

    def _chosen(self, set_id: str | None) -> list[Place]:
        if set_id is None:
            return [place for places in self._sets.values() for place in places]
        if set_id not in self._sets:
            raise KeyError(f"there is no set {set_id!r}; there are: {', '.join(self._sets) or 'none'}")
        return list(self._sets[set_id])

    def _begin(self, n: int) -> list[Place]:
        names = self.launcher.start(self.argv, n)
        self._watch_over()
        return [Place(name, n // len(names)) for name in names]

    def _end(self, places: Iterable[Place]) -> None:
        if names := _names(places):
            self.launcher.stop(names)

    def _changed(self) -> None:
        self._wake.set()
        self._on_change()

    # The thread --------------------------------------------------------------------------------------------

    def _watch_over(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="parpool-places", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        sleeper = _Sleeper(self._wake)
        try:
            while not self._closed:
                try:
                    pids, timeout = self._round()
                except Exception as error:  # a launcher may be anybody's, and have trouble that passes
                    known = isinstance(error, (ParpoolError, OSError))
                    log.warning("cannot look after processes: %s", error, exc_info=not known)
                    pids, timeout = [], EVERY
                sleeper.sleep(pids, timeout)
        finally:
            sleeper.close()
            self._wake.close()

    def _round(self) -> tuple[list[int], float | None]:
        """Do what is to be done now; gives the processes whose end is to wake us, and what time will do so."""
        vacant: list[str] = []
        with self._lock:
            if self._closed:
                return [], 0.0
            changed = self._look(vacant)
            pids = self._pids()
            timeout = self._timeout(pids)
        if changed:
            self._on_change()
        for words in vacant:
            self._on_vacant(words)
        return pids, timeout

    def _look(self, vacant: list[str]) -> bool:
        """Bury the dead, and fill their places; says whether there was anything. ``vacant`` gets the ends without heirs."""
        states = self.launcher.poll()
        changed = False
        for places in self._sets.values():
            for place in places[:]:
                if place.name is not None and (state := states.get(place.name)) is not None and state.ended:
                    words = self._bury(place, state)
                elif place.due is not None and place.due <= monotonic():
                    words = self._fill(place)
                else:
                    continue
                changed = True
                if words is not None:
                    vacant.append(words)
            places[:] = [place for place in places if place.n]
        return changed

    def _bury(self, place: Place, state: State) -> str | None:
        """The one in a place has ended. When nobody is to take the place: how it ended."""
        name, code = place.name, state.code
        assert name is not None
        place.first = place.first or name
        place.name = None
        with suppress(ParpoolError):
            self.launcher.stop([name])  # forgets it, and ends what it has left in its session
        if code is not None and code == self._told:
            log.info("%s has ended as it was told to: %s", name, state)
            place.n = 0
            return str(state)
        words = f"{name}: {state}"
        if code != TOLD_TO_DIE:
            return self._again(place, words)
        place.doubt, place.due = words, monotonic() + DOUBT  # the controller may be about to end, too
        return None

    def _fill(self, place: Place) -> str | None:
        """The time has come to start another one. When that is not to be: why."""
        place.due = None
        if place.doubt:
            words, place.doubt = place.doubt, ""
            return self._again(place, words)
        if not self._wanted():
            place.n = 0
            return "it is not needed any more"
        place.restarts += 1
        try:
            place.name = self.launcher.start(numbered(self.argv, place.first), place.n)[0]
        except (ParpoolError, OSError) as error:
            return self._again(place, str(error))
        log.info("%s has taken the place", place.name)
        return None

    def _again(self, place: Place, words: str) -> str | None:
        """What becomes of a place after a death."""
        if not self._wanted():
            place.n = 0
            return words
        self.deaths.append(words)
        if place.restarts >= self.restarts:
            log.error("%s; it was started again %d times, and is not any more", words, place.restarts)
            return words
        place.due = monotonic() + PAUSES[min(place.restarts, len(PAUSES) - 1)]
        log.warning("%s; it is started again (%d of %d times)", words, place.restarts + 1, self.restarts)
        return None

    def _pids(self) -> list[int]:
        if not isinstance(self.launcher, ProcessLauncher):
            return []
        return [pid for pid, *_ in self.launcher.record()["processes"].values()]

    def _timeout(self, pids: list[int]) -> float | None:
        """Seconds until the next look, whatever happens; None: what happens will wake us."""
        places = self._chosen(None)
        pauses = [max(0.0, place.due - monotonic()) for place in places if place.due is not None]
        there = _names(places)
        if there and len(pids) < len(there):  # one of them may also have ended in this moment
            pauses.append(LOOK if isinstance(self.launcher, ProcessLauncher) else EVERY)
        return min(pauses, default=None)


class _Sleeper:
    """Sleeps until a process of this machine ends, or somebody wakes it."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake.fd, selectors.EVENT_READ)
        self._fds: dict[int, int] = {}  # by the process

    def sleep(self, pids: Iterable[int], timeout: float | None) -> None:
        pids = set(pids)
        for pid in self._fds.keys() - pids:
            self._forget(pid)
        for pid in pids - self._fds.keys():
            fd = deaths.watch(pid)
            if fd is None:
                timeout = LOOK if timeout is None else min(timeout, LOOK)
            else:
                self._fds[pid] = fd
                self._selector.register(fd, selectors.EVENT_READ)
        for key, _ in self._selector.select(timeout):
            if key.fd == self._wake.fd:
                self._wake.clear()

    def _forget(self, pid: int) -> None:
        fd = self._fds.pop(pid)
        self._selector.unregister(fd)
        os.close(fd)

    def close(self) -> None:
        for pid in list(self._fds):
            self._forget(pid)
        self._selector.close()


def _names(places: Iterable[Place]) -> list[str]:
    return [place.name for place in places if place.name is not None]
