"""What the torture scripts share. ``TORTURE_METHOD=spawn python torture_errors.py CASE`` runs one case.

Each case makes its own pools, checks what came out, and ends with status 0 when all was as promised. It runs alone in
its process, which whoever started it watches: for the time, and for what is left behind.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from parpool import Pool, get_context

METHOD = os.environ.get("TORTURE_METHOD", "fork")
STILL = 30.0
"""Seconds for get() to end in. A hang must show as a failed case, not as a slow one."""

CASES: dict[str, Callable[..., None]] = {}


def case(function):
    CASES[function.__name__] = function
    return function


def main():
    CASES[sys.argv[1]]()


def make_pool(processes=2, *args, **kwds):
    """A pool under the start method of this run."""
    return Pool(processes, *args, context=get_context(METHOD), **kwds)


def caught(function, *args, **kwds):
    try:
        value = function(*args, **kwds)
    except BaseException as error:
        return error
    raise AssertionError(f"no exception, but {value!r}")


def outcomes(values):
    """All that an iterator gives: values, and exceptions in their place."""
    found = []
    while True:
        try:
            found.append(values.next(STILL))
        except StopIteration:
            return found
        except BaseException as error:
            found.append(error)


def still_works(pool):
    assert pool.map(_cube, range(20), 1) == [x**3 for x in range(20)]


def _cube(x):
    return x**3
