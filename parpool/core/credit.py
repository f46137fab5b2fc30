"""How much work an engine gets at a time.

Short tasks are batched: one message a task would cost more than the task. Long ones are not: what waits behind a
long task on one engine could have run on another. What a task will take is the running mean of its function; a
function that was never timed starts with single tasks and may double its batch with every answer. Batches also
shrink with what is left to do, so that the engines finish together (guided self-scheduling, Polychronopoulos and
Kuck, 1987).
"""

from __future__ import annotations

from collections import OrderedDict, deque

from .state import Engine, Task

BATCH = 0.002  #: seconds of work in one batch; an engine holds up to two
LONG = 0.005  #: a task expected to take longer goes alone
OVERHEAD = 4e-6  #: seconds that an engine spends on a task besides running it
MOST = 1024  #: tasks in one batch, whatever the mean says
SMOOTHING = 0.25  #: weight of the newest message in the running mean
FUNCTIONS = 4096  #: functions whose mean is kept


class Pace:
    """Running mean of one function: seconds a call, and how many calls it is made of."""

    __slots__ = ("mean", "count")

    def __init__(self) -> None:
        self.mean = 0.0
        self.count = 0

    def learn(self, seconds: float, calls: int) -> None:
        """Take in ``calls`` calls that took ``seconds`` together."""
        newest = max(seconds, 0.0) / calls
        if self.count:
            # One message may carry one call or a thousand; a thousand calls weigh more, up to a limit that
            # lets the mean follow when the work changes.
            share = max(SMOOTHING, calls / (self.count + calls)) if calls > 1 else SMOOTHING
            self.mean += (newest - self.mean) * min(share, 0.75)
        else:
            self.mean = newest
        self.count += calls


class Paces:
    """The running means of the functions last used."""

    __slots__ = ("_paces",)

    def __init__(self) -> None:
        self._paces: OrderedDict[bytes, Pace] = OrderedDict()

    def learn(self, function: bytes, seconds: float, calls: int) -> None:
        """Take in ``calls`` calls of ``function`` that took ``seconds`` together."""
        pace = self._paces.get(function)
        if pace is None:
            if len(self._paces) >= FUNCTIONS:
                self._paces.popitem(last=False)
            pace = self._paces[function] = Pace()
        pace.learn(seconds, calls)

    def get(self, function: bytes) -> Pace | None:
        """The pace of ``function``, or None where it has never been timed."""
        return self._paces.get(function)

    def take(self, engine: Engine, queue: deque[Task], share: int) -> list[Task]:
        """Take from the left of ``queue`` what ``engine`` should get now: ``share`` tasks at the most.

        Does not touch the engine; may return an empty list where it holds enough already.
        """
        batch: list[Task] = []
        room = 2 * BATCH - engine.load
        most = min(share, MOST)
        if engine.quota is not None:
            most = min(most, engine.quota)
        held = len(engine.held)
        function: bytes | None = None
        each = 0.0
        trusted = 0
        while queue and len(batch) < most:
            task = queue[0]
            if task.function != function:
                function = task.function
                pace = self._paces.get(function)
                if pace is None or not pace.count:
                    each, trusted = LONG, 0
                else:
                    each, trusted = pace.mean, 2 * pace.count
            cost = each * (task.weight - task.first) + OVERHEAD
            if held or batch:
                if cost > LONG or room < cost or len(batch) + held >= trusted:
                    break
            batch.append(queue.popleft())
            task.cost = cost
            room -= cost
            if cost > LONG:
                break
        return batch
