"""The loop of a host, and what ends its sleep."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

import pytest

from parpool import EngineStartError, Pool


class Late(ForkServerProcess):
    """A process that has ended, and was waited for, before anybody can watch it."""

    def start(self) -> None:
        super().start()
        self.join()


class LateContext(ForkServerContext):
    Process: Any = Late


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="this system has none")
def test_engines_that_have_ended_before_they_are_watched() -> None:
    with Pool(1, os._exit, (3,), context=LateContext()) as pool:
        with pytest.raises(EngineStartError, match="exit code 3"):
            pool.apply_async(len, ("ab",)).get(40)
