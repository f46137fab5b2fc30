"""A bar for the items of a map, by tqdm."""

from __future__ import annotations

import sys
from typing import Any


def progress_bar(total: int | None, file: Any = None) -> Any:
    """A tqdm bar over ``total`` items (None: not known), without tqdm's own monitor thread."""
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0

    return Bar(
        total=total, file=file or sys.stderr
    )  # as it is now: tqdm's own default is as it was when tqdm was imported
