"""The memory of engines that have died: guarded until what they have reported has arrived."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parpool.host.estates import Estates
from parpool.host.members import Member
from parpool.net.sockets import have_ipc
from parpool.shm.session import PREFIX, VARIABLE, sweep

pytestmark = pytest.mark.skipif(not have_ipc(), reason="no locks on parts of files")

ENGINE = "import sys; from parpool.shm.session import Session; print(Session().folder, flush=True); sys.stdin.read()"


class Engine(Member):
    """One with memory, in a process of its own."""

    def __init__(self, root: Path) -> None:
        super().__init__("engine-x", 0, str(root / "recorder"), 0)
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENGINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.memory = Path(self.process.stdout.readline().strip())

    def die(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return Engine(tmp_path)


def test_until_all_has_arrived(engine: Engine) -> None:
    estates = Estates()
    estates.guard(engine, str(engine.memory))
    first, second = engine.receipts.read(1), engine.receipts.read(2)
    assert first is not None and second is not None
    engine.die()
    estates.leave(engine)
    for source in (second, first):
        estates.look()
        sweep()
        assert engine.memory.exists()
        source.taken()
    estates.look()
    assert not engine.memory.exists()


def test_what_is_found_in_its_recorder_is_to_arrive_as_well(engine: Engine) -> None:
    estates = Estates()
    estates.guard(engine, str(engine.memory))
    source = engine.receipts.last_words()
    assert source is not None
    engine.die()
    estates.leave(engine)
    estates.look()
    assert engine.memory.exists()
    source.taken()
    estates.look()
    assert not engine.memory.exists()


def test_for_a_time_only(engine: Engine) -> None:
    estates = Estates(keep=0.0)
    estates.guard(engine, str(engine.memory))
    engine.receipts.read(1)
    engine.die()
    estates.leave(engine)
    estates.look()
    assert not engine.memory.exists()


def test_one_that_does_not_answer_and_comes_back(engine: Engine) -> None:
    """Its memory is its own as long as it lives."""
    estates = Estates()
    estates.guard(engine, str(engine.memory))
    estates.leave(engine)
    estates.look()
    assert engine.memory.exists()
    estates.guard(engine, str(engine.memory))
    engine.receipts.read(1)
    engine.die()
    sweep()
    assert engine.memory.exists()
    estates.close()
    assert not engine.memory.exists()


def test_one_without_memory(engine: Engine) -> None:
    """It may have had a folder for arrays that it shared."""
    estates = Estates()
    estates.guard(engine, "")
    engine.die()
    estates.leave(engine)
    estates.look()
    assert not engine.memory.exists()


@pytest.mark.parametrize("folder", ["/", "/tmp", "nowhere", "/no/where", f"/{PREFIX}x", "\0", "{}/other"])
def test_what_is_no_memory_of_an_engine(engine: Engine, tmp_path: Path, folder: str) -> None:
    """Whoever says so may say anything."""
    other = tmp_path / "other"
    other.mkdir(0o700)
    (other / "lock").touch()
    estates = Estates()
    estates.guard(engine, folder.format(tmp_path))
    estates.leave(engine)
    estates.look()
    assert (other / "lock").exists()
    engine.die()
    sweep()
