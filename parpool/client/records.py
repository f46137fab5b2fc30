"""What a client remembers of the calls of its views: which are under way, and how the others ended.

A result that nobody has read is kept with its value; once its owner has read it, only as long as its owner keeps it.
Both are bounded, so a client that runs for weeks does not grow.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .call import ViewResult
    from .viewmap import ViewMapResult

KEPT = 16384  #: calls that ended and are still known
KEPT_BYTES = 256 * 2**20  #: bytes of their values that nobody has read, and of what they printed
LARGE = 4096  #: bytes from which on a value counts

_weakly = weakref.ref


class Records:
    """The calls of all views of one client, by the number of their task.

    Every call comes by here twice, so there is one step in a dict each time, and no more: what must be bounded is
    looked after now and then.
    """

    __slots__ = ("outstanding", "_maps", "_ended", "_read", "_large")

    def __init__(self) -> None:
        self.outstanding: dict[int, ViewResult] = {}
        #: whatever has become of them. (A WeakSet cannot be looked through while another thread adds to it.)
        self._maps: dict[int, weakref.ref[ViewMapResult]] = {}
        # These in the order in which they ended, or were read.
        self._ended: dict[int, ViewResult] = {}  #: that nobody has read
        self._read: dict[int, weakref.ref[ViewResult]] = {}
        self._large = 0  #: bytes of large values that have ended, since they were last added up

    def ended(self, result: ViewResult, id: int, outcome: Any) -> None:
        """Its outcome has arrived."""
        self._ended[id] = result
        self.outstanding.pop(id, None)  # after that, so that it is known all the time
        if result._printed is not None or (outcome.status >= 0 and len(outcome.payload) > LARGE):
            self._large += result.size
        if self._large > KEPT_BYTES or len(self._ended) > 2 * KEPT:
            self._shed()

    def _shed(self) -> None:
        """Let go of the oldest, where there are too many or they are too large."""
        many = len(self._ended) - KEPT
        self._large = sum(result.size for result in list(self._ended.values()) if result.size > LARGE)
        for id, result in list(self._ended.items()):
            if many <= 0 and self._large <= KEPT_BYTES // 2:
                break
            many -= 1
            self._large -= result.size if result.size > LARGE else 0
            self._ended.pop(id, None)

    def read(self, id: int, result: ViewResult) -> None:
        """Its owner has its value: from here on the value lives as long as the owner wants."""
        if self._ended.pop(id, None) is not None:
            self._read[id] = _weakly(result)
            if len(self._read) > 2 * KEPT:
                for old in list(islice(self._read, KEPT)):
                    self._read.pop(old, None)

    def get(self, id: int) -> ViewResult | None:
        """The result of a call; None where it is not known, or was read and let go."""
        result = self.outstanding.get(id) or self._ended.get(id)
        if result is None and id in self._read:
            return self._read[id]()
        return result

    def add_map(self, result: ViewMapResult) -> None:
        """A map is about to begin."""
        key, maps = id(result), self._maps
        maps[key] = weakref.ref(result, lambda _: maps.pop(key, None))

    def maps(self) -> list[ViewMapResult]:
        """The maps that somebody has, or that have not ended."""
        return [result for known in list(self._maps.values()) if (result := known()) is not None]

    def running(self) -> list[ViewMapResult]:
        """The maps that have not ended."""
        return [result for result in self.maps() if not result.ready()]

    def map_of(self, id: int) -> ViewMapResult | None:
        """The map that a task is of."""
        return next((result for result in self.maps() if id in result._tasks), None)

    def was_read(self, id: int) -> bool:
        """Has this call ended, and its owner the value?"""
        return id in self._read

    def forget(self, id: int) -> None:
        """Let go of a call that has ended."""
        self._ended.pop(id, None)
        self._read.pop(id, None)

    def __iter__(self) -> Iterator[int]:
        """The numbers of all tasks that are known, in the order in which they were submitted."""
        ids = {*self.outstanding, *self._ended, *self._read}
        return iter(sorted(ids.union(*(result._tasks for result in self.maps()))))
