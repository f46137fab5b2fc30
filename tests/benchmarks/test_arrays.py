"""The benchmark of large arrays: what it says of memory is true of every run, and its figure is drawn."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import xml.dom.minidom
from pathlib import Path
from types import ModuleType

import pytest

from parpool.shm import files

pytest.importorskip("numpy")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ARRAY = 256_000_000


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are scripts in one folder, not a package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def tasks() -> ModuleType:
    return importlib.import_module("arrays_tasks")


@pytest.mark.skipif(not files.possible or not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize("way", ["there", "back"])
def test_there_is_no_hidden_second_copy(way: str) -> None:
    done = subprocess.run([sys.executable, BENCHMARKS / "arrays_more.py", way], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # The slot, which the sender has mapped, is one; with a copy in either process it would be two.
    assert 0.9 * ARRAY < found["receiver"] < 1.2 * ARRAY and found["sender"] < 1.2 * ARRAY


def test_ratios_are_medians_of_ratios(tasks: ModuleType) -> None:
    found = tasks.figures([(1.0, 4.0), (2.0, 4.0), (4.0, 4.0)])
    assert found == (2.0, 4.0, 2.0)
    assert str(tasks.row("case", 8.0, found, 2)).endswith("| 2.0 × (at least 2) | yes |")
    assert tasks.row("case", 8.0, found, 2.1).met == "**no**"
    assert tasks.at_most("case", "1 s", "2 s", 1.04, 1.03).met == "**no**"


def test_the_figure_of_the_threshold() -> None:
    curve = importlib.import_module("arrays_curve")
    points = [
        curve.Point(2**power, (2e-4, 1e-4 * power), (5e-5, 1e-5 * power), (power / 2, power / 5))
        for power in range(14, 23)
    ]
    drawn = xml.dom.minidom.parseString(curve.draw(points, 2**16))
    assert [each.firstChild.data for each in drawn.getElementsByTagName("text")][:3] == ["16 K", "32 K", "64 K"]
    lines = [each for each in drawn.getElementsByTagName("polyline") if each.getAttribute("stroke-width") == "2"]
    assert sum(len(each.getAttribute("points").split()) == len(points) for each in lines) == 4
    assert curve.table(points).splitlines()[-1] == "| 4096 KiB | 200 / 2200 µs | 50 / 220 µs | 11.00, 4.40 |"
