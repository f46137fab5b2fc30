"""Pools on the engines of a cluster: each has a connection of its own, whose end is the end of its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import TaskAborted

if TYPE_CHECKING:
    from .client import Client
    from .standalone import RemoteLink


def check_cluster_pool(
    processes: object, maxtasksperchild: object, context: object, ipython: object, threads: object
) -> None:
    """Raise ValueError for what is of engines that a pool starts itself."""
    given = {"processes": processes, "maxtasksperchild": maxtasksperchild, "context": context, "ipython": ipython}
    for name, value in {**given, "threads_per_engine": threads}.items():
        if value is not None:
            raise ValueError(f"{name} is of engines that a pool starts: with client= it works on those of a cluster")


def cluster_link(
    client: Client, initializer: Callable[..., object] | None, initargs: tuple[Any, ...], serializer: str | None
) -> RemoteLink:
    """A connection for a pool to the cluster of ``client``. Raises ValueError for a client that has none."""
    from .standalone import RemoteLink

    link = client.link
    if not isinstance(link, RemoteLink):
        raise ValueError("client= must be the Client of a cluster; that of a Pool has the Pool itself")
    link.check()
    own = RemoteLink(
        link.connection,
        patience=link.patience,
        serializer=serializer or link.serializer,
        ending=TaskAborted("the pool was terminated"),
    )
    if initializer is not None:
        try:
            own.greet(initializer, initargs)
        except BaseException:
            own.terminate()
            raise
    return own
