"""The folder of a session: private, gone with its maker however that ends, and nobody else's business."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from makers import end, maker

from parpool import EngineStartError, Pool
from parpool.shm import session as sessions
from parpool.shm.session import LONGEST_SOCKET_PATH, PREFIX, VARIABLE, Session, roots, sweep


@pytest.fixture(autouse=True)
def nowhere_in_particular(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is where the user names no folder."""
    monkeypatch.delenv(VARIABLE)


# One session ------------------------------------------------------------------------------------------


def test_the_folder_is_private(root: Path) -> None:
    old = os.umask(0)
    try:
        session = Session()
    finally:
        os.umask(old)
    folder = Path(session.folder)
    assert folder.parent == root and folder.name.startswith(PREFIX)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "lock").stat().st_mode) == 0o600
    assert session.path("x") == str(folder / "x")
    session.close()
    assert not folder.exists()


def test_close_twice(root: Path) -> None:
    session = Session()
    session.close()
    session.close()
    assert list(root.iterdir()) == []


def test_it_ends_with_its_process(tmp_path: Path) -> None:
    """Also where whoever makes it does not come to say so: a signal's handler may raise at any moment."""
    code = "import sys; from parpool.shm.session import Session; print(Session().folder); raise SystemExit(7)"
    line, environment = [sys.executable, "-c", code], os.environ | {VARIABLE: str(tmp_path)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 7 and Path(done.stdout.strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_close_with_things_inside(root: Path) -> None:
    session = Session()
    Path(session.path("deep/er")).mkdir(parents=True)
    Path(session.path("deep/er/file")).write_text("x")
    session.close()
    assert list(root.iterdir()) == []


def test_it_lies_in_memory_where_it_can() -> None:
    found = roots()
    assert found
    if os.access("/dev/shm", os.W_OK):
        assert found[0] == "/dev/shm"
    assert len(found) == len(set(found))
    assert all(os.path.isdir(root) for root in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_fork_closes_nothing_of_the_parent_s(root: Path) -> None:
    session = Session()
    pid = os.fork()
    if pid == 0:
        session.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert Path(session.folder).exists()
    process, other = maker(root)  # sweeps, as every session does at its beginning
    assert Path(session.folder).exists()
    end(process)
    session.close()


# Others' sessions -------------------------------------------------------------------------------------


def test_the_dead_are_swept(root: Path) -> None:
    process, folder = maker(root)
    assert folder.exists()
    Path(folder, "work").write_text("a socket")
    end(process)
    assert folder.exists()
    session = Session()
    assert not folder.exists() and Path(session.folder).exists()
    session.close()


def test_sweep_by_itself(root: Path) -> None:
    process, folder = maker(root)
    sweep()
    assert folder.exists()
    end(process)
    sweep()
    assert not folder.exists()


def test_the_living_are_not_swept(root: Path) -> None:
    process, folder = maker(root)
    for _ in range(3):
        Session().close()
        sweep()
        assert folder.exists()
    end(process)


def test_our_own_are_not_swept(root: Path) -> None:
    one, two = Session(), Session()
    assert Path(one.folder).exists()
    sweep()
    assert Path(one.folder).exists() and Path(two.folder).exists()
    two.close()
    process, folder = maker(root)  # to it, ours is still locked
    assert Path(one.folder).exists()
    end(process)
    one.close()
    assert not Path(one.folder).exists()
    sweep()
    assert list(root.iterdir()) == []


def test_two_pools_at_once() -> None:
    with Pool(1) as one, Pool(1) as two:
        assert os.path.exists(one.client.link.host.session.folder)
        assert one.apply_async(abs, (-1,)).get(20) == two.apply_async(abs, (-1,)).get(20) == 1
        os.kill(one._pool[0].pid, 9)
        assert one.apply_async(abs, (-2,)).get(20) == 2  # whoever is started later finds the sockets too
    one.join()
    two.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_lock_is_not_inherited(root: Path) -> None:
    """A child that outlives the maker does not keep its folder."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        session = Session()
        grandchild = os.fork()
        if grandchild == 0:
            time.sleep(30)
            os._exit(0)
        os.write(write, f"{grandchild} {session.folder}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    grandchild_pid, folder = os.read(read, 1000).decode().split()
    os.close(read)
    os.close(write)
    try:
        assert os.path.exists(folder)
        sweep()
        assert not os.path.exists(folder)
    finally:
        os.kill(int(grandchild_pid), 9)


def test_other_names_are_left_alone(root: Path) -> None:
    for name in ("other", "parpool", "xparpool-1"):
        (root / name).mkdir()
        (root / name / "lock").write_text("")
    (root / "parpool-a-file").write_text("")
    (root / "parpool-without-a-lock").mkdir()  # being made, or being removed
    (root / "parpool-link").symlink_to(root / "other")
    sweep()
    left = {path.name for path in root.iterdir()}
    assert {"other", "parpool", "xparpool-1", "parpool-a-file", "parpool-without-a-lock"} <= left
    assert (root / "other" / "lock").exists()


def test_sweeps_at_the_same_time(root: Path) -> None:
    """Several processes that begin at once remove the dead, and not each other."""
    dead, folder = maker(root)
    end(dead)
    makers = [maker(root) for _ in range(4)]
    assert not folder.exists()
    assert all(each.exists() for _, each in makers)
    for process, _ in makers:
        end(process)


# Where no folder can be had -------------------------------------------------------------------------------


def test_threads_that_make_and_sweep_at_the_same_time(root: Path) -> None:
    """The lock of a folder keeps other processes out, and not the threads of its own."""
    failures: list[BaseException] = []

    def make_some() -> None:
        try:
            for _ in range(40):
                session = Session()
                Path(session.path("work")).touch(exist_ok=False)
                sweep()
                Path(session.path("work")).unlink()
                session.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and list(root.iterdir()) == []


def test_a_folder_that_a_sweep_took_is_made_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may find the lock file in the moment before it is locked."""
    import parpool.shm.session as module

    real, taken = module._take_lock, []

    def late(fd: int) -> None:
        if not taken:
            taken.extend(root.iterdir())
            module._remove(taken[0])
        real(fd)

    monkeypatch.setattr(module, "_take_lock", late)
    session = Session()
    assert taken and list(root.iterdir()) == [Path(session.folder)] != taken
    session.close()
    assert list(root.iterdir()) == []


def test_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 60) / ("y" * 60)
    long.mkdir(parents=True)
    short = tempfile.mkdtemp(prefix="s-", dir="/tmp")
    monkeypatch.setattr(sessions, "roots", lambda: [str(long), short])
    session = Session()
    assert os.path.dirname(session.folder) == short
    assert len(session.path("control")) <= LONGEST_SOCKET_PATH
    session.close()
    assert list(long.iterdir()) == []
    os.rmdir(short)


def test_only_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(sessions, "roots", lambda: [str(long)])
    with pytest.raises(EngineStartError, match=f"{long}: the path .* too long .*TMPDIR"):
        Session()
    assert list(long.iterdir()) == []


def test_no_root_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "roots", lambda: [])
    with pytest.raises(EngineStartError, match="no temporary folder is writable.*TMPDIR"):
        Session()


def test_roots_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, file = tmp_path / "gone", tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(sessions, "roots", lambda: [str(gone), str(file)])
    with pytest.raises(EngineStartError) as caught:
        Session()
    assert f"{gone}: No such file or directory" in str(caught.value)
    assert f"{file}: Not a directory" in str(caught.value)


def test_a_pool_where_no_folder_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "roots", lambda: [])
    with pytest.raises(EngineStartError, match="TMPDIR"):
        Pool(1)


def test_the_user_can_name_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tempfile.mkdtemp(prefix="s-", dir="/tmp")
    monkeypatch.setenv(VARIABLE, folder)
    assert roots() == [folder]
    with Pool(1) as pool:
        assert pool.apply(abs, (-3,)) == 3
        assert [name.startswith(PREFIX) for name in os.listdir(folder)] == [True]
    os.rmdir(folder)  # nothing is left in it
    with pytest.raises(EngineStartError, match=f"{VARIABLE} is {folder}, and .* point {VARIABLE} at"):
        Session()


def test_a_pool_with_a_long_tmpdir(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    script = "from parpool import Pool\nwith Pool(1) as pool:\n    print(pool.apply(abs, (-3,)))\n"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(long)}, capture_output=True, text=True
    )
    assert done.stdout == "3\n" and done.returncode == 0, done.stderr
    assert list(long.iterdir()) == []


def test_nothing_is_left_after_everything_was_killed(tmp_path: Path) -> None:
    """A pool and its engines killed with -9; one new start later all is clean."""
    script = (
        "import time\nfrom parpool import Pool\npool = Pool(2)\npool.map(abs, [-1, -2])\n"
        "print(pool.client.link.host.session.folder, *(p.pid for p in pool._pool), flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder, *pids = process.stdout.readline().split()
    assert os.path.exists(folder)
    for pid in pids:
        os.kill(int(pid), 9)
    process.kill()
    process.communicate()
    with Pool(1) as pool:
        assert not os.path.exists(folder)
    pool.join()


def test_an_empty_folder_without_a_lock_is_swept_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its maker was killed before it had locked it; a young one may be in the making."""
    monkeypatch.setattr(sessions, "roots", lambda: [str(tmp_path)])
    young, old, full = (tmp_path / f"{PREFIX}{name}" for name in ("young", "old", "full"))
    for folder in (young, old, full):
        folder.mkdir()
    (full / "file").touch()
    for folder in (old, full):
        os.utime(folder, (1, 1))
    sweep()
    assert young.exists() and full.exists() and not old.exists()
