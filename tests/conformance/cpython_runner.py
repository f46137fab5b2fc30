"""Run some of CPython's own Pool tests with another Pool in the stdlib's place. Runs as a script, one test class each.

The environment says what to run, because processes started by spawn and forkserver import this file too, and must find
the same classes and the same Pool in it:

- ``CONFORMANCE_POOL``  the Pool, as ``module:name`` (``multiprocessing.pool:Pool`` runs the tests as they are)
- ``CONFORMANCE_CLASS`` the tests, as ``module:class:kind``; kind is ``processes``, ``manager`` or nothing
- ``CONFORMANCE_LIMIT`` seconds that one test may take; one that takes longer ends this process, with all stacks on stderr

Arguments: start method, file for the outcomes (one JSON object a line), names of the tests.
"""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import multiprocessing.context
import multiprocessing.managers
import multiprocessing.pool
import multiprocessing.process
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from cpython_outcomes import Outcomes, dangling, load, people

StdlibPool = multiprocessing.pool.Pool
SPEC = os.environ.get("CONFORMANCE_POOL", "parpool:Pool")


def substitute(pool) -> None:
    """Put `pool` wherever a user finds the stdlib's Pool."""

    def from_context(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None):
        return pool(processes, initializer, initargs, maxtasksperchild, context=self.get_context())

    multiprocessing.pool.Pool = pool
    multiprocessing.context.BaseContext.Pool = from_context
    multiprocessing.Pool = multiprocessing.context._default_context.Pool
    multiprocessing.managers.SyncManager.register("Pool", pool, multiprocessing.managers.PoolProxy)


def assert_python_ok(*args: str, **options: object):
    """Like test.support's, but the script runs with the Pool under test: through ``python -m parpool``."""
    arguments = list(args)
    switches = []
    while arguments[0].startswith("-") and arguments[0] != "-c":
        switches.append(arguments.pop(0))
    with tempfile.TemporaryDirectory() as folder:
        if arguments[0] == "-c":
            script = Path(folder, "script.py")
            script.write_text(arguments[1])
            arguments[:2] = [str(script)]
        launcher = ["-m", "parpool"] if SPEC == "parpool:Pool" else []
        argv = [sys.executable, *switches, *launcher, *arguments]
        ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    if ended.returncode:
        raise AssertionError(f"{argv} ended with {ended.returncode}\n{ended.stdout!r}\n{ended.stderr.decode()}")
    return ended.returncode, ended.stdout, ended.stderr


def case_class(spec: str) -> type[unittest.TestCase]:
    """The test class, complete with the mixin for its kind, as CPython's own test files put it together."""
    module_name, class_name, kind = spec.split(":")
    module = importlib.import_module(module_name)
    base = getattr(module, class_name)
    name = "With" + kind.capitalize() + class_name.lstrip("_") if kind else class_name
    bases = (base, getattr(module, kind.capitalize() + "Mixin"), unittest.TestCase) if kind else (base,)
    return type(name, bases, {"__module__": __name__, "__qualname__": name})


def main(method: str, path: str, *names: str) -> None:
    multiprocessing.set_start_method(method, force=True)
    result = Outcomes(path, float(os.environ.get("CONFORMANCE_LIMIT", "40")))
    original = StdlibPool.__init__

    def counted(self, *args, **kwds):
        if type(self) is StdlibPool and SPEC != "multiprocessing.pool:Pool":
            result.stdlib_made += 1
        original(self, *args, **kwds)

    StdlibPool.__init__ = counted
    known = people()
    result.watch()
    unittest.TestSuite([CASES(name) for name in names]).run(result)
    result.write(test=None, outcome="done", detail=dangling(known))
    faulthandler.cancel_dump_traceback_later()


if SPEC != "multiprocessing.pool:Pool":
    substitute(load(SPEC))
import test.support.script_helper  # noqa: E402  (after the substitution, like the tests below)

test.support.script_helper.assert_python_ok = assert_python_ok
CASES = case_class(os.environ["CONFORMANCE_CLASS"])
globals()[CASES.__name__] = CASES  # tasks that are methods of the class are looked up here, in every process

if __name__ == "__main__":
    main(*sys.argv[1:])
