"""Where questions are answered: a thread of its own, so that no answer holds up the loop.

It begins with the first question; a controller that nobody asks has none.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from .records import Reply, Unanswerable

log = logging.getLogger("parpool")

CLOSED = "the hub is closed"


class Desk:
    """Answers what it is asked, one by one and in order. ``words`` puts an exception in words."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Any], words: Callable[[BaseException], str]) -> None:
        self._answer = answer
        self._words = words
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        """Answer this later."""
        if self._closed:
            give(reply, None, CLOSED)
        else:
            self.do(partial(answer, self._answer, self._words, what, about, reply))

    def do(self, job: Callable[[], object]) -> None:
        """Do something there, behind what was asked before. (One thread calls this and :meth:`ask`.)"""
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="parpool-hub-desk", daemon=True)
            self._thread.start()

    def close(self, timeout: float | None = None) -> None:
        """Answer what was asked, and end."""
        self._closed = True
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:
                log.exception("the hub failed at its desk")


def answer(
    find: Callable[[str, dict[str, Any]], Any],
    words: Callable[[BaseException], str],
    what: str,
    about: dict[str, Any],
    reply: Reply,
) -> None:
    """Answer one question now."""
    try:
        value = find(what, about)
    except Unanswerable as error:
        give(reply, None, str(error))
    except Exception as error:
        log.warning("the hub could not answer %r", what, exc_info=True)
        give(reply, None, words(error))
    else:
        give(reply, value, None)


def give(reply: Reply, value: Any, error: str | None) -> None:
    """Hand over an answer; whatever becomes of it there, the hub goes on."""
    try:
        reply(value, error)
    except Exception:
        log.exception("an answer of the hub could not be delivered")
