"""Large arrays beside the standard library's Pool: to the engines, back, there and back, and in maps.

    python benchmarks/arrays.py             print the table
    python benchmarks/arrays.py --write     and renew the arrays' part of RESULTS.md
    python benchmarks/arrays.py --quick     fewer rounds
    python benchmarks/arrays.py --curve     from which size on shared memory is worth it

Two workers each. Rounds are interleaved: each asks both in turn, after rounds that do not count. A figure is the median
over the rounds, a ratio the median of the ratios within each round. "Cold" is the first use after a start, each time of
new pools.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy

import parpool

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN = "<!-- arrays.py: begin. What stands up to the end mark is written by `arrays.py --write`. -->"
END = "<!-- arrays.py: end -->"
WARM_UP = 4  #: rounds that do not count: both engines have seen the memory then

Row = tuple[str, str, str, str, str]


def total(array: Any) -> float:
    return float(array.sum())


def make(count: int) -> Any:
    return numpy.ones(count)


def echo(value: Any) -> Any:
    return value


def noop(*args: Any) -> None:
    pass


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compared(rounds: int, warm_up: int, work: Callable[[Any], object], ours: Any, theirs: Any) -> tuple[float, ...]:
    """Medians: seconds of ours, of theirs, and theirs over ours."""
    for _ in range(warm_up):
        work(ours)
    work(theirs)
    mine, others = [], []
    for _ in range(rounds):
        mine.append(seconds(lambda: work(ours)))
        others.append(seconds(lambda: work(theirs)))
    ratio = statistics.median(b / a for a, b in zip(mine, others, strict=True))
    return statistics.median(mine), statistics.median(others), ratio


def row(name: str, megabytes: float, figures: tuple[float, ...], target: float) -> Row:
    ours, theirs, ratio = figures
    shown = f"{ours * 1e3:.1f} ms ({megabytes / 1e3 / ours:.2f} GB/s)"
    beside = f"{theirs * 1e3:.1f} ms ({megabytes / 1e3 / theirs:.2f} GB/s)"
    return name, beside, shown, f"{ratio:.1f} × (at least {target:g})", "yes" if ratio >= target else "**no**"


def echoes(pool: Any, array: Any, count: int) -> None:
    for result in [pool.apply_async(echo, (array,)) for _ in range(count)]:
        result.get()


@contextmanager
def pools() -> Iterator[tuple[Any, Any]]:
    with multiprocessing.Pool(2) as theirs, parpool.Pool(2) as ours:
        yield ours, theirs


def cold(rounds: int, work: Callable[[Any], object]) -> tuple[float, ...]:
    mine, others = [], []
    for _ in range(rounds):
        with pools() as (ours, theirs):
            for pool in (ours, theirs):
                pool.apply(noop)
            mine.append(seconds(lambda pool=ours: work(pool)))  # type: ignore[misc]
            others.append(seconds(lambda pool=theirs: work(pool)))  # type: ignore[misc]
    ratio = statistics.median(b / a for a, b in zip(mine, others, strict=True))
    return statistics.median(mine), statistics.median(others), ratio


def table(rounds: int) -> list[Row]:
    large, middle = numpy.arange(8_000_000.0), numpy.arange(131_072.0)
    shared = parpool.share(large)
    items = [numpy.full(500_000, float(number)) for number in range(64)]
    few = max(3, rounds // 3)
    rows: list[Row] = []
    with pools() as (ours, theirs):
        for name, megabytes, work, target, times in (
            ("64 MB to an engine: `apply(total, (a,))`", 64.0, lambda p: p.apply(total, (large,)), 20, rounds),
            (
                "64 MB that are shared: `apply(total, (share(a),))`",
                64.0,
                lambda p: p.apply(total, (shared,)),
                20,
                rounds,
            ),
            ("64 MB back: `apply(make, (n,))`", 64.0, lambda p: p.apply(make, (8_000_000,)), 15, rounds),
            ("100 echoes of 1 MiB, asynchronous", 209.7, lambda p: echoes(p, middle, 100), 10, rounds),
            ("`map` of 64 items of 4 MB, in and out", 512.0, lambda p: p.map(echo, items), 8, few),
        ):
            rows.append(row(name, megabytes, compared(times, WARM_UP, work, ours, theirs), target))
    rows.append(row("cold: 64 MB to an engine", 64.0, cold(few, lambda p: p.apply(total, (large,))), 1))
    rows.append(row("cold: 64 MB back", 64.0, cold(few, lambda p: p.apply(make, (8_000_000,))), 1))
    rows.append(row("cold: 20 echoes of 1 MiB, asynchronous", 41.9, cold(few, lambda p: echoes(p, middle, 20)), 1))
    return rows


def curve(rounds: int) -> list[tuple[str, str, str, str]]:
    """There and back by shared memory and without it, by size."""
    os.environ["PARPOOL_SHM_THRESHOLD"] = "1"
    rows = []
    with parpool.Pool(2) as shared:
        os.environ["PARPOOL_SHM_MAX"] = "0"
        with parpool.Pool(2) as alone:
            for size in (2**power for power in range(14, 23)):
                array = numpy.zeros(size // 8)
                times = max(20, min(200, 2**24 // size))
                figures = compared(rounds, 2, lambda pool, a=array, n=times: one_by_one(pool, a, n), shared, alone)  # type: ignore[misc]
                many = compared(rounds, 2, lambda pool, a=array, n=times: echoes(pool, a, n), shared, alone)  # type: ignore[misc]
                rows.append(
                    (
                        f"{size >> 10} KiB",
                        f"{figures[0] / times * 1e6:.0f} / {figures[1] / times * 1e6:.0f} µs",
                        f"{many[0] / times * 1e6:.0f} / {many[1] / times * 1e6:.0f} µs",
                        f"{figures[2]:.2f}, {many[2]:.2f}",
                    )
                )
                print(rows[-1], flush=True)
    del os.environ["PARPOOL_SHM_MAX"], os.environ["PARPOOL_SHM_THRESHOLD"]
    return rows


def one_by_one(pool: Any, array: Any, count: int) -> None:
    for _ in range(count):
        pool.apply(echo, (array,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--curve", action="store_true", help="only the curve")
    parser.add_argument("--write", action="store_true", help=f"renew the arrays' part of {RESULTS.name}")
    options = parser.parse_args()
    rounds = 5 if options.quick else 15
    if options.curve:
        lines = [
            "| size | `apply`: shared / sent | asynchronous: shared / sent | ratios |",
            "| --- | --- | --- | --- |",
        ]
        lines += ["| " + " | ".join(each) + " |" for each in curve(rounds)]
        print("\n".join(lines))
        return
    lines = ["| case | the stdlib | parpool | ratio | met |", "| --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(each) + " |" for each in table(rounds)]
    shown = "\n".join(lines)
    print(shown)
    if options.write:
        text = RESULTS.read_text()
        if BEGIN not in text:
            text += f"\n## Large arrays\n\n{BEGIN}\n{END}\n"
        before, _, rest = text.partition(BEGIN)
        load = os.getloadavg()[0]
        told = (
            f"Measured {time.strftime('%Y-%m-%d')} by `benchmarks/arrays.py`, {rounds} interleaved rounds, two workers "
            f"each, numpy {numpy.__version__}. The load of the machine was {load:.1f} on {os.cpu_count()} cores at the end."
        )
        RESULTS.write_text(f"{before}{BEGIN}\n\n{told}\n\n{shown}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
