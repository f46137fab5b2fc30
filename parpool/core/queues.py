"""Where queued tasks stand.

Each in exactly one queue: ``ready`` (any engine), one of ``groups`` (any engine of a set), or an engine's ``own``
(that one alone). Whoever is ``stopped`` takes nothing more, and is as good as gone here.
"""

from __future__ import annotations

from collections.abc import Mapping

from .state import QUEUED, Engine, Queue, Task


class Queues:
    """All queues of a scheduler over ``engines``."""

    __slots__ = ("ready", "groups", "private", "_engines")

    def __init__(self, engines: Mapping[int, Engine]) -> None:
        self.ready = Queue()
        self.groups: dict[frozenset[int], Queue] = {}  #: by the engines that they are for; none is empty
        self.private: dict[int, Engine] = {}  #: engines for which something is queued apart from ``ready``
        self._engines = engines

    def add(self, task: Task, front: bool = False) -> None:
        """Queue a task that any engine may run."""
        task.state = QUEUED
        if front:
            self.ready.tasks.appendleft(task)
        else:
            self.ready.tasks.append(task)

    def place(self, task: Task, allowed: frozenset[int], front: bool = False) -> bool:
        """Queue a task that only some engines may run; False where none of them is there."""
        queue = self.groups.get(allowed)
        if queue is None:
            engines = self._engines
            able = [engine for id in allowed if (engine := engines.get(id)) is not None and not engine.stopped]
            if not able:
                return False
            if len(allowed) == 1:
                queue = able[0].own
            else:
                queue = self.groups[allowed] = Queue(allowed)
                for engine in able:
                    engine.groups[allowed] = queue
            for engine in able:
                self.private[engine.id] = engine
        task.state = QUEUED
        task.queue = queue
        if front:
            queue.tasks.appendleft(task)
        else:
            queue.tasks.append(task)
        return True

    def count_out(self, task: Task) -> None:
        """A queued task has ended where it stands."""
        queue = task.queue or self.ready
        queue.count_out()
        if not queue.tasks:
            self.drained(queue)

    def drained(self, queue: Queue) -> None:
        """A queue has become empty."""
        if queue.engines is None:
            return
        self.groups.pop(queue.engines, None)
        for id in queue.engines:
            engine = self._engines.get(id)
            if engine is not None:
                engine.groups.pop(queue.engines, None)
                if not engine.own and not engine.groups:
                    self.private.pop(id, None)

    def joined(self, engine: Engine) -> None:
        """A new engine: it may take from the groups that name it."""
        for allowed, queue in self.groups.items():
            if engine.id in allowed:
                engine.groups[allowed] = queue
                self.private[engine.id] = engine

    def left(self, engine: Engine) -> list[Task]:
        """An engine is stopped or gone: the tasks that were queued for it and nobody else who is there."""
        tasks = list(engine.own)
        engine.own.clear()
        for allowed, queue in engine.groups.items():
            others = (self._engines.get(id) for id in allowed if id != engine.id)
            if all(other is None or other.stopped for other in others):
                del self.groups[allowed]
                tasks += queue
        engine.groups.clear()
        self.private.pop(engine.id, None)
        return tasks

    def clear(self) -> None:
        """Let go of all tasks."""
        self.ready.clear()
        for engine in self.private.values():
            engine.own.clear()
            engine.groups.clear()
        self.groups.clear()
        self.private.clear()
