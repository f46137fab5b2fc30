"""Cases: what parpool's Pool has beyond the stdlib's."""

from __future__ import annotations

import os
import signal
import threading

import oracle_tasks as tasks
from oracle import Kit, caught, error, ours


def _errors():
    import parpool.errors

    return parpool.errors


@ours((True, True, True, [0, 1, "lost", 3]))
def only_the_victim_of_a_death_fails(kit: Kit):
    with kit.own(2) as pool:
        found = caught(pool.apply, tasks.die, (2,))
        values = pool.imap(tasks.die, range(4))
        each = []
        for _ in range(4):
            try:
                each.append(next(values))
            except _errors().EngineLost:
                each.append("lost")
    return isinstance(found, _errors().EngineLost), "SIGKILL" in str(found), "die" in str(found), each


@ours(["alive", "alive"])
def retries(kit: Kit):
    first, second = str(kit.gate("a")), str(kit.gate("b"))
    with kit.own(2, retries=1) as pool:
        found = [pool.apply(tasks.die_once, (first,))]
    with kit.own(2) as pool:
        return found + [pool.apply(tasks.die_once, (second,), retries=2)]


@ours(("EngineLost", "SIGKILL"))
def retries_end(kit: Kit):
    with kit.own(1) as pool:
        name, text = error(pool.apply, tasks.die, (2,), retries=2)
    return name, signal.Signals(9).name if "SIGKILL" in text else text


@ours((True, [0, "late", 2, 3]))
def a_task_over_its_time(kit: Kit):
    late = _errors().TaskTimeout
    with kit.own(2) as pool:
        found = caught(pool.apply, tasks.sleep_if_one, (1,), task_timeout=0.3)
        values = pool.imap(tasks.sleep_if_one, range(4), task_timeout=0.3)
        each = []
        for _ in range(4):
            try:
                each.append(next(values))
            except late:
                each.append("late")
    return isinstance(found, late), each


@ours([("TypeError", True)] * 3)
def additions_are_by_keyword_only(kit: Kit):
    pool = kit.pool
    found = [
        error(kit.Pool, 1, None, (), None, None, 3),
        error(pool.map, tasks.square, [1], None, 3),
        error(pool.apply, tasks.square, (1,), {}, 3),
    ]
    return [(name, "positional" in text) for name, text in found]


@ours([(True, True)] * 4)
def additions_that_make_no_sense(kit: Kit):
    names = "retries", "task_timeout", "retries", "serializer"
    found = [
        caught(kit.Pool, 1, retries=-1),
        caught(kit.Pool, 1, task_timeout=-1),
        caught(kit.Pool, 1, retries="many"),
        caught(kit.Pool, 1, serializer="no such thing"),
    ]
    return [(isinstance(e, (ValueError, TypeError)), n in str(e)) for e, n in zip(found, names, strict=True)]


@ours([[0, 1, 4]] * 4)
def progress(kit: Kit):
    pool = kit.pool
    return [
        pool.map(tasks.square, range(3), progress=True),
        pool.starmap(tasks.square, [(0,), (1,), (2,)], progress=True),
        list(pool.imap(tasks.square, range(3), progress=True)),
        sorted(pool.imap_unordered(tasks.square, range(3), progress=True)),
    ]


@ours([9, 9])
def serializers(kit: Kit):
    found = []
    for name in ("cloudpickle", "dill"):
        with kit.own(1, serializer=name) as pool:
            found.append(pool.apply(lambda x: x * x, (3,)))
    return found


@ours(([True, True], 9))
def a_function_that_cannot_travel(kit: Kit):
    """The error says what in it is the matter, and the pool lives on."""
    lock = threading.Lock()
    found = [caught(kit.pool.apply, lambda: lock), caught(kit.pool.map, lambda x: lock, [1])]
    return ["lock" in str(e) for e in found], kit.pool.apply(tasks.square, (3,))


@ours([1, 2])
def a_function_that_changes_between_calls(kit: Kit):
    found = []
    for number in (1, 2):

        def function(number=number):
            return number

        found.append(kit.pool.apply(function))
    return found


@ours((True, True, True, True))
def results_know_more(kit: Kit):
    result = kit.pool.map_async(tasks.give, range(4))
    called: list[object] = []
    result.add_done_callback(called.append)
    result.get(30)
    return result.done(), called == [result], result.elapsed >= 0, list(result) == [0, 1, 2, 3]


@ours((9, 9))
def the_patched_module(kit: Kit):
    from parpool.compat import multiprocessing as patched

    pool = patched.Pool(1)
    value = pool.apply(tasks.square, (3,))
    pool.terminate()
    pool.join()
    with patched.get_context("fork").Pool(1) as pool:
        other = pool.apply(tasks.square, (3,))
    pool.join()
    return value, other


@ours((True, True))
def patch_and_unpatch(kit: Kit):
    import multiprocessing

    from parpool.compat import multiprocessing as patched

    before = multiprocessing.Pool
    patched.patch()
    try:
        with multiprocessing.Pool(1) as pool:
            ours_now = isinstance(pool, kit.Pool) and pool.apply(os.getppid) == os.getpid()
        pool.join()
    finally:
        patched.unpatch()
    return ours_now, multiprocessing.Pool == before
