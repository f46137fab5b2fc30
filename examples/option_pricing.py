"""Prices of options by Monte Carlo: European ones, of which the price is known, and Asian ones, of which it is not.

    python examples/option_pricing.py
    python examples/option_pricing.py --engines 4 --paths 200000

A share moves at random from day to day for a year. An option on it pays at the end: a European call what the share is
then worth above the strike, an Asian one what it was worth on average. The price is the mean of what is paid over many
paths, less the interest.

The paths are made on the engines and stay there, as `paths` in their namespaces. They come from blocks, each with
random numbers of its own, so that the prices do not depend on the number of engines. For each strike and each kind of
option every engine is asked for two sums over its paths, by `Reference("paths")`.
"""

import argparse
import math
import sys
from statistics import NormalDist
from typing import Any, NamedTuple

from parpool import Pool, Reference

try:
    import numpy as np
except ImportError:
    sys.exit("this example needs numpy: pip install numpy")

BLOCKS = 16  #: of paths, dealt out to the engines


class Market(NamedTuple):
    """The share, and the interest."""

    spot: float = 100.0  #: what the share is worth now
    rate: float = 0.03  #: the interest of a year
    volatility: float = 0.25  #: of a year
    days: int = 252  #: of trading in a year

    def discounted(self, payment: float) -> float:
        """What a payment in a year is worth now."""
        return payment * math.exp(-self.rate)


# What the engines run -------------------------------------------------------------------------------


def make_paths(blocks: list[int], count: int, market: Market) -> None:
    """Make the paths of some blocks, and keep of each path the last price and the mean: that is all that is asked for."""
    global paths
    paths = {"european": np.empty(0), "asian": np.empty(0)}
    step = 1 / market.days
    drift = (market.rate - market.volatility**2 / 2) * step
    for block in blocks:
        moves = np.random.default_rng(block).standard_normal((count, market.days))
        prices = market.spot * np.exp(np.cumsum(drift + market.volatility * math.sqrt(step) * moves, axis=1))
        paths["european"] = np.append(paths["european"], prices[:, -1])
        paths["asian"] = np.append(paths["asian"], prices.mean(axis=1))


def payments(prices: Any, strike: float) -> tuple[int, float, float]:
    """How many payments there are, their sum, and the sum of their squares."""
    paid = np.maximum(prices - strike, 0.0)
    return len(paid), float(paid.sum()), float((paid**2).sum())


# What is made of it here ----------------------------------------------------------------------------


def price(view: Any, kind: str, strike: float, market: Market) -> tuple[float, float]:
    """The price of a call, and its standard error."""
    parts = view.apply_sync(payments, Reference(f"paths[{kind!r}]"), strike)
    count, total, squares = (math.fsum(column) for column in zip(*parts, strict=True))
    mean = total / count
    error = math.sqrt((squares / count - mean**2) / count)
    return market.discounted(mean), market.discounted(error)


def black_scholes(strike: float, market: Market) -> float:
    """The price of a European call by the formula of Black and Scholes."""
    normal = NormalDist().cdf
    upper = (math.log(market.spot / strike) + market.rate + market.volatility**2 / 2) / market.volatility
    return market.spot * normal(upper) - market.discounted(strike) * normal(upper - market.volatility)


def main() -> None:
    """Make the paths, and print the prices for some strikes."""
    parser = argparse.ArgumentParser(description="Price options by Monte Carlo, on several engines.")
    parser.add_argument("--engines", type=int, metavar="N", help="how many engines (default: one for each CPU)")
    parser.add_argument("--paths", type=int, default=32_000, metavar="N", help="how many paths (default: 32000)")
    options = parser.parse_args()
    count = max(1, options.paths // BLOCKS)
    market = Market()

    with Pool(options.engines) as pool:
        view = pool.client[:]
        view.scatter("blocks", range(BLOCKS), block=True)
        view.apply_sync(make_paths, Reference("blocks"), count, market)
        print(f"{count * BLOCKS:,} paths of {market.days} days on {len(view.targets)} engines")
        print()
        print(f"{'':8}{'European call':>36}{'Asian call':>24}")
        print(f"{'strike':>8}{'simulated':>14}{'±':>8}{'formula':>14}{'simulated':>16}{'±':>8}")
        for strike in (80.0, 90.0, 100.0, 110.0, 120.0):
            european, error = price(view, "european", strike, market)
            asian, asian_error = price(view, "asian", strike, market)
            formula = black_scholes(strike, market)
            print(f"{strike:8.0f}{european:14.3f}{error:8.3f}{formula:14.3f}{asian:16.3f}{asian_error:8.3f}")


if __name__ == "__main__":
    main()
