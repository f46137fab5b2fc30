"""What engines of this machine leave when they end: results in their memory, which clients are still to take.

A large result stays in the memory of the engine that made it, and only its place is told. The files of that memory are
the engine's, and whoever starts a session removes those of the dead; so the controller guards them, until the clients
have said that all has arrived which the engine has reported, or for as long as the living wait for a client.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

from ..options import SegmentSettings
from ..shm.session import Guard, sweep
from .members import Member
from .receipts import Receipts


class Estates:
    """The folders of engines, living and dead. ``keep``: seconds that clients have after the death of an engine."""

    def __init__(self, keep: float = SegmentSettings.unclaimed) -> None:
        self._keep = keep
        self._guards: dict[str, Guard] = {}  #: of the living, by name
        self._left: list[tuple[Guard | None, Receipts, float]] = []  #: of the dead, and until when

    def guard(self, member: Member, folder: str) -> None:
        """An engine tells where its memory lies."""
        if folder and member.uid not in self._guards:
            with suppress(OSError, ValueError):  # it is not there any more, or never was the engine's
                self._guards[member.uid] = Guard(folder)

    def leave(self, member: Member) -> None:
        """An engine has ended, or does not answer."""
        guard = self._guards.pop(member.uid, None)
        if guard is not None or member.recorder is not None:
            self._left.append((guard, member.receipts, monotonic() + self._keep))

    def look(self) -> None:
        """Remove what nobody needs any more."""
        if not self._left:
            return
        now = monotonic()
        over = [each for each in self._left if each[1].all_arrived or each[2] <= now]
        if over:
            self._left = [each for each in self._left if each not in over]
            for guard, *_ in over:
                if guard is not None:
                    guard.release()
            sweep()  # an engine may have had another folder, for arrays that it shared

    def close(self) -> None:
        """Guard nothing any more."""
        for guard in (*self._guards.values(), *(guard for guard, *_ in self._left)):
            if guard is not None:
                guard.release()
        self._guards, self._left = {}, []
