"""What clients' orders say of tasks, made into tasks."""

from __future__ import annotations

from typing import Any

import pytest

from parpool.core.state import Task
from parpool.host.forms import FORMS, Forms, Unacceptable
from parpool.wire.requests import SHIFT, Order, Relation, Submit, Terms

CLIENT = 3
KEY = b"a function"


USUAL: dict[str, Any] = dict(kind=0, first=0, count=1, weight=1, frames=0, terms=-1)


def order(number: int = 1, **fields: Any) -> Order:
    return Order((CLIENT << SHIFT) + number, bytes(bytearray(KEY)), b"payload", **{**USUAL, **fields})


def made(orders: list[Order], terms: list[Terms] | None = None, forms: Forms | None = None) -> list[Task]:
    message = Submit(orders, terms or [])
    return (forms or Forms()).tasks(message, [b"header"], CLIENT, {KEY: KEY}, "its door")


def test_what_no_order_says_is_as_it_is_by_default() -> None:
    (task,) = made([order()])
    assert type(task) is Task
    assert vars(task) == {"id": (CLIENT << SHIFT) + 1, "function": KEY, "payload": b"payload", "door": "its door"}


def test_one_key_for_all_tasks_of_a_function() -> None:
    tasks = made([order(1), order(2)])
    assert all(task.function is KEY for task in tasks)


def test_terms_take_no_room_in_a_task() -> None:
    terms = Terms(retries=2, limit=1.5, targets=[4, 5], policy="lru", remembered=True)
    forms = Forms()
    first, second = made([order(1, terms=0), order(2, terms=0)], [terms], forms)
    (third,) = made([order(3, terms=0)], [terms], forms)
    assert type(first) is type(second) is type(third) and vars(first).keys() == vars(made([order()])[0]).keys()
    for task in (first, second, third):
        assert (task.retries, task.limit, task.policy, task.remembered) == (2, 1.5, "lru", True)
        assert task.targets == {4, 5}


def test_dependencies_are_each_task_s_own() -> None:
    forms = Forms()
    for number in range(3):
        terms = Terms(retries=1, after=Relation([number], True, True, False), follow=Relation([7], False, True, False))
        (task,) = made([order(terms=0)], [terms], forms)
        assert task.after is not None and task.after.ids == {number}
        assert task.follow is not None and (task.follow.ids, task.follow.all) == ({7}, False)
        assert task.retries == 1
    (task,) = made([order(terms=0)], [Terms(retries=1)], forms)
    assert task.after is None and task.follow is None


def test_any_number_of_sets_of_terms() -> None:
    forms = Forms()
    for number in range(2 * FORMS):
        (task,) = made([order(terms=0)], [Terms(targets=[number])], forms)
        assert task.targets == {number}


def test_items_and_kinds() -> None:
    (task,) = made([order(kind=8, first=2, count=5, weight=7)])
    assert (task.kind, task.first, task.count, task.weight) == (8, 2, 5, 7)


def test_parts_of_tasks_that_are_with_others() -> None:
    whole, forms = (CLIENT << SHIFT) + 7, Forms()
    (part,) = made([order(first=2, count=5, weight=5, terms=0)], [Terms(retries=1, part_of=whole)], forms)
    assert (part.part_of, part.whole, part.retries) == (whole, None, 1)
    assert made([order(terms=0)], [Terms(retries=1)], forms)[0].part_of is None
    for other in (7, (CLIENT + 1) << SHIFT, -1, 1 << 63):
        with pytest.raises(Unacceptable, match="another client's"):
            made([order(terms=0)], [Terms(part_of=other)])


@pytest.mark.parametrize(
    "orders, why",
    [
        ([order(terms=1)], "no such terms"),
        ([order(terms=-2)], "no such terms"),
        ([Order(1, KEY, b"", **USUAL)], "another client's"),
        ([order(frames=1)], "not there"),
        ([order(kind=32)], "kind"),
        ([order(kind=-1)], "kind"),
        ([order(count=3)], "so many"),
        ([order(count=3, weight=3, first=3)], "so many"),
        ([order(1), order(1)], "twice"),
    ],
)
def test_what_cannot_be_meant(orders: list[Order], why: str) -> None:
    with pytest.raises(Unacceptable, match=why):
        made(orders, [Terms()])
