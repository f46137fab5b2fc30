"""What the torture cases' tasks do. Items of three are the victims."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time


def square(x):
    return x * x


def killed_at_three(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def exits_at_three(x):
    if x == 3:
        os._exit(3)
    return x


def crashes_at_three(x):
    if x == 3:
        import faulthandler

        faulthandler.disable()
        ctypes.string_at(0)
    return x


class TwoArguments(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")


def raises_two_arguments(x):
    if x == 3:
        raise TwoArguments(7, "the text")
    return x


def fail(text):
    raise RuntimeError(text)


class ExplodesWhenLoaded:
    def __reduce__(self):
        return fail, ("cannot be loaded",)


def explosive_at_three(x):
    return ExplodesWhenLoaded() if x == 3 else x


def ignore(x):
    return 1


def raise_at_three(error, x):
    if x == 3:
        raise error
    return x


def exit_at_three(x):
    if x == 3:
        sys.exit(3)
    return x


def interrupt_at_three(x):
    return raise_at_three(KeyboardInterrupt("pressed"), x)


def cancel_at_three(x):
    return raise_at_three(asyncio.CancelledError("cancelled"), x)


def stop_at_three(x):
    return raise_at_three(StopIteration("stopped"), x)


def bad_initializer():
    raise RuntimeError("the initializer is broken")


def exiting_initializer():
    os._exit(5)


class NoRepr:
    def __repr__(self):
        raise RuntimeError("no repr")

    def __reduce__(self):
        raise RuntimeError("no pickle")


def lock_at_three(x):
    return threading.Lock() if x == 3 else x


def no_repr_at_three(x):
    return NoRepr() if x == 3 else x


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def spin(_):
    """Busy in Python code, for as long as it takes."""
    while True:
        pass
