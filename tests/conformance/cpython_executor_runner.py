"""Run some of CPython's own executor tests with another executor in the stdlib's place. Runs as a script, one class each.

The environment says what to run, as in `cpython_runner.py`: ``CONFORMANCE_POOL`` is the executor, ``CONFORMANCE_CLASS``
the test class, ``module:name``, that the test file itself has put together.

Arguments: start method, file for the outcomes (one JSON object a line), names of the tests.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.process
import faulthandler
import gc
import importlib
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from cpython_outcomes import Outcomes, dangling, load, people

SPEC = os.environ.get("CONFORMANCE_POOL", "parpool:Executor")
StdlibExecutor = concurrent.futures.process.ProcessPoolExecutor


def assert_python_ok(*args: str, **options: object):
    """Like test.support's, but the script runs with the executor under test."""
    switch, code = args
    assert switch == "-c"
    module, name = SPEC.split(":")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.py")
        script.write_text(code.replace(f"from concurrent.futures import {name}", f"from {module} import {name}"))
        argv = [sys.executable, str(script)]
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    if ended.returncode:
        raise AssertionError(f"{argv} ended with {ended.returncode}\n{ended.stdout!r}\n{ended.stderr.decode()}")
    return ended.returncode, ended.stdout, ended.stderr


def main(path: str, *names: str) -> None:
    result = Outcomes(path, float(os.environ.get("CONFORMANCE_LIMIT", "40")))
    original = StdlibExecutor.__init__

    def counted(self, *args, **kwds):
        result.stdlib_made += 1
        original(self, *args, **kwds)

    if load(SPEC) is not StdlibExecutor:
        StdlibExecutor.__init__ = counted
    known = people()
    result.watch()
    unittest.TestSuite([CASES(name) for name in names]).run(result)
    result.write(test=None, outcome="done", detail=dangling(known))
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    import test.support.script_helper
    import test.support.threading_helper

    concurrent.futures.ProcessPoolExecutor = concurrent.futures.process.ProcessPoolExecutor = load(SPEC)
    test.support.script_helper.assert_python_ok = assert_python_ok
    cleanup = test.support.threading_helper.threading_cleanup

    def threading_cleanup(*values):
        gc.collect()  # what has ended here goes with its cycles; the one that looks may itself hold it, and then waits
        cleanup(*values)

    test.support.threading_helper.threading_cleanup = threading_cleanup
    of, case, _ = os.environ["CONFORMANCE_CLASS"].split(":")
    CASES = getattr(importlib.import_module(of), case)
    main(*sys.argv[2:])
