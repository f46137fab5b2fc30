"""Placement policies."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from world import CheckedTask, World

from parpool.core.choose import DRAWING, POLICIES, policy
from parpool.core.scheduler import Scheduler
from parpool.core.state import Engine, Task


def engines(*loads: float) -> list[Engine]:
    made = []
    for id, load in enumerate(loads):
        engine = Engine(id, None, 0.0)
        engine.load = load
        if load:
            engine.held = {n: Task(n) for n in range(int(load * 1000))}
        made.append(engine)
    return made


def test_least_load() -> None:
    assert policy("leastload", None)(engines(0.003, 0.001, 0.002), None).id == 1
    assert policy("leastload", None)(engines(0.0, 0.0), None).id == 0, "the longest idle"


def test_lru() -> None:
    assert policy("lru", None)(engines(0.003, 0.001), None).id == 0


@pytest.mark.parametrize("name", sorted(DRAWING))
def test_policies_that_draw(name: str) -> None:
    choose, rng = policy(name, Random(1)), Random(1)
    drawn = Counter(choose(engines(0.001, 0.008, 0.002), rng).id for _ in range(600))
    assert len(drawn) == 3 or name == "twobin"
    if name != "plainrandom":
        assert drawn[0] > drawn[1]


@pytest.mark.parametrize("name", sorted(DRAWING))
def test_a_policy_that_draws_needs_a_source(name: str) -> None:
    with pytest.raises(ValueError, match="rng"):
        Scheduler(name)


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(ValueError, match="'best'"):
        Scheduler("best")


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_gets_everything_done_the_same_way_twice(name: str) -> None:
    def run() -> dict[tuple[int, int], tuple[int, int | None]]:
        world = World(Scheduler(name, Random(3)))
        for id in range(4):
            world.join(id)
        world.submit(*(CheckedTask(n, b"f") for n in range(60)))
        world.settle()
        world.assert_over()
        return world.outcomes

    assert run() == run()
