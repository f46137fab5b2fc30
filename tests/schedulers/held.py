"""Tasks that wait until they are let go, and tell that they run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parpool import Client


def at_gate(path: str) -> int:
    """Wait for a file; tell that we do."""
    Path(f"{path}.{os.getpid()}").touch()
    deadline = time.monotonic() + 30
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.002)
    return os.getpid()


def noted(path: str, number: int, seconds: float = 0.0) -> int:
    with open(path, "a") as file:
        file.write(f"{number}\n")
    time.sleep(seconds)
    return number


class Held:
    """An item, or a call, that is held at a gate, among others that are noted as they run."""

    def __init__(self, folder: Path, *items: int) -> None:
        self.gate, self.path, self.items = str(folder / "gate"), str(folder / "ran"), items

    def __call__(self, item: int) -> int:
        if item in self.items:
            at_gate(self.gate)
        return noted(self.path, item)

    def open(self) -> None:
        Path(self.gate).touch()

    def ran(self) -> list[int]:
        return sorted(map(int, Path(self.path).read_text().split())) if os.path.exists(self.path) else []

    def at(self) -> int:
        """How many are at the gate."""
        return len(list(Path(self.path).parent.glob("gate.*")))


Hold = Callable[..., Held]


def balanced(rc: Client, targets: Any = None) -> Any:
    """A view whose pieces end item by item, also where their size is fixed."""
    view = rc.load_balanced_view(targets)
    view.retries = 1
    return view
