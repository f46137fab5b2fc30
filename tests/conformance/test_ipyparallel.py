"""ipyparallel's own tests, as its wheel has them, against ``parpool.compat.ipyparallel``.

Each file runs in a process of its own; those of its tests that do not pass are exactly those of ipyparallel_known.py.
Only where ipyparallel is installed: `tox -e ipyparallel`. (Nothing of it is imported by what is tested.)
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ipyparallel_known import KNOWN, NOT_RUN

SPEC = importlib.util.find_spec("ipyparallel")
HERE = Path(__file__).parent
LIMIT = 300.0

pytestmark = [
    pytest.mark.skipif(SPEC is None, reason="ipyparallel is not installed: tox -e ipyparallel"),
    pytest.mark.timeout(LIMIT + 30),
]


def folder() -> Path:
    assert SPEC is not None and SPEC.submodule_search_locations
    return Path(next(iter(SPEC.submodule_search_locations))) / "tests"


def outcomes(file: str, report: Path) -> dict[str, str]:
    """How each test of a file of theirs ended, and what it said."""
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-p", "ipyparallel_shim", "-p", "no:cacheprovider"]
    command += ["-o", "asyncio_mode=auto"]
    command += ["-q", "-c", os.devnull, "--timeout=60", f"--junitxml={report}", str(folder() / file)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]).rstrip(":")
    }
    environment.pop("PYTEST_ADDOPTS", None)  # which is for our tests
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, cwd=report.parent)
    assert ended.returncode in (0, 1) and report.exists(), ended.stdout + ended.stderr  # 0 and 1: it came to its end
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {each.tag: each.get("message") or "" for each in case}
        wrong = next((kind for kind in ("failure", "error") if kind in kinds), None)
        found[case.get("name", "")] = "passed" if wrong is None else f"{wrong}: {kinds[wrong]}"
    return found


@pytest.mark.parametrize("file", KNOWN)
def test_their_tests(file: str, tmp_path: Path) -> None:
    found = outcomes(file, tmp_path / "report.xml")
    failed = {name: told for name, told in found.items() if told != "passed"}
    assert len(found) > len(failed), "nothing has passed at all"
    assert {name: told for name, told in failed.items() if name not in KNOWN[file]} == {}
    assert set(KNOWN[file]) - set(failed) == set(), "these pass by now: take them off the list"


def test_every_file_is_run_or_has_a_reason() -> None:
    theirs = {path.name for path in folder().glob("test_*.py")}
    assert theirs == set(KNOWN) | set(NOT_RUN)
    assert not set(KNOWN) & set(NOT_RUN)
