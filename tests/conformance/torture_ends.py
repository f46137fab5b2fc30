"""The torture matrix, second half: how pools, their processes and their parents end."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time

from torture import METHOD, STILL, case, caught, main, make_pool, still_works
from torture_tasks import (
    sleep,
    spin,
    square,
)

from parpool import EngineLost, Pool, get_context

# Ends


@case
def terminate_during_get():
    pool = make_pool()
    results = [pool.apply_async(sleep, (600,)), pool.map_async(sleep, [600] * 50)]
    values = pool.imap(sleep, [600] * 3)
    found = []
    threads = [threading.Thread(target=lambda r=r: found.append(caught(r.get)), daemon=True) for r in results]
    threads.append(threading.Thread(target=lambda: found.append(caught(next, values)), daemon=True))
    threads.append(threading.Thread(target=lambda: found.append(caught(pool.apply, sleep, (600,))), daemon=True))
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert not found
    pool.terminate()
    pool.join()
    for thread in threads:
        thread.join(STILL)
        assert not thread.is_alive(), "a thread hangs"
    assert len(found) == 4 and all(isinstance(error, Exception) for error in found), found


@case
def idle_worker_killed_then_terminate():
    pool = make_pool()
    still_works(pool)
    os.kill(pool._pool[0].pid, signal.SIGKILL)
    pool.terminate()
    pool.join()


@case
def idle_worker_killed_then_close():
    pool = make_pool()
    still_works(pool)
    os.kill(pool._pool[0].pid, signal.SIGKILL)
    pool.close()
    pool.join()


@case
def idle_worker_killed_then_more_work():
    with make_pool() as pool:
        still_works(pool)
        for _ in range(3):
            before = [process.pid for process in pool._pool]
            os.kill(before[0], signal.SIGKILL)
            end = time.monotonic() + STILL
            while before[0] in [process.pid for process in pool._pool]:
                assert time.monotonic() < end, "nobody replaced it"
                time.sleep(0.01)
            still_works(pool)
        assert len(pool._pool) == 2


@case
def all_workers_killed():
    with make_pool(3) as pool:
        still_works(pool)
        result = pool.map_async(sleep, [0.3] * 6, 1)
        time.sleep(0.1)
        for process in list(pool._pool):
            os.kill(process.pid, signal.SIGKILL)
        assert isinstance(caught(result.get, STILL), EngineLost)
        still_works(pool)


kept: list[object] = []
"""Pools that nobody closes."""


@case
def exit_without_close():
    """Whoever started this looks at the exit."""
    pool = make_pool()
    still_works(pool)
    kept.append(pool)


@case
def exit_without_close_while_busy():
    pool = make_pool()
    still_works(pool)
    pool.map_async(spin, [0, 1, 2], 1)
    kept.append(pool)
    time.sleep(0.3)


# The parent's end, seen from outside: each writes the pids of its engines and waits


def _announce(pool):
    print("pids", *[process.pid for process in pool._pool], flush=True)


@case
def parent_killed_while_idle():
    pool = make_pool()
    still_works(pool)
    _announce(pool)
    time.sleep(600)


@case
def parent_killed_while_sleeping():
    pool = make_pool()
    still_works(pool)
    result = pool.map_async(sleep, [600] * 10, 1)
    time.sleep(0.3)
    _announce(pool)
    result.get()


@case
def parent_killed_while_spinning():
    pool = make_pool()
    still_works(pool)
    result = pool.map_async(spin, range(10), 1)
    time.sleep(0.3)
    _announce(pool)
    result.get()


@case
def interrupt_during_map():
    try:
        with make_pool() as pool:
            still_works(pool)
            _announce(pool)
            pool.map(sleep, [600] * 10, 1)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        pool.join()
    else:
        raise AssertionError("nothing interrupted it")


@case
def interrupt_during_imap():
    try:
        with make_pool() as pool:
            still_works(pool)
            _announce(pool)
            list(pool.imap_unordered(sleep, [600] * 10))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        pool.join()
    else:
        raise AssertionError("nothing interrupted it")


# Forks


@case
def fork_after_pool():
    """The child's use of the pool is an error, and its end, with all that an interpreter does then, no harm."""
    pool = make_pool()
    still_works(pool)
    result = pool.apply_async(sleep, (1,))
    child = os.fork()
    if child == 0:
        signal.alarm(40)
        errors = [caught(pool.apply, square, (3,)), caught(pool.map, square, range(3)), caught(result.get, 20)]
        for error in errors:
            assert isinstance(error, Exception) and type(error).__name__ != "TimeoutError", errors
        with Pool(1, context=get_context("fork")) as own:  # a pool of its own is another matter
            assert own.apply(square, (5,)) == 25
        own.join()
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert result.get(STILL) == 1
    assert all(process.is_alive() for process in pool._pool)
    still_works(pool)
    pool.close()
    pool.join()


@case
def process_after_pool():
    """A multiprocessing.Process that has nothing to do with the pool ends without harm to it."""
    pool = make_pool()
    still_works(pool)
    process = multiprocessing.get_context(METHOD).Process(target=square, args=(3,))
    process.start()
    process.join()
    assert process.exitcode == 0
    still_works(pool)
    pool.terminate()
    pool.join()


# A machine that refuses


@case
def too_few_file_descriptors():
    """A pool that cannot be made is an error, and leaves room for one that can."""
    still_works_alone()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for spare in (1, 4, 8, 16):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + spare, hard))
        try:
            pool = make_pool(40)
        except OSError as error:  # what zmq raises is one too
            assert str(error), repr(error)
        else:
            pool.terminate()
            pool.join()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    still_works_alone()


@case
def a_folder_with_a_long_name():
    """Names of sockets have room for about a hundred characters."""
    still_works_alone()  # multiprocessing's fork server has a socket too: that one is not our affair
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = os.path.join(folder, "long" * 40)
        os.mkdir(tempfile.tempdir)
        os.environ["TMPDIR"] = tempfile.tempdir
        try:
            still_works_alone()
        except Exception as error:
            assert tempfile.tempdir in str(error), repr(error)
        assert [name for name in os.listdir(tempfile.tempdir) if not name.startswith("pymp-")] == []


def still_works_alone():
    with make_pool() as pool:
        still_works(pool)
    pool.join()


if __name__ == "__main__":
    main()
