"""Views beside the Pool over the same kind of engines, and beside ipyparallel where it is installed.

    python benchmarks/views.py            print the table
    python benchmarks/views.py --write    and renew the views' part of RESULTS.md
    python benchmarks/views.py --quick    fewer rounds

Rounds are interleaved: each asks every contestant in turn. A figure is the median over the rounds; a ratio is the
median of the ratios within each round.
"""

from __future__ import annotations

import argparse
import gc
import os
import pickle
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import workload

import parpool

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN = "<!-- views.py: begin. What stands up to the end mark is written by `views.py --write`. -->"
END = "<!-- views.py: end -->"

Row = tuple[str, str, str, str, str]


def p50(call: Callable[[], object], times: int) -> float:
    """Median seconds of a call."""
    gc.collect()
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def interleaved(rounds: int, *measures: Callable[[], float]) -> list[list[float]]:
    """Samples of each measure: one of each a round, after one round that does not count."""
    samples: list[list[float]] = [[] for _ in measures]
    for number in range(rounds + 1):
        for measure, taken in zip(measures, samples, strict=True):
            value = measure()
            if number:
                taken.append(value)
    return samples


def ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def verdict(met: bool) -> str:
    return "yes" if met else "**no**"


def collect(submit: Callable[..., Any], count: int) -> None:
    for result in [submit(workload.noop) for _ in range(count)]:
        result.get()


def latency(pool: parpool.Pool, rounds: int) -> Row:
    view = pool.client.load_balanced_view()
    ours, theirs = interleaved(
        rounds,
        lambda: p50(lambda: view.apply_sync(workload.noop), 500),
        lambda: p50(lambda: pool.apply(workload.noop), 500),
    )
    factor = ratio(ours, theirs)
    shown = f"{statistics.median(ours) * 1e6:.0f} µs; Pool.apply {statistics.median(theirs) * 1e6:.0f} µs"
    return (
        "LoadBalancedView `apply_sync`, p50",
        shown,
        f"{factor:.2f} × Pool.apply",
        "at most 1.15",
        verdict(factor <= 1.15),
    )


def rate(pool: parpool.Pool, rounds: int) -> Row:
    view = pool.client.load_balanced_view()
    ours, theirs = interleaved(
        rounds,
        lambda: seconds(lambda: collect(view.apply_async, 20_000)),
        lambda: seconds(lambda: collect(pool.apply_async, 20_000)),
    )
    factor = ratio(theirs, ours)
    shown = f"{20 / statistics.median(ours):.0f} k tasks/s; Pool {20 / statistics.median(theirs):.0f} k tasks/s"
    return "20,000 `apply_async`", shown, f"{factor:.2f} of Pool's rate", "at least 0.8", verdict(factor >= 0.8)


def direct(pool16: parpool.Pool, pool: parpool.Pool, rounds: int) -> Row:
    view = pool16.client[:]
    ours, theirs = interleaved(
        rounds,
        lambda: p50(lambda: view.apply_sync(workload.noop), 100),
        lambda: p50(lambda: pool.apply(workload.noop), 200),
    )
    figure, beside = statistics.median(ours), statistics.median(theirs)
    limit = 0.006 * max(1.0, beside / 0.00013)  # 6 ms in a run where Pool.apply takes 0.13 ms
    shown = f"{figure * 1e3:.2f} ms; Pool.apply {beside * 1e3:.3f} ms"
    return (
        "DirectView `apply_sync` on 16 engines, p50",
        shown,
        "",
        f"at most {limit * 1e3:.1f} ms",
        verdict(figure <= limit),
    )


class Counted:
    """Pickles as its data, and counts how often."""

    pickled = 0

    def __init__(self) -> None:
        self.data = os.urandom(100_000)

    def __reduce__(self) -> tuple[Any, ...]:
        Counted.pickled += 1
        return bytes, (self.data,)


def push(pool16: parpool.Pool, rounds: int) -> Row:
    view, value = pool16.client[:], Counted()
    begin = Counted.pickled
    taken = [seconds(lambda: view.push({"value": value}, block=True)) for _ in range(rounds)]
    times = (Counted.pickled - begin) / rounds
    shown = f"{statistics.median(taken) * 1e3:.1f} ms"
    return "push of 100 kB to 16 engines", shown, f"pickled {times:g} times", "once", verdict(times == 1)


def chain(pool: parpool.Pool, rounds: int) -> Row:
    view = pool.client.load_balanced_view()

    def run() -> None:
        last = view.apply_async(workload.noop)
        for _ in range(1_999):
            with view.temp_flags(after=last):
                last = view.apply_async(workload.noop)
        last.get()

    taken = [seconds(run) for _ in range(rounds)]
    figure = 2_000 / statistics.median(taken)
    return "chain of 2,000 `after` tasks", f"{figure / 1e3:.1f} k tasks/s", "", "at least 5 k", verdict(figure >= 5_000)


def dag(pool: parpool.Pool, rounds: int) -> Row:
    view = pool.client.load_balanced_view()
    rng = random.Random(7)
    parents = [sorted({rng.randrange(node) for _ in range(3)}) if node else [] for node in range(10_000)]
    edges = sum(map(len, parents))

    def run() -> None:
        results: list[Any] = []
        for before in parents:
            with view.temp_flags(after=[results[node] for node in before]):
                results.append(view.apply_async(workload.noop))
        for result in results:
            result.get()

    taken = [seconds(run) for _ in range(rounds)]
    figure = 10_000 / statistics.median(taken)
    name = f"DAG of 10,000 nodes and {edges:,} edges"
    return name, f"{figure / 1e3:.1f} k tasks/s", "", "at least 5 k", verdict(figure >= 5_000)


def ipyparallel() -> list[Row]:
    """The same on ipyparallel, in a process of its own; nothing where it is not installed."""
    code = Path(__file__).with_name("views_ipyparallel.py")
    try:
        import ipyparallel as installed
    except ImportError:
        return []
    done = subprocess.run([sys.executable, code], capture_output=True, timeout=600, check=False)
    if done.returncode:
        return [(f"ipyparallel {installed.__version__}", "failed: " + done.stderr.decode().strip()[-100:], "", "", "")]
    rows: list[Row] = []
    for name, figure in pickle.loads(done.stdout):
        rows.append((f"{name} (ipyparallel {installed.__version__})", figure, "", "", ""))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--write", action="store_true", help=f"renew the views' part of {RESULTS.name}")
    options = parser.parse_args()
    rounds = 3 if options.quick else 11
    rows: list[Row] = []
    with parpool.Pool(2) as pool:
        rows += [latency(pool, rounds), rate(pool, rounds), chain(pool, rounds), dag(pool, min(rounds, 5))]
        with parpool.Pool(16) as pool16:
            rows += [direct(pool16, pool, rounds), push(pool16, rounds)]
    rows += ipyparallel()
    lines = ["| case | measured | ratio | target | met |", "| --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    table = "\n".join(lines)
    print(table)
    if options.write:
        text = RESULTS.read_text()
        if BEGIN not in text:
            text += f"\n## Views\n\n{BEGIN}\n{END}\n"
        before, _, rest = text.partition(BEGIN)
        date = time.strftime("%Y-%m-%d")
        told = f"Measured {date} by `benchmarks/views.py`, {rounds} interleaved rounds, embedded, two engines but where it says 16."
        RESULTS.write_text(f"{before}{BEGIN}\n\n{told}\n\n{table}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
