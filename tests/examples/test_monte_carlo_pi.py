"""Pi by Monte Carlo."""

import pytest


def test_the_estimate_is_that_of_one_process_on_any_number_of_engines(example, run_example) -> None:
    module = example("monte_carlo_pi")
    inside = sum(module.hits(task, 2000) for task in range(9))
    pi, error = module.estimate(inside, 9 * 2000)
    for engines in 1, 3:
        rows = run_example("monte_carlo_pi", "--engines", engines, "--tasks", 9, "--points", 2000).splitlines()
        assert [row.split()[0] for row in rows[1:6]] == ["1", "2", "4", "8", "9"]
        assert rows[5].split() == ["9", "18,000", f"{pi:.6f}", rows[5].split()[3], f"{error:.6f}"]
        assert abs(pi - 3.14159265) < 4 * error


def test_an_estimate_by_hand(example) -> None:
    estimate = example("monte_carlo_pi").estimate
    assert estimate(75, 100) == (3.0, pytest.approx(4 * (0.75 * 0.25 / 100) ** 0.5))
    assert estimate(100, 100) == (4.0, 0.0)
