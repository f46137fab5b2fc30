"""A cluster by its commands: `parpool controller`, `parpool engine`, and clients, each a process of its own.

    python benchmarks/cluster.py                     print the table
    python benchmarks/cluster.py --write             and renew the clusters' part of RESULTS.md
    python benchmarks/cluster.py --quick             smaller and fewer rounds: to see that it works
    python benchmarks/cluster.py --transport tcp     by tcp, encrypted, on loopback
    python benchmarks/cluster.py --cases apply,many  some of the cases

Rounds are interleaved: each asks everybody in turn. A figure is the median over the rounds; a ratio is the median of
the ratios within each round. The echo is the floor that others are measured by: one message to another process over ipc
and back, by pyzmq and nothing else. Where the machine is busy, it is slower, too. `cluster_peers.py` has the same cases
for others.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import workload
from cluster_processes import TICK, Cluster
from contestants import Echo
from views import Row, collect, interleaved, p50, ratio, seconds, verdict

import parpool

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN = "<!-- cluster.py: begin. What stands up to the end mark is written by `cluster.py --write`. -->"
END = "<!-- cluster.py: end -->"


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int
    calls: int  #: one by one, in a round
    tasks: int
    light: int
    queued: int
    restarted: int


FULL = Size(rounds=9, calls=500, tasks=20_000, light=200, queued=1_000_000, restarted=10_000)
QUICK = Size(rounds=1, calls=50, tasks=1_000, light=20, queued=10_000, restarted=1_000)

#: Seconds of `apply_sync` in a run where the echo takes so long. The echo takes half as long where the system happens to
#: run both of its processes on one core, which needs no core to be woken; that is no reason to ask for more.
APPLY, ECHO = 0.00045, 0.00011
MEGA = 2**20
MAIN = os.getpid()


def start(size: Size, transport: str) -> list[Row]:
    """From the first command to the first result, with all engines there."""
    engines = 4

    def run() -> float:
        begun = time.monotonic()
        with Cluster(engines, transport=transport, wait=False) as cluster, parpool.Client(cluster.file) as client:
            client.load_balanced_view().apply_sync(workload.noop)
            first.append(time.monotonic() - begun)
            cluster.until(lambda: len(client.ids) == engines, "engines")
            client[:].apply_sync(workload.noop)
            return time.monotonic() - begun

    first: list[float] = []
    (taken,) = interleaved(size.rounds, run)
    figure = statistics.median(first[1:])
    beside = f"{statistics.median(taken):.2f} s to the first result of all of them"
    return [
        (
            f"start of a cluster ({engines} engines) to the first result",
            f"{figure:.2f} s",
            beside,
            "at most 1.2 s",
            verdict(figure <= 1.2),
        )
    ]


def apply(size: Size, transport: str) -> list[Row]:
    """One call at a time."""
    with ExitStack() as stack:
        echo = Echo()  # it forks: before there are threads
        stack.callback(echo.close)
        cluster = stack.enter_context(Cluster(2, transport=transport))
        client = stack.enter_context(parpool.Client(cluster.file))
        view = client.load_balanced_view()
        ours, floor = interleaved(
            size.rounds,
            lambda: p50(lambda: view.apply_sync(workload.noop), size.calls),
            lambda: p50(lambda: echo.apply(workload.noop), size.calls),
        )
    figure, beside = statistics.median(ours), statistics.median(floor)
    limit = APPLY * max(1.0, beside / ECHO)
    shown = f"{figure * 1e3:.3f} ms; echo {beside * 1e3:.3f} ms"
    target = f"at most {limit * 1e3:.2f} ms"
    return [("`apply_sync`, p50", shown, f"{ratio(ours, floor):.1f} × the echo", target, verdict(figure <= limit))]


def many(size: Size, transport: str) -> list[Row]:
    """Many calls submitted, and collected."""
    if not _have("sqlalchemy"):
        print("sqlalchemy is not installed: no rows with SQLite", file=sys.stderr)
    stores = ["memory", "sqlite"] if _have("sqlalchemy") else ["memory"]
    names, measures = [], []
    with ExitStack() as stack:
        for store in stores:
            cluster = stack.enter_context(Cluster(2, transport=transport, db=store))
            client = stack.enter_context(parpool.Client(cluster.file))
            pool = stack.enter_context(parpool.Pool(client=client))
            for face, submit in (
                ("a load-balanced view", client.load_balanced_view().apply_async),
                ("`Pool(client=rc)`", pool.apply_async),
            ):
                names.append((face, store))
                measures.append(_Measured(cluster, client, submit, size.tasks))
        samples = interleaved(size.rounds, *measures)
    rows: list[Row] = []
    for (face, store), taken, measure in zip(names, samples, measures, strict=True):
        rate = size.tasks / statistics.median(taken)
        least = 60_000 if store == "memory" else 30_000
        shown = f"{rate / 1e3:.1f} k tasks/s"
        cost = measure.cost()
        beside = "CPU a task: " + ", ".join(f"{name} {each:.1f} µs" for name, each in cost.items())
        beside += f"; {sum(cost.values()) * rate / 1e6:.1f} cores"
        records = "memory" if store == "memory" else "SQLite"
        name = f"{size.tasks:,} `apply_async` of {face}, records in {records}"
        rows.append((name, shown, beside, f"at least {least / 1e3:g} k", verdict(rate >= least)))
    return rows


class _Measured:
    """Seconds until tasks are submitted and collected, and the CPU that they cost.

    What is left to be written to a database afterwards belongs to the cost, and is not left to whoever comes next.
    """

    def __init__(self, cluster: Cluster, client: parpool.Client, submit: Callable[..., Any], tasks: int) -> None:
        self._cluster, self._client, self._submit, self._tasks = cluster, client, submit, tasks
        self.costs: dict[str, list[float]] = {"controller": [], "client": [], "engines": []}  #: µs a task

    def __call__(self) -> float:
        cluster = self._cluster
        before = cluster.cpu(), time.process_time(), cluster.engines_cpu()
        taken = seconds(lambda: collect(self._submit, self._tasks))
        cluster.until(lambda: not self._client.cluster_status()["hub"]["backlog"], "the database")
        after = cluster.cpu(), time.process_time(), cluster.engines_cpu()
        for each, begun, ended in zip(self.costs.values(), before, after, strict=True):
            each.append((ended - begun) / self._tasks * 1e6)
        return taken

    def cost(self) -> dict[str, float]:
        """The medians; the first round does not count."""
        return {name: statistics.median(each[1:]) for name, each in self.costs.items()}


def clients(size: Size, transport: str) -> list[Row]:
    """Several clients at once, in sum, and one."""
    count = 4

    def rate(asked: int) -> float:
        answers = children.ask("many", size.tasks, first=asked)
        ended, begun = max(each["ended"] for each in answers), min(each["begun"] for each in answers)
        return asked * size.tasks / float(ended - begun)

    with Cluster(2, transport=transport) as cluster, cluster.clients(count) as children:
        several, one = interleaved(size.rounds, lambda: rate(count), lambda: rate(1))
    factor = ratio(several, one)
    shown = f"{statistics.median(several) / 1e3:.1f} k tasks/s; one {statistics.median(one) / 1e3:.1f} k tasks/s"
    name = f"{count} clients at once, {size.tasks:,} tasks each"
    return [(name, shown, f"{factor:.2f} of one", "at least 1", verdict(factor >= 1))]


def light(size: Size, transport: str) -> list[Row]:
    """Many engines that run nothing, and two of them."""
    rows = []
    for lanes in (False, True):
        if lanes and transport != "ipc":
            continue
        with ExitStack() as stack:
            measures = []
            for engines in (size.light, 2):
                cluster = stack.enter_context(Cluster(light=engines, lanes=lanes, transport=transport))
                client = stack.enter_context(parpool.Client(cluster.file))
                view = client.load_balanced_view()
                measures.append(_Measured(cluster, client, view.apply_async, size.tasks))
            taken, _ = interleaved(size.rounds, *measures)
        costs = [measure.costs["controller"][1:] for measure in measures]
        rate, factor = size.tasks / statistics.median(taken), ratio(*costs)
        ours, beside = map(statistics.median, costs)
        shown = f"{rate / 1e3:.1f} k tasks/s; controller {ours:.1f} µs a task, with two {beside:.1f}"
        where = "by lanes, as on one machine" if lanes else "as on other machines"
        met = verdict(rate >= 50_000 and factor <= 1.3)
        name = f"{size.light} light engines, {where}"
        rows.append((name, shown, f"{factor:.2f} × the cost with two", "at least 50 k; at most 1.3", met))
    return rows


def queued(size: Size, transport: str) -> list[Row]:
    """What a task that waits costs the controller, where there is no engine for it."""
    with Cluster(transport=transport) as cluster, cluster.clients(1) as children:
        with parpool.Client(cluster.file) as client:

            def there(count: int) -> bool:
                return bool(client.cluster_status()["tasks"] >= count)

            children.ask("queue", 0, 1_000)  # the first ones bring more than themselves
            cluster.until(lambda: there(1_000), "the tasks")
            before = cluster.rss()
            children.ask("queue", 1_000, 1_000 + size.queued)
            cluster.until(lambda: there(1_000 + size.queued), "the tasks", 300)
            grown = cluster.rss() - before
    each = grown / size.queued
    name, shown = f"{size.queued:,} tasks queued", f"{each:,.0f} bytes each in the controller"
    return [(name, shown, f"{grown / MEGA:.0f} MiB", "at most 1,500 bytes", verdict(each <= 1_500))]


def restart(size: Size, transport: str) -> list[Row]:
    """The controller is killed in the middle, and another one started."""
    lost: list[int] = []
    ready: list[float] = []

    def run() -> float:
        with Cluster(4, transport=transport) as cluster, parpool.Client(cluster.file) as client:
            view = client.load_balanced_view()
            results = [view.apply_async(workload.sleep, 0.0005) for _ in range(size.restarted)]
            waiting = _Waiting(results)
            cluster.until(lambda: waiting.left() <= 0.7 * size.restarted, "outcomes")
            cluster.kill_controller()
            left = waiting.settled()  # what it had sent has come
            begun = cluster.start_controller()
            ready.append(time.monotonic() - begun)
            cluster.until(lambda: waiting.left() < left, "an outcome")
            taken = time.monotonic() - begun
            for result in results:
                result.wait(60)
            lost.append(sum(not result.successful() for result in results))
            return taken

    (taken,) = interleaved(min(size.rounds, 5), run)
    figure = statistics.median(taken)
    beside = f"its files are there after {statistics.median(ready):.2f} s; {sum(lost)} of {size.restarted:,} tasks lost"
    name = f"kill -9 of the controller in the middle of {size.restarted:,} tasks, to the first outcome of the next one"
    met = verdict(figure <= 2 and not any(lost))
    return [(name, f"{figure:.2f} s", beside, "at most 2 s", met)]


class _Waiting:
    """Results that are not there yet."""

    def __init__(self, results: Sequence[Any]) -> None:
        self._results = results

    def left(self) -> int:
        """How many they are."""
        self._results = [result for result in self._results if not result.ready()]
        return len(self._results)

    def settled(self) -> int:
        """The same, when nothing has come for a while."""
        left, since = self.left(), time.monotonic()
        while time.monotonic() - since < 0.1:
            time.sleep(TICK)
            if self.left() < left:
                left, since = self.left(), time.monotonic()
        return left


CASES: dict[str, Callable[[Size, str], list[Row]]] = {
    each.__name__: each for each in (start, apply, many, clients, light, queued, restart)
}


def _have(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _end(number: int, frame: object) -> None:
    if os.getpid() == MAIN:
        raise KeyboardInterrupt
    os._exit(1)  # the echo, which is a fork


def table(rows: Sequence[Row]) -> str:
    """The rows in markdown."""
    lines = ["| case | measured | beside it | target | met |", "| --- | --- | --- | --- | --- |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def names(given: str) -> list[str]:
    """Of cases, from the command line."""
    chosen = given.split(",")
    for name in chosen:
        if name not in CASES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(CASES)}")
    return chosen


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller, and fewer rounds")
    parser.add_argument("--transport", choices=["ipc", "tcp"], default="ipc")
    parser.add_argument("--cases", type=names, default=list(CASES), metavar="NAME,...", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, help="instead of what is usual")
    parser.add_argument("--write", action="store_true", help=f"renew the clusters' part of {RESULTS.name}")
    options = parser.parse_args(argv)
    size = QUICK if options.quick else FULL
    if options.rounds:
        size = Size(**{**vars(size), "rounds": options.rounds})
    # A plain kill ends the run as Ctrl-C does: through the code that ends every process.
    signal.signal(signal.SIGTERM, _end)
    facts = machine.facts()
    rows: list[Row] = []
    for name in options.cases:
        print(f"{name}: load {machine.load()}", file=sys.stderr, flush=True)
        rows += CASES[name](size, options.transport)
    told = "; ".join(f"{name}: {value}" for name, value in facts.items())
    text = f"By {options.transport}, {size.rounds} rounds; load at the end: {machine.load()}. {told}.\n\n{table(rows)}"
    print(text)
    if options.write:
        before = RESULTS.read_text(encoding="utf-8")
        if BEGIN not in before:
            before += f"\n## Clusters\n\n{BEGIN}\n{END}\n"
        head, _, rest = before.partition(BEGIN)
        date = time.strftime("%Y-%m-%d")
        part = f"{BEGIN}\n\nMeasured {date} by `benchmarks/cluster.py`. {text}\n\n{END}"
        RESULTS.write_text(head + part + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
