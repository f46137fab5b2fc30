"""How many engines of a scheduler have something to do, as far as one client knows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from parpool.core.lots import KEPT, Lot, rests
from parpool.core.state import Task


class Where:
    """A lot, and the tasks that are there."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.lot = Lot(self.tasks)
        self.last = 0

    def give(self, **fields: Any) -> Task:
        self.last += 1
        task = self.tasks[self.last] = Task(self.last, **fields)
        self.lot.add(task)
        return task

    def end(self, task: Task) -> None:
        del self.tasks[task.id]
        self.lot.ended(task.id)

    def pin(self, engine: int) -> Task:
        return self.give(targets=frozenset({engine}))


def test_each_item_keeps_an_engine_busy() -> None:
    where = Where()
    assert where.lot.standing(4) == (4, 0)
    where.give()
    several = where.give(count=3)
    assert where.lot.standing(4) == (4, 4) and where.lot.items() == 4
    several.first = 2
    assert where.lot.standing(4) == (4, 2)
    assert where.lot.standing(1)[1] > 1, "not all are counted where they are too many"
    vars(several)["ended"] = set()
    where.give(count=5, first=1)
    vars(where.tasks[3])["ended"] = {3}
    assert where.lot.items() == 5


def test_tasks_of_one_engine_are_no_reason_for_another_to_be_busy() -> None:
    where = Where()
    first = [where.pin(7) for _ in range(3)]
    where.pin(9)
    assert where.lot.standing(4) == (2, 0) and where.lot.load(4) == 2
    where.give()
    assert where.lot.standing(4) == (2, 1) and where.lot.standing(1) == (0, 1)
    for task in first:
        where.end(task)
    assert where.lot.standing(4) == (3, 1)


def test_those_of_some_engines_are_loose() -> None:
    where = Where()
    where.give(targets=frozenset({1, 3}))
    assert where.lot.standing(2) == (2, 1)


def test_ends_out_of_turn() -> None:
    where = Where()
    pinned = [where.pin(1) for _ in range(10)]
    for task in pinned[1:]:
        where.end(task)
    loose = [where.give() for _ in range(5)]
    assert where.lot.standing(1) == (0, len(loose))
    where.end(pinned[0])
    assert where.lot.standing(1) == (1, len(loose))


def test_what_waits_for_others_keeps_nobody_busy() -> None:
    where = Where()
    loose, pinned, gone = (where.tasks.setdefault(id, Task(id)) for id in (-1, -2, -3))
    loose.count, pinned.targets = 3, frozenset({1})
    for task in (loose, pinned, gone):
        where.lot.add(task, True)
    assert where.lot.standing(2) == (2, 0) and where.lot.load(3) == 0
    where.lot.waits_no_longer(loose)
    assert where.lot.standing(4) == (4, 3)
    where.lot.waits_no_longer(pinned)
    assert where.lot.standing(4) == (3, 3)
    where.end(gone)
    where.end(pinned)
    where.lot.waits_no_longer(gone)
    assert where.lot.standing(4) == (4, 3)


def test_what_has_ended_is_not_kept() -> None:
    where = Where()
    for _ in range(20 * KEPT):
        task = where.give(count=2)
        del where.tasks[task.id]
        where.lot.standing(1)
    assert len(where.lot._several) <= KEPT + 1


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5), st.booleans())), st.integers(0, 6))
def test_of_any_tasks(made: list[tuple[int, int, bool]], engines: int) -> None:
    where = Where()
    for engine, count, ends in made:
        task = where.pin(engine) if engine else where.give(count=count)
        if ends:
            where.end(task)
    pinned = {next(iter(task.targets)) for task in where.tasks.values() if task.targets is not None}
    loose = sum(task.count for task in where.tasks.values() if task.targets is None)
    capacity, work = where.lot.standing(engines)
    assert capacity == max(0, engines - len(pinned)) and where.lot.items() == loose
    assert work == loose or capacity < work <= loose


@given(st.data())
def test_what_is_left_of_tasks(data: st.DataObject) -> None:
    tasks: list[Task] = []
    left: dict[int, set[int]] = {}
    for id in range(data.draw(st.integers(0, 4))):
        items = set(range(data.draw(st.integers(1, 9))))
        left[id] = set()
        cuts = sorted({0, len(items), *data.draw(st.lists(st.sampled_from(sorted(items)), max_size=3))})
        for number, (first, count) in enumerate(pairwise(cuts)):
            task = Task(id if not number else 100 * id + number, count=count)
            task.first = first
            if number:
                task.whole = id
            mine = set(range(first, count))
            ended = data.draw(st.sets(st.sampled_from(sorted(mine)), max_size=len(mine) - 1))
            while task.first in ended:
                task.first += 1
            if rest := {item for item in ended if item > task.first}:
                vars(task)["ended"] = rest
            left[id] |= mine - ended
            tasks.append(task)
    found = rests(tasks)
    assert {id: {item for first, end in ranges for item in range(first, end)} for id, ranges in found.items()} == left
    assert all(first < end for ranges in found.values() for first, end in ranges)


def test_what_is_left_of_a_part_is_told_as_of_the_task() -> None:
    here = Task(7, count=4)
    elsewhere = Task(99, count=9, part_of=7)
    elsewhere.first = 6
    assert rests([here, elsewhere]) == {7: ((0, 4), (6, 9))}
