"""Tasks that are cut, and their parts."""

from __future__ import annotations

from parpool.core.parts import Parts, whole_of
from parpool.core.state import Task


def task(count: int = 10, **fields: object) -> Task:
    return Task(5, b"f", b"payload", "door", count=count, weight=count, **fields)


def shape(parts: list[Task]) -> list[tuple[int, int | None, int, int]]:
    return [(each.id, each.whole, each.first, each.count) for each in parts]


def test_cut_by_a_scheduler() -> None:
    made, whole = Parts(), task(retries=2)
    parts = made.cut(whole, 4, 2)
    assert (whole.first, whole.count) == (0, 4) and [(each.first, each.count) for each in parts] == [(4, 7), (7, 10)]
    assert {whole_of(each.id) for each in parts} == {5} and {each.retries for each in parts} == {2}
    assert set(made.of(5)) == {5, *(each.id for each in parts)}
    assert made.ended(whole, True) is None and made.ended(parts[0], True) is None
    assert made.ended(parts[1], True) == (5, True) and list(made.of(5)) == [5]


def test_divided_by_its_submitter() -> None:
    made, whole = Parts(), task(tag=7)
    whole.first = 2
    made.reserve(whole, 100)
    assert made.ended(whole, True) is None, "some of it is on its way"
    parts = made.divide(whole, {100: (3, 6), 101: (6, 10)})
    assert shape(parts) == [(100, 5, 3, 6), (101, 5, 6, 10)]
    assert {(each.payload, each.door, each.tag, each.weight) for each in parts} == {
        (b"payload", "door", 7, 6),
        (b"payload", "door", 7, 10),
    }
    assert made.end(101, 5, True) is None and made.end(100, 5, False) == (5, False)
    assert not made.families


def test_a_part_is_divided_and_nothing_is_left_of_it() -> None:
    made, whole = Parts(), task()
    whole.first = 1
    made.reserve(whole, 100)
    (part,) = made.divide(whole, {100: (1, 10)})
    made.reserve(part, 101)
    part.first, part.failed = 10, True  # the items that it has had have ended, one of them not well
    assert shape(made.divide(part, {101: (4, 10)})) == [(101, 5, 4, 10)]
    assert set(made.of(5)) == {5, 101}
    assert made.ended(whole, True) is None and made.end(101, 5, True) == (5, False)


def test_what_comes_back_whole_stays_one() -> None:
    made, whole = Parts(), task()
    made.reserve(whole, 100)
    made.unreserve(whole, 100)
    assert not made.families and made.ended(whole, True) == (5, True)
    whole.first = 1
    made.reserve(whole, 100)
    (part,) = made.divide(whole, {100: (1, 10)})
    made.reserve(part, 101)
    made.unreserve(part, 101)
    assert set(made.of(5)) == {5, 100}
