"""A launcher that starts nothing: for tests of who uses launchers. What becomes of its processes is told to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import EngineStartError
from .launcher import PATIENCE, RUNNING, Names, State, chosen


class FakeLauncher:
    """Keeps the contract, with processes that are states and nothing else."""

    def __init__(self, slots: int | None = None, label: str = "engine", queue: bool = False) -> None:
        self.slots = slots
        #: New processes wait until `let` begins them.
        self.queue = queue
        #: What was started, each with its command line; signals sent to it; and those that were stopped.
        self.started: dict[str, list[str]] = {}
        self.signals: list[tuple[str, int]] = []
        self.stopped: list[str] = []
        self._names = Names(label)
        self._states: dict[str, State] = {}

    def start(self, argv: Sequence[str], n: int) -> list[str]:
        """Pretend."""
        living = sum(not state.ended for state in self._states.values())
        if self.slots is not None and living + n > self.slots:
            raise EngineStartError(f"there is room for {self.slots} processes, and {living} are there")
        names = self._names.new(n)
        for name in names:
            self.started[name] = list(argv)
            self._states[name] = State("queued", "as the test asked for") if self.queue else RUNNING
        return names

    def let(self, name: str, phase: str = "running", words: str = "") -> None:
        """It is so from now on."""
        self._states[chosen([name], self._states)[0]] = State(phase, words)  # type: ignore[arg-type]

    def poll(self) -> dict[str, State]:
        """What it was told."""
        return dict(self._states)

    def signal(self, signum: int, names: Iterable[str] | None = None) -> None:
        """Note it."""
        self.signals += [(name, signum) for name in chosen(names, self._states) if not self._states[name].ended]

    def stop(self, names: Iterable[str] | None = None, patience: float = PATIENCE) -> dict[str, State]:
        """Forget them."""
        states = {name: self._states.pop(name) for name in chosen(names, self._states)}
        self.stopped += states
        return {name: state if state.ended else State("ended", "was stopped") for name, state in states.items()}

    def record(self) -> dict[str, Any]:
        """The names of what is there."""
        return {"names": [name for name, state in self._states.items() if not state.ended]}

    def adopt(self, record: Mapping[str, Any]) -> None:
        """They are there."""
        self._names.used(record["names"])
        self._states.update(dict.fromkeys(record["names"], RUNNING))
