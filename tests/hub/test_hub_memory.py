import resource
from collections.abc import Iterator
from typing import Any

import pytest
from hub_contract import Make, RecordsContract
from hub_contract_asked import QuestionsContract
from hub_told import Cluster, Door, ask, call, chunk, run, said, wait_until

from parpool.hub import shelf
from parpool.hub.memory import MemoryStore
from parpool.hub.open import open_store


class TestMemoryStore(RecordsContract, QuestionsContract):
    @pytest.fixture
    def make(self) -> Make:
        return MemoryStore


@pytest.fixture
def door() -> Door:
    return Door(3)


@pytest.fixture
def small() -> Iterator[MemoryStore]:
    store = MemoryStore(count=100)
    yield store
    store.close()


def test_open() -> None:
    store = open_store("memory")
    assert isinstance(store, MemoryStore) and store.status()["kind"] == "memory"


def test_the_oldest_records_go_first(small: MemoryStore, door: Door) -> None:
    cluster = Cluster(small, 1)
    waiting = [call(door, targets=frozenset({5})) for _ in range(150)]
    for task in waiting:
        small.submitted([task], 1.0)
    tasks = [call(door) for _ in range(1000)]
    for n, task in enumerate(tasks):
        run(cluster, [task])
        small.printed(task, 1, "text")
        ended = small.status()["records"] - len(waiting)
        assert min(n + 1, 90) <= ended <= 100
    kept = [name for name in ask(small, "history") if name not in set(map(door.msg_id, waiting))]
    assert kept == list(map(door.msg_id, tasks))[-len(kept) :]
    assert len(ask(small, "query", query={"status": "pending"})) == 150
    status = small.status()
    assert status["dropped"] == 1000 - len(kept)
    assert status["bytes"] == len(kept) * len(b"arguments" + b"value" + b"text")


def test_of_many_that_end_at_once_the_last_are_kept(small: MemoryStore, door: Door) -> None:
    tasks = [call(door) for _ in range(1000)]
    run(Cluster(small, 1), tasks[:50])
    small.submitted(tasks[50:], 1.0)
    small.ended([(task, said(task), None) for task in tasks[50:]], 2.0)
    kept = ask(small, "history")
    assert 90 <= len(kept) <= 100 and kept == list(map(door.msg_id, tasks))[-len(kept) :]
    assert small.status()["dropped"] == 1000 - len(kept)
    assert small.status()["bytes"] == len(kept) * len(b"arguments" + b"value")


def test_results_of_what_goes_on_are_bounded(door: Door) -> None:
    store = MemoryStore(bytes=10_000)
    task = chunk(door, 100)
    store.submitted([task], 1.0)
    for item in range(100):
        store.ended([(task, said(task, b"r" * 500, item=item), 0)], 2.0)
        assert store.status()["bytes"] <= 10_000
    (record,) = ask(store, "query", keys=["status", "size_out", "result"])
    payloads = [each["payload"] for each in record["result"]]
    assert record["status"] == "ok" and record["size_out"] == 50_000 and len(payloads) == 100
    assert payloads[0] is None and payloads[-1] is not None
    assert ask(store, "purge_everything") == 1 and store.status()["bytes"] == 0
    store.close()


def test_what_is_not_known_does_not_matter(small: MemoryStore, door: Door) -> None:
    task, many = call(door), chunk(door, 2)
    small.ended([(task, said(task), 0), (many, said(many), 0)], 1.0)
    small.printed(task, 1, "text")
    small.engines(5, "engine-5", {}, False, 1.0)
    assert ask(small, "history") == [] == ask(small, "engines")
    assert small.status()["bytes"] == 0


def test_an_outcome_that_comes_twice(small: MemoryStore, door: Door) -> None:
    many = chunk(door, 2)
    small.submitted([many], 1.0)
    for payload in (b"a", b"b"):
        small.ended([(many, said(many, payload, item=0), 0)], 2.0)
    (record,) = ask(small, "query", keys=["status", "result"])
    assert record["status"] == "pending" and [each["payload"] for each in record["result"]] == [b"a"]


def test_functions_are_bounded(small: MemoryStore, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "FUNCTIONS", 10)
    cluster = Cluster(small, 1)
    task = call(door, function=b"key-0")
    for n in range(100):
        small.named(b"key-%d" % n, b"x" * 100, f"function-{n}")
        if n == 0:
            run(cluster, [task])
    wait_until(lambda: len(small._functions) <= 21, "the forgetting of functions")
    assert ask(small, "request", ids=[door.msg_id(task)])[0]["name"] == "function-0"
    assert list(small._functions)[-10:] == [b"key-%d" % n for n in range(90, 100)]


def test_blobs_are_bounded(small: MemoryStore, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "BLOBS", 1000)
    run(Cluster(small, 1), [call(door, function=b"key-0")])
    for n in range(100):
        small.named(b"key-%d" % n, b"x" * 100, f"function-{n}")
        small.named(b"key-%d" % n, b"x" * 100, f"function-{n}")
    ask(small, "history")  # behind what the desk had to do
    kept = [key for key, (_, blob) in small._functions.items() if blob is not None]
    assert small._blobs == 100 * len(kept) <= 2000 and kept[-1] == b"key-99"
    assert ask(small, "query", keys=["name"])[0]["name"] == "function-0"


def test_engines_are_bounded(small: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "ENGINES", 5)
    for id in range(50):
        small.engines(id, f"engine-{id}", {}, True, 1.0)
        if id:
            small.engines(id, f"engine-{id}", {}, False, 2.0)
    known = [engine["engine_id"] for engine in ask(small, "engines")]
    assert known[0] == 0 and known[-1] == 49 and len(known) <= 11


def test_an_error_at_the_desk_is_told(small: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: Any, about: Any) -> Any:
        raise ZeroDivisionError("by accident")

    monkeypatch.setitem(MemoryStore._questions, "history", fail)
    with pytest.raises(Exception, match="ZeroDivisionError: by accident"):
        ask(small, "history")
    assert small.status()["errors"] == "ZeroDivisionError: by accident"


def test_a_job_at_the_desk_that_fails(small: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr(small, "_tidy", fail)
    monkeypatch.setattr(shelf, "FUNCTIONS", 1)
    for n in range(5):
        small.named(b"key-%d" % n, b"blob", "name")
    assert ask(small, "history") == []


def test_a_million_tasks_leave_the_memory_where_it_was(door: Door) -> None:
    def pass_through(n: int) -> int:
        for _ in range(n // 100):
            tasks = [call(door, b"x" * 100) for _ in range(100)]
            store.submitted(tasks, 1.0)
            store.ended([(task, said(task), 0) for task in tasks], 2.0)
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    store = MemoryStore()
    before = pass_through(100_000)
    after = pass_through(900_000)
    assert after - before < 16 * 2**20
    assert store.status()["records"] + store.status()["dropped"] == 1_000_000
