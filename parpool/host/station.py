"""The host of a controller: its engines come by themselves, go, and come back; its clients have doors.

Nothing of it knows of files and processes: that is the controller's (``controller.py``).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from ..core.effects import Effects
from ..core.state import Task
from ..errors import SerializationError
from ..net.heart import Pulse
from ..options import EngineSettings
from ..shm.session import Session
from ..wire import messages
from ..wire.failure import pack_failure
from ..wire.messages import Die, Done, GivenBack, Hello, MalformedFrame, Noted, Outcome, Revoke, encode
from ..wire.requests import Came, Definition, Fellow, Gone
from .doors import Door, Hall
from .found import LostAndFound
from .greetings import Greetings
from .host import Host
from .journal import Journal
from .members import Member
from .ports import CLIENTS, HEART, Ports
from .watcher import StationDeeds

log = logging.getLogger("parpool")

ASK_AGAIN = 0.02  #: seconds until an engine that could not be asked is asked again
NOTE_EVERY = 32  #: messages of an engine that may be unacknowledged though they have arrived
GHOSTS = 1024  #: engines that were lost and may come back


class Guests:
    """A crew that starts nobody: engines come by themselves."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}  #: how engines ended, where that is known
        self.send_die: Callable[[str], None] = lambda uid: None

    def start(self, settings: EngineSettings) -> int:
        """Nobody is started here."""
        raise NotImplementedError("the engines of a controller are started by launchers")

    def ended(self, uid: str) -> str:
        """How it ended, in words."""
        return self.told.pop(uid, "its process is gone")

    def kill(self, uid: str) -> None:
        """End the process, by force."""
        self.send_die(uid)


class Station(Host):
    """A host for engines and clients that come by themselves, through ``ports``."""

    def __init__(
        self,
        session: Session,
        ports: Ports,
        journal: Journal,
        *,
        misses: int,
        policy: str,
    ) -> None:
        self._given = session, ports
        self._guests = Guests()
        self.pulse = Pulse(misses)
        self.ghosts: dict[bytes, int] = {}  #: engines that were taken for lost, and the ids that they had
        self._to_ask: dict[bytes, None] = {}  #: engines that are to say who they are
        self.journal = journal
        self._told: set[int] = set()  #: engines that clients know of
        #: takes messages of clients
        self.on_client: Callable[[bytes, list[bytes]], None] = lambda address, frames: None
        #: told of a client that does not answer
        self.on_client_lost: Callable[[bytes], None] = lambda address: None
        #: told of tasks that were submitted, and of functions, before they are sent
        self.on_submitted: Callable[[list[Task]], None] = lambda tasks: None
        self.on_named: Callable[[Definition], None] = lambda function: None
        #: what clients are to be told
        self.on_news: Callable[[Any], None] = lambda message: None
        super().__init__(self._guests, 0, policy=policy)
        self._guests.send_die = self._kill
        self.on_change = self._tell_of_engines
        self.on_need = self._no_code
        self.hall = Hall(self.to_client)
        self.lost_and_found = LostAndFound(self)
        self.greetings = Greetings(self)
        self.perform: Callable[[Effects], None] = self._perform

    _wires: Ports
    deeds: StationDeeds

    def _make_deeds(self) -> StationDeeds:
        deeds = StationDeeds(self.scheduler, self.members, self._wires, self.blobs)
        deeds.journal = self.journal
        deeds.can_be_told = self.scheduler.can_be_told
        return deeds

    def _open_session(self) -> Session:
        return self._given[0]

    def _lay_wires(self, session: Session) -> Ports:
        return self._given[1]

    @property
    def ports(self) -> Ports:
        """The sockets."""
        return self._wires

    # -- the loop ---------------------------------------------------------------------------------------------

    def _heed_other(self, source: Any) -> bool:
        if source is CLIENTS:
            while (message := self._wires.clients.receive()) is not None:
                self.on_client(*message)
        elif source is HEART:
            self._hear()
        else:
            return False
        return True

    def step(self, timeout: float | None) -> None:
        """One round, and what it has brought for clients is sent."""
        if self._to_ask:
            self._ask_now()
            if self._to_ask:  # their connection is still being made
                timeout = ASK_AGAIN if timeout is None else min(timeout, ASK_AGAIN)
        super().step(timeout)
        self.hall.flush()

    def beat(self) -> None:
        """An interval of the heartbeat has gone by."""
        asked, lost = self.pulse.beat()
        heart = self._wires.heart
        for name in (*asked, *self.ghosts):
            heart.send(name, b"")
        for name in lost:
            member = self.members.by_address.get(name)
            if member is None:
                self.on_client_lost(name)
                continue
            log.warning("engine %s does not answer: it is taken for dead", member.uid)
            where = f"pid {member.pid} on {member.hostname or 'an unknown machine'} ({member.uid})"
            self._guests.told[member.uid] = f"{where} does not answer"
            self.ghosts[name] = member.id
            if len(self.ghosts) > GHOSTS:
                del self.ghosts[next(iter(self.ghosts))]
            self._lose([member.uid], silent=True)
        for member in self.members:
            self._note(member)

    def _hear(self) -> None:
        while (answer := self._wires.heart.receive()) is not None:
            name, _ = answer
            if not self.pulse.answered(name) and name in self.ghosts:
                self._ask_who(name)

    # -- engines ----------------------------------------------------------------------------------------------

    def _heed_stranger(self, uid: bytes, frames: list[bytes]) -> None:
        try:
            message = messages.from_engine(frames[0] if frames else b"")
            name = uid.decode("ascii")
        except (MalformedFrame, UnicodeDecodeError):
            self.malformed += 1
            log.warning("dropped a malformed message of %r", uid[:40])
            return
        if not isinstance(message, Hello):
            self._ask_who(uid)  # one that was lost, or that an earlier controller had
            return
        known_as = self.ghosts.pop(uid, None)
        member = self.members.admit(name, message.pid, self.session.path(name), known_as)
        member.hostname = message.hostname
        self.pulse.watch(uid)
        member.receipts.begin(message.first)
        self._welcome(member, message)
        if message.held and known_as is None:
            self.lost_and_found.claim(member.id, message.held)
        elif message.held:  # what it held was given up, and some of it may run elsewhere
            self._wires.tell(member, encode(Revoke(message.held)))

    def _first_tasks(self, engine: int) -> list[Task]:
        return self.greetings.for_one(engine)

    def await_engine(self, id: int, uid: str, pid: int, hostname: str) -> None:
        """An engine of the controller that was here before: it should come back, with what it holds."""
        member = self.members.admit(uid, pid, self.session.path(uid), id)
        member.hostname = hostname
        self.pulse.watch(member.address)
        self.scheduler.engine_awaited(id, monotonic())
        if hostname == socket.gethostname() and pid:
            self.members.deaths.watch(uid, pid)

    def _welcome(self, member: Member, hello: Hello) -> None:
        if member.id in self.scheduler.engines:
            self._welcome_back(member, hello)
            return
        super()._welcome(member, hello)
        if member.id in self.scheduler.engines:
            self._draw_near(member)
            self.journal.joined(member.id, member.uid, member.pid, member.hostname)
            log.info("engine %d is %s, pid %d on %s", member.id, member.uid, member.pid, member.hostname)

    def _welcome_back(self, member: Member, hello: Hello) -> None:
        """An engine that was cut off, or of the time before, says what it holds."""
        held = hello.held or []
        asked, member.asked = member.asked, None
        if member.joined and asked is None:
            return  # nobody has asked
        member.receipts.begin(hello.first)
        member.known.clear()  # what was on its way may be lost
        if not member.joined:
            member.joined = True
            self.journal.joined(member.id, member.uid, member.pid, member.hostname)
            self.lost_and_found.claim(member.id, [id for id in held if id not in self.scheduler.tasks])
        self._draw_near(member)
        self._perform(self.scheduler.engine_returned(member.id, held, asked, monotonic()))
        self.on_change()

    def _draw_near(self, member: Member) -> None:
        """An engine on this machine has a lane, and a process that can be watched."""
        self._wires.join(self.members.by_address)
        if member.lane is not None and member.lane.pid:
            member.pid = member.lane.pid
            self.members.deaths.watch(member.uid, member.pid)

    def _heed_return(self, uid: bytes) -> None:
        self._ask_who(uid)

    def _ask_who(self, uid: bytes) -> None:
        """Have an engine say again what it holds, and what may not have arrived."""
        self._to_ask[uid] = None

    def _ask_now(self) -> None:
        for uid in list(self._to_ask):
            member = self.members.by_address.get(uid)
            if self._wires.ask_who(uid):
                del self._to_ask[uid]
                if member is not None and member.joined:
                    member.asked = frozenset(self.scheduler.engines[member.id].held)

    def _done(self, member: Member, content: Done, frames: list[bytes]) -> None:
        source = member.receipts.read(content.number) if content.number else None
        self.hall.source = source
        try:
            super()._done(member, content, frames)
        finally:
            self.hall.source = None
            if source is not None:
                source.taken()
        if member.receipts.settled - member.receipts.told >= NOTE_EVERY:
            self._note(member)

    def _report(self, member: Member, outcomes: list[Outcome]) -> Effects:
        tasks = self.scheduler.tasks
        if any(outcome.id not in tasks for outcome in outcomes):
            self.lost_and_found.keep(member.id, [each for each in outcomes if each.id not in tasks], self.hall.source)
        return super()._report(member, outcomes)

    def _given_back(self, member: Member, answer: GivenBack) -> None:
        held = self.scheduler.engines[member.id].held if member.id in self.scheduler.engines else {}
        for id, item in answer.rests:
            if id in held:
                self.journal.cut(id, item)
        super()._given_back(member, answer)

    def _note(self, member: Member) -> None:
        """Let an engine forget what has arrived."""
        receipts = member.receipts
        if receipts.settled > receipts.told and member.joined:
            receipts.told = receipts.settled
            self._wires.tell(member, encode(Noted(receipts.told)))

    def _farewell(self, member: Member, failure: bytes) -> None:
        super()._farewell(member, failure)
        self._guests.told[member.uid] = f"pid {member.pid} has left"
        self._lose([member.uid])

    def _lose(self, gone: list[str], silent: bool = False) -> None:
        for uid in gone:
            member = self.members.by_address.get(uid.encode())
            if member is not None:
                self.pulse.forget(member.address)
                self.journal.lost(member.id)
                log.info("engine %d is lost", member.id)
                where = f"pid {member.pid} on {member.hostname or 'an unknown machine'} ({member.uid})"
                self._guests.told.setdefault(uid, f"{where} is gone")
        super()._lose(gone, silent)

    def _kill(self, uid: str) -> None:
        member = self.members.by_address.get(uid.encode())
        if member is None:
            return
        if member.lane is not None:
            with suppress(OSError):
                os.kill(member.pid, signal.SIGKILL)
        else:
            self._wires.tell(member, encode(Die()))

    def _no_code(self, key: bytes) -> bytes:
        if key in self.known:  # it was on its way, and was lost
            return self.known[key]
        return b"E" + pack_failure(SerializationError("the engine has no such code, and its client sent none"))

    def retire(self, ids: Iterable[int]) -> None:
        """Let engines end when what they hold is done."""
        for id in ids:
            self._perform(self.scheduler.retire(id))

    def dismiss(self) -> None:
        """Have all engines end now: the controller does."""
        for address in (*self.members.by_address, *self.ghosts):
            self._wires.tell_one(address, encode(Die()))

    # -- clients ----------------------------------------------------------------------------------------------

    def to_client(self, address: bytes, header: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send a message to a client, if it is there."""
        self._wires.clients.send(address, header, frames)

    def fellows(self) -> list[Fellow]:
        """The engines that serve."""
        return [_fellow(each) for each in self.members if each.joined and each.id in self.scheduler.engines]

    def _tell_of_engines(self) -> None:
        here = {each.id: each for each in self.members if each.joined and each.id in self.scheduler.engines}
        came = [_fellow(member) for id, member in here.items() if id not in self._told]
        gone = [id for id in self._told if id not in here]
        self._told = set(here)
        if came:
            self.on_news(Came(came))
        if gone:
            self.on_news(Gone(gone))

    def take(self, door: Door, tasks: list[Task], again: bool) -> None:
        """Tasks of a client; ``again``: they may have been submitted before, here or to the controller before this."""
        if again:
            tasks = self.lost_and_found.recognise(door, tasks)
        self.on_submitted(tasks)
        self._perform(self.scheduler.submit(tasks, monotonic()))

    def learn(self, function: Definition) -> None:
        """A client defines a function."""
        self.known[function.key] = function.blob
        self.on_named(function)

    def greet(self, door: Door, function: Definition, payload: bytes, later_only: bool) -> None:
        """Have every engine call a function of a client before all that the client submits from here on."""
        door.functions[function.key] = None
        self.learn(function)
        self.greetings.add(door, function.key, payload)
        if not later_only:
            self._perform(self.scheduler.submit(self.greetings.for_all(door, function.key, payload), monotonic()))

    def forget(self, keys: Iterable[bytes]) -> None:
        """No client will use these functions again."""
        needed = {task.function for task in self.scheduler.tasks.values()} if keys else set()
        self.blobs.drop([key for key in keys if key not in needed], self.members)


def _fellow(member: Member) -> Fellow:
    return Fellow(member.id, member.uid, member.pid, member.hostname)
