"""Places and who is in them: with a launcher that only pretends, and with processes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parpool.cluster import places as module
from parpool.cluster.places import Places
from parpool.errors import EngineStartError, ParpoolError
from parpool.launch.fake import FakeLauncher
from parpool.launch.launcher import Site, State
from parpool.launch.process import ProcessLauncher

Until = Callable[..., Any]
SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


class Owner:
    """Hears what places have to tell."""

    def __init__(self) -> None:
        self.changes = 0
        self.vacant: list[str] = []
        self.wanted = True
        self.made: list[Places] = []

    def places(self, launcher: Any, restarts: int = 2, argv: Any = ("run", "it"), **more: Any) -> Places:
        def changed() -> None:
            self.changes += 1

        places = Places(
            launcher,
            argv,
            restarts,
            wanted=lambda: self.wanted,
            on_change=changed,
            on_vacant=self.vacant.append,
            **more,
        )
        self.made.append(places)
        return places


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Owner]:
    monkeypatch.setattr(module, "EVERY", 0.005)
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.01))
    monkeypatch.setattr(module, "DOUBT", 0.02)
    owner = Owner()
    yield owner
    for places in owner.made:
        places.close()


def ends(launcher: FakeLauncher, name: str, words: str, code: int) -> None:
    """With an exit code, which `let` knows nothing of."""
    launcher._states[name] = State("ended", words, code)


def pids(places: Places) -> list[int]:
    return [pid for pid, *_ in places.record()["launcher"]["processes"].values()]


def names(places: Places) -> list[str]:
    return [place.name for place in places._chosen(None) if place.name is not None]


# Sets -----------------------------------------------------------------------------------------------


def test_sets_are_started_signalled_and_stopped_apart(owner: Owner) -> None:
    launcher = FakeLauncher()
    places = owner.places(launcher)
    first, second = places.start(2), places.start(3)
    assert places.sets == {first: 2, second: 3} and owner.changes == 2
    assert launcher.started == {f"engine-{number}": ["run", "it"] for number in range(5)}
    assert {name: n for name, (n, _) in places.states(first).items()} == {"engine-0": 1, "engine-1": 1}
    places.signal(signal.SIGUSR1, first)
    assert launcher.signals == [("engine-0", signal.SIGUSR1), ("engine-1", signal.SIGUSR1)]
    places.stop(first)
    assert launcher.stopped == ["engine-0", "engine-1"] and places.sets == {second: 3}
    with pytest.raises(KeyError, match="no set 'set-1'; there are: set-2"):
        places.stop(first)
    assert places.start(1) not in (first, second)
    places.stop()
    assert places.sets == {} and launcher.poll() == {}
    assert owner.vacant == [], "those that were stopped are no loss"


def test_a_restart_has_new_processes_in_the_same_set(owner: Owner) -> None:
    launcher = FakeLauncher()
    places = owner.places(launcher)
    first, second = places.start(2), places.start(1)
    places.restart(first)
    assert places.sets == {first: 2, second: 1}
    assert launcher.stopped == ["engine-0", "engine-1"] and names(places) == ["engine-3", "engine-4", "engine-2"]
    places.restart()
    assert len(names(places)) == 3 and set(names(places)).isdisjoint(launcher.stopped)


def test_a_restart_that_cannot_start_can_be_repeated(owner: Owner) -> None:
    launcher = FakeLauncher(slots=2)
    places = owner.places(launcher)
    set_id = places.start(2)
    launcher.slots = 1
    with pytest.raises(EngineStartError):
        places.restart()
    assert places.sets == {set_id: 2} and names(places) == []
    launcher.slots = 2
    places.restart(set_id)
    assert len(names(places)) == 2


def test_closed_places_take_nobody(owner: Owner) -> None:
    launcher = FakeLauncher()
    places = owner.places(launcher)
    places.start(2)
    places.close()
    assert launcher.poll() == {} and places.sets == {}
    with pytest.raises(ParpoolError, match="ended"):
        places.start(1)
    with pytest.raises(ParpoolError, match="ended"):
        places.restart()
    places.close()  # once more


def test_closed_places_may_leave_who_is_there(owner: Owner) -> None:
    launcher = FakeLauncher()
    places = owner.places(launcher)
    places.start(2)
    places.close(stop=False)
    assert len(launcher.poll()) == 2


# The dead -------------------------------------------------------------------------------------------


def test_the_dead_are_replaced_up_to_a_limit(owner: Owner, until: Until) -> None:
    launcher = FakeLauncher()
    places = owner.places(launcher, restarts=2)
    set_id = places.start(2)
    for round, heir in enumerate(["engine-2", "engine-3"]):
        victim = names(places)[0]
        launcher.let(victim, "ended", f"fell over {round}")
        until(lambda heir=heir: heir in launcher.poll())
        assert victim not in launcher.poll() and places.sets == {set_id: 2}
    launcher.let("engine-3", "ended", "fell over again")
    until(lambda: owner.vacant)
    assert owner.vacant == ["engine-3: fell over again"]
    assert list(places.deaths) == ["engine-0: fell over 0", "engine-2: fell over 1", "engine-3: fell over again"]
    assert names(places) == ["engine-1"] and len(launcher.started) == 4
    places.restart()  # has all restarts before it again
    assert len(names(places)) == 2
    launcher.let(names(places)[0], "ended", "fell over at last")
    until(lambda: len(launcher.started) == 7)


def test_who_takes_a_place_has_its_number(owner: Owner, until: Until, tmp_path: Path) -> None:
    line = [sys.executable, "-S", "-c", "import sys, time; print(sys.argv[1], flush=True); time.sleep(600)", "{number}"]
    places = owner.places(ProcessLauncher(Site(tmp_path)), argv=line)
    places.start(2)
    until(lambda: (tmp_path / "engine-1.log").read_text() == "1\n")
    os.kill(places.launcher.record()["processes"]["engine-1"][0], signal.SIGKILL)
    until(lambda: (tmp_path / "engine-2.log").exists() and (tmp_path / "engine-2.log").read_text())
    assert (tmp_path / "engine-2.log").read_text() == "1\n" and (tmp_path / "engine-0.log").read_text() == "0\n"
    places.stop()


def test_with_no_restarts_nobody_is_replaced(owner: Owner, until: Until) -> None:
    launcher = FakeLauncher()
    places = owner.places(launcher, restarts=0)
    places.start(1)
    launcher.let("engine-0", "ended", "fell over")
    until(lambda: owner.vacant == ["engine-0: fell over"])
    assert len(launcher.started) == 1


def test_who_was_told_to_end_is_not_replaced(owner: Owner, until: Until) -> None:
    launcher = FakeLauncher()
    places = owner.places(launcher, told=0)
    set_id = places.start(3)
    ends(launcher, "engine-0", "pid 7 ended with exit code 0", 0)
    until(lambda: places.sets == {set_id: 2})
    ends(launcher, "engine-1", "pid 8 ended with exit code 10: so it says", 10)
    until(lambda: "engine-3" in launcher.poll())
    assert list(places.deaths) == ["engine-1: pid 8 ended with exit code 10: so it says"]
    assert owner.vacant == ["pid 7 ended with exit code 0"]


def test_nobody_is_replaced_where_nobody_is_wanted(owner: Owner, until: Until) -> None:
    launcher = FakeLauncher()
    places = owner.places(launcher)
    set_id = places.start(1)
    owner.wanted = False
    launcher.let("engine-0", "ended", "fell over")
    until(lambda: owner.vacant == ["engine-0: fell over"])
    assert places.sets == {set_id: 0} and not places.deaths


@pytest.mark.parametrize("wanted", [True, False])
def test_of_one_that_its_controller_ended_it_is_waited_whether_all_are(
    owner: Owner, until: Until, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    monkeypatch.setattr(module, "DOUBT", 0.2)
    launcher = FakeLauncher()
    places = owner.places(launcher, told=0)
    places.start(1)
    ends(launcher, "engine-0", "pid 7 ended with exit code 122 (log: /x)", 122)
    until(lambda: not launcher.poll())
    assert not places.deaths and not owner.vacant
    owner.wanted = wanted
    if wanted:
        until(lambda: "engine-1" in launcher.poll())
        assert len(places.deaths) == 1
    else:
        until(lambda: owner.vacant)
        assert not places.deaths and len(launcher.started) == 1


def test_a_start_that_fails_is_tried_again(owner: Owner, until: Until) -> None:
    launcher = FakeLauncher(slots=1)
    places = owner.places(launcher, restarts=3)
    places.start(1)
    launcher.slots = 0
    launcher.let("engine-0", "ended", "fell over")
    until(lambda: len(places.deaths) >= 2)
    launcher.slots = 1
    until(lambda: names(places))
    assert places.deaths[1] == "there is room for 0 processes, and 0 are there"


def test_a_launcher_in_trouble_is_asked_again(owner: Owner, until: Until, caplog: pytest.LogCaptureFixture) -> None:
    class Moody(FakeLauncher):
        mood: Exception | None = None

        def poll(self) -> Any:
            if self.mood is not None:
                raise self.mood
            return super().poll()

    launcher = Moody()
    places = owner.places(launcher)
    places.start(1)
    for launcher.mood in (ParpoolError("not now"), ZeroDivisionError("never")):
        until(lambda: str(launcher.mood) in caplog.text)
    launcher.let("engine-0", "ended", "fell over")
    launcher.mood = None
    until(lambda: "engine-1" in launcher.poll())
    assert caplog.text.count("Traceback") >= 1, "what no launcher should raise is shown in whole"


def test_one_command_for_several_is_replaced_as_a_whole(owner: Owner, until: Until, tmp_path: Path) -> None:
    launcher = ProcessLauncher(Site(tmp_path / "log"), many="env COUNT={n}")
    places = owner.places(launcher, argv=SLEEPER)
    set_id = places.start(3)
    ((name, (n, _)),) = places.states().items()
    assert n == 3 and places.sets == {set_id: 3}
    os.kill(places.pid(), signal.SIGKILL)
    until(lambda: name not in places.states() and places.states())
    ((_, (n, state)),) = places.states(set_id).items()
    assert n == 3 and not state.ended and places.sets == {set_id: 3}


# Processes ------------------------------------------------------------------------------------------


def test_the_end_of_a_process_wakes_us(
    owner: Owner, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY", 3600.0)
    monkeypatch.setattr(module, "LOOK", 3600.0)
    places = owner.places(ProcessLauncher(Site(tmp_path / "log")), argv=SLEEPER)
    places.start(2)
    before = set(pids(places))
    os.kill(pids(places)[0], signal.SIGKILL)
    until(lambda: places.deaths and len(set(pids(places)) - before) == 1)
    assert "was killed by SIGKILL" in places.deaths[0]
    until(lambda: len(pids(places)) == 2)


def test_without_such_news_we_look(owner: Owner, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.deaths, "watch", lambda pid: None)
    monkeypatch.setattr(module, "LOOK", 0.01)
    places = owner.places(ProcessLauncher(Site(tmp_path / "log")), argv=SLEEPER)
    places.start(1)
    os.kill(places.pid(), signal.SIGKILL)
    until(lambda: places.deaths and places.pid())


def test_the_thread_ends_with_its_places(owner: Owner, until: Until, tmp_path: Path) -> None:
    places = owner.places(ProcessLauncher(Site(tmp_path / "log")), argv=SLEEPER)
    places.start(1)
    assert "parpool-places" in [each.name for each in threading.enumerate()]
    places.close()
    until(lambda: "parpool-places" not in [each.name for each in threading.enumerate()])


# Another process ------------------------------------------------------------------------------------


def test_others_take_over_what_is_there(owner: Owner, until: Until, tmp_path: Path) -> None:
    first = owner.places(ProcessLauncher(Site(tmp_path / "log")), argv=SLEEPER)
    first.start(2)
    one = first.start(1)
    first.stop(one)
    set_id = first.start(2)
    os.kill(pids(first)[0], signal.SIGKILL)
    until(lambda: first.deaths and len(pids(first)) == 4)
    record = first.record()
    first.close(stop=False)
    victim = pids(first)[0]
    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)

    second = owner.places(ProcessLauncher(Site(tmp_path / "log")), argv=record["argv"])
    second.adopt(record)
    assert second.sets == {"set-1": 2, set_id: 2} and second.argv == SLEEPER
    until(lambda: len(pids(second)) == 4)
    assert len(set(pids(second)) - set(pids(first))) == 1, "the one that died meanwhile has an heir"
    assert sorted(each.restarts for each in second._chosen(None)) == [0, 0, 1, 1]
    assert second.start(1) not in (one, set_id, "set-1")
    second.close()
    first.close()
