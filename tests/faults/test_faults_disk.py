"""The database's disk is full, for a while."""

from __future__ import annotations

import resource
import signal
import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fault_rig import Rig, end_with_this_process, ends_of, until
from fault_tasks import add, length_of

ROOM = 2**20  #: bytes that a file may have
COUNT, SIZE = 200, 20_000


def with_little_room() -> None:
    """As under a quota. (Called in the child; the limit can be raised from here.)"""
    end_with_this_process()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.skipif(not find_spec("sqlalchemy"), reason="no SQLAlchemy")
def test_the_disk_of_the_database_is_full(tmp_path: Path) -> None:
    """Work goes on, who asks is told, and what could not be written is when there is room again."""
    file = tmp_path / "tasks.db"
    rig = Rig(tmp_path / "clusters", db=f"sqlite:///{file}")
    try:
        rig.start_controller(preexec=with_little_room)
        rig.start_engines(2)
        view = rig.client.load_balanced_view()
        results = [view.apply_async(length_of, bytes([n]) * SIZE) for n in range(COUNT)]
        assert ends_of(results) == [SIZE] * COUNT
        trouble = until(lambda: hub(rig)["errors"], "it has room enough")
        assert file.stat().st_size <= ROOM and hub(rig)["backlog"] and "disk" in trouble, trouble
        assert view.apply_sync(add, 1, 2) == 3 and rig.status()["tasks"] == 0
        with pytest.raises(Exception, match="database"):
            rig.client.db_query({"status": "ok"})
        assert rig.controller is not None
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.prlimit(rig.controller.pid, resource.RLIMIT_FSIZE, (most, most))
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


def hub(rig: Rig) -> Any:
    return rig.status()["hub"]
