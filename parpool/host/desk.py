"""The desk of a host: what engines say, and what becomes of it.

:class:`Desk` has the scheduler and the engines, and reacts to messages and deaths. The loop that brings them is the
:class:`~parpool.host.host.Host`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random
from time import monotonic

from .. import __version__
from ..core.effects import Effects
from ..core.scheduler import Scheduler
from ..core.state import Task
from ..errors import ProtocolError
from ..options import EngineSettings
from ..shm.segments import remove
from ..shm.session import Session
from ..wire import messages
from ..wire.envelope import Take, any_in, received
from ..wire.failure import pack_failure
from ..wire.messages import (
    Done,
    Farewell,
    GivenBack,
    Hello,
    MalformedFrame,
    Need,
    Outcome,
    Printed,
    Refused,
    Stop,
    Work,
)
from .blobs import Blobs
from .deeds import Deeds
from .members import Crew, Death, Member, Members
from .orders import Orders
from .wires import Wires

log = logging.getLogger("parpool")
LAST_WORDS = 0.3  #: seconds that the reason has to arrive for which an engine could not begin
HINT = (
    "(Engines that are not forked import the script: it must be a file, "
    'and needs `if __name__ == "__main__":` around what it does.)'
)


class Desk:
    """A scheduler, and the engines that it has."""

    def __init__(self, crew: Crew, places: int, session: Session, wires: Wires, quota: int | None, policy: str) -> None:
        self.session = session
        self.scheduler = Scheduler(policy, Random())
        self.blobs = Blobs()
        self.known = self.blobs.known  #: blobs of functions, by key
        self.malformed = 0  #: messages dropped because they were not of the schema
        #: called when the staff has broken, with the packed exception of an engine or a sentence
        self.on_broken: Callable[[bytes | str], None] = lambda why: None
        #: gives code by value that an engine asks for
        self.on_need: Callable[[bytes], bytes] = lambda key: b""
        #: called when an engine has joined, or ended
        self.on_change: Callable[[], None] = lambda: None
        #: claims shared memory that outcomes tell of, where it is for this process; None: it is for others
        self.claim: Take | None = None
        self._quota = quota
        self._closing = False  #: the engines were told to end
        self._wires = wires
        self.members = Members(crew, places, self._settings)
        self.deeds = self._make_deeds()
        self._perform = self.deeds.perform
        self.orders = Orders(self.scheduler, self.members, wires, self._perform)

    def _settings(self, uid: str) -> EngineSettings:
        raise NotImplementedError

    def _make_deeds(self) -> Deeds:
        return Deeds(self.scheduler, self.members, self._wires, self.blobs)

    def _first_tasks(self, engine: int) -> list[Task]:
        """What an engine that joins begins with."""
        return []

    def _all_ended(self) -> None:
        raise NotImplementedError

    # -- messages ---------------------------------------------------------------------------------------------

    def _receive_work(self) -> bool:
        """Take one message from the engines; False where none is there."""
        # One, and not all: the wait that this step serves may end with it, and a look into an empty socket costs more
        # than the poll of the next step.
        message = self._wires.work()
        if message is None:
            return False
        uid, frames = message
        member = self.members.by_address.get(uid)
        if member is None or not frames:
            self._heed_stranger(uid, frames)
            return True
        if member.lane is not None:
            self._receive_lane(member)  # it was sent before
        self._heed(member, frames)
        return True

    def _heed_stranger(self, uid: bytes, frames: list[bytes]) -> None:
        """A message of somebody who is no engine of ours, or without a content."""
        self.malformed += 1

    def _heed_return(self, uid: bytes) -> None:
        """An engine has a new connection. (Children have none but the first.)"""

    def _receive_lane(self, member: Member) -> None:
        """Take what is in a member's lane."""
        while (message := self._wires.from_lane(member)) is not None:
            self._heed(member, [message])

    def _heed(self, member: Member, frames: list[bytes]) -> None:
        """React to a message of an engine."""
        try:
            content = messages.from_engine(frames[0])
        except MalformedFrame as error:
            self.malformed += 1
            log.warning("dropped a malformed message of %s: %s", member.uid, error)
            return
        if type(content) is Done:
            self._done(member, content, frames)
        elif type(content) is Hello:
            self._welcome(member, content)
        elif type(content) is Need:
            self._supply(member, content.key)
        elif type(content) is Printed:
            task = self.scheduler.tasks.get(content.id)
            if task is not None and task.engine == member.id:
                self.deeds.print(task, member.id, content.stream, content.text)
        elif type(content) is Farewell:
            self._farewell(member, content.failure)

    def _done(self, member: Member, content: Done, frames: list[bytes]) -> None:
        body = 1
        if len(frames) > 1:
            for outcome in content.outcomes:
                if outcome.frames and body < len(frames):
                    outcome.payload = frames[body]
                    body += 1
        if self.claim is not None and any_in(frames):
            for outcome in content.outcomes:
                outcome.payload = received(outcome.payload, self.claim)
        member.completed += len(content.outcomes)
        self._perform(self._report(member, content.outcomes))

    def _report(self, member: Member, outcomes: list[Outcome]) -> Effects:
        return self.scheduler.outcomes(member.id, outcomes, monotonic())

    def _farewell(self, member: Member, failure: bytes) -> None:
        """An engine ends."""
        member.failure = failure

    def _welcome(self, member: Member, hello: Hello) -> None:
        if hello.protocol != messages.PROTOCOL:
            reason = (
                f"it speaks protocol {hello.protocol} (parpool {hello.version}), "
                f"the host speaks {messages.PROTOCOL} (parpool {__version__})"
            )
            log.error("refused %s: %s", member.uid, reason)
            self._wires.send(member, messages.encode(Refused(reason)))
            member.failure = pack_failure(ProtocolError(f"{member.uid} is refused: {reason}"))
            return
        if member.joined:
            return
        member.joined = True
        self.members.staff.ready(member.uid)
        self._wires.join(self.members.by_address)
        if member.stopping or member.failure is not None:
            self._wires.send(member, messages.encode(Stop()))
            return
        self._perform(self.scheduler.engine_joined(member.id, monotonic(), self._quota, self._first_tasks(member.id)))
        if self.members.hire_at is None:
            self._hire()  # a place may have been left vacant, to see first how this one fares
        self.on_change()

    def _supply(self, member: Member, key: bytes) -> None:
        blob = self.on_need(key)
        member.known.add(key)
        self._wires.send(member, messages.encode(Work([], {key: blob}, [])))

    def _receive_control(self) -> None:
        while (message := self._wires.control()) is not None:
            uid, frames = message
            member = self.members.by_address.get(uid)
            try:
                answer = messages.from_control(frames[0])
            except (MalformedFrame, IndexError):
                self.malformed += 1
                continue
            if isinstance(answer, Hello):
                self._heed_return(uid)
            elif member is not None:
                self._given_back(member, answer)

    def _given_back(self, member: Member, answer: GivenBack) -> None:
        self._perform(self.scheduler.given_back(member.id, answer.ids, answer.kept, monotonic(), answer.rests))

    # -- deaths -----------------------------------------------------------------------------------------------

    def bury(self) -> None:
        """React to the end of engines' processes."""
        gone = self.members.deaths.gone()
        if gone:
            self._lose(gone)

    def _lose(self, gone: list[str], silent: bool = False) -> None:
        """These engines are no more, or do not answer."""
        for uid in gone:  # what they had sent
            if (member := self.members.by_address.get(uid.encode())) is not None:
                self._receive_lane(member)
                self._wires.part(member)
        while self._receive_work():
            pass
        if not silent:
            self._hear_why(gone)
        self._receive_control()
        for death in self.members.bury(gone, silent):
            self._mourn(death)
            if not silent:
                remove(self.session.folder, death.member.uid)
            if self.members.staff.broken:
                self.on_broken(death.member.failure or f"engines die before they are ready: {death.detail}. {HINT}")
        if not self._closing:
            self._hire()
        elif not self.members:
            self._all_ended()
        self.on_change()

    def _hear_why(self, gone: list[str]) -> None:
        """Engines that could not begin say why before they end. Where the machine is busy, the system tells of the end
        first, as the words go through a thread of ZeroMQ here."""
        until = monotonic() + LAST_WORDS
        engines = [member for uid in gone if (member := self.members.by_address.get(uid.encode())) is not None]
        while self.members.failure is None and any(not each.joined and each.failure is None for each in engines):
            if (left := until - monotonic()) <= 0 or not self._wires.wait_for_work(left):
                return
            self._receive_work()

    def _mourn(self, death: Death) -> None:
        """What an engine held has ended with it, or goes elsewhere."""
        if self.claim is not None:
            for report in death.reports:
                if report.id in self.scheduler.tasks:  # else it has arrived before
                    report.payload = received(report.payload, self.claim)
        self._perform(
            self.scheduler.engine_lost(
                death.member.id,
                monotonic(),
                reports=death.reports,
                running=death.running,
                known=death.known,
                detail=death.detail,
            )
        )

    def _hire(self) -> None:
        """Fill vacant places; where the system gives no process now, later."""
        try:
            self.members.hire()
        except Exception as error:  # not OSError alone: a fork server that has died is an EOFError
            self.members.cannot_hire()
            if self.members.staff.broken:
                words = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                self.on_broken(f"no engine is left and none can be started: {words}")
            self.on_change()  # it may have been the last attempt, and somebody waits for more engines
