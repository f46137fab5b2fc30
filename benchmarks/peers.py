"""The other libraries, each used as its own manual advises for two worker processes on one machine."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from contestants import WORKERS


def chunksize(items: Any) -> int:
    """The rule of `multiprocessing.Pool`: about four chunks a worker."""
    return max(1, -(-len(items) // (WORKERS * 4)))


class Futures:
    def __init__(self) -> None:
        from concurrent.futures import ProcessPoolExecutor

        fork = multiprocessing.get_context("fork")
        self.executor = ProcessPoolExecutor(WORKERS, mp_context=fork)

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.executor.submit(function, *args).result()

    def many(self, function: Callable[..., Any], count: int) -> None:
        futures = [self.executor.submit(function) for _ in range(count)]
        for future in futures:
            future.result()

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        return list(self.executor.map(function, items, chunksize=chunksize(items)))

    def close(self) -> None:
        self.executor.shutdown(cancel_futures=True)


class Joblib:
    def __init__(self) -> None:
        self.joblib = importlib.import_module("joblib")
        self.parallel = self.joblib.Parallel(n_jobs=WORKERS, backend="loky")
        self.parallel.__enter__()

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.parallel([self.joblib.delayed(function)(*args)])[0]

    def many(self, function: Callable[..., Any], count: int) -> None:
        call = self.joblib.delayed(function)
        self.parallel(call() for _ in range(count))

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        call = self.joblib.delayed(function)
        answer: list[Any] = self.parallel(call(item) for item in items)
        return answer

    def close(self) -> None:
        self.parallel.__exit__(None, None, None)
        loky = importlib.import_module("joblib.externals.loky")
        loky.get_reusable_executor().shutdown(kill_workers=True)


class Mpire:
    def __init__(self) -> None:
        mpire = importlib.import_module("mpire")
        self.pool = mpire.WorkerPool(WORKERS, start_method="fork", keep_alive=True)

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.apply(function, args)

    def many(self, function: Callable[..., Any], count: int) -> None:
        results = [self.pool.apply_async(function) for _ in range(count)]
        for result in results:
            result.get()

    def map(self, function: Callable[..., Any], items: Any) -> list[Any]:
        # Given an array itself it calls the function once for each chunk, not for each item.
        answer: list[Any] = self.pool.map(function, iter(items), iterable_len=len(items))
        return answer

    def close(self) -> None:
        self.pool.terminate()


class Pebble:
    def __init__(self) -> None:
        pebble = importlib.import_module("pebble")
        fork = multiprocessing.get_context("fork")
        self.pool = pebble.ProcessPool(max_workers=WORKERS, context=fork)

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.schedule(function, args=args).result()

    def many(self, function: Callable[..., Any], count: int) -> None:
        futures = [self.pool.schedule(function) for _ in range(count)]
        for future in futures:
            future.result()

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        return list(self.pool.map(function, items, chunksize=chunksize(items)).result())

    def close(self) -> None:
        self.pool.stop()
        self.pool.join()


class Ipyparallel:
    def __init__(self) -> None:
        ipyparallel = importlib.import_module("ipyparallel")
        self.cluster = ipyparallel.Cluster(n=WORKERS)
        self.client = self.cluster.start_and_connect_sync()
        self.balanced = self.client.load_balanced_view()
        self.direct = self.client[:]

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.balanced.apply_sync(function, *args)

    def many(self, function: Callable[..., Any], count: int) -> None:
        results = [self.balanced.apply_async(function) for _ in range(count)]
        for result in results:
            result.get()

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        return list(self.direct.map_sync(function, items))

    def close(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()


class Dask:
    def __init__(self) -> None:
        distributed = importlib.import_module("distributed")
        self.cluster = distributed.LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self.client = distributed.Client(self.cluster)

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.client.submit(function, *args, pure=False).result()

    def many(self, function: Callable[..., Any], count: int) -> None:
        futures = [self.client.submit(function, pure=False) for _ in range(count)]
        self.client.gather(futures)

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        answer: list[Any] = self.client.gather(self.client.map(function, items, pure=False))
        return answer

    def close(self) -> None:
        self.client.close()
        self.cluster.close()


class Ray:
    def __init__(self) -> None:
        self.ray = importlib.import_module("ray")
        # The child's working folder is its own and is removed after it.
        self.ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            configure_logging=False,
            _temp_dir=str(Path.cwd() / "ray"),
        )
        self.remote: dict[Callable[..., Any], Any] = {}
        self.pool: Any = None

    def call(self, function: Callable[..., Any]) -> Any:
        if function not in self.remote:
            self.remote[function] = self.ray.remote(function)
        return self.remote[function].remote

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.ray.get(self.call(function)(*args))

    def many(self, function: Callable[..., Any], count: int) -> None:
        call = self.call(function)
        self.ray.get([call() for _ in range(count)])

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        # Made late: its actors take the processors that plain tasks would need.
        if self.pool is None:
            self.pool = importlib.import_module("ray.util.multiprocessing").Pool(WORKERS)
        answer: list[Any] = self.pool.map(function, items)
        return answer

    def close(self) -> None:
        if self.pool is not None:
            self.pool.terminate()
        self.ray.shutdown()
