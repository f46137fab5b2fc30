"""Pi by Monte Carlo: what share of random points in a square lies in the circle within it?

    python examples/monte_carlo_pi.py
    python examples/monte_carlo_pi.py --engines 4 --tasks 100 --points 200000

Each task has random numbers of its own, by its number, so the estimate is the same on any number of engines. The tasks
go to whichever engine is free, and are taken as they end: the estimate is printed each time their number has doubled.
"""

import argparse
import math
from random import Random

from parpool import Pool


def hits(task: int, points: int) -> int:
    """How many of so many random points lie in the quarter of a circle. This is what the engines run."""
    random = Random(task).random
    return sum(random() ** 2 + random() ** 2 < 1 for _ in range(points))


def estimate(inside: int, points: int) -> tuple[float, float]:
    """An estimate of pi, and its standard error."""
    share = inside / points
    return 4 * share, 4 * math.sqrt(share * (1 - share) / points)


def main() -> None:
    """Throw the points, and print what comes of it."""
    parser = argparse.ArgumentParser(description="Estimate pi from random points, on several engines.")
    parser.add_argument("--engines", type=int, metavar="N", help="how many engines (default: one for each CPU)")
    parser.add_argument("--tasks", type=int, default=32, metavar="N", help="how many tasks (default: 32)")
    parser.add_argument("--points", type=int, default=50_000, metavar="N", help="points of a task (default: 50000)")
    options = parser.parse_args()

    with Pool(options.engines) as pool:
        view = pool.client.load_balanced_view()
        tasks = range(options.tasks)
        result = view.map_async(hits, tasks, [options.points] * len(tasks), ordered=False)

        print("   tasks      points   estimate   off by   standard error")
        inside, shown = 0, 1
        for ended, count in enumerate(result, start=1):
            inside += count
            if ended == shown or ended == len(tasks):
                shown *= 2
                points = ended * options.points
                pi, error = estimate(inside, points)
                print(f"{ended:8}{points:12,}{pi:11.6f}{abs(pi - math.pi):9.6f}{error:17.6f}")

        print()
        engines = {task["engine_id"] for task in result.metadata}
        print(f"{len(engines)} engines computed for {result.serial_time:.2f} s within {result.wall_time:.2f} s")


if __name__ == "__main__":
    main()
