"""Tasks that wait in a client for tasks of several schedulers."""

from __future__ import annotations

from typing import Any

import pytest

from parpool.client.orders import Ends
from parpool.client.waiting import WaitingRoom, named
from parpool.core.state import Dependency, Task


class Place:
    """A room, and the tasks elsewhere."""

    def __init__(self) -> None:
        self.alive: set[int] = set()
        self.ends = Ends()
        self.room = WaitingRoom(self.ends, self.alive.__contains__)

    def add(self, id: int, now: float = 0.0, **terms: Any) -> Task:
        task = Task(id, **{word: on(each) if isinstance(each, list) else each for word, each in terms.items()})
        self.room.add(task, now)
        return task

    def end(self, id: int, success: bool = True, engine: int | None = 0) -> None:
        self.alive.discard(id)
        self.ends.note(id, success, engine)
        self.room.ended(id, success, engine)

    def through(self) -> list[int]:
        return [task.id for task in self.room.through()]


def on(ids: list[int], **how: Any) -> Dependency:
    return Dependency(frozenset(ids), **how)


@pytest.fixture
def place() -> Place:
    return Place()


def test_it_waits_for_all(place: Place) -> None:
    place.alive |= {1, 2}
    task = place.add(9, after=[1, 2])
    assert len(place.room) == 1 and 9 in place.room and list(place.room) == [task]
    place.end(1)
    assert place.through() == []
    place.end(2)
    assert place.through() == [9] and not place.room and 9 not in place.room
    assert named(task) == {1, 2}, "the scheduler is told of both"


def test_it_waits_for_one_of_them(place: Place) -> None:
    place.alive |= {1, 2}
    task = place.add(9, after=on([1, 2], all=False))
    place.end(2)
    assert place.through() == [9]
    assert named(task) == {2}, "the scheduler that it goes to knows nothing of the other"


def test_one_of_which_any_will_do_has_ended_before(place: Place) -> None:
    place.alive |= {1, 2}
    any_of_them = Task(9, after=on([1, 2], all=False))
    assert not place.room.may_decide(any_of_them)
    place.end(2)
    assert place.room.may_decide(any_of_them)
    assert not any(map(place.room.may_decide, (Task(8), Task(8, after=on([1, 2])), Task(8, follow=on([2], all=False)))))
    place.room.add(any_of_them, 0.0)
    assert place.through() == [9] and named(any_of_them) == {2}


def test_one_that_can_never_run_goes_with_the_reason_for_it(place: Place) -> None:
    place.alive |= {1, 2}
    task = place.add(9, after=[1, 2])
    place.end(1, success=False)
    assert place.through() == [9] and named(task) == {1}


def test_when_and_where(place: Place) -> None:
    place.alive |= {1, 2}
    task = place.add(9, after=[1], follow=[2])
    place.end(2, engine=3)
    assert place.through() == []
    place.end(1)
    assert place.through() == [9]
    assert task.follow is not None and task.follow.ids == {2} and task.after is not None and task.after.ids == {1}


def test_what_ended_before(place: Place) -> None:
    place.alive.add(2)
    place.end(1)
    place.add(9, after=[1, 2])
    place.end(2)
    assert place.through() == [9]
    place.add(10, after=[1, 2])
    assert 10 in place.room and place.through() == [10] and 10 not in place.room


def test_what_nothing_is_known_of_is_for_the_scheduler_to_judge(place: Place) -> None:
    place.alive.add(1)
    task = place.add(9, after=[1, 77], follow=on([77], all=False))
    place.end(1)
    assert place.through() == [9] and named(task) == {1, 77}


def test_chains(place: Place) -> None:
    place.alive.add(1)
    place.add(2, after=[1])
    place.add(3, after=[2])
    place.end(1)
    assert place.through() == [2]
    place.alive.add(2)  # it is with a scheduler now
    assert place.through() == [] and 3 in place.room
    place.end(2)
    assert place.through() == [3]


def test_patience(place: Place) -> None:
    place.alive.add(1)
    task = place.add(9, now=100.0, after=[1], patience=5.0)
    place.add(10, now=100.0, after=[1])
    assert place.room.next_expiry() == 105.0
    assert list(place.room.expired(104.9)) == []
    assert list(place.room.expired(105.0)) == [task] and place.room.next_expiry() is None
    place.end(1)
    assert place.through() == [10]


def test_some_are_taken_out(place: Place) -> None:
    place.alive.add(1)
    place.end(5)
    first, _ = place.add(8, after=[1]), place.add(9, after=[1])
    ready = place.add(10, after=[5])
    assert place.room.take([8, 10, 99]) == [first, ready]
    place.end(1)
    assert place.through() == [9] and not place.room
