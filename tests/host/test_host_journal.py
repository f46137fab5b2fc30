"""The journal: what was written is read back, whatever has cut it short."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from parpool.core.state import Engine, Task
from parpool.host import journal as journals
from parpool.host.journal import Journal, Past


def begun(folder: Path) -> Journal:
    """The journal of one more controller."""
    journal = Journal(folder / "journal")
    journal.begin(journal.read())
    return journal


def read(folder: Path) -> Past:
    return Journal(folder / "journal").read()


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def holding(id: int, *tasks: Task) -> Engine:
    engine = Engine(id, None, 0.0)
    engine.held = {task.id: task for task in tasks}
    return engine


def test_nothing_was_written(tmp_path: Path) -> None:
    assert read(tmp_path) == Past()
    begun(tmp_path).close(remove=False)
    assert read(tmp_path) == Past()


def test_what_was_written(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.joined(0, "engine-a", 11, "here")
    journal.joined(1, "engine-b", 12, "")
    journal.joined(2, "engine-c", 13, "there")
    journal.given(0, [1, 2, 3])
    journal.given(1, [2])
    journal.lost(2)
    journal.lost(7)  # nobody
    journal.taken_back([3])
    journal.taken_back([])
    journal.close(remove=False)
    past = read(tmp_path)
    assert past.engines == {0: ("engine-a", 11, "here"), 1: ("engine-b", 12, "")}
    assert past.given == {1: 0, 2: 1}
    assert past.next == 3  # the id of one that is lost is not given again


def test_it_is_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        begun(tmp_path).close(remove=False)
    finally:
        os.umask(old)
    assert [path.stat().st_mode & 0o777 for path in files(tmp_path)] == [0o600]


def test_it_is_written_at_once(tmp_path: Path) -> None:
    """Whoever is killed does not close it."""
    journal = begun(tmp_path)
    journal.given(4, [1 << 60])
    assert read(tmp_path).given == {1 << 60: 4}
    journal.close(remove=False)


def test_the_end_for_good(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.given(0, [1])
    journal.close(remove=True)
    journal.close(remove=True)
    assert files(tmp_path) == []
    journal.given(0, [2])  # nobody is to follow
    assert files(tmp_path) == []


def test_several_deaths_in_a_row(tmp_path: Path) -> None:
    """The second may come before anybody has come back to the first that followed."""
    journal = begun(tmp_path)
    journal.joined(0, "engine-a", 11, "here")
    journal.given(0, [1, 2])
    for _ in range(3):
        journal.close(remove=False)
        journal = begun(tmp_path)
    journal.given(0, [3])
    journal.close(remove=False)
    past = read(tmp_path)
    assert past.engines == {0: ("engine-a", 11, "here")} and past.given == {1: 0, 2: 0, 3: 0}


@pytest.mark.parametrize("rest", ["G", "G 1", "G 1 23", "J 3 engine-d 1", "L", "", "V", "C 1", "P 1 2 3"])
def test_a_torn_last_line(tmp_path: Path, rest: str) -> None:
    """Killed while it wrote: the message that the line is about was not sent. And the next one writes on."""
    journal = begun(tmp_path)
    journal.given(0, [1])
    journal.close(remove=False)
    with open(files(tmp_path)[0], "a") as file:
        file.write(rest)
    assert read(tmp_path).given == {1: 0}
    journal = begun(tmp_path)
    journal.given(5, [6])
    journal.close(remove=False)
    past = read(tmp_path)
    assert past.given[1] == 0 and past.given[6] == 5 and not past.engines


@pytest.mark.parametrize(
    "junk", [b"\0" * 100 + b"\n", b"\xff\xfe\n", b"G x 1\nJ 1\nQ\n", b"L 1 2 3 x\n\n\n", b"G 1 2G 3 4\n", b"Z 1 2\n"]
)
def test_junk_in_between(tmp_path: Path, junk: bytes) -> None:
    """A disk that was full for a while, or a machine that went down."""
    journal = begun(tmp_path)
    journal.joined(0, "engine-a", 11, "here")
    journal.given(0, [1])
    path = files(tmp_path)[0]
    with open(path, "ab") as file:
        file.write(junk)
    journal.given(0, [5])
    journal.close(remove=False)
    past = read(tmp_path)
    assert past.given[1] == 0 and past.given[5] == 0 and 0 in past.engines
    begun(tmp_path).close(remove=False)


@pytest.mark.parametrize("hostname", ["my host", "a\nL 0\nb", "\t", "x\r\ny", "\u2028name"])
def test_names_of_machines(tmp_path: Path, hostname: str) -> None:
    """They are what a peer says, and cannot forge a line."""
    journal = begun(tmp_path)
    journal.joined(0, "engine-a", 11, hostname)
    journal.joined(1, "engine-b", 12, "here")
    journal.close(remove=False)
    past = read(tmp_path)
    assert past.engines.keys() == {0, 1} and past.engines[0][:2] == ("engine-a", 11)


# Two files take turns ---------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(journals, "FULL", 300)
    return 300


def test_it_stays_small(tmp_path: Path, full: int) -> None:
    journal = begun(tmp_path)
    journal.joined(0, "engine-a", 11, "here")
    for id in range(2000):
        journal.given(0, [id])
        journal.settle({0: holding(0, Task(id))})
    assert len(files(tmp_path)) == 2
    assert sum(path.stat().st_size for path in files(tmp_path)) < 3 * full
    journal.close(remove=False)
    past = read(tmp_path)
    assert past.engines == {0: ("engine-a", 11, "here")}
    assert past.given[1999] == 0 and len(past.given) < 100


def test_who_holds_what_is_never_forgotten(tmp_path: Path, full: int) -> None:
    """One long task, and thousands of short ones of another engine, for as many turns as it takes."""
    journal = begun(tmp_path)
    long = Task(7)
    journal.given(1, [7])
    for id in range(100, 1000):
        journal.given(0, [id])
        assert read(tmp_path).given[7] == 1 if id % 50 == 0 else True
        if id % 10 == 0:  # the controller's heartbeat
            journal.settle({0: holding(0, Task(id)), 1: holding(1, long)})
    journal.close(remove=False)
    past = read(tmp_path)
    assert past.given[7] == 1 and past.given[999] == 0
    assert past.next == 2


def test_the_newer_file_is_right(tmp_path: Path, full: int) -> None:
    journal = begun(tmp_path)
    for turn in range(40):
        journal.given(turn % 5, range(10))
        assert set(read(tmp_path).given.values()) == {turn % 5}
    journal.close(remove=False)


@pytest.mark.parametrize("by", [0, -3600, 3600])
def test_a_clock_that_jumps(tmp_path: Path, full: int, by: int) -> None:
    """Which of the files is the newer one is not a matter of their times."""
    journal = begun(tmp_path)
    while len(files(tmp_path)) < 2:
        journal.given(1, range(10))
    journal.given(2, range(10))
    journal.close(remove=False)
    newer = max(files(tmp_path), key=lambda path: path.stat().st_mtime_ns)
    for path in files(tmp_path):
        at = time.time() + (by if path == newer else 0)
        os.utime(path, (at, at))
    assert set(read(tmp_path).given.values()) == {2}
    journal = begun(tmp_path)
    journal.given(3, range(10))
    journal.close(remove=False)
    assert set(read(tmp_path).given.values()) == {3}


def test_turns_after_a_death(tmp_path: Path, full: int) -> None:
    """The next one goes on with the newer file."""
    for life in range(6):
        journal = begun(tmp_path)
        journal.joined(life, f"engine-{life}", 1, "here")
        while not journal._turned:
            journal.given(life, range(life * 10, life * 10 + 10))
        journal.given(life, [9999])
        journal.close(remove=False)
        past = read(tmp_path)
        assert past.given[9999] == life and past.given[life * 10] == life
        assert past.engines.keys() == set(range(life + 1))


# Parts of tasks ------------------------------------------------------------------------------------------------


def test_cuts_and_parts(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.given(0, [5])
    journal.cut(5, 30)
    journal.part(105, 5, 30, 40)
    journal.given(1, [105])
    journal.part(205, 5, 40, 50)
    journal.given(2, [205])
    journal.cut(205, 45)
    journal.close(remove=False)
    past = read(tmp_path)
    assert past.cuts == {5: 30, 205: 45}
    assert past.parts == {5: {105: (30, 40), 205: (40, 50)}}
    assert past.given == {5: 0, 105: 1, 205: 2}


def test_parts_are_carried_over(tmp_path: Path, full: int) -> None:
    """When the files have taken turns, the parts of what is still held are known."""
    journal = begun(tmp_path)
    whole = Task(5, count=30)
    part = Task(105, whole=5, first=30, count=40)
    journal.given(0, [5])
    journal.cut(5, 30)
    journal.part(105, 5, 30, 40)
    journal.given(1, [105])
    for id in range(1000, 1200):
        journal.given(2, [id])
        journal.settle({0: holding(0, whole), 1: holding(1, part)})
    journal.close(remove=False)
    past = read(tmp_path)
    assert past.cuts[5] == 30 and past.parts[5][105] == (30, 40)
    assert past.given[5] == 0 and past.given[105] == 1


def test_what_is_over_and_who_is_gone(tmp_path: Path, full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told on, through all turns and by each controller to the next, up to a bound."""
    monkeypatch.setattr(journals, "OVER", 5)
    journal = begun(tmp_path)
    journal.over(3, {71: 1, 72: 9})
    journal.over(3, {})
    journal.kept(20, "a" * 32, True)
    journal.kept(21, "b" * 32, False)
    journal.kept(22, "c" * 32, False)
    journal.kept(23, "two words\nG 0 1", True)
    journal.back(22)
    for _ in range(3):
        for id in range(1000, 1100):
            journal.given(2, [id])
            journal.settle({})
        past = read(tmp_path)
        assert past.over == {71: (3, 1), 72: (3, 9)} and past.next == 4
        assert past.kept == {20: ("a" * 32, True), 21: ("b" * 32, False)}
        journal.close(remove=False)
        journal = begun(tmp_path)
    journal.over(4, {id: 1 for id in range(100, 105)})
    for id in range(1000, 1200):
        journal.given(2, [id])
        journal.settle({})
    journal.close(remove=False)
    assert read(tmp_path).over == {id: (4, 1) for id in range(100, 105)}


# A disk that is full ----------------------------------------------------------------------------------------------


def test_a_full_disk(tmp_path: Path) -> None:
    """Work goes on, and `status` tells."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    (tmp_path / "journal.0").symlink_to("/dev/full")
    journal = Journal(tmp_path / "journal")
    journal.begin(Past())
    journal.given(0, [1])
    assert "space" in journal.failed
    journal.close(remove=False)


def test_no_folder_to_write_in(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "nowhere" / "journal")
    assert journal.read() == Past()
    with pytest.raises(OSError):
        journal.begin(Past())
    journal.close(remove=True)
