"""How arrays that are one memory end: with their views, calls and processes, whichever is the last."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from mounts import run_behind
from sharing import add, pool, total

import parpool
from parpool.shm import files, memory

__all__ = ["pool"]

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(not files.possible or not os.path.isdir("/dev/shm"), reason="needs /dev/shm")

kept: list[Any] = []


def keep(a: Any) -> None:
    kept.append(a)


def give_kept() -> Any:
    return kept[-1]


def shared_files() -> list[str]:
    """The files of shared memory that there are."""
    return [str(path) for path in Path(os.environ["PARPOOL_RUNTIME_DIR"]).glob("parpool-*/shared-*")]


def test_it_ends_with_the_last_view_and_gives_its_memory_back(pool: parpool.Pool) -> None:
    a = parpool.share(numpy.ones(2_000_000))
    view = a[5:7]
    assert pool.client[:].apply_sync(total, a) == [2e6] * 2  # which both have mapped from here on
    del a
    gc.collect()
    assert len(shared_files()) == 1
    (path,) = shared_files()
    watcher = os.open(path, os.O_RDONLY)
    try:
        del view
        gc.collect()
        assert not shared_files()
        assert os.fstat(watcher).st_blocks * 512 < 100_000, "though engines keep it mapped"
    finally:
        os.close(watcher)


def test_the_end_of_one_waits_for_nobody() -> None:
    a, b = parpool.share(numpy.ones(1000)), parpool.share(numpy.ones(1000))
    with memory._lock:  # as though another thread were just making some, and waited for what this one has
        del a
        gc.collect()
        assert len(shared_files()) == 2
    with b:
        pass
    assert not shared_files(), "it was done afterwards"


def test_many_threads_share_and_let_go() -> None:
    def use() -> None:
        for number in range(100):
            with parpool.share(numpy.full(100, float(number))) as a:
                assert a.shared and a.sum() == 100 * number
            assert not a.shared

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    del use
    gc.collect()
    assert not shared_files() and memory._session is None


def fork_and_end(a: Any, path: Path) -> int:
    if (pid := os.fork()) == 0:
        wait_for(path)
        os._exit(int(a.sum() == 10_000))
    return pid


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_a_child_of_an_engine_has_is_not_taken_from_it(pool: parpool.Pool, tmp_path: Path) -> None:
    a = parpool.share(numpy.ones(10_000))
    view = pool.client[0]
    pid = view.apply_sync(fork_and_end, a, tmp_path / "go")
    del a
    gc.collect()
    assert not shared_files()
    (tmp_path / "go").touch()
    assert view.apply_sync(status_of, pid) == 1, "its pages were not given back"


def test_what_was_shared_before_a_fork_is_one_memory_with_the_child(pool: parpool.Pool) -> None:
    a = parpool.share(numpy.zeros(10))
    with parpool.Pool(1, context=multiprocessing.get_context("fork")) as forked:
        forked.apply(add, (a, 1.0))
        assert a.sum() == 10
        view = forked.client[0]
        view.apply_sync(keep, a)
        del a
        gc.collect()
        assert view.apply_sync(give_kept).sum() == 10, "its pages were not given back"
    forked.join()


KILLED = r"""
import os, signal, numpy, parpool
if __name__ == "__main__":
    a = parpool.share(numpy.ones(500_000))
    os.write(1, os.path.dirname(a._block.memory.path).encode() + b"\n")
    signal.pause()
"""


def test_nothing_is_left_of_a_process_that_was_killed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = process.stdout.readline().strip()
    assert os.listdir(folder) and os.stat(folder).st_mode & 0o077 == 0
    process.send_signal(signal.SIGKILL)
    process.communicate()
    a = parpool.share(numpy.ones(3))
    assert not os.path.exists(folder) and a.shared


def test_a_process_that_ends_removes_its_files() -> None:
    code = KILLED.replace("signal.pause()", "raise SystemExit")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    assert not os.path.exists(done.stdout.strip())


def test_memory_that_is_gone_is_an_error_that_says_so(tmp_path: Path) -> None:
    bad = tmp_path / "shared-0"
    bad.write_bytes(b"x" * 10_000)
    for path in (tmp_path / "no", bad, tmp_path):
        with pytest.raises(parpool.SerializationError, match="gone"):
            memory.attach(str(path))


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_call_that_is_too_late_for_it_is_told(pool: parpool.Pool, tmp_path: Path) -> None:
    a = parpool.share(numpy.ones(100_000))
    busy = [pool.apply_async(wait_for, (tmp_path / "go",)) for _ in range(2)]
    late = pool.apply_async(total, (a,))
    a.unshare()
    (tmp_path / "go").touch()
    with pytest.raises(parpool.SerializationError, match="gone"):
        late.get(60)
    for each in busy:
        each.get(60)


SMALL_DISK = r"""
import numpy, parpool
def total(a): return a.sum()
if __name__ == "__main__":
    some = parpool.share(numpy.ones(250_000))  # 2 MB, on 3
    assert some.shared
    for more in (parpool.share(numpy.ones(250_000)), parpool.empty_shared(250_000)):
        assert not more.shared
        more[:] = 2
        with parpool.Pool(1) as pool:
            assert pool.apply(total, (more,)) == 500_000 and pool.apply(total, (some,)) == 250_000
        pool.join()
    del some
    assert parpool.empty_shared(250_000).shared
"""


def test_where_there_is_no_room_it_is_like_any_array(tmp_path: Path) -> None:
    script = tmp_path / "small.py"
    script.write_text(SMALL_DISK)
    done = run_behind("mount -t tmpfs -o size=3m tmpfs /dev/shm", script)
    assert done.returncode == 0, done.stderr
