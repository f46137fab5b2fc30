"""LoadBalancedView: calls that go to whichever engine is free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from .call import ViewResult
from .contract import Terms, separate
from .depend import named
from .mapping import Feed, map_kind, sliceable
from .result import AsyncResult
from .stream import IMapIterator
from .view import View
from .viewmap import ViewMapResult

if TYPE_CHECKING:
    from .client import Client

POLICIES = ("leastload", "lru", "plainrandom", "twobin", "weighted")


class LoadBalancedView(View):
    """Calls are tasks that the scheduler gives to the engines as they become free: to any, or to one of ``targets``.

    Beyond the flags of every view:

    - ``after``: run only when these have ended: message ids, AsyncResults, a :class:`~parpool.Dependency`, or any
      nesting of them (default None).
    - ``follow``: run only on an engine that ran these (default None).
    - ``timeout``: seconds to wait for ``after`` and ``follow``; then the task ends in
      :class:`~parpool.DependencyTimeout` (default None: as long as it takes).
    - ``policy``: which of several free engines gets a task: ``'leastload'`` (the default), ``'lru'``, ``'weighted'``,
      ``'plainrandom'`` or ``'twobin'`` (the less loaded of two drawn at random).
    """

    balanced: ClassVar[bool] = True
    _flag_names: ClassVar[tuple[str, ...]] = (*View._flag_names, "after", "follow", "timeout", "policy")

    after: Any
    follow: Any
    timeout: float | None
    policy: str | None

    def __init__(self, client: Client, targets: tuple[int, ...] | None) -> None:
        vars(self).update(after=None, follow=None, timeout=None, policy=None)
        super().__init__(client, targets)

    def _checked(self, name: str, value: Any) -> Any:
        if name == "policy" and value is not None and value not in POLICIES:
            raise ValueError(f"no policy is called {value!r}; there are {', '.join(POLICIES)}")
        if name == "timeout" and value is not None and not (isinstance(value, (int, float)) and value >= 0):
            raise ValueError(f"timeout must be None or seconds, 0 or more, not {value!r}")
        return super()._checked(name, value)

    def _renew(self) -> None:
        self._notes: dict[str, list[str]] = {}
        self._waits_for: Terms = {}
        for word in ("after", "follow"):
            names = named(vars(self)[word])
            if names is not None:
                self._waits_for[word] = self._link.dependency(*names)
                self._notes[word] = sorted(names[0])
        super()._renew()

    def _make_terms(self) -> Terms:
        terms = super()._make_terms()
        if isinstance(self._targets, tuple):
            terms["targets"] = frozenset(self._targets)
        if self.timeout is not None:
            terms["patience"] = float(self.timeout)
        if self.policy is not None:
            terms["policy"] = self.policy
        return terms

    @contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[LoadBalancedView]:
        """Other flags within a ``with``."""
        with super().temp_flags(**flags):
            yield self

    # -- calls ------------------------------------------------------------------------------------------------

    def apply_async(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncResult:
        """:meth:`apply` that gives an :class:`~parpool.AsyncResult` whatever ``block`` is."""
        link = self._link
        result = ViewResult(link, self.client, self._records)
        if self._notes:
            result._after, result._follow = self._notes.get("after", ()), self._notes.get("follow", ())
        function, payload = link.pack(f, args, kwargs, self._terms)
        link.send(result, function, payload, self._form, self._waits_for)
        link.tend()
        return result

    def _apply(self, f: Callable[..., Any], args: Any, kwargs: Any) -> AsyncResult:
        link = self._link
        function, payload = link.pack(f, args, kwargs, self._terms)
        result = ViewResult(link, self.client, self._records)
        if self._notes:
            result._after, result._follow = self._notes.get("after", ()), self._notes.get("follow", ())
        link.send(result, function, payload, self._form, self._waits_for)
        return result

    def _map(self, f: Callable[..., Any], sequences: tuple[Iterable[Any], ...], options: dict[str, Any]) -> AsyncResult:
        return self._map_of(f, sequences, **options)

    def _map_of(
        self,
        f: Callable[..., Any],
        sequences: tuple[Iterable[Any], ...],
        chunksize: int | None = None,
        ordered: bool = True,
        progress: bool | str = False,
        bound: bool | None = None,
        track: bool | None = None,
    ) -> ViewMapResult:
        from .progress import progress_bar

        items, star = _items(sequences)
        link = self._link
        link.check_open()
        function = link.function(f)
        bar = progress_bar(len(items), progress)
        result = ViewMapResult(link, self.client, function.name, ordered, bar)
        result._after, result._follow = self._notes.get("after", ()), self._notes.get("follow", ())
        self._records.add_map(result)
        terms = self._terms | self._waits_for
        # Each item ends by itself, so that an error is that of its item, unless the caller has fixed the chunks.
        kind = map_kind(star, chunksize is None or chunksize == 1 or separate(terms))
        result.begin(Feed(link, function, items, result, terms, kind, _checked_chunk(chunksize)))
        link.tend()
        return result

    def imap(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        ordered: bool = True,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool | str = False,
        **flags: Any,
    ) -> Iterator[Any]:
        """An iterator over ``f(*items)``, in the order of the items, or with ``ordered=False`` as they come.

        Items are read as engines become free. With ``buffersize`` no more than so many are read beyond those whose
        results were taken. ``progress`` shows a bar of the results that were taken. ``targets``, and any flag of the view, may
        be given by keyword for this one map.
        """
        from .progress import progress_bar

        if flags:
            view = self._aside(flags)
            if flags:
                raise TypeError(f"imap() got an unexpected keyword argument {next(iter(flags))!r}")
            bound = {"ordered": ordered, "chunksize": chunksize, "buffersize": buffersize, "progress": progress}
            return view.imap(f, *sequences, **bound)  # type: ignore[arg-type]
        _checked_chunk(chunksize)
        if not sequences:
            raise TypeError("at least one sequence is needed")
        link = self._link
        link.check_open()
        star = len(sequences) > 1
        stream: IMapIterator[Any] = IMapIterator(
            link,
            self.client,
            link.function(f),
            zip(*sequences) if star else sequences[0],  # noqa: B905
            self._terms | self._waits_for,
            ordered=ordered,
            chunk=chunksize,
            buffersize=buffersize,
            star=star,
            bar=progress_bar(_length(sequences) if progress else None, progress),
        )
        link.tend()
        if chunksize == 1:
            return stream
        return (value for values in stream for value in values)

    def __repr__(self) -> str:
        targets = self._targets
        return f"<LoadBalancedView {'[' + ','.join(map(str, targets)) + ']' if isinstance(targets, tuple) else None}>"


def _items(sequences: tuple[Iterable[Any], ...]) -> tuple[Sequence[Any], bool]:
    """The items of a map, and whether each is a tuple of arguments."""
    if not sequences:
        raise TypeError("at least one sequence is needed")
    if len(sequences) > 1:
        return list(zip(*sequences)), True  # noqa: B905 (as the builtin map: the shortest decides)
    items = sequences[0]
    if isinstance(items, list):
        return items[:], False
    return (items if sliceable(items) else list(items)), False  # type: ignore[return-value]


def _length(sequences: tuple[Iterable[Any], ...]) -> int | None:
    """How many items they make; None: that is not known."""
    lengths = [len(each) for each in sequences if isinstance(each, Sized)]
    return min(lengths) if len(lengths) == len(sequences) else None


def _checked_chunk(chunksize: int | None) -> int | None:
    if chunksize is not None and (not isinstance(chunksize, int) or chunksize < 1):
        raise ValueError(f"chunksize must be None or an int of 1 or more, not {chunksize!r}")
    return chunksize
