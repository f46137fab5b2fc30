"""Cluster: a controller and sets of engines, from their start to their end."""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from ..errors import ConnectionFileError, ParpoolError
from ..net import address
from ..options import ControllerSettings, EngineSettings
from . import afar, record
from .plan import Engines, Plan
from .supervisor import Supervisor

if TYPE_CHECKING:
    from ..client.client import Client

P = ParamSpec("P")
T = TypeVar("T")


def _twin(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same as a coroutine: the function runs in a thread, where it may wait."""

    @functools.wraps(function)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        import asyncio

        return await asyncio.to_thread(function, *args, **kwargs)

    twin.__name__ += "_async"
    twin.__qualname__ += "_async"
    twin.__doc__ = f":meth:`{function.__name__}`, to be awaited."
    return twin


class Cluster:
    """A controller and its engines, which this process starts and looks after. ::

        with parpool.Cluster(n=4) as rc:
            rc[:].apply_sync(os.getpid)

    The ``with`` block begins when ``n`` engines serve, with a client of them, and ends everything at its end.

    - ``n``: how many engines to start; by default as many as the launcher has room for, or one for each CPU. 0: none.
    - ``profile``, ``cluster_id``: its names, by which others connect to it: ``Client(cluster_id="x")``. By default, the
      cluster gets a new name, so that no two scripts are in each other's way.
    - ``engines``: what starts them: ``"local"``, ``"ssh"``, ``"mpi"``, ``"slurm"`` and other batch systems, the name of
      a launcher from another package, or a launcher. ``engine_options`` are those of the launcher:
      ``Cluster(engines="ssh", engine_options={"hosts": "one:4, two"}, ip="*")``. Of ssh, ``"tunnels": True`` means that
      the machines reach the controller through ssh. ``environment`` is what the engines' environment has besides.
    - ``threads_per_engine``: how many threads BLAS and OpenMP may have in each engine. By default it has its share of the
      CPUs of its machine, or of those that a batch system gave, unless its environment says anything else
      (``OMP_NUM_THREADS`` and its like); None: as many as they like.
    - ``ip``: the address of this machine at which the controller listens by tcp, with encryption, ``"*"`` for all;
      without it, the cluster is for this machine alone. ``location``: the address that others reach it by.
      ``ports``: those of ``client``, ``work``, ``control`` and ``heart``; by default any.
    - ``db``: where the hub keeps records of tasks: ``"memory"``, ``"sqlite:///PATH"``, ``"postgresql://USER@HOST/NAME"``.
    - ``heartbeat``: seconds between two heartbeats to each engine and client; ``misses``: how many may go unanswered until
      it is taken for dead. ``patience``: seconds that engines wait for a controller that is gone. ``on_client_lost``: what
      becomes of the tasks of a client that is lost, ``"drop"`` or ``"keep"``.
    - ``schedulers``: how many processes with a scheduler the controller has, each with its share of the engines; clients
      see one cluster.
    - ``ipython``: the engines host an IPython shell each, for ``%px`` and ``execute`` of views; where they are, IPython
      must be installed.
    - ``restarts``: how often a process that has died is started again in its place; 0: never. Those that were told to end,
      by :meth:`stop_engines` or by a client, are not.
    - ``timeout``: seconds that the controller and the engines have to come up; None: any time.
    - ``python``: the interpreter, by default this one (or what the launcher's options say).
    - ``controller_arguments``, ``engine_arguments``: what else their command lines have: see ``parpool controller
      --help`` and ``parpool engine --help``.
    - ``keep``: the cluster outlives this process, and ends by `parpool stop` or :meth:`from_file`. Without it, all
      ends with this process at the latest, however that ends; with it, ``with`` leaves all running, too.

    Its folder ``folder`` has the connection files, and the logs of all processes in ``folder / "log"``. That of a cluster
    without a name of its own is removed with its end, unless something went wrong.

    Every method comes back when it is done, as all of a :class:`Client` does. For programs with an event loop, each has
    a twin that is awaited: ``await cluster.start_cluster_async()``, and ``async with Cluster() as rc`` is there, too. (Not
    the other way round, with plain names for coroutines: where somebody forgets to await one, nothing happens at all.
    The names with ``_sync`` at their ends, which others use for that reason, are other names of the plain ones.)

    Raises ConnectionFileError where a controller serves such a cluster already, ControllerLost where the controller does
    not come up, EngineStartError where an engine does not. Then nothing is left running.
    """

    def __init__(
        self,
        n: int | None = None,
        *,
        profile: str | None = None,
        cluster_id: str | None = None,
        engines: Engines = "local",
        engine_options: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        threads_per_engine: int | Literal["auto"] | None = "auto",
        ip: str = "",
        location: str = "",
        ports: Mapping[str, int] | None = None,
        db: str = "memory",
        heartbeat: float = ControllerSettings.heartbeat,
        misses: int = ControllerSettings.misses,
        patience: float = EngineSettings.patience,
        on_client_lost: Literal["drop", "keep"] = "drop",
        schedulers: int = 1,
        ipython: bool = False,
        restarts: int = 3,
        timeout: float | None = 60.0,
        log_level: str = "info",
        python: str | None = None,
        keep: bool = False,
        controller_arguments: Sequence[str] = (),
        engine_arguments: Sequence[str] = (),
    ) -> None:
        profile, name = profile or address.default_profile(), cluster_id or record.made_up()
        self._plan = Plan(
            address.cluster_folder(profile, name),
            profile,
            name,
            n,
            engines=engines,
            engine_options=dict(engine_options or {}),
            engine_arguments=list(engine_arguments),
            environment=dict(environment or {}),
            threads=threads_per_engine,
            ip=ip,
            location=location,
            ports=dict(ports or {}),
            db=db,
            heartbeat=heartbeat,
            misses=misses,
            patience=patience,
            on_client_lost=on_client_lost,
            controller_arguments=list(controller_arguments),
            schedulers=schedulers,
            ipython=ipython,
            restarts=restarts,
            timeout=timeout,
            log_level=log_level,
            python=python,
            keep=keep,
            made_up=cluster_id is None,
        )
        self._plan.check()
        self._supervisor: Supervisor | None = None
        self._afar = False  # another process looks after it, or did so
        self._client: Client | None = None  # of the with block
        self._lock = threading.RLock()

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        profile: str | None = None,
        cluster_id: str | None = None,
    ) -> Cluster:
        """A cluster that runs, whoever has started it: by one of its files, its folder, or its names.

        It can be connected to, waited for, and ended. Its engines are for the process that looks after it to start and
        stop; when that one is gone, as after the end of a script with ``keep``, the first such call here takes it over.
        """
        given = address.find("client", profile=profile, cluster_id=cluster_id) if path is None else Path(path)
        folder = (given if given.is_dir() else given.parent).absolute()
        connection = address.read(folder / "client.json", "client", gone_too=True)
        about = connection.profile, connection.cluster_id, connection.schedulers
        cluster = cls(profile=about[0], cluster_id=about[1], schedulers=about[2], keep=True)
        cluster._plan.folder = folder
        if address.gone(connection) and record.read(folder) is None:
            raise ConnectionFileError(f"the cluster in {folder} has ended: start it again with `parpool start`")
        cluster._afar = True
        return cluster

    # What there is -----------------------------------------------------------------------------------------

    @property
    def profile(self) -> str:
        """The profile that it belongs to."""
        return self._plan.profile

    @property
    def cluster_id(self) -> str:
        """Its name in the profile."""
        return self._plan.cluster_id

    @property
    def folder(self) -> Path:
        """Where its connection files are, and the logs."""
        return self._plan.folder

    @property
    def engine_sets(self) -> dict[str, int]:
        """The sets of engines by their ids, with how many each is meant to have."""
        if self._afar:
            engines = (record.read(self.folder) or {}).get("engines") or {}
            return {id: sum(n for _, n, _ in places) for id, places in engines.get("sets", {}).items()}
        engines_here = self._supervisor and self._supervisor.engines
        return engines_here.sets if engines_here else {}

    def __repr__(self) -> str:
        where = f"<Cluster {self.cluster_id!r} of profile {self.profile!r}"
        runs = address.running(self.folder) if self._afar else bool(self._supervisor and self._supervisor.controller)
        if not runs:
            return f"{where}: does not run>"
        sets = self.engine_sets
        shown = f"{sum(sets.values())} engines" + (f" in {len(sets)} sets" if len(sets) > 1 else "")
        return f"{where}: {shown}>"

    def _repr_html_(self) -> str:
        from ..client.notebook import cluster_html

        return cluster_html(repr(self).strip("<>").removeprefix("Cluster"), self.engine_sets, self.folder)

    # All of it ---------------------------------------------------------------------------------------------

    def start_cluster(self, n: int | None = None) -> None:
        """Start the controller and ``n`` engines, and come back when they serve.

        Engines that a batch system has queued are not waited for.
        """
        self._start(n, queued_too=False).close()

    def start_and_connect(self, n: int | None = None) -> Client:
        """Start the controller and ``n`` engines; gives a client when they serve, all of them."""
        return self._start(n, queued_too=True)

    def _start(self, n: int | None, queued_too: bool) -> Client:
        deadline = self._deadline()
        self.start_controller()
        supervisor = self._supervisor
        assert supervisor is not None
        client = None
        try:
            n = self._plan.n if n is None else n
            set_id = None if n == 0 else supervisor.start_engines(n)
            client = self.connect_client()
            if set_id is not None:
                supervisor.await_engines(client, set_id, deadline, queued_too)
            return client
        except BaseException:
            if client is not None:
                client.close()
            supervisor.marred = True
            supervisor.end()
            raise

    def _deadline(self) -> float:
        return math.inf if self._plan.timeout is None else time.monotonic() + self._plan.timeout

    def stop_cluster(self) -> None:
        """End the controller and all engines, and come back when they are gone. Nothing where nothing runs."""
        if self._afar:
            afar.end(self.folder)
            theirs = record.read(self.folder)
            if theirs is not None and not record.keeper(theirs):  # nobody else will end its engines
                with suppress(ParpoolError):
                    self._take_over(to_end=True).end(for_good=True)
            self._afar = False
        elif self._supervisor is not None:
            self._supervisor.end(for_good=True)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the cluster has ended: stopped from here, or by a client. False after ``timeout`` seconds.

        Raises ControllerLost where its controller died, and not only once.
        """
        if self._afar:
            return afar.wait(self.folder, math.inf if timeout is None else time.monotonic() + timeout)
        if self._supervisor is None:
            return True
        ended = self._supervisor.over.wait(timeout)
        if ended and self._supervisor.failure is not None:
            raise self._supervisor.failure
        return ended

    def connect_client(self, **options: Any) -> Client:
        """A new client of the cluster; the options are those of :class:`Client`."""
        from ..client.client import Client

        return Client(self.folder / "client.json", **options)

    # Its parts ---------------------------------------------------------------------------------------------

    def start_controller(self) -> None:
        """Start the controller alone, and come back when clients can connect."""
        with self._lock:
            if self._afar or (self._supervisor is not None and self._supervisor.controller is not None):
                raise ParpoolError(f"cluster {self.cluster_id!r} runs already: connect_client() gives a client")
            self._supervisor = Supervisor(self._plan)
            self._supervisor.start_controller(self._deadline())

    def stop_controller(self) -> None:
        """:meth:`stop_cluster`: engines end with their controller, whose orderly end tells them that nobody follows."""
        self.stop_cluster()

    def start_engines(self, n: int | None = None) -> str:
        """Start a set of ``n`` more engines; gives the id of the set.

        Comes back when they are started; ``client.wait_for_engines`` waits until they serve.
        """
        return self._looking_after().start_engines(n)

    def stop_engines(self, set_id: str | None = None) -> None:
        """End a set of engines, or all, whatever they are doing; come back when they are gone."""
        if engines := self._looking_after().engines:
            engines.stop(set_id)

    def restart_engines(self, set_id: str | None = None) -> None:
        """End a set of engines, or all, whatever they are doing, and start as many again in the same set."""
        if engines := self._looking_after().engines:
            engines.restart(set_id)

    def signal_engines(self, signum: int, set_id: str | None = None) -> None:
        """Send a signal to the engines of a set, or to all. ValueError where their launcher has no way to."""
        if engines := self._looking_after().engines:
            engines.signal(signum, set_id)

    def _looking_after(self) -> Supervisor:
        with self._lock:
            if self._afar:
                self._take_over()
            if self._supervisor is None:
                raise ParpoolError("the cluster does not run: start_cluster() starts it")
            self._supervisor.check()
            return self._supervisor

    def _take_over(self, to_end: bool = False) -> Supervisor:
        supervisor = Supervisor(self._plan)
        supervisor.take_over(to_end)
        self._supervisor, self._afar = supervisor, False
        return supervisor

    # With --------------------------------------------------------------------------------------------------

    def __enter__(self) -> Client:
        self._client = self.start_and_connect()
        return self._client

    def __exit__(self, *exc: object) -> None:
        client, self._client = self._client, None
        try:
            if client is not None:
                client.close()
        finally:
            if not self._plan.keep:
                self.stop_cluster()

    async def __aenter__(self) -> Client:
        import asyncio

        begun = asyncio.ensure_future(asyncio.to_thread(self.__enter__))
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:  # the thread cannot be; what it starts is to end
            with suppress(Exception):
                await begun
            await self.__aexit__()
            raise

    async def __aexit__(self, *exc: object) -> None:
        import asyncio

        await asyncio.shield(asyncio.to_thread(self.__exit__))

    # Twins -------------------------------------------------------------------------------------------------

    start_cluster_async = _twin(start_cluster)
    start_and_connect_async = _twin(start_and_connect)
    stop_cluster_async = _twin(stop_cluster)
    wait_async = _twin(wait)
    connect_client_async = _twin(connect_client)
    start_controller_async = _twin(start_controller)
    stop_controller_async = _twin(stop_controller)
    start_engines_async = _twin(start_engines)
    stop_engines_async = _twin(stop_engines)
    restart_engines_async = _twin(restart_engines)
    signal_engines_async = _twin(signal_engines)

    start_cluster_sync = start_cluster
    start_and_connect_sync = start_and_connect
    stop_cluster_sync = stop_cluster
    connect_client_sync = connect_client
    start_controller_sync = start_controller
    stop_controller_sync = stop_controller
    start_engines_sync = start_engines
    stop_engines_sync = stop_engines
    restart_engines_sync = restart_engines
    signal_engines_sync = signal_engines
