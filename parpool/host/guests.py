"""Engines that nobody here has started."""

from __future__ import annotations

from collections.abc import Callable

from ..options import EngineSettings


class Guests:
    """A crew that starts nobody: engines come by themselves."""

    forks = False

    def __init__(self) -> None:
        self.told: dict[str, str] = {}  #: how engines ended, where that is known
        self.send_die: Callable[[str], None] = lambda uid: None

    def start(self, settings: EngineSettings) -> int:
        """Nobody is started here."""
        raise NotImplementedError("the engines of a controller are started by launchers")

    def lives(self, uid: str) -> bool:
        """Nothing is known here that would speak against it."""
        return True

    def ended(self, uid: str) -> str:
        """How it ended, in words."""
        return self.told.pop(uid, "its process is gone")

    def kill(self, uid: str) -> None:
        """End the process, by force."""
        self.send_die(uid)
