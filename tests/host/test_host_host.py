"""The loop of a host, and what ends its sleep."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.context import ForkContext, ForkServerContext, ForkServerProcess
from typing import Any

import pytest

from parpool import EngineLost, EngineStartError, NoEngines, Pool
from parpool.host import members
from parpool.net import deaths

METHODS = multiprocessing.get_all_start_methods()
forks = pytest.mark.skipif("fork" not in METHODS, reason="this system has none")


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


class Limited(ForkContext):
    """A context that starts a number of processes, and then raises."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__()
        self.left, self.error = most, error

    def Process(self, *args: Any, **kwargs: Any) -> Any:
        process = super().Process(*args, **kwargs)
        really = process.start

        def start() -> None:
            if self.left <= 0:
                raise self.error
            self.left -= 1
            really()

        process.start = start
        return process


@forks
def test_who_waits_for_engines_that_are_not_tried_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "HIRE_AGAIN", 0.001)
    with Pool(2, context=(context := Limited(2, BlockingIOError(11, "no more processes")))) as pool:
        assert pool._link.control.wait_for(2, 60) and not context.left
        os.kill(pool._pool[0].pid, signal.SIGKILL)
        with pytest.raises(NoEngines):
            while pool._link.control.wait_for(2, 60):
                time.sleep(0.005)  # its end was not seen yet
        assert pool.apply_async(abs, (-1,)).get(60) == 1


@forks
@pytest.mark.parametrize("error", [EOFError("unexpected EOF"), ValueError("what it began with is closed")])
@pytest.mark.parametrize("count", [1, 2])
def test_a_start_that_raises_anything(count: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a context's start raises besides OSError, as where its fork server dies meanwhile, is nobody's result."""
    monkeypatch.setattr(members, "HIRE_AGAIN", 0.001)
    with Pool(count, context=Limited(count, error)) as pool:
        assert pool._link.control.wait_for(count, 60)
        with pytest.raises(EngineLost):
            pool.apply_async(os._exit, (3,)).get(60)
        for _ in range(3):
            if count == 1:
                with pytest.raises(EngineStartError, match=f"{type(error).__name__}: {error}"):
                    pool.apply_async(abs, (-1,)).get(60)
            else:
                assert pool.apply_async(abs, (-1,)).get(60) == 1


@forks
def test_a_limit_that_is_met_for_a_while_though_no_engine_is_left() -> None:
    """The pool is not broken by it: what was submitted runs when there is a process to be had again."""
    context = Limited(1, BlockingIOError(11, "no more processes"))
    with Pool(1, context=context) as pool:
        with pytest.raises(EngineLost):
            pool.apply_async(os._exit, (3,)).get(60)
        result = pool.apply_async(abs, (-1,))
        while not pool._link.host.members.staff.failures:
            result.wait(0.01)
        context.left = 1
        assert result.get(60) == 1


@pytest.mark.parametrize("method", METHODS)
def test_deaths_that_the_system_does_not_tell_of(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that has ended keeps its number until it is waited for: so to look at that is not enough."""
    monkeypatch.setattr(deaths, "watch", lambda pid: None)
    with Pool(1, context=multiprocessing.get_context(method)) as pool:
        with pytest.raises(EngineLost, match="exit code 3"):
            pool.apply_async(os._exit, (3,)).get(60)
        assert pool.apply_async(abs, (-1,)).get(60) == 1


def fail_and_live_on() -> None:
    threading.Thread(target=time.sleep, args=(1000,)).start()
    raise LookupError("the initializer")


def test_an_initializer_that_raises_and_leaves_a_thread() -> None:
    """The process does not end by itself, and who calls does not wait for that."""
    with Pool(1, fail_and_live_on) as pool:
        with pytest.raises(LookupError, match="the initializer"):
            pool.apply_async(abs, (-1,)).get(40)


PIPED = """
import multiprocessing
from parpool import Pool
if __name__ == "__main__":
    with Pool(1, context=multiprocessing.get_context("spawn")) as pool:
        pool.map(abs, [1])
"""


def test_a_script_that_is_no_file() -> None:
    """It has what engines that are spawned need around it, but they cannot read it: nobody is told to add that alone."""
    ran = subprocess.run([sys.executable], input=PIPED, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 1
    assert "EngineStartError: engines die before they are ready" in ran.stderr and "it must be a file" in ran.stderr
