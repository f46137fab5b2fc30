"""What the hub costs the loop of a controller, and how much it can remember in a second.

    python benchmarks/hub.py
    python benchmarks/hub.py memory sqlite:////tmp/tasks.db postgresql://me@/tasks

For each store: microseconds in the loop for a task (`submitted` and `ended`), by the size of the batches that it is
told; tasks in a second until all is remembered, while the loop does nothing else; and the rate of a loop that is busy
all the time with something else, with the store and with none. What was dropped then, because the store could not
follow, is said. The numbers of tasks begin anew with every run, their client is another.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import uuid
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from parpool.core.state import Task
from parpool.hub.open import open_store
from parpool.wire.messages import Outcome


class Door:
    """A client."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self.next = 1 << 40


class Nothing:
    """A store that remembers nothing."""

    def submitted(self, tasks: Sequence[Task], now: float) -> None:
        """Tasks were submitted."""

    def ended(self, deliveries: Sequence[Any], now: float) -> None:
        """Outcomes were delivered."""

    def close(self) -> None:
        """The end."""

    def status(self) -> dict[str, Any]:
        """How much there is."""
        return {"dropped": 0}


def batch(door: Door, size: int) -> tuple[list[Task], list[Any]]:
    """Tasks of a client, and their outcomes."""
    tasks = [Task(door.next + n, b"0123456789abcdef", b"x" * 60, door) for n in range(size)]
    door.next += size
    return tasks, [(task, Outcome(task.id, 0, 0, 1e9, 1e9, b"y" * 20, 0), 1) for task in tasks]


def pass_through(store: Any, tasks: int, size: int, work: Callable[[int], object]) -> float:
    """Tell a store of tasks; seconds in it."""
    door, spent = Door(), 0.0
    for _ in range(tasks // size):
        submitted, ended = batch(door, size)
        begun = perf_counter()
        store.submitted(submitted, 1e9)
        spent += perf_counter() - begun
        work(size)
        begun = perf_counter()
        store.ended(ended, 1e9)
        spent += perf_counter() - begun
    return spent


def busy(microseconds: float) -> Callable[[int], object]:
    """What a busy loop does for so many tasks: it computes, and passes by the system for a moment."""
    read, write = os.pipe()
    rounds, begun = 0, perf_counter()
    while perf_counter() - begun < 0.05:
        for _ in range(1000):
            pass
        rounds += 1000
    each = int(rounds / 0.05 * microseconds / 1e6)

    def work(size: int) -> None:
        for _ in range(8):
            for _ in range(each * size // 8):
                pass
            os.write(write, b".")
            os.read(read, 1)

    return work


def measure(url: str, tasks: int, microseconds: float) -> None:
    """Measure one store, and print."""
    print(url.partition("?")[0])
    for size in (1, 8, 64, 256):
        store = open_store(url)
        # In bursts that every store can take, and the best of them: other programs cost time, too.
        spent = min(pass_through(store, 8192, size, lambda size: None) for _ in range(5)) / 8192
        store.close()
        print(f"  in the loop, batches of {size:3}   {spent * 1e6:6.2f} µs a task")
    store, begun = open_store(url), perf_counter()
    pass_through(store, tasks, 64, lambda size: None)
    told = perf_counter() - begun
    store.close()
    taken = tasks / (perf_counter() - begun)
    print(f"  all of {tasks:,} remembered    {taken:8,.0f} tasks/s (told at {tasks / told:,.0f}/s){dropped(store)}")
    work = busy(microseconds)
    for name, make in (("without it", Nothing), ("with it", lambda: open_store(url))):
        store, begun = make(), perf_counter()
        pass_through(store, tasks, 64, work)
        rate = tasks / (perf_counter() - begun)
        store.close()
        print(f"  a busy loop, {name:10}      {rate:8,.0f} tasks/s{dropped(store)}")


def dropped(store: Any) -> str:
    """What a database was told and could not take; a store in memory forgets on purpose."""
    status = store.status()
    return f", {status['dropped']:,} dropped" if status["dropped"] and status["kind"] != "memory" else ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="*", help="stores as in --db; memory and a new SQLite file unless given")
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--busy", type=float, default=16.0, help="microseconds a task that a busy loop computes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for url in options.url or ["memory", f"sqlite:///{folder}/tasks.db"]:
            measure(url, options.tasks, options.busy)


if __name__ == "__main__":
    main()
