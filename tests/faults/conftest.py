"""Clusters for the tests of faults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_rig import MakeRig, Rig, end_with_this_process


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[MakeRig]:
    """Makes clusters, which end with the test."""
    rigs: list[Rig] = []

    def make(engines: int = 2, preexec: Any = end_with_this_process, **settings: Any) -> Rig:
        rig = Rig(tmp_path / f"clusters{len(rigs)}", **settings)
        rigs.append(rig)
        rig.start_controller(preexec=preexec)
        if engines:
            rig.start_engines(engines)
        return rig

    yield make
    for rig in rigs:
        rig.end()


@pytest.fixture(params=["ipc", "tcp"])
def tcp(request: pytest.FixtureRequest) -> bool:
    """Over ipc, and over tcp with keys."""
    return bool(request.param == "tcp")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real processes are stopped and looked at here by the means of Linux."""
    if not os.path.exists("/proc/self/stat"):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="no /proc"))
