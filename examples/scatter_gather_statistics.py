"""Statistics of numbers that lie on the engines: what travels are summaries of a few numbers.

    python examples/scatter_gather_statistics.py
    python examples/scatter_gather_statistics.py --engines 4 --numbers 1000000

The numbers are scattered once. From then on a `Reference` stands for each engine's share of them: the functions below
are called with the share itself, and the share stays where it is. Mean and variance take one round of calls. A quantile
takes a few dozen: is it below x? Each engine counts.

At the end everything is gathered, and the `statistics` module says the same.
"""

import argparse
import math
import statistics
from random import Random
from typing import Any

from parpool import Pool, Reference

SHARE = Reference("numbers")


# What the engines run -------------------------------------------------------------------------------


def moments(numbers: list[float]) -> tuple[int, float, float]:
    """How many numbers there are, their mean, and the sum of the squared distances from it."""
    mean = math.fsum(numbers) / len(numbers) if numbers else 0.0
    return len(numbers), mean, math.fsum((x - mean) ** 2 for x in numbers)


def ends(numbers: list[float]) -> tuple[float, float]:
    """The smallest and the largest number."""
    return min(numbers, default=math.inf), max(numbers, default=-math.inf)


def count_below(numbers: list[float], limit: float) -> int:
    """How many numbers are not larger than the limit."""
    return sum(x <= limit for x in numbers)


# What is made of it here ----------------------------------------------------------------------------


def mean_and_deviation(view: Any) -> tuple[float, float]:
    """Mean and standard deviation, from the moments of the shares (Chan, Golub and LeVeque, 1979)."""
    parts = view.apply_sync(moments, SHARE)
    total = sum(count for count, _, _ in parts)
    mean = math.fsum(count * mean for count, mean, _ in parts) / total
    squares = math.fsum(squares + count * (own - mean) ** 2 for count, own, squares in parts)
    return mean, math.sqrt(squares / (total - 1))


def quantile(view: Any, rank: int) -> tuple[float, int]:
    """The number that has `rank` numbers before it when all are sorted, and the rounds that it took to find it."""
    shares_ends = view.apply_sync(ends, SHARE)
    low, high = min(low for low, _ in shares_ends), max(high for _, high in shares_ends)
    if sum(view.apply_sync(count_below, SHARE, low)) > rank:
        return low, 1
    rounds = 1
    while (middle := low + (high - low) / 2) not in (low, high):  # until no float is between them
        rounds += 1
        if sum(view.apply_sync(count_below, SHARE, middle)) > rank:
            high = middle
        else:
            low = middle
    return high, rounds


def main() -> None:
    """Scatter numbers, ask for their statistics, and compare."""
    parser = argparse.ArgumentParser(description="Statistics of scattered numbers, on several engines.")
    parser.add_argument("--engines", type=int, metavar="N", help="how many engines (default: one for each CPU)")
    parser.add_argument("--numbers", type=int, default=50_000, metavar="N", help="how many (default: 50000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="where they come from (default: 1)")
    options = parser.parse_args()
    if options.numbers < 2:
        parser.error("at least 2 numbers are needed")

    random = Random(options.seed)
    numbers = [random.gauss(170, 10) for _ in range(options.numbers)]  # heights in cm, say
    rank = (len(numbers) - 1) // 2

    with Pool(options.engines) as pool:
        view = pool.client[:]
        view.scatter("numbers", numbers, block=True)
        shares = view.apply_sync(len, SHARE)
        print(f"{len(numbers):,} numbers on {len(view.targets)} engines: {', '.join(f'{n:,}' for n in shares)}")
        print()

        mean, deviation = mean_and_deviation(view)
        median, rounds = quantile(view, rank)
        gathered = view.gather("numbers", block=True)

    print(f"{'':20}{'engines':>20}{'statistics':>20}")
    for name, ours, theirs in (
        ("mean", mean, statistics.fmean(gathered)),
        ("standard deviation", deviation, statistics.stdev(gathered)),
        ("median", median, statistics.median_low(gathered)),
    ):
        print(f"{name:20}{ours:20.12f}{theirs:20.12f}")
    print()
    print(f"the median took {rounds} rounds of counting; gathered in order: {gathered == numbers}")


if __name__ == "__main__":
    main()
