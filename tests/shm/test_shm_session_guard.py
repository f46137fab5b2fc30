"""Folders of sessions that others guard, as what lies in them is still needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from makers import end, maker

from parpool.shm.session import PREFIX, Guard, Session, sweep

pytest.importorskip("fcntl")


def test_the_guarded_are_not_swept(root: Path) -> None:
    """Neither here nor by others; and who is the last to let go of it removes it."""
    process, folder = maker(root)
    one, two = Guard(str(folder)), Guard(str(folder))
    end(process)
    sweep()
    process, other = maker(root)  # which sweeps, too
    assert folder.exists()
    end(process)
    one.release()
    assert folder.exists()
    sweep()
    assert folder.exists() and not other.exists()
    two.release()
    assert not folder.exists()


def test_a_guard_leaves_it_to_the_living(root: Path) -> None:
    process, folder = maker(root)
    Guard(str(folder)).release()
    assert folder.exists()
    end(process)
    sweep()
    assert not folder.exists()


def test_a_maker_leaves_it_to_the_guard(root: Path) -> None:
    code = """
import sys
from parpool.shm import session
session.roots = lambda: sys.argv[1:]
made = session.Session()
print(made.folder, made.is_guarded, flush=True)
sys.stdin.readline()
print(made.is_guarded, flush=True)
made.close()
print("closed", flush=True)
sys.stdin.readline()
"""
    command = [sys.executable, "-c", code, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None and process.stdout is not None
        path, guarded = process.stdout.readline().split()
        assert guarded == "False"
        guard = Guard(path)
        process.stdin.write("\n")
        assert [process.stdout.readline() for _ in range(2)] == ["True\n", "closed\n"]
        assert Path(path).exists()
        guard.release()
        assert not Path(path).exists()
        process.stdin.write("\n")


def test_what_cannot_be_guarded(root: Path) -> None:
    own = Session()
    public, bare = root / f"{PREFIX}public", root / f"{PREFIX}bare"
    public.mkdir()
    public.chmod(0o755)
    (public / "lock").touch()
    bare.mkdir(0o700)
    for folder in (own.folder, str(public), str(bare), str(root), str(root / f"{PREFIX}none")):
        with pytest.raises(OSError):
            Guard(folder)
    own.close()
