from pathlib import Path

import pytest
from hub_contract import Make, RecordsContract
from hub_contract_asked import QuestionsContract
from hub_told import Cluster, Door, NoAnswer, ask, call, chunk, run, said

from parpool.hub import scribe
from parpool.hub.records import KEYS
from parpool.hub.sql import SqlStore


class TestSqliteStore(RecordsContract, QuestionsContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda **options: SqlStore(f"sqlite:///{tmp_path / 'tasks.db'}", **options)


# Another controller on the same file ----------------------------------------------------------------


def test_records_outlive_the_store(store: SqlStore, url: str, door: Door) -> None:
    cluster = Cluster(store, 1)
    store.named(b"key", b"blob", "work")
    ended, pending, many = call(door), call(door), chunk(door, 3)
    cluster.submit(ended)
    cluster.end(ended)
    store.printed(ended, 1, "text")
    store.submitted([pending], 5.0)
    store.submitted([many], 6.0)
    store.ended([(many, said(many, b"0", item=0), 0)], 7.0)
    before = ask(store, "query", keys=[*KEYS, "request", "result"])
    store.close()
    store = SqlStore(url)
    try:
        assert ask(store, "query", keys=[*KEYS, "request", "result"]) == before
        assert store.status()["records"] == 3
        assert ask(store, "request", ids=[door.msg_id(ended)])[0]["blob"] == b"blob"
        # Its client submits again what was not delivered to it.
        many.first = 1
        store.engines(0, "engine-other", {}, True, 50.0)
        store.submitted([pending, many], 50.0)
        store.ended([(pending, said(pending), 0)], 51.0)
        store.ended([(many, said(many, b"%d" % item, item=item), 0) for item in (1, 2)], 52.0)
        after = ask(store, "query", keys=["submitted", "status", "engine_uuid", "result"])
        assert [(each["submitted"], each["status"]) for each in after[1:]] == [(5.0, "ok"), (6.0, "ok")]
        assert [each["engine_uuid"] for each in after] == ["engine-0", "engine-other", "engine-other"]
        assert [each["payload"] for each in after[2]["result"]] == [b"0", b"1", b"2"]
    finally:
        store.close()


def test_an_end_without_a_beginning(store: SqlStore, door: Door) -> None:
    """The submission may have been dropped, as too much was waiting to be written."""
    task, many = call(door), chunk(door, 2)
    store.ended([(task, said(task), 5), (many, said(many), 5)], 2.0)
    for query in ({}, {"engine_uuid": None}, {"name": ""}, {"size_in": {"$lt": 5}}, {"submitted": None}):
        (record,) = ask(store, "query", query=query)
        assert record["msg_id"] == door.msg_id(task) and record["status"] == "ok" and record["engine_id"] == 5
        assert record["submitted"] is None and record["engine_uuid"] is None
    with pytest.raises(NoAnswer, match="arguments are no longer kept"):
        ask(store, "request", ids=[door.msg_id(task)])
    assert ask(store, "purge", ids="all") == 1


def test_numbers_that_begin_anew(store: SqlStore, url: str) -> None:
    """Another controller gives its clients the same numbers, and they are other clients."""
    first = call(Door(1))
    run(Cluster(store, 1), [first])
    store.close()
    store = SqlStore(url)
    try:
        door = Door(1)
        door.name = "f" * 32
        second = call(door)
        assert second.id == first.id
        store.submitted([second], 2000.0)
        assert ask(store, "history") == [first.door.msg_id(first), door.msg_id(second)]
        assert ask(store, "status", ids=[door.msg_id(second)])["pending"]
    finally:
        store.close()


def test_an_end_that_is_told_twice(store: SqlStore, door: Door) -> None:
    task = call(door)
    store.submitted([task], 1.0)
    for payload in (b"first", b"second"):
        store.ended([(task, said(task, payload), 0), (task, said(task, payload), 0)], 2.0)
        (record,) = ask(store, "query", keys=["size_out", "result"])
        assert record["size_out"] == 5 and record["result"][0]["payload"] == b"first"
    store.submitted([task], 3.0)
    assert ask(store, "status", ids=[door.msg_id(task)])["completed"]
    assert store.status()["records"] == 1


def test_two_stores_on_one_file(store: SqlStore, url: str) -> None:
    other = SqlStore(url)
    try:
        for n in range(10):
            for door, each in ((Door(2 * n), store), (Door(2 * n + 1), other)):
                run(Cluster(each, 1), [call(door) for _ in range(5)])
        for each in (store, other):
            ask(each, "history")  # behind what it was told
        assert ask(store, "history") == ask(other, "history")
        assert len(ask(store, "history")) == 100
    finally:
        other.close()


# All kinds of things ---------------------------------------------------------------------------------


def test_names_and_texts_of_any_kind(store: SqlStore, door: Door) -> None:
    store.named(b"key", b"blob", "w\0rk \udc80")
    store.engines(0, "engine-\0", {"é": [1, None]}, True, 1.0)
    task = call(door)
    store.submitted([task], 1.0)
    store.printed(task, 1, "\udc80\0")
    store.ended([(task, said(task), 0)], 2.0)
    (record,) = ask(store, "query")
    assert record["name"].startswith("w") and record["stdout"] == "?\0" and record["status"] == "ok"


def test_what_is_known_of_pending_tasks_is_bounded(
    store: SqlStore, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scribe, "NAMES", 10)
    tasks = [call(door, function=b"key-%d" % n) for n in range(30)]
    for n, task in enumerate(tasks):
        store.named(task.function, b"blob", f"function-{n}")
    store.submitted(tasks, 1.0)
    for task in tasks * 2:
        store.printed(task, 1, "text")
    found = ask(store, "query", keys=["name", "stdout"])
    assert [record["name"] for record in found] == [f"function-{n}" for n in range(30)]
    assert {record["stdout"] for record in found} == {"texttext"}
    assert len(store._writer._scribe._rooms) <= 10


def test_many_at_once(store: SqlStore, door: Door) -> None:
    """More than there is room for in one statement, and in one transaction."""
    tasks = [call(door) for _ in range(30_000)]
    store.engines(0, "engine-0", {}, True, 1.0)
    for start in range(0, len(tasks), 10_000):
        store.submitted(tasks[start : start + 10_000], 1.0)
        store.ended([(task, said(task), 0) for task in tasks[start : start + 10_000]], 2.0)
    assert ask(store, "history") == list(map(door.msg_id, tasks))
    assert ask(store, "query", query={"msg_id": door.msg_id(tasks[-1])}, keys=["status"])[0]["status"] == "ok"
    ids = list(map(door.msg_id, tasks[:12_000]))
    assert ask(store, "status", ids=ids)["completed"] == ids
    assert ask(store, "purge", ids="all") == 30_000
    assert store.status()["records"] == 0 == store.status()["bytes"]
