"""What engines run in `arrays.py`, and how it is timed."""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy

import parpool

WARM_UP = 4  #: rounds that do not count: both engines have seen the memory then


def total(array: Any) -> float:
    return float(array.sum())


def last(dates: Any) -> Any:
    return dates.max()


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


class Figures(NamedTuple):
    """Medians: seconds of ours, of theirs, and theirs over ours."""

    ours: float
    theirs: float
    ratio: float


def compared(
    rounds: int, warm_up: int, ours: Callable[[], object], theirs: Callable[[], object], warm_up_theirs: int = 1
) -> Figures:
    """Both in turn, the one and the other first."""
    for _ in range(warm_up):
        ours()
    for _ in range(warm_up_theirs):
        theirs()
    pairs = []
    for number in range(rounds):
        if number % 2:
            after = seconds(theirs)
            pairs.append((seconds(ours), after))
        else:
            pairs.append((seconds(ours), seconds(theirs)))
    return figures(pairs)


def figures(pairs: Sequence[tuple[float, float]]) -> Figures:
    return Figures(
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(b / a for a, b in pairs),
    )


@contextmanager
def pools(workers: int = 2) -> Iterator[tuple[Any, Any]]:
    """Ours, and the standard library's."""
    with multiprocessing.Pool(workers) as theirs, parpool.Pool(workers) as ours:
        yield ours, theirs


class Row(NamedTuple):
    """A line of a table."""

    case: str
    beside: str  #: what parpool stands beside
    ours: str
    ratio: str
    met: str

    def __str__(self) -> str:
        return "| " + " | ".join(self) + " |"


def row(case: str, megabytes: float, found: Figures, target: float) -> Row:
    """A ratio that is to be at least so much."""
    beside, shown = (f"{each * 1e3:.1f} ms ({megabytes / 1e3 / each:.2f} GB/s)" for each in (found.theirs, found.ours))
    met = "yes" if found.ratio >= target else "**no**"
    return Row(case, beside, shown, f"{found.ratio:.1f} × (at least {target:g})", met)


def at_most(case: str, beside: str, shown: str, ratio: float, target: float) -> Row:
    """A ratio that is to be no more than so much."""
    return Row(case, beside, shown, f"{ratio:.2f} × (at most {target:g})", "yes" if ratio <= target else "**no**")
