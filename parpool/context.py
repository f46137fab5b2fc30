"""multiprocessing's contexts, with parpool's Pool."""

from __future__ import annotations

import multiprocessing
from typing import Any


def get_context(method: str | None = None) -> Any:
    """``multiprocessing.get_context(method)`` whose ``Pool`` is :class:`parpool.Pool`; all else is the context's own.

    Raises ValueError for a start method that this system does not have.
    """
    from .pool import Pool

    real = multiprocessing.get_context(method)

    def make_pool(self: Any, *args: Any, **kwargs: Any) -> Pool:
        if len(args) < 5:
            kwargs.setdefault("context", self.get_context())
        return Pool(*args, **kwargs)

    context: Any = object.__new__(type(real.__class__.__name__, (real.__class__,), {"Pool": make_pool}))
    context.__dict__.update(real.__dict__)
    return context
