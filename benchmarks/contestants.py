"""Who takes part: each library behind the same four verbs (apply, many, map, close), two workers each.

Libraries are imported inside the class that uses them, so this module is light and an absent library
is only noticed when it is asked for. The two that share the stdlib Pool's API, and the bare echo, are
here; everybody else is in `peers`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

WORKERS = 2


class Contestant(Protocol):
    """A library at work: opened by its constructor, ended by `close`."""

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        """One call there and back."""

    def many(self, function: Callable[..., Any], count: int) -> None:
        """Submit `count` calls, then collect every result."""

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        """The library's own map, in order, with the chunks its user would choose."""

    def close(self) -> None:
        """End every process it started."""


class PoolContestant:
    """Anything with the surface of `multiprocessing.Pool`."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.pool.apply(function, args)

    def many(self, function: Callable[..., Any], count: int) -> None:
        results = [self.pool.apply_async(function) for _ in range(count)]
        for result in results:
            result.get()

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        answer: list[Any] = self.pool.map(function, items)
        return answer

    def close(self) -> None:
        self.pool.terminate()
        self.pool.join()


def open_stdlib() -> Contestant:
    return PoolContestant(multiprocessing.get_context("fork").Pool(WORKERS))


def open_parpool() -> Contestant:
    module = importlib.import_module("parpool")
    return PoolContestant(module.Pool(WORKERS, context=multiprocessing.get_context("fork")))


class Echo:
    """The floor: one message to another process over ipc and back, both sides blocking, nothing else."""

    message = b"x" * 64

    def __init__(self) -> None:
        import zmq

        self.folder = tempfile.TemporaryDirectory(prefix="echo-")
        address = "ipc://" + str(Path(self.folder.name, "s"))
        # Forked before this process has a context: a child must not touch its parent's.
        self.process = multiprocessing.get_context("fork").Process(target=self.answer, args=(address,), daemon=True)
        self.process.start()
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.bind(address)
        self.peer = self.socket.recv_multipart()[0]

    @staticmethod
    def answer(address: str) -> None:
        import zmq

        parent = os.getppid()
        socket = zmq.Context().socket(zmq.DEALER)
        socket.connect(address)
        socket.send(b"hello")
        while os.getppid() == parent:
            socket.send(socket.recv())

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        self.socket.send_multipart((self.peer, self.message))
        self.socket.recv_multipart()

    def many(self, function: Callable[..., Any], count: int) -> None:
        raise NotImplementedError("an echo has no queue")

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        raise NotImplementedError("an echo has no map")

    def close(self) -> None:
        self.process.terminate()
        self.process.join()
        self.socket.close(0)
        self.context.term()
        self.folder.cleanup()


@dataclass(frozen=True)
class Entry:
    """What the driver knows about a library without importing it."""

    name: str
    title: str
    modules: tuple[str, ...]  # imported before the clock starts; the first one tells if it is there
    distribution: str  # whose version is reported; empty for the interpreter's own
    opener: str  # "module:callable" of its Contestant
    tasks: int = 20_000  # how many small tasks a round has
    items: int = 200_000  # how many items its map gets
    note: str = ""  # how it is used, where that is not obvious

    def installed(self) -> bool:
        return importlib.util.find_spec(self.modules[0]) is not None

    def version(self) -> str:
        if not self.distribution:
            return ""
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return "from source"

    def load(self) -> Callable[[], Contestant]:
        """Import everything, and give back what opens it."""
        for module in self.modules:
            importlib.import_module(module)
        module, name = self.opener.split(":")
        opener: Callable[[], Contestant] = getattr(importlib.import_module(module), name)
        return opener


STDLIB, SUBJECT, ECHO = "stdlib", "parpool", "echo"

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            STDLIB,
            "multiprocessing.Pool",
            ("multiprocessing", "multiprocessing.pool"),
            "",
            "contestants:open_stdlib",
        ),
        Entry(SUBJECT, "parpool.Pool", ("parpool", "parpool.pool"), "parpool", "contestants:open_parpool"),
        Entry(ECHO, "pyzmq echo", ("zmq",), "pyzmq", "contestants:Echo"),
        Entry(
            "futures",
            "concurrent.futures.ProcessPoolExecutor",
            ("concurrent.futures.process",),
            "",
            "peers:Futures",
            note="fork; `map` with the chunksize of the stdlib Pool's rule",
        ),
        Entry(
            "joblib",
            "joblib (loky)",
            ("joblib",),
            "joblib",
            "peers:Joblib",
            note="one `Parallel` kept open, its automatic batches; no handle for a single task",
        ),
        Entry(
            "mpire",
            "mpire",
            ("mpire",),
            "mpire",
            "peers:Mpire",
            note="fork, `keep_alive`, its own chunks; arrays are given as iterators, since it hands "
            "whole chunks of an array to the function otherwise",
        ),
        Entry(
            "pebble",
            "pebble",
            ("pebble",),
            "pebble",
            "peers:Pebble",
            note="fork; `map` with the chunksize of the stdlib Pool's rule",
        ),
        Entry(
            "ipyparallel",
            "ipyparallel",
            ("ipyparallel",),
            "ipyparallel",
            "peers:Ipyparallel",
            tasks=1_000,
            note="1,000 tasks; `apply` on a load-balanced view, `map` on a direct view",
        ),
        Entry(
            "dask",
            "Dask distributed",
            ("distributed",),
            "distributed",
            "peers:Dask",
            tasks=1_000,
            items=2_000,
            note="1,000 tasks; its `map` makes a task of each of 2,000 items",
        ),
        Entry(
            "ray",
            "Ray",
            ("ray", "ray.util.multiprocessing"),
            "ray",
            "peers:Ray",
            tasks=1_000,
            note="1,000 tasks; `map` is `ray.util.multiprocessing.Pool.map`",
        ),
    )
}

PEERS = tuple(name for name in ENTRIES if name not in (STDLIB, SUBJECT, ECHO))
