"""The mission's rows of apply and of load-balanced calls, C and I; and where functions run, and what they see there.

The rules of the last part are about ``__main__``, so their tests are sessions, run for real under each way of starting.
"""

from __future__ import annotations

import functools
import math
import operator
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import sessions
from rows import PATIENCE, Gate, fail, through, until, warm_pool

import parpool
from parpool import (
    AsyncResult,
    Client,
    CompositeError,
    DependencyTimeout,
    ImpossibleDependency,
    InvalidDependency,
    Reference,
    RemoteError,
    SerializationError,
    TaskTimeout,
)

PLACE = "of the module"  #: the global that ``place`` sees


ENGINES = 4


def same(value: Any) -> Any:
    return value


def where() -> int:
    return os.getpid()


def takes(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def place() -> str:
    return PLACE


# C: apply and its flags -----------------------------------------------------------------------------


def test_C1_apply_calls_f(rc: Client) -> None:
    assert rc[0].apply_sync(takes, 1, [2], x=3) == ((1, [2]), {"x": 3})
    assert rc[:].apply_sync(takes) == [((), {})] * 4
    assert rc.load_balanced_view().apply_sync(takes, None) == ((None,), {})


def test_C1_every_keyword_is_the_function_s_own(rc: Client) -> None:
    options = dict(f=1, self=2, block=3, targets=4, track=5, after=6, timeout=7, retries=8, args=9, kwargs=10, view=11)
    for view in (rc[0], rc.load_balanced_view()):
        assert view.apply_sync(takes, **options) == ((), options)
        assert view.apply_async(takes, **options).get() == view.apply(takes, **options).get() == ((), options)


def test_C1_without_a_function(rc: Client) -> None:
    for apply in (rc[0].apply, rc[0].apply_async, rc[0].apply_sync, rc.load_balanced_view().apply):
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'f'"):
            apply()  # type: ignore[call-arg]
        for wrong in (5, "len", None):
            with pytest.raises(TypeError, match=f"a function is needed, not {wrong!r} of type"):
                apply(wrong)  # type: ignore[arg-type]


class Callable_:
    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, value: int) -> int:
        return value + self.step

    def method(self, value: int) -> int:
        return value * self.step

    @classmethod
    def made(cls, value: int) -> int:
        return cls(1)(value)

    @staticmethod
    def static(value: int) -> int:
        return -value


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (abs, 5),
        (math.sqrt, math.sqrt(5)),
        (str, "5"),
        (operator.itemgetter(slice(1)), TypeError),
        (functools.partial(divmod, 17), (3, 2)),
        (Callable_(2), 7),
        (Callable_(2).method, 10),
        (Callable_.made, 6),
        (Callable_.static, -5),
        ([5, 6].index, 0),
        (lambda x, y=2: x * y, 10),
        (Reference("abs"), 5),
    ],
    ids=repr,
)
def test_C2_whatever_can_be_called(rc: Client, f: Any, expected: Any) -> None:
    if expected is TypeError:
        with pytest.raises(TypeError):
            rc[0].apply_sync(f, 5)
    else:
        assert rc[0].apply_sync(f, 5) == expected
        assert rc[::2].apply_sync(f, 5) == [expected] * 2
        assert rc.load_balanced_view().map_sync(f, [5, 5]) == [expected] * 2


def test_C2_strings_of_code_are_for_execute(rc: Client) -> None:
    with pytest.raises(TypeError, match="a function is needed, not 'a=5'"):
        rc[0].apply("a=5")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="execute takes a string of Python code, not function: use apply"):
        rc[0].execute(same)  # type: ignore[arg-type]


def get_norms(a: Any, levels: Any = (2,)) -> list[Any]:
    import numpy

    return [numpy.linalg.norm(a, level) for level in levels]


def test_C3_keyword_arguments_pass_through(rc: Client) -> None:
    numpy = pytest.importorskip("numpy")
    a = numpy.random.random(1024)
    levels = [1, 2, 3, numpy.inf]
    assert rc[0].apply_sync(get_norms, a, levels=levels) == get_norms(a, levels=levels)


def test_C4_functions_of_modules(rc: Client) -> None:
    numpy = pytest.importorskip("numpy")
    a = numpy.arange(10.0)
    assert rc[0].apply_sync(numpy.linalg.norm, a, 2) == numpy.linalg.norm(a, 2)
    assert rc[0].apply_sync(numpy.sin, 0.0) == 0.0
    assert rc[0].apply_sync(numpy.dot, a, a) == numpy.dot(a, a)


def test_C5_apply_async_always_gives_an_async_result(rc: Client) -> None:
    for view in (rc[0], rc[:], rc.load_balanced_view()):
        with view.temp_flags(block=True):
            result = view.apply_async(same, 1)
            assert isinstance(result, AsyncResult)
            assert result.get() == ([1] * 4 if view is rc[:] else 1)


def test_C6_apply_sync_always_gives_values(rc: Client) -> None:
    for view in (rc[0], rc[:], rc.load_balanced_view()):
        assert view.block is False
        assert view.apply_sync(same, 1) == ([1] * 4 if view is rc[:] else 1)


def test_C7_a_view_needs_no_name(rc: Client) -> None:
    assert rc[0].apply_sync(same, "inline") == "inline"


def test_C8_the_three_are_found_by_completion(rc: Client) -> None:
    for view in (rc[0], rc.load_balanced_view()):
        assert [name for name in dir(view) if name.startswith("apply")] == ["apply", "apply_async", "apply_sync"]


def test_C9_block(rc: Client) -> None:
    view = rc[0]
    assert isinstance(view.apply(same, 1), AsyncResult)
    view.block = True
    assert view.apply(same, 1) == 1
    assert isinstance(view.push({"a": 1}, block=False), AsyncResult), "a keyword wins"
    view.block = False
    assert view.pull("a", block=True) == 1 and isinstance(view.pull("a"), AsyncResult)


def test_C9_clients_give_views_their_first_flags(own: Client) -> None:
    own.block = own.track = True
    assert own[0].block and own.load_balanced_view().track
    assert own[0].apply(same, 1) == 1
    with own[1].temp_flags(block=False):
        pass
    kept = own[1]
    own.block = False
    assert kept.block is True, "a view that was made keeps its own"


@pytest.fixture
def own() -> Iterator[Client]:
    with warm_pool(2) as made:
        yield made.client


def test_C10_values_match_the_targets(rc: Client) -> None:
    pids = {id: rc[id].apply_sync(where) for id in rc.ids}
    for targets in ([3, 0, 2], [1], [2, 1, 0, 3], slice(None, None, -1)):
        view = rc[targets]
        assert view.apply_sync(where) == [pids[id] for id in view.targets]


def test_C10_the_slowest_does_not_change_the_order(rc: Client, gate: Gate) -> None:
    rc[0].apply_async(through, gate)
    result = rc[:].apply_async(same, 1)
    until(lambda: result.progress == 3)
    gate.open()
    assert result.get(PATIENCE) == [1] * 4


def test_C11_track(rc: Client) -> None:
    view = rc[0]
    assert view.track is False
    view.track = True
    result = view.apply_async(same, bytes(100))
    assert result.wait_on_send(PATIENCE) and result.sent
    view.track = False
    assert view.push({"a": 1}, track=True).wait_on_send(PATIENCE)


def test_C12_targets(rc: Client) -> None:
    pids = rc[:].apply_sync(where)
    send = functools.partial(rc.send_apply_request, where, block=True)
    assert send(targets=2) == pids[2] and send(targets=[2, 0]) == [pids[2], pids[0]]
    assert send(targets="all") == pids and send(targets=None) in pids
    assert rc[0].execute("1", targets="all", block=True) and rc[0].pull("1+1", targets="all", block=True) == [2] * 4


def test_C13_balanced(rc: Client) -> None:
    pids = rc[:].apply_sync(where)
    send = functools.partial(rc.send_apply_request, where, block=True)
    assert send(balanced=True) in pids and send(balanced=False) == pids
    assert {send(targets=[1, 2], balanced=True) for _ in range(20)} <= set(pids[1:3])
    assert send(targets=3, balanced=True) == pids[3]


def test_C14_after(rc: Client, gate: Gate) -> None:
    view = rc.load_balanced_view()
    first = rc[0].apply_async(through, gate)
    with view.temp_flags(after=first):
        second = view.apply_async(same, 2)
    unrelated = view.apply_async(same, 3)
    assert unrelated.get(PATIENCE) == 3 and not second.ready()
    gate.open()
    assert second.get(PATIENCE) == 2
    assert second.metadata["after"] == first.msg_ids and second.metadata["started"] >= first.metadata["completed"]


@pytest.mark.parametrize(
    "named",
    [lambda a, b: [a, b], lambda a, b: a.msg_ids + b.msg_ids, lambda a, b: {a, b.msg_ids[0]}, lambda a, b: [[a], (b,)]],
    ids=["results", "names", "mixed", "nested"],
)
def test_C14_after_a_collection(rc: Client, gate: Gate, named: Callable[..., Any]) -> None:
    view = rc.load_balanced_view()
    first, second = rc[0].apply_async(same, 1), rc[1].apply_async(through, gate)
    with view.temp_flags(after=named(first, second)):
        last = view.apply_async(same, "last")
    first.wait()
    assert not last.ready()
    gate.open()
    assert last.get(PATIENCE) == "last" and set(last.metadata["after"]) == {*first.msg_ids, *second.msg_ids}


def test_C15_follow(rc: Client) -> None:
    view, pids = rc.load_balanced_view(), rc[:].apply_sync(where)
    for id in rc.ids:
        with view.temp_flags(follow=rc[id].apply_async(same, 1)):
            assert view.apply_sync(where) == pids[id]
    with view.temp_flags(follow=[rc[0].apply_async(same, 1), rc[1].apply_async(same, 1)]):
        with pytest.raises(ImpossibleDependency):
            view.apply_sync(where)


def test_C16_timeout_is_for_dependencies(rc: Client, gate: Gate) -> None:
    view = rc.load_balanced_view()
    first = rc[0].apply_async(through, gate)
    with view.temp_flags(after=first, timeout=0.05):
        late = view.apply_async(same, 1)
    with pytest.raises(DependencyTimeout, match=r"what same\(1\) depends on did not end in time"):
        late.get(PATIENCE)
    gate.open()
    first.wait()
    with view.temp_flags(timeout=0.001):
        assert view.apply_async(slowly).get(PATIENCE) == "done", "it is no limit of how long a task may run"


def slowly() -> str:
    threading.Event().wait(0.05)
    return "done"


@pytest.mark.parametrize(
    ("flags", "error", "told"),
    [
        ({"timeout": -1}, ValueError, "timeout must be None or seconds, 0 or more, not -1"),
        ({"timeout": "soon"}, ValueError, "timeout must be None or seconds"),
        ({"retries": -1}, ValueError, "retries must be an int of 0 or more, not -1"),
        ({"retries": 1.5}, ValueError, "retries must be an int of 0 or more, not 1.5"),
        ({"task_timeout": 0}, ValueError, "task_timeout must be None or more than 0 seconds, not 0"),
        ({"task_timeout": "x"}, TypeError, "task_timeout must be None or a number of seconds, not 'x'"),
        ({"policy": "best"}, ValueError, "no policy is called 'best'; there are leastload, lru"),
        ({"after": "nonsense"}, InvalidDependency, "no task of this client is called 'nonsense'"),
        ({"follow": 5}, InvalidDependency, "5 is neither"),
        ({"block": 1}, TypeError, "block must be True or False, not 1"),
        ({"priority": 1}, TypeError, "no flag 'priority'; there are block, track"),
    ],
    ids=repr,
)
def test_C19_wrong_flags_change_nothing(rc: Client, flags: dict[str, Any], error: type[Exception], told: str) -> None:
    view = rc.load_balanced_view()
    before = {name: getattr(view, name) for name in view._flag_names}
    for change in (lambda: view.set_flags(track=True, **flags), lambda: view.temp_flags(**flags).__enter__()):
        with pytest.raises(error, match=told):
            change()
        assert {name: getattr(view, name) for name in view._flag_names} == before
    assert view.apply_sync(same, 1) == 1


def test_C17_bound_is_taken(rc: Client) -> None:
    for view in (rc[:], rc.load_balanced_view()):
        assert (
            view.map_sync(same, range(5), bound=True) == view.map_sync(same, range(5), bound=False) == [0, 1, 2, 3, 4]
        )


def test_C18_targets_of_every_method(rc: Client) -> None:
    view = rc[:]
    view.block = True
    view.execute("a=5", targets=[0, 1, 2])
    assert ["a" in each for each in rc] == [True, True, True, False]
    view.push({"b": 1}, targets=3)
    assert view.pull("b", targets=3) == 1 and view.pull("a", targets=[2, 0]) == [5, 5]
    assert view.get("a", targets=1) == 5 and view.update({"c": 2}, targets=[0]) == [None]
    assert "c" in view.keys(targets=0) and ["c" in keys for keys in view.keys(targets=[1, 0])] == [False, True]
    view.scatter("d", range(4), targets=[3, 1])
    assert view.gather("d", targets=[3, 1]) == [0, 1, 2, 3] and rc[3]["d"] == [0, 1]
    assert view.map(same, range(3), targets=[1]) == [0, 1, 2]
    view.clear(targets=[0])
    assert ["a" in each for each in rc] == [False, True, True, False]
    assert list(view.queue_status(targets=[1])) == [1]


@pytest.mark.parametrize(
    ("targets", "error", "told"),
    [
        (9, IndexError, r"no engine 9: the engines are \[0, 1, 2, 3\]"),
        ([0, 9], IndexError, r"no engine 9: the engines are \[0, 1, 2, 3\]"),
        (slice(7, 9), parpool.NoEngines, r"the engines are \[0, 1, 2, 3\]"),
        ("some", TypeError, "targets must be an int, a list of ints, a slice, 'all' or None, not 'some'"),
        (1.5, TypeError, "targets must be an int, a list of ints, a slice, 'all' or None, not 1.5"),
        ([], ValueError, "must name an engine"),
    ],
    ids=repr,
)
def test_C18_wrong_targets(rc: Client, targets: Any, error: type[Exception], told: str) -> None:
    view = rc[:]
    calls: list[Callable[..., Any]] = [
        functools.partial(view.execute, "1"),
        functools.partial(view.push, {"a": 1}),
        functools.partial(view.pull, "a"),
        functools.partial(view.scatter, "a", [1]),
        functools.partial(view.gather, "a"),
        functools.partial(view.map, same, [1]),
        view.clear,
        view.keys,
        view.queue_status,
    ]
    for call in calls:
        with pytest.raises(error, match=told):
            call(targets=targets)


def test_C19_flags_are_attributes(rc: Client) -> None:
    view = rc.load_balanced_view()
    view.track = view.block = True
    assert view.apply(same, 1) == 1 and view.map(same, [1, 2]) == [1, 2]
    view.set_flags(block=False, track=False)
    assert isinstance(view.apply(same, 1), AsyncResult) and isinstance(view.map(same, [1]), AsyncResult)
    with view.temp_flags(block=True, retries=2) as inside:
        assert inside is view and view.apply(same, 3) == 3 and view.retries == 2
    assert (view.block, view.retries) == (False, 0)
    with pytest.raises(ZeroDivisionError), view.temp_flags(block=True):
        view.apply(divmod, 1, 0)
    assert view.block is False


@pytest.mark.parametrize("view_of", [lambda rc: rc[1], lambda rc: rc[:], lambda rc: rc.load_balanced_view()])
def test_C19_task_timeout(rc: Client, gate: Gate, view_of: Callable[[Client], Any]) -> None:
    view = view_of(rc)
    with view.temp_flags(task_timeout=0.05):
        result = view.apply_async(through, gate)
    with pytest.raises((TaskTimeout, CompositeError)) as caught:
        result.get(PATIENCE)
    assert isinstance(getattr(caught.value, "exceptions", [caught.value])[0], TaskTimeout)
    assert rc[:].apply_sync(same, 1) == [1] * 4


def test_errors_are_those_of_the_task(rc: Client) -> None:
    with pytest.raises(ValueError, match="of the task") as caught:
        rc[1].apply_sync(fail, ValueError("of the task"))
    assert isinstance(caught.value, RemoteError) and caught.value.engine_id == 1
    with pytest.raises(TypeError, match=r"same\(\) missing 1 required positional argument"):
        rc[0].apply_sync(same)  # type: ignore[call-arg]


def test_what_cannot_be_sent_is_named_and_nothing_is_submitted(rc: Client) -> None:
    lock = threading.Lock()
    before = rc.history
    sent: list[Callable[[], Any]] = [
        lambda: rc[:].apply(same, {"deep": [lock]}),
        lambda: rc[:].push({"deep": [lock]}),
        lambda: rc.load_balanced_view().apply(same, deep=[lock]),
        lambda: rc[0].apply(lock.acquire),
        lambda: rc[0].apply(lambda: lock),
    ]
    for send in sent:
        with pytest.raises(SerializationError, match="lock"):
            send()
    with pytest.raises(SerializationError, match=r"args\[0\]\['deep'\]\[0\]"):
        sent[0]()
    assert rc.history == before and not rc.outstanding


def test_what_cannot_come_home_is_the_error_of_that_call(rc: Client) -> None:
    with pytest.raises(RemoteError, match="MaybeEncodingError.*lock"):
        rc[0].apply_sync(threading.Lock)
    with pytest.raises(CompositeError) as caught:
        rc[:].apply_sync(eval, "__import__('threading').Lock()")
    assert len(caught.value.elist) == 4
    assert rc[0].apply_sync(same, 1) == 1


# I: load-balanced calls -----------------------------------------------------------------------------


def test_I1_a_task_is_a_function_with_arguments(rc: Client) -> None:
    view = rc.load_balanced_view()
    assert view.apply_sync(dict, [(1, object)], a=[2]) == {1: object, "a": [2]}
    assert not hasattr(parpool, "StringTask") and not hasattr(parpool, "MapTask")


def test_I2_objects_of_the_engines_and_objects_that_are_sent(rc: Client) -> None:
    numpy = pytest.importorskip("numpy")
    a, b = numpy.random.random((20, 20)), numpy.random.random((20, 20))
    rc[:].push({"A": a}, block=True)
    ar = rc.load_balanced_view().apply(numpy.dot, Reference("A"), b)
    assert (ar.get() == numpy.dot(a, b)).all()


def test_I3_one_message_out_one_back(rc: Client) -> None:
    rc[:].push({"A": 3}, block=True)
    before, names = rc.queue_status(), rc[:].keys()
    result = rc.load_balanced_view([2]).apply(operator.mul, Reference("A"), 5)
    assert result.get() == 15 and len(result.msg_ids) == 1
    # One for the task, one for the look at the names.
    assert rc.queue_status(2)["completed"] == before[2]["completed"] + 2
    assert rc[:].keys() == names, "nothing is pushed, and nothing is left behind"


def test_I4_the_engine_that_is_free_takes_it(rc: Client, gate: Gate) -> None:
    pids = rc[:].apply_sync(where)
    for id in (0, 1, 3):
        rc[id].apply_async(through, gate, id)
        gate.await_one(id)
    view = rc.load_balanced_view()
    assert {view.apply_sync(where) for _ in range(10)} == {pids[2]}


def test_I4_tasks_are_spread(rc: Client, tmp_path: Path) -> None:
    view = rc.load_balanced_view()
    with Gate(tmp_path) as gate:
        results = [view.apply_async(through, gate, number) for number in range(4)]
        for number in range(4):
            gate.await_one(number)  # so they run at the same time
    assert {result.metadata["engine_id"] for result in results if result.get(PATIENCE) is not None} == {0, 1, 2, 3}


@pytest.mark.parametrize("policy", ["leastload", "lru", "weighted", "plainrandom", "twobin"])
def test_I4_policies_by_name(rc: Client, policy: str) -> None:
    view = rc.load_balanced_view()
    with view.temp_flags(policy=policy):
        assert view.map_sync(same, range(100), chunksize=1) == list(range(100))
        assert [view.apply_sync(same, number) for number in range(10)] == list(range(10))


def test_I5_balanced_with_targets_goes_to_one_of_them(rc: Client, gate: Gate) -> None:
    pids = rc[:].apply_sync(where)
    view = rc.load_balanced_view([1, 3])
    held = rc[1].apply_async(through, gate, "held")
    gate.await_one("held")
    assert view.apply_sync(where) == pids[3] and rc.load_balanced_view([3, 1]).apply_sync(where) == pids[3]
    gate.open()
    assert held.get(PATIENCE) == "held"


def test_I6_dependencies_are_of_this_view_only(rc: Client) -> None:
    view = rc.load_balanced_view()
    for flag in ("after", "follow", "timeout", "policy"):
        assert getattr(view, flag) is None
        with pytest.raises(AttributeError, match=f"DirectView has no flag {flag!r}; there are block, track, retries"):
            setattr(rc[0], flag, None)
    assert (view.retries, view.task_timeout) == (0, None)


def test_I6_retries(own: Client, tmp_path: Path) -> None:
    view = own.load_balanced_view()
    path = tmp_path / "died"
    with pytest.raises(parpool.EngineLost):
        view.apply_sync(die_once, str(path))
    path.unlink()
    with view.temp_flags(retries=1):
        assert view.apply_sync(die_once, str(path)) == "alive"


def die_once(path: str) -> str:
    if not os.path.exists(path):
        Path(path).touch()
        os._exit(1)
    return "alive"


def test_I7_documented() -> None:
    told = parpool.LoadBalancedView.__doc__ or ""
    assert all(f"``{flag}``" in told for flag in ("after", "follow", "timeout", "policy"))


# Where functions run, and what they see -------------------------------------------------------------


@pytest.fixture(params=sessions.WAY)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    return functools.partial(sessions.play, request.param, tmp_path)


#: Under which the engines have what the script defined before there was a pool.
scripts_only = pytest.mark.parametrize("play", [way for way in sessions.WAY if way != "prompt"], indirect=True)


def test_importable_functions_run_against_their_own_module(rc: Client) -> None:
    rc[0]["PLACE"] = "of the namespace"
    assert rc[0].apply_sync(place) == "of the module"
    assert rc[0].apply_sync(lambda: PLACE) == "of the module", "so do lambdas of an importable module"


def test_importable_functions_travel_by_reference(play: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(
        "total = 0\ndef count():\n    global total\n    total += 1\n    return total\n"
    )
    play("""
        import sys
        sys.path.insert(0, ".")
        e0.execute("import sys; sys.path.insert(0, '.')")
        import counting
        e0["total"] = 100
        assert [e0.apply(counting.count) for _ in range(3)] == [1, 2, 3]
        assert e0["total"] == 100 and counting.total == 0
        e0.execute("import counting")
        assert e0["counting.total"] == 3, "it is the module's own function that runs"
    """)


def test_C20_modules_come_along(play: Callable[..., Any]) -> None:
    play("""
        import fractions, os.path as where
        from math import sqrt
        def f(x):
            return fractions.Fraction(x), sqrt(x), where.join("a", "b")
        assert e0.apply(f, 4) == (fractions.Fraction(4), 2.0, where.join("a", "b"))
        assert dview.map(lambda x: sqrt(x), [1, 4, 9, 16, 25]) == [1, 2, 3, 4, 5]
    """)


def test_C20_functions_of_numpy_come_along(play: Callable[..., Any]) -> None:
    pytest.importorskip("numpy")
    play("""
        import numpy
        from numpy import sin, dot
        from numpy.linalg import norm
        def f(x):
            return sin(x).sum() + dot(x, x) + norm(x) + numpy.zeros(1)[0]
        assert e0.apply(f, numpy.ones(3)) == f(numpy.ones(3))
    """)


def test_C20_engine_names_win(play: Callable[..., Any]) -> None:
    play("""
        import json
        dview.execute("class json:\\n    @staticmethod\\n    def dumps(x): return 'the engine has its own'")
        e0.execute("import pickle as json")
        def f():
            return json.dumps(1)
        assert dview.apply(f)[1:] == ["the engine has its own"]
        assert isinstance(e0.apply(f), bytes)
        rc[1].execute("del json", block=True)
        def again():
            return json.dumps(2)
        assert rc[1].apply_sync(again) == "2"
    """)


def test_C20_a_module_that_is_imported_after_the_first_try(play: Callable[..., Any]) -> None:
    play(
        """
        def late(): return colorsys.ONE_THIRD
        for f in (late, early):
            with raises(NameError, "'colorsys' is not defined on this engine: push it with view\\\\['colorsys'\\\\]"):
                e0.apply(f)
        import colorsys
        assert e0.apply(late) == e0.apply(early) == colorsys.ONE_THIRD
        """,
        early="def early(): return colorsys.ONE_THIRD",
    )


def test_C20_a_module_of_which_the_name_means_another_one_now(play: Callable[..., Any]) -> None:
    play(
        """
        import math as m
        def late(): return m.__name__
        for f in (late, early):
            assert e0.apply(f) == "math"
        import cmath as m
        for f in (late, early):
            assert e0.apply(f) == "cmath"
        """,
        early="def early(): return m.__name__",
    )


def test_C21_assignment_to_globals_stays(play: Callable[..., Any]) -> None:
    play("""
        def inc_a(increment):
            global a
            a = a + increment
        e0["a"] = 5
        e0.apply(inc_a, 10)
        e0.apply(inc_a, 1)
        assert e0["a"] == 16 and "a" not in globals()
        dview.apply(lambda: globals().update(b=[1]))
        dview.apply(lambda: b.append(2))
        assert dview["b"] == [[1, 2]] * 2
    """)


@scripts_only
def test_C21_also_of_what_the_engines_had_at_their_start(play: Callable[..., Any]) -> None:
    play(
        """
        assert [e0.apply(count) for _ in range(3)] == [1, 2, 3]
        assert e0["counter"] == 3 and counter == 0
        """,
        early="""
        counter = 0
        def count():
            global counter
            counter += 1
            return counter
        """,
    )


def test_C22_free_names_are_read_from_the_namespace(play: Callable[..., Any]) -> None:
    play("""
        def mul_by_a(b):
            return a * b
        e0["a"] = 10
        assert e0.apply(mul_by_a, 2) == 20
        a = "the client's own"
        assert e0.apply(mul_by_a, 3) == 30
    """)


def test_C23_a_lambda_pulls(play: Callable[..., Any]) -> None:
    play("""
        dview["a"] = [1, 2]
        assert dview.apply(lambda: a) == dview.pull("a") == [[1, 2]] * 2
        assert rc.load_balanced_view().apply_sync(lambda: a) == [1, 2]
    """)


def test_C24_the_names_of_the_engines(play: Callable[..., Any]) -> None:
    play("""
        dview.push(dict(zz=1))
        names = dview.apply(lambda: globals().keys())
        assert len(names) == 2 and all("zz" in each and "__builtins__" in each for each in names)
        assert dview.apply(lambda: list(globals())) == [list(each) for each in names]
        assert all("zz" in each and "__builtins__" not in each for each in dview.keys())
    """)


def test_C25_nothing_else_stays(play: Callable[..., Any]) -> None:
    play("""
        before = dview.keys()
        def f(argument, *args, keyword=1):
            local = argument
            return [local for local in range(3)]
        assert dview.apply(f, 5, 6, keyword=7) == [[0, 1, 2]] * 2
        assert rc.load_balanced_view().map_sync(lambda item: item, range(20)) == list(range(20))
        e0.execute("1 + 1")
        dview.apply(lambda: 5)
        assert dview.keys() == before
        dview.push(dict(a=1))
        e0.apply(lambda: globals().update(b=2))
        assert [sorted(set(now) - set(then)) for now, then in zip(dview.keys(), before)] == [["a", "b"]] + [["a"]] * 1
    """)


@scripts_only
def test_what_an_initializer_has_set_is_seen(play: Callable[..., Any]) -> None:
    play(
        """
        assert e0.apply(seen) == ("initialized", "the script's", "of the function")
        assert dview.map(seen_of, [1]) == [("initialized", 1)]
        with raises(NameError):
            seen()
        """,
        early="""
        data = "the script's"
        def initialize(value):
            global setting
            setting = value
            seen.attribute = "of the function"
        def seen():
            return setting, data, seen.attribute
        def seen_of(x):
            return setting, x
        """,
        options=", initialize, ('initialized',)",
    )


def test_what_a_fork_has_inherited_is_seen(tmp_path: Path) -> None:
    sessions.play(
        "fork",
        tmp_path,
        """
        assert dview.apply(seen) == ["inherited"] * 2
        assert dview["held"] == ["inherited"] * 2
        held = "changed here"
        assert dview.apply(seen) == ["inherited"] * 2, "data does not travel"
        """,
        early="""
        def seen():
            return held
        if __name__ == "__main__":
            held = "inherited"
        """,
    )


def test_code_that_is_redefined_is_the_new_one(play: Callable[..., Any]) -> None:
    play(
        """
        def late(): return "old"
        assert e0.apply(late) == e0.apply(early) == "old"
        def late(): return "new"
        def early(): return "new"
        assert e0.apply(late) == e0.apply(early) == "new"
        assert dview.map(lambda x: early(), range(3)) == ["new"] * 3
        """,
        early="def early(): return 'old'",
    )


REFERRING = """
    def via_function(): return helper()
    class Via:
        def method(self): return helper()
        @property
        def value(self): return helper()
    def via_class(): return Via().method()
    def via_property(): return Via().value
    import functools
    def wrapped(f):
        @functools.wraps(f)
        def call(*args): return f(*args)
        return call
    @wrapped
    def via_decorated(): return helper()
    def via_two(): return via_function()
    def via_closure():
        def inner(): return helper()
        return inner()
    functions = [via_function, via_class, via_property, via_decorated, via_two, via_closure]
"""


@pytest.mark.parametrize("when", ["early", "late"])
def test_newer_code_replaces_older_that_had_travelled(play: Callable[..., Any], when: str) -> None:
    session = """
        def helper(): return "first"
        first = helper
        for f in functions:
            assert e0.apply(f) == "first", f
        def helper(): return "second"
        second = helper
        for f in functions:
            assert e0.apply(f) == "second", f
        for helper in (first, second, first):
            for f in functions:
                assert e0.apply(f) == helper(), f
                assert e0.map(lambda _: f(), [0]) == [helper()]
    """
    early = dedent(REFERRING)
    if when == "late":
        play(dedent(REFERRING) + dedent(session))
    else:
        play(session, early=early + "def helper(): return 'zeroth'\n")


def test_what_is_defined_after_the_first_try(play: Callable[..., Any]) -> None:
    play("""
        def f(): return helper()
        with raises(NameError, "'helper' is not defined on this engine"):
            e0.apply(f)
        def helper(): return Kind.value
        with raises(NameError, "'Kind' is not defined on this engine"):
            e0.apply(f)
        class Kind:
            value = 5
        assert e0.apply(f) == 5
    """)


def test_two_versions_of_a_name_for_two_functions(play: Callable[..., Any]) -> None:
    play("""
        def helper(): return 1
        def f(): return helper()
        assert e0.apply(f) == 1
        def helper(): return 2
        def g(): return helper()
        assert e0.apply(g) == 2 and e0.apply(f) == 2
        queued = [rc[0].apply_async(each) for each in (f, g)]
        def helper(): return 3
        queued += [rc[0].apply_async(each) for each in (f, g)]
        assert [result.get() for result in queued] == [2, 2, 3, 3]
    """)


def test_names_that_the_user_bound_are_not_replaced(play: Callable[..., Any]) -> None:
    play(
        """
        def helper(): return "the client's"
        def f(): return helper(), early()
        assert dview.apply(f) == [("the client's", "early")] * 4
        rc[0].execute("def helper(): return 'executed'\\ndef early(): return 'executed'", block=True)
        rc[1].push(dict(helper=lambda: "pushed", early=lambda: "pushed"), block=True)
        rc[2].apply_sync(lambda: globals().update(helper=lambda: "assigned", early=lambda: "assigned"))
        expected = [("executed", "executed"), ("pushed", "pushed"), ("assigned", "assigned"), ("the client's", "early")]
        assert dview.apply(f) == expected
        def helper(): return "the client's newer one"
        expected[3] = ("the client's newer one", "early")
        assert dview.apply(f) == expected
        def early(): return "redefined"
        expected[3] = ("the client's newer one", "redefined")
        assert dview.apply(f) == expected
        dview["helper"] = 5
        with raises(parpool.CompositeError, "'int' object is not callable"):
            dview.apply(f)
        """,
        early="def early(): return 'early'",
        engines=4,
    )


def test_after_clear_code_comes_along_again(play: Callable[..., Any]) -> None:
    play("""
        import string
        def helper(): return string.digits
        class Kind:
            def __init__(self): self.value = helper()
        def f(): return Kind().value
        for _ in range(3):
            assert dview.apply(f) == [string.digits] * 2
            rc.clear()
            assert not {"helper", "Kind"} & set(e0.keys())
    """)


def test_names_that_the_user_has_unbound_come_along_again(play: Callable[..., Any]) -> None:
    play("""
        import string
        def helper(): return string.digits
        def f(): return helper()
        assert e0.apply(f) == string.digits
        e0["helper"] = 5
        with raises(TypeError, "'int' object is not callable"):
            e0.apply(f)
        del e0["helper"]
        assert e0.apply(f) == string.digits
        e0.execute("del string")
        assert e0.apply(f) == string.digits
    """)


def test_after_clear_newer_code_replaces_what_the_engines_began_with(play: Callable[..., Any]) -> None:
    play(
        """
        assert dview.apply(f) == ["first"] * 2
        for version in ("second", "third"):
            exec(f"def helper(): return {version!r}")
            assert dview.apply(f) == [version] * 2
            rc.clear()
            assert dview.apply(f) == [version] * 2
        """,
        early="def helper(): return 'first'\ndef f(): return helper()",
    )


def test_data_does_not_travel(play: Callable[..., Any]) -> None:
    play("""
        table = {1: "one"}
        def look(key): return table[key]
        def by_helper(key): return look(key)
        told = "name 'table' is not defined on this engine: push it with view\\\\['table'\\\\] = value"
        for f in (look, by_helper, lambda key: table[key]):
            with raises(NameError, told) as caught:
                e0.apply(f, 1)
            assert isinstance(caught[0], parpool.RemoteError) and caught[0].engine_id == 0
        with raises(parpool.CompositeError, told):
            dview.apply(look, 1)
        with raises(parpool.CompositeError, told):
            rc.load_balanced_view().map_sync(look, [1])
        dview["table"] = table
        assert dview.apply(look, 1) == ["one"] * 2
        table[1] = "changed here"
        assert e0.apply(look, 1) == "one"
        with raises(NameError, "'not_there' is not defined on this engine: push it"):
            e0.execute("not_there")
        def unbound():
            if False: local = 1
            return local
        with raises(UnboundLocalError, "local variable 'local'"):
            e0.apply(unbound)
    """)


def test_closure_cells_travel_by_value(play: Callable[..., Any]) -> None:
    play("""
        def counter():
            n = 0
            def count():
                nonlocal n
                n += 1
                return n
            return count
        count = counter()
        assert e0.apply(count) == 1
        count()
        assert rc[1].apply_sync(count) == 2 and count() == 2, "each has a copy of its own"
        def make(x): return lambda: x
        assert [e0.apply(make(x)) for x in (1, [2], "three")] == [1, [2], "three"]
        def twice(f): return lambda *args: f(f(*args))
        assert e0.apply(twice(twice(lambda x: x + 1)), 0) == 4
    """)


def test_recursion(play: Callable[..., Any]) -> None:
    play(
        """
        def factorial(n): return n * factorial(n - 1) if n else 1
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n > 0 and even(n - 1)
        assert dview.apply(factorial, 5) == [120] * 2
        assert dview.map(even, range(4)) == [True, False, True, False]
        assert e0.apply(ping, 3) == "pong"
        def pong(n): return "changed"
        assert e0.apply(ping, 3) == "changed"
        """,
        early="def ping(n): return pong(n - 1) if n else 'ping'\ndef pong(n): return ping(n - 1) if n else 'pong'\n",
    )


def test_classes_keep_their_identity(play: Callable[..., Any]) -> None:
    play("""
        class Point:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return type(self) is type(other) and self.x == other.x
        class Odd(Exception): pass
        e0["p"] = Point(3)
        assert e0["p"] == Point(3) and type(e0["p"]) is Point
        assert e0.apply(lambda p: isinstance(p, Point) and isinstance(globals()["p"], Point), Point(1))
        assert dview.map(Point, range(3)) == [Point(0), Point(1), Point(2)]
        def odd(): raise Odd(5)
        with raises(Odd) as caught:
            e0.apply(odd)
        assert caught[0].args == (5,)
        older, e0["old"] = Point, Point(1)
        class Point:
            def new(self): return "newer"
        assert e0.apply(lambda: Point().new()) == "newer"
        assert type(e0["old"]) is older and e0.apply(lambda: isinstance(old, Point)) is False
    """)


def test_classes_of_every_make(play: Callable[..., Any]) -> None:
    play("""
        import abc, collections, dataclasses, enum, typing
        class Base(abc.ABC):
            @abc.abstractmethod
            def value(self): ...
            def twice(self): return 2 * self.value()
        class Derived(Base):
            def __init__(self, x):
                super().__init__()
                self.x = x
            def value(self): return self.x
            @classmethod
            def made(cls, x): return cls(x)
            class Inner:
                def outer(self): return Derived.made(5)
        @dataclasses.dataclass(frozen=True)
        class Data:
            x: int
            y: typing.List[int] = dataclasses.field(default_factory=list)
        class Color(enum.Enum):
            RED = 1
            BLUE = 2
        Pair = collections.namedtuple("Pair", "a b")
        class Slots:
            __slots__ = ("x",)
        assert e0.apply(lambda: Derived.made(4).twice()) == 8
        assert e0.apply(lambda: Derived.Inner().outer()).twice() == 10
        assert e0.apply(lambda d: d, Data(1, [2])) == Data(1, [2]) and type(e0.apply(Data, 3)) is Data
        assert e0.apply(lambda c: (c, c is Color.RED, Color.BLUE), Color.RED) == (Color.RED, True, Color.BLUE)
        assert type(e0.apply(Pair, 1, 2)) is Pair and dview.map(lambda p: p.a, [Pair(1, 2)] * 3) == [1, 1, 1]
        s = Slots(); s.x = 5
        assert e0.apply(lambda s: s, s).x == 5
    """)


def test_results_of_views_may_be_code(play: Callable[..., Any]) -> None:
    play("""
        assert e0.apply(lambda: lambda x: x + 1)(1) == 2
        def make(n):
            def add(x): return x + n
            return add
        assert e0.apply(make, 5)(1) == 6
        e0.execute("class There:\\n    def double(self): return 2 * self.x\\nt = There(); t.x = 4")
        assert e0["t"].double() == 8 and e0["There"].__name__ == "There"
    """)


def test_functions_of_main_as_arguments_and_in_containers(play: Callable[..., Any]) -> None:
    play(
        """
        import string
        def late(x): return string.digits[x]
        def call(f, x): return f(x)
        assert e0.apply(call, late, 3) == e0.apply(call, early, 3) == "3"
        assert e0.apply(lambda table, x: table["f"][0](x), {"f": [late]}, 4) == "4"
        e0["f"] = late
        assert e0.execute("f(5)").text == "'5'"
        import functools
        assert e0.apply(functools.partial(call, early), 6) == "6"
        """,
        early="import string\ndef early(x): return string.digits[x]\n",
    )


def test_a_method_of_main_keeps_its_object(play: Callable[..., Any]) -> None:
    play("""
        class Account:
            def __init__(self): self.total = 0
            def add(self, n): self.total += n; return self.total
        account = Account()
        assert e0.apply(account.add, 5) == 5 and account.total == 0
        e0["account"] = account
        there = parpool.Reference("account.add")
        assert [e0.apply(there, 5) for _ in range(2)] == [5, 10]
    """)


@pytest.mark.parametrize("serializer", ["dill", "cloudpickle"])
def test_other_serializers(play: Callable[..., Any], serializer: str) -> None:
    pytest.importorskip(serializer)
    play(f"""
        dview.use_{serializer}()
        def make(n): return lambda x: x + n
        assert dview.apply(make(2), 3) == [5] * 2
        dview.use_pickle()
        with raises(parpool.SerializationError, "serializer is 'pickle'|lambda"):
            dview.apply(lambda: 1)
        dview.use_cloudpickle()
        assert dview.apply(lambda: 1) == [1] * 2
    """)
