"""A real IPython prompt in this process, and what it prints for what is typed. Import the fixture by its name."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from parpool.magics import unload_ipython_extension


@contextmanager
def prompt(folder: Path) -> Iterator[Any]:
    """A prompt, as get_ipython() finds it."""
    main = sys.modules["__main__"]
    config = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})
    config.IPCompleter.use_jedi = False  # it is loaded for seconds
    shell = InteractiveShell.instance(config=config, ipython_dir=str(folder))
    try:
        yield shell
    finally:
        unload_ipython_extension(shell)
        shell.restore_sys_module_state()
        atexit.unregister(
            shell.atexit_operations
        )  # each would collect garbage in the end, for as long as its tests took
        InteractiveShell.clear_instance()
        sys.modules["__main__"] = main
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):  # they hold frames
            vars(sys).pop(name, None)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Any]:
    with prompt(tmp_path) as made:
        yield made


def typed(shell: Any, text: str) -> str:
    """What it prints for something that is typed."""
    with capture_output(display=False) as io:
        shell.run_cell(text, store_history=True)
    return str(io.stdout) + str(io.stderr)
