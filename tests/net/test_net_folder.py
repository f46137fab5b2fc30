"""Private folders, files that are written whole, and the lock of a controller."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parpool.errors import ConnectionFileError
from parpool.net.folder import LOCK, ControllerLock, holder, make_folder, running, write_private

posix = pytest.mark.skipif(os.name == "nt", reason="modes and flock")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@posix
def test_folders_and_files_are_private(tmp_path: Path, umask: None) -> None:
    write_private(tmp_path / "a" / "b" / "c.json", b"secret")
    assert [mode(tmp_path / each) for each in ("a", "a/b", "a/b/c.json")] == [0o700, 0o700, 0o600]
    (tmp_path / "a" / "b" / "c.json").chmod(0o644)
    write_private(tmp_path / "a" / "b" / "c.json", b"another")
    assert mode(tmp_path / "a" / "b" / "c.json") == 0o600
    assert os.listdir(tmp_path / "a" / "b") == ["c.json"]


@posix
def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine").chmod(0o750)
    make_folder(tmp_path / "mine" / "new")
    make_folder(tmp_path / "mine" / "new")
    assert mode(tmp_path / "mine") == 0o750 and mode(tmp_path / "mine" / "new") == 0o700


def test_a_reader_finds_the_old_or_the_new(tmp_path: Path) -> None:
    path, texts = tmp_path / "file", [bytes([65 + n]) * 100_000 for n in range(2)]
    write_private(path, texts[0])
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            for text in texts:
                write_private(path, text)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        seen = {path.read_bytes() for _ in range(500)}
    finally:
        stop.set()
        writer.join()
    assert seen <= set(texts)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_private(tmp_path / "folder", b"")  # no file can take its place
    with pytest.raises(TypeError):
        write_private(tmp_path / "file", "no bytes")  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == ["folder"]
    with pytest.raises(OSError):
        make_folder(tmp_path / "folder" / ("x" * 300))


# The lock -------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from parpool.net.folder import ControllerLock
lock = ControllerLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a process that holds the lock of the folder until its stdin ends."""
    held: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", HOLD, str(tmp_path)]
        held.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert held[-1].stdout and held[-1].stdout.readline() == b"held\n"
        return held[-1]

    yield start
    for process in held:
        process.kill()
        process.communicate()


@posix
@pytest.mark.parametrize("end", ["killed", "ended"])
def test_a_lock_lasts_as_long_as_its_process(
    hold: Callable[[], subprocess.Popen[bytes]], tmp_path: Path, end: str
) -> None:
    assert not running(tmp_path) and holder(tmp_path) is None
    process = hold()
    assert holder(tmp_path) == (process.pid, socket.gethostname()) and running(tmp_path)
    with pytest.raises(ConnectionFileError, match=rf"(?s)already \(pid {process.pid} on .*{tmp_path}.*parpool stop"):
        ControllerLock(tmp_path)
    assert running(tmp_path)
    if end == "killed":
        process.kill()
    process.communicate()
    assert not running(tmp_path)
    with ControllerLock(tmp_path):
        assert holder(tmp_path) == (os.getpid(), socket.gethostname())
    assert not running(tmp_path)


@posix
def test_a_process_does_not_lock_twice(tmp_path: Path) -> None:
    with ControllerLock(tmp_path / "new") as lock:
        assert mode(tmp_path / "new") == 0o700 and mode(tmp_path / "new" / LOCK) == 0o600
        with pytest.raises(ConnectionFileError, match=f"pid {os.getpid()}"):
            ControllerLock(tmp_path / "new")
        assert running(tmp_path / "new")
        lock.release()
        lock.release()
        assert not running(tmp_path / "new")
        ControllerLock(tmp_path / "new").release()


@posix
def test_a_look_at_the_lock_keeps_no_controller_out(tmp_path: Path) -> None:
    ControllerLock(tmp_path).release()
    stop, looks = threading.Event(), 0

    def look() -> None:
        nonlocal looks
        while not stop.is_set():
            running(tmp_path)
            looks += 1

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(200):
            ControllerLock(tmp_path).release()
    finally:
        stop.set()
        thread.join()
    assert looks


@posix
def test_who_holds_a_lock_without_a_word_is_waited_for_and_then_named_as_new(tmp_path: Path) -> None:
    import fcntl

    with open(tmp_path / LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holder(tmp_path) == (0, "") and running(tmp_path)
        with pytest.raises(ConnectionFileError, match="one that has just begun"):
            ControllerLock(tmp_path)
    assert not running(tmp_path)


@posix
@pytest.mark.parametrize("text", ["", "x y", "12", "1" * 30, "\x00\xff", "-1 host"])
def test_garbage_in_a_lock_does_no_harm(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK).write_text(text)
    assert not running(tmp_path)
    with ControllerLock(tmp_path):
        assert holder(tmp_path) == (os.getpid(), socket.gethostname())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_what_was_forked_does_not_keep_the_lock(hold: Callable[[], subprocess.Popen[bytes]], tmp_path: Path) -> None:
    forks = """
import os
ready, child = os.pipe()
if os.fork() == 0:
    os.write(child, b"!"); sys.stdin.read(); os._exit(0)
os.read(ready, 1)  # it runs, and has closed what it has to
"""
    script = HOLD.replace("print(", forks + "print(")
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdin=reading, stdout=subprocess.PIPE)
    os.close(reading)
    assert process.stdout is not None
    process.stdout.readline()
    assert running(tmp_path)
    process.kill()
    process.wait()
    try:
        assert not running(tmp_path)  # though its child lives
    finally:
        os.close(writing)
        assert process.stdout.read() == b""  # the child has ended
        process.stdout.close()


@posix
def test_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems. What the file says must do."""
    import errno
    import fcntl

    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConnectionFileError, match=f"{tmp_path} has no locks.*PARPOOL_DIR"):
        ControllerLock(tmp_path)
    for text, runs in [
        ("", False),
        (f"{os.getpid()} {socket.gethostname()}", True),
        (f"{dead_pid()} {socket.gethostname()}", False),
        ("1 elsewhere", True),
    ]:
        (tmp_path / LOCK).write_text(text)
        assert running(tmp_path) == runs


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
