"""The torture matrix: what the stdlib's Pool hangs on, under each start method. The cases are in `torture_*.py`.

Each case is a script in its own session, under a hard limit; when it has ended, none of its processes may be left. Some
are looked at from outside too: their parent is killed or interrupted, or they end without closing their pool.
"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import scripts
from scripts import Ended

METHODS = ("fork", "spawn", "forkserver")
SCRIPTS = [Path(__file__).with_name(name) for name in ("torture_errors.py", "torture_ends.py")]
LIMIT = 60.0
LIMITS = {"exit_without_close": 20.0, "exit_without_close_while_busy": 20.0}
AT_ONCE = 3

pytestmark = [
    pytest.mark.timeout(1800),  # the first test waits for all scripts; each has its own, shorter limit
    pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and fork: POSIX only"),
]


def _cases(script: Path) -> list[str]:
    """The cases, read and not imported: what they do to an interpreter is for other processes."""
    functions = [node for node in ast.parse(script.read_text()).body if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if any(isinstance(d, ast.Name) and d.id == "case" for d in f.decorator_list)]


SCRIPT_OF = {name: script for script in SCRIPTS for name in _cases(script)}


def _pids(process: subprocess.Popen[bytes], out: Path) -> list[int]:
    return [int(word) for word in scripts.wait_for(process, out, "pids", LIMIT / 2).split()[1:]]


def _kill_parent(process: subprocess.Popen[bytes], out: Path) -> None:
    pids = _pids(process, out)
    assert len(pids) == 2 and all(scripts.alive(pid) for pid in pids), pids
    process.kill()
    process.wait()
    assert scripts.gone(pids, 10) == [], "engines outlive their parent"


def _interrupt(process: subprocess.Popen[bytes], out: Path) -> None:
    """As a terminal does: every process of the group gets it."""
    pids = _pids(process, out)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    scripts.wait_for(process, out, "interrupted", 10)
    process.wait(20)
    assert scripts.gone(pids, 10) == []


MEANWHILE: dict[str, Callable[[subprocess.Popen[bytes], Path], None]] = {
    "parent_killed_while_idle": _kill_parent,
    "parent_killed_while_sleeping": _kill_parent,
    "parent_killed_while_spinning": _kill_parent,
    "interrupt_during_map": _interrupt,
    "interrupt_during_imap": _interrupt,
}
STATUS = {name: -signal.SIGKILL for name, watcher in MEANWHILE.items() if watcher is _kill_parent}

EXCLUDED = {
    # multiprocessing's fork server dies of a client that ran out of descriptors while it connected, and says so only
    # at the next start: nothing above it can help.
    ("too_few_file_descriptors", "forkserver"),
}
#: What differs between interpreters under the other start methods, CPython's own tests look into: on each of them.
ONCE = {"fork": (), "spawn": pytest.mark.once, "forkserver": pytest.mark.once}
CASES = [
    pytest.param(name, method, id=f"{method}-{name}", marks=ONCE[method])
    for name in SCRIPT_OF
    for method in METHODS
    if (name, method) not in EXCLUDED
]


@pytest.fixture(scope="module")
def endings(request: pytest.FixtureRequest) -> dict[tuple[str, str], Ended | BaseException]:
    """How the scripts of all selected tests ended. A few at a time: most of the time they wait."""
    chosen = [
        (item.callspec.params["name"], item.callspec.params["method"])
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]
    with ThreadPoolExecutor(AT_ONCE) as executor:
        futures = {key: executor.submit(_run, *key) for key in chosen}
    return {key: future.exception() or future.result() for key, future in futures.items()}


def _run(name: str, method: str) -> Ended:
    env = {"TORTURE_METHOD": method}
    return scripts.run([str(SCRIPT_OF[name]), name], LIMITS.get(name, LIMIT), env=env, meanwhile=MEANWHILE.get(name))


@pytest.mark.parametrize(("name", "method"), CASES)
def test_torture(name: str, method: str, endings: dict[tuple[str, str], Ended | BaseException]) -> None:
    ended = endings[name, method]
    if isinstance(ended, BaseException):
        raise ended
    if ended.status != STATUS.get(name, 0) or ended.left:
        pytest.fail(ended.report(), pytrace=False)


def test_all_cases_are_found() -> None:
    assert len(SCRIPT_OF) == sum(len(_cases(script)) for script in SCRIPTS) >= 30
    assert set(MEANWHILE) <= set(SCRIPT_OF)
