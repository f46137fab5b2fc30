"""The examples: as modules, to test their functions, and as the scripts that they are."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def example() -> Callable[[str], ModuleType]:
    """Imports an example by its name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def run_example(tmp_path: Path) -> Callable[..., str]:
    """Runs an example with its options, in a folder from which no checkout of parpool is imported; gives what it
    printed."""

    def run(name: str, *options: Any, status: int = 0) -> str:
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, options)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=50)
        assert done.returncode == status, done.stderr
        if status:
            assert "Traceback" not in done.stderr
            return done.stderr
        return done.stdout

    return run
