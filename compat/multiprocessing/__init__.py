"""``multiprocessing`` with parpool's Pool.

``import parpool.compat.multiprocessing as multiprocessing`` gives every name of the standard module, with ``Pool`` and
``get_context`` replaced, and its submodules as attributes: ``from parpool.compat.multiprocessing import shared_memory``.
One of them, ``pool``, can be imported by its path as well, and has parpool's Pool. :func:`patch` puts parpool's Pool into
the standard module itself, and :func:`unpatch` takes it out again.
"""

from __future__ import annotations

import multiprocessing as _real
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from parpool import Pool, get_context
from parpool.patching import patch, unpatch

from . import pool as pool

__all__ = ["Pool", "get_context", "patch", "unpatch", *(n for n in _real.__all__ if n not in ("Pool", "get_context"))]


def __getattr__(name: str) -> Any:
    # Not what is said of the module itself: by its __path__, its parts would be loaded a second time, as others.
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not hasattr(_real, name) and find_spec(f"multiprocessing.{name}") is not None:
        return import_module(f"multiprocessing.{name}")
    return getattr(_real, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_real)})
