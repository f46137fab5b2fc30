"""CPython's own tests for executors of processes, as installed with the interpreter, against `parpool.Executor`, and
against the executors of views.

As `test_cpython.py` does with those for Pool; some distributions of Python leave these out.
``CONFORMANCE_EXECUTOR=concurrent.futures.process:ProcessPoolExecutor`` runs them against the stdlib instead.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import cpython_cases
import pytest
from cpython_cases import Group, Outcome, Run

EXECUTOR = os.environ.get("CONFORMANCE_EXECUTOR", "parpool:Executor")
VIEW = "cpython_view_executor:OverAView"

ALONE = "it wants the whole executor broken; here that one call fails, with its own error, and the executor serves on"
INSIDE = "it looks at threads and queues of the stdlib's own, which are not here; test_executor.py has what it is about"
AT_ONCE = "it wants engines to be started as calls come; all are started when the executor is made"

#: What is left out, with the reason.
EXCLUDED: dict[str, str] = {
    "test_killed_child": ALONE,
    "test_error_at_task_unpickle": ALONE,
    "test_exit_at_task_unpickle": ALONE,
    "test_error_during_result_unpickle_in_result_handler": ALONE,
    "test_exit_during_result_unpickle_in_result_handler": ALONE,
    "test_error_during_result_pickle_on_worker": "a result that cannot be pickled is a MaybeEncodingError, as with Pool",
    "test_exit_during_result_pickle_on_worker": "an engine that is ended while it pickles a result is an EngineLost",
    "test_shutdown_deadlock_pickle": INSIDE,
    "test_del_shutdown": INSIDE,
    "test_shutdown_no_wait": INSIDE,
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": INSIDE,
    "test_python_finalization_error": INSIDE,
    "test_idle_process_reuse_one": AT_ONCE,
    "test_idle_process_reuse_multiple": AT_ONCE,
    "test_processes_terminate": AT_ONCE,
    "test_cancel_futures": "it wants some call to have begun by then, and cancels too little to be sure: here it may be all",
}

NOT_ITS_OWN = "a view's executor has no engines of its own, which would start and end with it"

#: The same, besides, of executors of views.
EXCLUDED_OF_VIEWS: dict[str, str] = {
    "test_traceback": "a view's exceptions are of the original class and RemoteErrors, too",
    "test_max_tasks_per_child": NOT_ITS_OWN,
    "test_max_tasks_per_child_defaults_to_spawn_context": NOT_ITS_OWN,
    "test_saturation": NOT_ITS_OWN,
}

#: With fork it passes.
PASS_WITH_FORK = ("test_processes_terminate",)

#: The others, which start five interpreters each, are told nothing by the start method that Pool's tests do not tell.
NOT_ONLY_FORK = (
    "test_initializer",
    "test_max_tasks_early_shutdown",
    "test_max_tasks_per_child",
    "test_traceback",
)

pytestmark = pytest.mark.timeout(600)  # the first test waits for all runs; each has its own, shorter limits

try:
    GROUPS = cpython_cases.discover_executors() if sys.platform != "win32" else []
    REASON = "written for POSIX"
except ImportError as error:
    GROUPS, REASON = [], str(error)


def _expected(executor: str, group: Group, test: str) -> bool:
    if executor == VIEW:  # what begins, ends and kills engines is the pool's
        return group.method == "fork" and any(what in group.name for what in ("AsCompleted", "Wait", "PoolExecutor"))
    # (Of initializers that fail, each is tried several times.)
    return group.method == "fork" or (
        group.method == "spawn" and test in NOT_ONLY_FORK and "FailingInitializer" not in group.name
    )


def _excluded(executor: str, group: Group, test: str) -> str:
    if executor == VIEW and test in EXCLUDED_OF_VIEWS:
        return EXCLUDED_OF_VIEWS[test]
    return "" if group.method == "fork" and test in PASS_WITH_FORK else EXCLUDED.get(test, "")


CASES = [
    (executor, group, test)
    for executor in (EXECUTOR, VIEW)
    for group in GROUPS
    for test in group.tests
    if _expected(executor, group, test)
]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> dict[tuple[str, str], Run]:
    """The outcomes of every selected test. Three groups at a time: most of the time they wait."""
    wanted: dict[tuple[str, str], list[str]] = {}
    for item in request.session.items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if item.path == request.path and "case" in params:
            executor, group, case = params["executor"], params["group"], params["case"]
            if not _excluded(executor, group, case):
                wanted.setdefault((executor, group.id), []).append(case)
    chosen = [
        (executor, Group(group.method, group.module, group.name, "", tuple(wanted[executor, group.id])))
        for executor in (EXECUTOR, VIEW)
        for group in GROUPS
        if (executor, group.id) in wanted
    ]
    with ThreadPoolExecutor(3) as threads:
        results = threads.map(lambda each: cpython_cases.run(each[1], each[0]), chosen)
        return {(executor, group.id): run for (executor, group), run in zip(chosen, results, strict=True)}


@pytest.mark.skipif(not CASES, reason=REASON)
@pytest.mark.parametrize(
    ("executor", "group", "case"),
    CASES,
    ids=[f"{'view' if executor == VIEW else 'own'}-{group.id}-{test}" for executor, group, test in CASES],
)
def test_case(executor: str, group: Group, case: str, runs: dict[tuple[str, str], Run]) -> None:
    if reason := _excluded(executor, group, case):
        pytest.skip(reason)
    outcome = runs[executor, group.id].outcomes[case]
    if outcome.result == "skipped":
        pytest.skip(outcome.detail)
    assert outcome.result == "passed", outcome.detail


@pytest.mark.skipif(not CASES, reason=REASON)
def test_nothing_is_left(runs: dict[tuple[str, str], Run]) -> None:
    assert {id: run.dangling for id, run in runs.items() if run.dangling} == {}


@pytest.mark.skipif(not CASES, reason=REASON)
def test_discovery_finds_the_suites() -> None:
    """A change of CPython's layout must show here, not as an empty, green run."""
    found = {group.name: set(group.tests) for group in GROUPS if group.method == "fork"}
    assert {"test_submit", "test_map_timeout", "test_traceback"} <= found["ProcessPoolForkProcessPoolExecutorTest"]
    assert "test_interpreter_shutdown" in found["ProcessPoolForkProcessPoolShutdownTest"]
    assert "test_shutdown_deadlock" in found["ProcessPoolForkExecutorDeadlockTest"]
    assert "test_first_exception" in found["ProcessPoolForkWaitTest"]
    assert "test_duplicate_futures" in found["ProcessPoolForkAsCompletedTest"]
    assert found["ProcessPoolForkInitializerTest"] == {"test_initializer"}
    assert found["ProcessPoolForkFailingInitializerTest"] == {"test_initializer"}


@pytest.mark.skipif(not CASES, reason=REASON)
def test_the_runner_sees_the_stdlib_in_our_place() -> None:
    group = next(group for group in GROUPS if group.name == "ProcessPoolForkInitializerTest")
    run = cpython_cases.run(group, "no_such_module:Executor")
    assert run.outcomes["test_initializer"].result == "failed"
    assert "no_such_module" in run.outcomes["test_initializer"].detail
    run = cpython_cases.run(group, "concurrent.futures.process:ProcessPoolExecutor")
    assert run.outcomes == {"test_initializer": Outcome("passed")}
