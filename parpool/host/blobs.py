"""The functions that clients have defined, and which engine has which."""

from __future__ import annotations

from collections.abc import Iterable

from .members import Member

KEPT = 2048  #: blobs kept; more only while tasks need them


class Blobs:
    """Blobs by key. Each is sent to an engine once, before the first task that needs it."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[bytes, bytes] = {}

    @property
    def too_many(self) -> bool:
        """Is it time for :meth:`forget`?"""
        return len(self.known) > KEPT

    def forget(self, needed: set[bytes], members: Iterable[Member]) -> None:
        """Drop the oldest half but for what is ``needed``, here and, with their next message, on the engines."""
        surplus = len(self.known) - KEPT // 2
        self.drop([key for key in list(self.known)[: max(0, surplus)] if key not in needed], members)

    def drop(self, dropped: Iterable[bytes], members: Iterable[Member]) -> None:
        """Drop these, here and, with their next message, on the engines."""
        dropped = [key for key in dropped if self.known.pop(key, None) is not None]
        for member in members:
            had = member.known.intersection(dropped)
            member.known -= had
            member.forget.extend(had)
