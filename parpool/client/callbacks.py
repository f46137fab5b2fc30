"""The thread that runs callbacks.

A callback is the user's code: it may block, raise, or submit more work. So it runs neither in the thread that drives
the loop nor in one that waits for a result, but here, one after the other, as in the stdlib's Pool.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .result import AsyncResult


class Callbacks:
    """Runs the callbacks of results; its thread is started with the first."""

    def __init__(self, ran: Callable[[], object]) -> None:
        self._ran = ran  #: called after each: somebody may be waiting for the result
        self._results: queue.SimpleQueue[AsyncResult | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.ident = 0  #: of the thread, once it has begun

    def put(self, result: AsyncResult) -> None:
        """Run the callbacks of ``result`` when those before it have run."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="parpool-callbacks", daemon=True)
                with suppress(RuntimeError):  # the interpreter ends, and from Python 3.12 on has no new threads then
                    thread.start()
                    self._thread = thread
            if self._thread is not None:
                self._results.put(result)
                return
        self._run_one(result)

    def finish(self) -> None:
        """Run what was put, and end the thread; does not wait for that in the thread itself."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._results.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        self.ident = threading.get_ident()
        while (result := self._results.get()) is not None:
            self._run_one(result)
            del result  # or the last one would live until the next one comes

    def _run_one(self, result: AsyncResult) -> None:
        try:
            result.run_callbacks()
        except BaseException:
            tell_hook()
        self._ran()


def tell_hook() -> None:
    """As with a thread's own exceptions: what a callback raised is told to the hook, and the next one runs."""
    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
