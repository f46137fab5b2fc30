"""When tasks are taken back from one scheduler for another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parpool.core.moves import LATER, LONGEST, SOON, Moves, Standing, portion


def there(engines: list[int], work: list[int]) -> dict[int, Standing]:
    return dict(enumerate(zip(engines, work, strict=True)))


def plan(engines: list[int], work: list[int], after: float = 60.0) -> list[tuple[int, int]]:
    """What is to be done, where it has been so for long."""
    made, found = Moves(), there(engines, work)
    assert made.look(100.0, found) == [], "it may pass"
    return made.look(100.0 + after, found)


def test_nothing_is_uneven() -> None:
    for work in ([2, 2], [9, 9], [2, 7], [0, 0]):
        made = Moves()
        assert not made.look(0.0, there([2, 2], work)) and not made.look(60.0, there([2, 2], work)) and made.due is None


def test_engines_that_have_nothing_to_do() -> None:
    assert plan([2, 2], [0, 10]) == [(0, 1)]
    assert plan([1, 3], [9, 1]) == [(1, 0)]
    assert plan([4, 0], [0, 6]) == [(0, 1)], "there is none for them where they are"
    assert plan([1, 1], [0, 2]) == [(0, 1)]


def test_the_fullest_is_asked_first_and_for_the_emptiest() -> None:
    assert plan([2, 2, 2], [6, 1, 12]) == [(1, 2), (1, 0)]
    assert plan([2, 3, 1], [0, 0, 9]) == [(1, 2), (0, 2)]


def test_how_much() -> None:
    assert portion((2, 10), (2, 0)) == 5
    assert portion((1, 9), (3, 1)) == 6
    assert portion((0, 6), (4, 0)) == 6, "there is no engine for it where it is"
    assert portion((1, 2), (1, 0)) == 1
    assert portion((2, 12), (2, 1)) == 5
    assert portion((4, 3), (1, 0)) == 2, "none may wait"


@given(st.integers(0, 50), st.integers(1, 10_000), st.integers(1, 50), st.integers(0, 49))
def test_what_goes_is_there_and_does_not_come_back(engines: int, work: int, others: int, theirs: int) -> None:
    if theirs >= others:
        return
    goes = portion((engines, work), (others, theirs))
    assert 1 <= goes <= work
    if work > engines:
        left, there = work - goes, theirs + goes
        assert left * others >= (there - 1) * engines, "else it would be the other way round"


def test_soon_and_then_less_and_less_often() -> None:
    made, found = Moves(), there([1, 1], [0, 2])
    assert made.look(0.0, found) == [] and made.due == SOON
    now, times = 0.0, []
    while now < 200:
        assert made.due is not None
        now = made.due
        if made.look(now, found):
            times.append(now)
    pauses = [after - before for before, after in zip(times, times[1:], strict=False)]
    pauses = [round(each, 6) for each in pauses]
    assert times[0] == SOON and pauses == sorted(pauses) and pauses[-1] == LONGEST and len(times) < 25
    assert made.long
    made.came()
    assert not made.look(now, found) and made.due == now + SOON and not made.long


def test_what_may_have_no_better_place_is_asked_for_later() -> None:
    found = there([2, 2], [0, 2])
    made = Moves()
    assert not made.look(100.0, found) and not made.look(100.0 + LATER - 0.001, found)
    assert made.look(100.0 + LATER, found) == [(0, 1)]
    made.came()
    assert made.due == 100.0 + 3 * LATER, "nobody knows whether that was any good: not at once again"


def test_what_surely_waits_does_not_wait_for_what_may_wait() -> None:
    made = Moves()
    assert not made.look(0.0, there([2, 2], [0, 2])) and made.due == LATER
    assert not made.look(0.1, there([2, 2], [0, 3])) and made.due == 0.1 + SOON
    assert made.look(0.1 + SOON, there([2, 2], [0, 3])) == [(0, 1)]


def test_it_has_passed() -> None:
    made = Moves()
    made.look(0.0, there([1, 1], [0, 2]))
    assert made.look(1.0, there([1, 1], [1, 2])) == [] and made.due is None
