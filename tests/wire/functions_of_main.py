"""Code of ``__main__`` on engines: ``python functions_of_main.py START_METHOD`` prints what each case comes to.

A case is a function here whose name begins with ``case_``: it gets a pool, and raises where something is wrong. All
run in one script, since it is about what one ``__main__`` and its engines make of each other.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import json
import multiprocessing
import os
import pickle
import sys
import threading
import traceback
import types

from parpool import Pool, SerializationError

PATIENCE = 5.0  # seconds for a case

counter = 0
from_parent = "set before the pool"


def set_up(value):
    global from_initializer
    from_initializer = value
    Settings.value = value


class Settings:
    value = None


def early(x):
    return "old", x


def early_refers(x):
    return early(x)


def early_memo(x, seen=[]):  # noqa: B006
    seen.append(x)
    return list(seen)


def early_default(x, table={"a": 1}):  # noqa: B006
    return table


def decorated(function):
    @functools.wraps(function)
    def call(*args):
        return "decorated", function(*args)

    return call


@decorated
def early_decorated(x):
    return "old", x


@functools.lru_cache
def early_cached(x):
    return "old", x


class EarlyBox:
    k = "old"

    def __init__(self, v):
        self.v = v

    def get(self):
        return "old", self.v

    @staticmethod
    def static(x):
        return "static", x

    @classmethod
    def of_class(cls, x):
        return cls.__name__, x

    class Inner:
        def __init__(self, v=0):
            self.v = v

    def __call__(self, x):
        return self.v + x


class EarlyError(Exception):
    pass


class EarlyColour(enum.Enum):
    RED = 1


EarlyPoint = collections.namedtuple("EarlyPoint", "x y")


@dataclasses.dataclass
class EarlyData:
    x: int = 1


def give(x):
    return x


def type_name(x):
    return type(x).__module__, type(x).__qualname__


def make_early(name, *args):
    return globals()[name](*args)


def is_own(x):
    return type(x) is globals()[type(x).__name__]


def raise_it(error):
    raise error


def raise_early(x):
    raise EarlyError(x)


def read_state(name):
    return globals().get(name, "not there")


def count_up():
    global counter
    counter += 1
    return counter


def pid_of(x):
    return os.getpid()


def equal(value, expected):
    assert value == expected, f"{value!r} is not {expected!r}"


def define(source):
    """As a prompt does: in ``__main__`` itself."""
    exec(compile(source, "<stdin>", "single" if "\n" not in source else "exec"), globals())


# By reference ------------------------------------------------------------------------------------


def case_blobs_of_early_functions_are_small(pool):
    book = pool.client.link._book
    for function in (early, early_refers, set_up, EarlyBox, EarlyBox.get, EarlyBox.static, os.path.join, len, str):
        blob = book.function(function).blob
        assert len(blob) < 250, (function, len(blob))


def case_initializer_s_globals_are_seen(pool):
    equal(pool.apply(read_state, ("from_initializer",)), 7)


def case_initializer_s_class_attributes_are_seen(pool):
    equal(pool.apply(early_settings), 7)


def early_settings():
    return Settings.value


def case_globals_stay_on_the_engine(pool):
    first = pool.apply(count_up)
    equal(pool.apply(count_up), first + 1)
    equal(counter, 0)


def case_a_memo_in_a_default_stays_on_the_engine(pool):
    equal(pool.apply(early_memo, (1,)), [1])
    equal(pool.apply(early_memo, (2,)), [1, 2])
    equal(early_memo.__defaults__, ([],))


def case_data_changed_in_the_parent_later_is_not_seen(pool):
    global from_parent
    from_parent = "changed"
    try:
        equal(pool.apply(read_state, ("from_parent",)), "set before the pool")
    finally:
        from_parent = "set before the pool"


def case_static_class_and_bound_methods(pool):
    equal(pool.apply(EarlyBox.static, (1,)), ("static", 1))
    equal(pool.apply(EarlyBox.of_class, (1,)), ("EarlyBox", 1))
    equal(pool.apply(EarlyBox(3).get), ("old", 3))
    equal(pool.map(EarlyBox(3), [1, 2]), [4, 5])
    equal(pool.map(EarlyBox.get, [EarlyBox(5)]), [("old", 5)])


def case_partials(pool):
    equal(pool.apply(functools.partial(early, 3)), ("old", 3))
    equal(pool.map(functools.partial(max, 5), [1, 9]), [5, 9])
    late = lambda a, b: a - b  # noqa: E731
    equal(pool.map(functools.partial(late, 10), [1, 2]), [9, 8])


def case_early_decorated(pool):
    equal(pool.apply(early_decorated, (1,)), ("decorated", ("old", 1)))
    equal(pool.apply(early_cached, (1,)), ("old", 1))


# Instances, there and back ------------------------------------------------------------------------


def case_instances_keep_their_class_there_and_back(pool):
    for value in (EarlyBox(1), EarlyPoint(1, 2), EarlyData(4), EarlyError("e"), EarlyBox.Inner(2)):
        back = pool.apply(give, (value,))
        assert type(back) is type(value), (type(back), type(value))
    for value in (EarlyBox(1), EarlyPoint(1, 2), EarlyData(4), EarlyError("e")):
        assert pool.apply(is_own, (value,)), value
    assert type(pool.apply(make_early, ("EarlyBox", 5))) is EarlyBox
    equal(pool.apply(give, (EarlyPoint(1, 2),)), EarlyPoint(1, 2))
    equal(pool.apply(give, (EarlyData(4),)), EarlyData(4))
    assert pool.apply(give, (EarlyColour.RED,)) is EarlyColour.RED
    assert pool.apply(give, (EarlyBox,)) is EarlyBox
    assert pool.apply(give, (early,)) is early


def case_early_exceptions_are_caught(pool):
    try:
        pool.apply(raise_early, (5,))
    except EarlyError as error:
        equal(error.args, (5,))
    else:
        raise AssertionError("nothing was raised")


# Defined later --------------------------------------------------------------------------------------


def case_defined_after_the_pool(pool):
    define("def late(x):\n    return x * 2\n")
    equal(pool.apply(late, (4,)), 8)  # noqa: F821
    equal(pool.map(late, range(10)), [2 * i for i in range(10)])  # noqa: F821
    equal(list(pool.imap(late, iter(range(3)))), [0, 2, 4])  # noqa: F821


def case_lambdas(pool):
    equal(pool.map(lambda x: x + 1, range(5)), [1, 2, 3, 4, 5])
    define("plus = lambda x: x + 2\n")
    equal(pool.apply(plus, (1,)), 3)  # noqa: F821
    define("plus = lambda x: x + 3\n")
    equal(pool.apply(plus, (1,)), 4)  # noqa: F821


def case_redefined(pool):
    equal(pool.apply(early, (1,)), ("old", 1))
    equal(pool.apply(early_refers, (1,)), ("old", 1))
    define("def early(x):\n    return 'new', x\n")
    equal(pool.apply(early, (1,)), ("new", 1))
    equal(pool.apply(early_refers, (1,)), ("new", 1))
    define("def early(x):\n    return 'newer', x\n")
    equal(pool.apply(early_refers, (1,)), ("newer", 1))
    equal(pool.apply(early, (1,)), ("newer", 1))


def case_redefined_with_another_default(pool):
    equal(pool.apply(early_default, (0,)), {"a": 1})
    define("def early_default(x, table={'a': 2}):\n    return table\n")
    equal(pool.apply(early_default, (0,)), {"a": 2})


def case_redefined_decorated(pool):
    equal(pool.apply(early_decorated, (1,))[1], ("old", 1))
    define("@decorated\ndef early_decorated(x):\n    return 'new', x\n")
    equal(pool.apply(early_decorated, (1,)), ("decorated", ("new", 1)))
    define("@decorated\ndef late_decorated(x):\n    return 'late', x\n")
    equal(pool.apply(late_decorated, (1,)), ("decorated", ("late", 1)))  # noqa: F821
    define("@decorated\ndef late_decorated(x):\n    return 'later', x\n")
    equal(pool.apply(late_decorated, (1,)), ("decorated", ("later", 1)))  # noqa: F821


def case_cached_defined_later(pool):
    define("@functools.lru_cache\ndef late_cached(x):\n    return 'new', x\n")
    equal(pool.apply(late_cached, (1,)), ("new", 1))  # noqa: F821


def case_cached_redefined(pool):
    equal(pool.apply(early_cached, (1,)), ("old", 1))
    define("@functools.lru_cache\ndef early_cached(x):\n    return 'new', x\n")
    equal(pool.apply(early_cached, (1,)), ("new", 1))


def case_default_redefined_in_place(pool):
    define("def patched(x=1):\n    return x\n")
    equal(pool.apply(patched), 1)  # noqa: F821
    patched.__defaults__ = (2,)  # noqa: F821
    equal(pool.apply(patched), 2)  # noqa: F821


def case_referred_function_redefined(pool):
    define(
        "def inner_one():\n    return 1\n\ndef middle():\n    return inner_one()\n\ndef outer():\n    return middle()\n"
    )
    equal(pool.apply(outer), 1)  # noqa: F821
    define("def inner_one():\n    return 2\n")
    equal(pool.apply(outer), 2)  # noqa: F821
    equal(pool.apply(middle), 2)  # noqa: F821


def case_recursion(pool):
    define("def factorial(n):\n    return n * factorial(n - 1) if n else 1\n")
    equal(pool.apply(factorial, (5,)), 120)  # noqa: F821

    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    equal(pool.map(fibonacci, range(8)), [0, 1, 1, 2, 3, 5, 8, 13])


def case_mutual_recursion(pool):
    define(
        "def even(n):\n    return True if n == 0 else odd(n - 1)\n\ndef odd(n):\n    return False if n == 0 else even(n - 1)\n"
    )
    equal(pool.map(even, range(4)), [True, False, True, False])  # noqa: F821
    equal(pool.map(odd, range(4)), [False, True, False, True])  # noqa: F821

    def ping(n):
        return "ping" if n == 0 else pong(n - 1)

    def pong(n):
        return "pong" if n == 0 else ping(n - 1)

    equal(pool.map(ping, range(3)), ["ping", "pong", "ping"])


def case_late_functions_may_be_arguments(pool):
    define("def argument(x):\n    return 'argument', x\n")
    equal(pool.apply(call_it, (argument, 1)), ("argument", 1))  # noqa: F821
    equal(pool.starmap(call_it, [(lambda x: x, 1), (early, 2)])[0], 1)
    define("def argument(x):\n    return 'redefined', x\n")
    equal(pool.apply(call_it, (argument, 1)), ("redefined", 1))  # noqa: F821


def call_it(function, *args):
    return function(*args)


# Closures -------------------------------------------------------------------------------------------


def case_cells_travel_at_each_call(pool):
    n = 1

    def add(x):
        return x + n

    equal(pool.apply(add, (1,)), 2)
    n = 10
    equal(pool.apply(add, (1,)), 11)
    result = pool.apply_async(add, (1,))
    n = 1000
    equal(result.get(), 11)
    equal(pool.map(add, [1]), [1001])


def case_an_empty_cell(pool):
    def outer():
        def inner(use):
            return later if use else "unused"

        value = pool.apply(inner, (False,))
        later = 5
        return value, pool.apply(inner, (True,))

    equal(outer(), ("unused", 5))


def case_functions_in_cells(pool):
    def helper(x):
        return x + 1

    def twice(x):
        return helper(helper(x))

    equal(pool.apply(twice, (1,)), 3)
    equal(pool.apply(decorated(twice), (1,)), ("decorated", 3))


def case_a_named_closure_with_data(pool):
    define(
        "def make(n):\n    def named(x):\n        return x + n\n    named.__qualname__ = 'named'\n    return named\n"
    )
    define("named = make(1)\n")
    equal(pool.apply(named, (1,)), 2)  # noqa: F821
    define("named = make(2)\n")
    equal(pool.apply(named, (1,)), 3)  # noqa: F821


# Globals of what goes by value --------------------------------------------------------------------------


def case_assigned_globals_stay_there(pool):
    define("def keep(x):\n    global kept\n    kept = globals().get('kept', 0) + x\n    return kept\n")
    equal(pool.apply(keep, (2,)), 2)  # noqa: F821
    equal(pool.apply(keep, (3,)), 5)  # noqa: F821
    define("def read_kept():\n    return kept\n")
    equal(pool.apply(read_kept), 5)  # noqa: F821
    assert "kept" not in globals()


def case_augmented_globals_stay_there(pool):
    define("def begin():\n    global a\n    a = 1\n")
    define("def increase():\n    global a\n    a += 1\n    return a\n")
    pool.apply(begin)  # noqa: F821
    equal([pool.apply(increase), pool.apply(increase)], [2, 3])  # noqa: F821


def case_missing_data_is_a_name_error(pool):
    define("late_data = 5\n")
    define("def reads_late_data():\n    return late_data\n")
    try:
        pool.apply(reads_late_data)  # noqa: F821
    except NameError as error:
        assert "late_data" in str(error), error
    else:
        raise AssertionError("data travelled")


def case_data_of_the_engine_is_seen(pool):
    define("def reads_from_initializer():\n    return from_initializer, from_parent\n")
    equal(pool.apply(reads_from_initializer), (7, "set before the pool"))  # noqa: F821


def case_code_and_modules_travel_along(pool):
    define("import string as late_module\n")
    define("class LateHelper:\n    def m(self):\n        return late_module.digits\n")
    define("def late_helper():\n    return LateHelper().m()\n")
    define("def uses_all():\n    return late_helper(), late_module.ascii_lowercase[:3]\n")
    equal(pool.apply(uses_all), ("0123456789", "abc"))  # noqa: F821


def case_a_user_s_data_is_not_replaced_by_code(pool):
    define("def put():\n    global occupied\n    occupied = 'data'\n")
    pool.apply(put)  # noqa: F821
    define("def occupied():\n    return 'code'\n")
    define("def look():\n    occupied\n    return read_state('occupied')\n")
    equal(pool.apply(look), "data")  # noqa: F821


def case_imported_inside(pool):
    def local():
        import fractions

        return fractions.Fraction(1, 3)

    import fractions

    equal(pool.apply(local), fractions.Fraction(1, 3))


def case_a_module_imported_after_the_fork(pool):
    import colorsys

    assert pool.apply(colorsys.rgb_to_hsv, (0, 0, 0)) == (0.0, 0.0, 0)
    equal(pool.map(lambda x: colorsys.rgb_to_hsv(x, x, x), [0]), [(0.0, 0.0, 0)])


def case_a_module_that_is_not_there(pool):
    module = types.ModuleType("not_on_disk")
    sys.modules["not_on_disk"] = module
    exec("def f(x):\n    return x\n", module.__dict__)
    try:
        try:
            pool.apply(module.f, (1,))
        except ImportError as error:
            assert "not_on_disk" in str(error)
    finally:
        del sys.modules["not_on_disk"]


# Classes ---------------------------------------------------------------------------------------------------


def late_class(source, name):
    define(source)
    return globals()[name]


def case_a_late_class_keeps_its_identity(pool):
    box = late_class("class LateBox:\n    def __init__(self, v=0):\n        self.v = v\n", "LateBox")
    back = pool.apply(give, (box(5),))
    assert type(back) is box and back.v == 5
    assert type(pool.apply(box, (6,))) is box
    define("def make_late():\n    return LateBox(7)\n")
    assert type(pool.apply(make_late)) is box  # noqa: F821
    assert [type(each) for each in pool.map(give, [box(), EarlyBox(1)])] == [box, EarlyBox]
    assert pool.apply(give, (box,)) is box


def case_a_late_inner_class(pool):
    outer = late_class("class LateOuter:\n    class Inner:\n        def m(self):\n            return 3\n", "LateOuter")
    equal(pool.apply(outer.Inner().m), 3)
    back = pool.apply(give, (outer.Inner(),))
    assert type(back) is outer.Inner


def case_late_dataclass_enum_namedtuple(pool):
    data = late_class("@dataclasses.dataclass\nclass LateData:\n    x: int = 1\n", "LateData")
    back = pool.apply(give, (data(5),))
    assert type(back) is data and back == data(5)
    equal(pool.apply(data), data(1))
    colour = late_class("class LateColour(enum.Enum):\n    RED = 1\n    GREEN = 2\n", "LateColour")
    assert pool.apply(give, (colour.GREEN,)) is colour.GREEN
    assert pool.map(give, list(colour)) == list(colour)
    point = late_class("LatePoint = collections.namedtuple('LatePoint', 'x y')\n", "LatePoint")
    back = pool.apply(give, (point(1, 2),))
    assert type(back) is point and back == point(1, 2)


def case_redefined_class(pool):
    equal(pool.apply(EarlyBox(1).get), ("old", 1))
    old = EarlyBox
    source = "class EarlyBox:\n    k = 'new'\n    def __init__(self, v):\n        self.v = v\n    def get(self):\n        return self.k, self.v\n"
    define(source)
    try:
        equal(pool.apply(EarlyBox(1).get), ("new", 1))
        back = pool.apply(give, (EarlyBox(2),))
        assert type(back) is EarlyBox and type(back) is not old
        define(source.replace("self.k, self.v", "'newest', self.v"))
        equal(pool.apply(EarlyBox(1).get), ("newest", 1))
        assert type(pool.apply(give, (EarlyBox(2),))) is EarlyBox
    finally:
        globals()["EarlyBox"] = old


def case_a_class_redefined_in_its_data(pool):
    source = "class Numbers:\n    k = 1\n    def get(self):\n        return self.k\n"
    define(source)
    equal(pool.apply(Numbers().get), 1)  # noqa: F821
    define(source.replace("k = 1", "k = 2"))
    equal(pool.apply(Numbers().get), 2)  # noqa: F821


def case_redefined_enum_and_dataclass(pool):
    colour = late_class("class Shade(enum.Enum):\n    A = 1\n", "Shade")
    assert pool.apply(give, (colour.A,)) is colour.A
    colour = late_class("class Shade(enum.Enum):\n    A = 2\n    B = 3\n", "Shade")
    assert pool.apply(give, (colour.B,)) is colour.B
    define("def value_of(member):\n    return member.value\n")
    equal(pool.apply(value_of, (colour.A,)), 2)  # noqa: F821
    data = late_class("@dataclasses.dataclass\nclass Record:\n    x: int = 1\n", "Record")
    equal(pool.apply(data).x, 1)
    data = late_class("@dataclasses.dataclass\nclass Record:\n    x: int = 2\n", "Record")
    equal(pool.apply(data).x, 2)


def case_redefined_base(pool):
    define("class Root:\n    def who(self):\n        return 1\n\nclass Leaf(Root):\n    pass\n")
    equal(pool.apply(Leaf().who), 1)  # noqa: F821
    define("class Root:\n    def who(self):\n        return 2\n\nclass Leaf(Root):\n    pass\n")
    equal(pool.apply(Leaf().who), 2)  # noqa: F821


def case_late_exceptions_are_caught(pool):
    error = late_class("class LateError(ValueError):\n    pass\n", "LateError")
    define("def raise_late(x):\n    raise LateError(x)\n")
    try:
        pool.apply(raise_late, (5,))  # noqa: F821
    except error as caught:
        equal(caught.args, (5,))
        assert "raise_late" in str(caught.__cause__)
    else:
        raise AssertionError("nothing was raised")
    try:
        pool.apply(raise_it, (error(6),))
    except error as caught:
        equal(caught.args, (6,))


def case_a_local_class(pool):
    class Local:
        def __init__(self, v):
            self.v = v

        def get(self):
            return self.v

    equal(pool.apply(Local(5).get), 5)
    equal(pool.map(lambda x: Local(x).get(), [1, 2]), [1, 2])
    assert pool.apply(type_name, (Local(1),))[1].endswith("Local")


def case_super_and_class_cells(pool):
    define(
        "class A1:\n    def m(self):\n        return 1\n\nclass B1(A1):\n    def m(self):\n        return super().m(), __class__.__name__\n"
    )
    equal(pool.apply(B1().m), (1, "B1"))  # noqa: F821


def case_a_class_and_its_function_refer_to_each_other(pool):
    define(
        "class Tree:\n    def grow(self, n):\n        return plant(n - 1) if n else self\n\ndef plant(n):\n    return Tree().grow(n)\n"
    )
    assert type(pool.apply(plant, (2,))) is Tree  # noqa: F821


# What cannot travel ------------------------------------------------------------------------------------------


def case_errors_name_the_object_and_the_path(pool):
    lock = threading.Lock()

    holder = EarlyBox(lock)
    for call, path in [
        (lambda: pool.apply(give, ([1, 2, {"k": lock}],)), "[2]['k']"),
        (lambda: pool.apply(give, ([0, 0, 0, holder],)), "[3].v"),
        (lambda: pool.apply(lambda: lock), ".__closure__['lock']"),
        (lambda: pool.apply(give, (), {"x": lock}), "['x']"),
    ]:
        try:
            call()
        except SerializationError as error:
            assert isinstance(error, (TypeError, AttributeError, pickle.PicklingError)), type(error).__mro__
            assert "cannot pickle '_thread.lock' object" in str(error), str(error)
            assert path.lstrip(".") in str(error) and "lock" in str(error), (path, str(error))
        else:
            raise AssertionError(f"{path} travelled")
    equal(pool.apply(abs, (-1,)), 1)


def case_map_items_that_cannot_travel(pool):
    try:
        pool.map(give, [1, threading.Lock(), 3], 1)
    except SerializationError as error:
        assert isinstance(error, TypeError)
    else:
        raise AssertionError
    stream = pool.imap(give, [1, threading.Lock(), 3])
    equal(next(stream), 1)
    try:
        next(stream)
    except SerializationError:
        pass
    else:
        raise AssertionError
    equal(next(stream), 3)


def case_many_functions(pool):
    for number in range(60):
        define(f"def numbered(x):\n    return x, {number}\n")
        equal(pool.apply(numbered, (1,)), (1, number))  # noqa: F821
    equal([pool.apply(lambda n=n: n) for n in range(60)], list(range(60)))


def main(method, chosen):
    """Run the chosen cases. One that hangs is the last: nothing can be said of what follows."""
    with Pool(1, set_up, (7,), context=multiprocessing.get_context(method)) as pool:
        for name in chosen:
            outcome = []
            thread = threading.Thread(target=attempt, args=(name, pool, outcome), daemon=True)
            thread.start()
            thread.join(PATIENCE)
            if not outcome:
                stack = "".join(traceback.format_stack(sys._current_frames()[thread.ident])[-6:])
                print(json.dumps([name, "it hangs:\n" + stack]), flush=True)
                for process in multiprocessing.active_children():
                    process.kill()
                os._exit(3)
            print(json.dumps([name, outcome[0]]), flush=True)


def attempt(name, pool, outcome):
    try:
        globals()[name](pool)
        outcome.append("")
    except BaseException:
        outcome.append(traceback.format_exc())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
