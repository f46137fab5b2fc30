"""Questions to a controller: each has a number of its own, and an answer, if only that there is none."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from parpool.client.asked import Asked


def test_threads_that_ask_at_once() -> None:
    """Slowed down line by line, as by a debugger: else they hardly ever meet."""
    asked, heard = Asked(), []

    def slowly(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code is not Asked.question.__code__:
            return None
        time.sleep(0.0001)
        return slowly

    def ask(thread: int) -> None:
        sys.settrace(slowly)
        try:
            for number in range(50):
                about = thread, number
                asked.question("x", {}, lambda value, error, about=about: heard.append(about))
        finally:
            sys.settrace(None)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked.give_up("it is gone")
    assert sorted(heard) == [(thread, number) for thread in range(6) for number in range(50)]
    assert not asked


def test_what_is_asked_while_all_is_given_up() -> None:
    asked, heard = Asked(), []
    asked.question("x", {}, lambda value, error: asked.question("y", {}, lambda value, error: heard.append(error)))
    asked.give_up("it is gone")
    assert heard == ["it is gone"] and not asked
