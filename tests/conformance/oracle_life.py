"""Cases: how pools begin, and what their processes inherit."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import warnings

import oracle_tasks as tasks
from oracle import Kit, case, caught, end, error

# Making one


@case([("ValueError", "Number of processes must be at least 1")] * 2)
def too_few_processes(kit: Kit):
    return [error(kit.Pool, n) for n in (0, -1)]


@case(["TypeError", "TypeError"])
def processes_that_are_no_number(kit: Kit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return [error(kit.Pool, n)[0] for n in ("x", [1])]


@case([("ValueError", "maxtasksperchild must be a positive int or None")] * 4)
def bad_maxtasksperchild(kit: Kit):
    return [error(kit.Pool, 1, maxtasksperchild=n) for n in (0, -1, 0.5, "12")]


@case(("TypeError", "initializer must be a callable"))
def initializer_that_cannot_be_called(kit: Kit):
    return error(kit.Pool, 1, 5)


@case(True)
def as_many_processes_as_processors(kit: Kit):
    with kit.own() as pool:
        count = getattr(os, "process_cpu_count", os.cpu_count)()
        return pool._processes == len(pool._pool) == count


@case(9)
def arguments_by_position_and_name(kit: Kit):
    with kit.own(1, tasks.set_state, (1,), 5, kit.get_context()):
        pass
    with kit.own(processes=1, initializer=None, initargs=(), maxtasksperchild=None, context=kit.get_context()) as pool:
        return pool.apply(tasks.square, (3,))


@case([9, 9])
def from_a_context(kit: Kit):
    found = []
    for method in ("fork", "spawn"):
        pool = kit.get_context(method).Pool(1)
        found.append(pool.apply(tasks.square, (3,)))
        end(pool)
    return found


@case(["fork", "spawn"])
def the_start_method_is_the_context_s(kit: Kit):
    found = []
    for method in ("fork", "spawn"):
        with kit.own(1, context=multiprocessing.get_context(method)) as pool:
            pool.apply(tasks.give, (1,))
            found.append(pool._ctx.get_start_method())
    return found


@case(("OSError", "no more", []))
def a_process_that_cannot_be_started(kit: Kit):
    started = []

    class Failing(multiprocessing.get_context("fork").Process):
        def start(self):
            if len(started) == 2:
                raise OSError("no more")
            super().start()
            started.append(self)

    class Context(type(multiprocessing.get_context("fork"))):
        Process = Failing

    name, text = error(kit.Pool, 4, context=Context())
    gc.collect()
    return name, text, [process for process in started if process.is_alive()]


# Processes


@case((2, True, True, True))
def processes(kit: Kit):
    pool = kit.pool
    pids = {process.pid for process in pool._pool}
    used = set(pool.map(tasks.pid, range(50), 1))
    return len(pids), used <= pids, os.getpid() not in used, all(process.is_alive() for process in pool._pool)


@case(True)
def processes_are_children_of_this_one(kit: Kit):
    children = {process.pid for process in multiprocessing.active_children()}
    return {process.pid for process in kit.pool._pool} <= children


@case((True, True))
def processes_are_named_as_scripts_log_them(kit: Kit):
    name = kit.pool.apply(tasks.process_name)
    names = [process.name for process in kit.pool._pool]
    return bool(re.fullmatch(r"\w*PoolWorker-\d+(:\d+)?", name)), name in names


@case(True)
def the_parent_is_this_process_when_forked(kit: Kit):
    with kit.own(1, context=kit.get_context("fork")) as pool:
        return pool.apply(tasks.parent_pid) == os.getpid()


@case([2, 2, 2])
def maxtasksperchild_counts_tasks(kit: Kit):
    with kit.own(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(tasks.pid) for _ in range(6)]
    return [pids.count(pid) for pid in dict.fromkeys(pids)]


@case((None, 2, True))
def repopulate_pool(kit: Kit):
    result = kit.pool._repopulate_pool()
    return result, len(kit.pool._pool), all(process.is_alive() for process in kit.pool._pool)


@case((2, "RUN", True))
def private_names_that_scripts_use(kit: Kit):
    pool = kit.pool
    return pool._processes, pool._state, isinstance(pool._ctx, multiprocessing.context.BaseContext)


# Initializers, and what only inheritance can carry


@case((("a", 1), [("a", 1)] * 4))
def what_an_initializer_sets_is_seen(kit: Kit):
    with kit.own(2, tasks.set_state, ("a", 1)) as pool:
        return pool.apply(tasks.get_state), pool.map(tasks.get_state, range(4))


@case([1])
def initargs_may_be_a_list(kit: Kit):
    with kit.own(1, tasks.set_state, [[1]]) as pool:
        return pool.apply(tasks.get_state)[0]


@case(3)
def an_initializer_runs_once_in_each_process(kit: Kit):
    value = multiprocessing.Value("i", 0)
    with kit.own(3, tasks.count_up, (value,)) as pool:
        pool.close()
        pool.join()
        return value.value


@case((("set",), True))
def an_initializer_runs_in_replacements_too(kit: Kit):
    value = multiprocessing.Value("i", 0)
    with kit.own(1, tasks.set_and_count, (value,), maxtasksperchild=1) as pool:
        states = [pool.apply(tasks.get_state) for _ in range(3)]
    return states[-1], value.value >= 3


def _method_context(method: str):
    return multiprocessing.get_context(method)


def _inherit(kit: Kit, make, task, items) -> list[object]:
    found = []
    for method in ("fork", "spawn"):
        context = _method_context(method)
        things = make(context)
        with kit.own(2, tasks.set_state, things, context=context) as pool:
            pool.map(task, items, 1)
            pool.close()  # a process that ends by itself first sends what lies in its queues
            pool.join()
            found.append(things)
    return found


@case([190, 190])
def lock_and_value_are_inherited(kit: Kit):
    found = _inherit(kit, lambda c: (c.Lock(), c.Value("i", 0, lock=False)), tasks.locked_add, range(20))
    return [total.value for _, total in found]


@case([[0, 1, 4, 9, 16]] * 2)
def array_is_inherited(kit: Kit):
    return [list(array) for (array,) in _inherit(kit, lambda c: (c.Array("i", 5),), tasks.fill_array, range(5))]


@case([[0, 10, 20]] * 2)
def queue_is_inherited(kit: Kit):
    found = _inherit(kit, lambda c: (c.Queue(),), tasks.put_state, range(3))
    values = [sorted(queue.get(timeout=20) for _ in range(3)) for (queue,) in found]
    for (queue,) in found:
        queue.close()
        queue.join_thread()
    return values


@case([[0, 1, 2]] * 2)
def connection_is_inherited(kit: Kit):
    values = []
    for method in ("fork", "spawn"):
        context = _method_context(method)
        reader, writer = context.Pipe(False)
        with kit.own(1, tasks.set_state, (writer,), context=context) as pool:
            pool.map(tasks.send_state, range(3))
            values.append([reader.recv() for _ in range(3)])
        reader.close()
        writer.close()
    return values


@case(["True", "True", "True"])
def locks_of_every_kind_are_inherited(kit: Kit):
    context = multiprocessing.get_context("spawn")
    found = []
    for make in (context.RLock, context.Condition, lambda: context.BoundedSemaphore(2)):
        with kit.own(1, tasks.set_state, (make(),), context=context) as pool:
            found.append(str(pool.apply(tasks.acquire_release)))
    return found


@case(True)
def event_is_inherited(kit: Kit):
    event = multiprocessing.Event()
    with kit.own(1, tasks.set_state, (event,)) as pool:
        result = pool.apply_async(tasks.wait_event)
        event.set()
        return result.get(30)


@case((True, True))
def locks_do_not_travel_as_arguments(kit: Kit):
    found = caught(kit.pool.apply, tasks.give, (multiprocessing.Lock(),))
    return isinstance(found, RuntimeError), "between processes through inheritance" in str(found)
