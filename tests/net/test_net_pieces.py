"""Frames that are encrypted are cut, and are whole where they arrive."""

from __future__ import annotations

import os

import pytest
from sides import await_message

from parpool.net import pieces
from parpool.net.pieces import cut, joined
from parpool.net.sockets import Context, keypair


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1000)


@pytest.mark.parametrize(
    "sizes", [[], [0], [1000], [1001], [5, 2500, 0, 3000, 1], [10_000, 999], [4000, 4000], [0, 0, 1001]]
)
def test_what_is_cut_is_joined(sizes: list[int]) -> None:
    frames = [os.urandom(size) for size in sizes]
    sent = list(cut(frames))
    assert all(len(piece) <= 1000 for piece in sent)
    assert (len(sent) > len(frames)) == any(size > 1000 for size in sizes)
    found = joined(sent)
    assert found == frames
    for frame, size in zip(found, sizes, strict=True):
        if size > 1000:
            frame[0] = 1  # whoever has it may write to it


def test_what_cannot_be_is_left_as_it_is() -> None:
    frames = [os.urandom(1500), b"x"]
    *some, last = cut(frames)
    for wrong in ([*some[1:], last], [last], [*some, last + b"1"], [*some, last + bytes(4)], [*some, last, b"more"]):
        before = list(wrong)
        assert joined(wrong) == before
    assert joined([]) == []


def test_over_tcp_by_both_kinds_of_sockets(context: Context, other: Context) -> None:
    public, secret = keypair()
    router = context.router("tcp://127.0.0.1:*", secret=secret, public=public)
    dealer = other.dealer(router.address, "e", host_key=public)
    frames = [os.urandom(500_000), b"", os.urandom(1001), b"stamp"]
    dealer.send(b"header", frames)
    assert await_message(router) == (b"e", [b"header", *frames])
    router.send(b"e", b"back", frames)
    back = await_message(dealer)
    assert back == [b"back", *frames]
    router.send(b"e", b"as it came", back[1:])
    assert await_message(dealer) == [b"as it came", *frames]
