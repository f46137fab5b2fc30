"""A client in a process of its own, for `cluster.py`: `cluster_client.py CLIENT.JSON`, with commands on its input.

It is a process because clients that share one would share its interpreter's lock.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import workload
from cluster_processes import answer, commands

import parpool


def many(submit: Any, count: int) -> dict[str, float]:
    """Submit calls and collect what comes of them. The clock is the same in all processes."""
    begun = time.monotonic()
    for result in [submit(workload.noop) for _ in range(count)]:
        result.get()
    return {"begun": begun, "ended": time.monotonic()}


def main(file: str) -> None:
    client = parpool.Client(file)
    view = client.load_balanced_view()
    kept: list[Any] = []  # results that are waited for by nobody
    for what, about in commands():
        if what == "many":
            answer(**many(view.apply_async, *about))
        elif what == "queue":  # engines are not asked for: there are none
            kept += [view.apply_async(workload.identity, number) for number in range(*about)]
            answer(queued=len(kept))
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
