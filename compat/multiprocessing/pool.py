"""``multiprocessing.pool`` with parpool's Pool. All else, as ``ThreadPool``, is the standard module's."""

from __future__ import annotations

import multiprocessing.pool as _real
from multiprocessing.pool import ThreadPool
from typing import Any

from parpool import Pool

__all__ = ["Pool", "ThreadPool"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_real, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_real)})
