"""A prompt, and engines for its magics."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = str(Path(__file__).resolve().parents[1] / "conformance")
if HERE not in sys.path:
    sys.path.insert(0, HERE)

from rows import warm_pool  # noqa: E402  # by the path above

from parpool import Client, DirectView  # noqa: E402


@pytest.fixture(scope="module")
def rc(request: pytest.FixtureRequest) -> Iterator[Client]:
    """The client of two engines, which host shells where the module says ``SHELLS = True``."""
    with warm_pool(2, ipython=getattr(request.module, "SHELLS", False)) as pool:
        pool.client[:].apply_sync(abs, -1)
        yield pool.client


@pytest.fixture
def view(rc: Client) -> Iterator[DirectView]:
    """All of them, with nothing in their namespaces; it waits."""
    view = rc[:]
    view.clear(block=True)
    with view.temp_flags(block=True):
        yield view


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Any]:
    """A prompt, as get_ipython() finds it."""
    from shells import prompt

    with prompt(tmp_path) as made:
        yield made


@pytest.fixture
def typed(shell: Any, view: DirectView, rc: Client) -> Any:
    """What the prompt answers, with ``rc`` and ``view`` bound and no view active."""
    from answers import Answer
    from IPython.utils.capture import capture_output

    shell.user_ns.update(rc=rc, view=view)

    def type_it(cell: str) -> Answer:
        with capture_output() as captured:
            result = shell.run_cell(cell, store_history=True)
        return Answer(captured.stdout, captured.stderr, captured.outputs, result.error_in_exec, result.result)

    return type_it


@pytest.fixture
def px(typed: Any, view: DirectView) -> Any:
    """What the prompt answers where the view is active."""
    view.activate()
    return typed
