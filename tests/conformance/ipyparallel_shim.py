"""A plugin for pytest: ipyparallel's own tests find parpool's shim where they import ipyparallel.

Their files are used as they are installed. What they import beyond the public names is given by the public ones, as far
as those do the same; what starts their controller and engines starts parpool's. ::

    python -m pytest -p ipyparallel_shim .../ipyparallel/tests/test_view.py
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from datetime import timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import parpool.compat.ipyparallel as shim
from parpool.compat.ipyparallel import balanced, clients, error, executor, results

import parpool

SPEC = importlib.util.find_spec("ipyparallel")  # it is not imported by this
assert SPEC is not None and SPEC.submodule_search_locations, "ipyparallel is not installed"
HERE = Path(next(iter(SPEC.submodule_search_locations)))
PROFILE = "iptest"


class Cluster:
    """The cluster of a module's tests."""

    def __init__(self) -> None:
        self.cluster: Any = None
        self.engines: list[Engine] = []

    def start(self) -> None:
        """With one engine, as their tests expect it."""
        folder = tempfile.mkdtemp(prefix="ipp-")
        os.environ["PARPOOL_DIR"] = folder
        self.cluster = parpool.Cluster(n=1, profile=PROFILE, cluster_id="default", restarts=0, timeout=60, ipython=True)
        self.cluster.start_cluster()

    def add(self, n: int = 1, profile: str = PROFILE, total: bool = False) -> list[Engine]:
        """Start engines, and wait until they serve; with ``total`` until there are so many."""
        with parpool.Client(profile=profile, cluster_id="default") as rc:
            n = max(n - len(rc), 0) if total else n
            if n:
                self.cluster.start_engines(n)
                assert rc.wait_for_engines(len(rc) + n, 30)
        return [Engine() for _ in range(n)]

    def stop(self) -> None:
        """End all."""
        self.cluster.stop_cluster()


class Engine:
    """What their tests look at to see whether an engine is there."""

    def poll(self) -> None:
        """It is."""


class Client(clients.Client):
    """Of their tests' cluster."""

    def __init__(self, connection_info: Any = None, *, profile: str | None = None, **options: Any) -> None:
        named = {"cluster_id": "default"} if profile == PROFILE else {}
        super().__init__(connection_info, profile=profile, **named, **options)

    def __new__(cls, *args: Any, **options: Any) -> Any:
        return super().__new__(cls)  # their tests replace it for a while, and there must be one to come back to

    # Behind theirs, and looked at by tests of what is public.

    @property
    def _engines(self) -> dict[int, str]:
        asked = self.direct_view().apply_async(int)
        asked.wait()
        return dict(zip(asked.engine_id, asked.engine_uuid, strict=True))

    @property
    def _ids(self) -> list[int]:
        return self.ids

    def _build_targets(self, targets: Any) -> tuple[list[int], list[int]]:
        ids = list(self.parpool.targets_of("all" if targets is None else targets))
        return ids, ids


class OfOurs(shim.Cluster):
    """A cluster of a test of theirs. What their fixture passes besides is for ipyparallel's own command line."""

    def __init__(self, *, controller_args: Any = (), config: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.config = config


def module(name: str, **names: Any) -> ModuleType:
    """A module of theirs, with these names."""
    made = ModuleType(name)
    vars(made).update(names)
    made.__file__ = str(HERE / "__init__.py")
    made.__path__ = []
    sys.modules[name] = made
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, made)
    return made


CLUSTER = Cluster()

PUBLIC = {name: getattr(shim, name) for name in shim.__all__} | {"Client": Client, "Cluster": OfOurs, "error": error}
module("ipyparallel", **PUBLIC)
sys.modules["ipyparallel.error"] = error
module("ipyparallel.client")
module("ipyparallel.client.client", Client=Client)
module("ipyparallel.client.view", LoadBalancedView=balanced.LoadBalancedView, LazyMapIterator=executor.LazyMapIterator)
module("ipyparallel.client.asyncresult", AsyncResult=results.AsyncResult)
module("ipyparallel.util", interactive=shim.interactive, utc=timezone.utc)
# Functions travel as they are: there is nothing to be done to them before, and nothing after.
module("ipyparallel.serialize", can=lambda thing: thing, uncan=lambda thing, names: thing)
module("ipyparallel.cluster", Cluster=OfOurs)
module("ipyparallel.client._joblib", IPythonParallelBackend=None)  # imported, and not used
LAUNCHERS = ("MPIEngineSetLauncher", "SGEEngineSetLauncher", "LocalEngineSetLauncher", "find_launcher_class")
module("ipyparallel.cluster.launcher", **dict.fromkeys(LAUNCHERS))  # their names alone: there are none here
tests = module(
    "ipyparallel.tests", setup=CLUSTER.start, teardown=CLUSTER.stop, add_engines=CLUSTER.add, launchers=CLUSTER.engines
)
tests.__path__ = [str(HERE / "tests")]
tests.__file__ = str(HERE / "tests" / "__init__.py")
