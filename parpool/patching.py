"""Put parpool's Pool in the place of ``multiprocessing``'s, for code that cannot be changed."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import multiprocessing.pool
from typing import Any

from .pool import Pool

_replaced: dict[tuple[Any, str], Any] = {}  #: what stood there before


def patch(**defaults: Any) -> None:
    """Make ``multiprocessing.Pool``, ``multiprocessing.pool.Pool`` and every context's ``Pool`` parpool's.

    ``defaults`` are keywords of :class:`~parpool.Pool` (``retries=2``) for all pools that are made so. Pools that
    exist stay as they are; so do names that were imported from ``multiprocessing.pool`` before. Calling it again
    replaces the defaults.
    """
    unpatch()
    pool = Pool if not defaults else _with_defaults(defaults)

    def make_pool(self: Any, *args: Any, **kwargs: Any) -> Pool:
        if len(args) < 5:
            kwargs.setdefault("context", self.get_context())
        return pool(*args, **kwargs)

    make_pool.__name__ = make_pool.__qualname__ = "Pool"
    make_pool.__doc__ = Pool.__doc__
    _replace_module_attribute(multiprocessing.pool, "Pool", pool)
    _replace(multiprocessing.context.BaseContext, "Pool", make_pool)
    default_context: Any = multiprocessing.context._default_context
    _replace(multiprocessing, "Pool", default_context.Pool)


def unpatch() -> None:
    """Put back what :func:`patch` replaced. Does nothing where it was not called."""
    while _replaced:
        (owner, name), value = _replaced.popitem()
        setattr(owner, name, value)


def _replace_module_attribute(module: Any, name: str, value: Any) -> None:
    """Make ``module.name`` give ``value`` to others, and not to the module's own code.

    ``ThreadPool`` lives beside ``Pool`` and calls it by its global name; it must go on finding the real one.
    """
    kind = type(module)
    _replaced[module, "__class__"] = kind
    module.__class__ = type(kind.__name__, (kind,), {name: property(lambda self: value)})


def _replace(owner: Any, name: str, value: Any) -> None:
    _replaced[owner, name] = vars(owner)[name]
    setattr(owner, name, value)


def _with_defaults(defaults: dict[str, Any]) -> type[Pool]:
    class DefaultedPool(Pool):
        __doc__ = Pool.__doc__

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**defaults, **kwargs})

    DefaultedPool.__name__ = DefaultedPool.__qualname__ = "Pool"
    return DefaultedPool
