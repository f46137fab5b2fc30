"""What the hub is told: it watches what the scheduler takes in and gives out, and no truth is kept twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time
from typing import TYPE_CHECKING, Any

from ..core.effects import Effects
from ..core.state import Task
from ..hub.records import Store
from ..wire.messages import Revoke
from ..wire.requests import Definition
from .deeds import Deeds
from .journal import Journal

if TYPE_CHECKING:
    from .station import Station


class Watcher:
    """Tells a store of everything that happens at a station."""

    def __init__(self, store: Store, station: Station) -> None:
        self.store = store
        self._engines: dict[int, str] = {}
        self._awaited: list[tuple[set[int], Callable[[], object]]] = []  #: what is to be done when tasks have ended
        self._station = station
        station.on_submitted, station.on_named = self._submitted, self._named
        station.deeds.on_delivered = self._delivered
        station.deeds.on_printed = store.printed

    def _submitted(self, tasks: list[Task]) -> None:
        self.store.submitted(tasks, time())

    def _named(self, function: Definition) -> None:
        self.store.named(function.key, function.blob, function.name)

    def _delivered(self, deliveries: Sequence[tuple[Task, Any, int | None]]) -> None:
        self.store.ended(deliveries, time())
        if self._awaited:
            alive = self._station.scheduler.tasks
            for entry in self._awaited[:]:
                numbers, act = entry
                numbers.intersection_update(alive)
                if not numbers:
                    self._awaited.remove(entry)
                    act()

    def when_ended(self, numbers: set[int], act: Callable[[], object]) -> None:
        """Do something when all of these tasks have ended."""
        numbers.intersection_update(self._station.scheduler.tasks)
        if numbers:
            self._awaited.append((numbers, act))
        else:
            act()

    def look(self) -> None:
        """Engines have come or gone."""
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
        self.store.close()


class StationDeeds(Deeds):
    """Carries out effects, and lets others see them: first the journal, then the world, then the hub."""

    journal: Journal
    can_be_told: Callable[[int], bool]
    on_delivered: Callable[[Sequence[tuple[Task, Any, int | None]]], None] = staticmethod(lambda deliveries: None)
    on_printed: Callable[[Task, int, str], None] = staticmethod(lambda task, stream, text: None)

    def print(self, task: Task, engine: int, stream: int, text: str) -> None:
        """A task has written to a stream: tell its client, and the hub."""
        super().print(task, engine, stream, text)
        self.on_printed(task, stream, text)

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
