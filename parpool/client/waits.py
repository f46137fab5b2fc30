"""Things to wait for that are no results."""

from __future__ import annotations

import threading

from ..net.loop import wake_waiters


class Errand:
    """Something to wait for."""

    def __init__(self) -> None:
        self._done = False
        self._parked: list[threading.Lock] | None = None

    def finish(self) -> None:
        """It has come about."""
        self._done = True
        wake_waiters(self)


class Gathering(Errand):
    """So many engines."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.hopeless = False
