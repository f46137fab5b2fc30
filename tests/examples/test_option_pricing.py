"""Option prices by Monte Carlo."""

import pytest

pytest.importorskip("numpy")


def test_the_formula(example) -> None:
    module = example("option_pricing")
    # Hull, Options, Futures, and Other Derivatives: a share at 42, a strike of 40, 10 % interest, 20 % volatility,
    # half a year, which is a year of 5 % and 0.2 / sqrt(2).
    market = module.Market(spot=42.0, rate=0.05, volatility=0.2 / 2**0.5)
    assert module.black_scholes(40.0, market) == pytest.approx(4.76, abs=0.005)


def test_prices_do_not_depend_on_the_number_of_engines_and_agree_with_the_formula(run_example) -> None:
    one, three = (run_example("option_pricing", "--engines", n, "--paths", 4000).splitlines()[2:] for n in (1, 3))
    assert one == three
    rows = [list(map(float, line.split())) for line in one[2:]]
    assert [row[0] for row in rows] == [80, 90, 100, 110, 120]
    for _, european, error, formula, asian, asian_error in rows:
        assert abs(european - formula) < 4 * error
        assert 0 < asian < european  # an average moves less than what it is of
        assert 0 < asian_error < error
