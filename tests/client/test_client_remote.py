"""Remote and parallel functions: decorators of views, how they are called, and how they travel."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from parpool import AsyncResult, ForkedError, Pool, RemoteError, TaskTimeout
from parpool.client.client import Client
from parpool.client.depend import require
from parpool.client.remote import ParallelFunction, RemoteFunction, parallel, remote
from parpool.client.view import View
from parpool.errors import CompositeError

numpy = pytest.importorskip("numpy")


def of_nothing() -> Any:
    raise AssertionError("this gives no view: nobody may ask for it")


# Functions that engines can import. Their view is never asked for: on an engine they call their function.


@remote(of_nothing)
def engine_s_pid() -> int:
    """The process."""
    return os.getpid()


@remote(of_nothing)
def factorial(n: int) -> int:
    return n * factorial(n - 1) if n > 1 else 1


@parallel(of_nothing, "r", ordered=False, chunksize=3)
def shout(words: Any, mark: str = "!") -> Any:
    """Louder."""
    return [word + mark for word in words]


def call(f: Any, *args: Any) -> Any:
    return f(*args)


def call_map(f: Any, *args: Any) -> Any:
    return f.map(*args)


def pid_and_sum(x: int, y: int = 0) -> tuple[int, int]:
    return os.getpid(), x + y


class Counter:
    def __init__(self, start: int) -> None:
        self.start = start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counter) and other.start == self.start

    @remote(of_nothing)
    def plus(self, n: int) -> int:
        """Count on."""
        return self.start + n

    @parallel(of_nothing)
    def plus_all(self, ns: Any) -> Any:
        return [self.start + n for n in ns]


def fail_on(items: Any, bad: Any = 3) -> Any:
    if bad in items:
        raise ValueError(f"not {bad}")
    return items


def part_and_pid(part: Any, **kwargs: Any) -> list[tuple[Any, int]]:
    return [(part, os.getpid())]


def wait_for_file(items: Any, path: str = "") -> Any:
    while 0 in items and not os.path.exists(path):
        time.sleep(0.001)
    return items


# Remote functions ---------------------------------------------------------------------------------------


def test_M1_a_remote_function_is_called_on_the_engine(rc: Client) -> None:
    e0 = rc[0]

    @e0.remote(block=True)
    def getpid() -> int:
        import os

        return os.getpid()

    assert getpid() == e0.apply_sync(os.getpid) != os.getpid()


def test_M1_several_engines_give_a_list(rc: Client) -> None:
    view = rc[:]
    assert view.remote(block=True)(os.getpid)() == view.apply_sync(os.getpid)
    assert view.remote()(os.getpid)().get() == view.apply_sync(os.getpid)


def test_M2_remote_takes_a_view_first(rc: Client) -> None:
    view = rc.load_balanced_view()

    @remote(view, block=True, retries=1)
    def add(x: int, y: int) -> int:
        return x + y

    assert add(1, y=2) == 3


@pytest.mark.parametrize("name", ["view", "function", "self", "block", "f", "args"])
def test_every_keyword_is_the_functions_own(rc: Client, name: str) -> None:
    assert rc[0].remote(block=True)(dict)(**{name: 1}) == {name: 1}
    assert rc[0].parallel(block=True)(lambda part, **kwargs: [kwargs] * len(part))([1], **{name: 1}) == [{name: 1}]


def test_M4_a_remote_function_holds_its_view_and_flags(rc: Client) -> None:
    view = rc.load_balanced_view()
    function = RemoteFunction(view, pid_and_sum, False, retries=3)
    assert function.view is view and function.block is False and function.flags == {"retries": 3}
    assert repr(function) == "<RemoteFunction pid_and_sum on <LoadBalancedView None>>"
    result = function(1, y=2)
    assert isinstance(result, AsyncResult) and result.get()[1] == 3
    assert repr(RemoteFunction(None, pid_and_sum)) == "<RemoteFunction pid_and_sum>"
    assert "Counter object" in repr(RemoteFunction(view, _Callable()))


class _Callable:
    def __call__(self, x: int) -> int:
        return -x

    def __repr__(self) -> str:
        return "<Counter object>"


def test_what_is_called_may_be_any_callable(rc: Client) -> None:
    from functools import partial

    view = rc[0]
    assert view.remote(block=True)(_Callable())(1) == -1
    assert view.remote(block=True)(partial(max, 5))(1) == 5
    assert view.remote(block=True)(complex)(1, 2) == 1 + 2j
    assert view.remote(block=True)(view.remote(block=True)(abs))(-3) == 3


def test_above_a_function_with_requirements(rc: Client) -> None:
    @rc[:].remote(block=True)
    @require("colorsys")
    def name_of() -> str:
        return colorsys.__name__  # type: ignore[name-defined, no-any-return]  # noqa: F821

    assert name_of() == ["colorsys", "colorsys"]
    assert name_of.__name__ == "name_of"


def test_block_is_the_views_own_unless_given(rc: Client) -> None:
    view = rc.load_balanced_view()
    function = view.remote()(abs)
    with_flags = view.remote(retries=1)(abs)
    always, never = view.remote(block=True)(abs), view.remote(block=False)(abs)
    assert isinstance(function(-1), AsyncResult) and isinstance(with_flags(-1), AsyncResult)
    with view.temp_flags(block=True):
        assert function(-1) == with_flags(-1) == 1
        assert isinstance(never(-1), AsyncResult)
    assert always(-1) == 1
    assert isinstance(with_flags(-1), AsyncResult)


def test_flags_are_for_these_calls_only(rc: Client) -> None:
    view = rc.load_balanced_view()
    hasty = view.remote(block=True, task_timeout=0.05)(time.sleep)
    with pytest.raises(TaskTimeout):
        hasty(30)
    assert view.task_timeout is None
    assert view.apply_sync(max, 1, 2) == 2


def test_flags_follow_those_of_the_view(rc: Client) -> None:
    view = rc.load_balanced_view()
    function = view.remote(block=True, retries=1)(time.sleep)
    assert function(0) is None
    with view.temp_flags(task_timeout=0.05):
        with pytest.raises(TaskTimeout):
            function(30)
    assert function(0) is None


def test_flags_of_many_threads(rc: Client) -> None:
    view = rc.load_balanced_view()
    functions = [view.remote(block=False, retries=n)(abs) for n in range(4)]
    results: list[Any] = []
    threads = [threading.Thread(target=lambda f=f: results.extend(f(-7) for _ in range(25))) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.get() for result in results] == [7] * 100
    assert view.retries == 0


def test_after_is_a_flag_of_load_balanced_views(rc: Client, tmp_path: Path) -> None:
    view = rc.load_balanced_view()
    path = tmp_path / "there"
    first = view.remote(block=False)(wait_for_file)([0], path=str(path))
    then = view.remote(block=False, after=first)(os.path.exists)(str(path))
    assert then.metadata["after"] == first.msg_ids
    path.touch()
    assert then.get() is True


@pytest.mark.parametrize("bad", ["nonsense", "targets", "after"])
def test_a_flag_that_the_view_does_not_have(rc: Client, bad: str) -> None:
    with pytest.raises(TypeError, match=f"no flag '{bad}'.*retries"):
        rc[0].remote(**{bad: 1})
    with pytest.raises(TypeError, match=f"no flag '{bad}'.*retries"):
        rc[0].parallel(**{bad: 1})


def test_what_cannot_be_right_is_told_when_it_is_decorated(rc: Client) -> None:
    view = rc[0]
    with pytest.raises(ValueError, match="retries"):
        view.remote(retries=-1)(abs)
    with pytest.raises(TypeError, match="@view.remote lack its parentheses"):
        view.remote(abs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no distribution"):
        view.parallel(abs)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="view is needed"):
        remote(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="only what can be called"):
        view.remote()(5)  # type: ignore[arg-type]
    for kind in (staticmethod, classmethod):
        with pytest.raises(TypeError, match="above this decorator"):
            view.remote()(kind(abs))
    with pytest.raises(ValueError, match="chunksize is for load-balanced views"):
        view.parallel(chunksize=2)
    for bad in (0, -1, 1.5, "2"):
        with pytest.raises(ValueError, match="chunksize must be"):
            rc.load_balanced_view().parallel(chunksize=bad)
    with pytest.raises(TypeError, match="ordered"):
        view.parallel(ordered="yes")  # type: ignore[arg-type]


def test_M6_name_docstring_and_signature_are_kept(rc: Client) -> None:
    def area(width: float, height: float = 1.0, *, unit: str = "m") -> float:
        """Width times height."""
        return width * height

    area.author = "someone"  # type: ignore[attr-defined]
    for made in (rc[0].remote()(area), rc[0].parallel()(area)):
        assert made.__name__ == "area" and made.__doc__ == "Width times height."
        assert made.__qualname__ == area.__qualname__ and made.__module__ == __name__
        assert inspect.signature(made) == inspect.signature(area)
        assert made.__wrapped__ is made.local is area
        assert made.author == "someone"
        assert callable(made)
    assert engine_s_pid.__doc__ == "The process."


def test_M6_local_runs_here(rc: Client) -> None:
    assert rc[0].remote()(os.getpid).local() == os.getpid()
    assert rc[0].parallel()(sum).local([1, 2]) == 3


@pytest.mark.parametrize("function", [engine_s_pid, shout, Counter.plus, Counter.plus_all])
def test_M6_importable_ones_are_pickled_by_name(function: RemoteFunction) -> None:
    for protocol in range(4, pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(function, protocol)
        assert pickle.loads(data) is function
        assert len(data) < 150
    assert copy.copy(function) is copy.deepcopy(function) is function


def test_M7_closures_can_be_decorated(rc: Client) -> None:
    factor = 3

    @rc[:].remote(block=True)
    def times(x: int) -> int:
        return x * factor

    @rc[:].parallel(block=True)
    def all_times(xs: Any) -> Any:
        return [times.local(x) for x in xs]

    assert times(2) == [6, 6]
    factor = 4
    assert times(2) == [8, 8]
    assert all_times([1, 2, 3]) == [4, 8, 12]
    assert rc[:].remote(block=True)(lambda: factor)() == [4, 4]


def test_the_engines_namespace_is_seen(rc: Client) -> None:
    view = rc[:]
    names: dict[str, Any] = {"__name__": "__main__", "view": view}
    exec("@view.remote(block=True)\ndef bump(by):\n    global counted\n    counted += by\n    return counted", names)
    view["counted"] = 10
    assert names["bump"](5) == [15, 15]
    assert view["counted"] == [15, 15]
    del view["counted"]


def test_errors_are_those_of_views(rc: Client) -> None:
    with pytest.raises(RemoteError) as info:
        rc[0].remote(block=True)(int)("x")
    assert isinstance(info.value, ValueError) and info.value.engine_id == 0
    with pytest.raises(CompositeError):
        rc[:].remote(block=True)(int)("x")


def test_a_forked_process_is_told(rc: Client) -> None:
    function = rc[0].remote(block=True)(abs)

    def in_child() -> None:
        try:
            function(-1)
        except ForkedError:
            os._exit(7)

    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    child.join()
    assert child.exitcode == 7
    child.close()


# Methods ------------------------------------------------------------------------------------------------


def with_methods(view: View) -> Any:
    class Account:
        def __init__(self, balance: int) -> None:
            self.balance = balance

        @view.remote(block=True, retries=1)
        def after(self, payment: int = 0) -> tuple[int, int]:
            """The balance."""
            return self.balance + payment, os.getpid()

        @view.parallel(block=True)
        def all_after(self, payments: Any, factor: int = 1) -> Any:
            return [self.balance + factor * payment for payment in payments]

        @staticmethod
        @view.remote(block=True)
        def rate(percent: int) -> float:
            return percent / 100

        @classmethod
        @view.remote(block=True)
        def kind(cls) -> str:
            return cls.__name__

    return Account


def test_methods(rc: Client) -> None:
    Account = with_methods(rc[0])
    account = Account(10)
    value, pid = account.after(5)
    assert (value, pid) == (15, rc[0].apply_sync(os.getpid))
    assert account.after.local(payment=5) == (15, os.getpid())
    assert Account.after(account, 1)[0] == 11
    assert list(inspect.signature(account.after).parameters) == ["payment"]
    assert account.after.__doc__ == "The balance." and account.after.__self__ is account
    assert account.all_after([1, 2, 3], factor=2) == [12, 14, 16]
    assert account.rate(5) == Account.rate(5) == 0.05
    assert account.kind() == "Account"


def test_map_of_a_method(rc: Client) -> None:
    class Scale:
        factor = 3

        @rc[:].parallel(block=True)
        def times(self, x: int, y: int = 1) -> int:
            return self.factor * x * y

    assert Scale().times.map(range(5)) == [0, 3, 6, 9, 12]
    assert Scale().times.map(range(3), [1, 10, 100]) == [0, 30, 600]


def test_methods_of_importable_classes_on_an_engine(rc: Client) -> None:
    counter = Counter(5)
    assert rc[0].apply_sync(call, counter.plus, 2) == 7
    assert rc[0].apply_sync(call, Counter.plus, counter, 2) == 7
    assert rc[0].apply_sync(call, counter.plus_all, [1, 2]) == [6, 7]
    assert rc[0].apply_sync(call_map, counter.plus_all, [[1], [2]]) == [[6], [7]]
    again = pickle.loads(pickle.dumps(counter.plus))
    assert again.__self__ == counter


# On engines ---------------------------------------------------------------------------------------------


def test_on_an_engine_it_calls_its_function_there(rc: Client) -> None:
    e0 = rc[0]
    pid = e0.apply_sync(os.getpid)
    assert e0.apply_sync(engine_s_pid) == e0.apply_sync(call, engine_s_pid) == pid
    by_value = rc[1].remote(block=True)(lambda: os.getpid())
    assert e0.apply_sync(by_value) == e0.apply_sync(call, by_value) == pid
    assert e0.apply_sync(lambda: by_value()) == pid
    assert e0.apply_sync(call, shout, ["a", "b"]) == ["a!", "b!"]
    assert e0.apply_sync(call_map, shout, ["a", "b"], "?!") == [["a?"], ["b!"]]


def test_a_function_that_calls_itself(rc: Client) -> None:
    assert rc[0].apply_sync(factorial, 5) == 120

    @rc[0].remote(block=True)
    def fib(n: int) -> int:
        here: int = fib(n - 1) + fib(n - 2) if n > 1 else n
        return here

    assert fib(10) == 55


def test_what_comes_back_by_value_has_no_view(rc: Client) -> None:
    made = rc[0].parallel("r")(lambda xs: [2 * x for x in xs])
    made.note = "mine"
    again = rc[1].apply_sync(lambda x: x, made)
    assert type(again) is ParallelFunction and again is not made
    assert again.view is None and again.dist == "r" and again.note == "mine"
    assert again([1, 2]) == [2, 4] and again.map([[1], [2]]) == [[2], [4]]
    assert rc[1].apply_sync(lambda x: x, shout) is shout


def test_views_that_an_engine_makes_are_used(rc: Client) -> None:
    def nested() -> bool:
        with Pool(1) as pool:
            pids = pool.client[0].remote(block=True)(os.getpid)(), os.getpid()
        pool.join()
        return pids[0] != pids[1]

    assert rc[0].apply_sync(nested) is True


# Parallel functions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dist", ["b", "r"])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("shape", [(7,), (5, 3), (4, 2, 3)])
def test_M3_arrays_are_cut_along_their_first_axis(
    rc: Client, dist: str, balanced: bool, shape: tuple[int, ...]
) -> None:
    array = numpy.arange(numpy.prod(shape)).reshape(shape)

    @rc.view(balanced=balanced).parallel(dist=dist, block=True)
    def squared(part: Any, other: Any, scale: int = 1) -> Any:
        assert part.ndim == other.ndim
        return scale * part * other

    got = squared(array, array, scale=2)
    assert isinstance(got, numpy.ndarray) and got.dtype == array.dtype
    assert (got == 2 * array**2).all()


@pytest.mark.parametrize("dist", ["b", "r"])
@pytest.mark.parametrize("items", [list(range(5)), range(6), "parallel", b"bytes", (1, 2, 3), [1], []])
def test_M3_every_kind_of_sequence(rc: Client, dist: str, items: Any) -> None:
    got = rc[:].parallel(dist, block=True)(lambda part: part)(items)
    assert got == (items if isinstance(items, (str, bytes)) else list(items))
    assert got == rc.load_balanced_view().parallel(dist, block=True)(lambda part: part)(items)


def test_M3_what_is_read_once_is_cut_too(rc: Client) -> None:
    both = rc[:].parallel(block=True)(lambda xs, ys: [x + y for x, y in zip(xs, ys, strict=True)])
    assert both((n for n in range(4)), [10, 20, 30, 40]) == [10, 21, 32, 43]


def test_M3_one_value_a_part(rc: Client) -> None:
    view = rc[:]
    assert view.parallel(block=True)(sum)(range(10)) == [10, 35]
    assert view.parallel("r", block=True)(sum)(range(10)) == [20, 25]
    assert view.parallel(block=True)(lambda part: str(part[0]))([4, 5]) == ["4", "5"]
    assert view.parallel(block=True)(lambda part: {"n": len(part)})([4, 5, 6]) == [{"n": 2}, {"n": 1}]


def test_M3_lengths_must_agree(rc: Client) -> None:
    with pytest.raises(ValueError, match="one length, not of 2, 3"):
        rc[:].parallel()(max)([1, 2], [1, 2, 3])


@pytest.mark.parametrize("bad", [5, None, {"a": 1}, {1, 2}, numpy.float64(2), numpy.array(3), object()])
def test_M3_what_is_no_sequence(rc: Client, bad: Any) -> None:
    with pytest.raises(ValueError, match="argument 2 of max is no sequence .*by keyword"):
        rc[:].parallel()(max)([1, 2], bad)


def test_M3_something_must_be_cut(rc: Client) -> None:
    with pytest.raises(TypeError, match="at least one sequence"):
        rc[:].parallel()(max)(key=abs)


def test_M5_a_call_gives_each_engine_a_part(rc: Client) -> None:
    pids = rc[:].apply_sync(os.getpid)
    shown = rc[:].parallel(block=True)(part_and_pid)
    assert shown([1, 2, 3]) == [([1, 2], pids[0]), ([3], pids[1])]
    assert shown([1]) == [([1], pids[0])], "an engine without a part is not called"
    assert shown([]) == [([], pids[0])]
    assert rc[1].parallel(block=True)(part_and_pid)([1, 2]) == [([1, 2], pids[1])]
    assert shown([1, 2, 3], k=5) == [([1, 2], pids[0]), ([3], pids[1])]


def test_M5_map_calls_for_each_item(rc: Client) -> None:
    for view in (rc[:], rc.load_balanced_view()):
        function = view.parallel(block=True)(lambda *items: sum(items))
        assert function.map(range(5)) == [0, 1, 2, 3, 4]
        assert function.map([1, 2], [10, 20], [100, 200]) == [111, 222]
        result = view.parallel(block=False)(abs).map([-1, -2])
        assert isinstance(result, AsyncResult) and result.get() == [1, 2]


def test_M5_map_is_dealt_out_as_asked(rc: Client) -> None:
    pids = rc[:].apply_sync(os.getpid)
    pid_of = rc[:].parallel("r", block=True)(lambda item: (item, os.getpid()))
    assert pid_of.map(range(4)) == [(0, pids[0]), (1, pids[1]), (2, pids[0]), (3, pids[1])]


def test_parts_of_a_load_balanced_view(rc: Client) -> None:
    view = rc.load_balanced_view()

    def sizes(items: int, **options: Any) -> list[list[int]]:
        parts = view.parallel(block=True, **options)(lambda part: [list(part)])(range(items))
        return parts  # type: ignore[no-any-return]

    assert sizes(5) == [[0, 1, 2], [3, 4]]
    assert sizes(10, chunksize=4) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert sizes(3, chunksize=100) == [[0, 1, 2]]
    assert sizes(0, chunksize=4) == [[]]
    assert sizes(5, chunksize=2, dist="r") == [[0, 3], [1, 4], [2]]
    one = rc.load_balanced_view([1])
    assert one.parallel(block=True)(part_and_pid)([1, 2]) == [([1, 2], rc[1].apply_sync(os.getpid))]


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("dist", ["b", "r"])
def test_the_result_of_a_call(rc: Client, balanced: bool, dist: str) -> None:
    view = rc.view(balanced=balanced)
    result = view.parallel(dist)(lambda part: [-x for x in part])(range(7))
    assert isinstance(result, AsyncResult) and len(result.split()) == 2
    assert list(result) == result.get() == [0, -1, -2, -3, -4, -5, -6]
    assert {one["engine_id"] for one in result.metadata} == {0, 1}
    assert result.successful() and "ready" in repr(result)
    sums = view.parallel(dist)(sum)([1, 2, 3])
    assert list(sums) == sums.get()


@pytest.mark.parametrize("dist", ["b", "r"])
def test_iteration_gives_items_and_not_parts(rc: Client, dist: str) -> None:
    array = numpy.arange(10).reshape(5, 2)
    result = rc[:].parallel(dist)(lambda part: part * 2)(array)
    assert [list(row) for row in result] == [list(row) for row in 2 * array]


@pytest.mark.parametrize("balanced", [False, True])
def test_items_as_they_come(rc: Client, balanced: bool, tmp_path: Path) -> None:
    path = tmp_path / "go"
    function = rc.view(balanced=balanced).parallel(ordered=False, block=False)(wait_for_file)
    result = function([0, 1, 2, 3], path=str(path))
    items = iter(result)
    assert [next(items), next(items)] == [2, 3]
    assert not result.ready()
    path.touch()
    assert list(items) == [0, 1]
    assert result.get() == [0, 1, 2, 3]


def test_items_in_order_come_before_the_last_part_has_ended(rc: Client, tmp_path: Path) -> None:
    path = tmp_path / "go"
    result = rc[:].parallel()(wait_for_file)([1, 2, 0, 3], path=str(path))
    items = iter(result)
    assert [next(items), next(items)] == [1, 2]
    assert not result.ready()
    path.touch()
    assert list(items) == [0, 3]


@pytest.mark.parametrize("balanced", [False, True])
def test_parts_that_fail(rc: Client, balanced: bool) -> None:
    result = rc.view(balanced=balanced).parallel(block=False)(fail_on)([1, 2, 3, 4])
    with pytest.raises(CompositeError) as info:
        result.get()
    assert "not 3" in str(info.value)
    assert info.value.results[0] == [1, 2]
    assert [entry[0] for entry in info.value.elist] == ["ValueError"]
    with pytest.raises(ValueError, match="not 3"):
        info.value.raise_exception(0)
    items = iter(result)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="not 3"):
        next(items)
    with pytest.raises(CompositeError):
        rc.view(balanced=balanced).parallel(block=True)(fail_on)([1, 2, 3, 4])


def test_what_cannot_be_sent_is_told_before_anything_runs(rc: Client) -> None:
    from parpool import SerializationError

    before = rc.history
    with pytest.raises(SerializationError):
        rc[:].parallel()(part_and_pid)([1, threading.Lock()])
    assert rc.history == before


# Rows of other groups -----------------------------------------------------------------------------------


def test_C17_bound_is_accepted_as_a_keyword(rc: Client) -> None:
    for view in (rc[:], rc.load_balanced_view()):
        for bound in (True, False):
            assert view.map(abs, [-1, -2], block=True, bound=bound) == [1, 2]
            assert view.map_async(abs, [-1, -2], bound=bound).get() == [1, 2]
            assert view.remote(block=True, bound=bound)(sum)([1]) in (1, [1, 1])
            assert view.parallel(block=True, bound=bound)(lambda part: part)([1, 2]) == [1, 2]


def test_H9_a_parallel_list_comprehension(rc: Client) -> None:
    view = rc[:]
    view.scatter("x", range(64), block=True)
    view.execute("y = [i**10 for i in x]", block=True)
    assert view.gather("y", block=True) == [i**10 for i in range(64)]
    view.clear()
