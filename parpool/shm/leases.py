"""The receiver's side of shared memory: what lies in a slot, as long as something of it is in use here."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from pickle import PickleBuffer
from typing import Any

from ..errors import SerializationError
from .kinds import open_region
from .region import Region

KEPT = 256  #: regions that stay mapped


class _Watch(weakref.ref[Any]):
    """Notices the death of the last view on a slot."""

    __slots__ = ("region", "slot", "generation", "lent", "returned")

    region: Region
    slot: int
    generation: int
    lent: bool
    returned: bool  #: it was given back for another process to take


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

    def take(self, path: str, slot: int, generation: int, size: int) -> memoryview:
        """The first ``size`` bytes of a slot or more: when the last view on them dies the slot goes back.

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
            watch = self._watches.get(key)
            if watch is None or watch.returned:
                lent = region.take(slot, generation)
                if lent is None:
                    raise gone(f"{path} has other data in its place")
                return self._watch(key, region.view(slot, lent, size), region, generation, lent)
        # It was lent to this process already, which may have written to it.
        copy = memoryview(region.copy(slot, generation, size) or b"")
        if not watch.lent or len(copy) != size:
            raise gone(f"{path} has other data in its place")
        return copy

    def _open(self, path: str) -> Region:
        if len(self._regions) >= KEPT:
            # Those in use live on by what is in use. Of the others one that is needed again is mapped again.
            self._drop(list(self._regions)[: KEPT // 2])
        else:
            self._drop([old for old in self._regions if not os.path.exists(old)])  # of senders that have ended
        region = self._regions[path] = open_region(path)
        return region

    def _drop(self, paths: Sequence[str]) -> None:
        used = {path for path, _ in self._watches}
        for path in paths:
            if path not in used:  # to close it would drop the locks of those that are
                del self._regions[path]

    def _watch(self, key: tuple[str, int], view: Any, region: Region, generation: int, lent: bool) -> memoryview:
        watch = _Watch(view, self._ended)  # of what views keep alive
        watch.region, watch.slot, watch.generation, watch.lent, watch.returned = region, key[1], generation, lent, False
        self._watches[key] = watch
        return PickleBuffer(view).raw()  # a memoryview of plain bytes, which those of ctypes are not

    def give_back(self, path: str, slot: int, generation: int) -> None:
        """Let another process take what was taken here: it is to run the same call. (What is lent, it can anyway.)"""
        with self._lock:
            watch = self._watches.get((path, slot))
            if watch is not None and watch.generation == generation and not watch.lent:
                watch.returned = True
                watch.region.send_again(slot)

    def _ended(self, watch: _Watch) -> None:
        if os.getpid() != self._pid:
            return  # of a process that was forked from the one that has it
        with self._lock:
            region, slot = watch.region, watch.slot
            if self._watches.get((region.path, slot)) is not watch:
                return  # it was given back, and has come again with something else
            del self._watches[region.path, slot]
            if watch.lent:
                region.forget(slot)
            # First: when it is released another thread may take what comes in it next.
            region.leave(slot)
            if not watch.lent and not watch.returned:
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
