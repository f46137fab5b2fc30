"""Where file descriptors run out, a pool is an error, or waits for some: it does not end its process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parpool.net.room import check_room

resource = pytest.importorskip("resource")

AT_THE_BEGINNING = """
import multiprocessing, os, resource
from parpool import Pool

if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ends = []
    for spare in range(8, 48):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + spare, hard))
        try:
            with Pool(2, context=multiprocessing.get_context("fork")) as pool:
                ends.append(pool.map_async(abs, [-1, -2], 1).get(30))
            pool.join()
        except OSError as error:
            assert error.errno == 24, error
            ends.append(None)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert ends[0] is None and ends[-1] == [1, 2] and ends == sorted(ends, key=bool), ends
"""

LATER = """
import multiprocessing, os, resource, signal, sys
from parpool import Pool

def end(x):
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for spare in (1, 4, 10):
        with Pool(3, context=multiprocessing.get_context(sys.argv[1])) as pool:
            pool.client
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + spare, hard))
            for _ in range(2):
                assert "SIGKILL" in str(pool.apply_async(end, (0,)).get(30, return_exceptions=True))
                assert pool.map_async(abs, [-1, -2], 1).get(30) == [1, 2]
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert pool.client.wait_for_engines(3, 30)
            assert pool.map_async(abs, [-1, -2], 1).get(30) == [1, 2]
        pool.join()
"""


@pytest.fixture
def limit() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = max(map(int, os.listdir("/dev/fd"))) + 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    yield few
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_check_room(limit: int) -> None:
    before = os.listdir("/dev/fd")
    check_room(5)
    with pytest.raises(OSError, match=f"there must be {limit} to spare") as raised:
        check_room(limit)
    assert raised.value.errno == errno.EMFILE and raised.value.filename is None
    assert os.listdir("/dev/fd") == before


@pytest.mark.parametrize(
    ("script", "method"),
    [(AT_THE_BEGINNING, "fork"), (LATER, "fork"), (LATER, "spawn")],
    ids=["at the beginning", "later", "later, spawned"],
)
def test_a_pool_without_room(script: str, method: str, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(script)
    ran = subprocess.run([sys.executable, path, method], capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0 and not ran.stderr, (ran.returncode, ran.stderr[-3000:])
