"""The tasks of a client of several schedulers: what is known of those that were divided."""

from __future__ import annotations

import pytest

from parpool.client.dealing import Dealing
from parpool.core.lots import Lot
from parpool.core.state import Task


@pytest.mark.parametrize("stays", [False, True], ids=["nothing of it stays", "some of it stays"])
def test_a_divided_task_has_ended_with_the_last_of_its_parts(stays: bool) -> None:
    dealing = Dealing(2)
    dealing.lots += [Lot({}), Lot({})]
    whole, behind = Task(5, count=4, weight=4, remembered=True), Task(6)
    dealing._where[5], dealing._wholes[100], dealing._wholes[101] = 0, 5, 5
    dealing._needed[5] = [(0, behind)]
    dealing._parts.reserve(whole, 100)
    whole.first = 0 if stays else 4
    assert len(dealing._parts.divide(whole, {100: (1, 3), 101: (3, 4)})) == 2
    dealing.ends.note(101, False, 1)
    if stays:
        dealing.ends.note(5, True, 0)
    assert dealing._is_alive(5) and dealing.ends.get(5) is None and dealing.ends.get(101) is None
    dealing.ends.note(100, True, 2)
    assert not dealing._is_alive(5) and dealing.ends.get(5) == (False, 2)
    assert not (dealing._where or dealing._wholes or dealing._needed or dealing._parts.families)
