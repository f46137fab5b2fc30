"""``import parpool.compat.ipyparallel as ipp``: the public names of ipyparallel 9 on parpool's clusters.

Each class stands before the one of parpool's that does the work, and has it as ``parpool``. What differs is told in
``docs/migrating/ipyparallel.md``.
"""

from __future__ import annotations

from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from typing import Any

from parpool import Dependency, Reference, depend, dependent, require

from . import error
from .balanced import LoadBalancedView
from .clients import Client
from .clusters import Cluster
from .error import (
    AlreadyDisplayedError,
    CompositeError,
    DependencyTimeout,
    EngineError,
    ImpossibleDependency,
    InvalidDependency,
    IPythonError,
    KernelError,
    NoEnginesRegistered,
    RemoteError,
    TaskAborted,
    TaskRejectError,
    TaskTimeout,
    TimeoutError,
    UnmetDependency,
    collect_exceptions,
)
from .executor import ViewExecutor
from .functions import ParallelFunction, RemoteFunction, parallel, remote
from .interactive import interactive
from .results import AsyncHubResult, AsyncMapResult, AsyncResult
from .views import BroadcastView, DirectView

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AlreadyDisplayedError",
    "AsyncHubResult",
    "AsyncMapResult",
    "AsyncResult",
    "BroadcastView",
    "Client",
    "Cluster",
    "CompositeError",
    "Dependency",
    "DependencyTimeout",
    "DirectView",
    "EngineError",
    "IPythonError",
    "ImpossibleDependency",
    "InvalidDependency",
    "KernelError",
    "LoadBalancedView",
    "NoEnginesRegistered",
    "ParallelFunction",
    "Reference",
    "RemoteError",
    "RemoteFunction",
    "TaskAborted",
    "TaskRejectError",
    "TaskTimeout",
    "TimeoutError",
    "UnmetDependency",
    "UnmetDependencyError",
    "ViewExecutor",
    "collect_exceptions",
    "depend",
    "dependent",
    "error",
    "interactive",
    "parallel",
    "remote",
    "require",
]

UnmetDependencyError = UnmetDependency
AbortedTask = TaskAborted

#: ipyparallel's names that are not here, and why.
_MISSING = {
    **dict.fromkeys(
        (
            "PrePickled",
            "can",
            "can_map",
            "uncan",
            "uncan_map",
            "serialize_object",
            "deserialize_object",
            "pack_apply_message",
            "unpack_apply_message",
            "wrap_exception",
            "unwrap_exception",
        ),
        "it is a part of ipyparallel's messages; parpool.register_serializer() tells how types of one's own travel",
    ),
    **dict.fromkeys(("use_dill", "use_cloudpickle", "use_pickle"), "it is a method of views here: rc[:].use_dill()"),
    "ClusterManager": "`parpool status` shows the clusters, and Cluster.from_file() connects to one",
    "bind_kernel": "parpool's engines are no IPython kernels",
    "register_joblib_backend": "parpool is no backend of joblib",
}


def __getattr__(name: str) -> Any:
    why = f": {_MISSING[name]}" if name in _MISSING else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{why}")
