"""What a crash in native code leaves behind."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..options import STACK


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
