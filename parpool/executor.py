"""Executor: the surface of ``concurrent.futures.ProcessPoolExecutor`` over parpool's engines."""

from __future__ import annotations

import atexit
import multiprocessing
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .client.executor import PoolExecutor
from .client.future import CallFuture
from .options import cpu_count
from .pool import Pool

if TYPE_CHECKING:
    from .client.client import Client


class Executor(PoolExecutor):
    """An executor with engines of its own, with the interface of :class:`concurrent.futures.ProcessPoolExecutor`.

    ``max_workers`` engines (default: the CPUs that this process may use) are started through ``mp_context`` (default:
    the default context of ``multiprocessing``) when it is made; each calls ``initializer(*initargs)`` first and is
    replaced after ``max_tasks_per_child`` tasks (default: never; as in the standard library the default context is then
    that of ``spawn``, and that of ``fork`` is refused).

    The exceptions of futures are the tasks' own, with the remote traceback as their cause. An engine that dies is
    replaced, and the call that it ran, that one only, ends in an :class:`~parpool.EngineLost` that is a
    :class:`~concurrent.futures.process.BrokenProcessPool`, too. An initializer that fails breaks the executor.

    By keyword, and beyond the standard library, as :class:`~parpool.Pool` has them: ``retries``, ``task_timeout``,
    ``serializer``, ``threads_per_engine``, and ``client`` for the engines of a cluster.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
        retries: int = 0,
        task_timeout: float | None = None,
        serializer: str | None = None,
        client: Client | None = None,
        threads_per_engine: int | str | None = None,
    ) -> None:
        super().__init__()
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        given = mp_context
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
            given = mp_context or multiprocessing.get_context("spawn")
            if given.get_start_method(allow_none=False) == "fork":
                raise ValueError("max_tasks_per_child is incompatible with the 'fork' multiprocessing start method")
        start, arguments = (None, ()) if initializer is None else (_initialize, (initializer, *initargs))
        self._pool = Pool(
            max_workers,
            start,
            arguments,
            max_tasks_per_child,
            given,
            retries=retries,
            task_timeout=task_timeout,
            serializer=serializer,
            client=client,
            threads_per_engine=threads_per_engine,
        )
        self._terms = self._pool._terms
        self._mp_context = given or multiprocessing.get_context()
        self._max_workers = self._pool._processes if client is not None else (max_workers or cpu_count())
        # Who forgets it may hold its futures: these are still to come, and then the engines are to go.
        self._forgotten = weakref.finalize(self, _let_go, self._pool)
        self._forgotten.atexit = False
        _living.add(self)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; ``cancel_futures``: and cancel those that have not begun. The engines then end.

        With ``wait`` it returns when all calls, and the engines, have ended.
        """
        link = self._pool._link
        super().shutdown(wait, cancel_futures=cancel_futures)
        if link.foreign or not self._forgotten.detach():
            if wait and not link.foreign and not link.in_callback():
                self._pool.join()
            return
        self._pool.close()
        if wait and not link.in_callback():
            self._pool.join()
        else:
            _join_later(self._pool)

    def terminate_workers(self) -> None:
        """End the engines now, and what they run; take no more calls. (In the standard library since Python 3.14.)

        Calls that have not ended, end in :class:`~concurrent.futures.process.BrokenProcessPool`. The engines of a cluster
        serve on: there, calls that have begun go on, though nobody gets their values.
        """
        if self._pool._link.foreign:
            return
        super().shutdown(wait=False)
        self._forgotten.detach()
        self._pool.terminate()
        if self._pool._link.in_callback():
            _join_later(self._pool)
        else:
            self._pool.join()

    #: As there, where it is another signal that ends them.
    kill_workers = terminate_workers

    def __repr__(self) -> str:
        state = "shut down" if self._shut else "broken" if self._broken else "running"
        return f"<parpool.Executor of {self._max_workers} engines, {state}>"

    def __reduce__(self) -> Any:
        raise NotImplementedError("executors cannot be passed between processes or pickled")

    # -- submission -------------------------------------------------------------------------------------------

    def _begin(self, send: Callable[[CallFuture], object]) -> CallFuture:
        if self._shut:  # first: the pool is closed by now, which would be another error
            raise RuntimeError("cannot schedule new futures after shutdown")
        return super()._begin(send)

    def _broken_by(self, error: Exception) -> BrokenProcessPool:
        return BrokenProcessPool(f"no call can be submitted: {error}")

    # -- what scripts touch -----------------------------------------------------------------------------------

    @property
    def _processes(self) -> dict[int, Any]:
        return {process.pid: process for process in self._pool._pool}

    @property
    def _broken(self) -> Any:
        return self._pool._link.failure or False


def _initialize(initializer: Callable[..., object], *initargs: Any) -> None:
    """Run by each engine first. What it logs when that fails is what the standard library's does."""
    try:
        initializer(*initargs)
    except BaseException:
        import logging

        logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
        raise


# The end ----------------------------------------------------------------------------------------------------

_living: weakref.WeakSet[Executor] = weakref.WeakSet()


def _let_go(pool: Pool) -> None:
    """Nobody has the executor any more. What was submitted is done, then the engines go."""
    if not pool._link.foreign:
        # In a thread: this may be called anywhere, also where the pool's own locks are held.
        _start(pool.close, pool.join)


def _join_later(pool: Pool) -> None:
    _start(pool.join)


def _start(*steps: Callable[[], object]) -> None:
    def run() -> None:
        with suppress(ValueError):  # it was terminated
            for step in steps:
                step()

    with suppress(RuntimeError):  # the interpreter ends, and has no new threads: the pool's finalizer will do
        threading.Thread(target=run, name="parpool-ending").start()


def _end_all() -> None:
    for executor in list(_living):
        executor.shutdown()


# As the standard library's: what was submitted is done before the interpreter ends.
atexit.register(_end_all)
