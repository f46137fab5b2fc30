"""The tasks of a client of a cluster with several schedulers: each is with one of them, or waits here for one.

Nothing here waits, or knows of connections: the fan (``fan.py``) says when there is time for what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from time import monotonic
from typing import Any

from ..core.state import Task
from ..status import ABORTED, EXPIRED
from ..wire.functions import Function
from .far import Far
from .moves import Moves
from .orders import FUNCTIONS, Ends, end
from .rounds import Round
from .shares import Shares
from .waiting import WaitingRoom, named


class Dealing:
    """Deals tasks out to ``fars``, which are the far hosts of ``count`` schedulers."""

    def __init__(self, count: int) -> None:
        self.fars: list[Far] = []
        self.known: dict[bytes, bytes] = {}  #: blobs of functions, by key
        self.shares = Shares(count)
        self.ends = _Ends(self._ended)
        self._names: dict[bytes, str] = {}  #: of functions
        self._where: dict[int, int] = {}  #: of tasks that others may depend on, and that have not ended: the scheduler
        self._needed: set[int] = set()  #: of these, those that tasks with the same scheduler depend on
        self._homeless: dict[int, Task] = {}  #: tasks for any engine, while there is none
        self._between: dict[int, Task] = {}  #: tasks on their way from one scheduler to another
        self._back: list[Task] = []  #: of these, those that came a moment ago
        #: tasks of several items, of which a scheduler has given back some: it, the task, and those items
        self._aside: dict[int, tuple[int, Task, set[int]]] = {}
        self._unwanted: set[int] = set()  #: tasks to be taken back when they are where they go
        self._moves = Moves(self.shares)
        self._room = WaitingRoom(self.ends, self._is_alive)

    def __len__(self) -> int:
        """How many tasks no scheduler has."""
        return len(self._room) + len(self._homeless) + len(self._between)

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
                far.submit(task)
            else:
                self._give(task, self.shares.choose(task.targets))
            return
        number = self.shares.choose(task.targets, self._near(task), _tried(task))
        if any(self._where.get(id, number) != number or not self._is_there(id) for id in named(task)):
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
        if task.remembered:
            self._where[task.id] = number
        if task.after is not None or task.follow is not None:
            self._needed.update(id for id in named(task) if id in self._where)
        self.shares.load[number] += 1
        if task.first or "ended" in vars(task):
            far.take_over(task)
        else:
            far.submit(task)

    def _define(self, far: Far, key: bytes) -> None:
        if key in self.known:
            far.define(Function(key, self.known[key], self._names[key]))

    def _is_there(self, id: int) -> bool:
        """Is a task with a scheduler to stay, where it has not ended?"""
        return not (id in self._room or id in self._homeless or id in self._between or id in self._moves.asked)

    def _is_alive(self, id: int) -> bool:
        return id in self._where or id in self._homeless or id in self._between

    def _ended(self, id: int, success: bool, engine: int | None) -> None:
        """A task has ended that others may depend on."""
        self._where.pop(id, None)
        self._needed.discard(id)
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
        for number, task, items in list(self._aside.values()):
            if len(items) >= task.count - task.first - len(vars(task).get("ended") or ()):
                del self._aside[task.id]
                self._set_free(number, task)
        if self._back:
            tasks, self._back = self._back, []
            # The hub is to hear of them from the one where they were before it does from the other.
            Round(there, lambda found, error: self._go_elsewhere(tasks)).ask("heard", {})
        self.shares.load = [far.under_way for far in self.fars]
        if not any(self.shares.load):
            self._moves.due = None
            return
        plan = self._moves.look(monotonic(), there)
        if plan is None:
            return
        number, count = plan
        asked = self._moves.asked = {id: None for id in self._moves.asked if self._is_held(id)}
        self._unwanted.intersection_update({*asked, *self._between})
        free = (
            id
            for id, task in reversed(self.fars[number].tasks.items())
            if id not in asked and self._is_free(task, number)
        )
        if ids := list(islice(free, count)):
            asked.update(dict.fromkeys(ids))
            self.fars[number].abort(ids, elsewhere=True)

    def _is_held(self, id: int) -> bool:
        return any(id in far.tasks for far in self.fars)

    def _is_free(self, task: Task, number: int) -> bool:
        """Could any engine run it, and does nothing depend on where it is?"""
        if task.count > 1 and self.shares.engines[number]:
            return False  # its items may be with several engines there, and come back one by one
        if task.targets is not None or task.follow is not None or task.id in self._needed:
            return False
        return task.after is None or not any(id in self._where or not self._is_there(id) for id in task.after.ids)

    def come_back(self, number: int, task: Task, result: Any) -> bool:
        """A scheduler has given back a task, or an item of it. False where that is the end of it."""
        if result.status == ABORTED:
            if task.id not in self._moves.asked:
                return False
            self._moves.came()
        elif not self._may_run_elsewhere(number, task, result):
            return False
        if task.count == 1:
            self._set_free(number, task)
        else:
            self._aside.setdefault(task.id, (number, task, set()))[2].add(result.item)
        return True

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

    def _set_free(self, number: int, task: Task) -> None:
        self._moves.asked.pop(task.id, None)
        self.fars[number].tasks.pop(task.id, None)
        self._where.pop(task.id, None)
        self._between[task.id] = task
        self._back.append(task)

    def _go_elsewhere(self, tasks: list[Task]) -> None:
        for task in tasks:
            if self._between.pop(task.id, None) is not None:
                self._give(task, self.shares.choose(task.targets, self._near(task), _tried(task)))
        if unwanted := [task.id for task in tasks if task.id in self._unwanted]:
            self._unwanted.difference_update(unwanted)
            self.abort(unwanted)

    def abort(self, ids: list[int]) -> None:
        """Take back tasks that have not begun."""
        homeless = [task for id in ids if (task := self._homeless.pop(id, None)) is not None]
        for task in (*homeless, *self._room.take(ids)):
            end(task, ABORTED, "", self.ends)
        for far in self.fars:
            far.before(None)  # what it was given a moment ago is on its way then
            if theirs := [id for id in ids if id in far.tasks or not far.met]:
                far.abort(theirs)
        # Those that are on their way are taken back when they have arrived.
        self._unwanted.update(id for id in ids if id in self._between or id in self._moves.asked)

    def fail(self, error: BaseException) -> None:
        """End what no far host has."""
        tasks = [*self._homeless.values(), *self._between.values()]
        tasks += self._room.take([task.id for task in self._room])
        self._homeless.clear()
        self._between.clear()
        for task in tasks:
            end(task, ABORTED, error, self.ends)


def _tried(task: Task) -> frozenset[int]:
    """Schedulers whose engines do not meet what it depends on."""
    tried: frozenset[int] = vars(task).get("tried", frozenset())
    return tried


class _Ends(Ends):
    """Tells of each end."""

    told = True

    def __init__(self, ended: Callable[[int, bool, int | None], None]) -> None:
        super().__init__()
        self._tell = ended

    def note(self, id: int, success: bool, engine: int | None) -> None:
        super().note(id, success, engine)
        self._tell(id, success, engine)
