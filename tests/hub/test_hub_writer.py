import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hub_told import PATIENCE, Cluster, Door, NoAnswer, ask, call, chunk, run, said, wait_until

from parpool.hub import sql
from parpool.hub.sql import SqlStore


def test_a_locked_database(store: SqlStore, path: Path, door: Door) -> None:
    cluster = Cluster(store, 1)
    run(cluster, [call(door)])
    ask(store, "history")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    run(cluster, [call(door) for _ in range(20)])
    with pytest.raises(NoAnswer, match="the hub's database fails: .*locked"):
        ask(store, "history")
    with pytest.raises(NoAnswer, match="locked"):
        ask(store, "purge", ids="all")
    assert "locked" in store.status()["errors"] and store.status()["backlog"] == 40
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: store.status()["backlog"] == 0, "the end of the backlog")
    assert len(ask(store, "query", query={"status": "ok"})) == 21
    assert store.status()["dropped"] == 0


def test_what_waits_is_bounded(url: str, path: Path, door: Door) -> None:
    store = SqlStore(url, patience=0.05, backlog=30, backlog_bytes=10_000)
    try:
        cluster = Cluster(store, 1)
        ask(store, "history")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        tasks = [call(door) for _ in range(50)]
        run(cluster, tasks)
        wait_until(lambda: store.status()["errors"], "an error")
        assert store.status()["backlog"] == 30 and store.status()["dropped"] == 70
        run(cluster, [call(door, b"x" * 20_000)])
        assert store.status()["dropped"] == 72
        other.execute("ROLLBACK")
        other.close()
        wait_until(lambda: store.status()["backlog"] == 0, "the end of the backlog")
        run(cluster, [call(door, b"x" * 2000) for _ in range(4)])
        wait_until(lambda: store.status()["backlog"] == 0, "the end of the backlog")
        assert store.status()["dropped"] == 72
        assert ask(store, "history")[:15] == list(map(door.msg_id, tasks[:15]))
    finally:
        store.close()


def test_the_end_of_a_store_that_cannot_write(store: SqlStore, path: Path, door: Door) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    run(Cluster(store, 1), [call(door)])
    errors: list[Any] = []
    store.ask("history", {}, lambda value, error: errors.append(error))
    store.close()
    other.close()
    assert "locked" in errors[0]
    assert store.status()["backlog"] == 0 and store.status()["dropped"] == 3


def test_the_end_of_a_store_that_hangs(
    url: str, path: Path, door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sql, "END", 0.05)
    store = SqlStore(url, patience=PATIENCE)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        run(Cluster(store), [])
        store.submitted([call(door)], 1.0)
        store.close()
        assert "does not answer: 1 events are not in it" in caplog.text
    finally:
        other.close()
    wait_until(lambda: not store._writer._thread.is_alive(), "the end of the writer")


def test_a_file_that_is_removed(store: SqlStore, path: Path, door: Door) -> None:
    cluster = Cluster(store, 1)
    run(cluster, [call(door)])
    assert len(ask(store, "history")) == 1
    for file in path.parent.glob("tasks.db*"):
        file.unlink()
    assert ask(store, "history") == []
    run(cluster, [call(door) for _ in range(3)])
    assert len(ask(store, "history")) == 3 == store.status()["records"]
    assert "was removed" in store.status()["errors"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()
    path.parent.rename(path.parent.with_name("elsewhere"))
    run(cluster, [call(door)])
    with pytest.raises(NoAnswer, match="there is no folder"):
        ask(store, "history")
    path.parent.mkdir()
    wait_until(lambda: store.status()["backlog"] == 0, "the end of the backlog")
    assert len(ask(store, "history")) == 1


def test_what_no_database_takes_is_dropped_alone(store: SqlStore, door: Door) -> None:
    cluster = Cluster(store, 1)
    wrong = call(door, function=3.5)  # type: ignore[arg-type]
    wrong.function = object()  # type: ignore[assignment]
    good, many = [call(door) for _ in range(9)], chunk(door, 2)
    store.submitted([*good[:5], wrong, many, *good[5:]], 1.0)
    store.ended([(task, said(task), 0) for task in good], 2.0)
    store.ended([(many, said(many, item=item), 0) for item in (0, 1)], 2.0)
    assert len(ask(store, "query", query={"status": "ok"})) == 10
    assert store.status()["dropped"] == 1 and store.status()["backlog"] == 0 and store.status()["errors"]
    run(cluster, [call(door)])
    assert len(ask(store, "history")) == 11


# Real faults, in processes of their own -------------------------------------------------------------

CHILD = """if True:
    import itertools, sys
    sys.path[:0] = {paths!r}
    from hub_told import Cluster, Door, call, chunk, run
    from parpool.hub.sql import SqlStore
    store = SqlStore({url!r})
    cluster, door = Cluster(store, 1), Door(1)
"""


def child(url: str, code: str) -> str:
    """A program that has a store, and tells it of tasks."""
    return CHILD.format(paths=[str(Path(__file__).parent)], url=url) + textwrap.indent(textwrap.dedent(code), "    ")


def test_killed_while_it_writes(path: Path, url: str) -> None:
    code = child(
        url,
        """
        from hub_told import wait_until
        for n in itertools.count():
            run(cluster, [call(door, b"x" * 5000) for _ in range(100)])
            wait_until(lambda: store.status()["backlog"] < 500)
            if n == 5:
                print("running", flush=True)
        """,
    )
    for attempt in range(3):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None and process.stdout.readline() == b"running\n"
            size = path.stat().st_size
            wait_until(lambda size=size: path.stat().st_size > size + 2**20, "more in the database")  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
        store = SqlStore(url)
        try:
            found = ask(store, "query", keys=["status", "size_out", "request", "result"])
            ended = [record for record in found if record["status"] == "ok"]
            assert len(ended) >= 100 and all(record["request"] == b"x" * 5000 for record in ended)
            assert all(record["result"][0]["payload"] == b"value" for record in ended)
            assert store.status()["records"] == len(found)
            assert attempt or ask(store, "purge", ids="all") == len(ended)
        finally:
            store.close()
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()


def test_a_full_disk(tmp_path: Path) -> None:
    """The real thing where one may mount a disk, else a limit of the size of files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)]
    can = os.getuid() == 0 and shutil.which("mount") is not None
    mounted = can and subprocess.run(mount, capture_output=True).returncode == 0
    more = ["mount", "-o", "remount,size=64m", str(folder)] if mounted else []
    code = child(
        f"sqlite:///{folder / 'tasks.db'}",
        f"""
        import resource, subprocess
        from hub_told import NoAnswer, ask, wait_until
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if not {more!r}:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
        run(cluster, [call(door, b"x" * 5000) for _ in range(1000)])
        wait_until(lambda: store.status()["errors"], "an error")
        run(cluster, [call(door) for _ in range(20)])
        n = 1020
        try:
            print(ask(store, "history"))
        except NoAnswer as error:
            assert "the hub's database fails" in str(error), error
        assert store.status()["backlog"] >= 40 and store.status()["dropped"] == 0, store.status()
        print("FULL?", store.status()["errors"])
        if {more!r}:
            subprocess.run({more!r}, check=True)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        wait_until(lambda: store.status()["backlog"] == 0, "the end of the backlog")
        assert len(ask(store, "query", query={{"status": "ok"}})) == n == store.status()["records"]
        assert store.status()["errors"] is None, "it is over, and nothing is lost"
        store.close()
        """,
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
    assert done.returncode == 0, done.stderr
    assert ("full" if mounted else "") in done.stdout.partition("FULL?")[2]


def test_a_store_that_is_never_closed_does_not_hold_up_the_end(url: str) -> None:
    code = child(url, "run(cluster, [call(door)])")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
