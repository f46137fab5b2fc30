"""What a client has with one of several schedulers, in words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parpool.core.parts import Parts
from parpool.core.state import Task
from parpool.host.holdings import Holding, from_words, in_words


def test_most_are_their_ids() -> None:
    assert in_words([Task(5), Task(7)]) == "5 7"
    assert from_words("5 7") == {5: [Holding(5, 5, None)], 7: [Holding(7, 7, None)]}
    assert in_words([]) == "" and from_words("") == {}


def test_tasks_of_several_items_and_parts() -> None:
    cut, part = Task(5, count=10, weight=10), Task(90, count=8, weight=8, first=6, part_of=7)
    cut.first = 2
    pieces = Parts().cut(cut, 4, 2)
    words = in_words([cut, part, *pieces[1:]])
    assert from_words(words) == {
        5: [Holding(5, 5, frozenset({2, 3, 7, 8, 9}))],
        7: [Holding(90, 7, frozenset({6, 7}))],
    }


def test_parts_of_one_task_are_known_together() -> None:
    parts = [Task(90 + n, count=n + 1, first=n, part_of=7) for n in range(3)]
    assert [each.id for each in from_words(in_words(parts))[7]] == [90, 91, 92]


@given(st.text(alphabet="0123456789:-, x"))
def test_whatever_is_there_is_read(words: str) -> None:
    for holdings in from_words(words).values():
        assert all(isinstance(each.id, int) for each in holdings)
