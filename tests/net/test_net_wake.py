"""Wake: readable from set to clear. Deaths: readable from a process's end on."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from parpool.net import deaths
from parpool.net.wake import Wake


@pytest.fixture(params=["eventfd", "sockets"])
def wake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wake]:
    if request.param == "sockets":
        monkeypatch.delattr(os, "eventfd", raising=False)
    elif not hasattr(os, "eventfd"):
        pytest.skip("this system has none")
    made = Wake()
    yield made
    made.close()


def readable(fd: int, seconds: float = 0) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])


def test_set_and_clear(wake: Wake) -> None:
    assert not readable(wake.fd)
    wake.set()
    assert readable(wake.fd) and readable(wake.fd)
    wake.clear()
    assert not readable(wake.fd)
    wake.clear()
    assert not readable(wake.fd)


def test_many_sets_are_one(wake: Wake) -> None:
    for _ in range(3000):
        wake.set()
    wake.clear()
    assert not readable(wake.fd)
    wake.set()
    assert readable(wake.fd)


def test_sets_without_end(wake: Wake) -> None:
    for _ in range(200_000):  # more than a socket holds
        wake.set()
    assert readable(wake.fd)
    deadline = time.monotonic() + 10
    while readable(wake.fd) and time.monotonic() < deadline:
        wake.clear()
    assert not readable(wake.fd)


def test_it_wakes_another_thread(wake: Wake) -> None:
    threading.Timer(0.05, wake.set).start()
    assert readable(wake.fd, 5)


def test_it_is_not_inherited(wake: Wake) -> None:
    assert not os.get_inheritable(wake.fd)


def test_close_twice(wake: Wake) -> None:
    wake.close()
    wake.close()


# Deaths ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has none")
@pytest.mark.parametrize("how", ["killed", "ended"])
def test_a_death_is_seen_at_once(how: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    fd = deaths.watch(process.pid)
    assert fd is not None
    assert not readable(fd) and deaths.alive(process.pid)
    if how == "killed":
        process.kill()
    else:
        assert process.stdin is not None
        process.stdin.close()
    assert readable(fd, 10)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()
    assert readable(fd) and not deaths.alive(process.pid)
    os.close(fd)
    late = deaths.watch(process.pid)
    assert late is not None and readable(late)
    os.close(late)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_what_the_dead_has_forked_does_not_hide_it() -> None:
    """As a pipe's end would, that its children hold open."""
    script = "import os, time\nif os.fork() == 0:\n    time.sleep(20)\nprint(os.getpid(), flush=True)\nimport sys; sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None and process.stdin is not None
    process.stdout.readline()
    fd = deaths.watch(process.pid)
    process.kill()
    if fd is not None:
        assert readable(fd, 10)
        os.close(fd)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    os.killpg(process.pid, 9)


def test_where_the_system_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    assert deaths.watch(os.getpid()) is None
    monkeypatch.delattr(os, "pidfd_open")
    assert deaths.watch(os.getpid()) is None


def test_alive() -> None:
    assert deaths.alive(os.getpid()) and deaths.alive(1)


def test_a_set_beside_the_close_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[BaseException] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(500):
            made, go = Wake(), threading.Event()

            def hammer(made: Wake = made, go: threading.Event = go) -> None:
                go.wait()
                try:
                    for _ in range(30):
                        made.set()
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=hammer) for _ in range(3)]
            for thread in threads:
                thread.start()
            go.set()
            made.set()
            made.close()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors
