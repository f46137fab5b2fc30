"""The process of a controller: a station with its files, its hub and its keys, until it is told to end."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import signal
import socket
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from time import monotonic, time
from typing import Any

from .. import __version__
from ..errors import ConnectionFileError
from ..hub.open import open_store
from ..hub.records import Store
from ..net.address import Connection, ControllerLock, connection_from, new_keys, read, write, write_private
from ..options import ControllerSettings
from ..shm.session import Session
from ..wire.messages import PROTOCOL
from .clients import Clients
from .far_hub import FarHub
from .journal import Journal
from .left import LeftBehind
from .outside import heard_outside
from .ports import Ports
from .questions import Questions
from .siblings import FOR_GOOD, STATE, Keep, Siblings, await_hub, how_to_end
from .station import Station
from .watcher import Watcher

log = logging.getLogger("parpool")
resource: Any = importlib.import_module("resource") if os.name == "posix" else None


class Controller:
    """One controller, or one of its schedulers. Raises ConnectionFileError where the cluster has one, OSError where a
    port is taken. ``keep`` looks after the processes of the other schedulers, where there are some. ``on_made`` is called
    before anybody can know of it: from there on it can be told to end."""

    def __init__(
        self,
        settings: ControllerSettings,
        keep: Keep | None = None,
        on_made: Callable[[Controller], None] = lambda controller: None,
    ) -> None:
        self.settings = settings
        self.instance = uuid.uuid4().hex
        self.started = time()
        self.pid, self.hostname = os.getpid(), socket.gethostname()
        self._over = ""  #: why it ends
        self._ending = False  #: for good: nobody is to follow
        with ExitStack() as undo:
            undo.enter_context(ControllerLock(settings.folder))
            state = self._read_state()
            self.keys: dict[str, str] = state["keys"]
            self.siblings: Siblings | None = None
            if keep is not None:
                self.siblings = siblings = Siblings(settings, self.keys, keep, fresh=not state["session"])
                undo.callback(lambda: siblings.close(self._ending))
            session = Session(state["session"])
            undo.callback(session.close)
            self.journal = Journal(settings.folder / "journal")
            past = self.journal.read()
            undo.callback(lambda: self.journal.close(remove=self._ending))
            keys = {name: key.encode() for name, key in self.keys.items()}
            ports = Ports(session, settings.ip, {**state["ports"], **settings.ports}, keys)
            undo.callback(ports.close)
            self.station = station = Station(
                session, ports, self.journal, misses=settings.misses, policy=settings.policy
            )
            undo.callback(station.close)
            station.members.number_by(settings.number, settings.schedulers)
            self.watcher = Watcher(self._open_hub(), station)
            if settings.schedulers > 1:
                self.watcher.be_one_of_several()
            undo.callback(self.watcher.close)
            self.questions = Questions(self)
            tasks_go_on = settings.on_client_lost == "keep"
            self.clients = Clients(station, self.instance, tasks_go_on, Random().randrange, self.questions)
            station.on_client, station.on_client_lost = self.clients.heed, self.clients.lost
            station.on_news = self._tell
            station.start()
            self.journal.begin(past)
            station.follow(past)
            self.left = LeftBehind(self, past)
            undo.callback(self._remove_files)
            others = self.siblings.wait() if self.siblings is not None else []
            on_made(self)
            self._write_files(session, others)
            self._undo = undo.pop_all()

    def _open_hub(self) -> Store:
        settings = self.settings
        if self.siblings is not None:
            hub = FarHub(self.siblings.wait_for_hub(), self.instance)
        elif settings.number:
            hub = FarHub(await_hub(settings.hub), self.instance)
        elif settings.hub:
            return FarHub(self._hub_elsewhere(), self.instance)
        else:
            return open_store(settings.db)
        hub.await_connection()  # who connects to a cluster may ask at once
        return hub

    def _hub_elsewhere(self) -> Connection:
        """The hub that was named: by its file, or by an address alone; the keys to that are in the cluster's folder."""
        named = self.settings.hub
        if named.startswith("tcp://") and "?" not in named:
            keys = read(self.settings.folder / "hub.json", "hub", gone_too=True)
            return replace(keys, addresses={"hub": named})
        return connection_from(named, "hub")

    def run(self) -> None:
        """Serve until :meth:`end`. In the main thread."""
        owner = self.settings.owner_pid
        with heard_outside(self.station, owner, lambda: self.lose_owner(f"its owner, pid {owner}, is gone")) as look:
            self._run(look)

    def _run(self, look: Callable[[], None]) -> None:
        station, interval = self.station, self.settings.heartbeat
        due = monotonic() + interval
        while not self._over:
            station.step(max(0.0, due - monotonic()))
            if monotonic() >= due:
                due = monotonic() + interval
                station.beat()
                self.journal.settle(station.scheduler.engines)
                self.questions.look()
                self.left.look()
                if not station.scheduler.tasks:
                    gc.collect(0)  # where it costs nothing: see main()
                look()
        log.info("the controller ends: %s", self._over)

    def end(self, why: str, for_good: bool = True) -> None:
        """Have :meth:`run` return. ``for_good``: clients are told that nobody will follow."""
        self._over = why
        self._ending = for_good
        self.station.wake()

    def lose_owner(self, why: str) -> None:
        """Whoever has started it is gone. A scheduler that is one of several goes as that one went."""
        if not self.settings.number or how_to_end(self.settings.folder) == FOR_GOOD:
            self.end(why)
        else:
            self._leave(why)

    def told_to_end(self, why: str) -> None:
        """By a signal. For a scheduler that is one of several it is word of the controller, or nothing."""
        how = FOR_GOOD if not self.settings.number else how_to_end(self.settings.folder)
        if how == FOR_GOOD:
            self.end(why)
        elif how:
            self._leave(why)
        else:
            log.warning("%s: a scheduler goes on until its controller ends, which is to be told", why)

    def _leave(self, why: str) -> None:
        """End as though killed: another one will follow."""
        log.info("the scheduler leaves its place to another one: %s", why)
        self.watcher.close()
        os._exit(1)

    def close(self) -> None:
        """Let engines and clients know, and remove what is here."""
        if self._ending:
            if self.siblings is not None:
                self.siblings.tell(for_good=True)
            self.station.dismiss()
            self.clients.say_over(self._over)
            self.station.hall.flush()
        self._undo.close()

    def _tell(self, news: Any) -> None:
        self.clients.tell(news)
        self.watcher.look()

    # -- files ------------------------------------------------------------------------------------------------

    def _read_state(self) -> dict[str, Any]:
        path = self.settings.folder / STATE
        try:
            state = json.loads(path.read_bytes())
            known = {"keys": dict(state["keys"]), "session": str(state["session"]), "ports": dict(state["ports"])}
            if (count := int(state.get("schedulers", self.settings.schedulers))) != self.settings.schedulers:
                raise ConnectionFileError(
                    f"the controller that was here before had --schedulers {count}, and one that follows it must have as "
                    f"many: or remove {path} to begin anew, without what was under way"
                )
            return known
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConnectionFileError(f"{path} cannot be read ({error}): remove it to begin anew") from error
        keys: dict[str, str] = {}
        for name in ("", "engines_", "clients_"):
            keys[name + "public"], keys[name + "secret"] = new_keys()
        return {"keys": keys, "session": "", "ports": {}}

    def _write_files(self, session: Session, others: list[Any]) -> None:
        settings, keys, addresses = self.settings, self.keys, dict(self.station.ports.addresses)
        ports = {}
        if settings.ip:
            ports = {name: int(address.rpartition(":")[2]) for name, address in addresses.items()}
            host = settings.location or _reachable(settings.ip)
            addresses = {name: f"tcp://{host}:{port}" for name, port in ports.items()}
        count = settings.schedulers
        state = {"keys": keys, "session": session.folder, "ports": ports, "schedulers": count}
        write_private(settings.folder / STATE, json.dumps(state, indent=1).encode())
        for role, group, names in (
            ("engine", "engines", ("work", "control", "heart")),
            ("client", "clients", ("client", "heart")),
        ):
            of_role = {name: addresses[name] for name in names}
            if role == "engine" and self.station.ports.lane_path:
                of_role["lane"] = self.station.ports.lane_path
            for number, theirs in enumerate(others, 1):
                of_role |= {f"{name}.{number}": where for name, where in theirs[role].items()}
            connection = Connection(
                role,
                settings.cluster_id,
                settings.profile,
                of_role,
                keys["public"] if settings.ip else "",
                keys[f"{group}_public"] if settings.ip else "",
                keys[f"{group}_secret"] if settings.ip else "",
                self.pid,
                self.hostname,
                __version__,
                PROTOCOL,
                self.started,
            )
            write(connection, settings.folder / f"{role}.json")

    def _remove_files(self) -> None:
        for name in ("client.json", "engine.json", *([STATE] if self._ending else [])):
            Path(self.settings.folder, name).unlink(missing_ok=True)


def _raise_limit() -> None:
    """Let this process have as many open files as it may: each engine needs up to six, and ZeroMQ ends a process that
    has none left."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    log.debug("up to %s open files, which is enough for %d engines", soft, soft // 6)


def _reachable(ip: str) -> str:
    """A name or address by which others reach a socket that is bound to ``ip``."""
    return socket.getfqdn() if ip in ("*", "0.0.0.0", "::") else ip


def main(settings: ControllerSettings, keep: Keep | None = None) -> None:
    """Be a controller until SIGTERM, SIGINT, or a client's word. ``keep``: see :class:`Controller`."""
    controller: Controller | None = None

    def stop(number: int, frame: object) -> None:
        if controller is None:
            raise SystemExit(0)
        controller.told_to_end(f"{signal.Signals(number).name} has come")

    for each in (signal.SIGTERM, signal.SIGINT):  # first: others may know of it as soon as its files are there
        signal.signal(each, stop)
    _raise_limit()

    def made(it: Controller) -> None:
        nonlocal controller
        controller = it

    controller = Controller(settings, keep, made)
    # What is here now stays, and tasks make no cycles: to go through all that wait, again and again, would be for nothing,
    # and everybody would wait. (With 80,000 of them, a threshold of 50,000 objects takes 0.5 µs of each task's 6.5.)
    gc.collect()
    gc.freeze()
    gc.set_threshold(400_000, 20, 100)
    try:
        log.info("controller of %s, pid %d, is ready", settings.folder, os.getpid())
        controller.run()
    finally:
        for each in (signal.SIGTERM, signal.SIGINT):  # it is about to; and what would be told may be closed
            signal.signal(each, signal.SIG_IGN)
        controller.close()
