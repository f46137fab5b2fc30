"""Shared memory between a client and the engines of a cluster, where both are on one machine.

That is proved and not guessed: an engine has a lane to its controller, which is a socket in the folder of the
controller's session, so it sees that folder. If this process sees it as well, and it lies in memory, they can share
memory. As a task may go to any engine, all of them must be near, of whichever scheduler; otherwise everything travels in
messages.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..core.state import Task
from ..net.loop import Baton
from ..options import SegmentSettings
from ..shm.files import ROOT
from ..shm.leases import Leases
from ..shm.segments import Segments
from ..wire.envelope import Take, any_in, received
from ..wire.messages import SHARED
from ..wire.requests import Delivery
from .far import Far
from .orders import pack_orders

LINGER = 10.0  #: seconds that the arguments of tasks which go on have to be taken, when their client leaves


class NearFar(Far):
    """The far host, some of whose engines may be near."""

    near = False  #: are all engines?
    claim: Take | None = None  #: claims shared memory that outcomes tell of

    def look_around(self) -> None:
        """Engines have come or gone."""
        folders = {each.memory for each in self.engines.values()}
        self.near = bool(folders) and all(folder.startswith(ROOT + "/") and _is_seen(folder) for folder in folders)

    def _send(self, tasks: list[Task], again: bool) -> None:
        flag = SHARED if self.near and not self.kept else 0  # what is kept must be had by others, too
        self.line.send(*pack_orders(tasks, self._functions.take(), again, self._ends, flag))

    def _deliver(self, delivery: Delivery, frames: list[bytes]) -> None:
        # Not what will come again, as something before it was lost: it can be claimed once.
        if self.met and delivery.number == self._got + 1 and any_in(frames):
            for result in delivery.results:
                result.payload = received(result.payload, self.claim)
            frames = [received(frame, self.claim) for frame in frames]
        super()._deliver(delivery, frames)


def _is_seen(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, "lane"))


class ClusterStore:
    """Memory that the engines of a cluster can see, as long as all of them are near."""

    def __init__(self, host: Any, fars: Sequence[NearFar], baton: Baton, leases: Leases) -> None:
        """``host`` is told when engines come or go; ``fars``: those that have them."""
        self._fars = fars
        self._near = False  #: and what must outlive this process cannot lie in its memory
        self._segments = Segments(None, "client", SegmentSettings.from_environment())
        baton.chore, self._segments.on_kept = self._segments.trim, baton.tend
        self._segments.busy = host.outstanding
        told = host.on_change

        def look() -> None:
            for far in fars:
                far.look_around()
            self._near = (
                any(far.near for far in fars)
                and all(far.near for far in fars if far.engines)
                and not any(far.kept for far in fars)
            )
            told()

        host.on_change = look
        for far in fars:
            far.claim = leases.take

    @property
    def threshold(self) -> int | None:
        """From how many bytes on a buffer is put there; None: none is."""
        return self._segments.threshold if self._near else None

    @property
    def watched(self) -> bool:
        """Does this process know when what it sends will not be opened any more?"""
        return True

    def put(self, buffers: Sequence[memoryview], lent: bool) -> Any:
        """Put buffers there."""
        return self._segments.put(buffers, lent)

    def close(self, keep: bool) -> None:
        """Let go of it; what is to go on (``keep``) has a moment to be taken."""
        self._segments.close(LINGER if keep else 0.0)
