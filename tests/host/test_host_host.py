"""The loop of a host, and what ends its sleep."""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

import pytest

from parpool import EngineStartError, Pool

METHODS = multiprocessing.get_all_start_methods()


class Late(ForkServerProcess):
    """A process that has ended, and was waited for, before anybody can watch it."""

    def start(self) -> None:
        super().start()
        self.join()


class LateContext(ForkServerContext):
    Process: Any = Late


@pytest.mark.skipif("forkserver" not in METHODS, reason="this system has none")
def test_engines_that_have_ended_before_they_are_watched() -> None:
    with Pool(1, os._exit, (3,), context=LateContext()) as pool:
        with pytest.raises(EngineStartError, match="exit code 3"):
            pool.apply_async(len, ("ab",)).get(40)


def fail_once(left: Any) -> None:
    with left.get_lock():
        left.value -= 1
        if left.value == 2:
            raise LookupError("once")
    time.sleep(0.5)  # so that it still starts when that is heard


def test_a_place_that_was_left_vacant_to_see_how_the_others_fare() -> None:
    """While others start, an initializer that has raised is not tried again; when they serve, it is."""
    left = multiprocessing.Value("i", 3)
    with Pool(3, fail_once, (left,)) as pool:
        assert pool._link.control.wait_for(3, 60)
        assert pool.apply_async(abs, (-1,)).get(60) == 1
