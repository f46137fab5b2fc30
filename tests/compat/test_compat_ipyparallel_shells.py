"""parpool.compat.ipyparallel on engines that host IPython shells: what they display, and how it is sorted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("IPython")

import parpool.compat.ipyparallel as ipp
import shells
from shells import shell

import parpool

__all__ = ["shell"]

PRINTING = "print('o')\ndisplay('d1')\ndisplay('d2')\n'v'"


@pytest.fixture(scope="module")
def engines() -> Iterator[parpool.Client]:
    with parpool.Pool(2, ipython=True) as pool:
        pool.apply_async(abs, (-1,), callback=lambda value: None).get()
        pool.client[:].apply_sync(abs, -1)
        yield pool.client
    pool.join()


@pytest.fixture
def view(engines: parpool.Client, shell: Any) -> ipp.DirectView:
    return ipp.Client(engines).activate()


def test_outputs(view: ipp.DirectView) -> None:
    result = view.execute(PRINTING, silent=False)
    replies = result.get()
    for outputs in (result.outputs[0], result["outputs"][1], replies[0].outputs, result.split()[1].outputs):
        assert [each["data"]["text/plain"] for each in outputs] == ["'d1'", "'d2'"]
    assert view.client[0].execute(PRINTING).get().outputs[0]["data"] == {"text/plain": "'d1'"}

    def show() -> int:
        from IPython.display import display

        display(5)
        return 6

    result = view.apply_async(show)
    assert result.get() == [6, 6] and [len(each) for each in result.outputs] == [1, 1]
    assert view.map_async(abs, [1, -2]).outputs == [[], []]


def test_values_with_metadata(view: ipp.DirectView) -> None:
    view.execute("class A:\n    _repr_png_ = lambda self: (b'png', {'width': 4})\n    _repr_html_ = lambda self: '<b>'")
    reply = view.client[0].execute("A()", silent=False).get()
    assert reply._repr_png_() == ("cG5n", {"width": 4}) and reply._repr_html_() == "<b>"
    assert reply._repr_svg_() is None is reply._repr_latex_()
    data, about = reply._repr_mimebundle_()
    assert data["text/plain"].startswith("Out[0:") and about == {"image/png": {"width": 4}}


GROUPED = {
    "engine": ["stdout0", "output0", "Out0", "stdout1", "output1", "Out1"],
    "type": ["stdout0", "stdout1", "output0", "output1", "Out0", "Out1"],
    "order": ["stdout0", "stdout1", "output0", "output1", "output0", "output1", "Out0", "Out1"],
}


@pytest.mark.parametrize("group", GROUPED)
def test_groups(view: ipp.DirectView, shell: Any, group: str) -> None:
    shown = shells.typed(shell, f"%%px --no-stream --group-outputs {group}\n{PRINTING}")
    tags = re.findall(r"^\[?(stdout|output|Out)[:\[](\d)", shown, re.M)
    assert ["".join(tag) for tag in tags] == GROUPED[group]
    assert shown.count("'d1'") == shown.count("'d2'") == 2


def test_what_is_ipythons_own(view: ipp.DirectView, shell: Any) -> None:
    assert shells.typed(shell, "%px !echo he''llo").count("hello") == 2
    view.execute("x = 5", block=True)
    assert "int" in view.execute("%whos", block=True).stdout[1]


def test_a_cluster_has_them_where_ipython_is() -> None:
    assert "--ipython" in line(ipp.Cluster(n=1)) and "--ipython" not in line(ipp.Cluster(n=1, ipython=False))
    assert "--ipython" not in line(ipp.Cluster(n=1, engines="ssh")), "what is there is not known here"


def line(cluster: ipp.Cluster) -> list[str]:
    """The command line of its engines."""
    return list(cluster.parpool._plan.engine_line())
