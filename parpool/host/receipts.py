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
    """The messages of one engine, which are numbered from 1 on.

    They are read in order: one that is not the next comes again, with those before it that were lost.
    """

    __slots__ = ("_known", "_settled", "next", "told")

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}  #: of those that were read: has everything in them arrived?
        self._settled = 0
        self.next: int | None = 1  #: the number of the one to be read next; None: not known yet
        self.told = 0  #: up to which the engine knows

    def begin(self, first: int) -> None:
        """The engine says again what it has, from this one on; it has none before it any more."""
        self.next = first
        self.told = first - 1
        self._settled = max(self._settled, first - 1)
        for number in [number for number in self._known if number < first]:
            del self._known[number]
        self._advance()

    def read(self, number: int) -> Source | None:
        """A message has come; None where it is not to be read: it was read before, or is not the next."""
        if number != self.next:
            return None
        self.next += 1
        if number <= self._settled or number in self._known:
            return None
        self._known[number] = False
        return Source(self, number)

    def arrived(self, number: int) -> None:
        """Everything in this message has arrived."""
        if number in self._known:
            self._known[number] = True
            self._advance()

    def _advance(self) -> None:
        while self._known.get(self._settled + 1):
            self._settled += 1
            del self._known[self._settled]

    def last_words(self) -> Source | None:
        """What was found of it after its end, as a message; None where it has never said what it has."""
        return None if self.next is None else self.read(self.next)

    @property
    def all_arrived(self) -> bool:
        """Has everything arrived that was read?"""
        return not self._known

    @property
    def settled(self) -> int:
        """Up to this number everything has arrived."""
        return self._settled
