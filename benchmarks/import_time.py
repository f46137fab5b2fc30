"""How long `import parpool` takes, in units of `import zmq`.

    python benchmarks/import_time.py [ROUNDS]

Each import is timed in an interpreter of its own, the two by turns, so that both see the same machine; the medians
are compared. Both must be installed: the current folder is not on the path.
"""

import statistics
import subprocess
import sys

TIMED = "from time import perf_counter as now; t = now(); import {}; print(now() - t)"
MODULES = ("zmq", "parpool")


def import_time(module: str) -> float:
    """Seconds that one fresh interpreter takes to import a module."""
    command = [sys.executable, "-I", "-c", TIMED.format(module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    if rounds < 15:
        sys.exit("fewer than 15 rounds say little")
    for module in MODULES:  # not counted: compiles the modules and warms the file cache
        import_time(module)
    times: dict[str, list[float]] = {module: [] for module in MODULES}
    for _ in range(rounds):
        for module in MODULES:
            times[module].append(import_time(module))
    medians = {module: statistics.median(times[module]) for module in MODULES}
    for module, median in medians.items():
        print(f"import {module:8} {median * 1e3:6.1f} ms  (median of {rounds})")
    print(f"ratio           {medians['parpool'] / medians['zmq']:6.2f}")


if __name__ == "__main__":
    main()
