"""Cases: results and iterators while they are not there yet, callbacks, time-outs."""

from __future__ import annotations

import gc
import multiprocessing
import types
import weakref

import oracle_tasks as tasks
from oracle import Kit, case, caught, error, ours, until


@case((False, True, 5))
def ready(kit: Kit):
    result = kit.pool.apply_async(tasks.wait_at, (str(kit.gate()), 5))
    before = result.ready()
    kit.gate().touch()
    value = result.get(30)
    return before, result.ready(), value


@case(("TimeoutError", True, 5))
def get_with_a_timeout(kit: Kit):
    result = kit.pool.apply_async(tasks.wait_at, (str(kit.gate()), 5))
    found = caught(result.get, timeout=0.05)
    kit.gate().touch()
    return type(found).__name__, type(found) is multiprocessing.TimeoutError, result.get(30)


@case(["TimeoutError"] * 4)
def every_async_call_can_time_out(kit: Kit):
    pool, job = kit.pool, (str(kit.gate()), 0)
    results = [
        pool.apply_async(tasks.wait_at, job),
        pool.map_async(tasks.wait_if_zero, [job]),
        pool.starmap_async(tasks.wait_at, [job]),
    ]
    names = [error(result.get, 0)[0] for result in results] + [error(results[0].get, -1)[0]]
    kit.gate().touch()
    for result in results:
        result.get(30)
    return names


@case((None, False, None, True))
def wait(kit: Kit):
    result = kit.pool.apply_async(tasks.wait_at, (str(kit.gate()),))
    first, still = result.wait(0.05), result.ready()
    kit.gate().touch()
    return first, still, result.wait(), result.ready()


@case(("ValueError", True, True))
def successful_before_it_is_ready(kit: Kit):
    result = kit.pool.apply_async(tasks.wait_at, (str(kit.gate()),))
    name, text = error(result.successful)
    kit.gate().touch()
    result.get(30)
    return name, text.endswith(" not ready"), result.successful()


@case((True, False, True, False))
def successful(kit: Kit):
    pool = kit.pool
    results = [
        pool.apply_async(tasks.give, (1,)),
        pool.apply_async(tasks.fail_at_two, (2,)),
        pool.map_async(tasks.give, [1]),
        pool.map_async(tasks.fail_at_two, [1, 2]),
    ]
    for result in results:
        result.wait(30)
    return tuple(result.successful() for result in results)


@case((True, True))
def get_may_be_called_again(kit: Kit):
    good = kit.pool.apply_async(tasks.give, ([1],))
    bad = kit.pool.apply_async(tasks.fail_at_two, (2,))
    return good.get(30) is good.get(0), caught(bad.get, 30) is caught(bad.get, 0)


@case([True] * 5)
def results_are_of_the_public_class(kit: Kit):
    pool = kit.pool
    results = [
        pool.apply_async(tasks.give, (1,)),
        pool.map_async(tasks.give, [1]),
        pool.starmap_async(tasks.give, [(1,)]),
    ]
    for result in results:
        result.wait(30)
    generic = isinstance(kit.AsyncResult[int], types.GenericAlias)
    methods = all(callable(getattr(kit.AsyncResult, name)) for name in ("get", "wait", "ready", "successful"))
    return [isinstance(result, kit.AsyncResult) for result in results] + [generic, methods]


@case((0, 1, 4, 9, [16, 25]))
def calls_overlap(kit: Kit):
    pool = kit.pool
    results = [pool.apply_async(tasks.square, (i,)) for i in range(4)]
    mapped = pool.map_async(tasks.square, [4, 5])
    return (*[result.get(30) for result in results], mapped.get(30))


# Callbacks


@case(([9], [[0, 1]], [[2, 4]]))
def callbacks_get_the_value(kit: Kit):
    pool, applied, mapped, starred = kit.pool, [], [], []
    pool.apply_async(tasks.square, (3,), callback=applied.append).get(30)
    pool.map_async(tasks.square, [0, 1], callback=mapped.append).get(30)
    pool.starmap_async(tasks.Counter.twice, [(1,), (2,)], callback=starred.append).get(30)
    return applied, mapped, starred


@case((1, 1, True))
def callbacks_run_before_get_returns(kit: Kit):
    values, errors = [], []
    good = kit.pool.apply_async(tasks.give, ([1],), callback=values.append, error_callback=errors.append)
    value = good.get(30)
    bad = kit.pool.apply_async(tasks.fail_at_two, (2,), callback=values.append, error_callback=errors.append)
    found = caught(bad.get, 30)
    return len(values), len(errors), values[0] is value and errors[0] is found


@case((["ValueError"], []))
def error_callback_of_a_map_runs_once(kit: Kit):
    errors, values = [], []
    result = kit.pool.map_async(tasks.raise_it, [ValueError(1)] * 6, 1, values.append, errors.append)
    result.wait(30)
    return [type(e).__name__ for e in errors], values


@case(list(range(20)))
def callbacks_run_in_the_order_of_completion(kit: Kit):
    seen: list[int] = []
    with kit.own(1) as pool:
        for i in range(20):
            last = pool.apply_async(tasks.give, (i,), callback=seen.append)
        last.get(30)
    return seen


@case(True)
def callbacks_run_while_nobody_waits(kit: Kit):
    seen: list[int] = []
    kit.pool.apply_async(tasks.give, (1,), callback=seen.append)
    return until(lambda: seen == [1])


@case([4, 16, 256])
def a_callback_may_submit_work(kit: Kit):
    seen: list[int] = []

    def again(value: int) -> None:
        seen.append(value)
        if value < 256:
            kit.pool.apply_async(tasks.square, (value,), callback=again)

    kit.pool.apply_async(tasks.square, (2,), callback=again)
    until(lambda: len(seen) == 3)
    return seen


@case([0, 1, 2, 3])
def join_waits_for_callbacks(kit: Kit):
    seen: list[int] = []
    with kit.own(1) as pool:
        for i in range(4):
            pool.apply_async(tasks.give, (i,), callback=seen.append)
        pool.close()
        pool.join()
        return list(seen)


# Iterators


@case((True, True, [0, 1, 4], ("StopIteration", ""), ("StopIteration", "")))
def imap_is_an_iterator(kit: Kit):
    values = kit.pool.imap(tasks.square, range(3))
    same = iter(values) is values
    found = list(values)
    return same, hasattr(values, "next"), found, error(next, values), error(values.next)


@case((("TimeoutError", True), 5, [1, 2]))
def next_with_a_timeout(kit: Kit):
    values = kit.pool.imap(tasks.wait_at_first, [(str(kit.gate()), 5), 1, 2])
    found = caught(values.next, 0.05)
    kit.gate().touch()
    name = type(found).__name__, type(found) is multiprocessing.TimeoutError
    return name, values.next(timeout=30), list(values)


@case("TimeoutError")
def next_of_imap_unordered_with_a_timeout(kit: Kit):
    values = kit.pool.imap_unordered(tasks.wait_if_zero, [(str(kit.gate()), 0)])
    found = caught(values.next, timeout=0)
    kit.gate().touch()
    list(values)
    return type(found).__name__


@case(("TimeoutError", [0, 1, 2, 3, 4, 5]))
def imap_holds_results_back_for_order(kit: Kit):
    values = kit.pool.imap(tasks.wait_if_zero, [(str(kit.gate()), i) for i in range(6)])
    found = caught(values.next, 0.1)
    kit.gate().touch()
    return type(found).__name__, list(values)


@case(([1, 2, 3, 4, 5], [0]))
def imap_unordered_does_not(kit: Kit):
    """One item blocks one process; the other process does all the rest."""
    values = kit.pool.imap_unordered(tasks.wait_if_zero, [(str(kit.gate()), i) for i in range(6)])
    first = sorted(values.next(30) for _ in range(5))
    kit.gate().touch()
    return first, list(values)


@case(([0, 1, 4], [0, 2, 4], 9))
def iterators_may_be_interleaved(kit: Kit):
    squares, doubles = kit.pool.imap(tasks.square, range(3)), kit.pool.imap(tasks.Counter.twice, range(3))
    pairs = list(zip(squares, doubles, strict=True))
    return [a for a, _ in pairs], [b for _, b in pairs], kit.pool.apply(tasks.square, (3,))


@case((True, ["0", "1", "2"]))
def imap_works_without_anybody_asking(kit: Kit):
    values = kit.pool.imap(tasks.leave_mark, [(str(kit.folder), i) for i in range(3)])
    return until(lambda: len(list(kit.folder.iterdir())) == 3), _names(kit, list(values))


def _names(kit: Kit, _):
    return sorted(path.name for path in kit.folder.iterdir())


@case((False, [0, 1, 4]))
def imap_returns_before_its_input_is_read(kit: Kit):
    read: list[int] = []
    gate = kit.gate()

    def source():
        tasks.wait_at(str(gate))
        for i in range(3):
            read.append(i)
            yield i

    values = kit.pool.imap(tasks.square, source())
    before = bool(read)
    gate.touch()
    return before, list(values)


@case(5)
def a_half_used_iterator_does_no_harm(kit: Kit):
    values = kit.pool.imap(tasks.square, range(100))
    next(values)
    del values
    return kit.pool.apply(tasks.give, (5,))


@case((True, True))
def arguments_and_results_are_released(kit: Kit):
    argument = tasks.Counter(1)
    result = kit.pool.apply_async(tasks.give, (argument,))
    refs = [weakref.ref(argument), weakref.ref(result.get(30))]
    del argument, result
    return tuple(until(lambda ref=ref: gc.collect() is None or ref() is None, 5) for ref in refs)


@case((True, True))
def functions_and_iterables_are_released(kit: Kit):
    class Numbers(list):
        pass

    function, numbers = tasks.Counter(2), Numbers([1, 2])
    refs = [weakref.ref(function), weakref.ref(numbers)]
    list(kit.pool.imap(function, numbers))
    del function, numbers
    return tuple(until(lambda ref=ref: gc.collect() is None or ref() is None, 5) for ref in refs)


@ours((True, True))
def names_are_the_stdlib_s_own(kit: Kit):
    import parpool

    return parpool.TimeoutError is multiprocessing.TimeoutError, parpool.cpu_count() == multiprocessing.cpu_count()


@ours(([0, 1, 4], [0, 1, 4], True))
def imap_with_a_buffer(kit: Kit):
    """`buffersize` bounds how far the input is read ahead of what was taken."""
    read: list[int] = []

    def source(n: int):
        for i in range(n):
            read.append(i)
            yield i

    ordered = list(kit.pool.imap(tasks.square, range(3), buffersize=2))
    unordered = sorted(kit.pool.imap_unordered(tasks.square, range(3), buffersize=1))
    values = kit.pool.imap(tasks.square, source(1000), buffersize=5)
    taken = [next(values) for _ in range(10)]
    until(lambda: len(read) > 10 + 5 + 1, 0.5)
    bounded = len(read) <= 10 + 5 + 1
    return ordered, unordered, bounded and len(taken) == 10 and len(list(values)) == 990


@ours([(True, True)] * 3)
def buffersize_that_makes_no_sense(kit: Kit):
    found = [caught(kit.pool.imap, tasks.square, [1], buffersize=size) for size in (0, -1, "x")]
    return [(isinstance(e, (ValueError, TypeError)), "buffersize" in str(e)) for e in found]
