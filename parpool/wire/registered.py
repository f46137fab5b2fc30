"""Modules that the user wants to go by value, as told to ``cloudpickle.register_pickle_by_value``.

Their functions and classes can be imported here, and need not be there.
"""

from __future__ import annotations

import sys
from typing import Any

from .fingerprint import MAIN

_modules = sys.modules
_NONE: frozenset[str] = frozenset()
_live: Any = None  #: cloudpickle's own set, once it has been imported


def any_registered() -> bool:
    """Are there any? Every call asks this, so it looks at the set itself and not at cloudpickle's copies of it."""
    global _live
    if _live is None:
        if "cloudpickle" not in _modules:  # not imported for this: who has not imported it has registered nothing
            return False
        _live = getattr(_modules.get("cloudpickle.cloudpickle"), "_PICKLE_BY_VALUE_MODULES", None)
        if _live is None:  # it has another name by now, or the import is not over
            return True
    return bool(_live)


def registered() -> frozenset[str]:
    """Their names. (``__main__`` is none of them: its code has ways of its own.)"""
    cloudpickle = _modules.get("cloudpickle")
    found = None if cloudpickle is None else getattr(cloudpickle, "list_registry_pickle_by_value", None)
    names = found() if found is not None else None
    return frozenset(names).difference(MAIN) if names else _NONE


def goes_by_value(module: str | None) -> bool:
    """Is it one of them, or in one of them?"""
    names = registered()
    if not names or module is None:
        return False
    steps = module.split(".")
    return any(".".join(steps[: end + 1]) in names for end in range(len(steps)))


def names_one(pickled: bytes | bytearray | memoryview) -> bool:
    """May there be a name of one of them in a pickle?"""
    names = registered()
    if not names:
        return False
    data = bytes(pickled)
    return any(name.encode() in data for name in names)
