"""Functions that always run on engines: what the decorators ``remote`` and ``parallel`` make.

Each is called as the function that it wraps. What travels to the engines is that function: by name where it can be
imported there, else by value. On an engine one that came along (as an argument, in a module, or in code that refers to
it) calls its function right there, so a function may call itself without leaving the engine.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from types import FunctionType, MethodType
from typing import Any, TypeAlias

from ..wire import reference
from ..wire.failure import safe_repr
from ..wire.functions import Function
from .balanced import LoadBalancedView
from .call import ViewResult
from .contract import Terms
from .depend import _importable
from .parallel import ParallelResult
from .partition import Blocks, Distribution, distribution
from .view import View

#: A view, or what gives one when a function is called.
Source: TypeAlias = "View | Callable[[], View]"


def remote(view: Source, block: bool | None = None, **flags: Any) -> Callable[[Callable[..., Any]], RemoteFunction]:
    """A decorator: the function is always called on the engines of ``view``. See :class:`RemoteFunction`."""
    _check(view, block, flags, "remote")

    def decorate(function: Callable[..., Any]) -> RemoteFunction:
        return RemoteFunction(view, function, block, **flags)

    return decorate


def parallel(
    view: Source, dist: str = "b", block: bool | None = None, ordered: bool = True, **flags: Any
) -> Callable[[Callable[..., Any]], ParallelFunction]:
    """A decorator: the function is called with a part of its arguments on each engine. See :class:`ParallelFunction`."""
    chunksize = flags.pop("chunksize", None)
    _check(view, block, flags, "parallel")
    _check_cutting(view, dist, ordered, chunksize)

    def decorate(function: Callable[..., Any]) -> ParallelFunction:
        return ParallelFunction(view, function, dist, block, ordered, chunksize, **flags)

    return decorate


class RemoteFunction:
    """A function that is always called on the engines of a view.

    ``view`` is a view, or a function that gives one at each call; with None calls run here. ``block``: does a call give
    the value, or its :class:`~parpool.AsyncResult`? By default as the view has it. ``flags`` are flags of the view
    (``retries``, ``task_timeout``, ``after`` and so on) for these calls only. ``local`` is the function itself, to be
    called here.

    It keeps name, docstring and signature, and can be a method: the object then travels as the first argument. It
    pickles by name where it can be imported, else by value; what is unpickled in another process calls the function
    there.
    """

    view: Source | None
    block: bool | None
    flags: dict[str, Any]
    __wrapped__: Callable[..., Any]
    _process: int  #: the process that it was made in
    _special: tuple[View, Terms, View] | None  #: of a view and its flags: that view with our flags in the place of some
    __self__: Any  #: of a bound method: the object
    _unbound: RemoteFunction

    #: Attributes that are not the user's.
    _ours = frozenset(("view", "block", "flags", "__wrapped__", "_process", "_special", "_unbound"))
    _options: tuple[str, ...] = ()  #: attributes that travel by value, too

    def __init__(
        self, view: Source | None, function: Callable[..., Any], block: bool | None = None, **flags: Any
    ) -> None:
        _check(view, block, flags, "remote")
        self._adopt(view, function, block, flags)

    def _adopt(self, view: Source | None, function: Any, block: bool | None, flags: dict[str, Any]) -> None:
        if isinstance(function, (staticmethod, classmethod)):
            raise TypeError(f"put @{type(function).__name__} above this decorator, not below")
        if not callable(function):
            raise TypeError(f"only what can be called can be decorated, and {safe_repr(function)} cannot")
        # The attributes of a class, or of an object that is called, are its own.
        updated = functools.WRAPPER_UPDATES if isinstance(function, FunctionType) else ()
        functools.update_wrapper(self, function, updated=updated)
        self.view, self.block, self.flags = view, block, flags
        self._process = os.getpid()
        self._special = None
        self._unbound = self
        if isinstance(view, View):
            self._choose()  # whatever is wrong with the flags is told here

    # -- calls ------------------------------------------------------------------------------------------------

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function on the view's engines."""
        if self._stays():
            return self.__wrapped__(*args, **kwargs)
        return self._call(args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        view = self._choose()
        return view._give(view._apply(self._travelling(), (*self._first(), *args), kwargs), self._blocks(view))

    @property
    def local(self) -> Callable[..., Any]:
        """The function itself, which runs here."""
        return self.__wrapped__

    def _stays(self) -> bool:
        """Is the function to be called in this process?"""
        if self.view is None:
            return True
        if reference.resolve_hook is None:
            return False
        # On an engine: only the views that its own code has made are of use.
        return self._process != os.getpid() or not isinstance(self.view, View)

    def _choose(self) -> View:
        """The view with the flags of the calls. It may be shared, so that its own flags are not touched."""
        source = self.view
        unbound: RemoteFunction = self._unbound  # (typed anew: the checker takes it for a method)
        assert source is not None
        view = source if isinstance(source, View) else source()
        if not self.flags:
            return view
        special, terms = unbound._special, view._terms
        if special is None or special[0] is not view or special[1] is not terms:
            flags = {name: vars(view)[name] for name in view._flag_names}
            with_ours: View = type(view)(view.client, view._targets)
            with_ours.set_flags(**flags | self.flags)
            special = unbound._special = view, terms, with_ours
        return special[2]

    def _blocks(self, view: View) -> bool:
        return view.block if self.block is None else self.block

    def _travelling(self) -> Callable[..., Any]:
        """What engines are to call: this by its name, where they can import it; else the function, by value."""
        unbound: RemoteFunction = self._unbound
        return unbound if _importable(unbound) else unbound.__wrapped__

    def _first(self) -> tuple[Any, ...]:
        return () if self._unbound is self else (self.__self__,)

    # -- as a function is -------------------------------------------------------------------------------------

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None or self._unbound is not self:
            return self
        bound = object.__new__(type(self))
        vars(bound).update(vars(self), __self__=instance, __wrapped__=MethodType(self.__wrapped__, instance))
        return bound

    def __repr__(self) -> str:
        view = self.view
        where = "" if view is None else f" on {view!r}" if isinstance(view, View) else " on the default cluster"
        name = getattr(self, "__qualname__", None)
        return f"<{type(self).__name__} {name if isinstance(name, str) else safe_repr(self.__wrapped__, 60)}{where}>"

    def __copy__(self) -> RemoteFunction:
        return self

    def __deepcopy__(self, memo: object) -> RemoteFunction:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._unbound is not self:
            return getattr, (self.__self__, vars(self)["__name__"])
        if _importable(self):
            return vars(self)["__qualname__"]
        function = self.__wrapped__
        theirs = {
            name: value
            for name, value in vars(self).items()
            if name not in self._ours and name not in self._options and getattr(function, name, None) is not value
        }
        options = {name: vars(self)[name] for name in self._options}
        # Two steps, as the function may refer to itself. The view stays: it is of no use elsewhere.
        return _begin, (type(self),), (function, options, theirs)

    def __setstate__(self, state: tuple[Any, dict[str, Any], dict[str, Any]]) -> None:
        function, options, theirs = state
        self._adopt(None, function, None, {})
        vars(self).update(options)
        vars(self).update(theirs)


class ParallelFunction(RemoteFunction):
    """A function that is called with a part of its arguments on each engine of a view.

    A call cuts every positional argument into parts, one for each engine; all of them must be sequences of one length
    (arrays are cut along their first axis). Keyword arguments go whole to every engine. What the calls give is joined
    to one whole, as :meth:`DirectView.gather <parpool.DirectView.gather>` would. ``dist`` is ``'b'`` (contiguous
    blocks) or ``'r'`` (the items are dealt out like cards). :meth:`map` calls the function for each item instead.

    On a load-balanced view the parts are tasks, one for each engine or, with ``chunksize``, of so many items each.
    ``ordered=False``: iteration over a result gives its items as they come. The rest is as
    :class:`RemoteFunction` has it.
    """

    dist: str
    ordered: bool
    chunksize: int | None

    _options = ("dist", "ordered", "chunksize")

    def __init__(
        self,
        view: Source | None,
        function: Callable[..., Any],
        dist: str = "b",
        block: bool | None = None,
        ordered: bool = True,
        chunksize: int | None = None,
        **flags: Any,
    ) -> None:
        _check(view, block, flags, "parallel")
        _check_cutting(view, dist, ordered, chunksize)
        self._adopt(view, function, block, flags)
        self.dist, self.ordered, self.chunksize = dist, ordered, chunksize

    def map(self, *sequences: Iterable[Any]) -> Any:
        """``list(map(function, *sequences))``: the function is called for each item, on the view's engines."""
        if self._stays():
            return list(map(self.__wrapped__, *sequences))
        view, function = self._choose(), self._travelling()
        if self._unbound is not self:
            function = functools.partial(function, self.__self__)
        options = {"ordered": self.ordered, "chunksize": self.chunksize} if view.balanced else {"dist": self.dist}
        return view.map(function, *sequences, block=self._blocks(view), **options)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        view = self._choose()
        sequences = self._sequences(args)
        targets, rule = self._tasks(view, len(sequences[0]))
        parts = rule.cut_together(sequences, len(targets), strict=True)
        link, first = view._link, self._first()
        function = link.function(self._travelling())
        calls = [link.pack(function, (*first, *part), kwargs, view._terms) for part in parts]
        results = [ViewResult(link, view.client, view._records) for _ in calls]
        text = any(isinstance(sequence, (str, bytes)) for sequence in sequences)
        whole = ParallelResult(link, view.client, results, rule, text, self.ordered)
        whole._name = function.name
        for result, (_, payload), target in zip(results, calls, targets, strict=True):
            whole.take(result)
            result._method = whole._method
            send_part(view, result, function, payload, target)
        return view._give(whole, self._blocks(view))

    def _tasks(self, view: View, items: int) -> tuple[Sequence[int | None], Distribution]:
        """The engine for each part (None: any), and the rule by which so many items are cut."""
        rule = distribution(self.dist)
        if not view.balanced:
            # Engines that nothing is left for are not called; where there is no item at all, one is.
            return view.client.targets_of(view._targets)[: max(items, 1)], rule
        if self.chunksize is None:
            targets = view._targets
            n = min(len(targets) if isinstance(targets, tuple) else len(view.client.ids), items)
        else:
            n = -(-items // self.chunksize)
            rule = _Chunks(self.chunksize) if rule.name == Blocks.name else rule
        return [None] * max(n, 1), rule

    def _sequences(self, args: tuple[Any, ...]) -> list[Any]:
        name = getattr(self, "__name__", "the function")
        if not args:
            raise TypeError(f"{name} needs at least one sequence, a part of which goes to each engine")
        for number, arg in enumerate(args, 1):
            if not _can_be_cut(arg):
                raise ValueError(
                    f"argument {number} of {name} is no sequence that could be cut into parts: {safe_repr(arg, 60)} "
                    "(what every call is to have whole goes by keyword)"
                )
        return [arg if hasattr(arg, "__len__") else list(arg) for arg in args]


def send_part(
    view: Any, result: ViewResult, function: Function, payload: bytes, target: int | None, kind: int = 0
) -> None:
    """Submit a call of a view's, to one of its engines or (None) to any."""
    link = view._link
    if target is not None:
        link.send(result, function, payload, view._form_for(target, kind))
        return
    if view._notes:
        result._after, result._follow = view._notes.get("after", ()), view._notes.get("follow", ())
    form = view._form if not kind else link.form(view._terms | {"kind": view._terms["kind"] | kind})
    link.send(result, function, payload, form, view._waits_for)


class _Chunks(Blocks):
    """Contiguous blocks of one length, but for the last."""

    def __init__(self, length: int) -> None:
        self._length = length

    def slices(self, total: int, n: int) -> list[slice]:
        """The ``n`` slices that cut ``total`` items into parts."""
        return [slice(part * self._length, (part + 1) * self._length) for part in range(n)]


def _begin(kind: type[RemoteFunction]) -> RemoteFunction:
    """An empty one, to be filled."""
    return kind.__new__(kind)


def _check(view: object, block: object, flags: dict[str, Any], name: str) -> None:
    if view is not None and not isinstance(view, View) and not callable(view):
        raise TypeError(f"a view is needed, not {safe_repr(view, 60)}")
    if block is not None and not isinstance(block, bool):
        hint = f" (did @view.{name} lack its parentheses?)" if callable(block) else ""
        raise TypeError(f"block must be True, False or None, not {safe_repr(block, 60)}{hint}")
    flags.pop("bound", None)  # functions always see the engine's namespace
    known = view._flag_names if isinstance(view, View) else LoadBalancedView._flag_names
    for flag in flags:
        if flag not in known or flag == "block":
            raise TypeError(f"there is no flag {flag!r} for remote functions; there are {', '.join(known[1:])}")


def _check_cutting(view: object, dist: str, ordered: object, chunksize: object) -> None:
    distribution(dist)
    if not isinstance(ordered, bool):
        raise TypeError(f"ordered must be True or False, not {safe_repr(ordered, 60)}")
    if chunksize is None:
        return
    if not isinstance(chunksize, int) or chunksize < 1:
        raise ValueError(f"chunksize must be None or an int of 1 or more, not {safe_repr(chunksize, 60)}")
    if isinstance(view, View) and not view.balanced:
        raise ValueError("chunksize is for load-balanced views: a direct view has one part for each engine")


def _can_be_cut(arg: Any) -> bool:
    if isinstance(arg, (Mapping, Set)) or getattr(arg, "ndim", 1) == 0:
        return False
    return isinstance(arg, Iterable) or (hasattr(arg, "__len__") and hasattr(arg, "__getitem__"))
