"""The torture matrix, first half: tasks, initializers and callbacks that misbehave."""

from __future__ import annotations

import asyncio
import threading
import time
from multiprocessing.pool import MaybeEncodingError

from torture import METHOD, STILL, case, caught, main, make_pool, outcomes, still_works
from torture_tasks import (
    ExplodesWhenLoaded,
    bad_initializer,
    cancel_at_three,
    crashes_at_three,
    exit_at_three,
    exiting_initializer,
    exits_at_three,
    explosive_at_three,
    fail,
    ignore,
    interrupt_at_three,
    killed_at_three,
    lock_at_three,
    no_repr_at_three,
    raises_two_arguments,
    square,
    stop_at_three,
)

from parpool import EngineLost, Pool, get_context


def pool_inside(n):
    with Pool(2, context=get_context(METHOD)) as pool:
        return pool.map(square, range(n))


# Only the victim fails


def _only_the_victim(task, error, *texts):
    with make_pool() as pool:
        found = outcomes(pool.imap(task, range(6)))
        assert [x for x in found if isinstance(x, int)] == [0, 1, 2, 4, 5], found
        assert isinstance(found[3], error), repr(found[3])
        for text in texts:
            assert text in f"{type(found[3]).__name__} {found[3]}", (text, repr(found[3]), str(found[3]))
        unordered = outcomes(pool.imap_unordered(task, range(6)))
        assert sorted(x for x in unordered if isinstance(x, int)) == [0, 1, 2, 4, 5], unordered
        for got in (caught(pool.map, task, range(6), 1), caught(pool.apply, task, (3,))):
            assert isinstance(got, error), repr(got)
            assert all(text in f"{type(got).__name__} {got}" for text in texts), repr(got)
        still_works(pool)
    pool.join()


@case
def sigkill():
    _only_the_victim(killed_at_three, EngineLost, "SIGKILL", "killed_at_three")


@case
def os_exit():
    _only_the_victim(exits_at_three, EngineLost, "3", "exits_at_three")


@case
def segfault():
    _only_the_victim(crashes_at_three, EngineLost, "SIGSEGV", "crashes_at_three")


@case
def sigkill_with_large_chunks():
    """The whole chunk is the task: it fails as one, and the other chunk does not."""
    with make_pool() as pool:
        values = pool.map_async(killed_at_three, range(6), 6)
        assert isinstance(caught(values.get, STILL), EngineLost)
        still_works(pool)


@case
def exception_with_two_arguments():
    _only_the_victim(raises_two_arguments, Exception, "TwoArguments", "7: the text")


@case
def sys_exit():
    _only_the_victim(exit_at_three, SystemExit, "3")


@case
def keyboard_interrupt_in_a_task():
    _only_the_victim(interrupt_at_three, KeyboardInterrupt, "pressed")


@case
def cancelled_error():
    _only_the_victim(cancel_at_three, asyncio.CancelledError, "cancelled")


@case
def unpicklable_result():
    _only_the_victim(lock_at_three, MaybeEncodingError, "lock")


@case
def unpicklable_result_without_repr():
    _only_the_victim(no_repr_at_three, MaybeEncodingError, "no pickle")


@case
def result_that_does_not_unpickle():
    _only_the_victim(explosive_at_three, Exception, "cannot be loaded")


@case
def argument_that_does_not_unpickle():
    items = [0, 1, ExplodesWhenLoaded(), 3]
    with make_pool() as pool:
        found = outcomes(pool.imap(ignore, items))
        assert [found[i] for i in (0, 1, 3)] == [1, 1, 1], found
        for got in (found[2], caught(pool.map, ignore, items, 1), caught(pool.apply, ignore, (items[2],))):
            assert isinstance(got, Exception) and "cannot be loaded" in f"{got} {got.__cause__}", repr(got)
        still_works(pool)


@case
def stop_iteration():
    with make_pool() as pool:
        for chunk in (1, 6):
            got = caught(pool.map, stop_at_three, range(6), chunk)
            assert "StopIteration" in f"{got!r} {got.__cause__!r}", repr(got)
        got = caught(list, pool.imap(stop_at_three, range(6)))
        assert "StopIteration" in f"{got!r} {got.__cause__!r}", repr(got)
        still_works(pool)


@case
def chunksize_of_zero():
    with make_pool() as pool:
        try:
            assert pool.map(square, [1, 2, 3], chunksize=0) == [1, 4, 9]
        except ValueError as error:
            assert "hunksize" in str(error)
        still_works(pool)


# Functions


@case
def lambdas():
    with make_pool() as pool:
        assert pool.map(lambda x: x + 1, range(3)) == [1, 2, 3]
        assert pool.apply(lambda: 5) == 5
        assert list(pool.imap(lambda x: x * 2, range(3))) == [0, 2, 4]


@case
def closures():
    offset, deeper = 10, [1, 2]

    def inner(x):
        return x + offset

    def outer(x):
        return inner(x) + deeper[0]

    with make_pool() as pool:
        assert pool.map(outer, range(3)) == [11, 12, 13]
        offset = 20
        assert pool.map(outer, range(3)) == [21, 22, 23]


@case
def local_class():
    class Local:
        def __init__(self, x):
            self.x = x

        def double(self):
            return self.x * 2

    with make_pool() as pool:
        assert pool.apply(lambda item: item.double(), (Local(4),)) == 8
        assert pool.map(Local(5).__class__.double, [Local(1), Local(2)]) == [2, 4]
        assert pool.map(Local(3).double.__func__, [Local(1)]) == [2]


@case
def pool_in_a_task():
    with make_pool() as pool:
        assert pool.map(pool_inside, [3, 4], 1) == [[0, 1, 4], [0, 1, 4, 9]]


# Initializers


@case
def initializer_that_raises():
    pool = None
    try:
        pool = make_pool(2, bad_initializer)
        pool.apply_async(square, (3,)).get(STILL)
    except Exception as error:
        assert "the initializer is broken" in f"{error} {error.__cause__}", repr(error)
    else:
        raise AssertionError("the initializer's error is lost")
    if pool is not None:
        assert "the initializer is broken" in str(caught(pool.map, square, range(3)))
        pool.terminate()
        pool.join()


@case
def initializer_that_exits():
    pool = None
    try:
        pool = make_pool(2, exiting_initializer)
        pool.apply_async(square, (3,)).get(STILL)
    except Exception as error:
        assert "5" in str(error) and type(error).__name__ != "TimeoutError", repr(error)
    else:
        raise AssertionError("there is no engine to run that")
    if pool is not None:
        pool.terminate()
        pool.join()


# Callbacks


@case
def raising_callback():
    raised, seen = [], []
    threading.excepthook = lambda args: raised.append(args.exc_value)

    def bad(value):
        raise ValueError(f"callback of {value}")

    with make_pool() as pool:
        results = [pool.apply_async(square, (i,), callback=bad) for i in (1, 2)]
        results.append(pool.apply_async(fail, ("x",), error_callback=bad))
        results.append(pool.map_async(square, [3], callback=bad))
        results.append(pool.apply_async(square, (5,), callback=seen.append))
        assert [results[i].get(STILL) for i in (0, 1, 3, 4)] == [1, 4, [9], 25]
        assert str(caught(results[2].get, STILL)) == "x"
        still_works(pool)
        end = time.monotonic() + STILL
        while (len(raised) < 4 or not seen) and time.monotonic() < end:
            time.sleep(0.01)
    assert sorted(map(str, raised)) == ["callback of 1", "callback of 4", "callback of [9]", "callback of x"], raised
    assert seen == [25]


if __name__ == "__main__":
    main()
