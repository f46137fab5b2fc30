"""The flight recorder: what an engine wrote is read after its death, whole or not at all."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parpool.shm.recorder import HEADER, PAGE, SIZE, Recorder, Recording


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "engine")


def read(path: str) -> Recording:
    recording = Recording.read(path)
    assert recording is not None
    return recording


def test_a_new_one_is_empty(path: str) -> None:
    recorder = Recorder(path)
    assert recorder.pending == 0 and recorder.take() == (0, b"")
    assert os.stat(path).st_size == SIZE
    assert os.stat(path).st_mode & 0o777 == 0o600
    recording = read(path)
    assert recording.running is None and recording.pages == []
    assert not os.path.exists(path)
    recorder.close()


def test_what_was_written_is_taken_once_and_read_later(path: str) -> None:
    recorder = Recorder(path)
    recorder.begin(7, 3)
    recorder.write(b"one")
    recorder.write(b"two!")
    assert recorder.pending == 2
    assert recorder.take() == (2, b"onetwo!")
    assert recorder.pending == 0 and recorder.take() == (0, b"")
    recorder.write(b"three")
    assert recorder.take() == (1, b"three")
    recorder.close()
    recording = read(path)
    assert recording.running == (7, 3)
    assert recording.pages == [(3, b"onetwo!three")]


def test_nothing_runs_between_two_tasks(path: str) -> None:
    recorder = Recorder(path)
    recorder.begin(0, 0)
    recorder.begin(-1, 0)
    recorder.close()
    assert read(path).running is None


def test_task_zero_runs(path: str) -> None:
    recorder = Recorder(path)
    recorder.begin(0, 5)
    recorder.close()
    assert read(path).running == (0, 5)


def test_begin_after_the_close_does_nothing(path: str) -> None:
    recorder = Recorder(path)
    recorder.close()
    recorder.begin(5, 5)
    assert read(path).running is None


def test_large_ids(path: str) -> None:
    recorder = Recorder(path)
    recorder.begin(2**62, 2**40)
    recorder.close()
    assert read(path).running == (2**62, 2**40)


def test_fits(path: str) -> None:
    recorder = Recorder(path)
    assert recorder.fits(PAGE) and not recorder.fits(PAGE + 1)
    recorder.write(b"x" * 100)
    assert recorder.fits(PAGE - 100) and not recorder.fits(PAGE - 99)
    recorder.write(b"y" * (PAGE - 100))
    assert recorder.fits(0) and not recorder.fits(1)
    recorder.close()
    assert read(path).pages == [(2, b"x" * 100 + b"y" * (PAGE - 100))]


def test_pages_are_turned(path: str) -> None:
    recorder = Recorder(path)
    recorder.write(b"a" * (PAGE // 2 - 1))
    recorder.take()
    recorder.turn()  # not half full: it stays
    recorder.write(b"b")
    recorder.take()
    recorder.turn()
    assert recorder.fits(PAGE)
    recorder.write(b"second")
    assert recorder.take() == (1, b"second")
    # the page before the current one is left alone: its messages may not have left the process
    with open(path, "rb") as file:
        data = file.read()
    assert data[HEADER : HEADER + PAGE // 2] == b"a" * (PAGE // 2 - 1) + b"b"
    recorder.write(b"c" * (PAGE // 2))
    recorder.take()
    recorder.turn()
    recorder.write(b"third")
    recorder.close()
    assert sorted(read(path).pages) == sorted([(1, b"third"), (2, b"second" + b"c" * (PAGE // 2))])


@given(st.lists(st.tuples(st.integers(1, PAGE), st.booleans()), max_size=30))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_used_as_an_engine_does(path: str, writes: list[tuple[int, bool]]) -> None:
    """Whatever the sizes: all that is taken is what was written, and the newest can be read at any time."""
    recorder = Recorder(path)
    written: list[bytes] = []
    taken: list[bytes] = []

    def flush() -> None:
        if recorder.pending:
            _, data = recorder.take()
            taken.append(data)
            recorder.turn()

    for number, (size, at_once) in enumerate(writes):
        outcome = bytes([number % 251]) * size
        if not recorder.fits(size):
            flush()
        if not recorder.fits(size):
            continue  # such a one is sent by itself
        recorder.write(outcome)
        written.append(outcome)
        if at_once:
            flush()
    pending = recorder.take()[1]
    recorder.close()
    assert b"".join(taken) + pending == b"".join(written)
    pages = [data for _, data in read(path).pages]
    if pending:
        assert any(page.endswith(pending) for page in pages)
    if written:
        assert any(page.endswith(written[-1]) for page in pages)


def test_taken_by_another_thread_while_it_is_written(path: str) -> None:
    recorder = Recorder(path)
    taken: list[tuple[int, bytes]] = []
    ending = threading.Event()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def take() -> None:
        while not ending.is_set():
            taken.append(recorder.take())

    thread = threading.Thread(target=take)
    thread.start()
    try:
        count = 0
        while recorder.fits(8):
            recorder.write(struct.pack("<q", count))
            count += 1
    finally:
        sys.setswitchinterval(interval)
        ending.set()
        thread.join()
    taken.append(recorder.take())
    assert sum(number for number, _ in taken) == count
    assert all(len(data) == 8 * number for number, data in taken)
    assert b"".join(data for _, data in taken) == b"".join(struct.pack("<q", i) for i in range(count))
    recorder.close()


# After a death ------------------------------------------------------------------------------------------

WRITER = """
import os, signal, sys
from parpool.shm.recorder import Recorder
recorder = Recorder(sys.argv[1])
for id in range(1000):
    recorder.begin(id, id % 7)
    if id == 777:
        os.kill(os.getpid(), signal.SIGKILL)
    outcome = b"%04d" % id
    if not recorder.fits(len(outcome)):
        recorder.take()
    recorder.write(outcome)
    recorder.begin(-1, 0)
"""


def test_read_after_sigkill(path: str) -> None:
    done = subprocess.run([sys.executable, "-c", WRITER, path])
    assert done.returncode == -9
    recording = read(path)
    assert recording.running == (777, 777 % 7)
    assert recording.pages == [(777, b"".join(b"%04d" % id for id in range(777)))]
    assert Recording.read(path) is None


ENDLESS = """
import sys
from parpool.shm.recorder import Recorder
recorder = Recorder(sys.argv[1])
print("ready", flush=True)
id = 0
while True:
    recorder.begin(id, 0)
    if not recorder.fits(6):
        recorder.take()
        recorder.turn()
    recorder.write(b"%06d" % (id % 1000000))
    id += 1
"""


def test_killed_in_the_middle_of_anything(path: str) -> None:
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", ENDLESS, path], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.communicate()
        recording = read(path)
        for count, data in recording.pages:
            assert len(data) == 6 * count
            numbers = [int(data[i : i + 6]) for i in range(0, len(data), 6)]
            assert numbers == list(range(numbers[0], numbers[0] + count))
        if recording.running and recording.pages:
            last = max(int(data[-6:]) for _, data in recording.pages)
            assert recording.running[0] in (last, last + 1)


# What is no recording -------------------------------------------------------------------------------------


def test_no_file(path: str) -> None:
    assert Recording.read(path) is None


@pytest.mark.parametrize("size", [0, 1, HEADER, SIZE - 1, SIZE + 1])
def test_a_file_of_another_size(path: str, size: int) -> None:
    Path(path).write_bytes(b"\0" * size)
    assert Recording.read(path) is None
    assert not os.path.exists(path)


@given(st.binary(min_size=HEADER, max_size=HEADER))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_of_nonsense(path: str, header: bytes) -> None:
    Path(path).write_bytes(header + b"\xaa" * (2 * PAGE))
    recording = read(path)
    for count, data in recording.pages:
        assert count > 0 and 0 < len(data) <= PAGE


def test_a_count_beyond_everything(path: str) -> None:
    Path(path).write_bytes(struct.pack("<qqqqqq", 1, 0, 2**40, 10, 5, 2**50) + bytes(SIZE - 48))
    for count, data in read(path).pages:
        assert len(data) == 10, (count, len(data))


# Where no file can be had -------------------------------------------------------------------------------------


def used(recorder: Recorder) -> None:
    """It works all the same; there will only be nothing to read."""
    recorder.begin(1, 0)
    recorder.write(b"one")
    assert recorder.pending == 1 and recorder.take() == (1, b"one")
    recorder.turn()
    recorder.close()


def test_without_a_path() -> None:
    used(Recorder(None))


def test_a_full_disk(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    recorder = Recorder(path)
    assert not os.path.exists(path)
    used(recorder)
    assert Recording.read(path) is None


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    used(Recorder(str(tmp_path / "gone" / "engine")))


def test_a_file_that_is_there_already(path: str) -> None:
    Path(path).write_text("not ours")
    used(Recorder(path))
    assert Path(path).read_text() == "not ours"


@pytest.mark.skipif(not os.path.exists("/dev/full") or os.geteuid() != 0, reason="mounts a small file system")
def test_a_small_file_system(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("cannot mount here")
    try:
        used(Recorder(str(small / "engine")))
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
