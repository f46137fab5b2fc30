"""Who has what an engine has reported, so that the engine can let go of it.

An engine keeps each of its messages until it is told that the outcomes in it have arrived where they were to. A message
may hold outcomes for several clients, and a delivery to a client outcomes of several messages; so each message has a
:class:`Source`, which counts the deliveries that are still to be acknowledged.
"""

from __future__ import annotations


class Source:
    """One message of an engine."""

    __slots__ = ("receipts", "number", "pending")

    def __init__(self, receipts: Receipts, number: int) -> None:
        self.receipts = receipts
        self.number = number
        self.pending = 1  #: deliveries that hold outcomes of it; and one while it is being read

    def taken(self) -> None:
        """One of them is acknowledged."""
        self.pending -= 1
        if not self.pending:
            self.receipts.arrived(self.number)


class Receipts:
    """The messages of one engine."""

    __slots__ = ("_open", "_last", "told")

    def __init__(self) -> None:
        self._open: dict[int, None] = {}  #: not yet acknowledged in whole, ascending
        self._last = 0  #: the highest number that was read
        self.told = 0  #: up to which the engine knows

    def read(self, number: int) -> Source | None:
        """A message has come; None where it has come before."""
        if number <= self._last:
            return None
        self._last = number
        self._open[number] = None
        return Source(self, number)

    def arrived(self, number: int) -> None:
        """Everything in this message has arrived."""
        self._open.pop(number, None)

    @property
    def settled(self) -> int:
        """Up to this number everything has arrived."""
        first = next(iter(self._open), None)
        return self._last if first is None else first - 1
