"""parpool: ``multiprocessing.Pool``, over ZeroMQ, that does not stop where the stdlib stops.

``from parpool import Pool`` in the place of ``from multiprocessing import Pool`` is all that a script needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from multiprocessing import TimeoutError

    from .client.client import Client
    from .client.result import AsyncResult
    from .context import get_context
    from .errors import (
        AbortedTask,
        DependencyTimeout,
        EngineLost,
        EngineStartError,
        ForkedError,
        ImpossibleDependency,
        ParpoolError,
        ProtocolError,
        RemoteError,
        SerializationError,
        TaskAborted,
        TaskTimeout,
        UnmetDependency,
        UnmetDependencyError,
    )
    from .options import cpu_count
    from .pool import Pool

#: Where each public name lives; it is imported when it is first used.
_HOMES = {
    "AsyncResult": ".client.result",
    "Client": ".client.client",
    "Pool": ".pool",
    "TimeoutError": "multiprocessing",
    "cpu_count": ".options",
    "get_context": ".context",
    **dict.fromkeys(
        (
            "AbortedTask",
            "DependencyTimeout",
            "EngineLost",
            "EngineStartError",
            "ForkedError",
            "ImpossibleDependency",
            "ParpoolError",
            "ProtocolError",
            "RemoteError",
            "SerializationError",
            "TaskAborted",
            "TaskTimeout",
            "UnmetDependency",
            "UnmetDependencyError",
        ),
        ".errors",
    ),
}

__all__ = [
    "AbortedTask",
    "AsyncResult",
    "Client",
    "DependencyTimeout",
    "EngineLost",
    "EngineStartError",
    "ForkedError",
    "ImpossibleDependency",
    "ParpoolError",
    "Pool",
    "ProtocolError",
    "RemoteError",
    "SerializationError",
    "TaskAborted",
    "TaskTimeout",
    "TimeoutError",
    "UnmetDependency",
    "UnmetDependencyError",
    "cpu_count",
    "get_context",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
