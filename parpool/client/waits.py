"""Things to wait for that are no results."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Generic, TypeVar

from ..net.parking import wake_waiters

T = TypeVar("T")


class AlsoAwaited(Generic[T]):
    """An iterator that coroutines can iterate over, too."""

    def __aiter__(self) -> AsyncIterator[T]:
        """The values in a coroutine. Cancelling the task that waits has no more items read."""
        from .asyncs import Values

        stream: Any = self
        values: Iterator[T] = iter(stream)
        return Values(values, stream.close)


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
