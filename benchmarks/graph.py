"""What tasks that depend on others cost the scheduler: a chain, a random graph, and plain tasks for comparison.

Nothing here is a process or a socket: the scheduler is the one that runs in every pool, and the engines run whatever
they hold between two of its steps. Only the time inside the scheduler counts, by the steps that it is told: the
submission of the tasks (one by one, as ``apply_async`` does) and the outcomes of the engines. The memory is what the
scheduler keeps when all has ended, so that later tasks can name what was.

    python benchmarks/graph.py
    python benchmarks/graph.py --nodes 10000 --edges 30000 --engines 16
    python benchmarks/graph.py --profile dag
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import random
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

from parpool.core.effects import Effects
from parpool.core.scheduler import Scheduler
from parpool.core.state import Dependency, Task

TOOK = 2e-5  #: seconds that a task is said to take


class Report:
    """One outcome, as the scheduler reads it."""

    __slots__ = ("id", "status", "item", "started", "completed")

    def __init__(self, id: int, started: float) -> None:
        self.id = id
        self.status = 0
        self.item = 0
        self.started = started
        self.completed = started + TOOK


class Cost(NamedTuple):
    """Seconds inside the scheduler."""

    submit: float
    outcomes: float


def plain(count: int, remembered: bool = False) -> list[Task]:
    """Tasks that depend on nothing."""
    tasks = [Task(id, b"function") for id in range(count)]
    if remembered:
        for task in tasks:
            task.remembered = True
    return tasks


def chain(count: int) -> list[Task]:
    """Each waits for the one before it."""
    tasks = plain(count, remembered=True)
    for task in tasks[1:]:
        task.after = Dependency(frozenset((task.id - 1,)))
    return tasks


def dag(count: int, edges: int, seed: int = 1) -> list[Task]:
    """Each waits for some of those before it: ``edges`` altogether, drawn at random."""
    rng = random.Random(seed)
    named: list[set[int]] = [set() for _ in range(count)]
    left = min(edges, count * (count - 1) // 2)
    while left:
        to = rng.randrange(1, count)
        before = rng.randrange(to)
        if before not in named[to]:
            named[to].add(before)
            left -= 1
    tasks = plain(count, remembered=True)
    for task, ids in zip(tasks, named, strict=True):
        if ids:
            task.after = Dependency(frozenset(ids))
    return tasks


def run(tasks: Sequence[Task], engines: int = 2, at_once: bool = True) -> tuple[Cost, Scheduler]:
    """Submit the tasks and run them to their ends.

    Where not ``at_once``, engines report while tasks are still submitted, so that many name what has ended already.
    """
    scheduler = Scheduler()
    now = 0.0
    inboxes: list[deque[int]] = [deque() for _ in range(engines)]
    ended: set[int] = set()
    seconds = [0.0, 0.0]

    def tell(what: int, method: Callable[..., Effects], *arguments: object) -> None:
        begun = perf_counter()
        effects = method(*arguments)
        seconds[what] += perf_counter() - begun
        for engine, sent in effects.send:
            inboxes[engine] += [task.id for task in sent]
        for task, report, _ in effects.deliver:
            assert report.status == 0 and task.id not in ended
            ended.add(task.id)

    def work() -> None:
        nonlocal now
        for engine, inbox in enumerate(inboxes):
            if inbox:
                reports = [Report(id, now + TOOK * n) for n, id in enumerate(inbox)]
                now += TOOK * len(inbox)
                inbox.clear()
                tell(1, scheduler.outcomes, engine, reports, now)

    for engine in range(engines):
        tell(0, scheduler.engine_joined, engine, now)
    for task in tasks:
        tell(0, scheduler.submit, (task,), now)
        if not at_once and not task.id % 16:
            work()
    while any(inboxes):
        work()
    assert len(ended) == len(tasks) and not scheduler.tasks
    return Cost(*seconds), scheduler


def kept(make: Callable[[], Sequence[Task]], engines: int) -> int:
    """Bytes that a scheduler takes up when its tasks have ended."""
    gc.collect()
    tracemalloc.start()
    scheduler = run(make(), engines)[1]
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del scheduler
    return size


def best(make: Callable[[], Sequence[Task]], engines: int, at_once: bool, repeat: int) -> Cost:
    """The cheapest of several runs."""
    costs = []
    for _ in range(repeat):
        tasks = make()
        gc.collect()
        costs.append(run(tasks, engines, at_once)[0])
    return min(costs, key=sum)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each shape, and print a line for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--chain", type=int, default=2_000, help="tasks of the chain (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=10_000, help="tasks of the graph (default: %(default)s)")
    parser.add_argument("--edges", type=int, default=30_000, help="its edges (default: %(default)s)")
    parser.add_argument("--plain", type=int, default=200_000, help="tasks without dependencies (default: %(default)s)")
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each; the best counts (default: %(default)s)")
    parser.add_argument("--profile", choices=["chain", "dag", "plain", "remembered"], help="profile this one instead")
    options = parser.parse_args(arguments)
    shapes: dict[str, Callable[[], list[Task]]] = {
        "chain": lambda: chain(options.chain),
        "dag": lambda: dag(options.nodes, options.edges),
        "plain": lambda: plain(options.plain),
        "remembered": lambda: plain(options.plain, remembered=True),
    }
    if options.profile:
        tasks = shapes[options.profile]()
        profile = cProfile.Profile()
        profile.runcall(run, tasks, options.engines)
        pstats.Stats(profile).sort_stats("tottime").print_stats(14)
        return
    print(f"{'shape':<28}{'tasks':>9}{'submit':>12}{'outcomes':>12}{'together':>12}{'kept':>12}")
    for name, make in shapes.items():
        for at_once in (True, False) if name in ("chain", "dag") else (True,):
            cost = best(make, options.engines, at_once, options.repeat)
            count = len(make())
            label = name if at_once else f"{name}, some ended before"
            micro = [seconds / count * 1e6 for seconds in (cost.submit, cost.outcomes, sum(cost))]
            size = kept(make, options.engines)
            print(f"{label:<28}{count:>9,}" + "".join(f"{each:>9.2f} µs" for each in micro) + f"{size:>10,} B")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
