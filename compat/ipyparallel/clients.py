"""ipyparallel's Client, before one of parpool's."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

import parpool

from .balanced import LoadBalancedView
from .error import TimeoutError, translating, unknown_ones
from .executor import ViewExecutor
from .metadata import Labels
from .missing import lacking
from .results import AsyncHubResult, AsyncMapResult, AsyncResult
from .views import BroadcastView, DirectView

#: Of the machinery there, which has no counterpart here.
_IGNORED = ("context", "debug", "ipython_dir", "config", "parent")
_MISSING = {
    **dict.fromkeys(
        ("become_dask", "become_distributed", "stop_dask", "stop_distributed"),
        "engines here are no workers of dask: start `dask worker` beside them, or stay with executor() or joblib",
    ),
    **dict.fromkeys(
        ("send_apply_request", "send_execute_request", "create_message_futures", "session"),
        "there are no messages of Jupyter's behind it: views have apply() and execute()",
    ),
    **dict.fromkeys(
        ("curve_publickey", "curve_secretkey", "curve_serverkey"),
        "the keys of CurveZMQ are in the connection file",
    ),
}
_TUNNELS = ("sshserver", "sshkey", "password", "paramiko")


class Client:
    """The client of a cluster. ``parpool`` is parpool's own client, which it stands before.

    ``connection_info`` is what :class:`parpool.Client` takes for its source, or one of those clients itself.
    """

    def __init__(
        self,
        connection_info: Any = None,
        *,
        profile: str | None = None,
        cluster_id: str | None = None,
        timeout: float = 10.0,
        cluster: Any = None,
        **options: Any,
    ) -> None:
        for name in ("url_file", "url_or_file"):
            if options.get(name) is not None:
                warnings.warn(f"{name} is an older name: give it first, without a name", DeprecationWarning, 2)
                connection_info = options.pop(name)
        for name in _TUNNELS:
            if options.pop(name, None):
                raise TypeError(f"{name}: parpool's clients make no tunnels; `ssh -L` does, see docs/launchers.md")
        for name in _IGNORED:
            options.pop(name, None)
        if isinstance(connection_info, parpool.Client):
            self.parpool = connection_info
        else:
            names: Any = {"profile": profile, "cluster_id": cluster_id or None, "timeout": timeout}
            self.parpool = parpool.Client(connection_info, **names, **options)
            self.parpool.remarks = False  # log records and warnings are text on stderr, as they are there
        self.cluster = cluster
        self.profile = profile or "default"
        self.block = False
        self.labels = Labels()  #: of its calls
        self._known: set[str] = set()  #: the names of other clients' calls that were asked for
        if _prompt_is_bare():
            self.activate()

    # -- engines ----------------------------------------------------------------------------------------------

    @property
    def ids(self) -> list[int]:
        """The ids of the engines that serve now."""
        return self.parpool.ids

    def __len__(self) -> int:
        return len(self.ids)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[DirectView]:
        return (self.direct_view(id) for id in self.ids)

    def __getitem__(self, key: Any) -> DirectView:
        if isinstance(key, (str, bytes)) or not (isinstance(key, (int, slice)) or isinstance(key, Iterable)):
            raise TypeError(f"key by int/slice/iterable of ints only, not {type(key)}")
        return self.direct_view(key)

    def wait_for_engines(
        self,
        n: int | None = None,
        *,
        timeout: float | None = -1,
        block: bool = True,
        interactive: bool | None = None,
        widget: bool | None = None,
    ) -> Future[None] | None:
        """Wait until ``n`` engines serve; TimeoutError after ``timeout`` seconds. Without ``block`` a future of that."""
        if n is None and self.cluster is None:
            raise TypeError("n engines to wait for must be specified")
        wanted = n if n is not None else self.cluster.n or len(self.ids)
        if not block:
            return _in_thread(lambda: self._await_engines(wanted, timeout))
        self._await_engines(wanted, timeout)
        return None

    def _await_engines(self, n: int, timeout: float | None) -> None:
        if not self.parpool.wait_for_engines(n, None if timeout is None or timeout < 0 else timeout):
            raise TimeoutError(f"{n} engines not ready in {timeout} seconds: there are {len(self.ids)}")

    def queue_status(self, targets: Any = "all", verbose: bool = False) -> Any:
        """How much each engine has to do."""
        return self.parpool.queue_status(targets, verbose)

    def clear(self, targets: Any = None, block: bool | None = None) -> AsyncResult | None:
        """Unbind all names on the engines."""
        result = self.direct_view("all" if targets is None else targets).clear(block=False)
        if self.block if block is None else block:
            result.get()
            return None
        return result  # type: ignore[no-any-return]

    def shutdown(
        self, targets: Any = "all", restart: bool = False, hub: bool = False, block: bool | None = None
    ) -> None:
        """End engines, and with ``hub`` the whole cluster."""
        if restart:
            raise NotImplementedError("Engine restart is not yet implemented")
        self.parpool.shutdown(targets, hub=hub)

    def send_signal(self, sig: int | str, targets: Any = None, block: bool | None = None) -> None:
        """Send a signal to engines: SIGINT to any, others to those of this machine."""
        number = getattr(signal, sig) if isinstance(sig, str) else sig
        if number == signal.SIGINT:
            self.parpool.interrupt(targets)
            return
        status = self.parpool.queue_status(verbose=True)
        chosen = self.parpool.direct_view("all" if targets is None else targets).targets
        ids = self.ids if chosen == "all" else [chosen] if isinstance(chosen, int) else chosen
        for id in ids:
            if status[id]["hostname"] != socket.gethostname():
                raise NotImplementedError(
                    f"engine {id} is on another machine: Cluster.signal_engines() sends any signal"
                )
        for id in ids:
            os.kill(status[id]["pid"], number)

    # -- views ------------------------------------------------------------------------------------------------

    def direct_view(self, targets: Any = "all", **flags: Any) -> DirectView:
        """A view of one engine, several, or ``'all'``."""
        return DirectView(self, self.parpool.direct_view(targets).targets, **flags)

    def broadcast_view(self, targets: Any = "all", is_coalescing: bool = False, **flags: Any) -> BroadcastView:
        """A view of several engines."""
        chosen = self.parpool.direct_view(targets).targets
        ids = self.ids if chosen == "all" else [chosen] if isinstance(chosen, int) else chosen
        return BroadcastView(self, ids, is_coalescing, **flags)

    def load_balanced_view(self, targets: Any = None, **flags: Any) -> LoadBalancedView:
        """A view whose calls go to any engine, or to any of ``targets``."""
        return LoadBalancedView(self, self.parpool.load_balanced_view(targets).targets, **flags)

    def executor(self, targets: Any = None) -> ViewExecutor:
        """``load_balanced_view(targets).executor``."""
        return self.load_balanced_view(targets).executor

    def activate(self, targets: Any = "all", suffix: str = "") -> DirectView:
        """A view that waits, with parpool's magics at the IPython prompt for it."""
        view = self.direct_view(targets, block=True)
        view.activate(suffix)
        return view

    # -- calls ------------------------------------------------------------------------------------------------

    @property
    def history(self) -> list[str]:
        """The names of the calls, in their order."""
        return self.parpool.history

    @property
    def outstanding(self) -> set[str]:
        """The names of the calls that have not ended."""
        return self.parpool.outstanding

    @property
    def results(self) -> Any:
        """The values of the calls that have ended, by name."""
        return self.parpool.results

    @property
    def metadata(self) -> Any:
        """What is known of the calls, by name."""
        return self.parpool.metadata

    def get_result(self, indices_or_msg_ids: Any = None, block: bool | None = None, owner: bool = True) -> AsyncResult:
        """The result of a call by its name or its place in the history; of several, one result."""
        jobs = _inner(-1 if indices_or_msg_ids is None else indices_or_msg_ids)
        with translating(), unknown_ones():
            found = self.parpool.get_result(jobs)
        known = self._known.union(self.history)
        foreign = not known.issuperset(found.msg_ids)
        self._known.update(found.msg_ids)
        single, shown = isinstance(found.metadata, dict), repr(found)
        name = next((name for name in ("execute", "map") if f" {name}:" in shown), "apply")
        kind = AsyncHubResult if foreign else AsyncMapResult if name == "map" else AsyncResult
        result = kind(self, found, single=single, fname=name, silent=False)
        if self.block if block is None else block:
            result.wait()
        return result

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for calls, by default all: have they ended? Futures of others may be among them."""
        limit = None if timeout is None or timeout < 0 else timeout
        if jobs is None:
            return self.parpool.wait(None, limit)
        deadline = None if limit is None else time.monotonic() + limit
        ours: list[Any] = []
        others: list[Future[Any]] = []
        for job in jobs if isinstance(jobs, (list, tuple, set)) else [jobs]:
            (others if isinstance(job, Future) and not isinstance(job, AsyncResult) else ours).append(job)
        done = self.parpool.wait(_inner(ours), limit) if ours else True
        from concurrent.futures import wait

        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        return done and not wait(others, left).not_done

    def wait_interactive(self, jobs: Any = None, interval: float = 1.0, timeout: float | None = -1.0) -> None:
        """Wait for calls with a progress bar."""
        pending = list(self.outstanding) if jobs is None else jobs
        if pending:
            self.get_result(pending, block=False).wait_interactive(interval, timeout)

    def abort(self, jobs: Any = None, targets: Any = None, block: bool | None = None) -> None:
        """Take back calls that have not begun; by default all."""
        self.parpool.abort(None if jobs is None else _inner(jobs))

    def resubmit(self, indices_or_msg_ids: Any = None, metadata: Any = None, block: bool | None = None) -> AsyncResult:
        """Have tasks that have ended run again."""
        found = self.get_result(indices_or_msg_ids, block=False).msg_ids if _has_places(indices_or_msg_ids) else None
        jobs = indices_or_msg_ids if found is None else found
        try:
            native = self.parpool.resubmit(_inner(jobs))
        except parpool.ParpoolError:
            self.get_result(jobs, block=False)  # which raises where one is not known
            raise
        result = AsyncResult(self, native, single=isinstance(jobs, str))
        if self.block if block is None else block:
            result.wait()
        return result

    def result_status(self, msg_ids: Any, status_only: bool = True) -> dict[str, Any]:
        """Which calls are ``pending`` and which ``completed``; without ``status_only`` the values, too, by name."""
        status: dict[str, Any] = dict(self.parpool.result_status(_inner(msg_ids)))
        if not status_only:
            status |= {name: self.get_result(name).get() for name in status["completed"]}
        return status

    def hub_history(self) -> list[str]:
        """The names of the tasks of all clients."""
        return self.parpool.hub_history()

    def db_query(self, query: dict[str, Any], keys: Any = None) -> list[dict[str, Any]]:
        """The hub's records for which ``query`` holds. Labels are known of this client's own calls alone."""
        wanted = [keys] if isinstance(keys, str) else keys
        if wanted is not None and "msg_id" not in wanted:
            wanted = ["msg_id", *wanted]
        return self.labels.query(self.parpool.db_query, query, wanted)

    def purge_local_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget calls that have ended, here and in the hub: what is known of a call is kept in one place."""
        if isinstance(jobs, str) and jobs == "all" and self.outstanding:
            raise RuntimeError(f"Can't purge outstanding tasks: {self.outstanding}")
        self._purge(jobs, targets)

    def purge_hub_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """:meth:`purge_results`."""
        self.purge_results(jobs, targets)

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget calls that have ended, and their values; with ``"all"`` those of other clients, too."""
        if isinstance(jobs, str) and jobs == "all" and not targets:
            self.purge_everything()
        else:
            self._purge(jobs, targets)

    def _purge(self, jobs: Any, targets: Any) -> None:
        if jobs or not targets:
            self.parpool.purge_results(_inner(jobs))
        if targets:
            self.parpool.purge_results("all", targets)

    def purge_everything(self) -> None:
        """Forget all calls that have ended, those of other clients, too."""
        self.parpool.purge_everything()

    # -- the rest ---------------------------------------------------------------------------------------------

    def spin(self) -> None:
        """Nothing: what arrives is taken in by itself."""

    def spin_thread(self, interval: float = 1) -> None:
        """Nothing: see :meth:`spin`."""

    def stop_spin_thread(self) -> None:
        """Nothing: see :meth:`spin`."""

    def close(self, linger: float | None = None) -> None:
        """Leave the cluster, which goes on."""
        self.parpool.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        raise lacking(f"{type(self).__name__!r} object", name, _MISSING)

    def __repr__(self) -> str:
        return repr(self.parpool)

    def _repr_html_(self) -> str:
        return self.parpool._repr_html_()


def _inner(jobs: Any) -> Any:
    """Jobs, with parpool's results in the place of ours."""
    if isinstance(jobs, AsyncResult):
        return jobs.parpool
    return [_inner(job) for job in jobs] if isinstance(jobs, (list, tuple, set)) else jobs


def _has_places(jobs: Any) -> bool:
    """Are places in the history among them?"""
    return jobs is None or isinstance(jobs, int) or (isinstance(jobs, list) and any(isinstance(j, int) for j in jobs))


def _in_thread(function: Any) -> Future[Any]:
    from threading import Thread

    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _prompt_is_bare() -> bool:
    """Does an IPython prompt run that has no %px yet?"""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "px" not in shell.magics_manager.magics["line"]
