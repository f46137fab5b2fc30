"""Engines killed at random under load, long queues dropped, a thousand pools: ``python kills.py CASE START_METHOD``."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import tempfile
import threading
import time

from parpool import Pool, get_context

TASKS = 20_000


def double(x):
    return 2 * x


def sleep(seconds):
    time.sleep(seconds)


class Killer(threading.Thread):
    """Kills one of the pool's processes after another, until told to stop.

    Also those that are starting, yet only while another serves: where no start succeeds a pool gives up, by contract.
    """

    def __init__(self, pool, seed):
        super().__init__()
        self.pool, self.random = pool, random.Random(seed)
        self.stop = threading.Event()
        self.kills = 0

    def run(self):
        while not self.stop.wait(self.random.uniform(0.02, 0.15)):
            processes = list(self.pool._pool)
            if not processes or not len(self.pool.client):
                continue
            process = self.random.choice(processes)
            try:
                os.kill(process.pid, signal.SIGKILL)
                self.kills += 1
            except (OSError, TypeError):  # it has just ended, or not yet begun
                pass

    def end(self):
        self.stop.set()
        self.join()


def kills_during_apply_async(context):
    """Every result is right and arrives once."""
    delivered: list[int] = []
    with context.Pool(3) as pool:
        killer = Killer(pool, 1)
        killer.start()
        results = [
            pool.apply_async(double, (i,), callback=delivered.append, error_callback=print, retries=100)
            for i in range(TASKS)
        ]
        for i, result in enumerate(results):
            assert result.get(100) == 2 * i, i
            if i % 100 == 0:
                time.sleep(0.005)  # so that there is time to kill in
        killer.end()
        time.sleep(0.2)
        assert sorted(delivered) == [2 * i for i in range(TASKS)]
        assert pool.map(double, range(100)) == [2 * i for i in range(100)]
        pool.close()
        pool.join()
    assert killer.kills >= 3, killer.kills


def kills_during_imap_unordered(context):
    """Every item comes out once, whichever engine died with it."""
    with context.Pool(3) as pool:
        killer = Killer(pool, 2)
        killer.start()
        found = []
        for value in pool.imap_unordered(double, range(TASKS), retries=100, buffersize=500):
            found.append(value)
            if len(found) % 100 == 0:
                time.sleep(0.005)
        killer.end()
        assert sorted(found) == [2 * i for i in range(TASKS)]
        pool.close()
        pool.join()
    assert killer.kills >= 3, killer.kills


def terminate_with_a_long_queue(context):
    """The time is for the report; what must hold is that it ends, and drops the work."""
    pool = context.Pool(2)
    results = [pool.apply_async(sleep, (600,)) for _ in range(2)]
    results += [pool.apply_async(double, (i,)) for i in range(100_000)]
    mapped = pool.map_async(double, range(100_000), 1)
    start = time.monotonic()
    pool.terminate()
    pool.join()
    print(f"terminate() with {len(results)} tasks queued took {time.monotonic() - start:.2f} s")
    for result in (*results[:2], results[-1], mapped):
        try:
            result.get(30)
        except Exception as error:
            assert type(error).__name__ != "TimeoutError", repr(error)
        else:
            raise AssertionError("it cannot have run")


def _things():
    """Open files, threads, and files in the folders for temporary ones."""
    folders = {tempfile.gettempdir(), os.environ["PARPOOL_RUNTIME_DIR"]}
    files = sum(len(os.listdir(folder)) for folder in folders)
    return len(os.listdir("/proc/self/fd")), threading.active_count(), files


def _more_than(before):
    return any(now > then for now, then in zip(_things(), before, strict=True))


def a_thousand_pools(context):
    """Opened, used and closed in every way; nothing adds up."""
    for _ in range(5):  # what is made once and kept
        with context.Pool(1) as pool:
            pool.apply(double, (1,))
        pool.join()
    gc.collect()
    before = _things()
    start = time.monotonic()
    for i in range(1000):
        pool = context.Pool(1)
        if i % 2:
            assert pool.apply(double, (i,)) == 2 * i
        if i % 3:
            pool.close()
        else:
            pool.terminate()
        pool.join()
        children = [process.is_alive() for process in pool._pool]
        assert not any(children)
    print(f"1000 pools took {time.monotonic() - start:.1f} s")
    del pool
    gc.collect()
    end = time.monotonic() + 10
    while _more_than(before) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _more_than(before), (before, _things())
    assert not _children(), _children()


def _children():
    """Processes that this one started and that are there or not yet waited for."""
    found = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as file:
            found += file.read().split()
    return found


class Context:
    """`Pool(...)` under one start method."""

    def __init__(self, method):
        self.method = method

    def Pool(self, *args, **kwds):
        return Pool(*args, context=get_context(self.method), **kwds)


if __name__ == "__main__":
    globals()[sys.argv[1]](Context(sys.argv[2]))
