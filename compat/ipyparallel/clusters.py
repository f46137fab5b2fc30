"""ipyparallel's Cluster: plain names are coroutines, and those with ``_sync`` at their ends wait."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import parpool

from .clients import Client
from .missing import lacking

_MISSING = {
    **dict.fromkeys(
        ("to_dict", "from_dict", "write_cluster_file", "update_cluster_file", "remove_cluster_file"),
        "the cluster keeps its file by itself: Cluster.from_file() reads it",
    ),
    **{
        f"{name}{end}": f"for one engine, {instead}"
        for name, instead in (
            ("stop_engine", "rc.shutdown([id])"),
            ("restart_engine", "rc.shutdown([id]), and start_engines(1)"),
            ("signal_engine", "rc.send_signal(number, id)"),
        )
        for end in ("", "_sync")
    },
    **dict.fromkeys(
        ("config", "log", "controller_launcher_class", "engine_launcher_class", "engine_set", "profile_config"),
        "there is no configuration by traitlets, and no launcher that one could look at: see docs/launchers.md",
    ),
}


def _awaited(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """A method as a coroutine: it runs in a thread, where it may wait."""

    @functools.wraps(function)
    async def coroutine(self: Any, *args: Any, **kwargs: Any) -> Any:
        import asyncio

        return await asyncio.to_thread(function, self, *args, **kwargs)

    coroutine.__name__ = function.__name__.removesuffix("_sync")
    coroutine.__doc__ = f":meth:`{function.__name__}`, to be awaited."
    return coroutine


class Cluster:
    """A controller and its engines. ``parpool`` is parpool's own :class:`parpool.Cluster`.

    ``engines`` names what starts them (``"local"``, ``"ssh"``, ``"mpi"``, ``"slurm"``, ...); ``controller_ip`` is the
    address that the controller listens at. ``ipython``: its engines host an IPython shell each; by default where IPython
    is installed, for engines on this machine. Other options are those of :class:`parpool.Cluster`.
    """

    def __init__(
        self,
        n: int | None = None,
        *,
        engines: Any = "local",
        profile: str | None = None,
        cluster_id: str | None = None,
        controller_ip: str | None = None,
        controller_location: str | None = None,
        controller_args: Any = (),
        engine_args: Any = (),
        engine_timeout: float = 60,
        shutdown_atexit: bool = True,
        log_level: Any = "info",
        ipython: bool | None = None,
        **options: Any,
    ) -> None:
        for name in (
            "controller",
            "config",
            "log",
            "parent",
            "load_profile",
            "profile_dir",
            "delay",
            "send_engines_connection_env",
        ):
            options.pop(name, None)
        self.n = n  #: how many engines there are to be; it can be set until they are started
        self.parpool = parpool.Cluster(
            n,
            engines=engines.lower() if isinstance(engines, str) else engines,
            profile=profile,
            cluster_id=cluster_id or None,
            ip=controller_ip or "",
            location=controller_location or "",
            controller_arguments=list(controller_args or ()),
            engine_arguments=list(engine_args or ()),
            timeout=engine_timeout,
            keep=not shutdown_atexit,
            log_level=_level(log_level),
            ipython=_is_here(engines) if ipython is None else ipython,
            **options,
        )
        self._client: Client | None = None
        self._names: dict[str, str] = {}

    @classmethod
    def from_file(
        cls, cluster_file: Any = None, *, profile: str | None = None, cluster_id: str | None = None, **ignored: Any
    ) -> Cluster:
        """A cluster that runs, whoever has started it."""
        cluster = cls.__new__(cls)
        cluster.parpool = parpool.Cluster.from_file(cluster_file, profile=profile, cluster_id=cluster_id or None)
        cluster.n = sum(cluster.parpool.engine_sets.values()) or None
        cluster._client = None
        cluster._names = {}
        return cluster

    @property
    def cluster_id(self) -> str:
        """Its name in the profile."""
        return self.parpool.cluster_id

    @property
    def profile(self) -> str:
        """The profile that it belongs to."""
        return self.parpool.profile

    @property
    def cluster_file(self) -> str:
        """The file for :meth:`from_file`."""
        return str(Path(self.parpool.folder) / "client.json")

    @property
    def engines(self) -> dict[str, int]:
        """The sets of engines: how many each is meant to have."""
        named = {id: name for name, id in self._names.items()}
        return {named.get(id, id): n for id, n in self.parpool.engine_sets.items()}

    @property
    def controller(self) -> parpool.Cluster | None:
        """parpool's own cluster while its controller runs, and else None."""
        try:
            return None if self.parpool.wait(0) else self.parpool
        except parpool.ControllerLost:
            return None

    def _number(self, n: int | None) -> int | None:
        return self.n if n is None else n

    def start_cluster_sync(self, n: int | None = None) -> Cluster:
        """Start the controller and ``n`` engines."""
        self.parpool.start_cluster(self._number(n))
        return self

    def start_and_connect_sync(self, n: int | None = None, activate: bool = False) -> Client:
        """Start the controller and ``n`` engines; gives a client when all serve."""
        client = self._before(self.parpool.start_and_connect(self._number(n)))
        if activate:
            client.activate()
        return client

    def connect_client_sync(self, **options: Any) -> Client:
        """A new client of the cluster."""
        return self._before(self.parpool.connect_client(**options))

    def _before(self, native: parpool.Client) -> Client:
        native.remarks = False  # as where a Client connects by itself
        return Client(native, profile=self.profile, cluster=self)

    def stop_cluster_sync(self) -> None:
        """End everything."""
        self.parpool.stop_cluster()
        self._names.clear()

    def start_controller_sync(self, **ignored: Any) -> None:
        """Start the controller alone. RuntimeError where it runs."""
        if self.controller is not None:
            raise RuntimeError("controller is already running. Call stop_controller() first.")
        self.parpool.start_controller()

    def stop_controller_sync(self) -> None:
        """End the controller, and its engines with it."""
        self.stop_cluster_sync()

    def start_engines_sync(self, n: int | None = None, engine_set_id: str | None = None, **ignored: Any) -> str:
        """Start more engines; gives the id of their set, which is the one that was given, if any."""
        id = self.parpool.start_engines(self._number(n))
        if engine_set_id:
            self._names[engine_set_id] = id
        return engine_set_id or id

    def stop_engines_sync(self, engine_set_id: str | None = None) -> None:
        """End a set of engines, or all."""
        self.parpool.stop_engines(self._id(engine_set_id))

    def _id(self, name: str | None) -> str | None:
        return None if name is None else self._names.get(name, name)

    def restart_engines_sync(self, engine_set_id: str | None = None) -> None:
        """End a set of engines, or all, and start as many again."""
        self.parpool.restart_engines(self._id(engine_set_id))

    def signal_engines_sync(self, signum: int, engine_set_id: str | None = None) -> None:
        """Send a signal to the engines of a set, or to all. SIGINT interrupts what all engines run, and does not end them."""
        if signum == signal.SIGINT:
            if engine_set_id is not None and list(self.engines) != [engine_set_id]:
                raise ValueError("SIGINT is for the engines of all sets: rc.send_signal('SIGINT', ids) is for some")
            client = self.parpool.connect_client()
            try:
                client.interrupt()
            finally:
                client.close()
            return
        self.parpool.signal_engines(signum, self._id(engine_set_id))

    start_cluster = _awaited(start_cluster_sync)
    start_and_connect = _awaited(start_and_connect_sync)
    connect_client = _awaited(connect_client_sync)
    stop_cluster = _awaited(stop_cluster_sync)
    start_controller = _awaited(start_controller_sync)
    stop_controller = _awaited(stop_controller_sync)
    start_engines = _awaited(start_engines_sync)
    stop_engines = _awaited(stop_engines_sync)
    restart_engines = _awaited(restart_engines_sync)
    signal_engines = _awaited(signal_engines_sync)

    def __enter__(self) -> Client:
        self._client = self.start_and_connect_sync()
        return self._client

    def __exit__(self, *exc: object) -> None:
        client, self._client = self._client, None
        try:
            if client is not None:
                client.close()
        finally:
            self.stop_cluster_sync()

    async def __aenter__(self) -> Client:
        import asyncio

        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *exc: object) -> None:
        import asyncio

        await asyncio.to_thread(self.__exit__)

    def __getattr__(self, name: str) -> Any:
        raise lacking(f"{type(self).__name__!r} object", name, _MISSING)

    def __repr__(self) -> str:
        return repr(self.parpool)

    def _repr_html_(self) -> str:
        return self.parpool._repr_html_()


def _is_here(engines: Any) -> bool:
    """Have engines IPython, as far as can be known from here?"""
    from importlib.util import find_spec

    return isinstance(engines, str) and engines.lower() in ("local", "mpi") and find_spec("IPython") is not None


def _level(level: Any) -> str:
    import logging

    return logging.getLevelName(level).lower() if isinstance(level, int) else str(level).lower()
