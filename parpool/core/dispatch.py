"""Which engine gets which queued task, and when.

An engine asks for work by having room: it is *open* from its report until it has been filled, and *idle* while it
holds nothing. Whenever something was queued, or an engine opened, :meth:`Dispatch.assign` brings the two together.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from ..status import IMPOSSIBLE
from .choose import policy as policy_called
from .credit import BATCH, MESSAGE, Paces
from .effects import Effects
from .ledger import Ledger
from .limits import Limits
from .state import Engine, Queue, Task
from .stuck import STUCK, Deep

if TYPE_CHECKING:
    from random import Random

CHOICE = 16  #: engines that a policy gets to see at a time


class Dispatch:
    """The engines, and what each of them may get."""

    __slots__ = ("engines", "paces", "limits", "deep", "idle", "open", "_ledger", "_queues", "_policy", "_rng")

    def __init__(self, engines: dict[int, Engine], ledger: Ledger, policy: str, rng: Random | None) -> None:
        self.engines = engines
        self.paces = Paces()
        self.limits = Limits()
        self.deep = Deep()
        self.idle: dict[int, Engine] = {}  #: engines that hold nothing and may get something, the longest idle first
        self.open: dict[int, Engine] = {}  #: engines that may have room: they joined or reported since their last fill
        self._ledger = ledger
        self._queues = ledger.queues
        self._policy = policy_called(policy, rng)
        self._rng = rng

    def assign(self, effects: Effects, now: float) -> None:
        """Give queued tasks to the engines that may have room: to idle ones first."""
        open, queues = self.open, self._queues
        if queues.private and open:
            fewer, others = (open, queues.private) if len(open) < len(queues.private) else (queues.private, open)
            both = [engine for id, engine in fewer.items() if id in others]
            for engine in sorted(both, key=lambda engine: len(engine.held)) if len(both) > 1 else both:
                self._serve(engine, effects, now)
        ready = queues.ready.tasks
        while ready and open:
            some = self.idle or open
            if len(some) == 1:
                (engine,) = some.values()
            else:
                # The policy sees few: the longest idle, or longest open, of any number.
                wish = ready[0].policy
                policy = self._policy if wish is None else policy_called(wish, self._rng)
                engine = policy(list(islice(some.values(), CHOICE)), self._rng)
            self._serve(engine, effects, now)

    def _serve(self, engine: Engine, effects: Effects, now: float) -> None:
        """Fill one engine; it stays open only where nothing is left that it might have taken."""
        id, held, own, groups = engine.id, engine.held, engine.own, engine.groups
        if held and now >= engine.since + STUCK:
            del self.open[id]  # its task takes long: nothing more before it reports
            return
        sent: list[Task] = []
        if own.tasks:
            self._fill(engine, own, len(own), sent)
        if not own.tasks:
            for queue in list(groups.values()):
                self._fill(engine, queue, -(-len(queue) // len(queue.engines or ())), sent)
            ready = self._queues.ready
            if ready.tasks:
                self._fill(engine, ready, -((ready.gone - len(ready.tasks)) // len(self.engines)), sent)
        if sent:
            if id in self.idle:
                del self.idle[id]
                engine.since = now
            if len(held) > 1 or sent[0].count > 1:
                engine.asked = -1
                self.deep.note(engine)
            if engine.limited:
                self.limits.note(engine)
            effects.send.append((id, sent))
        if self._queues.ready.tasks or own.tasks or groups or engine.quota == 0:
            del self.open[id]

    def _fill(self, engine: Engine, queue: Queue, share: int, sent: list[Task]) -> None:
        """Move from a queue into an engine what its credit allows."""
        # While the host feeds them all once, each should have something to do; smaller batches would cost more than they
        # share out better.
        sent += self.paces.give(engine, queue, share, min(BATCH / 2, MESSAGE * len(self.engines)))
        if queue.gone:
            queue.shed()
        if not queue.tasks:
            self._queues.drained(queue)

    def adopted(self, engine: Engine, task: Task) -> None:
        """An engine holds a task that it was not given here."""
        self.idle.pop(engine.id, None)
        if task.limit is not None:
            engine.limited += 1
            self.limits.note(engine)
        self.deep.note(engine)

    def release(self, engine: Engine, task: Task) -> None:
        """Take a task back from the engine that holds it and has not begun it."""
        del engine.held[task.id]
        task.adopted = False
        engine.load -= task.cost
        if task.limit is not None:
            engine.limited -= 1
            if engine.overdue is not None and engine.overdue[0] == task.id:
                engine.overdue = None
        if engine.quota is not None:
            engine.quota += 1

    def relax(self, engine: Engine, effects: Effects) -> None:
        """An engine holds less than before: it may have room, be idle, or have done all it may."""
        id = engine.id
        self.deep.note(engine)
        if engine.limited or id in self.limits.holders:
            self.limits.note(engine)
        if engine.awaited:
            return
        if engine.retiring or engine.quota == 0:
            self.open.pop(id, None)
            self.idle.pop(id, None)
            if not engine.held and not engine.stopped:
                engine.stopped = True
                effects.stop.append(id)
                self._ledger.desert(engine, (IMPOSSIBLE, id, f"engine {id} was let end before that"), effects)
            return
        self.open[id] = engine
        if not engine.held:
            engine.load = 0.0
            if id not in self.idle:
                self.idle[id] = engine
                self.deep.falls += 1
