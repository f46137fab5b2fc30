"""The process of a hub: a store behind a socket, for a controller that has none of its own."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from time import time
from typing import Any

from .. import __version__
from ..core.effects import Ending
from ..core.state import ENDED, SENT, Dependency, Task
from ..errors import ConnectionFileError
from ..hub.open import open_store
from ..hub.records import Store
from ..net import deaths
from ..net.address import Connection, ControllerLock, hub_folder, new_keys, write, write_private
from ..net.signals import drain, woken_by_signals
from ..net.sockets import Context, Poller, Router
from ..net.wake import Wake
from ..options import HubSettings
from ..shm.session import Session
from ..wire.messages import PROTOCOL, MalformedFrame, Outcome, encode
from ..wire.notes import Ended, Named, Note, Notes, Submitted, Told, Written, Wrote, to_hub
from .awaited import Awaited

log = logging.getLogger("parpool")

SETTLE = 0.05  #: seconds between looks at what the store has written
GLANCE = 0.5  #: seconds between looks at whether its owner lives, where the system does not tell
DOMAIN = "controllers"
STATE = "hub_state.json"  #: what a hub that follows this one must know


class Hub:
    """One hub, at a socket of its own. ``hub.json`` in the cluster's folder tells a controller of it.

    Raises ConnectionFileError where the cluster has one already, ParpoolError where the store cannot be opened.
    """

    def __init__(self, settings: HubSettings) -> None:
        self._over = ""
        self._malformed = 0
        self._settings = settings
        self._tasks: dict[tuple[str, int], Task] = {}  #: that have not ended
        self._doors: dict[str, _Door] = {}
        self._heard: dict[bytes, int] = {}  #: of each controller that has begun: the number of its last notes
        self._unsettled: dict[bytes, int] = {}  #: notes that the store has, and may not have written
        self._answers: deque[tuple[bytes, bytes]] = deque()  #: put there by threads of the store, too
        with ExitStack() as undo:
            undo.enter_context(ControllerLock(hub_folder(settings.folder), "hub", "parpool stop --hub"))
            state = _read_state(settings.folder / STATE)
            session = Session(state["session"])
            undo.callback(session.close)
            self._wake = Wake()
            undo.callback(self._wake.close)
            context = Context()
            undo.callback(context.close, 1.0)
            self._socket = self._bind(context, session, settings, state, undo)
            self.store: Store = open_store(settings.db)
            undo.callback(self.store.close)
            self._later: deque[Callable[[], None]] = deque()
            self._awaited = Awaited(self.store, self._do_later)
            self.close = undo.pop_all().close

    def _bind(
        self, context: Context, session: Session, settings: HubSettings, state: dict[str, Any], undo: ExitStack
    ) -> Router:
        keys, port = ("", "", ""), 0
        address = f"ipc://{session.path('hub')}"
        if settings.ip:
            public, secret, controllers, theirs = state["keys"]
            keys = (public, controllers, theirs)
            undo.callback(context.doorkeeper({DOMAIN: [controllers.encode()]}).close)
            bound = context.router(
                f"tcp://{settings.ip}:{settings.port or state['port'] or '*'}",
                secret=secret.encode(),
                public=public.encode(),
                domain=DOMAIN,
            )
            host = settings.location or (socket.getfqdn() if settings.ip in ("*", "0.0.0.0") else settings.ip)
            port = int(bound.address.rpartition(":")[2])
            address = f"tcp://{host}:{port}"
        else:
            with suppress(FileNotFoundError):
                os.unlink(session.path("hub"))  # of one that was killed
            bound = context.router(address, domain=DOMAIN)
        state = {"keys": state["keys"], "session": session.folder, "port": port}
        write_private(settings.folder / STATE, json.dumps(state, indent=1).encode())
        connection = Connection(
            "hub",
            settings.cluster_id,
            settings.profile,
            {"hub": address},
            *keys,
            os.getpid(),
            socket.gethostname(),
            __version__,
            PROTOCOL,
            time(),
        )
        undo.callback(Path(settings.folder, "hub.json").unlink, missing_ok=True)
        write(connection, settings.folder / "hub.json")
        return bound

    def end(self, why: str) -> None:
        """Have :meth:`run` return."""
        self._over = why
        self._wake.set()

    def run(self, signals: socket.socket | None = None) -> None:
        """Serve until :meth:`end`, also where a handler of ``signals`` says so."""
        poller = Poller()
        if signals is not None:
            poller.add(signals.fileno())
        poller.add(self._socket)
        poller.add(self._wake.fd)
        owner = self._settings.owner_pid
        watched = deaths.watch(owner) if owner else None
        if watched is not None:
            poller.add(watched)
        while not self._over:
            blind = GLANCE if owner and watched is None else None
            ready = poller.poll(SETTLE if self._unsettled else blind)
            self._wake.clear()
            if signals is not None:
                drain(signals)
            if owner and (any(source == watched for source, _ in ready) if watched else not deaths.alive(owner)):
                self.end(f"its owner, pid {owner}, is gone")
            while (message := self._socket.receive()) is not None:
                self._heed(*message)
            while self._later:
                self._later.popleft()()
            self._awaited.look()
            while self._answers:
                self._socket.send(*self._answers.popleft())
            self._settle()
        if watched is not None:
            os.close(watched)
        log.info("the hub ends: %s", self._over)

    def _heed(self, address: bytes, frames: list[bytes]) -> None:
        try:
            message = to_hub(frames[0] if frames else b"")
        except MalformedFrame as error:
            self._malformed += 1
            log.warning("dropped a malformed message of %r: %s", address[:40], error)
            return
        if not isinstance(message, Notes):

            def reply(value: Any, error: str | None = None, number: int = message.number) -> None:
                self._answers.append((address, encode(Told(number, value, error))))
                self._wake.set()

            if message.what == "heard":
                reply(None)
            elif message.what == "records_when_ended":
                self._awaited.add([str(id) for id in message.about.get("ids", ())], reply)
            else:
                self.store.ask(message.what, message.about, reply)
            return
        last = self._heard.get(address)
        if last is None or message.number == last + 1:  # what comes behind a gap comes again, in order
            last = self._heard[address] = message.number
            for note in message.notes:
                self._take(note)
        self._unsettled[address] = last

    def _do_later(self, what: Callable[[], None]) -> None:
        self._later.append(what)
        self._wake.set()

    def _settle(self) -> None:
        """Tell controllers what is written for good."""
        if not self._unsettled:
            return
        status = {**self.store.status(), "pid": os.getpid(), "hostname": socket.gethostname()}
        status["malformed"] = self._malformed
        if not status["backlog"]:
            for address, number in self._unsettled.items():
                self._socket.send(address, encode(Written(number, status)))
            self._unsettled.clear()

    def _take(self, note: Note) -> None:
        store = self.store
        if isinstance(note, Submitted):
            task = Task(note.id, note.function, note.payload, self._door(note.client))
            task.kind, task.first, task.count, task.weight = note.kind, note.first, note.count, note.weight
            task.whole, task.retries, task.limit, task.policy = note.whole, note.retries, note.limit, note.policy
            task.targets = None if note.targets is None else frozenset(note.targets)
            task.after = Dependency(frozenset(note.after)) if note.after else None
            task.follow = Dependency(frozenset(note.follow)) if note.follow else None
            task.state = SENT
            self._tasks[note.client, note.id] = task
            store.submitted([task], note.now)
        elif isinstance(note, Ended):
            self._end(note)
        elif isinstance(note, Named):
            store.named(note.key, note.blob, note.name)
        elif isinstance(note, Wrote):
            store.printed(self._task(note.client, note.id, note.whole), note.stream, note.text)
        else:
            store.engines(note.id, note.uid, note.facts, note.joined, note.now)

    def _end(self, note: Ended) -> None:
        task = self._task(note.client, note.id, note.whole)
        task.count, task.kind = note.count, note.kind
        if note.last:
            self._awaited.ended(f"{note.client}_{note.id if note.whole is None else note.whole}")
            task.state = ENDED
            self._tasks.pop((note.client, note.id), None)
            if note.whole is not None:  # the rest of it may have gone elsewhere, or have ended there
                self._tasks.pop((note.client, note.whole), None)
        outcome: Any = Ending(note.status, note.item, note.engine, note.detail)
        if note.status >= 0:
            outcome = Outcome(note.id, note.status, note.item, note.started, note.completed, note.payload, 0)
        self.store.ended([(task, outcome, note.engine)], note.now)

    def _task(self, client: str, id: int, whole: int | None) -> Task:
        """A task that was noted; or, where an earlier hub has noted it, what stands for it."""
        task = self._tasks.get((client, id))
        if task is None:
            task = Task(id, b"", b"", self._door(client), whole=whole)
            task.state = SENT
        return task

    def _door(self, name: str) -> _Door:
        return self._doors.setdefault(name, _Door(name))


def _read_state(path: Path) -> dict[str, Any]:
    """The keys and places of the hub that was here before, so that its controller finds this one; or new ones."""
    try:
        state = json.loads(path.read_bytes())
        return {"keys": list(state["keys"]), "session": str(state["session"]), "port": int(state["port"])}
    except FileNotFoundError:
        return {"keys": [*new_keys(), *new_keys()], "session": "", "port": 0}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConnectionFileError(f"{path} cannot be read ({error}): remove it to begin anew") from error


class _Door:
    """The client of a task."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def main(settings: HubSettings) -> None:
    """Be a hub until SIGTERM or SIGINT."""
    hub: Hub | None = None

    def stop(number: int, frame: object) -> None:
        if hub is None:
            raise SystemExit(0)
        hub.end(f"{signal.Signals(number).name} has come")

    for each in (signal.SIGTERM, signal.SIGINT):  # first: others may know of it as soon as its file is there
        signal.signal(each, stop)
    hub = Hub(settings)
    try:
        log.info("hub of %s, pid %d, is ready", settings.folder, os.getpid())
        with woken_by_signals() as signals:
            hub.run(signals)
    finally:
        hub.close()
