"""Which scheduler of a cluster a task goes to."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from parpool.core.shares import Shares


def shares(engines: list[int]) -> Shares:
    made = Shares(len(engines))
    made.served(number + made.count * each for number, n in enumerate(engines) for each in range(n))
    assert made.engines == engines
    return made


def dealt(made: Shares, tasks: int, targets: list[int] | None = None) -> list[int]:
    """How many of so many tasks each gets, where none ends."""
    for _ in range(tasks):
        number = made.choose(targets)
        assert number is not None
        made.load[number] += 1
    return made.load


def test_by_how_many_engines_each_has() -> None:
    assert dealt(shares([2, 2]), 100) == [50, 50]
    assert dealt(shares([1, 3]), 100) == [25, 75]
    assert dealt(shares([4, 0, 4]), 100) == [50, 0, 50]


def test_those_that_are_equal_take_turns() -> None:
    made = shares([2, 2, 2])
    assert Counter(made.choose() for _ in range(300)) == {0: 100, 1: 100, 2: 100}


def test_what_is_under_way_counts() -> None:
    made = shares([2, 2])
    made.load = [7, 3]
    assert [made.choose() for _ in range(5)] == [1] * 5
    assert dealt(made, 10) == [10, 10]


def test_targets_of_one() -> None:
    made = shares([2, 2])
    assert [made.choose([id]) for id in range(4)] == [0, 1, 0, 1]
    assert made.choose([1, 3], near=[0]) == 1
    made.gone.add(1)
    assert made.choose([1, 3]) == 1, "where it is told that they are gone"


def test_targets_of_several() -> None:
    assert dealt(shares([2, 2]), 90, [0, 2, 1]) == [60, 30]
    assert dealt(shares([2, 2]), 90, [0, 1]) == [45, 45]
    made = shares([2, 2])
    made.gone.add(0)
    assert made.choose([0, 1]) == 1


def test_near_what_it_depends_on() -> None:
    made = shares([2, 2, 2])
    made.load = [0, 9, 9]
    assert made.choose(near=[1, 2, 2]) == 2
    assert made.choose([0, 1], near=[2, 2, 1]) == 1
    assert made.choose([0, 3], near=[2]) == 0
    made.gone.add(2)
    assert made.choose(near=[2]) == 0
    assert shares([2, 0]).choose(near=[1]) == 0, "no engine is there that could run it"


def test_no_engine_is_there() -> None:
    made = shares([0, 0])
    assert made.choose() is None
    assert made.choose([1]) == 1, "the scheduler says what it says of engines that are not there"
    assert made.choose(frozenset()) == 0


def test_the_last_one() -> None:
    made = shares([1, 1])
    made.gone = {1}
    assert dealt(made, 10) == [10, 0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 200))
def test_shares_are_even(engines: list[int], tasks: int) -> None:
    made = shares(engines)
    if not any(engines):
        assert made.choose() is None
        return
    load = dealt(made, tasks)
    ideal = [tasks * n / sum(engines) for n in engines]
    assert all(abs(got - fair) <= 1 + len(engines) for got, fair in zip(load, ideal, strict=True))
    assert all(not got for got, n in zip(load, engines, strict=True) if not n)
