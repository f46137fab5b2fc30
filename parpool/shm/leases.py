"""The receiver's side of shared memory: what lies in a slot, as long as something of it is in use here."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from ..errors import SerializationError
from .region import Region

KEPT = 256  #: regions that stay mapped


class _Watch(weakref.ref[Any]):
    """Notices the death of the last view on a slot."""

    __slots__ = ("region", "slot", "generation", "lent")

    region: Region
    slot: int
    generation: int
    lent: bool


class Leases:
    """The slots of other processes' regions that this process uses. Any thread.

    Regions stay mapped: what comes in a slot that was used before costs no page faults.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._regions: dict[str, Region] = {}
        self._watches: dict[tuple[str, int], _Watch] = {}
        # A view may die in the middle of what is done under this lock.
        self._lock = threading.RLock()

    def take(self, path: str, slot: int, generation: int, size: int) -> Any:
        """The first ``size`` bytes of a slot, as an object with a buffer: when it dies the slot goes back.

        Raises SerializationError where what was in it is gone.
        """
        with self._lock:
            try:
                region = self._regions.get(path) or self._open(path)
            except (OSError, ValueError, OverflowError) as error:
                raise gone(f"{path} cannot be mapped: {error}") from None
            if not (0 <= slot < region.slots and 0 <= size <= region.size):
                raise gone(f"{path} has no such place")
            key = path, slot
            if key not in self._watches:
                lent = region.take(slot, generation)
                if lent is None:
                    raise gone(f"{path} has other data in its place")
                return self._watch(key, region.view(slot, lent), region, generation, lent)
        # It is lent to this process already, which may have written to it.
        copy = region.copy(slot, generation, size)
        if copy is None:
            raise gone(f"{path} has other data in its place")
        return copy

    def _open(self, path: str) -> Region:
        if len(self._regions) >= KEPT:
            # Those in use live on by what is in use. Of the others one that is needed again is mapped again.
            self._drop(list(self._regions)[: KEPT // 2])
        region = self._regions[path] = Region.open(path)
        return region

    def _drop(self, paths: Sequence[str]) -> None:
        used = {path for path, _ in self._watches}
        for path in paths:
            if path not in used:  # to close it would drop the locks of those that are
                del self._regions[path]

    def _watch(self, key: tuple[str, int], view: Any, region: Region, generation: int, lent: bool) -> Any:
        watch = _Watch(view, self._ended)
        watch.region, watch.slot, watch.generation, watch.lent = region, key[1], generation, lent
        self._watches[key] = watch
        return view

    def _ended(self, watch: Any) -> None:
        if os.getpid() != self._pid:
            return  # of a process that was forked from the one that has it
        with self._lock:
            region, slot = watch.region, watch.slot
            self._watches.pop((region.path, slot), None)
            if watch.lent:
                region.forget(slot)
            # First: when it is released another thread may take what comes in it next.
            region.leave(slot)
            if not watch.lent:
                region.release(slot, watch.generation)

    def close(self) -> None:
        """Nothing more will come. What is in use stays valid."""
        with self._lock:
            self._regions.clear()


def gone(why: str) -> SerializationError:
    """The error for data that was to be had by shared memory."""
    return SerializationError(
        f"data that was sent by shared memory is gone, as its sender has ended, or needed the memory again: {why}"
    )
