"""Views: a client's choice of engines, and the flags of the calls that go there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..wire.messages import VIEW
from .contract import Terms, terms_of
from .result import AsyncResult

if TYPE_CHECKING:
    from .client import Client
    from .contract import Link
    from .executor import ViewExecutor
    from .records import Records
    from .remote import ParallelFunction, RemoteFunction

V = TypeVar("V", bound="View")

Jobs = Any  #: message ids, AsyncResults, or any nesting of collections of them


class View:
    """What DirectView and LoadBalancedView have in common.

    Flags are attributes, and the defaults of every call; :meth:`set_flags` and :meth:`temp_flags` change several:

    - ``block``: wait for the value (default False: a call gives its :class:`~parpool.AsyncResult`).
    - ``track``: taken, and not needed: every result tells when the arguments may be changed (``result.sent``).
    - ``retries``: how often a task whose engine died may run again (default 0).
    - ``task_timeout``: seconds that a task may run (default None: any).

    ``targets`` and ``balanced`` are what makes a view this one, and cannot be changed.
    """

    balanced: ClassVar[bool]
    _flag_names: ClassVar[tuple[str, ...]] = ("block", "track", "retries", "task_timeout")

    block: bool
    track: bool
    retries: int
    task_timeout: float | None

    def __init__(self, client: Client, targets: int | tuple[int, ...] | str | None) -> None:
        vars(self).update(client=client, _targets=targets, _link=client.link, _records=client._records)
        vars(self).update(block=client.block, track=client.track, retries=0, task_timeout=None)
        self._renew()

    client: Client
    _link: Link
    _records: Records
    _targets: int | tuple[int, ...] | str | None

    # -- flags ------------------------------------------------------------------------------------------------

    @property
    def targets(self) -> Any:
        """The engines of this view: an id, a list of ids, ``'all'``, or None (any engine)."""
        return list(self._targets) if isinstance(self._targets, tuple) else self._targets

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("targets", "balanced", "client"):
            raise AttributeError(f"{name} of a view cannot be changed: make another view of the client")
        if name in self._flag_names:
            self.set_flags(**{name: value})
        elif name.startswith("_"):
            vars(self)[name] = value
        else:
            raise AttributeError(f"{type(self).__name__} has no flag {name!r}; there are {', '.join(self._flag_names)}")

    def set_flags(self, **flags: Any) -> None:
        """Change several flags at once. Raises TypeError for a name that is none, ValueError for a wrong value."""
        unknown = [name for name in flags if name not in self._flag_names]
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no flag {unknown[0]!r}; there are {', '.join(self._flag_names)}"
            )
        before = {name: vars(self)[name] for name in flags}
        vars(self).update({name: self._checked(name, value) for name, value in flags.items()})
        try:
            self._renew()
        except BaseException:
            vars(self).update(before)
            raise

    @contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[View]:
        """Other flags within a ``with``."""
        before = {name: vars(self)[name] for name in flags if name in self._flag_names}
        self.set_flags(**flags)
        try:
            yield self
        finally:
            self.set_flags(**before)

    def _checked(self, name: str, value: Any) -> Any:
        if name in ("block", "track") and not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, not {value!r}")
        return value

    def _renew(self) -> None:
        """The flags have changed: make the terms of the calls anew."""
        self._terms: Terms = self._make_terms()
        self._form = self._link.form(self._terms)

    def _make_terms(self) -> Terms:
        return {"kind": VIEW, "remembered": True} | terms_of(self.retries, self.task_timeout)

    # -- calls ------------------------------------------------------------------------------------------------

    def apply(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """``f(*args, **kwargs)`` on the view's engines: its value with ``block``, else its AsyncResult.

        All options are the view's flags, so that every keyword is the function's own.
        """
        return self._give(self._apply(f, args, kwargs), self.block)

    def apply_async(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncResult:
        """:meth:`apply` that gives an :class:`~parpool.AsyncResult` whatever ``block`` is."""
        result = self._apply(f, args, kwargs)
        self._link.tend()
        return result

    def apply_sync(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """:meth:`apply` that waits for the value whatever ``block`` is."""
        return self._apply(f, args, kwargs).get()

    def _apply(self, f: Callable[..., Any], args: Any, kwargs: Any) -> AsyncResult:
        raise NotImplementedError

    def _give(self, result: AsyncResult, block: bool) -> Any:
        if block:
            return result.get()
        self._link.tend()
        return result

    def map(
        self, f: Callable[..., Any], /, *sequences: Iterable[Any], block: bool | None = None, **options: Any
    ) -> Any:
        """``list(map(f, *sequences))`` on the view's engines: the list with ``block``, else its AsyncResult.

        ``targets``, and any flag of the view, may be given by keyword for this one map.
        """
        view = self._aside(options)
        return self._give(view._map(f, sequences, options), self.block if block is None else block)

    def map_async(self, f: Callable[..., Any], /, *sequences: Iterable[Any], **options: Any) -> AsyncResult:
        """:meth:`map` that gives an :class:`~parpool.AsyncResult` whatever ``block`` is."""
        result: AsyncResult = self.map(f, *sequences, block=False, **options)
        return result

    def map_sync(self, f: Callable[..., Any], /, *sequences: Iterable[Any], **options: Any) -> Any:
        """:meth:`map` that waits for the list whatever ``block`` is."""
        return self.map(f, *sequences, block=True, **options)

    def _aside(self: V, options: dict[str, Any]) -> V:
        """This view, or one with the targets and flags that ``options`` have: they are taken out of there."""
        flags = {name: options.pop(name) for name in self._flag_names[2:] if name in options}  # not block and track
        targets = options.pop("targets", None)
        if not flags and targets is None:
            return self
        chosen = self._targets if targets is None else self.client.view(targets, self.balanced)._targets
        view: V = type(self)(self.client, chosen)
        view.set_flags(**{name: vars(self)[name] for name in self._flag_names} | flags)
        return view

    def _map(self, f: Callable[..., Any], sequences: tuple[Iterable[Any], ...], options: dict[str, Any]) -> AsyncResult:
        raise NotImplementedError

    def reduce(self, f: Callable[[Any, Any], Any], sequence: Iterable[Any], *initial: Any) -> Any:
        """``functools.reduce(f, sequence)`` for an associative ``f``: each engine reduces a part, then the values."""
        import functools

        from .partition import distribution

        items = list(sequence)
        parts = [part for part in distribution("b").cut(items, max(1, len(self.client.ids))) if part]
        return functools.reduce(f, self.map_sync(functools.partial(functools.reduce, f), parts), *initial)

    def remote(self, block: bool | None = None, **flags: Any) -> Callable[[Callable[..., Any]], RemoteFunction]:
        """A decorator: the function is always called on this view's engines. See :class:`~parpool.RemoteFunction`."""
        from .remote import remote

        return remote(self, block=block, **flags)

    def parallel(
        self, dist: str = "b", block: bool | None = None, ordered: bool = True, **flags: Any
    ) -> Callable[[Callable[..., Any]], ParallelFunction]:
        """A decorator: the function is called with a part of its arguments on each engine.

        See :class:`~parpool.ParallelFunction`.
        """
        from .remote import parallel

        return parallel(self, dist=dist, block=block, ordered=ordered, **flags)

    @property
    def executor(self) -> ViewExecutor:
        """A :class:`concurrent.futures.Executor` whose calls go to this view's engines."""
        from .executor import ViewExecutor

        return ViewExecutor(self)

    # -- what the client does, too ----------------------------------------------------------------------------

    def wait(self, jobs: Jobs = None, timeout: float | None = None) -> bool:
        """:meth:`Client.wait <parpool.Client.wait>`."""
        return self.client.wait(jobs, timeout)

    def spin(self) -> None:
        """:meth:`Client.spin <parpool.Client.spin>`."""
        self.client.spin()

    def abort(self, jobs: Jobs = None) -> None:
        """:meth:`Client.abort <parpool.Client.abort>`."""
        self.client.abort(jobs)

    def get_result(self, jobs: Jobs) -> AsyncResult:
        """:meth:`Client.get_result <parpool.Client.get_result>`."""
        return self.client.get_result(jobs)

    def purge_results(self, jobs: Jobs = "all") -> None:
        """:meth:`Client.purge_results <parpool.Client.purge_results>`."""
        self.client.purge_results(jobs)

    def queue_status(self, targets: Any = None, verbose: bool = False) -> dict[int | str, Any]:
        """:meth:`Client.queue_status <parpool.Client.queue_status>` of this view's engines."""
        return self.client.queue_status(self._those(targets), verbose)

    def shutdown(self, targets: Any = None, restart: bool = False, hub: bool = False) -> None:
        """:meth:`Client.shutdown <parpool.Client.shutdown>` of this view's engines."""
        self.client.shutdown(self._those(targets), restart, hub)

    @property
    def outstanding(self) -> set[str]:
        """The names of the client's calls that have not ended."""
        return self.client.outstanding

    @property
    def history(self) -> list[str]:
        """The names of the client's calls, in the order in which they were made."""
        return self.client.history

    @property
    def results(self) -> Any:
        """The values of the client's calls that have ended, by name."""
        return self.client.results

    @property
    def metadata(self) -> Any:
        """What is known of the client's calls, by name."""
        return self.client.metadata

    def _those(self, targets: Any) -> Any:
        return self.targets if targets is None else targets

    def _repr_html_(self) -> str:
        from .notebook import view_html

        return view_html(self)

    def __reduce__(self) -> Any:
        raise NotImplementedError("views cannot be passed between processes or pickled")
