"""What an engine has sent and must be able to send again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..wire.messages import done_header


class Outbox:
    """Numbers the messages of outcomes, and keeps them until the controller says that they were noted.

    The main thread puts, the warden removes.
    """

    __slots__ = ("_number", "_kept")

    def __init__(self) -> None:
        self._number = 0
        self._kept: deque[tuple[int, bytes, Sequence[bytes]]] = deque()

    def put(self, count: int, outcomes: bytes, frames: Sequence[bytes]) -> bytes:
        """The header of the next message, which is kept with its frames."""
        self._number += 1
        header = done_header(count, outcomes, self._number)
        self._kept.append((self._number, header, frames))
        return header

    def noted(self, number: int) -> None:
        """The messages up to this number are not needed any more."""
        kept = self._kept
        while kept and kept[0][0] <= number:
            kept.popleft()

    @property
    def last(self) -> int:
        """The number of the last message."""
        return self._number

    @property
    def first(self) -> int:
        """The number of the first that is still needed, or of the next."""
        return self.snapshot()[0]

    def kept(self) -> list[tuple[bytes, Sequence[bytes]]]:
        """What is still needed, in order."""
        return self.snapshot()[2]

    def snapshot(self) -> tuple[int, int, list[tuple[bytes, Sequence[bytes]]]]:
        """:attr:`first`, :attr:`last` and :meth:`kept`, all of one moment: more may be noted in the next."""
        kept = self._kept.copy()
        first = kept[0][0] if kept else self._number + 1
        return first, self._number, [(header, frames) for _, header, frames in kept]
