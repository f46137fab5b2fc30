"""The Pool contract as small cases, each with what must come out of it, for any Pool.

A case is a function of a `Kit`; what it returns is compared with what it is registered with. The stdlib's Pool is the
oracle: cases registered with `case` run against it too, so a wrong expectation fails there first. Where the stdlib is
wrong or lacks something, a case is registered with `ours`.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.pool
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Kit:
    """One implementation of Pool, and what cases need around it."""

    name: str
    Pool: Any
    get_context: Any
    AsyncResult: Any
    pool: Any
    """A pool of two that cases share."""
    folder: Path
    """An empty folder for the one case."""

    @contextlib.contextmanager
    def own(self, *args: Any, **kwds: Any) -> Iterator[Any]:
        """A pool for one case alone, ended after it."""
        pool = self.Pool(*args, **kwds)
        try:
            yield pool
        finally:
            end(pool)

    def gate(self, name: str = "gate") -> Path:
        """A file that tasks can wait for (`oracle_tasks.wait_at`); `touch` it to let them pass."""
        return self.folder / name


@dataclass(frozen=True)
class Case:
    function: Callable[[Kit], Any]
    expected: Any
    only_ours: bool

    @property
    def id(self) -> str:
        return self.function.__name__


CASES: list[Case] = []


def case(expected: Any) -> Callable[[Callable[[Kit], Any]], Callable[[Kit], Any]]:
    """Register a case that holds for the stdlib's Pool and for ours."""
    return _registered(expected, False)


def ours(expected: Any) -> Callable[[Callable[[Kit], Any]], Callable[[Kit], Any]]:
    """Register a case that only our Pool can meet."""
    return _registered(expected, True)


def _registered(expected: Any, only_ours: bool) -> Callable[[Callable[[Kit], Any]], Callable[[Kit], Any]]:
    def register(function: Callable[[Kit], Any]) -> Callable[[Kit], Any]:
        CASES.append(Case(function, expected, only_ours))
        return function

    return register


def caught(function: Callable[..., Any], *args: Any, **kwds: Any) -> BaseException:
    """The exception that a call ends with."""
    try:
        value = function(*args, **kwds)
    except BaseException as error:
        return error
    raise AssertionError(f"no exception, but {value!r}")


def error(function: Callable[..., Any], *args: Any, **kwds: Any) -> tuple[str, str]:
    """(type, text) of the exception that a call ends with."""
    found = caught(function, *args, **kwds)
    return type(found).__name__, str(found)


def end(pool: Any) -> None:
    pool.terminate()
    pool.join()
    del pool
    gc.collect()


def until(condition: Callable[[], Any], seconds: float = 10) -> bool:
    """Wait until something is so. The time is a limit for hangs, not part of any contract."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.005)
    return True


def stdlib_kit(folder: Path) -> Kit:
    pool = multiprocessing.pool.Pool
    return Kit("stdlib", pool, multiprocessing.get_context, multiprocessing.pool.AsyncResult, None, folder)


def parpool_kit(folder: Path) -> Kit:
    import parpool

    return Kit("parpool", parpool.Pool, parpool.get_context, parpool.AsyncResult, None, folder)
