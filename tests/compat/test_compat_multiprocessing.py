"""multiprocessing by another name: what of it is parpool's, and that all else is the standard library's own."""

from __future__ import annotations

import multiprocessing.managers
import multiprocessing.pool
import multiprocessing.shared_memory
import sys

import parpool.compat.multiprocessing as ours
import parpool.compat.multiprocessing.pool as our_pool
import pytest

import parpool


def test_what_is_replaced() -> None:
    assert ours.Pool is our_pool.Pool is ours.pool.Pool is parpool.Pool
    assert ours.get_context("spawn").Pool.__func__ is not multiprocessing.get_context("spawn").Pool.__func__
    assert {"Pool", "Process", "Queue", "patch"} <= set(ours.__all__) and "ThreadPool" in dir(our_pool)


def test_all_else_is_the_same() -> None:
    for name in ("Process", "Queue", "TimeoutError", "cpu_count", "connection", "process"):
        assert getattr(ours, name) is getattr(multiprocessing, name)
    assert our_pool.ThreadPool is multiprocessing.pool.ThreadPool
    assert our_pool.MaybeEncodingError is multiprocessing.pool.MaybeEncodingError


def test_its_parts_are_not_loaded_twice() -> None:
    from parpool.compat.multiprocessing import managers, shared_memory

    assert managers is multiprocessing.managers and shared_memory is multiprocessing.shared_memory
    with pytest.raises(ModuleNotFoundError):
        __import__("parpool.compat.multiprocessing.synchronize")
    loaded = {name for name in sys.modules if name.startswith("parpool.compat.multiprocessing.")}
    assert loaded == {"parpool.compat.multiprocessing.pool"}


@pytest.mark.parametrize("module", [ours, our_pool])
def test_what_there_is_not(module: object) -> None:
    for name in ("Pools", "__path_of__"):
        with pytest.raises(AttributeError, match=name):
            getattr(module, name)
