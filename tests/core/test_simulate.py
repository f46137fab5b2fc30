"""The simulation runs, and tells the same story twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
simulate = pytest.importorskip("simulate")


@pytest.mark.parametrize("duration", ["short", "exponential", "heavy"])
def test_same_seed_same_story(duration: str) -> None:
    first, again = (simulate.simulate(20, 3000, duration, seed=4) for _ in range(2))
    assert (first.digest, first.makespan, first.messages) == (again.digest, again.makespan, again.messages)
    assert simulate.simulate(20, 3000, duration, seed=5).digest != first.digest or duration == "short"
    assert first.makespan >= first.ideal


def test_chunks_are_cut() -> None:
    whole = simulate.simulate(20, 2000, "heavy", items=100)
    assert whole.revoked
    assert whole.makespan < 1.4 * whole.ideal


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    simulate.main(["--tasks", "500", "--engines", "3", "4", "--duration", "short"])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_shares_of_several_schedulers() -> None:
    one, four = (simulate.simulate(40, 4000, "exponential", schedulers=count) for count in (1, 4))
    assert four.ideal == one.ideal and four.makespan >= four.ideal
    assert four.makespan < 1.5 * four.ideal
