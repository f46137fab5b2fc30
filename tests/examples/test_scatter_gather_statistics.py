"""Statistics of scattered numbers."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st


class Shares:
    """A view, in place of engines."""

    def __init__(self, shares) -> None:
        self.shares = shares

    def apply_sync(self, function, share, *args):
        return [function(each, *args) for each in self.shares]


NUMBERS = st.floats(-1e9, 1e9, allow_subnormal=False)


@pytest.fixture(scope="module")
def module(example):
    return example("scatter_gather_statistics")


@given(shares=st.lists(st.lists(NUMBERS, max_size=6), min_size=1, max_size=4).filter(any), data=st.data())
def test_a_quantile_is_the_number_of_its_rank(module, shares, data) -> None:
    numbers = sorted(sum(shares, []))
    rank = data.draw(st.integers(0, len(numbers) - 1))
    assert module.quantile(Shares(shares), rank)[0] == numbers[rank]


def test_mean_and_deviation_of_uneven_shares(module) -> None:
    shares = [[1.0, 2.0, 4.0], [], [8.0], [16.0, 32.0]]
    mean, deviation = module.mean_and_deviation(Shares(shares))
    numbers = sum(shares, [])
    assert mean == pytest.approx(statistics.fmean(numbers))
    assert deviation == pytest.approx(statistics.stdev(numbers))


@pytest.mark.parametrize("engines", [1, 3])
def test_the_engines_and_the_statistics_module_agree(run_example, engines) -> None:
    lines = run_example("scatter_gather_statistics", "--engines", engines, "--numbers", 2000).splitlines()
    assert lines[0].startswith(f"2,000 numbers on {engines} engines: ")
    assert sum(int(n.replace(",", "")) for n in lines[0].partition(": ")[2].split(", ")) == 2000
    for line in lines[3:6]:
        *_, ours, theirs = line.split()
        assert float(ours) == pytest.approx(float(theirs), rel=1e-12)
    assert lines[-1].endswith("gathered in order: True")


def test_too_few_numbers_are_explained(run_example) -> None:
    assert "at least 2 numbers" in run_example("scatter_gather_statistics", "--numbers", 1, status=2)
