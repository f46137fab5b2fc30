"""The default cluster, and the decorators whose functions run on it where no view is given.

It is looked for, or started, when it is first needed: a process that only defines such functions starts nothing. It
belongs to the process: one forked from here has none, and starts its own.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import Any, overload

from .client import remote as made
from .client.balanced import LoadBalancedView
from .client.client import Client
from .client.remote import ParallelFunction, RemoteFunction
from .client.view import View
from .errors import ConnectionFileError
from .pool import Pool

Function = Callable[..., Any]

_lock = threading.Lock()
_view: LoadBalancedView | None = None  #: kept here, and with it its client
_pool: Pool | None = None  #: of engines that were started here

# The decorators --------------------------------------------------------------------------------------


@overload
def remote(view: Function, block: bool | None = None, **flags: Any) -> RemoteFunction: ...
@overload
def remote(
    view: View | None = None, block: bool | None = None, **flags: Any
) -> Callable[[Function], RemoteFunction]: ...
def remote(view: Any = None, block: bool | None = None, **flags: Any) -> Any:
    """A decorator: the function is always called on engines. See :class:`~parpool.RemoteFunction`.

    Without a view those of the default cluster, whichever is free, and a call gives the value unless ``block`` is
    False. ::

        @parpool.remote
        def f(x): ...

        @parpool.remote(block=False, retries=2)
        def g(x): ...

        @parpool.remote(view)
        def h(x): ...
    """
    if _is_function(view):
        return RemoteFunction(default_view, view, True if block is None else block, **flags)
    return made.remote(*_source(view, block), **flags)


@overload
def parallel(
    view: Function, dist: str = "b", block: bool | None = None, ordered: bool = True, **flags: Any
) -> ParallelFunction: ...
@overload
def parallel(
    view: View | None = None, dist: str = "b", block: bool | None = None, ordered: bool = True, **flags: Any
) -> Callable[[Function], ParallelFunction]: ...
def parallel(view: Any = None, dist: str = "b", block: bool | None = None, ordered: bool = True, **flags: Any) -> Any:
    """A decorator: the function is called with a part of its arguments on each engine.

    See :class:`~parpool.ParallelFunction`. It is used, and finds its engines, as :func:`remote` does.
    """
    if _is_function(view):
        return ParallelFunction(default_view, view, dist, True if block is None else block, ordered, **flags)
    source, block = _source(view, block)
    return made.parallel(source, dist, block, ordered, **flags)


def _is_function(given: object) -> bool:
    """Was the decorator used bare?"""
    return callable(given) or isinstance(given, (staticmethod, classmethod))


def _source(view: Any, block: bool | None) -> tuple[View | Callable[[], View], bool | None]:
    if view is not None and not isinstance(view, View):
        raise TypeError(f"a view or a function is needed first, not {view!r}")
    return (default_view, True if block is None else block) if view is None else (view, block)


# The cluster -----------------------------------------------------------------------------------------


def default_view() -> LoadBalancedView:
    """A load-balanced view of all engines of the default cluster, which is looked for or started when there is none."""
    global _view
    view = _view
    if view is not None and view.client.link.failure is None:
        return view
    with _lock:
        if _view is None or _view.client.link.failure is not None:
            _view = (running_client() or _embedded_client()).load_balanced_view()
        return _view


def default_client() -> Client:
    """The client of the default cluster."""
    return default_view().client


def running_client() -> Client | None:
    """The client of the cluster that ``Client()`` would connect to; None where none runs.

    Raises what keeps this process from a cluster that does run, and where it is not clear which of several is meant.
    """
    from .net.address import SeveralClusters, find, gone, read

    try:
        path = find("client")
    except SeveralClusters:
        raise
    except ConnectionFileError:
        return None
    # Also a file of another machine, from which only an attempt can tell whether it is still good.
    return None if gone(read(path, "client", gone_too=True)) else Client(path, timeout=10.0)


def _embedded_client() -> Client:
    """The client of engines that are started here, and end with the process. Under the lock."""
    global _pool
    if _pool is None:
        atexit.register(_end)
    else:
        _pool.terminate()  # it has failed, or somebody has ended it
    _pool = Pool()
    return _pool.client


def _end() -> None:
    global _view, _pool
    atexit.unregister(_end)
    pool, _view, _pool = _pool, None, None
    if pool is not None:
        pool.terminate()
        pool.join()


def _forget() -> None:
    # After a fork. What was there is the parent's; the lock may have been held by a thread that is not here.
    global _lock, _view, _pool
    _lock = threading.Lock()
    _view = _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
