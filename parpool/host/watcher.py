"""What the hub is told: it watches what the scheduler takes in and gives out, and no truth is kept twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import time
from typing import TYPE_CHECKING, Any

from ..core.effects import Effects, Ending
from ..core.lots import Rests, rests
from ..core.state import ENDED, Task
from ..hub.records import Store
from ..status import ABORTED, LOST, UNMET
from ..wire.messages import DISPLAYED, Revoke
from ..wire.remark import REMARKS, printable
from ..wire.requests import SHIFT, Definition
from .deeds import Deeds
from .doors import Door
from .holdings import in_words
from .journal import Journal

if TYPE_CHECKING:
    from .station import Station

UNHEARD = "how it ended was not written down before its controller was killed"
KEPT = 65536  #: tasks of which something is known that are not told to have gone elsewhere


class Watcher:
    """Tells a store of everything that happens at a station: when it has happened, so that nobody waits for the store."""

    def __init__(self, store: Store, station: Station) -> None:
        self.store = store
        self._engines: dict[int, str] = {}
        self._waits: list[Wait] = []
        self._put_off: list[tuple[Callable[[Any, float], None], Any, float]] = []
        self._station = station
        station.on_submitted, station.on_named = self._submitted, self._named
        station.deeds.on_delivered = self._delivered
        station.deeds.on_printed = self._printed
        station.on_done = self.catch_up
        #: tasks that go to another scheduler, should they not have begun
        self._moving: dict[int, None] = {}
        station.on_moving = self._move
        #: where there are several schedulers: ends that are none where another one can run the task
        self._unmet: dict[int, list[tuple[Task, Any, int | None]]] = {}
        self._several = False

    def catch_up(self) -> None:
        """Tell the store of what has been put off."""
        if self._put_off:
            put_off, self._put_off = self._put_off, []
            for tell, what, now in put_off:
                tell(what, now)

    def be_one_of_several(self) -> None:
        """Other schedulers may run what no engine here can."""
        self._several = True
        self._station.on_kept = self._keep

    def _keep(self, door: Door) -> str:
        """A client has gone, and its tasks go on: those that are here, here."""
        self.stay(door)
        return in_words(task for task in self._station.scheduler.tasks.values() if task.door is door)

    def unmet(self, ids: Sequence[int]) -> None:
        """Of these tasks a client says that no other scheduler can run them either."""
        for id in ids:
            self._put_off.append((self.store.ended, self._unmet.pop(id, ()), time()))

    def _submitted(self, tasks: list[Task]) -> None:
        # What is a part of a task of another scheduler was told of as that.
        self._put_off.append((self.store.submitted, [task for task in tasks if task.part_of is None], time()))

    def _move(self, ids: Sequence[int], elsewhere: bool) -> None:
        """Clients take these tasks back, to give them to another scheduler or not."""
        for id in ids:
            if elsewhere:
                self._moving[id] = None
            else:
                self._moving.pop(id, None)

    def stay(self, door: Door) -> None:
        """What a client has taken back, and what is not back yet, is to stay here."""
        ids = [id for id in self._moving if id >> SHIFT == door.number]
        self._move(ids, False)
        self._station.scheduler.spare(ids)

    def _printed(self, task: Task, stream: int, text: str) -> None:
        self.catch_up()
        if stream == REMARKS:  # whoever asks the hub reads them
            stream, text = 2, printable(text)
        self.store.printed(task, stream, text)

    def _named(self, function: Definition) -> None:
        self.store.named(function.key, function.blob, function.name)

    def _delivered(self, deliveries: Sequence[tuple[Task, Any, int | None]]) -> None:
        if self._several:
            everything, deliveries = deliveries, [each for each in deliveries if not self._goes_on(*each)]
            if self._moving:
                self._forget_moved(everything)
        self._put_off.append((self.store.ended, deliveries, time()))
        if self._waits:
            alive = self._station.scheduler.tasks
            parts_of = self._station.scheduler.parts_of
            ended = {task.origin for task, _, _ in deliveries}
            ended = {id for id in ended if not any(part in alive for part in parts_of(id))}
            for wait in self._waits[:]:
                wait.ended |= ended
                self._end(wait)

    def _goes_on(self, task: Task, outcome: Any, engine: int | None) -> bool:
        """Is this no end of a task, as it goes to another scheduler?"""
        id = task.origin
        if outcome.status == UNMET:
            self._unmet.setdefault(id, []).append((task, outcome, engine))
            if len(self._unmet) > KEPT:
                del self._unmet[next(iter(self._unmet))]
            return True
        return id in self._moving and bool(outcome.status == ABORTED)

    def _forget_moved(self, deliveries: Sequence[tuple[Task, Any, int | None]]) -> None:
        """Of what has ended here, nothing goes elsewhere any more."""
        scheduler = self._station.scheduler
        ended = {task.origin for task, _, _ in deliveries if task.state == ENDED}
        for id in ended & self._moving.keys():
            if not any(part in scheduler.tasks for part in scheduler.parts_of(id)):
                del self._moving[id]
        while len(self._moving) > KEPT:
            del self._moving[next(iter(self._moving))]

    def wait_for(self, names: dict[int, str]) -> Wait:
        """Begin to note which of these tasks, by number, end from here on."""
        wait = Wait(names)
        self._waits.append(wait)
        return wait

    def go_on(self, wait: Wait, pending: Sequence[str]) -> None:
        """When :meth:`wait_for` was called, these had not ended, as far as the store knew."""
        still = set(pending)
        wait.pending = {number for number, name in wait.names.items() if name in still}
        self._end(wait)

    def _end(self, wait: Wait) -> None:
        if wait.pending is not None and wait.pending <= wait.ended:
            self._waits.remove(wait)
            wait.then()

    def rests(self, door: Door) -> Rests:
        """What of a client's tasks has not ended."""
        return rests(task for task in self._station.scheduler.tasks.values() if task.door is door)

    def end_unheard(self, task: Task, items: Iterable[int]) -> None:
        """These items of a task have ended before this controller began."""
        self._delivered([(task, Ending(LOST, item, None, UNHEARD), None) for item in items])

    def look(self) -> None:
        """Engines have come or gone."""
        self.catch_up()
        here = {each.id: each for each in self._station.fellows()}
        for id, each in here.items():
            if id not in self._engines:
                self.store.engines(id, each.uid, {"pid": each.pid, "hostname": each.hostname}, True, time())
        for id, uid in self._engines.items():
            if id not in here:
                self.store.engines(id, uid, {}, False, time())
        self._engines = {id: each.uid for id, each in here.items()}

    def close(self) -> None:
        """Have the store write what is left."""
        self.catch_up()
        self.store.close()


class Wait:
    """Somebody waits for the end of tasks."""

    def __init__(self, names: dict[int, str]) -> None:
        self.names = names
        self.pending: set[int] | None = None  #: those that have to end; None: not known yet
        self.ended: set[int] = set()
        self.then: Callable[[], object] = lambda: None


class StationDeeds(Deeds):
    """Carries out effects, and lets others see them: first the journal, then the world, then the hub."""

    journal: Journal
    can_be_told: Callable[[int], bool]
    on_delivered: Callable[[Sequence[tuple[Task, Any, int | None]]], None] = staticmethod(lambda deliveries: None)
    on_printed: Callable[[Task, int, str], None] = staticmethod(lambda task, stream, text: None)

    def print(self, task: Task, engine: int, stream: int, text: str) -> None:
        """A task has written to a stream: tell its client, and the hub."""
        super().print(task, engine, stream, text)
        if stream != DISPLAYED:  # the hub keeps texts
            self.on_printed(task, stream, text)

    def deliver(self, task: Task, outcome: Any, engine: int | None) -> None:
        """Deliver an outcome that the scheduler has not asked for."""
        task.door.deliver(task, outcome, engine)
        self.on_delivered([(task, outcome, engine)])

    def perform(self, effects: Effects) -> None:
        """Do what the scheduler asks for."""
        for id, tasks in effects.send:
            for task in tasks:
                if task.whole is not None:
                    self.journal.part(task.id, task.whole, task.first, task.count)
            self.journal.given(id, [task.id for task in tasks])
        super().perform(effects)
        if effects.deliver:
            self.on_delivered(effects.deliver)

    def _revoke(self, id: int, ids: list[int]) -> None:
        # A controller that follows this one must be able to tell the parts of a task that is cut.
        told = self.can_be_told
        whole = [each for each in ids if not told(each)]
        if whole:
            ids = [each for each in ids if told(each)]
            self._tell(id, Revoke(whole, True))
        if ids:
            self._tell(id, Revoke(ids))
