"""Large frames in pieces, where they are encrypted.

ZeroMQ encrypts a frame as a whole, in the thread that also answers for the process being alive. With one of some GiB that
takes longer than anybody waits for an answer. So such a frame is cut, and joined where it is received: behind the pieces
comes a frame that says how many each of the others has become.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

PIECE = 8 * 2**20  #: bytes of the largest frame that is not cut
_MARK = b"\x01parpool-pieces\x01"


def cut(frames: Sequence[Any]) -> Sequence[Any]:
    """The frames to be sent for these."""
    if not frames or max(map(len, frames)) <= PIECE:
        return frames
    pieces: list[Any] = []
    counts = []
    for frame in frames:
        size = len(frame)
        if size <= PIECE:
            pieces.append(frame)
            counts.append(1)
        else:
            view = memoryview(frame)
            pieces += [view[start : start + PIECE] for start in range(0, size, PIECE)]
            counts.append(-(-size // PIECE))
    return [*pieces, _MARK + struct.pack(f"<{len(counts)}I", *counts)]


def joined(frames: list[Any]) -> list[Any]:
    """What was sent. Frames that say nothing of the kind, or what cannot be, are what they are."""
    last = frames[-1] if frames else b""
    if last.__class__ is not bytes or not last.startswith(_MARK) or (len(last) - len(_MARK)) % 4:
        return frames
    counts = struct.unpack(f"<{(len(last) - len(_MARK)) // 4}I", last[len(_MARK) :])
    if 0 in counts or sum(counts) != len(frames) - 1:
        return frames
    found: list[Any] = []
    frames.reverse()
    frames[:1] = []
    for count in counts:
        if count == 1:
            found.append(frames.pop())
            continue
        whole, at = memoryview(bytearray(sum([len(frame) for frame in frames[-count:]]))), 0
        for _ in range(count):
            piece = frames.pop()  # and with it its memory goes
            whole[at : at + len(piece)] = piece
            at += len(piece)
        found.append(whole)
    return found
