"""``multiprocessing`` with parpool's Pool.

``import parpool.compat.multiprocessing as multiprocessing`` gives every name of the standard module, with ``Pool`` and
``get_context`` replaced. :func:`patch` puts parpool's Pool into the standard module itself, and :func:`unpatch` takes
it out again.
"""

from __future__ import annotations

import multiprocessing as _real
from typing import Any

from parpool import Pool, get_context
from parpool.patching import patch, unpatch

__all__ = ["Pool", "get_context", "patch", "unpatch", *(n for n in _real.__all__ if n not in ("Pool", "get_context"))]


def __getattr__(name: str) -> Any:
    return getattr(_real, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_real)})
