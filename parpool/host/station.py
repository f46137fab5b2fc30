"""The host of a controller: its engines come by themselves, go, and come back; its clients have doors.

Nothing of it knows of files and processes: that is the controller's (``controller.py``).
"""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import Any

from ..core.effects import Effects
from ..core.state import Task
from ..errors import ProtocolError
from ..net.heart import Pulse
from ..shm.session import Session, sweep
from ..status import ERROR, OK, OVERTIME, UNMET
from ..wire import messages
from ..wire.failure import pack_failure
from ..wire.messages import Begin, Die, Done, GivenBack, Hello, MalformedFrame, Noted, Outcome, Revoke, Stop, encode
from ..wire.requests import SHIFT
from ..wire.requests import Who as WhoIsThere
from .found import LostAndFound
from .greetings import Greetings
from .guests import Guests
from .journal import Journal, Past
from .lobby import Lobby
from .members import Death, Member
from .ports import CLIENTS, HEART, PORTS, Ports
from .watcher import StationDeeds

log = logging.getLogger("parpool")

ASK_AGAIN = 0.02  #: seconds until an engine that could not be asked is asked again
ASK_OFTEN = 500  #: times
_OF_ENGINES = frozenset({OK, ERROR, UNMET, OVERTIME})  #: how a task may end there
RESERVED = frozenset({*PORTS, "lane", "lock"})  #: names of files in the session's folder
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
SLICE = 1024  #: ends of tasks of a client that has gone that are told in a step
NOTE_EVERY = 32  #: messages of an engine that may be unacknowledged though they have arrived
AT_ONCE = 64  #: messages from one socket in one step, before others have their turn
GHOSTS = 1024  #: engines that were lost and may come back


class Station(Lobby):
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
        self._guests, self.pulse = Guests(), Pulse(misses)
        #: engines that were taken for lost: the ids that they had, and the tasks that they held
        self.ghosts: dict[bytes, tuple[int, frozenset[int]]] = {}
        self._to_ask: dict[bytes, int] = {}  #: engines that are to say who they are, and how often this is tried
        self._outside: dict[int, Callable[[], None]] = {}
        self._hold_back: dict[bytes, None] = {}  #: engines that are still at what was given up
        self._asked: dict[bytes, None] = {}  #: those that were asked since the last beat, and have not said so yet
        self._leaving: dict[str, None] = {}  #: engines that have said farewell
        self.journal = journal
        super().__init__(self._guests, 0, policy=policy)
        self._guests.send_die = self._kill
        self.on_need = self._no_code
        self.lost_and_found = LostAndFound(self)
        self.greetings = Greetings(self)
        self.perform: Callable[[Effects], None] = self._perform
        #: called when a step has sent all that it had to send
        self.on_done: Callable[[], None] = lambda: None

    _wires: Ports
    deeds: StationDeeds

    def _make_deeds(self) -> StationDeeds:
        deeds = StationDeeds(self.scheduler, self.members, self._wires, self.blobs)
        deeds.journal, deeds.can_be_told = self.journal, self.scheduler.can_be_told
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
            clients = self._wires.clients
            for _ in range(AT_ONCE):
                message = clients.receive()
                if message is None:
                    break
                self.on_client(*message)
                if not clients.more():
                    break
        elif source is HEART:
            self._hear()
        elif source in self._outside:
            self._outside[source]()
        else:
            return False
        return True

    def listen(self, fd: int, heed: Callable[[], None]) -> None:
        """Call ``heed`` in the loop whenever a file descriptor can be read."""
        self._outside[fd] = heed
        self._wires.watch((fd,))

    def step(self, timeout: float | None) -> None:
        """One round, and what it has brought for clients is sent."""
        if self._to_ask:
            self._ask_now()
            if self._to_ask:  # their connection is still being made
                timeout = ASK_AGAIN if timeout is None else min(timeout, ASK_AGAIN)
        if self.scheduler.condemned:
            self._perform(self.scheduler.bury(SLICE, monotonic()))
        self.hall.flush()  # what has ended between two steps, as with a beat
        super().step(0 if self._leaving or self.scheduler.condemned else timeout)
        if self._leaving:
            leaving, self._leaving = self._leaving, {}
            self._lose(list(leaving))
        self.hall.flush()
        self.on_done()

    def _receive_work(self) -> bool:
        # Where engines are many, or far, each answers by itself: a step and a delivery for each message would cost more
        # than what is in them.
        for _ in range(AT_ONCE):
            if not super()._receive_work():
                return False
            if not self._wires.more_work():
                break
        return True

    def beat(self) -> None:
        """An interval of the heartbeat has gone by."""
        again, self._asked, self._hold_back = {**self._asked, **self._hold_back}, {}, {}
        for name in again:
            if name in self.members.by_address:
                self._ask_who(name)
        asked, lost = self.pulse.beat()
        heart = self._wires.heart
        for name in (*asked, *self.ghosts, *self.away):
            heart.send(name, b"")
        for name in lost:
            member = self.members.by_address.get(name)
            if member is None:
                self.on_client_lost(name)
                continue
            log.warning("engine %s does not answer: it is taken for dead", member.uid)
            where = f"pid {member.pid} on {member.hostname or 'an unknown machine'} ({member.uid})"
            self._guests.told[member.uid] = f"{where} does not answer"
            self.ghosts[name] = member.id, frozenset(self._held_by(member.uid))
            if len(self.ghosts) > GHOSTS:
                del self.ghosts[next(iter(self.ghosts))]
            self._lose([member.uid], silent=True)
        if lost:
            sweep()  # a client that has died has left memory, too
        for member in self.members:
            self._note(member)
        self.lost_and_found.age()
        self.ports.refused()  # else what there is to count grows

    def _hear(self) -> None:
        while (answer := self._wires.heart.receive()) is not None:
            name, frames = answer
            if any(frames):
                self.malformed += 1
                continue
            if self.pulse.answered(name):
                continue
            if name in self.ghosts:
                self._ask_who(name)
            elif name in self.away:
                self.to_client(name, encode(WhoIsThere()))

    # -- engines ----------------------------------------------------------------------------------------------

    def _heed_stranger(self, uid: bytes, frames: list[bytes]) -> None:
        try:
            message = messages.from_engine(frames[0] if frames else b"")
            name = uid.decode("ascii")
        except (MalformedFrame, UnicodeDecodeError):
            message, name = None, ""
        # The name becomes that of a file.
        if message is None or not _NAME.fullmatch(name) or name in RESERVED:
            self.malformed += 1
            log.warning("dropped a malformed message of %r", uid[:40])
            return
        if not isinstance(message, Hello):
            self._ask_who(uid)  # one that was lost, or that an earlier controller had
            return
        ghost = self.ghosts.pop(uid, None)
        member = self.members.admit(name, message.pid, None, None if ghost is None else ghost[0])
        member.hostname, member.sent = message.hostname, 0
        self.pulse.watch(uid)
        self._asked.pop(uid, None)
        if message.held is None or message.protocol != messages.PROTOCOL:
            self._welcome(member, message)
            return
        member.said = None
        member.given_up = frozenset() if ghost is None else ghost[1]
        self.scheduler.engine_awaited(member.id, monotonic())
        self._hear_hello(member, message)

    def _first_tasks(self, engine: int) -> list[Task]:
        return self.greetings.for_one(engine)

    def follow(self, past: Past) -> None:
        """Take the place of the controller that was here before: its engines should come back, with what they hold."""
        self.lost_and_found.past = past
        self.members.number_from(past.next)
        for id, engine in past.engines.items():
            member = self.lost_and_found.expect(id, *engine)
            self.pulse.watch(member.address)

    def _welcome(self, member: Member, hello: Hello) -> None:
        if member.id in self.scheduler.engines:
            if hello.held is not None:
                self._hear_hello(member, hello)
            return
        super()._welcome(member, hello)
        if member.id in self.scheduler.engines:
            self._draw_near(member, hello)
            self.journal.joined(member.id, member.uid, member.pid, member.hostname)
            log.info("engine %d is %s, pid %d on %s", member.id, member.uid, member.pid, member.hostname)

    def _hear_hello(self, member: Member, hello: Hello) -> None:
        """An engine that was cut off, or of the time before, says what it holds. What has not arrived follows."""
        self._asked.pop(member.address, None)
        member.hello = hello
        member.receipts.begin(hello.first)
        self._welcome_back(member)

    def _welcome_back(self, member: Member) -> None:
        """Where all has been heard that an engine has to say again, it joins, or goes on."""
        hello = member.hello
        if hello is None or hello.held is None or (member.receipts.next or 0) <= hello.last:
            return
        member.hello = None
        member.known.clear()  # what was on its way is lost
        self._begin(member, hello)
        tasks, held = self.scheduler.tasks, self.scheduler.engines[member.id].held
        self._note_cuts(member, hello.rests)
        given_up = {id for id in hello.held if id in member.given_up or (id in tasks and id not in held)}
        if given_up:
            # Some of it may run elsewhere, and what is reported of it is not to be taken for that: it joins when it is
            # through with it.
            self._wires.tell(member, encode(Revoke(list(given_up))))
            self._hold_back[member.address] = None
            return
        if not member.joined:
            member.joined = True
            self.journal.joined(member.id, member.uid, member.pid, member.hostname)
            member.given_up = frozenset()
            mine = [id for id in hello.held if id not in tasks]
            self.lost_and_found.claim(member.id, mine, {id: item for id, item in hello.rests if id in mine})
        self._draw_near(member, hello)
        self._perform(self.scheduler.engine_returned(member.id, hello.held, monotonic(), hello.rests))
        if self.scheduler.engines[member.id].stopped:
            self._wires.send(member, encode(Stop()))  # it may not have heard
        self.on_change()

    def _begin(self, member: Member, hello: Hello) -> None:
        """From here on it takes what it is sent; nothing that was sent before."""
        member.sent, member.unsure, member.said, member.proof = 0, True, hello.said, -1
        self._wires.send(member, encode(Begin(hello.said)))

    def _draw_near(self, member: Member, hello: Hello) -> None:
        """An engine on this machine has a lane, and a process that can be watched."""
        self._wires.join(self.members.by_address)
        if member.lane is not None and member.lane.pid:
            member.pid, member.recorder = member.lane.pid, self.session.path(member.uid)
            self.members.deaths.watch(member.uid, member.pid)
            self.estates.guard(member, hello.memory)

    def _heed_return(self, uid: bytes) -> None:
        self._asked.pop(uid, None)
        self._ask_who(uid)

    def _ask_who(self, uid: bytes) -> None:
        """Have an engine say again what it holds, and what may not have arrived: once, until it has, or a beat later."""
        if uid not in self._asked:
            self._to_ask[uid] = ASK_OFTEN

    def _ask_now(self) -> None:
        for uid, times in list(self._to_ask.items()):
            if times <= 0 or self._wires.ask_who(uid):
                del self._to_ask[uid]
                self._asked[uid] = None
            else:
                self._to_ask[uid] = times - 1

    def _done(self, member: Member, content: Done, frames: list[bytes]) -> None:
        source = member.receipts.read(content.number)
        if source is not None or not content.number:  # one that does not number them can lose them
            if member.unsure:  # what it was in the middle of ends also while that waits in its socket
                member.unsure = all(outcome.id != member.proof for outcome in content.outcomes)
            self.hall.source = source
            try:
                super()._done(member, content, frames)
            finally:
                self.hall.source = None
                if source is not None:
                    source.taken()
        if member.hello is not None:
            self._welcome_back(member)
        if member.receipts.settled - member.receipts.told >= NOTE_EVERY:
            self._note(member)

    def _report(self, member: Member, outcomes: list[Outcome]) -> Effects:
        tasks = self.scheduler.tasks
        for outcome in outcomes:
            if outcome.status not in _OF_ENGINES:
                self.malformed += 1
                outcome.status, outcome.payload = ERROR, pack_failure(ProtocolError("its outcome was malformed"))
        if any(outcome.id not in tasks for outcome in outcomes):
            known = tasks.keys() | member.given_up if member.given_up else tasks
            self.lost_and_found.keep(member.id, [each for each in outcomes if each.id not in known], self.hall.source)
        return super()._report(member, outcomes)

    def _given_back(self, member: Member, answer: GivenBack) -> None:
        if answer.said != member.said:
            return  # its hello has told of this, or will
        member.unsure = False  # before it has read that, it gives nothing back
        self._note_cuts(member, answer.rests)
        super()._given_back(member, answer)

    def _note_cuts(self, member: Member, rests: Iterable[tuple[int, int]]) -> None:
        held = self.scheduler.engines[member.id].held if member.id in self.scheduler.engines else {}
        for id, item in rests:
            task = held.get(id)
            if task is not None and 0 < item and task.first <= item < task.count:
                self.journal.cut(id, item)

    def _note(self, member: Member) -> None:
        """Let an engine forget what has arrived."""
        receipts = member.receipts
        if receipts.settled > receipts.told and member.joined:
            receipts.told = receipts.settled
            self._wires.tell(member, encode(Noted(receipts.told)))

    def _farewell(self, member: Member, failure: bytes) -> None:
        super()._farewell(member, failure)
        self._guests.told[member.uid] = f"pid {member.pid} has left"
        self._leaving[member.uid] = None  # not at once: others may say so in what is heard first

    def _lose(self, gone: list[str], silent: bool = False) -> None:
        for uid in gone:
            member = self.members.by_address.get(uid.encode())
            if member is not None:
                self.pulse.forget(member.address)
                self.journal.lost(member.id)
                log.info("engine %d is lost", member.id)
                where = f"pid {member.pid} on {member.hostname or 'an unknown machine'} ({member.uid})"
                self._guests.told.setdefault(uid, f"{where} is gone")
        held = [id for uid in gone for id in self._held_by(uid)]
        super()._lose(gone, silent)
        tasks = self.scheduler.tasks
        self.journal.taken_back([id for id in held if id in tasks and tasks[id].engine is None])

    def _mourn(self, death: Death) -> None:
        id = death.member.id
        held = list(self.scheduler.engines[id].held.values()) if id in self.scheduler.engines else []
        super()._mourn(death)
        alive = self.scheduler.tasks
        # What an engine has begun does not run again though its client has not heard yet how it ended.
        ends = ((task.id, task.first if task.id in alive else task.count) for task in held if task.id >> SHIFT)
        self.journal.over(id, {task: end for task, end in ends if end})

    def _kill(self, uid: str) -> None:
        member = self.members.by_address.get(uid.encode())
        if member is None:
            return
        if member.lane is not None:
            with suppress(OSError):
                os.kill(member.pid, signal.SIGKILL)
        else:
            self._wires.tell(member, encode(Die()))
