"""Lanes: messages kept apart, nothing that waits, and an end that is noticed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from parpool.net.lane import LARGEST, Junction, Lane, have_lanes, join

pytestmark = pytest.mark.skipif(not have_lanes(), reason="this system has no such sockets")


@pytest.fixture
def junction(tmp_path: Path) -> Iterator[Junction]:
    made = Junction(str(tmp_path / "lane"))
    yield made
    made.close()


@pytest.fixture
def ends(junction: Junction, tmp_path: Path) -> Iterator[tuple[Lane, Lane]]:
    """The host's end and the engine's."""
    theirs = join(str(tmp_path / "lane"), "engine-7")
    assert theirs is not None
    ((name, ours),) = junction.accept()
    assert name == b"engine-7"
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_keep_apart_and_in_order(ends: tuple[Lane, Lane]) -> None:
    ours, theirs = ends
    sent = [bytes([n]) * size for n, size in enumerate((1, 1000, 2, LARGEST, 3))]
    assert all(ours.send(message) for message in sent)
    assert [theirs.receive() for _ in sent] == sent
    assert theirs.receive() is None and not theirs.ended
    assert theirs.send(b"back") and ours.receive() == b"back"


def test_what_is_too_large_is_refused_and_nothing_of_it_arrives(ends: tuple[Lane, Lane]) -> None:
    ours, theirs = ends
    assert not ours.send(bytes(LARGEST + 1))
    assert theirs.receive() is None
    assert ours.send(b"next") and theirs.receive() == b"next"


def test_a_full_lane_refuses_at_once_and_loses_nothing(ends: tuple[Lane, Lane]) -> None:
    ours, theirs = ends
    taken = 0
    while ours.send(b"%06d" % taken + bytes(10_000)):
        taken += 1
        assert taken < 100_000
    assert taken > 0
    for n in range(taken):
        message = theirs.receive()
        assert message is not None and message[:6] == b"%06d" % n
    assert theirs.receive() is None
    assert ours.send(b"again") and theirs.receive() == b"again"


def test_what_was_sent_before_the_end_still_arrives(ends: tuple[Lane, Lane]) -> None:
    ours, theirs = ends
    theirs.send(b"last words")
    theirs.close()
    assert ours.receive() == b"last words"
    assert ours.receive() is None and ours.ended
    assert not ours.send(b"to nobody")


def test_what_was_sent_before_an_end_that_left_messages_unread_still_arrives(ends: tuple[Lane, Lane]) -> None:
    """As of an engine that dies with work before it: the system says so first."""
    ours, theirs = ends
    assert ours.send(b"unread")
    theirs.send(b"last")
    theirs.send(b"words")
    theirs.close()
    assert [ours.receive(), ours.receive()] == [b"last", b"words"]
    assert ours.receive() is None and ours.ended


def test_several_join_between_two_looks(junction: Junction, tmp_path: Path) -> None:
    lanes = [join(str(tmp_path / "lane"), f"engine-{n}") for n in range(20)]
    met = dict(junction.accept())
    assert sorted(met) == sorted(b"engine-%d" % n for n in range(20))
    assert list(junction.accept()) == []
    for lane in (*lanes, *met.values()):
        assert lane is not None
        lane.close()


def test_who_joins_and_leaves_without_a_word_is_nobody(junction: Junction, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as mute:
        mute.connect(str(tmp_path / "lane"))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert list(junction.accept()) == []
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_no_host_no_lane(tmp_path: Path) -> None:
    assert join(str(tmp_path / "nothing"), "engine-0") is None


def test_a_junction_that_cannot_be_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Junction(str(tmp_path / "no such folder" / "lane"))
