"""Pool: the surface of ``multiprocessing.pool.Pool`` over parpool's engines."""

from __future__ import annotations

import itertools
import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Mapping, Sized
from multiprocessing import util
from typing import TYPE_CHECKING, Any, TypeVar

from .client.call import CallResult
from .client.contract import Terms, separate, terms_of
from .client.embedded import EmbeddedLink
from .client.guest import check_cluster_pool, cluster_link
from .client.mapping import Feed, MapResult, check_chunksize, map_kind, sliceable
from .client.progress import progress_bar
from .client.result import AsyncResult
from .client.stream import IMapIterator
from .launch.local import LocalCrew
from .options import pool_size, threads_of

if TYPE_CHECKING:
    from .client.client import Client
    from .client.standalone import RemoteLink

RUN = "RUN"
CLOSE = "CLOSE"
TERMINATE = "TERMINATE"
S = TypeVar("S")
T = TypeVar("T")


class Pool:
    """A pool of engines, with the interface of :class:`multiprocessing.pool.Pool` to the letter.

    ``processes`` engines (default: the CPUs that this process may use) are started through ``context`` (default: the
    default context of ``multiprocessing``); each calls ``initializer(*initargs)`` first and is replaced after
    ``maxtasksperchild`` tasks (default: never).

    By keyword, and beyond the stdlib:

    - ``retries``: how often a task whose engine died may run again (default 0: it ends in
      :class:`~parpool.EngineLost`).
    - ``task_timeout``: seconds that a call may run (default None: any). One that takes longer is interrupted, then
      stopped by replacing its engine, and ends in :class:`~parpool.TaskTimeout`.
    - ``progress``: show a bar for maps (default False); ``"tqdm"``, ``"rich"`` or ``"text"``: one of that kind.
    - ``serializer``: ``"cloudpickle"`` (default) or ``"dill"``, for functions and arguments that go by value.
    - ``client``: a :class:`~parpool.Client` of a cluster, on whose engines the pool then works. It starts and ends none:
      ``initializer`` is run on every engine, also on those that join later; the pool's end is that of its own calls.
    - ``ipython``: the engines host an IPython shell each, for ``%px`` and ``execute`` of views (default False).
    - ``threads_per_engine``: how many threads BLAS and OpenMP may have in each engine; ``"auto"`` is its share of the CPUs
      (default None: as many as they like, as with the stdlib's Pool).

    The first three are defaults for the calls, which take them too. Raises ValueError or TypeError for arguments that
    cannot be right, OSError where the processes cannot be started.
    """

    _client: Client | None = None
    _state = TERMINATE  # until it runs: a half-made pool has nothing to warn about

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        retries: int = 0,
        task_timeout: float | None = None,
        progress: bool | str = False,
        serializer: str | None = None,
        client: Client | None = None,
        ipython: bool = False,
        threads_per_engine: int | str | None = None,
    ) -> None:
        self._ctx = context or multiprocessing.get_context()
        if client is not None:
            check_cluster_pool(processes, maxtasksperchild, context, ipython or None, threads_per_engine)
        size = pool_size(processes, maxtasksperchild, initializer)
        self._defaults: dict[str, Any] = {"retries": retries, "task_timeout": task_timeout}
        self._terms = terms_of(retries, task_timeout)
        self._plain = self._terms or None  # None costs a call nothing
        self._progress = progress
        threads = threads_of(threads_per_engine, size)
        self._crew = LocalCrew(self._ctx, initializer, tuple(initargs), ipython, threads)
        if client is not None:
            self._link: EmbeddedLink | RemoteLink = cluster_link(client, initializer, tuple(initargs), serializer)
        else:
            self._link = EmbeddedLink(self._crew, size, maxtasksperchild, serializer or "cloudpickle")
        self._state = RUN
        # Ends the engines when the pool is forgotten, and before the interpreter ends.
        self._terminate = util.Finalize(self, self._link.terminate, exitpriority=15)

    # -- calls ------------------------------------------------------------------------------------------------

    def apply(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        *,
        retries: int | None = None,
        task_timeout: float | None = None,
    ) -> T:
        """``func(*args, **kwds)`` on an engine; waits for its value."""
        self._check_running()
        result = CallResult(self._link, self)
        terms = self._plain if retries is None and task_timeout is None else self._choose(retries, task_timeout)
        self._link.call(result, func, args, kwds, terms, False)
        return result.get()  # type: ignore[no-any-return]

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        retries: int | None = None,
        task_timeout: float | None = None,
    ) -> AsyncResult[T]:
        """``func(*args, **kwds)`` on an engine; gives its :class:`~parpool.AsyncResult` at once.

        ``callback(value)`` or ``error_callback(exception)`` is called, in a thread for that, before the result counts
        as ready.
        """
        if self._state != RUN:
            raise ValueError("Pool not running")
        link = self._link
        result = CallResult(link, self, callback, error_callback)
        terms = self._plain if retries is None and task_timeout is None else self._choose(retries, task_timeout)
        link.call(result, func, args, kwds, terms)
        return result

    # -- maps -------------------------------------------------------------------------------------------------

    def map(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = None,
        *,
        retries: int | None = None,
        task_timeout: float | None = None,
        progress: bool | str | None = None,
    ) -> list[T]:
        """``[func(item) for item in iterable]``, in parallel.

        ``chunksize`` items make one task; by default as many as the time that ``func`` takes suggests.
        """
        terms = self._choose(retries, task_timeout)
        return self._map(func, iterable, False, chunksize, None, None, terms, progress).get()

    def map_async(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        retries: int | None = None,
        task_timeout: float | None = None,
        progress: bool | str | None = None,
    ) -> AsyncResult[list[T]]:
        """:meth:`map` that gives its :class:`~parpool.AsyncResult` at once."""
        terms = self._choose(retries, task_timeout)
        result = self._map(func, iterable, False, chunksize, callback, error_callback, terms, progress)
        self._link.tend()
        return result

    def starmap(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        retries: int | None = None,
        task_timeout: float | None = None,
        progress: bool | str | None = None,
    ) -> list[T]:
        """``[func(*item) for item in iterable]``, in parallel."""
        terms = self._choose(retries, task_timeout)
        return self._map(func, iterable, True, chunksize, None, None, terms, progress).get()

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        retries: int | None = None,
        task_timeout: float | None = None,
        progress: bool | str | None = None,
    ) -> AsyncResult[list[T]]:
        """:meth:`starmap` that gives its :class:`~parpool.AsyncResult` at once."""
        terms = self._choose(retries, task_timeout)
        result = self._map(func, iterable, True, chunksize, callback, error_callback, terms, progress)
        self._link.tend()
        return result

    def _map(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        star: bool,
        chunksize: int | None,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        terms: Terms,
        progress: bool | str | None,
    ) -> AsyncResult[list[T]]:
        self._check_running()
        check_chunksize(chunksize)
        link = self._link
        error: BaseException | None = None
        items: Any = iterable[:] if type(iterable) is list else iterable  # it may change while it is being cut
        if not hasattr(iterable, "__len__"):
            items = list(iterable)
        elif not sliceable(iterable):
            try:
                items = list(iterable)
            except Exception as raised:  # by contract an error of the iterable is the error of the map
                items, error = [], raised
        bar = progress_bar(len(items), self._progress if progress is None else progress)
        result = MapResult(link, self, getattr(func, "__qualname__", repr(type(func))), callback, error_callback, bar)
        try:
            function = link.function(func) if error is None else None
        except Exception as raised:
            error = raised
        if error is not None or link.failure is not None:
            result.end(error or link.failure)
            return result
        # With retries or a time limit each item must end, or be run again, by itself.
        kind = map_kind(star, separate(terms))
        if chunksize is None and link.quota is not None:
            chunksize = -(-len(items) // (link.engines * 4))  # tasks count, so they must be as many as they were
        elif chunksize is not None and chunksize < 1:
            chunksize = 1
        result.begin(Feed(link, function, items, result, terms, kind, chunksize))  # type: ignore[arg-type]
        return result

    def imap(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        retries: int | None = None,
        task_timeout: float | None = None,
        progress: bool | str | None = None,
    ) -> IMapIterator[T]:
        """An iterator over ``func(item)`` for each item, in their order.

        Items are read as engines become free. With ``buffersize`` no more than so many are read beyond those whose
        results were taken.
        """
        return self._imap(func, iterable, chunksize, True, buffersize, retries, task_timeout, progress)

    def imap_unordered(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        retries: int | None = None,
        task_timeout: float | None = None,
        progress: bool | str | None = None,
    ) -> IMapIterator[T]:
        """:meth:`imap` that gives results as they come."""
        return self._imap(func, iterable, chunksize, False, buffersize, retries, task_timeout, progress)

    def _imap(
        self,
        func: Callable[[S], T],
        iterable: Iterable[S],
        chunksize: int,
        ordered: bool,
        buffersize: int | None,
        retries: int | None,
        task_timeout: float | None,
        progress: bool | str | None,
    ) -> IMapIterator[T]:
        self._check_running()
        check_chunksize(chunksize)
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        if buffersize is not None and (not isinstance(buffersize, int) or buffersize < 1):
            raise ValueError("buffersize must be None or an int of 1 or more")
        link = self._link
        shows = self._progress if progress is None else progress
        bar = progress_bar(len(iterable) if shows and isinstance(iterable, Sized) else None, shows)
        stream: IMapIterator[T] = IMapIterator(
            link,
            self,
            link.function(func),
            iterable,
            self._choose(retries, task_timeout),
            ordered=ordered,
            chunk=chunksize,
            single=link.quota is not None,
            buffersize=buffersize,
            bar=bar,
        )
        link.tend()
        return stream if chunksize == 1 else itertools.chain.from_iterable(stream)  # type: ignore[return-value, arg-type]

    def _choose(self, retries: int | None, task_timeout: float | None) -> Terms:
        if retries is None and task_timeout is None:
            return self._terms
        given = {"retries": retries, "task_timeout": task_timeout}
        return terms_of(**self._defaults | {name: value for name, value in given.items() if value is not None})

    @property
    def client(self) -> Client:
        """The :class:`~parpool.Client` over this pool's engines; it keeps the pool alive.

        The first time it waits until all engines serve, and raises whatever keeps them from starting.
        """
        if self._client is None:
            from .client.client import Client

            client = Client.over(self._link, self)
            if self._state == RUN:
                client.wait_for_engines()
            made: Client = vars(self).setdefault("_client", client)  # all threads get what the first one made
            return made
        return self._client

    # -- the end ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take no more work; the engines end when what was submitted is done."""
        util.debug("closing pool")
        if self._state == RUN:
            self._link.check_process()
            self._state = CLOSE
            self._link.drain()

    def terminate(self) -> None:
        """End the engines at once. Results that have not arrived fail with :class:`~parpool.TaskAborted`."""
        util.debug("terminating pool")
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Wait for the engines to end. The pool must be closed or terminated."""
        util.debug("joining pool")
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        self._link.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        self.terminate()

    def __del__(self, _warn: Any = warnings.warn, RUN: str = RUN) -> None:
        if self._state == RUN and not self._link.foreign:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    # -- what scripts touch -----------------------------------------------------------------------------------

    @property
    def _pool(self) -> list[Any]:
        return self._crew.processes

    def _repopulate_pool(self) -> None:
        if isinstance(self._link, EmbeddedLink):
            self._link.repopulate()

    @property
    def _processes(self) -> int:
        return self._link.engines

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")
        self._link.check_process()

    def __repr__(self) -> str:
        cls = self.__class__
        size = len(self._pool) if isinstance(self._link, EmbeddedLink) else self._link.engines
        return f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={size}>"

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")
