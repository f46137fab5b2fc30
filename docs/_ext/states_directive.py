"""The directive ``{states}``: the states of a task, drawn from the scheduler's own table when the manual is built."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from states import draw

from parpool.core import state


class States(SphinxDirective):
    """Puts the drawing into the page; without arguments."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(state.__file__)
        return [nodes.raw("", draw(state.MOVES, "The states of a task and the moves between them"), format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("states", States)
    return {"parallel_read_safe": True}
