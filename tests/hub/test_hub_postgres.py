from collections.abc import Iterator
from typing import Any

import pytest
import servers
from hub_contract import Make, RecordsContract
from hub_contract_asked import QuestionsContract
from hub_told import Cluster, Door, NoAnswer, ask, call, chunk, run, said, wait_until
from servers_of_postgres import Postgres

from parpool.errors import ParpoolError
from parpool.hub.open import open_store
from parpool.hub.sql import SqlStore


@pytest.fixture(scope="session", autouse=True)
def server() -> Iterator[Postgres]:
    servers.need("initdb")
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def url(server: Postgres) -> str:
    return server.url()


@pytest.fixture
def door() -> Door:
    return Door(3)


class TestPostgresStore(RecordsContract, QuestionsContract):
    @pytest.fixture
    def make(self, url: str) -> Make:
        return lambda **options: SqlStore(url, **options)


def test_the_url(server: Postgres, url: str) -> None:
    for spelling in (url, url.replace("postgresql:", "postgres:"), url.replace("postgresql:", "postgresql+psycopg:")):
        store = open_store(spelling)
        assert isinstance(store, SqlStore) and store.status()["kind"] == "postgresql"
        store.close()
    with pytest.raises(ParpoolError, match="cannot be opened: .*does not exist") as raised:
        open_store(f"postgresql://postgres:secret@/nothing?host={server.folder}")
    assert "secret" not in str(raised.value)
    with pytest.raises(ParpoolError, match="cannot be opened: .*does not exist") as raised:
        open_store(f"postgresql://postgres@/nothing?host={server.folder}&password=secret")
    assert "secret" not in str(raised.value)
    with pytest.raises(ParpoolError, match="cannot be opened: .*"):
        open_store("postgresql://postgres@/nothing?host=/no/such/folder")


def test_records_outlive_the_store(url: str, door: Door) -> None:
    store = open_store(url)
    many = chunk(door, 3)
    run(Cluster(store, 1), [call(door)])
    store.submitted([many], 6.0)
    store.ended([(many, said(many, b"0", item=0), 0)], 7.0)
    before = ask(store, "query", keys=["name", "status", "request", "result"])
    store.close()
    store = open_store(url)
    try:
        assert ask(store, "query", keys=["name", "status", "request", "result"]) == before
        store.submitted([many], 50.0)
        store.ended([(many, said(many, item=item), 0) for item in range(3)], 51.0)
        assert [each["status"] for each in ask(store, "query", keys=["status"])] == ["ok", "ok"]
    finally:
        store.close()


def test_a_database_of_another_version(url: str) -> None:
    import psycopg

    open_store(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE parpool_meta SET value = 7 WHERE name = 'version'")
    with pytest.raises(ParpoolError, match="its tables are of version 7"):
        open_store(url)


def test_two_stores_in_one_database(url: str) -> None:
    """Two controllers may share it, and begin at the same moment."""
    one, two = open_store(url), open_store(url)
    try:
        for n in range(20):
            for door, each in ((Door(2 * n), one), (Door(2 * n + 1), two)):
                run(Cluster(each, 1), [call(door) for _ in range(5)])
        for each in (one, two):
            ask(each, "history")  # behind what it was told
        assert ask(one, "history") == ask(two, "history")
        assert len(ask(one, "query", query={"status": "ok"})) == 200
        assert ask(two, "purge_everything") == 200
        assert ask(one, "history") == []
    finally:
        one.close()
        two.close()


def test_a_server_that_is_gone_for_a_while(server: Postgres, url: str, door: Door) -> None:
    store: Any = open_store(url)
    try:
        cluster = Cluster(store, 1)
        run(cluster, [call(door)])
        assert len(ask(store, "history")) == 1
        server.stop()
        try:
            run(cluster, [call(door) for _ in range(20)])
            with pytest.raises(NoAnswer, match="the hub's database fails: "):
                ask(store, "history")
            assert store.status()["backlog"] == 40 and store.status()["errors"]
            with pytest.raises(NoAnswer, match="the hub's database fails: "):
                ask(store, "purge", ids="all")
        finally:
            server.start()
        wait_until(lambda: store.status()["backlog"] == 0, "the end of the backlog")
        assert len(ask(store, "query", query={"status": "ok"})) == 21
        assert store.status()["dropped"] == 0
        # And once more, with nothing to be written: only the connections are gone.
        server.stop()
        server.start()
        assert len(ask(store, "history")) == 21
        assert ask(store, "purge", ids="all") == 21
    finally:
        store.close()


def test_tables_that_are_dropped(url: str, door: Door) -> None:
    import psycopg

    store = open_store(url)
    try:
        cluster = Cluster(store, 1)
        run(cluster, [call(door)])
        assert len(ask(store, "history")) == 1
        with psycopg.connect(url) as connection:
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema").fetchall()
            for (table,) in tables:
                connection.execute(f"DROP TABLE {table}".encode())
        run(cluster, [call(door)])
        with pytest.raises(NoAnswer, match="parpool_meta.* does not exist"):
            ask(store, "history")
        wait_until(lambda: store.status()["backlog"] == 0, "the end of the backlog")
        assert len(ask(store, "history")) == 1 and store.status()["dropped"] == 0
    finally:
        store.close()


def test_what_no_database_takes_is_dropped_alone(url: str, door: Door) -> None:
    store = open_store(url)
    try:
        wrong = call(door)
        wrong.function = object()  # type: ignore[assignment]
        good = [call(door) for _ in range(10)]
        store.submitted([*good[:5], wrong, *good[5:]], 1.0)
        store.ended([(task, said(task), 0) for task in good], 2.0)
        assert len(ask(store, "query", query={"status": "ok"})) == 10
        assert store.status()["dropped"] == 1
    finally:
        store.close()


def test_many_at_once(url: str, door: Door) -> None:
    store = open_store(url)
    try:
        tasks = [call(door) for _ in range(10_000)]
        store.submitted(tasks, 1.0)
        store.ended([(task, said(task), None) for task in tasks], 2.0)
        assert ask(store, "history") == list(map(door.msg_id, tasks))
        assert ask(store, "purge", ids="all") == 10_000
        assert store.status()["records"] == 0 == store.status()["bytes"]
    finally:
        store.close()
