"""Copies into shared memory, which are most of what it costs to send an array.

One processor's copy does not use all that the memory could do. So a large one is shared with a second thread, where
there is a processor for it and nothing else is under way: engines that compute would lose what is gained. (64 MB on two
cores took a quarter less, while both engines computed they took as long, and those longer.)

The copy of numpy lets go of the interpreter while it works, that of memoryviews does not; so without numpy there is one
thread. What has large buffers and comes without numpy is rare.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

TWIN = 16 * 2**20  #: bytes from which on a second thread is worth its start
PIECE = 2**22  #: bytes copied at once


def copy(target: memoryview, source: memoryview, twin: bool = False) -> None:
    """Copy bytes. ``twin``: a second thread may help."""
    numpy = sys.modules.get("numpy") if twin and source.nbytes >= TWIN else None
    if numpy is None:
        _copy(target, source)
        return
    half = source.nbytes // 2 // PIECE * PIECE
    to, of = numpy.frombuffer(target, numpy.uint8), numpy.frombuffer(source, numpy.uint8)
    helper = threading.Thread(target=_copy_array, args=(numpy, to[half:], of[half:]), name="parpool-copy", daemon=True)
    try:
        helper.start()
    except RuntimeError:  # the system has no thread to give, or the interpreter ends
        _copy(target, source)
        return
    try:
        _copy_array(numpy, to[:half], of[:half])
    finally:
        _end(helper)


def _copy(target: memoryview, source: memoryview) -> None:
    # From the end on: whoever reads it next, from the beginning, finds that in the processors' cache.
    for at in range((source.nbytes - 1) // PIECE * PIECE, -1, -PIECE):
        piece = source[at : at + PIECE]
        target[at : at + piece.nbytes] = piece


def _copy_array(numpy: Any, target: Any, source: Any) -> None:
    for at in range((len(source) - 1) // PIECE * PIECE, -1, -PIECE):
        numpy.copyto(target[at : at + PIECE], source[at : at + PIECE])


def _end(helper: threading.Thread) -> None:
    """Wait for it in any case: it must not write where something else will be."""
    interrupted: BaseException | None = None
    while helper.is_alive():
        try:
            helper.join()
        except BaseException as error:  # Ctrl-C, which waits for a few milliseconds
            interrupted = error
    if interrupted is not None:
        raise interrupted
