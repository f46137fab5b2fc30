"""``import parpool.compat.ipyparallel as ipp``: the public names of ipyparallel 9 on parpool's clusters.

Each class stands before the one of parpool's that does the work, and has it as ``parpool``. What differs is told in
``docs/migrating/ipyparallel.md``.
"""

from __future__ import annotations

from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from typing import Any

from parpool import Dependency, Reference, depend, dependent, require

from . import client, cluster, error
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
from .missing import lacking
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
    "client",
    "cluster",
    "collect_exceptions",
    "depend",
    "dependent",
    "error",
    "interactive",
    "parallel",
    "register_joblib_backend",
    "remote",
    "require",
    "version_info",
]

#: Of ipyparallel: the version whose names these are. ``parpool.__version__`` is parpool's own.
version_info = (9, 2, 0)
__version__ = "9.2.0"

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
    "bind_kernel": "parpool's engines are no IPython kernels: `parpool start --ipython` has them host a shell each",
    "apps": "the commands are those of `parpool`: see docs/clusters.md",
    "datapub": "tasks tell more than their values by what they print (ar.stdout) and display (ar.outputs)",
    "serialize": "parpool.register_serializer() tells how types of one's own travel",
    "util": "interactive() is here itself",
    "controller": "`parpool controller` is its command, and Dependency, depend and require are here itself",
    "engine": "`parpool engine` is its command",
}


def register_joblib_backend(name: str = "ipyparallel", make_default: bool = False) -> None:
    """Make the default cluster a backend of joblib. ``make_default``: and use it where no other is named.

    Where no cluster runs, engines are started here. See :mod:`parpool.compat.joblib`.
    """
    from .joblib import register

    register(name, make_default)


def __getattr__(name: str) -> Any:
    raise lacking(f"module {__name__!r}", name, _MISSING)
