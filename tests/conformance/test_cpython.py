"""CPython's own tests for Pool, as installed with the running interpreter, against `parpool.Pool`.

Each class runs once per start method, in a process of its own; each of its tests is reported here by name. Scripts that
the tests start run under ``python -m parpool``. ``CONFORMANCE_POOL=multiprocessing.pool:Pool`` in the environment runs
everything against the stdlib instead, to see what the tests themselves do on a machine.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import cpython_cases
import pytest
from cpython_cases import Group, Outcome, Run

POOL = os.environ.get("CONFORMANCE_POOL", "parpool:Pool")

EXCLUDED: dict[tuple[str, str], str] = {
    # (class, test): reason. For tests that reach into attributes that are the stdlib's own affair. None needs it:
    # `_pool`, `_state` and `_repopulate_pool`, which some touch, are provided. The "threads" kind of each class is not
    # run because it is about `multiprocessing.pool.ThreadPool`, which parpool leaves alone.
}

ONCE = {
    # Tests that start an interpreter of their own, whose start method is always the default one.
    ("_TestPoolWorkerLifetime", "test_worker_finalization_via_atexit_handler_of_multiprocessing"),
    ("MiscTestCase", "test_large_pool"),
}

pytestmark = pytest.mark.timeout(1200)  # the first test waits for all runs; each has its own, shorter limits

try:
    GROUPS = cpython_cases.discover() if sys.platform != "win32" else []
    REASON = "written for POSIX"
except ImportError as error:
    GROUPS, REASON = [], str(error)


def _expected(group: Group, test: str) -> bool:
    return (group.name, test) not in ONCE or group.method == "fork"


def _wanted(group: Group, test: str) -> bool:
    return _expected(group, test) and (group.name, test) not in EXCLUDED


RUN_GROUPS = [group for group in GROUPS if any(_wanted(group, test) for test in group.tests)]
CASES = [(group, test) for group in GROUPS for test in group.tests if _expected(group, test)]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> dict[str, Run]:
    """The outcomes of every group that a selected test belongs to. Two at a time: most of the time they wait."""
    wanted: dict[str, set[str]] = {}
    for item in request.session.items:
        if item.path == request.path and "group" in getattr(item, "callspec", _NoParams).params:
            params = item.callspec.params
            wanted.setdefault(params["group"].id, set()).add(params.get("case", ""))
    groups = []
    for group in GROUPS:
        chosen = wanted.get(group.id, set())
        tests = tuple(t for t in group.tests if _wanted(group, t) and (t in chosen or "" in chosen))
        if tests:
            groups.append(Group(group.method, group.module, group.name, group.kind, tests))
    with ThreadPoolExecutor(3) as executor:
        results = executor.map(lambda group: cpython_cases.run(group, POOL), groups)
        return {group.id: run for group, run in zip(groups, results, strict=True)}


class _NoParams:
    params: dict[str, object] = {}


@pytest.mark.skipif(not CASES, reason=REASON)
@pytest.mark.parametrize(("group", "case"), CASES, ids=[f"{group.id}-{test}" for group, test in CASES])
def test_case(group: Group, case: str, runs: dict[str, Run]) -> None:
    if (group.name, case) in EXCLUDED:
        pytest.skip(EXCLUDED[group.name, case])
    outcome = runs[group.id].outcomes[case]
    if outcome.result == "skipped":
        pytest.skip(outcome.detail)
    assert outcome.result == "passed", outcome.detail


@pytest.mark.skipif(not GROUPS, reason=REASON)
@pytest.mark.parametrize("group", RUN_GROUPS, ids=[group.id for group in RUN_GROUPS])
def test_nothing_is_left(group: Group, runs: dict[str, Run]) -> None:
    assert runs[group.id].dangling == []


@pytest.mark.skipif(not CASES, reason=REASON)
def test_discovery_finds_the_suites() -> None:
    """A change of CPython's layout must show here, not as an empty, green run."""
    found = {(group.method, group.name, group.kind): set(group.tests) for group in GROUPS}
    for method in cpython_cases.METHODS:
        assert {"test_apply", "test_imap_unordered", "test_terminate"} <= found[method, "_TestPool", "processes"]
        assert "test_unpickleable_result" in found[method, "_TestPoolWorkerErrors", "processes"]
        assert "test_pool_worker_lifetime" in found[method, "_TestPoolWorkerLifetime", "processes"]
        assert "test_pool_initializer" in found[method, "TestInitializers", ""]
        assert "test_release_unused_processes" in found[method, "TestPoolNotLeakOnFailure", ""]
    assert len(CASES) > 150


def _some(name: str, *tests: str) -> Group:
    return Group("fork", cpython_cases.MAIN, name, "processes", tests)


@pytest.mark.skipif(not CASES, reason=REASON)
class TestTheRunner:
    """The runner must be able to fail."""

    def test_passes_the_stdlib(self) -> None:
        run = cpython_cases.run(_some("_TestPool", "test_apply", "test_map", "test_imap"), "multiprocessing.pool:Pool")
        assert run.outcomes == dict.fromkeys(("test_apply", "test_map", "test_imap"), Outcome("passed"))
        assert run.dangling == []

    def test_sees_a_wrong_result(self) -> None:
        run = cpython_cases.run(_some("_TestPool", "test_apply", "test_map"), "cpython_wrong_pools:Backwards")
        assert run.outcomes["test_apply"].result == "passed"
        assert run.outcomes["test_map"].result == "failed"
        assert "Lists differ" in run.outcomes["test_map"].detail

    def test_sees_a_hang_and_goes_on(self) -> None:
        tests = ("test_apply", "test_map")
        run = cpython_cases.run(_some("_TestPool", *tests), "cpython_wrong_pools:Stuck", limit=3)
        assert run.outcomes["test_apply"].result == "failed"
        assert "in apply" in run.outcomes["test_apply"].detail  # the stacks
        assert run.outcomes["test_map"].result == "passed"

    def test_sees_a_pool_that_cannot_be_imported(self) -> None:
        run = cpython_cases.run(_some("_TestPool", "test_apply"), "no_such_module:Pool")
        assert run.outcomes["test_apply"].result == "failed"
        assert "no_such_module" in run.outcomes["test_apply"].detail
