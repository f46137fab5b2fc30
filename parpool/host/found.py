"""What was found of the time before: tasks that engines hold or have done, and whose clients are still to come back.

After the end of a controller, its successor meets engines and clients in any order. A client submits again all that
has not been delivered; an engine says what it holds, and sends again the outcomes that have not been noted; the journal
says what was given to whom. Together they tell, of each task: it has ended, it runs there, it must be waited for until
that engine is back, or it never began.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..core.effects import Ending
from ..core.state import Task
from ..status import LOST, OK, UNMET
from ..wire.requests import SHIFT, Delivery, to_client
from .doors import Door
from .journal import Past
from .members import Member
from .receipts import Source

if TYPE_CHECKING:
    from .station import Station

KEPT = 1 << 20  #: tasks of which outcomes are kept for clients that are still to come
KEPT_FOR = 600.0  #: seconds
WENT = "its engine was lost, and the controller that knew how is, too"


class _Report:
    """An outcome of a task that nobody has submitted here."""

    __slots__ = ("engine", "outcome", "source", "since")

    def __init__(self, engine: int, outcome: Any, source: Source, since: float) -> None:
        self.engine = engine
        self.outcome = outcome
        self.source = source
        self.since = since


class LostAndFound:
    """What nobody has asked for yet."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._holders: dict[int, int] = {}  #: task: the engine that says that it holds it
        self._reports: OrderedDict[int, list[_Report]] = (
            OrderedDict()
        )  #: by task, in the order in which they were first heard of
        self._excluded: dict[int, set[int]] = {}  #: task: engines that would not run it
        self.past = Past()

    def expect(self, id: int, uid: str, pid: int, hostname: str) -> Member:
        """An engine of the time before should come back."""
        station = self._station
        member = station.members.admit(uid, pid, station.session.path(uid), id)
        member.hostname, member.sent = hostname, 0
        member.receipts.next = member.said = None  # until it has said what it has
        station.scheduler.engine_awaited(id, monotonic())
        if hostname == socket.gethostname() and pid:
            station.members.deaths.watch(uid, pid)
        return member

    def claim(self, engine: int, tasks: Iterable[int], cuts: Mapping[int, int]) -> None:
        """An engine holds tasks that nobody has submitted here; of those in ``cuts`` the items before this one alone."""
        for id in tasks:
            item = cuts.get(id)
            if id >> SHIFT and item != 0:  # not the controller's own
                self._holders[id] = engine
                if item is not None:
                    self.past.cuts[id] = min(item, self.past.cuts.get(id, item))
                    self._station.journal.cut(id, item)

    def keep(self, engine: int, outcomes: Iterable[Any], source: Source | None) -> None:
        """An engine reports on tasks that nobody has submitted here."""
        if source is None:
            return
        now = monotonic()
        for outcome in outcomes:
            if not outcome.id >> SHIFT:
                continue
            if outcome.status == UNMET:
                self._excluded.setdefault(outcome.id, set()).add(engine)
                continue
            source.pending += 1
            self._reports.setdefault(outcome.id, []).append(_Report(engine, outcome, source, now))
        while len(self._reports) > KEPT:
            _drop(self._reports.popitem(last=False)[1])

    def age(self) -> None:
        """Forget what nobody has come for in a long time."""
        limit = monotonic() - KEPT_FOR
        while self._reports:
            id, reports = next(iter(self._reports.items()))
            if reports[0].since > limit:
                return
            _drop(self._reports.pop(id))

    def drop(self, client: int) -> None:
        """A client, by its number, has submitted again all that it waits for: it has heard of the rest."""
        for id in [id for id in self._reports if id >> SHIFT == client]:
            _drop(self._reports.pop(id))

    def recognise(self, door: Door, tasks: list[Task]) -> list[Task]:
        """Of tasks that a client submits again, those that must be scheduled."""
        alive = self._station.scheduler.tasks
        door.flush()  # so that all that is on its way is among what is not acknowledged
        on_the_way = _ids(door) if tasks else frozenset()
        new = [task for task in tasks if task.id not in on_the_way and not any(map(alive.__contains__, self._of(task)))]
        new = [task for task in new if not self._is_over(door, task)]
        return [part for task in new for part in self._parts(task) if not self._has_begun(door, part)]

    def _of(self, task: Task) -> Iterable[int]:
        """The ids under which a task may be scheduled here."""
        return self._station.scheduler.parts_of(task.id)

    def _is_over(self, door: Door, task: Task) -> bool:
        """End what engines that were lost took with them; True where that is all of a task."""
        past, ended = self.past, vars(task).get("ended", frozenset())
        over: dict[int, int] = {}
        for id, first in [(task.id, 0), *((id, items[0]) for id, items in past.parts.get(task.id, {}).items())]:
            engine, end = past.over.pop(id, (-1, 0))
            reported = {report.outcome.item for report in self._reports.get(id, ())}
            items = range(max(first, task.first), min(end, task.count))
            over.update((item, engine) for item in items if item not in ended and item not in reported)
        if not over:
            return False
        station = self._station
        endings = [(Ending(LOST, item, engine, WENT), engine) for item, engine in sorted(over.items())]
        ended = ended | over.keys()
        task.failed = True
        if all(item in ended for item in range(task.first, task.count)):
            station.on_submitted([task])
            effects = station.scheduler.ended_before(task, False, endings[-1][1])
            for ending, engine in endings:
                station.deeds.deliver(task, ending, engine)
            station.perform(effects)
            return True
        for ending, engine in endings:
            door.deliver(task, ending, engine)
        while task.first in ended:
            task.first += 1
        vars(task)["ended"] = frozenset(item for item in ended if item > task.first)
        return False

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
        given = self.past.given.pop(id, None)
        reports = self._reports.pop(id, [])
        holder = claimed = self._holders.pop(id, None)
        excluded = self._excluded.pop(id, None)
        if excluded:
            task.excluded = (task.excluded or frozenset()) | excluded
        if holder is None and given is not None and given not in (excluded or ()):
            member = station.members.by_id.get(given)
            if member is not None and not member.joined:
                holder = given  # it must be waited for
            elif member is None and not reports:
                holder = given  # it is lost
        if holder is None and reports:
            holder = reports[-1].engine
        if holder is None:
            return False
        if holder in station.scheduler.engines:
            station.on_submitted([task])
            station.scheduler.adopt(task, holder, monotonic())
            for report in reports:
                station.hall.source = report.source
                station.perform(station.scheduler.outcomes(holder, [report.outcome], monotonic()))
            if claimed is None and station.members.by_id[holder].joined:
                # It has said all that it has; the rest was given back, and nobody heard of it.
                station.perform(station.scheduler.not_held(holder, task, monotonic()))
        elif not self._end_without(holder, door, task, reports):
            return False
        for report in reports:
            report.source.taken()
        station.hall.source = None
        return True

    def _end_without(self, engine: int, door: Door, task: Task, reports: Sequence[_Report]) -> bool:
        """The engine that had a task is gone: what it had reported counts; False where the rest may run again."""
        station = self._station
        heard = [report for report in reports if report.outcome.item >= task.first]
        success = all(report.outcome.status == OK for report in heard)
        if task.first + len(heard) < task.count:
            if task.retries > 0:
                task.first += len(heard)
                for report in heard:
                    station.hall.source = report.source
                    door.deliver(task, report.outcome, engine)
                return False
            success = False
        station.journal.over(engine, {task.id: task.count})
        station.on_submitted([task])
        effects = station.scheduler.ended_before(task, success, engine)
        for report in heard:
            station.hall.source = report.source
            station.deeds.deliver(task, report.outcome, engine)
        station.hall.source = None
        for item in range(task.first + len(heard), task.count):
            station.deeds.deliver(task, Ending(LOST, item, engine, WENT), engine)
        station.perform(effects)
        return True


def _drop(reports: list[_Report]) -> None:
    for report in reports:
        report.source.taken()


def _ids(door: Door) -> frozenset[int]:
    """The tasks of which outcomes may be on the way to a client."""
    found = set()
    for header in door.unacknowledged():
        message = to_client(header)
        if isinstance(message, Delivery):
            found |= {result.id for result in message.results}
    return frozenset(found)
