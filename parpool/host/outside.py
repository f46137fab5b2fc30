"""What a controller must hear of that comes by none of its sockets: signals, and the end of the process that owns it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..net import deaths
from ..net.signals import drain, woken_by_signals
from .station import Station


@contextmanager
def heard_outside(station: Station, owner: int, orphaned: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Have the loop of ``station`` woken by signals, and ``orphaned`` called when process ``owner`` (0: none) has ended.

    Gives what is to be called now and then, for systems that do not tell of the end of a process.
    """
    watched: int | None = None
    with woken_by_signals() as reading:
        try:
            station.listen(reading.fileno(), lambda: drain(reading))
            if owner:
                watched = deaths.watch(owner)
            if watched is not None:
                station.listen(watched, orphaned)

            def look() -> None:
                if owner and watched is None and not deaths.alive(owner):
                    orphaned()

            yield look
        finally:
            if watched is not None:
                os.close(watched)
