"""The same array to a worker and back by Ray and by Dask, where they are installed, as their manuals advise."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from arrays_tasks import WARM_UP, Row, compared, make, row, total


class Peer(NamedTuple):
    """Two ways of one array: sent and summed up there, and made there and brought here."""

    there: Callable[[Any], object]
    back: Callable[[int], object]
    how: tuple[str, str]


@contextmanager
def ray() -> Iterator[Peer]:
    module = importlib.import_module("ray")
    module.init(num_cpus=2, include_dashboard=False, configure_logging=False, log_to_driver=False)
    try:
        there, back = module.remote(total), module.remote(make)
        yield Peer(
            lambda array: module.get(there.remote(module.put(array))),
            lambda count: module.get(back.remote(count)),
            ("`ray.get(total.remote(ray.put(a)))`", "`ray.get(make.remote(n))`"),
        )
    finally:
        module.shutdown()


@contextmanager
def dask() -> Iterator[Peer]:
    module = importlib.import_module("distributed")
    with (
        module.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        module.Client(cluster) as client,
    ):
        yield Peer(
            lambda array: client.submit(total, client.scatter(array, hash=False), pure=False).result(),
            lambda count: client.submit(make, count, pure=False).result(),
            ("`submit(total, scatter(a)).result()`", "`submit(make, n).result()`"),
        )


PEERS = {"ray": ("Ray", "ray", ray), "dask": ("Dask", "distributed", dask)}


def installed() -> list[str]:
    return [name for name, (_, module, _) in PEERS.items() if importlib.util.find_spec(module)]


def rows(rounds: int, pool: Any, array: Any) -> list[Row]:
    """Each that there is, beside a Pool."""
    found = []
    for name in installed():
        title, _, opened = PEERS[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with opened() as peer:
                for way, how, ours, theirs in (
                    ("to an engine", peer.how[0], lambda: pool.apply(total, (array,)), lambda p=peer: p.there(array)),
                    ("back", peer.how[1], lambda: pool.apply(make, (array.size,)), lambda p=peer: p.back(array.size)),
                ):
                    case = f"64 MB {way}, beside {title}: {how}"
                    found.append(row(case, array.nbytes / 1e6, compared(rounds, WARM_UP, ours, theirs, WARM_UP), 1))
                    print(found[-1], flush=True)
    return found
