"""Placement policies: from a small view of the engines with room to the one that gets the next work.

Plain functions, chosen by name. An engine asks for work by having room, so a policy decides only among those; under
full load there is one such engine at a time and every policy is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from .state import Engine

Policy = Callable[[Sequence[Engine], Random], Engine]


def least_load(engines: Sequence[Engine], rng: Random) -> Engine:
    """The one with the least expected work; the longest idle of several."""
    return min(engines, key=_burden)


def lru(engines: Sequence[Engine], rng: Random) -> Engine:
    """The one that was given work the longest ago."""
    return engines[0]


def random(engines: Sequence[Engine], rng: Random) -> Engine:
    """Any, with equal chances."""
    return engines[rng.randrange(len(engines))]


def two_choices(engines: Sequence[Engine], rng: Random) -> Engine:
    """The less loaded of two drawn at random (Mitzenmacher, The Power of Two Choices, 2001)."""
    return min((random(engines, rng), random(engines, rng)), key=_burden)


def weighted(engines: Sequence[Engine], rng: Random) -> Engine:
    """Drawn with chances that shrink with the work an engine holds."""
    return rng.choices(engines, [1.0 / (1 + len(e.held)) for e in engines])[0]


def _burden(engine: Engine) -> tuple[float, int]:
    return engine.load, len(engine.held)


POLICIES: dict[str, Policy] = {
    "leastload": least_load,
    "lru": lru,
    "plainrandom": random,
    "twobin": two_choices,
    "weighted": weighted,
}
