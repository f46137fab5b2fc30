"""What an engine must be able to send again: all that was not noted, as it was, and no more."""

from __future__ import annotations

import threading

import pytest

from parpool.engine.outbox import Outbox
from parpool.wire.messages import Done, Outcome, encode, from_engine


def outcome(id: int) -> bytes:
    return encode((id, 0, 0, 1.0, 2.0, b"value", 0))


def put(outbox: Outbox, *ids: int, frames: tuple[bytes, ...] = ()) -> bytes:
    return outbox.put(len(ids), b"".join(map(outcome, ids)), frames)


def test_messages_are_numbered_from_one_on() -> None:
    outbox = Outbox()
    assert (outbox.first, outbox.last) == (1, 0)
    for number in range(1, 4):
        message = from_engine(put(outbox, number, 100 + number))
        assert isinstance(message, Done) and message.number == number
        assert [each.id for each in message.outcomes] == [number, 100 + number]
        assert (outbox.first, outbox.last) == (1, number)


def test_what_is_kept() -> None:
    outbox = Outbox()
    headers = [put(outbox, id, frames=(b"frame %d" % id,)) for id in range(1, 6)]
    assert outbox.kept() == [(header, (b"frame %d" % id,)) for id, header in enumerate(headers, 1)]
    outbox.noted(2)
    assert outbox.first == 3 and [header for header, _ in outbox.kept()] == headers[2:]
    outbox.noted(1)
    outbox.noted(-5)
    assert outbox.first == 3
    outbox.noted(2**62)
    assert outbox.kept() == [] and (outbox.first, outbox.last) == (6, 5)


@pytest.mark.parametrize("number", [1, 127, 255, 2**16, 2**32 - 1, 2**32, 2**63 - 1])
def test_numbers_of_every_size(number: int) -> None:
    """An engine may serve for months."""
    outbox = Outbox()
    outbox._number = number - 1
    message = from_engine(put(outbox, 5))
    assert message == Done([Outcome(5, 0, 0, 1.0, 2.0, b"value", 0)], number)
    assert outbox.first == outbox.last == number


def test_two_threads() -> None:
    """One puts, the other removes; whoever looks sees a whole in order."""
    outbox, over = Outbox(), threading.Event()

    def remove() -> None:
        while not over.is_set():
            outbox.noted(outbox.last - 3)

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        for id in range(1, 3000):
            put(outbox, id)
            kept = [from_engine(header) for header, _ in outbox.kept()]
            numbers = [message.number for message in kept if isinstance(message, Done)]
            assert numbers and numbers == list(range(numbers[0], id + 1))
            assert outbox.first <= id
    finally:
        over.set()
        remover.join()
