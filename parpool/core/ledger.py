"""Tasks from their submission to their end, apart from the time that an engine holds them.

A submitted task either waits in the :class:`Graph`, or stands in one of the :class:`Queues`; an engine may hold it for
a while, and it may come back. ``end`` is where the last outcome of every task is noted, and what follows from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ..status import ABORTED, IMPOSSIBLE, KILLED
from .effects import Effects, Ending
from .graph import BLOCKED, NEVER, Graph
from .parts import Parts
from .queues import Queues
from .state import ENDED, WAITING, Engine, Queue, Task

Decree: TypeAlias = "tuple[int, int | None, object]"  #: status, engine and detail of an end that the brain decided on


class Ledger:
    """All tasks that have not ended, and where those stand that no engine holds."""

    __slots__ = ("tasks", "queues", "graph", "parts", "condemned", "_engines", "_unsettled")

    def __init__(self, engines: Mapping[int, Engine]) -> None:
        self.tasks: dict[int, Task] = {}
        self.queues = Queues(engines)
        self.graph = Graph()
        self.parts = Parts()
        self.condemned: deque[Task] = deque()  #: those that will not begin, and whose end is still to be told
        self._engines = engines
        self._unsettled: deque[tuple[int, bool, int | None]] = deque()  #: ends that those who wait must be told of

    # -- before an engine holds it ----------------------------------------------------------------------------

    def judge(self, task: Task, effects: Effects, now: float) -> None:
        """A new task that depends on others: let it wait, queue it, or end it."""
        verdict, reason = self.graph.add(task, self._is_alive, now)
        if verdict == BLOCKED:
            task.state = WAITING
        else:
            self._start(task, verdict, reason, effects)

    def _start(self, task: Task, verdict: str, reason: str, effects: Effects) -> None:
        """What the graph has decided of a task."""
        if verdict == NEVER:
            self.drop(task, (IMPOSSIBLE, None, reason), effects)
        else:
            self.queue(task, effects)

    def queue(
        self, task: Task, effects: Effects, front: bool = False, otherwise: tuple[int, int, object] | None = None
    ) -> None:
        """Queue a task for the engines that may run it; where none can, it ends."""
        task.engine = None
        if task.aborting:
            self.drop(task, (ABORTED, None, ""), effects)
        elif task.targets is None and task.places is None and task.excluded is None:
            self.queues.add(task, front)
        elif not self.queues.place(task, allowed := self.allowed(task), front):
            names = ", ".join(map(str, sorted(allowed))) or "none"
            self.drop(task, otherwise or (IMPOSSIBLE, None, f"no engine is there that may run it ({names})"), effects)

    def allowed(self, task: Task) -> frozenset[int]:
        """The engines that may run a task that is not for all."""
        allowed = task.targets
        if task.places is not None:
            allowed = task.places if allowed is None else allowed & task.places
        if allowed is None:
            allowed = frozenset(self._engines)
        return allowed - task.excluded if task.excluded else allowed

    def desert(self, engine: Engine, ending: tuple[int, int, object], effects: Effects) -> None:
        """An engine takes nothing more: what was queued for it goes elsewhere where it may, and ends where not."""
        for task in self.queues.left(engine):
            self.queue(task, effects, otherwise=ending)

    # -- its end ----------------------------------------------------------------------------------------------

    def condemn(self, tasks: Iterable[Task]) -> None:
        """Take tasks that no engine holds from where they stand: they have ended, which :meth:`bury` tells."""
        queues: dict[int, Queue] = {}
        ready, condemned = self.queues.ready, self.condemned
        for task in tasks:
            if task.state == WAITING:
                self.graph.drop(task)
            else:
                queue = task.queue or ready
                queue.gone += 1
                queues[id(queue)] = queue
            task.state = ENDED
            condemned.append(task)
        for queue in queues.values():
            queue.shed()
            if not queue.tasks:
                self.queues.drained(queue)

    def bury(self, count: int, effects: Effects) -> None:
        """Tell the end of so many of those condemned."""
        for _ in range(min(count, len(self.condemned))):
            self.drop(self.condemned.popleft(), (ABORTED, None, ""), effects)

    def drop(
        self,
        task: Task,
        ending: tuple[int, int | None, object],
        effects: Effects,
        overdue: tuple[int, int] | None = None,
    ) -> None:
        """End what has not ended of a task by decree: an outcome for each item."""
        status, engine, detail = ending
        for item in range(task.first, task.count):
            decree = Ending(KILLED if overdue == (task.id, item) else status, item, engine, detail)
            effects.deliver.append((task, decree, engine))
        self.end(task, False, engine, effects)

    def end(self, task: Task, success: bool, engine: int | None, effects: Effects) -> None:
        """The last outcome of a task was delivered; what follows for those that waited for it."""
        id, graph = task.id, self.graph
        del self.tasks[id]
        task.state = ENDED
        if task.failed:
            success = False
        if self.parts.families:
            ended = self.parts.ended(task, success)
            if ended is None:
                return
            id, success = ended
        if task.remembered:
            graph.remember(id, success, engine)
        if id not in graph.dependents:
            return
        # Ends can cascade down a chain of any length, so they are worked off here and not by recursion.
        self._unsettled.append((id, success, engine))
        if len(self._unsettled) > 1:
            return
        while self._unsettled:
            for waiting, verdict, reason in graph.ended(*self._unsettled[0]):
                self._start(waiting, verdict, reason, effects)
            self._unsettled.popleft()

    def _is_alive(self, id: int) -> bool:
        return id in self.tasks or id in self.parts.families
