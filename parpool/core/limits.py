"""Time limits: when the running task of an engine is over its time, and what follows.

It is interrupted; the tasks behind it are asked back, as it may not heed that; and where it does not, its engine is
ended. What to do next and when is not looked for at every step: the next time is kept as a bound that may be too
early, never too late.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from .effects import Effects
from .state import Engine
from .stuck import ask_back

GRACE = 0.5  #: seconds between the interrupt of a task over its limit and the end of its engine


class Limits:
    """The engines that hold tasks with a time limit."""

    __slots__ = ("holders", "bound")

    def __init__(self) -> None:
        self.holders: dict[int, Engine] = {}
        self.bound = inf  #: no time of any holder is up before this

    def note(self, engine: Engine) -> None:
        """An engine that holds, or held, tasks with a limit got another one, or began the next."""
        if engine.limited:
            self.holders[engine.id] = engine
            self.bound = min(self.bound, _due(engine))
        else:
            self.forget(engine)

    def forget(self, engine: Engine) -> None:
        """An engine holds no task with a limit any more."""
        self.holders.pop(engine.id, None)
        if not self.holders:
            self.bound = inf

    def clear(self) -> None:
        """No engine holds any."""
        self.holders.clear()
        self.bound = inf

    def enforce(self, now: float, engines: Mapping[int, Engine], effects: Effects) -> None:
        """Interrupt what is over its time, and end the engines that did not heed that."""
        if now < self.bound:
            return
        for engine in self.holders.values():
            if now < _due(engine):
                continue
            task = next(iter(engine.held.values()))
            running = (task.id, task.first)
            if engine.overdue != running:
                engine.overdue = running
                ask_back(engine, engines, effects)
                effects.interrupt.append((engine.id, task.id, task.first))
            else:
                engine.killed = engine.retiring = True
                effects.kill.append(engine.id)
        self.bound = min(map(_due, self.holders.values()), default=inf)


def _due(engine: Engine) -> float:
    """When something must be done about the running task of an engine."""
    task = next(iter(engine.held.values()))
    if task.limit is None or engine.killed:
        return inf
    return engine.since + task.limit + (GRACE if engine.overdue == (task.id, task.first) else 0.0)
