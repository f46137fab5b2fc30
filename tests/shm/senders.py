"""The sender's side of shared memory, for the tests of it. Import the fixtures by their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from parpool.options import SegmentSettings
from parpool.shm.segments import Segments
from parpool.shm.session import Session

SIZE = 300_000
DATA = bytes(range(256)) * (SIZE // 256)


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session()
    yield made
    made.close()


@pytest.fixture
def segments(session: Session) -> Iterator[Segments]:
    made = Segments(session.folder, "sender", SegmentSettings())
    yield made
    made.close()


def put(segments: Segments, data: bytes = DATA, lent: bool = False) -> tuple[Any, Any]:
    """Send; gives what stands for the message, and what to tell the receiver."""
    parcel = segments.put([memoryview(data)], lent)
    assert parcel is not None
    path, slot, generation, offsets = parcel.where
    assert offsets == [0]
    return parcel.hold(b"message"), (path, slot, generation, len(data))
