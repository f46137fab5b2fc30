"""Which messages of an engine are through: each counts once, and the engine is told only of what is not needed again."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from parpool.host.receipts import Receipts, Source


def read(receipts: Receipts, number: int) -> Source:
    source = receipts.read(number)
    assert source is not None
    return source


def test_one_after_the_other() -> None:
    receipts = Receipts()
    for number in range(1, 10):
        source = read(receipts, number)
        assert receipts.settled == number - 1
        source.taken()
        assert receipts.settled == number


def test_a_message_counts_once() -> None:
    receipts = Receipts()
    source = read(receipts, 1)
    assert receipts.read(1) is None
    source.taken()
    assert receipts.read(1) is None and receipts.settled == 1


def test_a_message_is_through_when_all_who_need_it_have_it() -> None:
    receipts = Receipts()
    source = read(receipts, 1)
    source.pending += 2  # two deliveries hold outcomes of it
    source.taken()  # it was read
    source.taken()
    assert receipts.settled == 0
    source.taken()
    assert receipts.settled == 1


def test_those_behind_wait_for_the_first() -> None:
    receipts = Receipts()
    first, second, third = (read(receipts, number) for number in (1, 2, 3))
    third.taken()
    second.taken()
    assert receipts.settled == 0
    first.taken()
    assert receipts.settled == 3


def test_a_message_behind_one_that_was_lost_is_not_read() -> None:
    """It comes again behind the other: else what is in it would be known before what was before it."""
    receipts = Receipts()
    read(receipts, 1).taken()
    assert receipts.read(3) is None
    receipts.begin(2)  # said again from there on
    assert receipts.read(2) is not None and receipts.read(3) is not None


def test_what_comes_again_was_read() -> None:
    receipts = Receipts()
    first, second = read(receipts, 1), read(receipts, 2)
    receipts.begin(1)
    assert receipts.read(1) is None and receipts.read(2) is None
    third = read(receipts, 3)
    for source in (third, second, first):
        source.taken()
    assert receipts.settled == 3


def test_an_engine_of_the_time_before_begins_where_it_is() -> None:
    receipts = Receipts()
    receipts.begin(100)
    assert receipts.settled == receipts.told == 99
    read(receipts, 100).taken()
    assert receipts.settled == 100


def test_what_the_engine_says_it_has_is_what_it_was_told() -> None:
    """It was told of 2, and may not have heard so: it must be told again."""
    receipts = Receipts()
    for number in (1, 2):
        read(receipts, number).taken()
    receipts.told = receipts.settled
    receipts.begin(1)
    assert receipts.settled == 2 and receipts.told == 0


def test_an_engine_that_has_more_than_it_should() -> None:
    """It goes back behind what is settled: nothing is read twice."""
    receipts = Receipts()
    for number in (1, 2, 3):
        read(receipts, number).taken()
    receipts.begin(1)
    assert [receipts.read(number) for number in (1, 2, 3)] == [None] * 3
    assert receipts.settled == 3
    read(receipts, 4).taken()
    assert receipts.settled == 4


def test_an_acknowledgement_that_comes_late() -> None:
    """The engine has let go of it meanwhile (it was told by an earlier controller, say)."""
    receipts = Receipts()
    source = read(receipts, 1)
    receipts.begin(5)
    source.taken()
    assert receipts.settled == 4
    read(receipts, 5).taken()
    assert receipts.settled == 5


def test_numbers_that_cannot_be() -> None:
    receipts = Receipts()
    for number in (0, -1, -(2**40), 2**63):
        assert receipts.read(number) is None
    receipts.begin(-5)
    assert receipts.read(-5) is None and receipts.settled == 0


@given(st.data())
def test_in_any_order(data: st.DataObject) -> None:
    """Messages come, come again from any point on that is not settled, and are acknowledged in any order."""
    receipts, pending = Receipts(), dict[int, Source]()
    seen, taken, last = set[int](), set[int](), 0
    at, noted = 1, 0
    for _ in range(data.draw(st.integers(1, 40))):
        what = data.draw(st.sampled_from(["next", "next", "noted", "again", "taken"]))
        if what == "noted":
            noted = receipts.told = receipts.settled
        elif what == "again":
            at = noted + 1
            receipts.begin(at)
        elif what == "next":
            source = receipts.read(at)
            assert (source is None) == (at in seen), "read twice, or not at all"
            if source is not None:
                pending[at] = source
            seen.add(at)
            last = max(last, at)
            at += 1
        elif pending:
            number = data.draw(st.sampled_from(sorted(pending)))
            pending.pop(number).taken()
            taken.add(number)
        first = next(number for number in range(1, last + 2) if number not in taken)
        assert receipts.settled == first - 1
