"""Large arrays beside the standard library's Pool: to the engines, back, there and back, and in maps.

    python benchmarks/arrays.py             print the tables
    python benchmarks/arrays.py --write     and renew the arrays' part of RESULTS.md, and the figure in the manual
    python benchmarks/arrays.py --quick     fewer rounds
    python benchmarks/arrays.py --curve     only: from which size on shared memory is worth it
    python benchmarks/arrays.py --peers     only: beside Ray and Dask, where they are installed

Two workers each. Rounds are interleaved: each asks both in turn, the one and the other first, after rounds that do not
count. A figure is the median over the rounds, a ratio the median of the ratios within each round. "Cold" is the first use
after a start, each time of new pools.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arrays_curve
import arrays_more
import arrays_peers
import numpy
from arrays_tasks import WARM_UP, Figures, Row, compared, echo, figures, last, make, noop, pools, row, seconds, total

import parpool

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN = "<!-- arrays.py: begin. What stands up to the end mark is written by `arrays.py --write`. -->"
END = "<!-- arrays.py: end -->"
HEAD = ["| case | beside it | parpool | ratio | met |", "| --- | --- | --- | --- | --- |"]


def echoes(pool: Any, array: Any, count: int) -> None:
    for result in [pool.apply_async(echo, (array,)) for _ in range(count)]:
        result.get()


def cold(rounds: int, work: Callable[[Any], object]) -> Figures:
    pairs = []
    for _ in range(rounds):
        with pools() as (ours, theirs):
            for pool in (ours, theirs):
                pool.apply(noop)
            pairs.append((seconds(lambda pool=ours: work(pool)), seconds(lambda pool=theirs: work(pool))))  # type: ignore[misc]
    return figures(pairs)


def table(rounds: int) -> list[Row]:
    """Beside the standard library."""
    large, middle = numpy.arange(8_000_000.0), numpy.arange(131_072.0)
    shared, dates = parpool.share(large), numpy.arange(8_000_000).astype("M8[s]")
    items = [numpy.full(500_000, float(number)) for number in range(64)]
    few = max(3, rounds // 3)
    cases: list[tuple[str, float, Callable[[Any], object], float, int]] = [
        ("64 MB to an engine: `apply(total, (a,))`", 64.0, lambda p: p.apply(total, (large,)), 20, rounds),
        ("64 MB that are shared: `apply(total, (share(a),))`", 64.0, lambda p: p.apply(total, (shared,)), 20, rounds),
        ("64 MB of dates: `apply(last, (dates,))`", 64.0, lambda p: p.apply(last, (dates,)), 20, rounds),
        ("64 MB back: `apply(make, (n,))`", 64.0, lambda p: p.apply(make, (8_000_000,)), 15, rounds),
        ("100 echoes of 1 MiB, asynchronous", 209.7, lambda p: echoes(p, middle, 100), 10, rounds),
        ("`map` of 64 items of 4 MB, in and out", 512.0, lambda p: p.map(echo, items), 8, few),
    ]
    rows = []
    with pools() as (ours, theirs):
        for case, megabytes, work, target, times in cases:
            found = compared(times, WARM_UP, lambda w=work: w(ours), lambda w=work: w(theirs))  # type: ignore[misc]
            rows.append(told(row(case, megabytes, found, target)))
    for case, megabytes, work in (
        ("cold: 64 MB to an engine", 64.0, lambda p: p.apply(total, (large,))),
        ("cold: 64 MB back", 64.0, lambda p: p.apply(make, (8_000_000,))),
        ("cold: 20 echoes of 1 MiB, asynchronous", 41.9, lambda p: echoes(p, middle, 20)),
    ):
        rows.append(told(row(case, megabytes, cold(few, work), 1)))
    return rows


def told(row: Row) -> Row:
    print(row, flush=True)
    return row


def peers(rounds: int) -> list[Row]:
    """Beside other libraries."""
    if not arrays_peers.installed():
        return []
    with parpool.Pool(2) as pool:
        return arrays_peers.rows(rounds, pool, numpy.arange(8_000_000.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--curve", action="store_true", help="only the curve")
    parser.add_argument("--peers", action="store_true", help="only the rows of Ray and Dask")
    parser.add_argument(
        "--write", action="store_true", help=f"renew the arrays' part of {RESULTS.name}, and the figure"
    )
    options = parser.parse_args()
    rounds = 5 if options.quick else 15
    if options.curve:
        points = arrays_curve.points(rounds)
        print(arrays_curve.table(points))
        if options.write:
            arrays_curve.write(points)
        return
    begin = os.getloadavg()[0]
    print("\n".join(HEAD))
    if options.peers:
        peers(rounds)
        return
    rows = table(rounds)
    rows += [told(each) for each in arrays_more.pushes(rounds)]
    rows += peers(rounds)
    rows += [told(each) for each in arrays_more.small_calls(max(4, rounds - 3))]
    rows += [told(each) for each in arrays_more.memory()]
    points = arrays_curve.points(rounds)
    curve = arrays_curve.table(points)
    print("\n" + curve)
    if options.write:
        arrays_curve.write(points)
        write(rounds, begin, "\n".join([*HEAD, *map(str, rows)]), curve)


def write(rounds: int, load: float, shown: str, curve: str) -> None:
    text = RESULTS.read_text(encoding="utf-8")
    if BEGIN not in text:
        text += f"\n## Large arrays\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    about = (
        f"Measured {time.strftime('%Y-%m-%d')} by `benchmarks/arrays.py`, {rounds} interleaved rounds, two workers each, "
        f"numpy {numpy.__version__}. The load of the machine was {load:.1f} on {os.cpu_count()} cores at the beginning.\n\n"
        "What stands in the second column is the standard library where no other is named. A push has ended when all "
        "engines have said that the name is set; they have mapped the memory then, and read it when they use it."
    )
    also = (
        "From which size on shared memory is worth it: calls with an array there and back, one after the other, and all "
        "at once, by shared memory (whatever the size) and in messages. The last column is how many times faster it is."
    )
    part = f"{BEGIN}\n\n{about}\n\n{shown}\n\n{also}\n\n{curve}\n\n{END}"
    RESULTS.write_text(f"{before}{part}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
