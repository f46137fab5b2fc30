"""Threads that sleep until what they wait for is done."""

from __future__ import annotations

import os
import threading
import time

import pytest
from forks import in_a_fork

from parpool.net import parking
from parpool.net.parking import park, wake_waiters


class Thing:
    """Something to wait for, as a result is."""

    _done = False
    _parked: list[threading.Lock] | None = None


def test_threads_that_park_at_the_same_moment_are_all_woken() -> None:
    class Slow:
        """Gives every thread the time to see that there is no list yet."""

        _done = False
        parked: list[threading.Lock] | None = None

        @property
        def _parked(self) -> list[threading.Lock] | None:
            found = self.parked
            time.sleep(0.02)
            return found

        @_parked.setter
        def _parked(self, parked: list[threading.Lock] | None) -> None:
            self.parked = parked

    thing, locks = Slow(), []
    threads = [threading.Thread(target=lambda: locks.append(park(thing))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wake_waiters(thing)
    assert len(locks) == 4 and all(lock.acquire(timeout=0) for lock in locks)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_fork_while_another_thread_parks() -> None:
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with parking._parking:
            held.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_a_fork(lambda: park(Thing()).locked())
    finally:
        over.set()
        thread.join()
