"""The launcher that starts nothing keeps the contract, too."""

from __future__ import annotations

import signal

import pytest
from launch_contract import Make, StatesContract

from parpool.errors import EngineStartError
from parpool.launch.fake import FakeLauncher
from parpool.launch.launcher import Launcher


class TestContract(StatesContract):
    @pytest.fixture
    def make(self) -> Make:
        return FakeLauncher


class TestContractWithQueue(StatesContract):
    @pytest.fixture
    def make(self) -> Make:
        return lambda: FakeLauncher(queue=True)


def test_what_it_is_told() -> None:
    fake = FakeLauncher(slots=2, label="x", queue=True)
    launcher: Launcher = fake
    assert launcher.start(["a", "b"], 2) == ["x-0", "x-1"]
    with pytest.raises(EngineStartError, match="room for 2 processes, and 2 are there"):
        launcher.start(["a"], 1)
    assert fake.started == {"x-0": ["a", "b"], "x-1": ["a", "b"]}
    assert str(launcher.poll()["x-0"]) == "as the test asked for"
    fake.let("x-0")
    fake.let("x-1", "ended", "of boredom")
    launcher.signal(signal.SIGINT)
    assert fake.signals == [("x-0", signal.SIGINT)]
    assert {name: str(state) for name, state in launcher.poll().items()} == {"x-0": "running", "x-1": "of boredom"}
    assert launcher.start(["a"], 1) == ["x-2"]  # there was room
    assert str(launcher.stop(["x-1"])["x-1"]) == "of boredom" and fake.stopped == ["x-1"]
    with pytest.raises(KeyError, match="x-9"):
        fake.let("x-9")
