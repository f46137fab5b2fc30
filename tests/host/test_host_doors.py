"""Doors: what leaves for a client arrives, once the client says so, and no sooner is it let go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from parpool import status as codes
from parpool.core.effects import Ending
from parpool.core.state import Task
from parpool.host import doors
from parpool.host.doors import Door, Hall
from parpool.host.receipts import Receipts
from parpool.wire.messages import INLINE, Outcome
from parpool.wire.requests import Delivery, Result, Text, to_client


class Post:
    """What was sent to clients."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any, list[bytes]]] = []
        self.hall = Hall(self.send)
        self.receipts = Receipts()

    def send(self, address: bytes, header: bytes, frames: Sequence[bytes]) -> None:
        self.sent.append((address, to_client(header), list(frames)))

    def door(self, name: str = "client", number: int = 1) -> Door:
        return Door(name, number, self.hall)

    def taken(self) -> list[tuple[bytes, Any, list[bytes]]]:
        """What was sent since the last call."""
        sent, self.sent = self.sent, []
        return sent

    def engine_says(self, number: int, *deliveries: tuple[Door, int]) -> None:
        """A message of an engine, with outcomes for doors."""
        self.hall.source = source = self.receipts.read(number)
        assert source is not None
        for door, id in deliveries:
            door.deliver(Task(id, door=door), outcome(id), 0)
        self.hall.source = None
        source.taken()


@pytest.fixture
def post() -> Post:
    return Post()


def outcome(id: int, payload: bytes = b"value", status: int = codes.OK, item: int = 0) -> Outcome:
    return Outcome(id, status, item, 1.0, 2.0, payload, 0)


def ids(message: Any) -> list[int]:
    assert isinstance(message, Delivery)
    return [result.id for result in message.results]


def test_outcomes_of_a_step_leave_together(post: Post) -> None:
    door, other = post.door(), post.door("other", 2)
    for id in (5, 6):
        door.deliver(Task(id), outcome(id), 3)
    other.deliver(Task(7), outcome(7), 4)
    assert post.sent == []
    post.hall.flush()
    first, second = post.taken()
    assert first[:2] == (
        b"client",
        Delivery(1, [Result(id, codes.OK, 0, 1.0, 2.0, b"value", 0, 3, None) for id in (5, 6)]),
    )
    assert second[0] == b"other" and ids(second[1]) == [7]
    post.hall.flush()
    assert post.sent == []
    door.deliver(Task(8), outcome(8), 3)
    post.hall.flush()
    assert post.taken()[0][1].number == 2


def test_large_ones_are_frames(post: Post) -> None:
    door = post.door()
    large = b"x" * (INLINE + 1)
    for id, payload in enumerate((b"small", large, b"y" * INLINE, large + b"2")):
        door.deliver(Task(id), outcome(id, payload), 0)
    door.flush()
    ((_, delivery, frames),) = post.taken()
    assert frames == [large, large + b"2"]
    assert [(each.frames, len(each.payload)) for each in delivery.results] == [(0, 5), (1, 0), (0, INLINE), (1, 0)]


def test_what_the_scheduler_decided(post: Post) -> None:
    door = post.door()
    held = Task(1)
    held.engine = 4
    door.deliver(held, Ending(codes.LOST, 0, 4, "it died of \udc80"), 4)
    door.deliver(Task(2), Ending(codes.IMPOSSIBLE, 3, None, "never"), None)
    door.flush()
    ((_, delivery, _),) = post.taken()
    lost, never = delivery.results
    assert (lost.status, lost.engine, lost.more) == (codes.LOST, 4, [0]) and b"it died of" in lost.payload
    assert (never.status, never.item, never.engine, never.more, never.payload) == (
        codes.IMPOSSIBLE,
        3,
        -1,
        [],
        b"never",
    )


def test_a_part_is_told_of_as_its_whole(post: Post) -> None:
    door = post.door()
    part = Task(1 << 60, whole=7)
    door.deliver(part, outcome(1 << 60, item=5), 0)
    door.printed(part, 0, 1, "text")
    first, second = post.taken()
    assert (first[1].results[0].id, first[1].results[0].item) == (7, 5)
    assert second[1] == Text(7, 0, 1, "text")


def test_the_engines_that_would_not_run_it(post: Post) -> None:
    door = post.door()
    door.deliver(Task(1, excluded=frozenset((3, 1))), outcome(1, status=codes.UNMET), 3)
    door.flush()
    assert post.taken()[0][1].results[0].more == [1, 3]


def test_text_comes_behind_the_outcomes_before_it(post: Post) -> None:
    door = post.door()
    door.deliver(Task(1), outcome(1), 0)
    door.printed(Task(2), 0, 2, "later")
    door.deliver(Task(2), outcome(2), 0)
    post.hall.flush()
    sent = [message for _, message, _ in post.taken()]
    assert ids(sent[0]) == [1] and isinstance(sent[1], Text) and ids(sent[2]) == [2]


# Acknowledgements ------------------------------------------------------------------------------------------


def test_an_engine_may_forget_what_the_client_has(post: Post) -> None:
    door = post.door()
    post.engine_says(1, (door, 1))
    post.engine_says(2, (door, 2))
    post.hall.flush()
    post.engine_says(3, (door, 3))
    post.hall.flush()
    assert post.receipts.settled == 0
    door.got(1)
    assert post.receipts.settled == 2
    door.got(1)
    assert post.receipts.settled == 2
    door.got(2)
    assert post.receipts.settled == 3


def test_a_message_for_two_clients(post: Post) -> None:
    """It is needed until both have what is in it."""
    door, other = post.door(), post.door("other", 2)
    post.engine_says(1, (door, 1), (other, 2), (door, 3))
    post.hall.flush()
    other.got(1)
    assert post.receipts.settled == 0
    door.got(1)
    assert post.receipts.settled == 1


def test_a_message_in_two_deliveries(post: Post) -> None:
    """Something was printed in between."""
    door = post.door()
    post.hall.source = source = post.receipts.read(1)
    assert source is not None
    door.deliver(Task(1), outcome(1), 0)
    door.printed(Task(2), 0, 1, "text")
    door.deliver(Task(2), outcome(2), 0)
    post.hall.source = None
    source.taken()
    post.hall.flush()
    door.got(1)
    assert post.receipts.settled == 0
    door.got(2)
    assert post.receipts.settled == 1


def test_a_message_for_nobody(post: Post) -> None:
    door = post.door()
    door.close()
    post.engine_says(1, (door, 1))
    post.hall.flush()
    assert post.sent == [] and post.receipts.settled == 1


def test_who_comes_back_gets_what_it_has_not(post: Post) -> None:
    door = post.door()
    large = b"x" * (INLINE + 1)
    for id in range(1, 5):
        door.deliver(Task(id), outcome(id, large), 0)
        door.flush()
    sent = post.taken()
    door.got(2)
    assert door.next == 3
    door.again()
    assert post.taken() == sent[2:]
    door.again()
    assert post.taken() == sent[2:]
    door.got(4)
    door.again()
    assert post.taken() == [] and door.next == 5


def test_numbers_from_nowhere(post: Post) -> None:
    door = post.door()
    door.got(100)
    door.deliver(Task(1), outcome(1), 0)
    door.flush()
    door.got(-1)
    assert len(door.unacknowledged()) == 1
    door.got(2**62)
    assert door.unacknowledged() == [] and door.next == 2


def test_who_leaves_needs_nothing_more(post: Post) -> None:
    """What is on the way to it, and what gathers for it."""
    door = post.door()
    post.engine_says(1, (door, 1))
    post.hall.flush()
    post.taken()
    post.engine_says(2, (door, 2))
    door.close()
    assert post.receipts.settled == 2
    post.hall.flush()
    door.printed(Task(3), 0, 1, "text")
    assert post.sent == []


# Nobody is there -------------------------------------------------------------------------------------------


def test_what_is_kept_for_who_does_not_come_back(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much. Of the rest it hears that it was: tasks of which nothing is heard would be submitted, and run, again."""
    monkeypatch.setattr(doors, "KEPT_BYTES", 50_000)
    door = post.door()
    door.here = False
    for id in range(1, 101):
        door.deliver(Task(id), outcome(id, b"%d" % id * 1000), 0)
        door.flush()
    kept = sum(map(len, door.unacknowledged()))
    assert kept < 60_000
    post.taken()
    door.again()
    results = [result for _, delivery, _ in post.taken() for result in delivery.results]
    assert [result.id for result in results] == list(range(1, 101))
    dropped = [result for result in results if result.status != codes.OK]
    assert dropped and dropped == results[: len(dropped)]
    assert {result.status for result in dropped} == {codes.ABORTED} and b"dropped" in dropped[0].payload
    assert results[-1].payload == b"100" * 1000


def test_large_ones_that_are_kept(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "KEPT_BYTES", 10 * INLINE)
    door = post.door()
    door.here = False
    for id in range(1, 51):
        post.engine_says(id, (door, id))
        door.deliver(Task(1000 + id), outcome(1000 + id, b"x" * (INLINE + id)), 0)
        door.flush()
    post.taken()
    door.again()
    sent = post.taken()
    assert sum(len(frame) for _, _, frames in sent for frame in frames) < 11 * INLINE
    for _, delivery, frames in sent:
        assert sum(result.frames for result in delivery.results) == len(frames)
    assert 0 < post.receipts.settled < 50  # what was dropped here need not be kept by the engine
    door.got(50)
    assert post.receipts.settled == 50


def test_a_client_that_is_there_is_kept_everything_for(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is slow, not gone."""
    monkeypatch.setattr(doors, "KEPT_BYTES", 1000)
    door = post.door()
    for id in range(100):
        door.deliver(Task(id), outcome(id, b"x" * 1000), 0)
        door.flush()
    post.taken()
    door.again()
    assert all(result.status == codes.OK for _, delivery, _ in post.taken() for result in delivery.results)
