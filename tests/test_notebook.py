"""The magics in a real notebook: what engines print, display and draw is in the cell that had them do so."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

# In a process of its own: what a client of kernels leaves open there is not ours.
RUN = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=50, kernel_name="python3", allow_errors=True).execute()
nbformat.write(notebook, sys.argv[2])
"""

CELLS = """
from parpool import Pool
rc = Pool(2, ipython=True).client; view = rc[:]; view.block = True; view.activate()
---
%px print("printed")
---
%%px
class Table:
    _repr_html_ = lambda self: "<table></table>"
    __repr__ = lambda self: "a table"
Table()
---
%px --targets 1 handle = display("first", display_id="one"); handle.update("second")
---
view.execute("Table()")[0]
---
%px --targets 0 1 / 0
---
%autopx
---
!echo local
---
print("typed")
---
%autopx
---
%px --targets 0 %matplotlib inline
---
%%px --targets 0
import matplotlib.pyplot as plt
plt.plot([1, 2]);
---
rc.close()
---
forked = Pool(1).client; one = forked[0]; one.block = True; one.activate()
---
%px display("of an engine without a shell")
---
%%px
import matplotlib.figure
drawn = matplotlib.figure.Figure()
drawn.subplots().plot([1, 2])
drawn
---
import os
waiting = one.apply_async(os._exit, 1)
waiting.wait()
---
one
---
waiting
---
%px 1
---
forked.close()
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What each cell shows."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS.split("---")]
    nbformat.write(notebook, folder / "notebook.ipynb")
    environment = os.environ | {f"{name}_DIR": str(folder) for name in ("JUPYTER_RUNTIME", "JUPYTER_CONFIG")}
    environment |= {"IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("MPLBACKEND", None)
    command = [sys.executable, "-c", RUN, str(folder / "notebook.ipynb"), str(folder / "ran.ipynb")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=100)
    assert done.returncode == 0, done.stderr
    return [cell.outputs for cell in nbformat.read(folder / "ran.ipynb", 4).cells]


def text(outputs: list[Any]) -> str:
    return "".join(each.text for each in outputs if each.output_type == "stream")


def shown(outputs: list[Any]) -> list[Any]:
    return [each.data for each in outputs if "data" in each]


def test_text(outputs: list[list[Any]]) -> None:
    assert sorted(text(outputs[1]).splitlines()) == ["[stdout:0] printed", "[stdout:1] printed"]
    assert not text(outputs[0])


def test_tables(outputs: list[list[Any]]) -> None:
    kinds = [each.output_type for each in outputs[2]]
    assert kinds == ["stream", "display_data"] * 2, "each table below its tag"
    assert re.sub(r":\d+\]", ":N]", text(outputs[2])) == "Out[0:N]:\nOut[1:N]:\n"
    assert shown(outputs[2]) == [{"text/plain": "a table", "text/html": "<table></table>"}] * 2
    [reply] = shown(outputs[4])
    assert reply["text/html"] == "<table></table>"


def test_displays_that_change(outputs: list[list[Any]]) -> None:
    assert text(outputs[3]) == "[output:1]\n" and shown(outputs[3]) == [{"text/plain": "'second'"}]


def test_errors(outputs: list[list[Any]]) -> None:
    [error] = outputs[5]
    assert error.ename == "ZeroDivisionError" and "----> 1 1 / 0" in "\n".join(error.traceback)
    assert "magics.py" not in "\n".join(error.traceback)


def test_autopx(outputs: list[list[Any]]) -> None:
    assert text(outputs[6]).startswith("Auto Parallel Enabled") and text(outputs[7]).strip() == "local"
    assert sorted(text(outputs[8]).splitlines()) == ["[stdout:0] typed", "[stdout:1] typed"]
    assert text(outputs[9]) == "Auto Parallel Disabled\n"


def test_pictures(outputs: list[list[Any]]) -> None:
    pytest.importorskip("matplotlib")
    assert text(outputs[11]) == "[output:0]\n"
    [picture] = shown(outputs[11])
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")


def test_engines_that_are_forked_from_the_notebook(outputs: list[list[Any]]) -> None:
    assert text(outputs[14]) == "[stdout:0] of an engine without a shell\n"
    pytest.importorskip("matplotlib")
    [picture] = shown(outputs[15])
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG") and text(outputs[15]) == "Out[0:2]:\n"


def test_engines_that_have_died(outputs: list[list[Any]]) -> None:
    [view], [result] = shown(outputs[17]), shown(outputs[18])
    assert "<td>0</td><td>does not serve</td>" in view["text/html"] and view["text/plain"] == "<DirectView 0>"
    assert "failed, 1 of 1 item" in result["text/html"] and result["text/plain"].endswith("failed>")
    assert "engine 0 does not serve" in text(outputs[19]) and "activate() of another view" in text(outputs[19])
