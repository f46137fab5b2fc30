"""Client: what knows the engines, makes views of them, and remembers the calls of its views."""

from __future__ import annotations

import itertools
import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..errors import NoEngines
from .administration import Administration
from .balanced import LoadBalancedView
from .direct import DirectView
from .fetched import fetch
from .jobs import Jobs, Known, several
from .joined import JoinedResult
from .records import Records
from .result import AsyncResult
from .view import View
from .viewmap import ViewMapResult

if TYPE_CHECKING:
    from ..pool import Pool
    from .contract import Link
    from .executor import ViewExecutor


VIEWS = 1024  #: views that a client keeps


class Client(Administration):
    """The client of a cluster, or of the engines of a Pool (``pool.client``).

    ``Client()`` connects to the cluster of the default profile; ``Client(profile="mpi")`` and
    ``Client(cluster_id="x")`` to others; ``Client(source)`` to what a connection file tells of: ``source`` is its path,
    its content as a dict, or the URL that ``Connection.to_url`` gives. The fields of such a file are keywords, too.

    - ``timeout``: seconds that the controller has to answer (default 10).
    - ``patience``: seconds that a controller that is lost later has to come back (default 60) before all that is under
      way ends in :class:`~parpool.ControllerLost`.
    - ``serializer``: ``"cloudpickle"`` (default), ``"dill"`` or ``"pickle"``, for what goes by value.
    - ``on_client_lost``: what becomes of this client's tasks when it dies: ``"drop"`` or ``"keep"``; by default what the
      controller says.

    ``rc.ids`` are the engines that serve now. Views are made by index: ``rc[0]``, ``rc[-1]``, ``rc[::2]``, ``rc[0, 2]``,
    ``rc[:]``; or by :meth:`direct_view`, :meth:`load_balanced_view` and :meth:`view`. The same view is given each time, with
    its flags as they were set. ``block`` and ``track`` are the flags that new views begin with.

    Raises ConnectionFileError where no cluster is found, ControllerLost where its controller does not answer,
    AuthenticationError where it does not know the key, ProtocolError where it speaks another version.
    """

    def __init__(
        self,
        source: Any = None,
        *,
        profile: str | None = None,
        cluster_id: str | None = None,
        timeout: float = 10.0,
        patience: float = 60.0,
        serializer: str = "cloudpickle",
        on_client_lost: str | None = None,
        **fields: Any,
    ) -> None:
        from ..net.address import find
        from .standalone import RemoteLink

        if on_client_lost not in (None, "drop", "keep"):
            raise ValueError(f"on_client_lost must be None, 'drop' or 'keep', not {on_client_lost!r}")
        if fields:
            if source is not None:
                raise TypeError(f"{next(iter(fields))!r} is a field of a connection file, and a source was given, too")
            source = {key: value for key, value in (("profile", profile), ("cluster_id", cluster_id)) if value} | fields
        keep = None if on_client_lost is None else on_client_lost == "keep"
        link = RemoteLink(
            find("client", profile=profile, cluster_id=cluster_id) if source is None else source,
            timeout=timeout,
            patience=patience,
            serializer=serializer,
            keep=keep,
        )
        self._begin(link, None)

    @classmethod
    def over(cls, link: Link, owner: Any = None) -> Client:
        """A client over a link that is there; ``owner`` is what the engines live as long as."""
        client = cls.__new__(cls)
        client._begin(link, owner)
        return client

    def _begin(self, link: Link, owner: Any) -> None:
        self._link = link
        self._owner = owner
        self._records = Records()
        self._views: dict[Any, View] = {}  #: not weakly: the flags of ``rc[0]`` must stay as they were set
        self._caching = threading.Lock()
        self.block = False
        self.track = False

    @property
    def link(self) -> Link:
        """The way to the host."""
        return self._link

    @property
    def remarks(self) -> bool:
        """Are what views' tasks log and their warnings handled in this process (default True)?

        Else they are text on the tasks' stderr.
        """
        return self._link.remarks.wanted

    @remarks.setter
    def remarks(self, wanted: bool) -> None:
        self._link.remarks.wanted = bool(wanted)

    # -- engines ----------------------------------------------------------------------------------------------

    @property
    def ids(self) -> list[int]:
        """The ids of the engines that serve now, ascending."""
        return self._link.control.ids()

    def __len__(self) -> int:
        return len(self.ids)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[DirectView]:
        """A view of each engine that serves now."""
        for id in self.ids:
            yield self.direct_view(id)

    def wait_for_engines(self, n: int | None = None, timeout: float | None = None) -> bool:
        """Wait until ``n`` engines serve (default: as many as there are places); False after ``timeout`` seconds.

        Raises NoEngines where there will never be so many, and whatever keeps engines from starting.
        """
        return self._link.control.wait_for(self._link.engines if n is None else n, timeout)

    def check_target(self, target: int) -> None:
        """Raise NoEngines where this engine does not serve."""
        self._link.check()
        if not self._link.control.serves(target):
            raise NoEngines(f"engine {target} does not serve: {self._who()}")

    def targets_of(self, targets: Any) -> Sequence[int]:
        """The ids of targets as they are now. Raises NoEngines where one does not serve."""
        if targets is None or targets == "all":
            ids = self.ids
            if not ids:
                self._link.check()
                raise NoEngines("no engine serves now; wait_for_engines() waits for one")
            return ids
        ids = [targets] if isinstance(targets, int) else targets
        for id in ids:
            self.check_target(id)
        return ids

    def normal(self, targets: Any) -> int | tuple[int, ...] | str:
        """Targets as views have them: an int, a tuple of ints, or ``'all'``.

        Raises IndexError for an engine that does not serve, NoEngines for a slice without any, TypeError for what
        names none.
        """
        if targets is None or (isinstance(targets, str) and targets == "all"):
            return "all"
        if isinstance(targets, slice):
            several = tuple(self.ids[targets])
            if not several:
                raise NoEngines("these targets are no engine: " + self._who())
            return several
        if isinstance(targets, Iterable) and not isinstance(targets, (str, bytes)):
            chosen = tuple(self._one(target) for target in targets)
            if len(set(chosen)) < len(chosen):
                raise ValueError(f"an engine can be a target only once: {list(chosen)}")
            if not chosen:
                raise ValueError("targets must name an engine")
            return chosen
        if _is_int(targets):
            return self._one(targets)
        raise TypeError(f"targets must be an int, a list of ints, a slice, 'all' or None, not {targets!r}")

    def _one(self, target: Any) -> int:
        if not _is_int(target):
            raise TypeError(f"the id of an engine is an int, not {target!r}")
        id: int = operator.index(target)
        ids = self.ids
        if id < 0 and -id <= len(ids):
            return ids[id]
        if id not in ids:
            self._link.check()
            raise IndexError(f"there is no engine {id}: {self._who()}")
        return id

    def _who(self) -> str:
        ids = self.ids
        return f"the engines are {ids}" if ids else "no engine serves now"

    # -- views ------------------------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> DirectView:
        if isinstance(key, (str, bytes)) or not (isinstance(key, (slice, Iterable)) or _is_int(key)):
            raise TypeError(f"a client is indexed by int, slice, or several ints, not {key!r}")
        return self.direct_view(key)

    def direct_view(self, targets: Any = "all") -> DirectView:
        """A view of one engine (an int), several, or ``'all'``: those that serve when a call is made."""
        chosen = self.normal(targets)
        view: DirectView = self._cached(DirectView, chosen)
        return view

    def load_balanced_view(self, targets: Any = None) -> LoadBalancedView:
        """A view whose calls go to any engine, or to any of ``targets``."""
        chosen = self.normal(targets)
        if chosen == "all":
            return self._cached(LoadBalancedView, None)  # type: ignore[no-any-return]
        if isinstance(chosen, int):
            chosen = (chosen,)
        view: LoadBalancedView = self._cached(LoadBalancedView, chosen)
        return view

    def view(self, targets: Any = None, balanced: bool | None = None) -> View:
        """A load-balanced view where ``balanced``, a direct one where not; by default balanced without ``targets``."""
        if balanced is None:
            balanced = targets is None
        return self.load_balanced_view(targets) if balanced else self.direct_view(targets)

    def _cached(self, kind: Any, targets: Any) -> Any:
        with self._caching:
            view = self._views.get((kind, targets))
            if view is None:
                if len(self._views) >= VIEWS:
                    del self._views[next(iter(self._views))]
                view = self._views[kind, targets] = kind(self, targets)
            return view

    def pool(
        self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = (), **options: Any
    ) -> Pool:
        """A :class:`~parpool.Pool` on the engines of this client's cluster; the options are Pool's.

        Of the client of a Pool: that Pool, where nothing else is asked for.
        """
        if self._owner is not None and initializer is None and not options:
            return self._owner  # type: ignore[no-any-return]
        from ..pool import Pool

        return Pool(None, initializer, initargs, client=self, **options)

    def executor(self, targets: Any = None) -> ViewExecutor:
        """A :class:`concurrent.futures.Executor` over :meth:`load_balanced_view`."""
        return self.load_balanced_view(targets).executor

    def send_apply_request(
        self,
        f: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        block: bool | None = None,
        track: bool | None = None,
        targets: Any = None,
        balanced: bool | None = None,
        after: Any = None,
        follow: Any = None,
        timeout: float | None = None,
        retries: int = 0,
        task_timeout: float | None = None,
    ) -> Any:
        """The low-level door: ``f(*args, **kwargs)`` with every option of the views as a keyword.

        ``balanced`` is True by default where no ``targets`` are given. ``after``, ``follow`` and ``timeout`` are for
        balanced calls only: ValueError otherwise.
        """
        view = self.view(targets, balanced)
        flags: dict[str, Any] = {"retries": retries, "task_timeout": task_timeout}
        ordering = {"after": after, "follow": follow, "timeout": timeout}
        if isinstance(view, LoadBalancedView):
            flags |= ordering
        elif any(value is not None for value in ordering.values()):
            raise ValueError(
                "after, follow and timeout are for load-balanced calls: leave targets away, or balanced=True"
            )
        apart = type(view)(self, view._targets)
        apart.set_flags(**flags)
        result = apart._apply(f, tuple(args), dict(kwargs or {}))
        return apart._give(result, self.block if block is None else block)

    send_apply_message = send_apply_request

    # -- calls ------------------------------------------------------------------------------------------------

    @property
    def outstanding(self) -> set[str]:
        """The names of the calls of views that have not ended."""
        ids = {*list(self._records.outstanding)}.union(*(result._tasks for result in self._records.running()))
        return {self._link.msg_id(id) for id in ids}

    @property
    def history(self) -> list[str]:
        """The names of the calls of views that are still known, in the order in which they were made."""
        return [self._link.msg_id(id) for id in self._records]

    @property
    def results(self) -> Known:
        """The values of the calls that have ended, by name. Looking one up raises what the call raised."""
        return Known(self._link, self._records, lambda result: result.get(), ended=True)

    @property
    def metadata(self) -> Known:
        """What is known of the calls, by name: as :attr:`AsyncResult.metadata`."""
        return Known(self._link, self._records, lambda result: result.metadata)

    def get_result(self, jobs: Any, owner: bool = True) -> AsyncResult:
        """The result of a call by its name (a message id), or of several; of a cluster, also other clients' calls.

        Raises KeyError for one that is not known: it was never made, or it ended long ago, or, where there is no hub,
        its value was read and let go.
        """
        mine = Jobs(self._link, self._records)
        if self.has_hub and (names := [job for job in several(jobs) if isinstance(job, str)]):
            foreign = [name for name in dict.fromkeys(names) if not mine.knows(name) or mine.let_go(name)]
            fetched: dict[Any, AsyncResult] = {result._msg_id: result for result in fetch(self._link, self, foreign)}
            found = [fetched[job] if job in fetched else mine.results(job)[0] for job in several(jobs)]
        else:
            found = mine.results(jobs)
        found = list(dict.fromkeys(found))  # all names of a map's tasks mean it
        if len(found) == 1 and (isinstance(jobs, (str, int, AsyncResult)) or isinstance(found[0], ViewMapResult)):
            return found[0]
        return JoinedResult.of(found)

    def wait(self, jobs: Any = None, timeout: float | None = None) -> bool:
        """Wait for calls: message ids, AsyncResults, or any nesting of them; by default all that are outstanding.

        True when all have ended, False when ``timeout`` seconds went by first. Raises nothing of the tasks'.
        """
        if jobs is None:
            results: list[AsyncResult] = [*self._records.outstanding.values(), *self._records.running()]
        else:
            results = Jobs(self._link, self._records).unread(jobs)
        deadline = None if timeout is None else monotonic() + timeout
        for result in results:
            result.wait(None if deadline is None else max(0.0, deadline - monotonic()))
        return all(result.ready() for result in results)

    def spin(self) -> None:
        """Take in what has arrived. Not needed: it arrives by itself."""
        self._link.tend()

    def abort(self, jobs: Any = None) -> None:
        """Take back calls that have not begun (default: all that are outstanding); they end in TaskAborted."""
        if jobs is None:
            for running in self._records.running():
                running.abort()
            self._link.abort(list(self._records.outstanding))
        else:
            for result in Jobs(self._link, self._records).results(jobs):
                result.abort()

    def close(self, keep: bool | None = None) -> None:
        """End the engines of a Pool, and what has not ended with them; leave a cluster, which goes on.

        What has not ended on the cluster is dropped as far as it has not begun; with ``keep`` it goes on, and its
        results can be had from the hub. By default as ``on_client_lost`` says. The second time it does nothing.
        """
        if self._owner is not None:
            self._owner.terminate()
        else:
            self._link.leave(keep)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        ids = self.ids
        shown = ", ".join(map(str, itertools.islice(ids, 16))) + (", ..." if len(ids) > 16 else "")
        return f"<Client: engines [{shown}]>"

    def __reduce__(self) -> Any:
        raise NotImplementedError("clients cannot be passed between processes or pickled")


def _is_int(value: object) -> bool:
    return hasattr(type(value), "__index__") and not isinstance(value, bool)  # also those of numpy
