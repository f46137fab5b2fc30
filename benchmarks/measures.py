"""How each case is measured: a function from an open contestant to one sample.

They run in the contestant's own process (`measured`); the driver (`contest`) calls the contestants in turn,
round after round.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import workload
from contestants import Contestant, Entry


@dataclass(frozen=True)
class Size:
    """How much of it: `--quick` shortens what takes minutes."""

    million: int = 1_000_000
    applies: int = 2_000


FULL, QUICK = Size(), Size(million=100_000, applies=500)


@dataclass(frozen=True)
class Sample:
    value: float
    detail: str = ""


def timed(work: Callable[[], object]) -> float:
    """Seconds `work` takes, with earlier garbage out of the way and its result kept until the clock stops."""
    gc.collect()
    start = time.perf_counter()
    result = work()
    elapsed = time.perf_counter() - start
    del result
    return elapsed


def rate(count: int, work: Callable[[], object]) -> Sample:
    """Things a second; what is over in a moment is done again, and the median taken."""
    times = [timed(work)]
    while len(times) < 5 and sum(times) < 0.2:
        times.append(timed(work))
    return Sample(count / statistics.median(times))


# --- latency ------------------------------------------------------------------------------------------


def start(opener: Callable[[], Contestant], entry: Entry, size: Size) -> Sample:
    """From nothing (imports done) to the first result. The only case that is handed the opener."""
    opened: list[Contestant] = []

    def first_result() -> None:
        opened.append(opener())
        opened[0].apply(workload.noop)

    try:
        return Sample(timed(first_result))
    finally:
        for contestant in opened:
            contestant.close()


def apply(contestant: Contestant, entry: Entry, size: Size) -> Sample:
    gc.collect()
    times = []
    for _ in range(min(size.applies, entry.tasks)):
        begin = time.perf_counter()
        contestant.apply(workload.noop)
        times.append(time.perf_counter() - begin)
    return Sample(statistics.median(times))


# --- many small tasks ---------------------------------------------------------------------------------


def many(contestant: Contestant, entry: Entry, size: Size) -> Sample:
    return rate(entry.tasks, lambda: contestant.many(workload.noop, entry.tasks))


def many_int(contestant: Any, entry: Entry, size: Size) -> Sample:
    def work() -> None:
        submit = contestant.pool.apply_async
        results = [submit(workload.identity, (number,)) for number in range(entry.tasks)]
        for number, result in enumerate(results):
            if result.get() != number:
                raise AssertionError("a wrong result")

    return rate(entry.tasks, work)


def imap_unordered(contestant: Any, entry: Entry, size: Size) -> Sample:
    def work() -> None:
        got = 0
        for _ in contestant.pool.imap_unordered(workload.noop, range(entry.tasks), chunksize=1):
            got += 1
        if got != entry.tasks:
            raise AssertionError(f"{got} results of {entry.tasks}")

    return rate(entry.tasks, work)


# --- maps ---------------------------------------------------------------------------------------------


def small_maps(contestant: Contestant, entry: Entry, size: Size) -> Sample:
    items = list(range(100))

    def work() -> None:
        for _ in range(200):
            contestant.map(workload.noop, items)

    return rate(200, work)


def map_range(contestant: Contestant, entry: Entry, size: Size) -> Sample:
    return mapped(contestant, workload.noop, range(entry.items))


def map_array(contestant: Contestant, entry: Entry, size: Size) -> Sample:
    return mapped(contestant, workload.noop, floats(entry.items))


def map_array_identity(contestant: Contestant, entry: Entry, size: Size) -> Sample:
    return mapped(contestant, workload.identity, floats(entry.items))


def floats(count: int) -> Any:
    import numpy

    return numpy.arange(count, dtype=numpy.float64)


def mapped(contestant: Contestant, function: Callable[..., Any], items: Any) -> Sample:
    def work() -> list[Any]:
        results = contestant.map(function, items)
        # A library that calls the function once for a whole chunk has done something else.
        if len(results) != len(items):
            raise AssertionError(f"{len(results)} results for {len(items)} items")
        return results

    return rate(len(items), work)


SKEWED = [0.020] * 20 + [0.001] * 180


def skewed(contestant: Contestant, entry: Entry, size: Size) -> Sample:
    return Sample(timed(lambda: contestant.map(workload.sleep, SKEWED)))


# --- memory -------------------------------------------------------------------------------------------


def resident(root: int | None = None) -> int:
    """Bytes resident in a process and all it started. Only differences of it mean anything, since forked
    processes share pages."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        parents.setdefault(int(after_name[1]), []).append(int(folder.name))
    total, waiting = 0, [root or os.getpid()]
    while waiting:
        process = waiting.pop()
        waiting.extend(parents.get(process, ()))
        try:
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except OSError:
            continue
    return total * os.sysconf("SC_PAGE_SIZE")


def queued(contestant: Any, entry: Entry, size: Size) -> Sample:
    """Bytes for each task that waits while every worker is held, the caller's AsyncResult included."""
    submit = contestant.pool.apply_async
    contestant.pool.map(workload.identity, range(1_000), chunksize=1)
    with tempfile.TemporaryDirectory(prefix="held-") as folder:
        holders = [submit(workload.hold, (folder, number)) for number in range(2)]
        end = time.monotonic() + 10
        while len(list(Path(folder).glob("held-*"))) < len(holders):
            if time.monotonic() > end:
                raise AssertionError("the two holding tasks do not run at the same time")
            time.sleep(0.01)
        gc.collect()
        before = resident()
        results = [submit(workload.identity, (number,)) for number in range(size.million)]
        time.sleep(0.5)  # feeding threads settle
        used = resident() - before
        # Ended while they wait: how long a million tasks take is another case.
        contestant.pool.terminate()
        detail = f"{used / 2**20:,.0f} MiB for {len(results):,} tasks"
    return Sample(used / size.million, detail)


def growth(contestant: Any, entry: Entry, size: Size) -> Sample:
    """Bytes of growth with each further million tasks, after the first."""
    piece = 10_000
    after = []
    for _ in range(3):
        for _ in range(size.million // (2 * piece)):
            for result in [contestant.pool.apply_async(workload.identity, (n,)) for n in range(piece)]:
                result.get()
            for _ in contestant.pool.imap_unordered(workload.identity, range(piece), chunksize=1):
                pass
        gc.collect()
        after.append(resident())
    steps = " → ".join(f"{bytes_ / 2**20:.1f}" for bytes_ in after)
    return Sample((after[2] - after[0]) / 2, f"{steps} MiB, all processes")
