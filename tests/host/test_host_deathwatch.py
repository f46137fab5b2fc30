"""Which of the engines' processes have ended."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from parpool.host.deathwatch import Deathwatch
from parpool.net import deaths


@pytest.fixture(params=["told", "looking"])
def watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deathwatch]:
    if request.param == "looking":
        monkeypatch.setattr(deaths, "watch", lambda pid: None)
    made = Deathwatch()
    yield made
    made.close()


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    made = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(3)]
    yield made
    for process in made:
        process.kill()
        process.communicate()


def await_gone(watch: Deathwatch, count: int) -> list[str]:
    found: list[str] = []
    deadline = time.monotonic() + 10
    while len(found) < count and time.monotonic() < deadline:
        select.select(watch.fds, [], [], 0.05)
        found += watch.gone()
    return found


def test_the_dead_are_named_once(watch: Deathwatch, processes: list[subprocess.Popen[bytes]]) -> None:
    for number, process in enumerate(processes):
        watch.watch(f"engine-{number}", process.pid)
    assert watch.gone() == []
    processes[1].kill()
    processes[1].wait()
    assert await_gone(watch, 1) == ["engine-1"]
    assert watch.gone() == []
    for process in processes:
        process.kill()
        process.wait()
    assert sorted(await_gone(watch, 2)) == ["engine-0", "engine-2"]
    assert not watch.must_look


def test_watched_twice(watch: Deathwatch, processes: list[subprocess.Popen[bytes]]) -> None:
    watch.watch("engine", processes[0].pid)
    watch.watch("engine", processes[0].pid)
    processes[0].kill()
    processes[0].wait()
    assert await_gone(watch, 1) == ["engine"] and watch.gone() == []


def test_dead_before_it_was_watched(watch: Deathwatch, processes: list[subprocess.Popen[bytes]]) -> None:
    processes[0].kill()
    processes[0].wait()
    watch.watch("engine", processes[0].pid)
    if not watch.blind:
        assert select.select(watch.fds, [], [], 0)[0], "nothing else would end the sleep of who waits for it"
    assert await_gone(watch, 1) == ["engine"] and watch.gone() == []
