"""When tasks are taken back from one scheduler for another."""

from __future__ import annotations

from parpool.client.moves import LATER, LONGEST, SOON, Moves
from parpool.client.shares import Shares


def moves(engines: list[int], load: list[int]) -> Moves:
    shares = Shares(len(engines))
    shares.engines, shares.load = engines, load
    return Moves(shares)


def plan(made: Moves, there: list[int] | None = None, after: float = 60.0) -> tuple[int, int] | None:
    """What is to be done, where it has been so for long."""
    numbers = range(made._shares.count) if there is None else there
    assert made.look(100.0, numbers) is None, "it may pass"
    return made.look(100.0 + after, numbers)


def test_nothing_is_uneven() -> None:
    for load in ([2, 2], [9, 9], [2, 7], [0, 0]):
        made = moves([2, 2], load)
        assert plan(made) is None and made.due is None


def test_engines_that_have_nothing_to_do() -> None:
    assert plan(moves([2, 2], [0, 10])) == (1, 5)
    assert plan(moves([1, 3], [9, 1])) == (0, 6)
    assert plan(moves([2, 2, 2], [6, 1, 12])) == (2, 5)
    assert plan(moves([4, 0], [0, 6])) == (1, 6), "there is none for them where they are"
    assert plan(moves([1, 1], [0, 2])) == (1, 1)


def test_only_where_somebody_can_be_asked() -> None:
    assert plan(moves([2, 2, 2], [0, 10, 8]), there=[0, 2]) == (2, 4)
    assert plan(moves([2, 2], [0, 10]), there=[0]) is None
    assert plan(moves([2, 2], [0, 10]), there=[]) is None


def test_soon_and_then_less_and_less_often() -> None:
    made = moves([1, 1], [0, 2])
    assert made.look(0.0, [0, 1]) is None and made.due == SOON
    now, times = 0.0, []
    while now < 200:
        assert made.due is not None
        now = made.due
        if made.look(now, [0, 1]):
            times.append(now)
    pauses = [after - before for before, after in zip(times, times[1:], strict=False)]
    pauses = [round(each, 6) for each in pauses]
    assert times[0] == SOON and pauses == sorted(pauses) and pauses[-1] == LONGEST and len(times) < 25
    made.came()
    assert made.look(now, [0, 1]) is None and made.due == now + SOON


def test_what_may_have_no_better_place_is_asked_for_later() -> None:
    made = moves([2, 2], [0, 2])
    assert plan(made, after=LATER - 0.001) is None
    assert made.look(100.0 + LATER, [0, 1]) == (1, 1)


def test_it_has_passed() -> None:
    made = moves([1, 1], [0, 2])
    made.look(0.0, [0, 1])
    made._shares.load[0] = 1
    assert made.look(1.0, [0, 1]) is None and made.due is None
