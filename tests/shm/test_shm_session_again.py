"""A session that takes the place of one whose maker has died."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from makers import MAKER, end, maker

from parpool.shm.session import PREFIX, Session, sweep


def killed(root: Path) -> Path:
    """The folder of a session whose maker was killed."""
    process, folder = maker(root)
    (folder / "work").touch()
    end(process)
    return folder


def test_the_folder_of_a_dead_session_is_taken_over(root: Path) -> None:
    folder = killed(root)
    session = Session(str(folder))
    assert session.folder == str(folder) and (folder / "work").exists()
    # In another process: to close the file would let go of this one's lock.
    told = subprocess.run(["cat", folder / "lock"], capture_output=True, text=True, check=True).stdout
    assert told == str(os.getpid())
    process, other = maker(root)  # which sweeps
    assert other != folder and folder.exists()
    end(process)
    session.close()
    assert not folder.exists()
    sweep()


def test_a_folder_that_was_swept_is_made_anew(root: Path) -> None:
    folder = killed(root)
    sweep()
    assert not folder.exists()
    old = os.umask(0)
    try:
        session = Session(str(folder))
    finally:
        os.umask(old)
    assert session.folder == str(folder) and stat.S_IMODE(folder.stat().st_mode) == 0o700
    session.close()


def test_the_folder_of_a_living_session_is_not_taken(root: Path) -> None:
    process, folder = maker(root)
    session = Session(str(folder))
    assert session.folder and session.folder != str(folder)
    session.close()
    assert folder.exists()
    end(process)
    sweep()


def test_one_s_own_folder_is_not_taken(root: Path) -> None:
    first = Session()
    second = Session(first.folder)
    assert second.folder != first.folder
    second.close()
    assert Path(first.folder).exists()
    process, _ = maker(root)  # which sweeps: the lock of the first is still held
    assert Path(first.folder).exists()
    end(process)
    first.close()
    sweep()


@pytest.mark.parametrize("how", ["elsewhere", "another name", "a link", "open to others", "a file", "no root"])
def test_a_folder_that_is_none_of_ours(root: Path, tmp_path: Path, how: str) -> None:
    """Whoever writes such a path gets no socket of ours into their folder."""
    folder = {
        "elsewhere": tmp_path / f"{PREFIX}x",
        "another name": root / "precious",
        "no root": Path(f"/nowhere/{PREFIX}x"),
    }.get(how, root / f"{PREFIX}x")
    if how == "a link":
        (tmp_path / "target").mkdir()
        folder.symlink_to(tmp_path / "target")
    elif how == "a file":
        folder.write_text("precious")
    elif how != "no root":
        folder.mkdir()
        folder.chmod(0o777 if how == "open to others" else 0o700)
    session = Session(str(folder))
    assert session.folder and session.folder != str(folder)
    session.close()
    assert how == "no root" or folder.exists()
    assert how != "a link" or list((tmp_path / "target").iterdir()) == []


def test_several_that_want_the_same_folder(root: Path) -> None:
    """One of them has it, the others make their own."""
    folder = killed(root)
    processes = []
    for _ in range(6):
        script = MAKER.replace("session.Session()", f"session.Session({str(folder)!r})")
        command = [sys.executable, "-c", script, str(root)]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    folders = []
    for process in processes:
        assert process.stdout is not None
        folders.append(process.stdout.readline().strip())
    assert len(set(folders)) == 6 and str(folder) in folders
    for process in processes:
        end(process)
    sweep()
