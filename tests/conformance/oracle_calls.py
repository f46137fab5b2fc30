"""Cases: what may be called, on what, and what comes back."""

from __future__ import annotations

import builtins
import datetime
import decimal
import functools
import itertools
import math
import operator
import threading

import oracle_tasks as tasks
from oracle import Kit, case, caught, error, ours
from oracle_tasks import Counter, Point


@case(9)
def apply_one_argument(kit: Kit):
    return kit.pool.apply(tasks.square, (3,))


@case(((), {}))
def apply_without_arguments(kit: Kit):
    return kit.pool.apply(tasks.echo)


@case(((1, 2), {"a": 3}))
def apply_with_both_kinds_of_arguments(kit: Kit):
    return kit.pool.apply(tasks.echo, (1, 2), {"a": 3})


@case(((1,), {"func": 2, "args": 3, "kwds": 4, "timeout": 5, "retries": 6, "self": 7}))
def kwds_may_have_any_name(kit: Kit):
    names = {"func": 2, "args": 3, "kwds": 4, "timeout": 5, "retries": 6, "self": 7}
    return kit.pool.apply(tasks.echo, (1,), names)


@case(((1, 2), {}))
def apply_takes_a_list_of_arguments(kit: Kit):
    return kit.pool.apply(tasks.echo, [1, 2])


@case((1, 2, 3))
def arguments_by_name(kit: Kit):
    pool = kit.pool
    return (
        pool.apply(func=tasks.give, args=(1,), kwds={}),
        pool.apply_async(func=tasks.give, args=(2,), kwds={}, callback=None, error_callback=None).get(timeout=30),
        pool.map(func=tasks.give, iterable=[3], chunksize=1)[0],
    )


@case([7, 16])
def starmap_unpacks(kit: Kit):
    return kit.pool.starmap(tasks.add, [(3, 4), (6,)])


@case([((1, 2), {}), (("a", "b"), {}), ((), {})])
def starmap_takes_any_iterables(kit: Kit):
    return kit.pool.starmap(tasks.echo, iter([[1, 2], "ab", ()]))


@case([3, 7])
def starmap_async_gives_the_same(kit: Kit):
    return kit.pool.starmap_async(tasks.add, [(1, 2), (3, 4)]).get(30)


@case([0, 1, 4, 9, 16])
def map_of_a_list(kit: Kit):
    return kit.pool.map(tasks.square, [0, 1, 2, 3, 4])


@case([x * x for x in range(1000)])
def map_of_a_range(kit: Kit):
    return kit.pool.map(tasks.square, range(1000))


@case([x * x for x in range(9, -20, -3)])
def map_of_a_falling_range(kit: Kit):
    return kit.pool.map(tasks.square, range(9, -20, -3))


@case(["a", "b", "c"])
def map_of_a_string(kit: Kit):
    return kit.pool.map(tasks.give, "abc")


@case(([97, 98], "int"))
def map_of_bytes(kit: Kit):
    result = kit.pool.map(tasks.give, b"ab")
    return result, type(result[0]).__name__


@case(["x", "y"])
def map_of_a_dict(kit: Kit):
    return kit.pool.map(tasks.give, {"x": 1, "y": 2})


@case([("x", 1), ("y", 2)])
def map_of_dict_items(kit: Kit):
    return kit.pool.map(tasks.give, {"x": 1, "y": 2}.items())


@case([0, 1, 4])
def map_of_a_generator(kit: Kit):
    return kit.pool.map(tasks.square, (x for x in range(3)))


@case([(0, "a"), (1, "b")])
def map_of_an_iterator(kit: Kit):
    return kit.pool.map(tasks.give, enumerate("ab"))


@case(([], [], [], [], [], [], []))
def empty_iterables(kit: Kit):
    pool = kit.pool
    return (
        pool.map(tasks.square, []),
        pool.map(tasks.square, iter(())),
        pool.map(tasks.square, [], chunksize=5),
        pool.starmap(tasks.add, ()),
        pool.map_async(tasks.square, ()).get(30),
        list(pool.imap(tasks.square, [])),
        list(pool.imap_unordered(tasks.square, iter([]), chunksize=4)),
    )


@case([None, None, None])
def results_may_be_none(kit: Kit):
    return kit.pool.map(tasks.nothing, range(3))


@case(([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]))
def order_is_kept(kit: Kit):
    pool = kit.pool
    return pool.map(tasks.slower_first, range(5), chunksize=1), list(pool.imap(tasks.slower_first, range(5)))


@case([[x * x for x in range(10)]] * 5)
def any_chunksize_gives_the_same(kit: Kit):
    return [kit.pool.map(tasks.square, range(10), size) for size in (None, 1, 3, 10, 1000)]


@case([[x * x for x in range(10)]] * 6)
def any_imap_chunksize_gives_the_same(kit: Kit):
    pool = kit.pool
    ordered = [list(pool.imap(tasks.square, range(10), size)) for size in (1, 3, 1000)]
    return ordered + [sorted(pool.imap_unordered(tasks.square, range(10), size)) for size in (1, 3, 1000)]


@case((1, 1, 2))
def a_chunk_runs_in_one_process(kit: Kit):
    with kit.own(1, maxtasksperchild=1) as pool:
        pids = pool.map(tasks.pid, range(6), chunksize=3)
    return len(set(pids[:3])), len(set(pids[3:])), len(set(pids))


@case([("ValueError", "Chunksize must be 1+, not 0"), ("ValueError", "Chunksize must be 1+, not -2")] * 2)
def imap_refuses_chunks_below_one(kit: Kit):
    methods = kit.pool.imap, kit.pool.imap_unordered
    return [error(method, tasks.square, [1], size) for method in methods for size in (0, -2)]


@ours("right")
def map_with_chunks_of_zero(kit: Kit):
    """The stdlib gives a list of None."""
    try:
        return "right" if kit.pool.map(tasks.square, [1, 2, 3], chunksize=0) == [1, 4, 9] else "wrong"
    except ValueError:
        return "right"  # a clear refusal is as good


@case([3, 1, 9, "AB", 2, 6, 8, Counter(5), 12, 21])
def callables_of_every_kind(kit: Kit):
    pool = kit.pool
    return [
        pool.apply(builtins.len, ("abc",)),
        pool.apply(int, ("1",)),
        pool.apply(math.pow, (3, 2)),
        pool.apply(str.upper, ("ab",)),
        pool.apply(operator.itemgetter(1), ([1, 2],)),
        pool.apply(functools.partial(tasks.add, 1, c=2), (3,)),
        pool.apply(Counter.twice, (4,)),
        pool.apply(Counter.made, (5,)),
        pool.apply(Counter(3).plus, (9,)),
        pool.apply(Counter(3), (7,)),
    ]


@case(["A", "B"])
def a_bound_method_of_a_builtin(kit: Kit):
    return kit.pool.map({"a": "A", "b": "B"}.get, ["a", "b"])


@case([Point(1, 2), Point(3, 4)])
def a_class_is_a_callable(kit: Kit):
    return kit.pool.starmap(Point, [(1, 2), (3, 4)])


VALUES = [
    None,
    Ellipsis,
    True,
    -(2**200),
    1.5,
    float("inf"),
    1 + 2j,
    "snow \u2603 \U0001f600 \ud800",
    b"\0\xff",
    bytearray(b"abc"),
    (),
    [[[]]],
    {1: {2: 3}},
    {1, 2},
    frozenset("ab"),
    range(3),
    slice(1, 2),
    decimal.Decimal("1.10"),
    datetime.datetime(2020, 2, 29, tzinfo=datetime.timezone.utc),
    Point(1, 2),
    Counter(3),
    int,
    len,
    NotImplemented,
]


@case(VALUES)
def values_come_back_equal(kit: Kit):
    return kit.pool.map(tasks.give, VALUES)


@case([type(value) for value in VALUES])
def values_keep_their_types(kit: Kit):
    return [type(value) for value in kit.pool.map(tasks.give, VALUES, chunksize=1)]


@case([type(value) for value in (1, 2.0, True, None, "x")])
def items_of_mixed_types_keep_them(kit: Kit):
    return [type(value) for value in kit.pool.map(tasks.give, [1, 2.0, True, None, "x"], chunksize=5)]


@case((True, False))
def sharing_inside_a_call_is_kept(kit: Kit):
    items: list[int] = []
    return kit.pool.apply(tasks.same, (items, items)), kit.pool.apply(tasks.same, (items, []))


@case(True)
def a_list_may_contain_itself(kit: Kit):
    items: list[object] = []
    items.append(items)
    result = kit.pool.apply(tasks.give, (items,))
    return result[0] is result


@case(([1, 2], [1]))
def a_task_changes_its_own_copy(kit: Kit):
    items = [1]
    return kit.pool.apply(tasks.append, (items, 2)), items


@ours([1])
def later_changes_do_not_reach_the_task(kit: Kit):
    """In the stdlib it depends on who is faster."""
    items = [1]
    result = kit.pool.apply_async(tasks.give, (items,))
    items.append(2)
    return result.get(30)


@case((5_000_000, True, True))
def five_megabytes_there_and_back(kit: Kit):
    data = bytes(range(250)) * 20_000
    back = kit.pool.apply(tasks.give, (data,))
    return len(back), back == data, type(back) is bytes


@case([5_000_000] * 4)
def five_megabytes_in_each_item(kit: Kit):
    return kit.pool.map(len, [b"x" * 5_000_000] * 4, chunksize=1)


@case((True, True, 300_000))
def many_small_items(kit: Kit):
    result = kit.pool.map(tasks.give, list(range(300_000)))
    return result[0] == 0, result == list(range(300_000)), len(result)


@case((160, 40))
def many_threads_use_one_pool(kit: Kit):
    applied: list[bool] = []
    mapped: list[bool] = []

    def use(n: int) -> None:
        for i in range(20):
            applied.append(kit.pool.apply(tasks.square, (n * i,)) == (n * i) ** 2)
            if i % 4 == 0:
                mapped.append(kit.pool.map(tasks.square, range(n)) == [x * x for x in range(n)])

    threads = [threading.Thread(target=use, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return applied.count(True), mapped.count(True)


@case([("TypeError", "'int' object is not iterable")] * 4)
def not_iterable_for_map(kit: Kit):
    pool = kit.pool
    return [
        error(pool.map, tasks.square, 5),
        error(pool.map_async, tasks.square, 5),
        error(pool.starmap, tasks.square, 5),
        error(pool.starmap_async, tasks.square, 5),
    ]


@case([("TypeError", "'int' object is not iterable")] * 4)
def not_iterable_for_imap_shows_at_next(kit: Kit):
    iterators = [
        method(tasks.square, 5, size) for method in (kit.pool.imap, kit.pool.imap_unordered) for size in (1, 2)
    ]
    return [error(next, iterator) for iterator in iterators]


@case(["TypeError"] * 3)
def not_callable(kit: Kit):
    pool = kit.pool
    calls = [(pool.apply, 5), (pool.map, 5, [1]), (lambda f, x: list(pool.imap(f, x)), None, [1])]
    return [type(caught(*call)).__name__ for call in calls]


@case([("TypeError", "square() takes 1 positional argument but 2 were given")] * 2)
def wrong_number_of_arguments(kit: Kit):
    pool = kit.pool
    return [error(pool.apply, tasks.square, (1, 2)), error(pool.starmap, tasks.square, [(1, 2)])]


@case(["TypeError", "TypeError"])
def starmap_of_items_that_do_not_unpack(kit: Kit):
    found = [caught(kit.pool.starmap, tasks.square, [5]), caught(kit.pool.starmap, tasks.square, [None, (1,)])]
    return [type(e).__name__ for e in found]


@case(["TypeError"] * 4)
def argument_that_cannot_be_pickled(kit: Kit):
    lock, pool = threading.Lock(), kit.pool
    found = [
        caught(pool.apply, tasks.give, (lock,)),
        caught(pool.map, tasks.give, [1, lock]),
        caught(list, pool.imap(tasks.give, [lock])),
        caught(pool.apply, tasks.echo, (), {"lock": lock}),
    ]
    return ["TypeError" if isinstance(e, TypeError) else repr(e) for e in found]


@case((9, [0, 1]))
def the_pool_goes_on_after_one(kit: Kit):
    caught(kit.pool.apply, tasks.give, (threading.Lock(),))
    caught(kit.pool.map, tasks.give, [threading.Lock()])
    return kit.pool.apply(tasks.square, (3,)), kit.pool.map(tasks.square, [0, 1])


@case(([10, 11, 12], True))
def imap_of_endless_input(kit: Kit):
    with kit.own(1) as pool:
        values = pool.imap(tasks.give, itertools.count(10))
        return list(itertools.islice(values, 3)), next(values) == 13


@ours([(0, 5), (1, 6), 36])
def lambdas_and_closures_travel(kit: Kit):
    by = 5
    base = 6

    def shift(x: int) -> tuple[int, int]:
        return x, x + by

    return [*kit.pool.map(shift, [0, 1]), kit.pool.apply(lambda: base * base)]


@ours(["Local", 8])
def a_local_class_travels_as_argument(kit: Kit):
    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

    return kit.pool.apply(lambda item: [type(item).__name__, item.x * 2], (Local(4),))
