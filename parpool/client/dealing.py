"""The tasks of a client of a cluster with several schedulers: each is with one of them, or waits here for one.

Nothing here waits, or knows of connections: the fan (``fan.py``) says when there is time for what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from ..core.lots import Lot, items_left
from ..core.moves import Moves, portion
from ..core.parts import Parts
from ..core.shares import Shares
from ..core.state import Task
from ..status import ABORTED, EXPIRED
from ..wire.functions import Function
from ..wire.requests import SHIFT
from .aside import Aside, begin
from .far import Far
from .near import NearFar
from .orders import FUNCTIONS, Ends, end
from .rounds import Asking, Round
from .waiting import WaitingRoom, named


class Dealing:
    """Deals tasks out to ``fars``, which are the far hosts of ``count`` schedulers."""

    def __init__(self, count: int) -> None:
        self.fars: list[NearFar] = []
        self.known: dict[bytes, bytes] = {}  #: blobs of functions, by key
        self.shares = Shares(count)
        self.lots: list[Lot] = []  #: what each of them has
        self.ends = _Ends(self)
        self._names: dict[bytes, str] = {}  #: of functions
        self._where: dict[int, int] = {}  #: of tasks that others may depend on, and that have not ended: the scheduler
        #: of these, those that tasks with the same scheduler depend on, and those tasks
        self._needed: dict[int, list[tuple[int, Task]]] = {}
        self._homeless: dict[int, Task] = {}  #: tasks for any engine, while there is none
        self._between: dict[int, Task] = {}  #: tasks on their way from one scheduler to another
        #: of these, those that came a moment ago, and where they are to go, where that is known
        self._back: list[tuple[Task, int | None]] = []
        self._aside: dict[int, Aside] = {}  #: what has come back of tasks of several items, by their ids
        self._parts = Parts()  #: tasks of which several schedulers have, or had, a part
        self._wholes: dict[int, int] = {}  #: which of them a part is of
        self._last_id = -1
        self._unwanted: set[int] = set()  #: tasks to be taken back when they are where they go
        self._moves = Moves()
        self._at_rest: Callable[[], None] | None = None  #: nothing is to be moved; this is called when nothing is
        self._room = WaitingRoom(self.ends, self._is_alive)

    def __len__(self) -> int:
        """How many tasks no scheduler has."""
        return len(self._room) + len(self._homeless) + len(self._between) + len(self._aside)

    def all_tasks(self) -> list[Task]:
        """Those that have not ended and that a scheduler has, or had until a moment ago."""
        self._set_free_what_came()
        return [*self._between.values(), *(task for far in self.fars for task in far.all_tasks())]

    def define(self, function: Function) -> None:
        """A function that tasks will name. (Any thread.)"""
        self._names[function.key] = function.name  # first: another thread may look for it
        self.known[function.key] = function.blob

    def forget(self) -> None:
        """Let go of functions, where they are too many. (Far hosts keep those that they need by themselves.)"""
        if len(self.known) > 2 * FUNCTIONS:
            needed = {each.function for each in (*self._homeless.values(), *self._between.values(), *self._room)}
            for key in [key for key in list(self.known)[:FUNCTIONS] if key not in needed]:
                del self.known[key], self._names[key]

    @property
    def due(self) -> list[float]:
        """When something is to be done, whatever happens."""
        return [due for due in (self._room.next_expiry(), self._moves.due) if due is not None]

    def serve(self, engines: Iterable[int]) -> None:
        """These engines serve now."""
        self.shares.served(engines)
        if self._homeless and any(self.shares.engines):
            homeless, self._homeless = self._homeless, {}
            for task in homeless.values():
                self.place(task)

    # -- from the client to a scheduler -----------------------------------------------------------------------

    def place(self, task: Task) -> None:
        """Give a task to a scheduler, or let it wait."""
        if task.after is None and task.follow is None:
            if task.targets is None and (number := self.shares.least()) is not None:  # as most are
                far = self.fars[number]
                if task.function not in far.known:
                    self._define(far, task.function)
                if task.remembered:
                    self._where[task.id] = number
                self.shares.load[number] += 1
                if task.count > 1:
                    self.lots[number].add(task)
                far.submit(task)
            else:
                self._give(task, self.shares.choose(task.targets))
            return
        number = self.shares.choose(task.targets, self._near(task), _tried(task))
        elsewhere = any(self._where.get(id, number) != number or not self._is_there(id) for id in named(task))
        if elsewhere or self._room.may_decide(task):
            self._room.add(task, monotonic())
        else:
            self._give(task, number)

    def _near(self, task: Task) -> list[int]:
        """The schedulers with what a task depends on; where it must run with those tasks, with theirs alone."""
        found: list[int] = []
        if (follow := task.follow) is not None:
            ends = [end for id in follow.ids if (end := self.ends.get(id)) is not None]
            ran = [engine for success, engine in ends if (follow.success if success else follow.failure)]
            found = [self.shares.of(engine) for engine in ran if engine is not None]
            if not found or follow.all:
                found += [self._where[id] for id in follow.ids if id in self._where]
        if not found and task.after is not None:
            found = [self._where[id] for id in task.after.ids if id in self._where]
        return found

    def _give(self, task: Task, number: int | None) -> None:
        if number is None:
            self._homeless[task.id] = task
            return
        far = self.fars[number]
        if task.function not in far.known:
            self._define(far, task.function)
        if task.remembered and task.whole is None:
            self._where[task.id] = number
        waits = False
        if task.after is not None or task.follow is not None:
            waits = self._waits(task)
            for id in named(task) & self._where.keys():
                self._needed.setdefault(id, []).append((number, task))
        self.shares.load[number] += not waits
        self.lots[number].add(task, waits)
        far.submit(task)

    def weigh(self) -> None:
        """Look at how much there is to do for each of them."""
        self.shares.load = [lot.load(far.under_way) for lot, far in zip(self.lots, self.fars, strict=True)]

    def _define(self, far: Far, key: bytes) -> None:
        if key in self.known:
            far.define(Function(key, self.known[key], self._names[key]))

    def _is_there(self, id: int) -> bool:
        """Is a task with a scheduler to stay, where it has not ended?"""
        if id in self._parts.families or id in self._moves.asked:
            return False
        return not (id in self._room or id in self._homeless or id in self._between)

    def _is_alive(self, id: int) -> bool:
        return id in self._where or id in self._homeless or id in self._between or id in self._parts.families

    def _waits(self, task: Task) -> bool:
        """Does a task wait, for others with the same scheduler?"""
        for each in (task.after, task.follow):
            if each is not None and each.ids and (any if each.all else all)(id in self._where for id in each.ids):
                return True
        return False

    def ended(self, id: int, success: bool) -> tuple[int, bool] | None:
        """A task has ended that others may depend on: id and success of what has ended with it, which it may be a part
        of; None where other parts go on."""
        self._is_over(id)
        if not self._parts.families:
            return id, success
        ended = self._parts.end(id, self._wholes.pop(id, id), success)
        if ended is not None and ended[0] != id:
            self._is_over(ended[0])  # all of it was given to parts
        return ended

    def _is_over(self, id: int) -> None:
        number = self._where.pop(id, None)
        if number is not None:
            self.lots[number].ended(id)
        for number, task in self._needed.pop(id, ()):
            if not self._waits(task):
                self.lots[number].waits_no_longer(task)

    def tell(self, id: int, success: bool, engine: int | None) -> None:
        """Tell those of its end who wait here."""
        self._room.ended(id, success, engine)

    def go_on(self) -> None:
        """Give those to schedulers that wait no longer, and end those that have waited long enough."""
        for task in self._room.expired(monotonic()):
            end(task, EXPIRED, "", self.ends)
        for task in self._room.through():
            self._give(task, self.shares.choose(task.targets, self._near(task), _tried(task)))

    # -- from one scheduler to another ------------------------------------------------------------------------

    def even_out(self, there: dict[int, Far]) -> None:
        """Take back tasks from a scheduler that has many, while engines of another one have nothing to do."""
        self._set_free_what_came()
        if self._back:
            tasks, self._back = self._back, []
            # The hub is to hear of them from the one where they were before it does from the other.
            Round(there, lambda found, error: self._go_elsewhere(tasks)).ask("heard", {})
        if self._at_rest is not None:
            if not self._between:
                self._at_rest()
            return
        engines = self.shares.engines
        standing = {number: self.lots[number].standing(engines[number]) for number in there}
        pairs = self._moves.look(monotonic(), standing)
        if not pairs:
            return
        self._moves.asked = {id: each for id, each in self._moves.asked.items() if self._is_held(id)}
        self._unwanted.intersection_update({*self._moves.asked, *self._between})
        for idle, full in pairs:
            of = standing[full][0], self.lots[full].items()
            if ids := self._choose(full, idle, portion(of, standing[idle])):
                self.fars[full].abort(ids, elsewhere=True)
                return

    def come_to_rest(self, there: Mapping[int, Asking], then: Callable[[str], None]) -> None:
        """Move nothing more, and call ``then`` when nothing is on its way: from then on all is with a scheduler, for
        good. It gets an error in words."""
        said: list[str] = []

        def look() -> None:
            if said:
                self._at_rest = lambda: None  # once is enough
                then(said[0])

        self._at_rest = look
        # They have done, and told of, all that they were asked for, and will not give back the rest.
        Round(there, lambda found, error: said.append(error)).ask("sync", {})

    def _choose(self, full: int, idle: int, items: int) -> list[int]:
        """Tasks that are to go from one scheduler to another, the last ones; ``items``: how much of them."""
        asked, ids = self._moves.asked, []
        for id, task in reversed(self.fars[full].tasks.items()):
            if items <= 0:
                break
            if (id not in asked or self._moves.long) and self._is_free(task, idle):
                asked[id] = idle, items
                ids.append(id)
                items -= items_left(task)
        return ids

    def _is_held(self, id: int) -> bool:
        return any(id in far.tasks for far in self.fars)

    def _is_free(self, task: Task, idle: int) -> bool:
        """Could this scheduler's engines run it, and does nothing depend on where it is?"""
        if task.follow is not None or task.id in self._needed or idle in _tried(task):
            return False
        if not self.shares.may_run(idle, task.targets):
            return False
        return task.after is None or not any(id in self._where or not self._is_there(id) for id in task.after.ids)

    def come_back(self, number: int, task: Task, result: Any) -> bool:
        """A scheduler has given back a task, or an item of it. False where that is the end of it."""
        if result.status == ABORTED:
            if task.id not in self._moves.asked or result.payload:
                return False  # where there is a reason, it is not that it was asked for
            self._moves.came()
        elif not self._may_run_elsewhere(number, task, result):
            return False
        if task.count == 1:
            self._set_free(number, task, self._moves.asked.get(task.id, (None, 0))[0])
            return True
        aside = self._aside.get(task.id)
        if aside is None:
            aside = self._aside[task.id] = Aside(number, task, self._new_id())
            self._parts.reserve(task, aside.id)
            self._wholes[aside.id] = task.origin
            if task.id in self._unwanted:
                self._unwanted.add(aside.id)
        if aside.take(result.item):
            self.fars[number].tasks.pop(task.id, None)
        return True

    def _new_id(self) -> int:
        """A number for a task, from the end of the client's that its link does not come to."""
        if self._last_id < 0:
            self._last_id = (self.fars[0].number + 1) << SHIFT
        self._last_id -= 1
        return self._last_id

    def _set_free_what_came(self) -> None:
        for id in list(self._aside):
            self._set_aside_free(self._aside.pop(id))

    def _set_aside_free(self, aside: Aside) -> None:
        """What has come back of a task is a task of its own; where that is all of it, it is the same as before."""
        task = aside.task
        idle, most = self._moves.asked.get(task.id, (None, len(aside)))
        if most >= len(aside) and aside.put_together():
            self._parts.unreserve(task, aside.id)
            del self._wholes[aside.id]
            self._set_free(aside.number, task, idle)
            return
        task.remembered = True  # so that its end is noted
        whole = self._wholes[aside.id]
        ranges: dict[int, tuple[int, int]] = {}
        bound: list[int | None] = []
        for first, last, goes in aside.runs(most):
            id = self._new_id() if ranges else aside.id
            ranges[id] = first, last + 1
            bound.append(idle if goes else aside.number)
            self._wholes[id] = whole
            if aside.id in self._unwanted:
                self._unwanted.add(id)
        for part, where in zip(self._parts.divide(task, ranges), bound, strict=True):
            begin(part, task, whole)
            self._between[part.id] = part
            self._back.append((part, where))
        if task.first >= task.count:
            self._wholes.pop(task.id, None)  # where it was a part itself

    def _may_run_elsewhere(self, number: int, task: Task, result: Any) -> bool:
        """Its engines do not meet what a task depends on: perhaps another's do."""
        known = vars(task)
        tried = known["tried"] = _tried(task) | {number}
        engines = known["asked"] = known.get("asked", frozenset()) | frozenset(result.more or ())
        if task.follow is None and self.shares.others(task.targets, tried):
            return True
        result.more = sorted(engines)
        self.fars[number].ask("unmet", {"ids": [task.id]}, lambda value, error: None)  # the hub may know it now
        return False

    def _set_free(self, number: int, task: Task, bound: int | None) -> None:
        self._moves.asked.pop(task.id, None)
        self.fars[number].tasks.pop(task.id, None)
        if self._where.pop(task.id, None) is not None:
            self.lots[number].ended(task.id)
        self._between[task.id] = task
        self._back.append((task, bound))

    def _go_elsewhere(self, tasks: list[tuple[Task, int | None]]) -> None:
        for task, bound in tasks:
            if self._between.pop(task.id, None) is None:
                continue
            tried = _tried(task)
            if bound is None or bound in tried | self.shares.gone or not self.shares.may_run(bound, task.targets):
                bound = self.shares.choose(task.targets, self._near(task), tried)
            self._give(task, bound)
        if unwanted := [task.id for task, _ in tasks if task.id in self._unwanted]:
            self._unwanted.difference_update(unwanted)
            self.abort(unwanted)

    def abort(self, ids: list[int]) -> None:
        """Take back tasks that have not begun."""
        ids = [part for id in ids for part in self._parts.of(id)]
        homeless = [task for id in ids if (task := self._homeless.pop(id, None)) is not None]
        for task in (*homeless, *self._room.take(ids)):
            end(task, ABORTED, "", self.ends)
        for far in self.fars:
            far.before(None)  # what it was given a moment ago is on its way then
            if theirs := [id for id in ids if id in far.tasks or not far.met]:
                far.abort(theirs)
        # Those that are on their way are taken back when they have arrived.
        self._unwanted.update(id for id in ids if id in self._between or id in self._moves.asked or id in self._wholes)

    def fail(self, error: BaseException) -> None:
        """End what no far host has."""
        self._set_free_what_came()
        self._back.clear()
        waiting = self._room.take([task.id for task in self._room])
        tasks = [*self._homeless.values(), *self._between.values(), *waiting]
        self._homeless.clear()
        self._between.clear()
        for task in tasks:
            end(task, ABORTED, error, self.ends)


def _tried(task: Task) -> frozenset[int]:
    """Schedulers whose engines do not meet what it depends on."""
    tried: frozenset[int] = vars(task).get("tried", frozenset())
    return tried


class _Ends(Ends):
    """Tells of each end; of a task that was divided, when the last of its parts has ended."""

    told = True

    def __init__(self, dealing: Dealing) -> None:
        super().__init__()
        self._dealing = dealing

    def note(self, id: int, success: bool, engine: int | None) -> None:
        ended = self._dealing.ended(id, success)
        if ended is not None:
            super().note(*ended, engine)
            self._dealing.tell(*ended, engine)
