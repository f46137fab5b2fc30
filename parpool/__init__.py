"""parpool: ``multiprocessing.Pool``, over ZeroMQ, that does not stop where the stdlib stops.

``from parpool import Pool`` in the place of ``from multiprocessing import Pool`` is all that a script needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from multiprocessing import TimeoutError

    from .client.balanced import LoadBalancedView
    from .client.client import Client
    from .client.depend import Dependency, depend, dependent, require
    from .client.direct import DirectView
    from .client.remote import ParallelFunction, RemoteFunction
    from .client.result import AsyncResult
    from .cluster.cluster import Cluster
    from .context import get_context
    from .default import parallel, remote
    from .errors import (
        AbortedTask,
        AuthenticationError,
        CompositeError,
        ConnectionFileError,
        ControllerLost,
        DependencyTimeout,
        EngineLost,
        EngineStartError,
        ForkedError,
        ImpossibleDependency,
        InvalidDependency,
        NoEngines,
        ParpoolError,
        ProtocolError,
        RemoteError,
        ResultTimeout,
        SerializationError,
        TaskAborted,
        TaskTimeout,
        UnmetDependency,
        UnmetDependencyError,
    )
    from .executor import Executor
    from .options import cpu_count
    from .pool import Pool
    from .shared import empty_shared, share
    from .wire.reference import Reference
    from .wire.serializers import register_serializer

#: Where each public name lives; it is imported when it is first used.
_HOMES = {
    "AsyncResult": ".client.result",
    "Client": ".client.client",
    "Cluster": ".cluster.cluster",
    "Dependency": ".client.depend",
    "DirectView": ".client.direct",
    "Executor": ".executor",
    "LoadBalancedView": ".client.balanced",
    "ParallelFunction": ".client.remote",
    "Pool": ".pool",
    "Reference": ".wire.reference",
    "RemoteFunction": ".client.remote",
    "TimeoutError": "multiprocessing",
    "cpu_count": ".options",
    "depend": ".client.depend",
    "dependent": ".client.depend",
    "empty_shared": ".shared",
    "get_context": ".context",
    "parallel": ".default",
    "remote": ".default",
    "register_serializer": ".wire.serializers",
    "require": ".client.depend",
    "share": ".shared",
    **dict.fromkeys(
        (
            "AbortedTask",
            "AuthenticationError",
            "CompositeError",
            "ConnectionFileError",
            "ControllerLost",
            "DependencyTimeout",
            "EngineLost",
            "EngineStartError",
            "ForkedError",
            "ImpossibleDependency",
            "InvalidDependency",
            "NoEngines",
            "ParpoolError",
            "ProtocolError",
            "RemoteError",
            "ResultTimeout",
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
    "AuthenticationError",
    "Client",
    "Cluster",
    "CompositeError",
    "ConnectionFileError",
    "ControllerLost",
    "Dependency",
    "DependencyTimeout",
    "DirectView",
    "EngineLost",
    "EngineStartError",
    "Executor",
    "ForkedError",
    "ImpossibleDependency",
    "InvalidDependency",
    "LoadBalancedView",
    "NoEngines",
    "ParallelFunction",
    "ParpoolError",
    "Pool",
    "ProtocolError",
    "Reference",
    "RemoteError",
    "RemoteFunction",
    "ResultTimeout",
    "SerializationError",
    "TaskAborted",
    "TaskTimeout",
    "TimeoutError",
    "UnmetDependency",
    "UnmetDependencyError",
    "cpu_count",
    "depend",
    "dependent",
    "empty_shared",
    "get_context",
    "parallel",
    "register_serializer",
    "remote",
    "require",
    "share",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext parpool`` at an IPython prompt: the magics ``%px`` and its like."""
    from .magics import load_ipython_extension as load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext parpool``: without them again."""
    from .magics import unload_ipython_extension as unload

    unload(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
