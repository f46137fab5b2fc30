"""CPython's own tests for executors of processes, as installed with the interpreter, against `parpool.Executor`.

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


def _expected(group: Group, test: str) -> bool:
    # (Of initializers that fail, each is tried several times.)
    return group.method == "fork" or (
        group.method == "spawn" and test in NOT_ONLY_FORK and "FailingInitializer" not in group.name
    )


def _excluded(group: Group, test: str) -> bool:
    return test in EXCLUDED and not (group.method == "fork" and test in PASS_WITH_FORK)


CASES = [(group, test) for group in GROUPS for test in group.tests if _expected(group, test)]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> dict[str, Run]:
    """The outcomes of every selected test. Three groups at a time: most of the time they wait."""
    wanted: dict[str, list[str]] = {}
    for item in request.session.items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if item.path == request.path and "case" in params and not _excluded(params["group"], params["case"]):
            wanted.setdefault(params["group"].id, []).append(params["case"])
    groups = [
        Group(group.method, group.module, group.name, "", tuple(wanted[group.id]))
        for group in GROUPS
        if group.id in wanted
    ]
    with ThreadPoolExecutor(3) as executor:
        results = executor.map(lambda group: cpython_cases.run(group, EXECUTOR), groups)
        return {group.id: run for group, run in zip(groups, results, strict=True)}


@pytest.mark.skipif(not CASES, reason=REASON)
@pytest.mark.parametrize(("group", "case"), CASES, ids=[f"{group.id}-{test}" for group, test in CASES])
def test_case(group: Group, case: str, runs: dict[str, Run]) -> None:
    if _excluded(group, case):
        pytest.skip(EXCLUDED[case])
    outcome = runs[group.id].outcomes[case]
    if outcome.result == "skipped":
        pytest.skip(outcome.detail)
    assert outcome.result == "passed", outcome.detail


@pytest.mark.skipif(not CASES, reason=REASON)
def test_nothing_is_left(runs: dict[str, Run]) -> None:
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
