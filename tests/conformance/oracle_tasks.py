"""What the cases' tasks call. Importable, as ordinary users' functions are."""

from __future__ import annotations

import collections
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

Point = collections.namedtuple("Point", "x y")

state = None
"""What an initializer put here."""


def square(x):
    return x * x


def add(a, b=10, *, c=0):
    return a + b + c


def echo(*args, **kwds):
    return args, kwds


def give(x):
    return x


def nothing(x):
    pass


def pid(_=None):
    return os.getpid()


def parent_pid():
    return os.getppid()


def process_name():
    return multiprocessing.current_process().name


def start_method():
    return multiprocessing.get_start_method()


def same(a, b):
    return a is b


def append(items, item):
    items.append(item)
    return items


def slower_first(x):
    time.sleep(0.05 if x < 2 else 0)
    return x


def wait_at(path, value=None):
    """Return when the file is there."""
    limit = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > limit:
            raise AssertionError(f"nobody opened {path}")
        time.sleep(0.005)
    return value


def wait_if_zero(job):
    path, number = job
    if number == 0:
        wait_at(path)
    return number


def wait_at_first(job):
    return wait_at(*job) if isinstance(job, tuple) else job


def leave_mark(job):
    folder, number = job
    time.sleep(0.01)
    Path(folder, str(number)).touch()


# Exceptions


class Odd(Exception):
    """Carries an attribute beside its args."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number
        self.note = "is odd"


class Unpicklable(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class TwoArguments(Exception):
    """Cannot be rebuilt: its args are not what its __init__ takes."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")


def even_only(x):
    if x % 2:
        raise Odd(x)
    return x


def fail_at_two(x):
    if x == 2:
        raise ValueError(f"no {x}s please")
    return x


def divide(a, b):
    return a / b


def look_up(key):
    return {}[key]


def open_missing(path):
    open(path)


def decode(data):
    return data.decode("ascii")


def chained():
    try:
        look_up("inner")
    except KeyError as error:
        raise RuntimeError("outer") from error


def stop(x=None):
    if x is None or x == 3:
        raise StopIteration("enough")
    return x


def raise_it(error):
    raise error


def raise_unpicklable(text):
    raise Unpicklable(text)


def raise_two_arguments(text):
    raise TwoArguments(7, text)


def cancelled(x):
    import asyncio

    if x == 1:
        raise asyncio.CancelledError("not now")
    return x


def exits(x):
    if x == 1:
        sys.exit(3)
    return x


def make_lambda(_=None):
    return lambda: 42


def make_generator():
    yield 1


def lambda_at_two(x):
    return make_lambda() if x == 2 else x


class BadRepr:
    def __repr__(self):
        raise RuntimeError("no repr")

    def __reduce__(self):
        raise RuntimeError("no pickle")


def make_bad_repr(_=None):
    return BadRepr()


def die(x):
    if x == 2:
        os.kill(os.getpid(), 9)
    return x


def sleep_if_one(x):
    if x == 1:
        time.sleep(60)
    return x


def die_once(path):
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), 9)
    return "alive"


# Callables of every kind


class Counter:
    def __init__(self, start):
        self.start = start

    def plus(self, x):
        return self.start + x

    def __call__(self, x):
        return self.start * x

    def __eq__(self, other):
        return isinstance(other, Counter) and self.start == other.start

    __hash__ = None

    @staticmethod
    def twice(x):
        return 2 * x

    @classmethod
    def made(cls, x):
        return cls(x)


# Initializers


def set_state(*values):
    global state
    state = values


def get_state(_=None):
    return state


def count_up(value):
    with value.get_lock():
        value.value += 1


def set_and_count(value):
    set_state("set")
    count_up(value)


def locked_add(x):
    """Not atomic without the lock."""
    lock, total = state
    with lock:
        before = total.value
        time.sleep(0.001)
        total.value = before + x


def put_state(x):
    state[0].put(x * 10)


def fill_array(i):
    state[0][i] = i * i


def wait_event(_=None):
    return state[0].wait(30)


def send_state(x):
    state[0].send(x)


def acquire_release(_=None):
    with state[0]:
        return True


def nested(_=None):
    """Uses a Pool inside a task; the class of the outer pool's engines is state[0]."""
    with state[0](2) as pool:
        return pool.map(square, range(5))
