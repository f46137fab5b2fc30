"""What a hub in a process of its own is asked for when tasks have ended: their records.

A controller with one scheduler waits for them by itself. One of several has only its own tasks; the hub has all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..hub.records import Reply, Store


class _Wait:
    def __init__(self, ids: Sequence[str], reply: Reply) -> None:
        self.ids = list(ids)
        self.those = frozenset(ids)
        self.reply = reply
        self.due = True  #: one of them may have ended since the store was asked
        self.asking = False


class Awaited:
    """``later`` has something called in the hub's loop: answers of a store may come from a thread of its own."""

    def __init__(self, store: Store, later: Callable[[Callable[[], None]], None]) -> None:
        self._store = store
        self._later = later
        self._waits: list[_Wait] = []

    def add(self, ids: Sequence[str], reply: Reply) -> None:
        """Reply with the records of these tasks when all of them have ended."""
        self._waits.append(_Wait(ids, reply))

    def ended(self, name: str) -> None:
        """A task, or a part of it, has ended."""
        for wait in self._waits:
            wait.due = wait.due or name in wait.those

    def look(self) -> None:
        """Ask the store about those that may be over."""
        for wait in [each for each in self._waits if each.due and not each.asking]:
            wait.due, wait.asking = False, True
            self._ask(wait)

    def _ask(self, wait: _Wait) -> None:
        def told(value: Any, error: str | None = None) -> None:
            self._later(lambda: self._heed(wait, value, error))

        self._store.ask("status", {"ids": wait.ids}, told)

    def _heed(self, wait: _Wait, value: Any, error: str | None) -> None:
        wait.asking = False
        if error or not value["pending"]:
            self._waits.remove(wait)
            self._store.ask("records", {"ids": wait.ids}, wait.reply)
