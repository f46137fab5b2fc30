"""How much work an engine gets at a time.

Short tasks are batched: one message a task would cost more than the task. Long ones are not: what waits behind a
long task on one engine could have run on another. What a task will take is the running mean of its function; a
function that was never timed starts with single tasks and may double its batch with every answer. Batches also
shrink with what is left to do, so that the engines finish together (guided self-scheduling, Polychronopoulos and
Kuck, 1987).
"""

from __future__ import annotations

from collections import OrderedDict

from .state import QUEUED, SENT, Engine, Queue, Task

BATCH = 0.002  #: seconds of work in one batch; an engine holds up to two
LONG = 0.005  #: a task expected to take longer goes alone
MESSAGE = 30e-6  #: seconds that the host spends on a message to an engine and on the answer
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
        newest = seconds / calls if seconds > 0.0 else 0.0
        if self.count:
            share = SMOOTHING
            if calls > 1:
                # One message may carry one call or a thousand; a thousand calls weigh more, up to a limit that
                # lets the mean follow when the work changes.
                share = min(max(SMOOTHING, calls / (self.count + calls)), 0.75)
            self.mean += (newest - self.mean) * share
        else:
            self.mean = newest
        self.count += calls


class Paces:
    """The running means of the functions last used."""

    __slots__ = ("_paces",)

    def __init__(self) -> None:
        self._paces: OrderedDict[bytes, Pace] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paces)

    def learn(self, function: bytes, seconds: float, calls: int) -> None:
        """Take in ``calls`` calls of ``function`` that took ``seconds`` together."""
        pace = self._paces.get(function)
        if pace is None:
            if len(self._paces) >= FUNCTIONS:
                self._paces.popitem(last=False)
            pace = self._paces[function] = Pace()
        else:
            self._paces.move_to_end(function)
        pace.learn(seconds, calls)

    def get(self, function: bytes) -> Pace | None:
        """The pace of ``function``, or None where it has never been timed."""
        return self._paces.get(function)

    def give(self, engine: Engine, queue: Queue, share: int, worth: float = 0.0) -> list[Task]:
        """Move from the left of ``queue`` into ``engine`` what it should get now: ``share`` tasks at the most, or as many
        as take ``worth`` seconds where these are more, and their function has been timed.

        It may be nothing, where the engine holds enough already; one that holds nothing gets at least one task. What
        it holds beside one task is never more than two batches of work, so nothing is ever behind a long task.
        """
        batch: list[Task] = []
        id, held, tasks, gone = engine.id, engine.held, queue.tasks, queue.gone
        load, count = engine.load, len(held)
        most = MOST if engine.quota is None else min(MOST, engine.quota)
        function: bytes | None = None
        each = single = 0.0
        trusted = 0
        while tasks and len(batch) < most:
            task = tasks.popleft()
            if gone and task.state != QUEUED:
                gone -= 1
                continue
            if task.function is not function:
                function = task.function
                pace = self._paces.get(function)
                each, trusted = (LONG, 0) if pace is None else (pace.mean, 2 * pace.count)
                single = each + OVERHEAD
            calls = task.weight - task.first
            cost = single if calls == 1 else each * calls + OVERHEAD
            worth -= cost
            full = count and (load + cost > 2 * BATCH or count >= trusted)
            # A part was cut from what took longer than was thought: it is not put behind another one.
            if full or (len(batch) >= share and (worth < 0.0 or not trusted or task.whole is not None)):
                tasks.appendleft(task)
                break
            load += cost
            count += 1
            task.state = SENT
            task.engine = id
            task.cost = cost
            held[task.id] = task
            if task.limit is not None:
                engine.limited += 1
            batch.append(task)
        queue.gone = gone
        engine.load = load
        if engine.quota is not None:
            engine.quota -= len(batch)
        return batch
