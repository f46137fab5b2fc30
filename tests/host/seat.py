"""A controller in this process, driven by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stage import Driven, Far

from parpool.host.controller import Controller
from parpool.options import ControllerSettings


class Seat(Driven):
    """A controller in this process, driven by hand; ``Client(seat, ...)`` and ``Engine(seat, ...)`` talk to it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.controller = Controller(ControllerSettings(folder, **settings))
        self.station, self.ports = self.controller.station, self.controller.station.ports
        self.ends: list[Far] = []

    def close(self, for_good: bool = True) -> None:
        self.controller.end("enough", for_good)
        self.controller.close()
        for end in self.ends:
            end.close()
