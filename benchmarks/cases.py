"""What is compared: each case is a row, with its unit and the targets it has to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import measures
from contestants import Entry
from measures import Sample, Size


@dataclass(frozen=True)
class Target:
    """A bound on a ratio (against another contestant, or the ideal), or on the figure itself."""

    against: Literal["stdlib", "echo", "ideal", "itself"]
    sense: Literal["at most", "at least"]
    bound: float

    def met(self, figure: float) -> bool:
        return figure <= self.bound if self.sense == "at most" else figure >= self.bound


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    unit: str  # "s", "B", "B/task", or a rate such as "tasks/s"
    measure: Callable[[Any, Entry, Size], Sample]
    targets: tuple[Target, ...]
    rounds: int = 11
    quick_rounds: int = 3
    fresh: bool = False  # a new process for every sample
    opens: bool = True  # `measure` gets an open contestant, not its opener; warmed by a sample unless fresh
    limit: float = 90.0  # seconds one sample may take
    ideal: float | None = None
    extra: tuple[str, ...] = ()  # contestants measured beside the two, in the same rounds


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case(
            "start",
            "start `Pool(2)` to first result, fork, imports apart",
            "s",
            measures.start,
            (Target("stdlib", "at most", 2.0),),
            rounds=15,
            quick_rounds=5,
            fresh=True,
            opens=False,
        ),
        Case(
            "apply",
            "`apply` no-op, p50",
            "s",
            measures.apply,
            (Target("stdlib", "at most", 0.9), Target("echo", "at most", 1.3)),
            extra=("echo",),
        ),
        Case(
            "submit",
            "20,000 `apply_async` no-ops, submitted and collected",
            "tasks/s",
            measures.many,
            (Target("stdlib", "at least", 5.0),),
        ),
        Case(
            "submit-int",
            "the same, with one small int there and back",
            "tasks/s",
            measures.many_int,
            (Target("stdlib", "at least", 5.0),),
        ),
        Case(
            "imap",
            "`imap_unordered(chunksize=1)`, 20,000",
            "tasks/s",
            measures.imap_unordered,
            (Target("stdlib", "at least", 4.0),),
        ),
        Case(
            "small-maps",
            "200 small maps of 100 items",
            "maps/s",
            measures.small_maps,
            (Target("stdlib", "at least", 1.2),),
        ),
        Case(
            "range",
            "`map(noop, range(200_000))`",
            "items/s",
            measures.map_range,
            (Target("stdlib", "at least", 1.3),),
        ),
        Case(
            "array",
            "`map(noop, array)`, 200,000 float64",
            "items/s",
            measures.map_array,
            (Target("stdlib", "at least", 8.0),),
        ),
        Case(
            "array-identity",
            "`map(identity, array)`, 200,000 float64",
            "items/s",
            measures.map_array_identity,
            (Target("stdlib", "at least", 8.0),),
        ),
        Case(
            "skewed",
            "200 items, the first 20 twenty times longer (20 ms, 1 ms)",
            "s",
            measures.skewed,
            (Target("ideal", "at most", 1.08),),
            ideal=sum(measures.SKEWED) / 2,
        ),
        Case(
            "queued",
            "memory per queued task, one million queued",
            "B/task",
            measures.queued,
            (Target("itself", "at most", 1024.0),),
            rounds=3,
            quick_rounds=1,
            fresh=True,
            limit=300.0,
        ),
        Case(
            "growth",
            "resident memory, growth with each further million tasks",
            "B",
            measures.growth,
            # Flat: one pointer kept for each task would be 8 MiB; less than half of it is the allocator's noise.
            (Target("itself", "at most", 4 * 2**20),),
            rounds=1,
            quick_rounds=1,
            fresh=True,
            limit=600.0,
        ),
    )
}

# The rows that mean something for libraries with other APIs.
PEER_CASES = ("start", "apply", "submit", "range", "array")
