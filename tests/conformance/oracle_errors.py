"""Cases: what goes wrong in a task, in an iterable, or on the way, and how the caller sees it."""

from __future__ import annotations

import multiprocessing.pool
import sys
import threading
import traceback

import oracle_tasks as tasks
from oracle import Kit, case, caught, error, ours

RemoteTraceback = multiprocessing.pool.RemoteTraceback
MaybeEncodingError = multiprocessing.pool.MaybeEncodingError


@case([("ValueError", "no 2s please")] * 7)
def a_task_error_reaches_every_kind_of_call(kit: Kit):
    pool = kit.pool
    return [
        error(pool.apply, tasks.fail_at_two, (2,)),
        error(pool.apply_async(tasks.fail_at_two, (2,)).get, 30),
        error(pool.map, tasks.fail_at_two, range(4)),
        error(pool.map_async(tasks.fail_at_two, range(4)).get, 30),
        error(pool.starmap, tasks.fail_at_two, [(1,), (2,)]),
        error(list, pool.imap(tasks.fail_at_two, range(4))),
        error(list, pool.imap_unordered(tasks.fail_at_two, range(4), chunksize=2)),
    ]


@case((True, (3,), 3, "is odd"))
def an_error_keeps_type_args_and_attributes(kit: Kit):
    found = caught(kit.pool.apply, tasks.even_only, (3,))
    return type(found) is tasks.Odd, found.args, found.number, found.note


@case(("KeyError", ("k",)))
def key_error(kit: Kit):
    found = caught(kit.pool.apply, tasks.look_up, ("k",))
    return type(found).__name__, found.args


@case((FileNotFoundError, 2, "/no/such/file"))
def os_error(kit: Kit):
    found = caught(kit.pool.apply, tasks.open_missing, ("/no/such/file",))
    return type(found), found.errno, found.filename


@case((UnicodeDecodeError, "ascii", b"a\xff", 1, 2))
def unicode_error(kit: Kit):
    found = caught(kit.pool.apply, tasks.decode, (b"a\xff",))
    return type(found), found.encoding, found.object, found.start, found.end


@case(("BaseExceptionGroup", 2) if sys.version_info >= (3, 11) else ("no groups", 2))
def exception_group(kit: Kit):
    if sys.version_info < (3, 11):
        return "no groups", 2
    found = caught(kit.pool.apply, tasks.raise_it, (ExceptionGroup("two", [ValueError(1), KeyError(2)]),))  # noqa: F821
    return type(found).__bases__[0].__name__, len(found.exceptions)


@case([True] * 6)
def the_cause_is_the_remote_traceback(kit: Kit):
    cause = caught(kit.pool.apply, tasks.fail_at_two, (2,)).__cause__
    return [
        type(cause) is RemoteTraceback,
        str(cause) == cause.tb,
        cause.tb.startswith('\n"""\nTraceback (most recent call last):\n'),
        cause.tb.endswith('ValueError: no 2s please\n"""'),
        'raise ValueError(f"no {x}s please")' in cause.tb,
        "in fail_at_two" in cause.tb,
    ]


@case([True, True, True])
def in_map_and_imap_too(kit: Kit):
    pool = kit.pool
    found = [
        caught(pool.map, tasks.fail_at_two, range(4)),
        caught(list, pool.imap(tasks.fail_at_two, range(4))),
        caught(list, pool.imap(tasks.fail_at_two, range(4), chunksize=2)),
    ]
    return ["in fail_at_two" in e.__cause__.tb for e in found]


@case((True, True))
def the_cause_shows_the_task_s_own_causes(kit: Kit):
    text = caught(kit.pool.apply, tasks.chained).__cause__.tb
    return "KeyError: 'inner'" in text, "The above exception was the direct cause" in text


@case((True, True))
def a_printed_error_shows_both_sides(kit: Kit):
    found = caught(kit.pool.apply, tasks.divide, (1, 0))
    text = "".join(traceback.format_exception(type(found), found, found.__traceback__))
    return "return a / b" in text, "in caught" in text


@case(("Odd", 1))
def map_raises_the_first_error_stored(kit: Kit):
    """With one process that is the first of the input."""
    with kit.own(1) as pool:
        found = caught(pool.map, tasks.even_only, range(8), 1)
    return type(found).__name__, found.number


@case(["0", "1", "3", "4", "5"])
def map_finishes_all_items_despite_an_error(kit: Kit):
    jobs = [(str(kit.folder), i) if i != 2 else None for i in range(6)]
    caught(kit.pool.map, tasks.leave_mark, jobs, 1)
    return sorted(path.name for path in kit.folder.iterdir())


@case([0, 1, ("ValueError", "no 2s please"), 3, 4, ("StopIteration", ""), ("StopIteration", "")])
def imap_goes_on_after_an_error(kit: Kit):
    values = kit.pool.imap(tasks.fail_at_two, range(5))
    return [_next(values) for _ in range(7)]


@case(([0, 1, 3, 4], 1))
def imap_unordered_goes_on_after_an_error(kit: Kit):
    values = kit.pool.imap_unordered(tasks.fail_at_two, range(5))
    found = [_next(values) for _ in range(5)]
    return sorted(value for value in found if isinstance(value, int)), found.count(("ValueError", "no 2s please"))


def _next(values):
    try:
        return next(values)
    except Exception as e:
        return type(e).__name__, str(e)


@case(("StopIteration", "enough"))
def stop_iteration_in_apply(kit: Kit):
    return error(kit.pool.apply, tasks.stop)


@ours([True] * 5)
def stop_iteration_never_shortens_a_result(kit: Kit):
    """The stdlib's map and imap silently lose items."""
    pool = kit.pool
    found = [
        caught(pool.map, tasks.stop, range(6), 1),
        caught(pool.map, tasks.stop, range(6), 6),
        caught(pool.starmap, tasks.stop, [(i,) for i in range(6)]),
        caught(list, pool.imap(tasks.stop, range(6))),
        caught(list, pool.imap_unordered(tasks.stop, range(6), chunksize=3)),
    ]
    return ["StopIteration" in f"{e!r} {e.__cause__!r}" for e in found]


@ours([("CancelledError", "not now"), ("CancelledError", "not now")])
def asyncio_cancelled_error(kit: Kit):
    """Not an Exception: in the stdlib it ends the worker, and the call hangs."""
    pool = kit.pool
    return [error(pool.apply, tasks.cancelled, (1,)), error(pool.map, tasks.cancelled, range(3))]


@ours(([("SystemExit", "3"), ("SystemExit", "3")], 9))
def system_exit(kit: Kit):
    pool = kit.pool
    found = [error(pool.apply, tasks.exits, (1,)), error(pool.map, tasks.exits, range(3))]
    return found, pool.apply(tasks.square, (3,))


# Results and errors that cannot travel


@case((True, True, True, True))
def a_result_that_cannot_be_pickled(kit: Kit):
    found = caught(kit.pool.apply, tasks.make_lambda)
    return (
        type(found) is MaybeEncodingError,
        found.value.startswith("<function make_lambda.<locals>.<lambda>"),
        "make_lambda.<locals>.<lambda>" in found.exc,
        str(found) == f"Error sending result: '{found.value}'. Reason: '{found.exc}'",
    )


@case([True] * 4)
def in_every_kind_of_call(kit: Kit):
    pool = kit.pool
    found = [
        caught(pool.map, tasks.lambda_at_two, range(4)),
        caught(pool.starmap, tasks.lambda_at_two, [(2,)]),
        caught(list, pool.imap(tasks.lambda_at_two, range(4))),
        caught(pool.apply, tasks.make_generator),
    ]
    return [type(e) is MaybeEncodingError for e in found]


@case([("int", 0), ("int", 1), ("MaybeEncodingError", None), ("int", 3)])
def only_its_own_item_fails(kit: Kit):
    values = kit.pool.imap(tasks.lambda_at_two, range(4))
    found = [_next(values) for _ in range(4)]
    return [("int", v) if isinstance(v, int) else (v[0], None) for v in found]


@ours([True, True])
def a_result_whose_repr_raises_too(kit: Kit):
    """The stdlib hangs."""
    pool = kit.pool
    found = [caught(pool.apply, tasks.make_bad_repr), caught(pool.map, tasks.make_bad_repr, [1, 2])]
    return [isinstance(e, MaybeEncodingError) and "no pickle" in str(e) for e in found]


@ours((True, True))
def an_error_that_cannot_be_pickled(kit: Kit):
    found = caught(kit.pool.apply, tasks.raise_unpicklable, ("the text",))
    return "Unpicklable" in f"{found!r} {found}", "the text" in f"{found!r} {found}"


@ours((True, True, 9))
def an_error_that_cannot_be_rebuilt(kit: Kit):
    """The stdlib's result thread dies of it, and every call after it hangs."""
    found = caught(kit.pool.apply, tasks.raise_two_arguments, ("the text",))
    text = f"{found!r} {found}"
    return "TwoArguments" in text, "7: the text" in text, kit.pool.apply(tasks.square, (3,))


# Errors of the iterable


class Broken(Exception):
    pass


def broken(good: int):
    yield from range(good)
    raise Broken(good)


@case([(Broken, 3, None)] * 4)
def an_iterable_s_error_is_raised_as_it_is(kit: Kit):
    pool = kit.pool
    found = [
        caught(pool.map, tasks.square, broken(3)),
        caught(pool.map_async, tasks.square, broken(3)),
        caught(pool.starmap, tasks.square, broken(3)),
        caught(lambda: [*pool.imap(tasks.square, broken(3))]),
    ]
    return [(type(e), e.args[0], e.__cause__) for e in found]


@case([0, 1, 4, ("Broken", "3"), ("StopIteration", "")])
def imap_gives_what_came_before(kit: Kit):
    values = kit.pool.imap(tasks.square, broken(3))
    return [_next(values) for _ in range(5)]


@case([0, 1, 4, 9, ("Broken", "5"), ("StopIteration", "")])
def imap_drops_the_half_filled_chunk(kit: Kit):
    values = kit.pool.imap(tasks.square, broken(5), chunksize=2)
    return [_next(values) for _ in range(6)]


@case([("Broken", "0")] * 4)
def an_iterable_that_fails_at_once(kit: Kit):
    methods = kit.pool.imap, kit.pool.imap_unordered
    return [error(next, method(tasks.square, broken(0), size)) for method in methods for size in (1, 2)]


@case(([0, 1, 4], None))
def imap_unordered_with_a_failing_iterable(kit: Kit):
    values, good = kit.pool.imap_unordered(tasks.square, broken(3)), []
    found = None
    for _ in range(4):
        try:
            good.append(next(values))
        except Broken as e:
            found = e
    return sorted(good), found.__cause__ if found else "no error"


@ours((Broken, [0, 1]))
def an_iterable_whose_iter_fails(kit: Kit):
    """The stdlib hangs when it also has a length."""

    class Bad:
        def __iter__(self):
            raise Broken("iter")

        def __len__(self):
            return 3

    return type(caught(kit.pool.map, tasks.square, Bad())), kit.pool.map(tasks.square, [0, 1])


@ours((9, [0, 1, 4]))
def a_slow_iterable_blocks_nobody_else(kit: Kit):
    """In the stdlib one thread feeds all calls."""
    release = threading.Event()

    def slow():
        yield 0
        release.wait(30)
        yield from (1, 2)

    values = kit.pool.imap(tasks.square, slow())
    other = kit.pool.apply_async(tasks.square, (3,)).get(20)
    release.set()
    return other, list(values)
