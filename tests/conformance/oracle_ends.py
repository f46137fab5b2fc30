"""Cases: states, what they look like, and how pools end."""

from __future__ import annotations

import contextlib
import copy
import gc
import multiprocessing
import os
import pickle
import re
import warnings

import oracle_tasks as tasks
from oracle import Kit, case, caught, end, error, ours, until

# repr, states, ends


def _state(pool) -> str:
    text = re.fullmatch(r"<[\w.]*\bPool state=(\w+) pool_size=\d+>", repr(pool))
    return text.group(1) if text else repr(pool)


@case(["RUN", "CLOSE", "CLOSE", "TERMINATE", "TERMINATE"])
def repr_shows_the_state(kit: Kit):
    pool = kit.Pool(1)
    found = [_state(pool)]
    for step in (pool.close, pool.join, pool.terminate, pool.join):
        step()
        found.append(_state(pool))
    return found


@case((True, "2"))
def repr_of_a_running_pool(kit: Kit):
    cls = type(kit.pool)
    text = repr(kit.pool)
    return text == f"<{cls.__module__}.{cls.__qualname__} state=RUN pool_size=2>", text[-2]


@case(("Wider", 9))
def pool_can_be_subclassed(kit: Kit):
    class Wider(kit.Pool):
        def triple(self, x):
            return self.apply(tasks.add, (x, x), {"c": x})

    pool = Wider(1)
    value = pool.triple(3)
    name = repr(pool).split(" ")[0].rpartition(".")[2]
    end(pool)
    return name, value


METHODS = ("apply", "apply_async", "map", "map_async", "starmap", "starmap_async", "imap", "imap_unordered")


@case([("ValueError", "Pool not running")] * 8)
def nothing_runs_after_close(kit: Kit):
    with kit.own(1) as pool:
        pool.close()
        return [error(getattr(pool, name), tasks.square, []) for name in METHODS]


@case([("ValueError", "Pool not running")] * 8)
def nothing_runs_after_terminate(kit: Kit):
    with kit.own(1) as pool:
        pool.terminate()
        return [error(getattr(pool, name), tasks.square, []) for name in METHODS]


@case(("ValueError", "Pool is still running"))
def join_of_a_running_pool(kit: Kit):
    return error(kit.pool.join)


@case([None] * 8)
def ends_may_be_repeated_and_mixed(kit: Kit):
    found = []
    for steps in (("close", "close", "join", "join"), ("terminate", "terminate", "close", "join")):
        pool = kit.Pool(1)
        found += [getattr(pool, step)() for step in steps]
        end(pool)
    return found


@case([str(i) for i in range(10)])
def close_and_join_finish_the_work(kit: Kit):
    with kit.own(2) as pool:
        pool.map_async(tasks.leave_mark, [(str(kit.folder), i) for i in range(4)], 1)
        for i in (4, 5, 6):
            pool.apply_async(tasks.leave_mark, ((str(kit.folder), i),))
        pool.imap(tasks.leave_mark, [(str(kit.folder), i) for i in range(7, 10)])
        pool.close()
        pool.join()
        return sorted(path.name for path in kit.folder.iterdir())


@case(([0, 1, 4], [0, 1]))
def results_outlive_the_pool(kit: Kit):
    with kit.own(2) as pool:
        result = pool.map_async(tasks.square, range(3))
        values = pool.imap(tasks.square, range(2))
        pool.close()
        pool.join()
    return result.get(0), list(values)


@case((True, "TERMINATE", [], ("ValueError", "Pool not running")))
def the_context_manager_terminates(kit: Kit):
    pool = kit.Pool(2)
    with pool as entered:
        children = list(pool._pool)
    state = pool._state
    pool.join()
    alive = [process for process in children if process.is_alive()]
    return entered is pool, state, alive, error(pool.__enter__)


@case(("ValueError", "Pool not running"))
def a_closed_pool_cannot_be_entered(kit: Kit):
    with kit.own(1) as pool:
        pool.close()
        return error(pool.__enter__)


@case(("KeyError", "TERMINATE"))
def errors_pass_through_the_context_manager(kit: Kit):
    pool = kit.Pool(1)
    try:
        with pool:
            raise KeyError("mine")
    except KeyError as e:
        name = type(e).__name__
    state = pool._state
    pool.join()
    return name, state


@case(([], True))
def terminate_drops_what_is_queued(kit: Kit):
    pool = kit.Pool(1)
    children = list(pool._pool)
    gate = str(kit.gate())
    pool.apply_async(tasks.wait_at, (gate,))
    pool.map_async(tasks.leave_mark, [(str(kit.folder), i) for i in range(1000)], 1)
    end(pool)
    return list(kit.folder.iterdir()), until(lambda: not any(process.is_alive() for process in children))


MESSAGE = "pool objects cannot be passed between processes or pickled"


@case([(True, True)] * 3)
def pools_cannot_be_pickled(kit: Kit):
    pool = kit.pool
    found = [caught(pickle.dumps, pool), caught(copy.copy, pool), caught(pool.apply, tasks.give, (pool,))]
    return [(isinstance(e, NotImplementedError), MESSAGE in str(e)) for e in found]


@case((True, True))
def an_unclosed_pool_warns(kit: Kit):
    pool = kit.Pool(1)
    children = list(pool._pool)
    pool.map(tasks.square, [1, 2])
    text = f"unclosed running multiprocessing pool {pool!r}"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        del pool
        gc.collect()
    found = [str(w.message) for w in seen if w.category is ResourceWarning]
    seen.clear()  # a warning holds what it is about
    gc.collect()
    return found == [text], until(lambda: not any(process.is_alive() for process in children))


@case([])
def a_closed_pool_does_not(kit: Kit):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        pool = kit.Pool(1)
        pool.close()
        pool.join()
        del pool
        gc.collect()
    return [str(w.message) for w in seen if w.category is ResourceWarning]


class Undaemonic(multiprocessing.get_context("fork").Process):
    """The well-known recipe for a Pool in a Pool's task."""

    @property
    def daemon(self):
        return False

    @daemon.setter
    def daemon(self, value):
        pass


class UndaemonicContext(type(multiprocessing.get_context("fork"))):
    Process = Undaemonic


@case([0, 1, 4, 9, 16])
def nested_pools_by_the_old_recipe(kit: Kit):
    class Nestable(kit.Pool):
        def __init__(self, *args, **kwds):
            kwds["context"] = UndaemonicContext()
            super().__init__(*args, **kwds)

    pool = Nestable(1, tasks.set_state, (kit.Pool,))
    with contextlib.ExitStack() as stack:
        stack.callback(end, pool)
        return pool.apply(tasks.nested)


@ours([0, 1, 4, 9, 16])
def nested_pools_without_one(kit: Kit):
    with kit.own(1, tasks.set_state, (kit.Pool,)) as pool:
        return pool.apply(tasks.nested)


@ours((True, "TERMINATE"))
def terminate_with_an_idle_process_killed(kit: Kit):
    """The stdlib hangs."""
    pool = kit.Pool(2)
    os.kill(pool._pool[0].pid, 9)
    end(pool)
    return True, pool._state


@ours((True, [0, 1, 4]))
def a_killed_idle_process_is_replaced(kit: Kit):
    with kit.own(2) as pool:
        pool.map(tasks.give, range(4))
        victim = pool._pool[0].pid
        os.kill(victim, 9)
        replaced = until(
            lambda: victim not in [p.pid for p in pool._pool] and [p.is_alive() for p in pool._pool] == [True] * 2
        )
        return replaced, pool.map(tasks.square, range(3), 1)


@ours([True] * 3)
def waiting_for_a_terminated_pool_ends(kit: Kit):
    """The stdlib hangs."""
    pool = kit.Pool(1)
    job = str(kit.gate()), 0
    results = [pool.apply_async(tasks.wait_at, job), pool.map_async(tasks.wait_if_zero, [job] * 4)]
    values = pool.imap(tasks.wait_if_zero, [job] * 4)
    end(pool)
    found = [caught(result.get, 20) for result in results] + [caught(values.next, 20)]
    return [type(e) is not multiprocessing.TimeoutError for e in found]
