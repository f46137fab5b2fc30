"""What `cluster.py` measures, on ipyparallel and on Dask, where they are installed.

    python benchmarks/cluster_peers.py                     both, those that are there
    python benchmarks/cluster_peers.py --quick             fewer calls and rounds
    python benchmarks/cluster_peers.py --peers dask        one of them

Scheduler, workers and clients are processes of their own, as there. Neither takes up its work again when its scheduler
was killed, so there is no row for that; and light engines would have to speak their protocols.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import machine
import workload
from cluster_processes import HERE, PATIENCE, TICK, Children, answer, commands, rss
from contestants import Echo


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int
    calls: int  #: one by one, in a round
    tasks: int
    queued: int


FULL = Size(rounds=5, calls=100, tasks=2_000, queued=10_000)
QUICK = Size(rounds=1, calls=20, tasks=200, queued=1_000)


class Peer(Protocol):
    """A cluster of somebody else's: begun by its constructor, with all its workers there."""

    address: str  #: by which clients find it

    def apply(self) -> None:
        """One call there and back."""

    def many(self, count: int) -> None:
        """Submit so many, and collect what comes of them."""

    def rss(self) -> int:
        """Bytes of memory that the scheduler has."""

    def queue(self, count: int) -> None:
        """Submit calls that wait, as all workers are busy for long."""

    def close(self) -> None:
        """End every process."""


def collect_ipyparallel(client: Any, count: int) -> None:
    view = client.load_balanced_view()
    for result in [view.apply_async(workload.noop) for _ in range(count)]:
        result.get()


def collect_dask(client: Any, count: int) -> None:
    client.gather([client.submit(workload.noop, pure=False) for _ in range(count)])


class Ipyparallel:
    """By its own Cluster, which starts a controller and engines by their commands."""

    def __init__(self, engines: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cluster-")
        os.environ["IPYTHONDIR"] = self._folder.name
        import ipyparallel

        self._cluster = ipyparallel.Cluster(n=engines, log_level=40)
        self.client = self._cluster.start_and_connect_sync()
        self.address = str(next(Path(self._folder.name).rglob("*-client.json")))
        self._view = self.client.load_balanced_view()

    def apply(self) -> None:
        self._view.apply_sync(workload.noop)

    def many(self, count: int) -> None:
        collect_ipyparallel(self.client, count)

    def rss(self) -> int:
        return sum(map(rss, family(self._cluster.controller.pid)))

    def queue(self, count: int) -> None:
        for _ in self.client.ids:
            self._view.apply_async(workload.sleep, 600)
        for number in range(count):
            self._view.apply_async(workload.identity, number)
        # What it has sent is read in the background: it is there when the queue has it.
        while self.client.queue_status()["unassigned"] < count:
            time.sleep(0.1)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.client.close()
        self._cluster.stop_cluster_sync()
        self._folder.cleanup()


class Dask:
    """By its commands: a scheduler, and workers of one thread."""

    def __init__(self, engines: int) -> None:
        import distributed

        self._folder = tempfile.TemporaryDirectory(prefix="cluster-")
        file = str(Path(self._folder.name, "scheduler.json"))
        common = ["--no-dashboard", "--scheduler-file", file]
        scheduler = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", *common]
        worker = [sys.executable, "-m", "dask", "worker", "--nthreads", "1", "--no-nanny", *common]
        worker += ["--local-directory", self._folder.name]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._processes = [subprocess.Popen(scheduler, **quiet)]
        deadline = time.monotonic() + PATIENCE
        while not Path(file).exists() and time.monotonic() < deadline:
            time.sleep(TICK)
        self._processes += [subprocess.Popen(worker, **quiet) for _ in range(engines)]
        self.client = distributed.Client(scheduler_file=file)
        self.client.wait_for_workers(engines, timeout=PATIENCE)
        self._engines = engines
        self.address = file
        self._kept: list[Any] = []

    def apply(self) -> None:
        self.client.submit(workload.noop, pure=False).result()

    def many(self, count: int) -> None:
        collect_dask(self.client, count)

    def rss(self) -> int:
        return rss(self._processes[0].pid)

    def queue(self, count: int) -> None:
        self._kept += [self.client.submit(workload.sleep, 600, pure=False) for _ in range(self._engines)]
        self._kept += self.client.map(workload.identity, range(count), pure=False)
        while len(self.client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))) < count:
            time.sleep(0.1)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.client.close(timeout=5)
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._folder.cleanup()


#: By name: its package, how its cluster is begun, and what a client of it in another process does.
PEERS: dict[str, tuple[str, Callable[[int], Peer], Callable[[Any, int], None]]] = {
    "ipyparallel": ("ipyparallel", Ipyparallel, collect_ipyparallel),
    "dask": ("distributed", Dask, collect_dask),
}


def family(pid: int) -> list[int]:
    """A process and all that it, and they, have started."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for each in found:  # which grows
        found += parents.get(each, [])
    return found


def rows_of(name: str, size: Size) -> list[tuple[str, str]]:
    """The cases, and what they came to."""
    package, begin, _ = PEERS[name]
    title = f"{package} {importlib.metadata.version(package)}"
    rows: list[tuple[str, str]] = []

    def row(case: str, shown: str) -> None:
        rows.append((f"{title}: {case}", shown))
        print(f"{title}: {case}: {shown}", file=sys.stderr, flush=True)

    echo = Echo()  # it forks: before there are threads
    try:
        taken = []
        for _ in range(min(size.rounds, 3)):
            begun = time.monotonic()
            peer = begin(4)
            try:
                peer.apply()
                taken.append(time.monotonic() - begun)
            finally:
                peer.close()
        row("start of a cluster (4 engines) to the first result", f"{statistics.median(taken):.2f} s")
        peer = begin(2)
        try:
            measure(peer, echo, name, size, row)
        finally:
            peer.close()
    finally:
        echo.close()
    return rows


def measure(peer: Peer, echo: Echo, name: str, size: Size, row: Callable[[str, str], None]) -> None:
    """All but the start."""
    peer.many(100)
    calls, floor, rates, several = [], [], [], []
    for _ in range(size.rounds):
        calls += timed(peer.apply, size.calls)
        floor += timed(lambda: echo.apply(workload.noop), size.calls)
        rates.append(size.tasks / sum(timed(lambda: peer.many(size.tasks), 1)))
    shown = f"{statistics.median(calls) * 1e3:.2f} ms; echo {statistics.median(floor) * 1e3:.3f} ms"
    row("one call, p50", shown)
    row(f"{size.tasks:,} calls submitted and collected", f"{statistics.median(rates):,.0f} tasks/s")
    with Children([client(name, peer.address) for _ in range(4)]) as children:
        children.ask("many", 10)
        for _ in range(size.rounds):
            answers = children.ask("many", size.tasks // 4)
            spent = max(each["ended"] for each in answers) - min(each["begun"] for each in answers)
            several.append(size.tasks // 4 * 4 / spent)
    row(f"4 clients at once, {size.tasks // 4:,} tasks each", f"{statistics.median(several):,.0f} tasks/s")
    before = peer.rss()
    peer.queue(size.queued)
    row(f"{size.queued:,} tasks queued", f"{(peer.rss() - before) / size.queued:,.0f} bytes each in the scheduler")


def timed(call: Callable[[], None], times: int) -> list[float]:
    """Seconds of each of several calls."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return taken


def client(name: str, address: str) -> subprocess.Popen[str]:
    """A client in a process of its own."""
    command = [sys.executable, __file__, "--client", name, address]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def be_client(name: str, address: str) -> None:
    """In that process: do what is asked."""
    connected: Any
    if name == "dask":
        import distributed

        connected = distributed.Client(scheduler_file=address)
    else:
        import ipyparallel

        connected = ipyparallel.Client(address)
    for _, (count,) in commands():
        begun = time.monotonic()
        PEERS[name][2](connected, count)
        answer(begun=begun, ended=time.monotonic())
    connected.close()


def _interrupt(number: int, frame: object) -> None:
    if os.getpid() == MAIN:
        raise KeyboardInterrupt
    os._exit(1)  # the echo, which is a fork


MAIN = os.getpid()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.client:
        be_client(*options.client)
        return
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ["PYTHONPATH"] = str(HERE)  # workers import the functions, too
    rows: list[tuple[str, str]] = []
    for name in options.peers:
        if find_spec(PEERS[name][0]) is None:
            print(f"{name} is not installed", file=sys.stderr)
            continue
        rows += rows_of(name, QUICK if options.quick else FULL)
    told = "; ".join(f"{name}: {value}" for name, value in machine.facts().items())
    print(f"{told}\n\n| case | measured |\n| --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
