"""What a type checker makes of a user's script. It is checked, and not run (``tox -e types``)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parpool import (
    AsyncResult,
    Client,
    Cluster,
    LoadBalancedView,
    ParallelFunction,
    Pool,
    RemoteFunction,
    depend,
    empty_shared,
    parallel,
    register_serializer,
    remote,
    require,
    share,
)

if TYPE_CHECKING:
    from typing_extensions import assert_type


def square(x: int) -> int:
    """For the calls below."""
    return x * x


def add(a: int, b: int) -> str:
    """For the calls below."""
    return str(a + b)


def of_pools() -> None:
    """As the standard library's own are typed."""
    with Pool(4, initializer=print, initargs=(1,)) as pool:
        assert_type(pool.apply(square, (1,)), int)
        assert_type(pool.apply_async(add, (1, 2)), AsyncResult[str])
        assert_type(pool.apply_async(add, (1, 2)).get(timeout=3), str)
        assert_type(pool.map(square, range(3)), list[int])
        assert_type(pool.map(len, ["a"], 10), list[int])
        assert_type(pool.map_async(square, [1]).get(), list[int])
        assert_type(pool.starmap(add, [(1, 2)]), list[str])
        assert_type([each for each in pool.imap(square, [1])], list[int])
        assert_type(pool.imap_unordered(add, [1]).next(timeout=1), str)  # type: ignore[arg-type]
        assert_type(pool.client, Client)
        result: AsyncResult = pool.apply_async(square, (1,))
        assert_type(result.get(), Any)


class Samples:
    """Of a type of one's own."""

    def __init__(self, values: list[float]) -> None:
        self.values = values


def encode(samples: Samples) -> tuple[int, list[bytes]]:
    """What travels of it."""
    return len(samples.values), [bytes(len(samples.values))]


def decode(count: int, buffers: list[memoryview]) -> Samples:
    """And what becomes of that."""
    return Samples([float(each) for each in buffers[0][:count]])


def of_arrays(pool: Pool) -> None:
    """One memory for all, when arguments may be changed, and how other types travel."""
    with share([1, 2, 3]) as table:
        assert_type(table.shared, bool)
        table[:] = 5
    empty_shared((3, 4), "f4", order="F").unshare()
    result = pool.apply_async(square, (2,))
    assert_type(result.sent, bool)
    assert_type(result.wait_on_send(timeout=1), bool)
    register_serializer(Samples, encode, decode)
    register_serializer(Samples, decode, encode)  # type: ignore[arg-type]


def of_clusters() -> None:
    """A client, views, and what starts a cluster."""
    with Cluster(n=2, heartbeat=0.5, on_client_lost="keep") as client:
        view = client.load_balanced_view()
        assert_type(view, LoadBalancedView)
        with view.temp_flags(retries=2):
            assert_type(view.apply_async(square, 2), AsyncResult[Any])
        assert_type(client[:].apply_async(square, 2), AsyncResult[Any])
        assert_type(client.executor().submit(square, 2), Future[Any])
        with client.pool() as pool:
            assert_type(pool.map(square, [1]), list[int])
    Cluster(on_client_lost="cry")  # type: ignore[arg-type]


async def of_coroutines() -> None:
    """The same in an event loop."""
    async with Cluster() as client:
        assert_type(client, Client)
        assert_type(await Pool(client=client).apply_async(square, (1,)), int)
    assert_type(await Cluster().start_and_connect_async(), Client)


@remote
def bare(x: int) -> int:
    """By :func:`~parpool.remote`."""
    return x


@remote(block=False, retries=2)
def called(x: int) -> int:
    """By :func:`~parpool.remote`, with flags."""
    return x


@parallel(dist="r")
def dealt(x: list[int]) -> list[int]:
    """By :func:`~parpool.parallel`."""
    return x


@require("json")
@depend(square, 2)
def choosy(x: int) -> str:
    """By both."""
    return str(x)


def of_decorators() -> None:
    """What they make."""
    assert_type(bare, RemoteFunction)
    assert_type(called, RemoteFunction)
    assert_type(dealt, ParallelFunction)
    assert_type(choosy(1), str)
