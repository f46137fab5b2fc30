"""What is to be said of large arrays beside their speed: pushes, small calls, memory, and very many calls.

Those about memory run in a process of their own (`arrays_more.py CASE`), which answers in JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
from arrays_tasks import Figures, Row, at_most, compared, echo, figures, make, noop, total

import parpool

MB = 1_000_000


@contextmanager
def environment(**changes: str) -> Iterator[None]:
    """Other settings for the pools that are made meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# Pushes --------------------------------------------------------------------------------------------------------


def pushes(rounds: int) -> list[Row]:
    """A push to four engines, beside one copy of the array into memory that is there already.

    A push has ended when all engines have said that the name is set. They map the memory, and read it when they use it:
    so the second row has them add it up, beside the same sum in this process, four times.
    """
    source, copy = numpy.arange(32_000_000.0), numpy.zeros(32_000_000)
    with parpool.Pool(4) as pool:
        view = pool.client[:]

        def push() -> None:
            view.push({"pushed": source}, block=True)

        def push_and_sum() -> None:
            push()
            view.apply_sync(total, parpool.Reference("pushed"))

        def copy_and_sum() -> None:
            numpy.copyto(copy, source)
            for _ in range(4):
                total(copy)

        one = compared(rounds, 4, push, lambda: numpy.copyto(copy, source))
        used = compared(rounds, 2, push_and_sum, copy_and_sum)
        view.apply_sync(noop)
        del view["pushed"]
    pool.join()
    shown = [(f"{each.theirs * 1e3:.1f} ms", f"{each.ours * 1e3:.1f} ms", 1 / each.ratio) for each in (one, used)]
    return [
        at_most("256 MB to 4 engines: `view.push`, beside one memcpy", *shown[0], 1.5),
        Row(
            "the same, and each engine sums it up, beside one memcpy and four sums here",
            *shown[1][:2],
            f"{shown[1][2]:.2f} ×",
            "",
        ),
    ]


# Small calls ---------------------------------------------------------------------------------------------------


def small_calls(rounds: int) -> list[Row]:
    """`apply` and `apply_async` with and without shared memory: what large arrays cost those that have none.

    In several sittings, each with new pools, as it matters on which core an engine happens to be.
    """
    one: list[tuple[float, float]] = []
    many: list[tuple[float, float]] = []
    for sitting in range(rounds):
        with two_pools(bool(sitting % 2)) as (ours, alone):
            for pairs, work, count in ((one, calls, 300), (many, submitted, 2000)):
                found = compared(5, 1, lambda w=work, n=count: w(ours, n), lambda w=work, n=count: w(alone, n))  # type: ignore[misc]
                pairs.append((found.ours, found.theirs))
    return [
        small("`apply(noop, (1,))`: latency, beside PARPOOL_SHM_MAX=0", figures(one), 300),
        small("2,000 of `apply_async(noop, (1,))`, beside PARPOOL_SHM_MAX=0", figures(many), 2000),
    ]


@contextmanager
def two_pools(ours_first: bool) -> Iterator[tuple[Any, Any]]:
    """One with shared memory, and one without it."""
    made = {}
    for shared in (ours_first, not ours_first):
        with environment(**({} if shared else {"PARPOOL_SHM_MAX": "0"})):
            made[shared] = parpool.Pool(2)
    with made[True], made[False]:
        yield made[True], made[False]
    for pool in made.values():
        pool.join()


def small(case: str, found: Figures, count: int) -> Row:
    beside, shown = (f"{each / count * 1e6:.1f} µs" for each in (found.theirs, found.ours))
    return at_most(case, beside, shown, 1 / found.ratio, 1.03)


def calls(pool: Any, count: int) -> None:
    for _ in range(count):
        pool.apply(noop, (1,))


def submitted(pool: Any, count: int) -> None:
    for result in [pool.apply_async(noop, (1,)) for _ in range(count)]:
        result.get()


# Memory --------------------------------------------------------------------------------------------------------


def memory() -> list[Row]:
    """Peaks of resident memory, as multiples of the array; what is kept after a while; and very many calls."""
    there, back, idle, many = (measured(case) for case in ("there", "back", "idle", "many"))
    rows = []
    for way, found in (("to an engine", there), ("back", back)):
        for who in ("sender", "receiver"):
            peak = found[who]
            rows.append(
                at_most(
                    f"256 MB {way}: resident memory of the {who} at its peak, beside its own array",
                    "256 MB",
                    f"{peak / MB:.0f} MB more",
                    peak / (256 * MB),
                    1.1,
                )
            )
    rows.append(
        Row(
            "shared memory after 200 MB each way, and 2 s with nothing to do (PARPOOL_SHM_KEEP=1)",
            f"{idle['before'] / MB:.0f} MB at once",
            f"{idle['after'] / MB:.1f} MB",
            "",
            "yes" if idle["after"] < MB else "**no**",
        )
    )
    growth = many["after"] - many["before"]
    rows.append(
        Row(
            "100,000 calls with 100 kB each, 100 at a time, beside the stdlib (10,000 calls)",
            f"{many['theirs'] * 1e6:.0f} µs a call",
            f"{many['ours'] * 1e6:.0f} µs a call",
            f"{many['theirs'] / many['ours']:.1f} × (at least 1)",
            "yes" if many["theirs"] >= many["ours"] else "**no**",
        )
    )
    rows.append(
        Row(
            "the same: shared memory at its peak, and the client's resident memory after 10,000 and all calls",
            f"{many['before'] / MB:.0f} MB",
            f"{many['after'] / MB:.0f} MB; {many['shared'] / MB:.0f} MB shared",
            "",
            "yes" if growth < 10 * MB else "**no**",
        )
    )
    return rows


def measured(case: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, case], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def peak(*ignored: Any) -> int:
    """Bytes of resident memory of this process at its peak since `forget_peak`."""
    return said("VmHWM")


def resident() -> int:
    return said("VmRSS")


def said(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {name} here")


def forget_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return resident()


def total_and_peak(array: Any) -> tuple[float, int]:
    return total(array), peak()


def make_and_forget_peak(count: int) -> tuple[Any, int]:
    array = make(count)
    return array, forget_peak()


def there() -> dict[str, float]:
    """What a call has in resident memory beside what was there before: of the sender beside its array."""
    array, found = numpy.arange(32_000_000.0), []
    with parpool.Pool(1) as pool:
        for _ in range(3):  # by a slot that is new, and that was used before
            theirs, ours = pool.apply(forget_peak), forget_peak()
            _, after = pool.apply(total_and_peak, (array,))
            found.append({"sender": peak() - ours, "receiver": after - theirs})
    return worst(found)


def back() -> dict[str, float]:
    """The same for what comes back: the sender has its array, and sends it."""
    found = []
    with parpool.Pool(1) as pool:
        for _ in range(3):
            ours = forget_peak()
            array, theirs = pool.apply(make_and_forget_peak, (32_000_000,))
            total(array)
            found.append({"sender": pool.apply(peak) - theirs, "receiver": peak() - ours})
            del array
    return worst(found)


def worst(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: max(each[name] for each in found) for name in found[0]}


def shared_bytes(pool: Any) -> int:
    folder = pool._link._host.session.folder
    return sum(each.stat().st_blocks * 512 for each in Path(folder).glob("memory-*"))


def idle() -> dict[str, float]:
    with environment(PARPOOL_SHM_KEEP="1"), parpool.Pool(2) as pool:
        items = [numpy.full(1_250_000, 1.0) for _ in range(20)]
        pool.map(echo, items)
        before = shared_bytes(pool)
        time.sleep(2)  # which is what is measured
        deadline = time.monotonic() + 3
        while shared_bytes(pool) > MB and time.monotonic() < deadline:
            time.sleep(0.1)
        return {"before": before, "after": shared_bytes(pool)}


def many() -> dict[str, float]:
    import multiprocessing

    array = numpy.zeros(12_500)
    with multiprocessing.Pool(2) as theirs:
        windows(theirs, array, 1000)
        begin = time.perf_counter()
        windows(theirs, array, 10_000)
        stdlib = (time.perf_counter() - begin) / 10_000
    with parpool.Pool(2) as pool:
        windows(pool, array, 10_000)
        before, shared = resident(), 0
        begin = time.perf_counter()
        for _ in range(10):
            windows(pool, array, 10_000)
            shared = max(shared, shared_bytes(pool))
        ours = (time.perf_counter() - begin) / 100_000
        return {"theirs": stdlib, "ours": ours, "before": before, "after": resident(), "shared": shared}


def windows(pool: Any, array: Any, count: int) -> None:
    """Calls of which a hundred are on their way at a time."""
    waiting: deque[Any] = deque()
    for _ in range(count):
        if len(waiting) == 100:
            waiting.popleft().get()
        waiting.append(pool.apply_async(noop, (array,)))
    while waiting:
        waiting.popleft().get()


CASES: dict[str, Callable[[], dict[str, float]]] = {"there": there, "back": back, "idle": idle, "many": many}


if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[1]]()))
