"""What `views.py` measures, on ipyparallel: prints a pickled list of (case, figure)."""

from __future__ import annotations

import os
import pickle
import statistics
import sys
import time
from pathlib import Path

import ipyparallel
import workload


def main() -> None:
    figures = []
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # the engines import the functions, too
    cluster = ipyparallel.Cluster(n=2, log_level=40)
    client = cluster.start_and_connect_sync()
    try:
        view = client.load_balanced_view()
        view.apply_sync(workload.noop)
        taken = []
        for _ in range(200):
            begin = time.perf_counter()
            view.apply_sync(workload.noop)
            taken.append(time.perf_counter() - begin)
        figures.append(("LoadBalancedView `apply_sync`, p50", f"{statistics.median(taken) * 1e3:.1f} ms"))
        begin = time.perf_counter()
        for result in [view.apply_async(workload.noop) for _ in range(2_000)]:
            result.get()
        figures.append(("2,000 `apply_async`", f"{2_000 / (time.perf_counter() - begin):.0f} tasks/s"))
        taken = []
        for _ in range(100):
            begin = time.perf_counter()
            client[:].apply_sync(workload.noop)
            taken.append(time.perf_counter() - begin)
        figures.append(("DirectView `apply_sync` on 2 engines, p50", f"{statistics.median(taken) * 1e3:.1f} ms"))
    finally:
        cluster.stop_cluster_sync()
    sys.stdout.buffer.write(pickle.dumps(figures))


if __name__ == "__main__":
    main()
