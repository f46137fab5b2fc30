"""joblib's ``Parallel`` on parpool's engines. ::

    from parpool.compat import joblib as on_parpool

    on_parpool.register()
    with joblib.parallel_config(backend="parpool", n_jobs=4):
        joblib.Parallel()(joblib.delayed(f)(x) for x in items)

So does everything that is built on joblib, such as scikit-learn.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import warnings
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from joblib import register_parallel_backend
from joblib.parallel import BatchedCalls, FallbackToBackend, ParallelBackendBase, SequentialBackend

from parpool import AsyncResult, Client, Pool, cpu_count

from .joblib_arrays import Arrays, forget

NAME = "parpool"

#: Seconds of work that a batch should have. More would leave engines waiting at the beginning and at the end.
BATCH = 0.005
#: And for each job at least so many, as one thread of joblib's makes the batches for all, each in some 0.3 ms.
SHARE = 0.0005
#: No batch has more than so many times the calls of those that were timed: times differ.
GROWTH = 8

#: What joblib says to every backend, and is nothing to this one. (``context`` is its own choice, and always there.)
FOR_OTHERS = frozenset({"prefer", "require", "verbose", "temp_folder", "context"})

_numbers = itertools.count()


def register(name: str = NAME, make_default: bool = False) -> None:
    """Make the backend known to joblib. ``make_default``: and use it where no other is named."""
    register_parallel_backend(name, ParpoolBackend, make_default=make_default)


class ParpoolBackend(ParallelBackendBase):  # type: ignore[misc]
    """Runs the calls of ``joblib.Parallel`` on engines.

    Options, for ``parallel_config(backend="parpool", ...)``, and but for ``context`` and ``inner_max_num_threads`` for
    ``Parallel(backend="parpool", ...)`` as well: ``pool``, a :class:`parpool.Pool` to use, or ``client``, the
    :class:`parpool.Client` of a cluster. Without them ``n_jobs`` engines are started by the first call, by ``context``
    (one of multiprocessing's), each with ``initializer(*initargs)``; later calls use them again, and :func:`shutdown`, or
    the end of the process, ends them. ``inner_max_num_threads``: threads of BLAS and OpenMP in each engine, by default
    its share of the CPUs.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        pool: Pool | None = None,
        client: Client | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        context: Any = None,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._context = context
        self._options: dict[str, Any] = {
            "pool": pool, "client": client, "initializer": initializer, "initargs": initargs
        }  # fmt: skip
        self._choose()
        self._pool: Pool | None = None
        self._lent: _Lent | None = None  #: of engines of our own
        self._jobs: dict[int, AsyncResult] = {}  #: that have not ended
        self._arrays = Arrays()
        self._pace = 0.0  #: mean seconds of a call
        self._size = 1  #: calls in a batch
        self._n_jobs = 1

    def _choose(self, **options: Any) -> None:
        """What engines there are to be, by the options of the backend, and by those of one Parallel."""
        if unknown := options.keys() - self._options.keys():  # no error: a later joblib may say more to all backends
            warnings.warn(
                f"{', '.join(sorted(unknown))}: of no effect on joblib's backend {NAME!r}, whose options here are"
                f" {', '.join(self._options)}",
                stacklevel=5,
            )
        chosen = {**self._options, **options}
        self._given: Pool | None = chosen["pool"]
        self._client: Client | None = chosen["client"]
        self._initializer: Callable[..., object] | None = chosen["initializer"]
        self._initargs = tuple(chosen["initargs"])
        if self._given is not None and self._client is not None:
            raise ValueError("give a pool, or the client of a cluster, not both")
        there = self._given is not None or self._client is not None
        if there and (self._initializer is not None or self._context is not None):
            raise ValueError("initializer and context are for engines that are started here")

    # -- how many ---------------------------------------------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many calls can run at a time."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or (self.nesting_level or 0) > 0:  # engines have their work from the outermost call
            return 1
        there = self._engines()
        wanted = n_jobs if n_jobs > 0 else max((there or cpu_count()) + 1 + n_jobs, 1)
        return min(wanted, there) if there else wanted

    def _engines(self) -> int:
        """How many engines there are; 0: they are started as they are wanted."""
        if self._given is not None:
            return len(self._given.client)
        return 0 if self._client is None else len(self._client)

    # -- the life of a call of Parallel -----------------------------------------------------------------------

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        max_nbytes: int | None = 2**20,
        mmap_mode: str | None = "r",
        **options: Any,
    ) -> int:
        """A call of Parallel begins, or several within a ``with``. Gives how many jobs run at a time.

        ``options``: those of its own, ``Parallel(backend="parpool", pool=pool)``, as of the backend; and what joblib
        says to every backend.
        """
        self._choose(**{name: value for name, value in options.items() if name not in FOR_OTHERS})
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._arrays = Arrays(max_nbytes, mmap_mode)
        self._pace, self._size = 0.0, 1
        self._open(n_jobs)
        return n_jobs

    def _open(self, n_jobs: int) -> None:
        if self._given is not None:
            self._pool = self._given
        elif self._client is not None:
            self._pool = self._client.pool()
        else:
            threads = self.inner_max_num_threads or "auto"
            self._lent = _lend(n_jobs, threads, self._initializer, self._initargs, self._context)
            self._pool = self._lent.pool
        self._n_jobs = n_jobs

    def terminate(self) -> None:
        """The call of Parallel is over. Engines stay for the next one."""
        pool, self._pool = self._pool, None
        lent, self._lent = self._lent, None
        self._arrays.clear()
        self._jobs.clear()
        if lent is not None:
            lent.give_back()
        elif self._client is not None and pool is not None:
            pool.terminate()
            pool.join()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """A call has failed, or nobody wants the results any more: drop what has not begun.

        Engines of our own that still run something are ended, unless others use them as well.
        """
        for job in list(self._jobs.values()):
            job.abort()
        if self._lent is not None and self._lent.users == 1:
            self._lent.end()
        self.terminate()
        if ensure_ready:
            self._open(self._n_jobs)

    # -- batches ----------------------------------------------------------------------------------------------

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> AsyncResult:
        """Run a batch of calls; ``callback`` is called with what comes of it."""
        assert self._pool is not None
        threads = self.inner_max_num_threads if self._lent is None else None

        jobs, number = self._jobs, next(_numbers)

        def ended(outcome: Any) -> None:
            jobs.pop(number, None)
            if callback is not None:
                callback(outcome)

        with self._arrays.laid_out():
            job = self._pool.apply_async(_run, (func, threads), callback=ended, error_callback=ended)
        jobs[number] = job
        if job.ready():  # (one that ends in this moment stays until all are forgotten, and does no harm)
            jobs.pop(number, None)
        return job

    def apply_async(self, func: Any, callback: Callable[[Any], object] | None = None) -> AsyncResult:
        """:meth:`submit`, by the name that joblib had for it before 1.5."""
        return self.submit(func, callback)

    def retrieve_result_callback(self, out: Any) -> Any:
        """The values of a batch; raises what one of its calls has raised."""
        if isinstance(out, BaseException):
            raise out
        seconds, values = out
        pace = seconds / max(1, len(values))
        self._pace = pace if not self._pace else 0.8 * self._pace + 0.2 * pace
        return values

    def compute_batch_size(self) -> int:
        """How many calls the next batch should have, by the time that they have taken so far."""
        if self._pace:
            wanted = max(BATCH, SHARE * self._n_jobs)
            self._size = int(max(1, min(wanted / self._pace, self._size * GROWTH)))
        return self._size


# On the engine ----------------------------------------------------------------------------------------------

_threads = 0  #: that this engine was told to have


def _run(batch: BatchedCalls, threads: int | None) -> tuple[float, list[Any]]:
    """Run the calls of a batch; gives how long they took, and their values."""
    if threads is not None:
        _limit(threads)
    if NAME not in _known:  # nested calls may name it
        _known.add(NAME)
        register()
    started = perf_counter()
    values = batch()
    return perf_counter() - started, values


_known: set[str] = set()


def _limit(threads: int) -> None:
    global _threads
    if threads != _threads:
        _threads = threads
        os.environ.update(dict.fromkeys(ParallelBackendBase.MAX_NUM_THREADS_VARS, str(threads)))
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            return
        threadpool_limits(threads)


# Engines of our own -----------------------------------------------------------------------------------------


class _Lent:
    """A pool that is used by so many calls of Parallel at the moment."""

    def __init__(self, key: tuple[Any, ...], pool: Pool) -> None:
        self.key = key
        self.pool = pool
        self.users = 0

    def give_back(self) -> None:
        """One user less."""
        with _lock:
            self.users -= 1

    def end(self) -> None:
        """End the engines, and what they run."""
        with _lock:
            _pools.pop(self.key, None)
        self.pool.terminate()
        self.pool.join()


_lock = threading.Lock()
_pools: dict[tuple[Any, ...], _Lent] = {}


def _lend(n: int, threads: int | str, initializer: Any, initargs: tuple[Any, ...], context: Any) -> _Lent:
    key = (n, threads, initializer, initargs, context)
    with _lock:
        lent = _pools.get(key)
        idle = [] if lent is not None else [each for each in _pools.values() if not each.users]
        for each in idle:
            del _pools[each.key]
    for each in idle:
        each.pool.terminate()
        each.pool.join()
    with _lock:
        if key not in _pools:
            pool = Pool(n, initializer, initargs, context=context, threads_per_engine=threads)
            _pools[key] = _Lent(key, pool)
        lent = _pools[key]
        lent.users += 1
    return lent


def shutdown() -> None:
    """End the engines that were started for calls of Parallel. The next call starts others."""
    with _lock:
        lent = list(_pools.values())
        _pools.clear()
    for each in lent:
        each.pool.terminate()
        each.pool.join()


def _forget() -> None:
    # After a fork. What was there is the parent's; the lock may have been held, as it is when engines are made.
    global _lock
    _lock = threading.Lock()
    _pools.clear()
    forget()


atexit.register(shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
