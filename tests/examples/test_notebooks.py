"""The notebooks of the examples, run as a reader runs them: from top to bottom, by a Jupyter kernel."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
image = pytest.importorskip("matplotlib.image")

NOTEBOOKS = Path(__file__).parents[2] / "examples/notebooks"
NAMES = ["image_filters", "interactive_statistics", "monte_carlo"]
SVG = "{http://www.w3.org/2000/svg}"

# In a process of its own: what a client of kernels leaves open there is not ours.
RUN = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=45, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


class Ran:
    """A notebook that has been executed."""

    def __init__(self, cells: list[Any]) -> None:
        outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
        self.printed = "".join(each.text for each in outputs if each.output_type == "stream" and each.name == "stdout")
        self.warned = "".join(each.text for each in outputs if each.output_type == "stream" and each.name == "stderr")
        shown = [each.data for each in outputs if "data" in each]
        self.pictures = [
            image.imread(io.BytesIO(base64.b64decode(data["image/png"]))) for data in shown if "image/png" in data
        ]
        self.pages = [
            (data["text/plain"], ElementTree.fromstring(data["text/html"])) for data in shown if "text/html" in data
        ]


def run(name: str, folder: Path) -> Ran:
    environment = os.environ | {f"{name}_DIR": str(folder) for name in ("JUPYTER_RUNTIME", "JUPYTER_CONFIG")}
    environment |= {"IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("MPLBACKEND", None)
    command = [sys.executable, "-c", RUN, str(NOTEBOOKS / f"{name}.ipynb"), str(folder / "ran.ipynb")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=58)
    assert done.returncode == 0, done.stderr
    return Ran(nbformat.read(folder / "ran.ipynb", 4).cells)


def tasks_shown(page: ElementTree.Element) -> tuple[list[str | None], int]:
    """The engines of a timeline, and of how many tasks there is a bar: where they are short, some share one."""
    titles = [str(each.text) for each in page.iter(SVG + "title")]
    many = [re.search(r": (\d+) tasks,", title) for title in titles]
    return [each.findtext(SVG + "text") for each in page.iter(SVG + "g")], sum(int(n[1]) if n else 1 for n in many)


def not_empty(picture: Any) -> bool:
    return bool(picture.shape[0] > 100 and picture.shape[1] > 300 and picture[:, :, :3].std() > 0.05)


def test_these_are_all() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.iterdir() if path.suffix == ".ipynb") == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_they_are_committed_as_they_are_read_first(name: str) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (not cell.outputs and cell.execution_count is None)
        assert max(map(len, cell.source.splitlines())) <= 120


def test_interactive_statistics(tmp_path: Path) -> None:
    ran = run("interactive_statistics", tmp_path)
    assert not ran.warned
    (client, table), (result, timeline) = ran.pages
    assert client == "<Client: engines [0, 1, 2, 3]>"
    assert [line[0].text for line in table.iter("tr")] == ["engine", "0", "1", "2", "3"]
    assert "".join(f"Out[{id}:1]: 250000\n" for id in range(4)) in ran.printed
    assert "1,000,000 waits, 4.099 minutes on average, with a deviation of 3.921" in ran.printed
    assert "half of the waits are shorter than 2.790" in ran.printed
    assert result == "<ViewMapResult resampled: ready>"
    engines, tasks = tasks_shown(timeline)
    assert set(engines) <= {f"engine {id}" for id in range(4)} and tasks == 24
    (histogram,) = ran.pictures
    assert not_empty(histogram)


def test_monte_carlo(tmp_path: Path) -> None:
    ran = run("monte_carlo", tmp_path)
    assert not ran.warned
    ((result, timeline),) = ran.pages
    assert result == "<ViewMapResult wet_through: ready>"
    assert tasks_shown(timeline) == (["engine 0", "engine 1"], 65)
    assert re.search(r"let water through at p = 0\.(5[6-9]|6[01])\d\n", ran.printed)
    stones, transition = ran.pictures
    assert not_empty(stones) and not_empty(transition)
    # From the left stone to the right one there is more and more water, which is the darkest colour.
    thirds = [stones[:, n * stones.shape[1] // 3 : (n + 1) * stones.shape[1] // 3, :3] for n in range(3)]
    wet = [int((abs(third - (8 / 255, 48 / 255, 107 / 255)).max(axis=2) < 0.02).sum()) for third in thirds]
    assert 0 < wet[0] < wet[1] < wet[2]


def test_image_filters(tmp_path: Path) -> None:
    ran = run("image_filters", tmp_path)
    assert not ran.warned
    ((result, timeline),) = ran.pages
    assert result == "<ViewMapResult filter_strip: ready>"
    engines, tasks = tasks_shown(timeline)
    assert set(engines) <= {"engine 0", "engine 1"} and tasks == 12
    before, after = map(float, re.findall(r"0\.\d{4}", ran.printed))
    assert after < before / 100
    (pictures,) = ran.pictures
    assert not_empty(pictures)
