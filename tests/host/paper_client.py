"""A client of a cluster on paper: see ``paper.py``."""

from __future__ import annotations

import itertools
from typing import Any

from paper_wires import Peer

from parpool.client.far import Far
from parpool.core.state import Task
from parpool.wire.functions import Function

KEY = b"function"


class PaperClient(Far):
    """A client, whose socket is of paper, and where the outcomes of its tasks go."""

    def __init__(self, paper: Any) -> None:
        self.paper = paper
        super().__init__(paper, 1e9, False)
        self.peer: Peer = self.line.peer  # type: ignore[attr-defined]
        self.define(Function(KEY, b"blob", "function"))
        self.count = itertools.count(1).__next__
        self.early: list[dict[str, Any]] = []  # submitted before there was a number to give

    def deliver(self, task: Task, outcome: Any, engine: int | None) -> None:
        """An outcome."""
        self.paper.ended(task, outcome)

    def printed(self, *args: Any) -> None:
        """Nobody prints."""

    def connect(self, again: bool = True) -> None:
        self.peer.connect()
        self.line.again = again  # type: ignore[attr-defined]
