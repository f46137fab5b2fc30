import os
import sqlite3
import stat
from pathlib import Path

import pytest
from hub_told import Cluster, Door, ask, call, run

from parpool.errors import ParpoolError
from parpool.hub.open import open_store
from parpool.hub.sql import SqlStore


def history(url: str) -> list[str]:
    """What another store finds in a database."""
    other = open_store(url)
    try:
        names: list[str] = ask(other, "history")
        return names
    finally:
        other.close()


def test_the_file_is_for_its_owner_alone(store: SqlStore, path: Path, door: Door) -> None:
    old = os.umask(0)
    try:
        run(Cluster(store, 1), [call(door)])
        ask(store, "history")
    finally:
        os.umask(old)
    files = list(path.parent.glob("tasks.db*"))
    assert len(files) == 3  # the log and its index
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_file_that_is_no_database(path: Path, url: str) -> None:
    path.write_bytes(b"something else entirely" * 1000)
    with pytest.raises(ParpoolError, match=r"tasks.db cannot be opened: .*not a database"):
        open_store(url)


def test_a_database_of_another_version(store: SqlStore, path: Path, url: str) -> None:
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE parpool_meta SET value = 7 WHERE name = 'version'")
    connection.close()
    with pytest.raises(ParpoolError, match=r"tasks.db cannot be opened: its tables are of version 7, .* has version 1"):
        open_store(url)


def test_tables_of_others_are_left_alone(path: Path, url: str, door: Door) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE tasks (x)")
        connection.execute("INSERT INTO tasks VALUES (1)")
    store = open_store(url)
    run(Cluster(store, 1), [call(door)])
    store.close()
    assert connection.execute("SELECT * FROM tasks").fetchall() == [(1,)]
    connection.close()
    assert len(history(url)) == 1
