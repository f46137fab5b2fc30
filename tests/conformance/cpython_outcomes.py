"""What becomes of CPython's tests, told while they run, and what they leave behind: for the scripts that run them."""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import multiprocessing.process
import threading
import time
import unittest


def load(spec: str):
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)


class Outcomes(unittest.TestResult):
    """Writes each outcome when it is known: a test that hangs must not take the others' with it."""

    def __init__(self, path: str, limit: float) -> None:
        super().__init__()
        self.path, self.limit = path, limit
        self.stdlib_made = 0
        self.outcome, self.detail = "passed", ""

    def write(self, **record: object) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(record) + "\n")

    def watch(self) -> None:
        faulthandler.dump_traceback_later(self.limit, exit=True)

    def startTest(self, test):
        super().startTest(test)
        self.outcome, self.detail, self.stdlib_made = "passed", "", 0
        self.write(test=test._testMethodName, outcome="started")
        self.watch()

    def stopTest(self, test):
        super().stopTest(test)
        if self.stdlib_made and self.outcome == "passed":
            self.outcome, self.detail = "failed", "what the stdlib has was used instead of the one under test"
        self.write(test=test._testMethodName, outcome=self.outcome, detail=self.detail)
        self.watch()

    def note(self, test, outcome: str, detail: str) -> None:
        if hasattr(test, "_testMethodName") or hasattr(test, "test_case"):
            if self.outcome == "passed":
                self.outcome, self.detail = outcome, detail
        else:  # setUpClass or tearDownClass: the "test" is only a place holder
            self.write(test=None, outcome=outcome, detail=f"{test.id()}\n{detail}")

    def addError(self, test, err):
        self.note(test, "failed", self._exc_info_to_string(err, test))

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addError(test, err)

    def addSkip(self, test, reason):
        self.note(test, "skipped", reason)

    def addUnexpectedSuccess(self, test):
        self.note(test, "failed", "unexpected success")


def dangling(known: set[object]) -> list[str]:
    """Processes and threads that came and did not go; some get a second or two to end by themselves."""
    end = time.monotonic() + 3
    while True:
        gc.collect()
        left = [item for item in people() if item not in known and item.is_alive()]
        if not left or time.monotonic() > end:
            return [repr(item) for item in left]
        time.sleep(0.05)


def people() -> set[object]:
    return {*multiprocessing.process._dangling, *threading.enumerate()}
