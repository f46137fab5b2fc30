"""Work that waits behind a long task, or a long item, while another engine has nothing to do.

How long something takes is a guess until it has ended. So what was sent too much of is asked back: the tasks behind
the running one, and of the running one the items that have not begun. The engine answers with what it had not begun;
that goes to the front of the queue. To ask again without news would be noise: it is done when the engine has
reported, or when one more engine has fallen idle.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from .effects import Effects
from .state import REVOKING, SENT, Engine, Task

STUCK = 0.003  #: seconds that an item may run before what waits for its engine is offered to idle engines


class Deep:
    """The engines that hold more than the item that they run."""

    __slots__ = ("engines", "falls")

    def __init__(self) -> None:
        self.engines: dict[int, Engine] = {}
        self.falls = 0  #: how often an engine has fallen idle

    def note(self, engine: Engine) -> None:
        """What an engine holds has changed."""
        if is_deep(engine):
            self.engines[engine.id] = engine
        elif engine.id in self.engines:
            del self.engines[engine.id]

    def ask_back(self, now: float, idle: Mapping[int, Engine], effects: Effects) -> None:
        """Ask back from every engine that is stuck what an idle one may run."""
        for engine in self.engines.values():
            if engine.asked != self.falls and now >= engine.since + STUCK:
                engine.asked = self.falls
                ask_back(engine, idle, effects)

    def next(self) -> float | None:
        """When to ask next, where engines are idle."""
        times = (engine.since + STUCK for engine in self.engines.values() if engine.asked != self.falls)
        return min(times, default=None)


def is_deep(engine: Engine) -> bool:
    """Does an engine hold more than the item that it runs?"""
    held = engine.held
    if len(held) != 1:
        return len(held) > 1
    (task,) = held.values()
    return task.count - task.first > 1


def ask_back(engine: Engine, others: Container[int], effects: Effects) -> None:
    """Ask an engine for all it has not begun that one of the ``others`` may run."""
    asked: list[int] = []
    runs = True
    for task in engine.held.values():
        if runs:
            runs = False
            if task.count - task.first == 1:
                continue
        if task.state == SENT and _may_run(task, engine, others):
            task.state = REVOKING
            asked.append(task.id)
    if asked:
        effects.revoke.append((engine.id, asked))


def _may_run(task: Task, engine: Engine, others: Container[int]) -> bool:
    if task.queue is None or task.queue.engines is None:
        return True
    return any(id in others for id in task.queue.engines if id != engine.id)
