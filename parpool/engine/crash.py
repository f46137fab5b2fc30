"""The end of an engine that fails: what a crash in native code leaves behind, and an end that does not come."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..options import STACK

IN_TIME = 5.0  #: seconds that an engine which cannot serve has to end in order


@contextmanager
def crash_reported(recorder: str | None) -> Iterator[None]:
    """Have a crash in native code write the stacks of all threads where the host will look for them.

    Not where the process does so already, to a place of the user's choice.
    """
    if recorder is None or faulthandler.is_enabled():
        yield
        return
    try:
        file = open(recorder + STACK, "x")
    except OSError:
        yield
        return
    with file:
        faulthandler.enable(file)
        try:
            yield
        finally:
            faulthandler.disable()
    with suppress(OSError):
        os.unlink(recorder + STACK)


def end_soon(status: int) -> None:
    """This process is about to end. Where it does not, as a thread of the user's lives on, it ends at once in a while: the
    host waits for it."""
    timer = threading.Timer(IN_TIME, os._exit, (status,))
    timer.daemon = True
    timer.start()
