"""The engines of a host: started for vacant places, known by name, found dead and replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import NamedTuple, Protocol

from ..core.staff import Staff
from ..net.lane import Lane
from ..net.room import check_room
from ..options import EngineSettings
from ..shm.recorder import Recording
from ..wire import messages
from .deathwatch import Deathwatch
from .postmortem import Postmortem
from .receipts import Receipts

#: File descriptors: those that each engine takes here, as long as it lives and once it has joined, and those that are left
#: then, for the host's own sockets and for those of an engine that is forked, beside all that is open here
FOR_PROCESS, FOR_LINKS, SPARE = 3, 3, 16
PASSING = 2  #: those that are open while a process is started
HIRE_AGAIN = 0.5  #: seconds until an engine that could not be started is tried again


class Crew(Protocol):
    """Who starts and ends the processes of engines."""

    @property
    def forks(self) -> bool:
        """Does an engine begin with all that is open here?"""

    def start(self, settings: EngineSettings) -> int:
        """Start an engine's process; gives its pid."""

    def lives(self, uid: str) -> bool:
        """Does the process still run, as far as is known?"""

    def ended(self, uid: str) -> str:
        """The process has ended: reap it, and say how in words."""

    def kill(self, uid: str) -> None:
        """End the process, by force."""


class Member:
    """An engine as the host sees it."""

    __slots__ = (
        "uid",
        "address",
        "id",
        "joined",
        "known",
        "forget",
        "recorder",
        "pid",
        "stopping",
        "failure",
        "lane",
        "by_lane",
        "completed",
        "hostname",
        "receipts",
        "sent",
        "unsure",
        "proof",
        "given_up",
        "hello",
        "said",
    )

    def __init__(self, uid: str, id: int, recorder: str | None, pid: int) -> None:
        self.uid = uid
        self.address = uid.encode()  #: its name on the sockets
        self.id = id
        self.joined = False
        self.known: set[bytes] = set()  #: keys of the functions that it has
        self.forget: list[bytes] = []  #: of those, the ones that it should drop with the next message
        self.recorder = recorder
        self.pid = pid
        self.stopping = False
        self.failure: bytes | None = None  #: the packed exception that it could not serve for
        self.completed = 0  #: outcomes that it has reported
        self.lane: Lane | None = None
        self.hostname = ""  #: of another machine, or of this one where engines come by themselves
        self.receipts = Receipts()
        self.sent: int | None = None  #: messages with tasks since it was told to begin; None: they are not counted
        self.said: int | None = 0  #: the last hello that it was told to begin after; None: there was none yet
        self.hello: messages.Hello | None = None  #: what it has said, and is still to be borne out by reports
        self.given_up: frozenset[int] = frozenset()  #: tasks that it held when it was taken for lost
        self.unsure = False  #: may it be that it has not read that yet?
        self.proof = -1  #: the first task that it was sent since: what it says of this shows that it has
        self.by_lane = False  #: may the next message take the lane, though the engine holds something?


class Death(NamedTuple):
    """The end of an engine's process, and what it leaves."""

    member: Member
    detail: str  #: how it ended, in words
    reports: list[messages.Outcome]  #: outcomes that it had not sent
    running: tuple[int, int] | None  #: the task that it was in, and the item of it; None: in none
    known: bool  #: could its recorder be read?


class Members:
    """The engines whose processes are thought to live."""

    def __init__(self, crew: Crew, places: int, settings: Callable[[str], EngineSettings]) -> None:
        self.staff = Staff(places)
        self.deaths = Deathwatch(crew.lives)
        self._postmortem = Postmortem()
        self.by_address: dict[bytes, Member] = {}
        self.by_id: dict[int, Member] = {}
        self.failure: bytes | None = None  #: the packed exception of the last engine that could not serve
        self.hire_at: float | None = None  #: when to try again to fill vacant places
        self._crew = crew
        self._settings = settings
        self._next = 0
        self._step = 1

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Member]:
        return iter(self.by_id.values())

    def hire(self) -> None:
        """Start engines for all vacant places. Raises OSError where the system gives no process, or no file descriptors
        for what lies between it and the host."""
        self.hire_at = None
        vacancies, first = self.staff.vacancies(), not self._next
        if first and vacancies:  # the first are started all or none
            self._check_room(vacancies, SPARE)
        for _ in range(vacancies):
            if not first:
                self._check_room(1, SPARE if self._crew.forks else PASSING)
            uid = f"engine-{self._next}"
            settings = self._settings(uid)
            pid = self._crew.start(settings)
            member = Member(uid, self._next, settings.recorder, pid)
            self._next += self._step
            self.by_address[member.address] = self.by_id[member.id] = member
            self.staff.started(uid)
            self.deaths.watch(uid, pid)

    def _check_room(self, n: int, spare: int) -> None:
        check_room(spare + FOR_PROCESS * n + FOR_LINKS * (n + len(self.staff.starting)))

    def number_from(self, id: int) -> None:
        """Give no id below this one to engines that come from here on."""
        self._next += max(0, -(-(id - self._next) // self._step)) * self._step

    def number_by(self, first: int, step: int) -> None:
        """Give every ``step``-th id from ``first`` on: others give those between."""
        self._next, self._step = first, step

    def admit(self, uid: str, pid: int, recorder: str | None, id: int | None = None) -> Member:
        """An engine has come by itself; ``id``: that it had before."""
        if id is None:
            id = self._next
        self.number_from(id + 1)
        member = Member(uid, id, recorder, pid)
        self.by_address[member.address] = self.by_id[id] = member
        return member

    def cannot_hire(self) -> None:
        """The system gave no process: try again later."""
        self.staff.not_started()
        self.hire_at = monotonic() + HIRE_AGAIN

    def kill(self, id: int) -> None:
        """End an engine's process, by force."""
        member = self.by_id.get(id)
        if member is not None:
            self._crew.kill(member.uid)

    def bury(self, uids: list[str], silent: bool = False) -> Iterator[Death]:
        """Take leave of engines whose processes have ended, or are thought to have, as they are ``silent``."""
        for uid in uids:
            member = self.by_address.pop(uid.encode(), None)
            if member is None:
                continue
            del self.by_id[member.id]
            self.failure = member.failure or self.failure
            if silent:  # it may still run what it holds, and begin the rest of it
                yield Death(member, self._crew.ended(uid), [], None, False)
                continue
            detail = self._postmortem.words(self._crew.ended(uid), member.recorder)
            self.staff.ended(uid, failed=member.failure is not None)
            recording = Recording.read(member.recorder) if member.recorder else None
            if recording is None:
                yield Death(member, detail, [], None, False)
            else:
                yield Death(member, detail, _reports(recording), recording.running, True)

    def close(self) -> None:
        """Watch no longer. The processes are the crew's to end."""
        self.deaths.close()


def _reports(recording: Recording) -> list[messages.Outcome]:
    """The outcomes in a recording, but for those whose payload travelled apart."""
    reports: list[messages.Outcome] = []
    for count, data in recording.pages:
        try:
            done = messages.from_engine(messages.done_header(count, data))
        except messages.MalformedFrame:
            continue
        if isinstance(done, messages.Done):
            reports += [outcome for outcome in done.outcomes if not outcome.frames]
    return reports
