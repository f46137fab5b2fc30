"""Large arrays where memory is short, forbidden, or not there: real file systems, real limits, real deaths.

Each test runs a script of its own; those that mount something do so where nobody else sees it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mounts import run_behind

from parpool.shm import files

pytest.importorskip("numpy")
pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not files.possible or not os.path.isdir("/dev/shm"), reason="needs /dev/shm"),
]

HEAD = """
import errno, multiprocessing, os, resource, signal, sys, time, warnings
import numpy, parpool

# Python 3.12 and later say so whenever a process with threads forks, as one case does to become another user.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def add(a):
    a += 1
    return a

def total(a):
    return float(a.sum())

def hold(a):
    os.kill(os.getpid(), signal.SIGKILL)

def folder(pool):
    return pool._link._host.session.folder

def bytes_of(pool, who=""):
    names = [name for name in os.listdir(folder(pool)) if name.startswith("memory-" + who)]
    return sum(os.stat(os.path.join(folder(pool), name)).st_blocks * 512 for name in names)

def rounds(pool, count=1):
    '''To engines and back, one by one, in maps and pushed.'''
    items = [numpy.full(125_000, float(n)) for n in range(6)]  # 1 MB each
    for _ in range(count):
        assert pool.apply(total, (items[3],)) == 375_000
        assert all((back == item + 1).all() for back, item in zip(pool.map(add, items), items))
        results = [pool.apply_async(add, (item,)) for item in items]
        assert all((result.get() == item + 1).all() for result, item in zip(results, items))
        pool.client[:].push({"pushed": items[5]}, block=True)
        assert pool.client[:].pull("pushed.sum()", block=True) == [625_000] * 2
"""


def run(tmp_path: Path, body: str, mounts: str = "", skip: str = "") -> None:
    """Run a script, after these commands, which nobody else sees the effects of."""
    script = tmp_path / "script.py"
    script.write_text(HEAD + "\nif __name__ == '__main__':\n" + "\n".join("    " + line for line in body.splitlines()))
    if mounts:
        done = run_behind(mounts, script, skip)
    else:
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, done.stderr


NO_MEMORY = """
with parpool.Pool(2) as pool:
    assert not folder(pool).startswith("/dev/shm")
    rounds(pool, 2)
    assert pool._link._store.threshold is None
    with parpool.share(numpy.zeros(1000)) as a:
        assert not a.shared and pool.apply(add, (a,)).sum() == 1000
pool.join()
"""


def test_without_dev_shm(tmp_path: Path) -> None:
    # Not by removing it: under the mount may be a folder that is everybody's.
    devices = "for each in null zero full random urandom; do touch $D/$each; mount --bind /dev/$each $D/$each; done"
    there = tmp_path / "dev"
    there.mkdir()
    run(
        tmp_path,
        NO_MEMORY,
        f"D={there}; mount -t tmpfs tmpfs $D && {devices} && mount --rbind $D /dev && test ! -e /dev/shm",
    )


def test_where_dev_shm_cannot_be_written_to(tmp_path: Path) -> None:
    run(tmp_path, NO_MEMORY, "mount -t tmpfs -o ro tmpfs /dev/shm")


WITH_MEMORY = """
with parpool.Pool(2) as pool:
    assert folder(pool).startswith("/dev/shm/")
    rounds(pool, 2)
    assert bytes_of(pool, "client") > 900_000 and bytes_of(pool, "engine") > 900_000
    with parpool.share(numpy.zeros(1000)) as a:
        pool.apply(add, (a,))
        assert a.shared and a.sum() == 1000
pool.join()
assert os.listdir("/dev/shm") == []
"""


def test_where_nothing_may_be_executed(tmp_path: Path) -> None:
    run(tmp_path, WITH_MEMORY, "mount -t tmpfs -o noexec,nosuid,nodev,mode=1777,size=64m tmpfs /dev/shm")


FEW = """
try:
    with parpool.Pool(2) as pool:
        rounds(pool, 2)
    pool.join()
except OSError as error:
    assert not enough and "No space left on device" in str(error) and "/dev/shm/" in str(error), error
assert os.listdir("/dev/shm") == []
"""


def test_where_there_are_few_inodes(tmp_path: Path) -> None:
    # Eight are needed for sockets and the like. Then come recorders, one for each engine, and regions; but a recorder may
    # be there before the last socket, for which there is no room then: which is said.
    for inodes in (8, 9, 10, 11, 13):
        body = f"enough = {inodes >= 11}\n{FEW}"
        run(tmp_path, body, f"mount -t tmpfs -o size=64m,nr_inodes={inodes} tmpfs /dev/shm")


FILLED = """
def fill():
    '''Take what is left.'''
    with open("/dev/shm/ballast", "wb", buffering=0) as file:
        for size in (2**20, 2**12):
            try:
                while True:
                    assert file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC

with parpool.Pool(2) as pool:
    rounds(pool)
    before = bytes_of(pool)
    assert before > 2_000_000
    under_way = [pool.apply_async(add, (numpy.full(125_000, float(n)),)) for n in range(12)]
    fill()
    assert all((result.get() == n + 1).all() for n, result in enumerate(under_way))
    some = parpool.share(numpy.ones(1_000_000))
    assert not some.shared and pool.apply(total, (some,)) == 1_000_000
    large = numpy.ones(2_000_000)  # of a size that has no memory yet
    assert pool.apply(add, (large,)).sum() == 4_000_000
    rounds(pool, 2)
    del under_way
    os.unlink("/dev/shm/ballast")
    had = bytes_of(pool)
    for _ in range(3):
        assert pool.apply(add, (large,)).sum() == 4_000_000
    assert bytes_of(pool) > had, "it goes by shared memory again"
    assert parpool.share(numpy.ones(100_000)).shared
    rounds(pool)
pool.join()
assert os.listdir("/dev/shm") == []
"""


def test_full_in_mid_work(tmp_path: Path) -> None:
    run(tmp_path, FILLED, "mount -t tmpfs -o size=60m tmpfs /dev/shm")


def test_a_users_quota(tmp_path: Path) -> None:
    body = "os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n" + (
        "with parpool.Pool(2, context=multiprocessing.get_context('fork')) as pool:\n"
        "    assert folder(pool).startswith('/dev/shm/')\n"
        "    rounds(pool, 3)\n"
        "    assert 0 < bytes_of(pool) <= 4 * 2**20\n"
        "    assert not parpool.share(numpy.ones(1_000_000)).shared\n"
        "pool.join()"
    )
    mounts = "mount -t tmpfs -o size=64m,mode=1777,usrquota,usrquota_block_hardlimit=4m tmpfs /dev/shm"
    run(tmp_path, body, mounts, skip="this system has no quotas for tmpfs")


def test_a_users_limit_of_files(tmp_path: Path) -> None:
    body = """
with parpool.Pool(2) as pool:
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
    rounds(pool, 2)
    assert not parpool.share(numpy.ones(1_000_000)).shared
    assert parpool.share(numpy.ones(10_000)).shared
    assert bytes_of(pool, "client") == 0, "a file of slots would be longer"
with parpool.Pool(2) as pool:  # and engines that have the limit, too
    rounds(pool, 2)
    assert bytes_of(pool) == 0
pool.join()
"""
    run(tmp_path, body)


def test_what_killed_engines_held_comes_back(tmp_path: Path) -> None:
    body = """
with parpool.Pool(2) as pool:
    rounds(pool)
    for number in range(6):  # 18 MB in all, where there is room for 10
        try:
            pool.apply(hold, (numpy.ones(375_000),))
        except parpool.EngineLost:
            pass
        else:
            raise SystemExit("it was killed")
        used = bytes_of(pool, "client")
        assert pool.apply(total, (numpy.ones(375_000),)) == 375_000
        assert bytes_of(pool, "client") > 3_000_000, "it went by shared memory"
    assert bytes_of(pool, "client") < 10_000_000
pool.join()
assert os.listdir("/dev/shm") == []
"""
    run(tmp_path, body, "mount -t tmpfs -o size=14m tmpfs /dev/shm")


def test_no_other_user_can_read_it(tmp_path: Path) -> None:
    body = """
os.umask(0)
with parpool.Pool(2) as pool, parpool.share(numpy.ones(1000)) as a:
    rounds(pool)
    pool.apply(add, (a,))
    folders = {folder(pool), os.path.dirname(a._block.memory.path)}
    paths = [os.path.join(each, name) for each in folders for name in os.listdir(each)]
    assert {os.path.basename(path).partition("-")[0] for path in paths} >= {"lock", "memory", "shared"}
    for path in folders:
        assert os.stat(path).st_mode & 0o777 == 0o700, path
    for path in paths:
        mode = os.stat(path).st_mode
        assert mode & 0o777 == 0o600 or os.path.basename(path).partition("-")[0] not in ("lock", "memory", "shared"), path
    if os.getuid() == 0 and os.fork() == 0:
        os.setresuid(65534, 65534, 65534)
        seen = 0
        for path in [*folders, *paths]:
            try:
                os.open(path, os.O_RDONLY)
                seen += 1
            except PermissionError:
                pass
        os._exit(seen != 0)
    if os.getuid() == 0:
        assert os.wait()[1] == 0, "another user has seen it"
pool.join()
"""
    run(tmp_path, body)


ALL_KILLED = """
pool = parpool.Pool(2)
a = parpool.share(numpy.ones(500_000))
rounds(pool)
kept = pool.apply(add, (numpy.ones(500_000),))
print(folder(pool), os.path.dirname(a._block.memory.path), *pool.client[:].apply_sync(os.getpid), flush=True)
signal.pause()
"""


def test_after_the_end_of_everything_by_force_nothing_is_left(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(HEAD + "\nif __name__ == '__main__':\n" + ALL_KILLED.replace("\n", "\n    "))
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    *folders, one, other = process.stdout.readline().split()
    assert all(any(Path(each).iterdir()) for each in folders)
    for pid in (process.pid, int(one), int(other)):
        os.kill(pid, 9)
    process.communicate()
    deadline = time.monotonic() + 20
    while any(Path(each).exists() for each in folders) and time.monotonic() < deadline:
        done = subprocess.run([sys.executable, "-c", "import parpool; parpool.Pool(1).terminate()"], timeout=60)
        assert done.returncode == 0
    assert not any(Path(each).exists() for each in folders)
