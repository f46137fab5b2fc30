"""Pools with a fault each: the proof that the runner of CPython's tests sees faults."""

from __future__ import annotations

import time
from multiprocessing.pool import Pool


class Backwards(Pool):
    """Gives map's results in the wrong order."""

    def map(self, func, iterable, chunksize=None):
        return super().map(func, iterable, chunksize)[::-1]


class Stuck(Pool):
    """Never answers an apply."""

    def apply(self, func, args=(), kwds=None):
        time.sleep(3600)
