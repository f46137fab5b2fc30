"""The scheduler among simulated engines: what it costs, and how good its assignments are.

Nothing here is a process or a socket. Engines, their network and the clock are simulated, event by event; the
scheduler is the one that runs in every pool. So a thousand engines fit into one process, and the same seed always
tells the same story: the digest over who ran what, in which order, says so.

    python benchmarks/simulate.py                                    # all durations, 1,000 engines, 1,000,000 tasks
    python benchmarks/simulate.py --engines 2 --duration short
    python benchmarks/simulate.py --items 20 --tasks 100000          # chunks, whose items end one by one
    python benchmarks/simulate.py --schedulers 4                     # a controller with several: the cost is that of one

The ideal is a lower bound that no scheduler can beat: the work divided by the engines, or the longest single item.
The cost is the time spent inside the scheduler; in the simulated world the scheduler takes no time.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import random
import sys
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from struct import pack
from time import perf_counter
from typing import NamedTuple

from parpool.core.effects import Effects
from parpool.core.scheduler import Scheduler
from parpool.core.state import Task

FLUSH = 0.002  #: seconds of short tasks between two messages of an engine, as in parpool.engine
OVERHEAD = 4e-6  #: seconds that an engine spends on an item besides running it

DURATIONS: dict[str, Callable[[random.Random], float]] = {
    "short": lambda rng: 0.0001,
    "exponential": lambda rng: rng.expovariate(1 / 0.010),
    # Pareto: most take a few milliseconds, one in a thousand half a second and more.
    "heavy": lambda rng: min(0.002 * rng.paretovariate(1.2), 1.0),
}


class Report:
    """One outcome, as the scheduler reads it."""

    __slots__ = ("id", "status", "item", "started", "completed")

    def __init__(self, id: int, item: int, started: float, completed: float) -> None:
        self.id = id
        self.status = 0
        self.item = item
        self.started = started
        self.completed = completed


class Given:
    """A task that an engine was given, and how far it is."""

    __slots__ = ("id", "tag", "first", "next", "count")

    def __init__(self, task: Task) -> None:
        self.id = task.id
        self.tag: int = task.tag
        self.first = self.next = task.first
        self.count = task.count


class Outcome(NamedTuple):
    """What a simulation came to."""

    cost: float  #: seconds inside the scheduler
    makespan: float
    ideal: float
    messages: int
    revoked: int
    digest: str
    took: float  #: seconds that the simulation took


class Simulation:
    """One scheduler, its engines, and everything that is on the way between them."""

    def __init__(
        self, engines: int, durations: Sequence[float], items: int, latency: float, policy: str, seed: int
    ) -> None:
        self.durations = durations
        self.items = items
        self.latency = latency
        self.now = 0.0
        self.cost = 0.0
        self.messages = 0
        self.revoked = 0
        self.done = 0
        self.scheduler = Scheduler(policy, random.Random(seed))
        self._digest = hashlib.sha256()
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0
        self._tick_at: float | None = None
        self._inboxes: list[deque[Given]] = [deque() for _ in range(engines)]
        self._busy = [False] * engines

    def run(self) -> None:
        """Submit everything at once, and go on until everything has ended."""
        for engine in range(len(self._inboxes)):
            self._tell(self.scheduler.engine_joined, engine, self.now)
        self._tell(self.scheduler.submit, self._tasks(), self.now)
        while self._events:
            self.now, _, act, about = heapq.heappop(self._events)
            act(*about)
        if self.scheduler.tasks or self.done != len(self.durations):
            raise SystemExit(f"{len(self.durations) - self.done} items never ended")

    def digest(self) -> str:
        """A number for who ran what, in which order."""
        return self._digest.hexdigest()[:12]

    def _tasks(self) -> list[Task]:
        tasks = []
        for id, tag in enumerate(range(0, len(self.durations), self.items)):
            task = Task(id, b"function")
            task.tag = tag
            if self.items > 1:
                task.count = task.weight = min(self.items, len(self.durations) - tag)
            tasks.append(task)
        return tasks

    def _at(self, when: float, act: Callable[..., None], *about: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, act, about))

    # -- the scheduler's side ---------------------------------------------------------------------------------

    def _tell(self, method: Callable[..., Effects], *arguments: object) -> None:
        begun = perf_counter()
        effects = method(*arguments)
        wake_at = self.scheduler.wake_at()
        self.cost += perf_counter() - begun
        for id, tasks in effects.send:
            self._at(self.now + self.latency, self._receive, id, [Given(task) for task in tasks])
        for id, ids in effects.revoke:
            self._at(self.now + self.latency, self._revoke, id, ids)
        for task, report, engine in effects.deliver:
            self._digest.update(pack("<qi", task.tag + report.item, engine))
        self.done += len(effects.deliver)
        self.messages += len(effects.send)
        if wake_at is not None and (self._tick_at is None or wake_at < self._tick_at):
            self._tick_at = wake_at
            self._at(max(wake_at, self.now), self._tick, wake_at)

    def _tick(self, when: float) -> None:
        if when == self._tick_at:
            self._tick_at = None
            self._tell(self.scheduler.tick, self.now)

    def _report(self, engine: int, reports: list[Report]) -> None:
        self._tell(self.scheduler.outcomes, engine, reports, self.now)

    # -- the engines' side ------------------------------------------------------------------------------------

    def _receive(self, engine: int, given: list[Given]) -> None:
        self._inboxes[engine] += given
        if not self._busy[engine]:
            self._busy[engine] = True
            self._run(engine)

    def _run(self, engine: int) -> None:
        """Run what is there until it is time to report. A long item waits for what was done before it to be sent."""
        inbox, durations = self._inboxes[engine], self.durations
        at = self.now
        reports: list[Report] = []
        while inbox and at - self.now < FLUSH:
            given = inbox[0]
            duration = durations[given.tag + given.next]
            if reports and duration > FLUSH:
                break
            reports.append(Report(given.id, given.next, at, at + duration))
            at += duration + OVERHEAD
            given.next += 1
            if given.next == given.count:
                inbox.popleft()
        if reports:
            self._at(at + self.latency, self._report, engine, reports)
            self._at(at, self._run, engine)
        else:
            self._busy[engine] = False

    def _revoke(self, engine: int, ids: list[int]) -> None:
        inbox = self._inboxes[engine]
        there = {given.id: given for given in inbox}
        back: list[int] = []
        kept: list[int] = []
        rests: list[tuple[int, int]] = []
        for id in ids:
            given = there.get(id)
            if given is None:
                kept.append(id)
                continue
            if given.next == given.first:
                back.append(id)
            else:
                rests.append((id, given.next))
            del there[id]
        inbox.clear()
        inbox += there.values()
        self.revoked += len(back) + len(rests)
        self._at(self.now + self.latency, self._give_back, engine, back, kept, rests)

    def _give_back(self, engine: int, back: list[int], kept: list[int], rests: list[tuple[int, int]]) -> None:
        self._tell(self.scheduler.given_back, engine, back, kept, self.now, rests)


def simulate(
    engines: int,
    tasks: int,
    duration: str = "short",
    *,
    seed: int = 1,
    latency: float = 100e-6,
    items: int = 1,
    policy: str = "leastload",
    schedulers: int = 1,
) -> Outcome:
    """One simulation of ``tasks`` calls, ``items`` of them in a task, on ``engines``.

    With several ``schedulers`` each has its share of engines and tasks from the beginning to the end; the cost is that of
    the one that has the most, as they work at the same time.
    """
    begun = perf_counter()
    rng = random.Random(seed)
    draw = DURATIONS[duration]
    durations = array("d", (draw(rng) for _ in range(tasks)))
    shares = []
    for number in range(schedulers):
        those = len(range(number, engines, schedulers))
        shares.append(Simulation(those, durations[number::schedulers], items, latency, policy, seed))
        shares[-1].run()
    return Outcome(
        max(each.cost for each in shares),
        max(each.now for each in shares),
        max(sum(durations) / engines, max(durations)),
        sum(each.messages for each in shares),
        sum(each.revoked for each in shares),
        "-".join(each.digest() for each in shares[:2]),
        perf_counter() - begun,
    )


HEAD = f"{'durations':<12}{'engines':>9}{'tasks':>11}{'cost a task':>13}{'makespan':>11}{'ideal':>10}{'of ideal':>10}{'tasks/msg':>11}{'revoked':>9}{'took':>8}  digest"


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print a line for each simulation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engines", type=int, nargs="+", help="how many; default: 1000, and 2 for short durations")
    parser.add_argument("--tasks", type=int, default=1_000_000, help="calls altogether (default: %(default)s)")
    parser.add_argument("--duration", choices=[*DURATIONS, "all"], default="all", help="how long they take")
    parser.add_argument("--items", type=int, default=1, help="calls in a task, which end one by one (default: 1)")
    parser.add_argument("--latency", type=float, default=100e-6, help="seconds on the network, one way")
    parser.add_argument("--policy", default="leastload", help="placement policy (default: %(default)s)")
    parser.add_argument("--schedulers", type=int, default=1, help="which share engines and tasks (default: 1)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    names = list(DURATIONS) if options.duration == "all" else [options.duration]
    runs = [(engines, name) for engines in options.engines or [1000] for name in names]
    if not options.engines and "short" in names:
        runs.append((2, "short"))
    print(HEAD)
    for engines, name in runs:
        outcome = simulate(
            engines,
            options.tasks,
            name,
            seed=options.seed,
            latency=options.latency,
            items=options.items,
            policy=options.policy,
            schedulers=options.schedulers,
        )
        print(
            f"{name:<12}{engines:>9,}{options.tasks:>11,}{outcome.cost / options.tasks * 1e6:>10.2f} µs"
            f"{outcome.makespan:>9.3f} s{outcome.ideal:>8.3f} s{outcome.makespan / outcome.ideal:>10.3f}"
            f"{options.tasks / outcome.messages:>11.1f}{outcome.revoked:>9,}{outcome.took:>6.1f} s  {outcome.digest}"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
