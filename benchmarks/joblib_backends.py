"""joblib's Parallel with parpool as its backend, beside loky, which is joblib's own.

    python benchmarks/joblib_backends.py            print the table
    python benchmarks/joblib_backends.py --write    and renew joblib's part of RESULTS.md
    python benchmarks/joblib_backends.py --quick    fewer rounds

Two jobs each, engines and processes kept between the rounds, which are interleaved. A figure is the median over the
rounds; a ratio is the median of the ratios within each round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy
import workload
from joblib import Parallel, delayed
from parpool.compat import joblib as on_parpool
from report import table
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

RESULTS = Path(__file__).with_name("RESULTS.md")
BEGIN = "<!-- joblib_backends.py: begin. What stands up to the end mark is written by `joblib_backends.py --write`. -->"
END = "<!-- joblib_backends.py: end -->"
BACKENDS = ("loky", "parpool")


def part_sum(array: Any, start: int) -> float:
    """Some work on a large array that is little beside its way."""
    return float(array[start::64].sum())


def part_sum_inside(holder: dict[str, Any], start: int) -> float:
    """The same, where the array lies in something else."""
    return part_sum(holder["array"], start)


def cases() -> dict[str, Callable[[], object]]:
    """What is measured, by its title."""
    large = numpy.random.default_rng(0).random(8_000_000)
    x, y = make_classification(20_000, 20, random_state=0)
    model = LogisticRegression()

    def fresh() -> object:
        again = large.copy()
        return Parallel()(delayed(part_sum)(again, n) for n in range(16))

    return {
        "200 no-ops": lambda: Parallel()(delayed(workload.noop)(n) for n in range(200)),
        "20,000 no-ops": lambda: Parallel()(delayed(workload.noop)(n) for n in range(20_000)),
        "2,000 no-ops, `batch_size=1`": lambda: Parallel(batch_size=1)(delayed(workload.noop)(n) for n in range(2000)),
        "1,000 calls of 1 ms": lambda: Parallel()(delayed(time.sleep)(0.001) for _ in range(1000)),
        "16 calls with one array of 64 MB": lambda: Parallel()(delayed(part_sum)(large, n) for n in range(16)),
        "the same, the array in a dict": lambda: Parallel()(
            delayed(part_sum_inside)({"array": large, "n": n}, n) for n in range(16)
        ),
        "the same, an array of its own each time": fresh,
        "50 calls with 8 MB each": lambda: Parallel()(
            delayed(part_sum)(large[n * 10**5 : n * 10**5 + 10**6].copy(), n) for n in range(50)
        ),
        "20 results of 8 MB": lambda: Parallel()(delayed(numpy.ones)(10**6) for _ in range(20)),
        "`cross_val_score(LogisticRegression(), cv=5)`": lambda: cross_val_score(model, x, y, cv=5),
    }


def measured(work: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each backend, after two rounds that do not count."""
    taken: dict[str, list[float]] = {name: [] for name in BACKENDS}
    for number in range(rounds + 2):
        for name in BACKENDS:
            with joblib.parallel_config(backend=name, n_jobs=2):
                begin = time.perf_counter()
                work()
                if number > 1:
                    taken[name].append(time.perf_counter() - begin)
    return taken["loky"], taken["parpool"]


def shown(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.3g} ms"


def run(rounds: int) -> str:
    """The table."""
    rows = []
    for title, work in cases().items():
        loky, ours = measured(work, rounds)
        ratio = statistics.median(a / b for a, b in zip(ours, loky, strict=True))
        rows.append((title, shown(loky), shown(ours), f"{ratio:.2f} × loky"))
        print("  ".join(rows[-1]), flush=True)
    return table(("case", "loky", "parpool", "ratio of the times"), rows)


def main() -> None:
    """Measure, print, and write where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    on_parpool.register()
    rounds = 3 if arguments.quick else 11
    load = os.getloadavg()[0]
    try:
        text = run(rounds)
    finally:
        on_parpool.shutdown()
    note = (
        f"Measured {time.strftime('%Y-%m-%d')} by `benchmarks/joblib_backends.py`, {rounds} interleaved rounds, two jobs, joblib "
        f"{version('joblib')}, scikit-learn {version('scikit-learn')}; load before the run: {load:.1f}. A ratio below 1 means that "
        "parpool takes less time."
    )
    if arguments.write:
        whole = RESULTS.read_text("utf-8")
        head, _, rest = whole.partition(BEGIN)
        tail = rest.partition(END)[2]
        RESULTS.write_text(f"{head}{BEGIN}\n\n{note}\n\n{text}\n\n{END}{tail}", "utf-8")


if __name__ == "__main__":
    main()
