"""What a station does for clients: it hands in their tasks, and tells them of engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import monotonic, sleep
from typing import Any

from ..core.state import Task
from ..errors import SerializationError
from ..wire.failure import pack_failure
from ..wire.requests import Came, Definition, Fellow, Gone
from .doors import Door, Hall
from .estates import Estates
from .found import LostAndFound
from .greetings import Greetings
from .host import Host
from .members import Death, Member
from .ports import Ports

RETURN = 1.0  #: seconds that engines whose connections are being made have to hear of the end
GLANCE = 0.02  #: seconds between attempts to tell them


class Lobby(Host):
    """A host whose tasks come from clients in other processes."""

    ghosts: dict[bytes, tuple[int, frozenset[int]]]
    lost_and_found: LostAndFound
    greetings: Greetings
    _wires: Ports

    def __init__(self, *args: Any, **options: Any) -> None:
        self.away: dict[bytes, None] = {}  #: clients that do not answer
        self._told: set[int] = set()  #: engines that clients know of
        #: takes messages of clients
        self.on_client: Callable[[bytes, list[bytes]], None] = lambda address, frames: None
        #: told of a client that does not answer
        self.on_client_lost: Callable[[bytes], None] = lambda address: None
        #: told of tasks that were submitted, and of functions, before they are sent
        self.on_submitted: Callable[[list[Task]], None] = lambda tasks: None
        self.on_named: Callable[[Definition], None] = lambda function: None
        #: told of tasks that are taken back, should they not have begun; do they go to another scheduler?
        self.on_moving: Callable[[list[int], bool], None] = lambda ids, elsewhere: None
        #: told of a client whose tasks go on without it; gives what it has here, where that must be written down
        self.on_kept: Callable[[Door], str] = lambda door: ""
        #: what clients are to be told
        self.on_news: Callable[[Any], None] = lambda message: None
        self.estates = Estates()
        super().__init__(*args, **options)
        self.on_change = self._tell_of_engines
        self.hall = Hall(self.to_client)

    def step(self, timeout: float | None) -> None:
        """One round."""
        super().step(timeout)
        self.estates.look()

    def close(self) -> None:
        """Close the sockets and remove the folder."""
        super().close()
        self.estates.close()

    def to_client(self, address: bytes, header: bytes, frames: Sequence[bytes] = ()) -> None:
        """Send a message to a client, if it is there."""
        self._wires.clients.send(address, header, frames)

    def fellows(self) -> list[Fellow]:
        """The engines that serve."""
        return [self._fellow(each) for each in self.members if each.joined and each.id in self.scheduler.engines]

    def _tell_of_engines(self) -> None:
        here = {each.id: each for each in self.members if each.joined and each.id in self.scheduler.engines}
        came = [self._fellow(member) for id, member in here.items() if id not in self._told]
        gone = [id for id in self._told if id not in here]
        self._told = set(here)
        if came:
            self.on_news(Came(came))
        if gone:
            self.on_news(Gone(gone))

    def take(self, door: Door, tasks: list[Task], again: bool) -> None:
        """Tasks of a client; ``again``: they may have been submitted before, here or to the controller before this."""
        alive = self.scheduler.tasks
        tasks = [task for task in tasks if task.id not in alive]
        if again:
            tasks = self.lost_and_found.recognise(door, tasks)
        self.on_submitted(tasks)
        self._perform(self.scheduler.submit(tasks, monotonic()))

    def learn(self, function: Definition) -> None:
        """A client defines a function."""
        self.known[function.key] = function.blob
        self.on_named(function)

    def greet(self, door: Door, function: Definition, payload: bytes, again: bool) -> None:
        """Have every engine call a function of a client before all that the client submits from here on.

        ``again``: those that were there before this controller have done so.
        """
        door.functions[function.key] = function.key
        self.learn(function)
        self.greetings.add(door, function.key, payload)
        done = self.lost_and_found.past.engines if again else ()
        engines = [id for id in self.scheduler.engines if id not in done]
        self._perform(self.scheduler.submit(self.greetings.for_all(door, function.key, payload, engines), monotonic()))

    def _no_code(self, key: bytes) -> bytes:
        if key in self.known:  # it was on its way, and was lost
            return self.known[key]
        return b"E" + pack_failure(SerializationError("the engine has no such code, and its client sent none"))

    def retire(self, ids: Iterable[int]) -> None:
        """Let engines end when what they hold is done."""
        for id in ids:
            self._perform(self.scheduler.retire(id))

    def forget(self, keys: Iterable[bytes]) -> None:
        """No client will use these functions again."""
        needed = {task.function for task in self.scheduler.tasks.values()} if keys else set()
        self.blobs.drop([key for key in keys if key not in needed], self.members)

    # -- engines that end -------------------------------------------------------------------------------------

    def _lose(self, gone: list[str], silent: bool = False) -> None:
        lost = [member for uid in gone if (member := self.members.by_address.get(uid.encode())) is not None]
        super()._lose(gone, silent)
        for member in lost:
            self.estates.leave(member)

    def _mourn(self, death: Death) -> None:
        # What is found in its recorder may speak of its memory, as its messages do.
        self.hall.source = source = death.member.receipts.last_words() if death.reports else None
        try:
            super()._mourn(death)
        finally:
            self.hall.source = None
            if source is not None:
                source.taken()

    def dismiss(self) -> None:
        """Have all engines end now: the controller does. Members that are about to come back have a moment for it."""
        until = monotonic() + RETURN
        for address in self.ghosts:
            self._wires.dismiss(address)
        left = list(self.members.by_address)
        while (left := [each for each in left if not self._wires.dismiss(each)]) and monotonic() < until:
            sleep(GLANCE)

    def _held_by(self, uid: str) -> list[int]:
        member = self.members.by_address.get(uid.encode())
        engine = None if member is None else self.scheduler.engines.get(member.id)
        return [] if engine is None else list(engine.held)

    def _fellow(self, member: Member) -> Fellow:
        near = self.session.folder if member.lane is not None else ""
        return Fellow(member.id, member.uid, member.pid, member.hostname, near)
