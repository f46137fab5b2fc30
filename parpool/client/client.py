"""Client: what knows the engines, makes views of them, and remembers the calls of its views."""

from __future__ import annotations

import itertools
import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..errors import ConnectionFileError, NoEngines
from .balanced import LoadBalancedView
from .direct import DirectView
from .jobs import Jobs, Known
from .joined import JoinedResult
from .records import Records
from .result import AsyncResult
from .view import View
from .viewmap import ViewMapResult

if TYPE_CHECKING:
    from .contract import Link


VIEWS = 1024  #: views that a client keeps


class Client:
    """The client over the engines of a Pool (``pool.client``).

    ``rc.ids`` are the engines that serve now. Views are made by index: ``rc[0]``, ``rc[-1]``, ``rc[::2]``, ``rc[0, 2]``,
    ``rc[:]``; or by :meth:`direct_view`, :meth:`load_balanced_view` and :meth:`view`. The same view is given each time, with
    its flags as they were set. ``block`` and ``track`` are the flags that new views begin with.
    """

    def __init__(self, link: Link | None = None, owner: Any = None) -> None:
        if link is None:
            raise ConnectionFileError(
                "no cluster is running that this could connect to: the client of a Pool's engines is Pool(n).client"
            )
        self._link = link
        self._owner = owner  #: what the engines live as long as
        self._records = Records()
        self._views: dict[Any, View] = {}  #: not weakly: the flags of ``rc[0]`` must stay as they were set
        self._caching = threading.Lock()
        self.block = False
        self.track = False

    @property
    def link(self) -> Link:
        """The way to the host."""
        return self._link

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

    def executor(self, targets: Any = None) -> Any:
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
        """The result of a call by its name (a message id), or of several.

        Raises KeyError for one that is not known: it was never made by this client, or it ended long ago, or its value
        was read and let go.
        """
        found = list(dict.fromkeys(Jobs(self._link, self._records).results(jobs)))  # all names of a map's tasks mean it
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

    def result_status(self, jobs: Any) -> dict[str, list[str]]:
        """Which of these calls are ``pending``, and which ``completed``."""
        return Jobs(self._link, self._records).status(jobs)

    def purge_results(self, jobs: Any = "all") -> None:
        """Forget calls that have ended, and their values. Raises RuntimeError for one that has not."""
        records = self._records
        if isinstance(jobs, str) and jobs == "all":
            ids = [id for id in records if id not in records.outstanding and records.map_of(id) is None]
        else:
            ids = [id for result in Jobs(self._link, records).results(jobs) for id in result._ids()]
        pending = [self._link.msg_id(id) for id in ids if id in records.outstanding or _runs(records.map_of(id))]
        if pending:
            raise RuntimeError(f"these calls have not ended: {', '.join(pending)}")
        for id in ids:
            records.forget(id)

    # -- control ----------------------------------------------------------------------------------------------

    def queue_status(self, targets: Any = None, verbose: bool = False) -> dict[int | str, Any]:
        """For each engine: how many tasks it holds (``tasks``), how many wait for it alone (``queue``), and how many it
        has ``completed``; and under ``unassigned`` how many wait for any engine.

        ``verbose`` adds the process, the host's name of the engine, and the names of the tasks.
        """
        status = self._link.control.status()
        if not verbose:
            status = {
                key: {name: len(n) if isinstance(n, list) else n for name, n in value.items() if name != "pid"}
                if isinstance(value, dict)
                else value
                for key, value in status.items()
            }
        else:
            for value in status.values():
                if isinstance(value, dict):
                    for name in ("queue", "tasks"):
                        value[name] = [self._link.msg_id(id) for id in value[name]]
        if targets is None or targets == "all":
            return status
        wanted = self.normal(targets)
        if isinstance(wanted, int):
            one: dict[int | str, Any] = status[wanted]
            return one
        return {key: value for key, value in status.items() if key in wanted}

    def interrupt(self, targets: Any = None) -> None:
        """Raise KeyboardInterrupt in what the engines run now; what runs next is not touched."""
        self._link.control.interrupt(self.targets_of(self.normal(targets)))

    def clear(self, targets: Any = None, block: bool | None = True) -> Any:
        """Unbind all names of the engines' namespaces, but for those that they began with."""
        return self.direct_view(targets).clear(block=block)

    def shutdown(self, targets: Any = None, restart: bool = False, hub: bool = False) -> None:
        """Let engines end when what they hold is done; with ``restart`` others take their places.

        Without ``targets``, or with ``hub``, and without ``restart``, everything ends at once, as with
        ``pool.terminate()``: calls that have not ended end in TaskAborted.
        """
        chosen = self.normal(targets)
        if hub or (chosen == "all" and not restart):
            self.close()
            return
        if not self._link.control.shut_down(self.targets_of(chosen), restart):
            self.close()

    def close(self) -> None:
        """End the engines, and what has not ended with them. The second time it does nothing."""
        if self._owner is not None:
            self._owner.terminate()
        else:
            self._link.terminate()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        ids = self.ids
        shown = ", ".join(map(str, itertools.islice(ids, 16))) + (", ..." if len(ids) > 16 else "")
        return f"<Client: engines [{shown}]>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{id}</td><td>{n['tasks']}</td><td>{n['queue']}</td><td>{n['completed']}</td></tr>"
            for id, n in (self.queue_status() if self.ids else {}).items()
            if isinstance(n, dict)
        )
        return (
            f"<b>Client</b>: {len(self)} engines<table><tr><th>engine</th><th>holds</th><th>queued</th>"
            f"<th>completed</th></tr>{rows}</table>"
        )

    def __reduce__(self) -> Any:
        raise NotImplementedError("clients cannot be passed between processes or pickled")


def _is_int(value: object) -> bool:
    return hasattr(type(value), "__index__") and not isinstance(value, bool)  # also those of numpy


def _runs(result: AsyncResult | None) -> bool:
    return result is not None and not result.ready()
