"""What was found of the time before: tasks that engines hold or have done, and whose clients are still to come back.

After the end of a controller, its successor meets engines and clients in any order. A client submits again all that
has not been delivered; an engine says what it holds, and sends again the outcomes that have not been noted; the journal
says what was given to whom. Together they tell, of each task: it has ended, it runs there, it must be waited for until
that engine is back, or it never began.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..core.effects import Ending
from ..core.state import Task
from ..status import LOST
from ..wire.requests import Delivery, to_client
from .doors import Door
from .journal import Past
from .receipts import Source

if TYPE_CHECKING:
    from .station import Station

KEPT = 1 << 20  #: tasks of which outcomes are kept for clients that are still to come


class LostAndFound:
    """What nobody has asked for yet."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._holders: dict[int, int] = {}  #: task: the engine that says that it holds it
        self._outcomes: dict[int, list[tuple[int, Any, Source | None]]] = {}  #: task: what engines have reported
        self.past = Past()

    def claim(self, engine: int, tasks: Iterable[int]) -> None:
        """An engine holds tasks that nobody has submitted here."""
        self._holders.update(dict.fromkeys(tasks, engine))

    def keep(self, engine: int, outcomes: Iterable[Any], source: Source | None) -> None:
        """An engine reports on tasks that nobody has submitted here."""
        for outcome in outcomes:
            if source is None:
                continue  # it was read before
            source.pending += 1
            self._outcomes.setdefault(outcome.id, []).append((engine, outcome, source))
        while len(self._outcomes) > KEPT:
            self._take(next(iter(self._outcomes)))

    def _take(self, id: int) -> list[tuple[int, Any]]:
        found = self._outcomes.pop(id, [])
        for _, _, source in found:
            if source is not None:
                source.taken()
        return [(engine, outcome) for engine, outcome, _ in found]

    def recognise(self, door: Door, tasks: list[Task]) -> list[Task]:
        """Of tasks that a client submits again, those that must be scheduled."""
        alive = self._station.scheduler.tasks
        door.flush()  # so that all that is on its way is among what is not acknowledged
        on_the_way = _ids(door) if tasks else frozenset()
        new = [task for task in tasks if task.id not in on_the_way and not any(map(alive.__contains__, self._of(task)))]
        return [part for task in new for part in self._parts(task) if not self._has_begun(door, part)]

    def _of(self, task: Task) -> Iterable[int]:
        """The ids under which a task may be scheduled here."""
        return self._station.scheduler.parts_of(task.id)

    def _parts(self, task: Task) -> list[Task]:
        """A task, or its parts, where it was cut before."""
        ended = vars(task).pop("ended", frozenset())
        cuts, parts = self.past.cuts, self.past.parts.pop(task.id, {})
        if not (ended or parts or task.id in cuts):
            return [task]
        ranges = {id: (first, min(count, cuts.get(id, count))) for id, (first, count) in parts.items()}
        ranges[task.id] = (task.first, min([cuts.get(task.id, task.count), *(each for each in ended)]))
        return self._station.scheduler.restore(task, ranges, ended)

    def _has_begun(self, door: Door, task: Task) -> bool:
        """Deal with a task that an engine was given before; False where none was, or it never got there."""
        station, id = self._station, task.id
        engines = station.scheduler.engines
        given = self.past.given.pop(id, None)
        holder = self._holders.pop(id, None)
        reported = self._take(id)
        if reported:
            holder = reported[0][0] if holder is None else holder
        if holder is None and given is not None:
            member = station.members.by_id.get(given)
            if member is not None and not member.joined:
                holder = given  # it must be waited for
            elif member is None and task.retries == 0:  # it is lost, and with it what it had begun
                for item in range(task.first, task.count):
                    door.deliver(
                        task, Ending(LOST, item, given, "its engine is gone, and so is the controller's word"), given
                    )
                return True
        if holder is None:
            return False
        if holder not in engines:
            for engine, outcome in reported:
                door.deliver(task, outcome, engine)
                task.first = outcome.item + 1
            for item in range(task.first, task.count):
                door.deliver(task, Ending(LOST, item, holder, "its process is gone"), holder)
            return True
        station.on_submitted([task])
        station.scheduler.adopt(task, holder, monotonic())
        if reported:
            station.perform(station.scheduler.outcomes(holder, [each for _, each in reported], monotonic()))
        return True


def _ids(door: Door) -> frozenset[int]:
    """The tasks of which outcomes may be on the way to a client."""
    found = set()
    for header in door.unacknowledged():
        message = to_client(header)
        if isinstance(message, Delivery):
            found |= {result.id for result in message.results}
    return frozenset(found)
