"""The database's disk is full, for a while."""

from __future__ import annotations

import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fault_rig import Rig, end_with_this_process, ends_of, until
from fault_tasks import add, length_of

pytestmark = pytest.mark.skipif(not find_spec("sqlalchemy"), reason="no SQLAlchemy")

ROOM = 2**20  #: bytes that a file, or a file system, may have
COUNT, SIZE = 200, 20_000


def with_little_room() -> None:
    """As under a quota. (Called in the child; the limit can be raised from here.)"""
    end_with_this_process()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or mount("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)):
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], stderr=subprocess.DEVNULL).returncode


def test_a_file_has_no_more_room(tmp_path: Path) -> None:
    def give_room(rig: Rig) -> None:
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        assert rig.controller is not None
        resource.prlimit(rig.controller.pid, resource.RLIMIT_FSIZE, (most, most))

    the_disk_is_full(tmp_path, tmp_path / "tasks.db", with_little_room, give_room)


def test_a_file_system_has_no_more_room(tmp_path: Path, disk: Path) -> None:
    the_disk_is_full(
        tmp_path,
        disk / "tasks.db",
        end_with_this_process,
        lambda rig: mount("-o", f"remount,size={100 * ROOM}", str(disk)),
    )


def the_disk_is_full(folder: Path, file: Path, preexec: Callable[[], None], give_room: Callable[[Rig], object]) -> None:
    """Work goes on, who asks is told, and what could not be written is when there is room again."""
    rig = Rig(folder / "clusters", db=f"sqlite:///{file}")
    try:
        rig.start_controller(preexec=preexec)
        rig.start_engines(2)
        view = rig.client.load_balanced_view()
        results = [view.apply_async(length_of, bytes([n]) * SIZE) for n in range(COUNT)]
        assert ends_of(results) == [SIZE] * COUNT
        trouble = until(lambda: hub(rig)["errors"], "it has room enough")
        assert file.stat().st_size <= ROOM and hub(rig)["backlog"] and "disk" in trouble, trouble
        assert view.apply_sync(add, 1, 2) == 3 and rig.status()["tasks"] == 0
        with pytest.raises(Exception, match="database"):
            rig.client.db_query({"status": "ok"})
        give_room(rig)
        until(lambda: not hub(rig)["backlog"], "it is not written though there is room")
        names = sorted(name for result in results for name in result.msg_ids)
        found = rig.client.db_query({"msg_id": {"$in": names}}, keys=["status"])
        assert len(found) == COUNT and {record["status"] for record in found} == {"ok"}
        assert not hub(rig)["dropped"]
        rig.kill_controller()
        database = sqlite3.connect(file)
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        database.close()
    finally:
        rig.end()


def test_the_disk_of_the_cluster_itself_is_full(disk: Path) -> None:
    """Its journal and its logs: work goes on, who asks is told, and it goes on as before when there is room."""
    rig = Rig(disk / "clusters")
    try:
        rig.start_controller()
        rig.start_engines(2)
        view = rig.client.load_balanced_view()
        with open(disk / "more", "wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x")
        assert ends_of(view.apply_async(add, 1, n) for n in range(COUNT)) == [1 + n for n in range(COUNT)]
        assert "No space" in rig.status()["journal"]
        rig.engines[0].kill()
        until(lambda: len(rig.ids()) == 1)
        other = rig.connect()
        assert other.load_balanced_view().apply_sync(add, 1, 2) == 3
        mount("-o", f"remount,size={100 * ROOM}", str(disk))
        rig.start_engines(1)
        rig.restart_controller()
        until(lambda: len(rig.ids()) == 2)
        assert ends_of(view.apply_async(add, 1, n) for n in range(COUNT)) == [1 + n for n in range(COUNT)]
        assert not rig.status()["journal"]
    finally:
        rig.end()


def hub(rig: Rig) -> Any:
    return rig.status()["hub"]
