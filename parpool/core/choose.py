"""Placement policies: from a small view of the engines with room to the one that gets the next work.

Plain functions, chosen by name. An engine asks for work by having room, so a policy decides only among those; under
full load there is one such engine at a time and every policy is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from .state import Engine

if TYPE_CHECKING:
    from random import Random

Policy: TypeAlias = "Callable[[Sequence[Engine], Random | None], Engine]"


def least_load(engines: Sequence[Engine], rng: Random | None) -> Engine:
    """The one with the least expected work; the longest idle of several."""
    first = engines[0]
    if not first.held:
        return first  # none has less
    return min(engines, key=_burden)


def lru(engines: Sequence[Engine], rng: Random | None) -> Engine:
    """The one that was given work the longest ago."""
    return engines[0]


def plain_random(engines: Sequence[Engine], rng: Random | None) -> Engine:
    """Any, with equal chances."""
    assert rng is not None
    return engines[rng.randrange(len(engines))]


def two_choices(engines: Sequence[Engine], rng: Random | None) -> Engine:
    """The less loaded of two drawn at random (Mitzenmacher, The Power of Two Choices, 2001)."""
    return min((plain_random(engines, rng), plain_random(engines, rng)), key=_burden)


def weighted(engines: Sequence[Engine], rng: Random | None) -> Engine:
    """Drawn with chances that shrink with the work an engine holds."""
    assert rng is not None
    return rng.choices(engines, [1.0 / (1 + len(e.held)) for e in engines])[0]


def _burden(engine: Engine) -> tuple[float, int]:
    return engine.load, len(engine.held)


POLICIES: dict[str, Policy] = {
    "leastload": least_load,
    "lru": lru,
    "plainrandom": plain_random,
    "twobin": two_choices,
    "weighted": weighted,
}

DRAWING = frozenset({"plainrandom", "twobin", "weighted"})  #: those that need a source of random numbers


def policy(name: str, rng: Random | None) -> Policy:
    """The policy of this name. Raises ValueError where there is none, or where it draws and has nothing to draw from."""
    if name not in POLICIES:
        raise ValueError(f"no placement policy is called {name!r}; there are {', '.join(POLICIES)}")
    if rng is None and name in DRAWING:
        raise ValueError(f"the placement policy {name!r} draws at random: give it rng, a random.Random")
    return POLICIES[name]
