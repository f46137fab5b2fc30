"""What every store has to do, as tests; a store is bound to them by a class with a fixture `make`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hub_told import PATIENCE, Cluster, Door, NoAnswer, ask, call, chunk, run, said, wait_until

from parpool.core.effects import Ending
from parpool.core.state import Dependency, Task
from parpool.hub import records
from parpool.hub.records import KEYS, Store
from parpool.status import ABORTED, ERROR, EXPIRED, IMPOSSIBLE, KILLED, LOST, OVERTIME, UNMET

Make = Callable[..., Store]


class Told:
    """What the tests of a store need."""

    @pytest.fixture
    def make(self) -> Make:
        """Makes a store; ``bytes`` of bodies are its bound."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, make: Make) -> Iterator[Store]:
        store = make()
        yield store
        store.close()

    @pytest.fixture
    def door(self) -> Door:
        return Door(7)

    @pytest.fixture
    def cluster(self, store: Store) -> Cluster:
        return Cluster(store, engines=1)


class RecordsContract(Told):
    """What is told is remembered, within bounds."""

    # -- records ----------------------------------------------------------------------------------------------

    def test_a_record_of_a_call(self, store: Store, cluster: Cluster, door: Door) -> None:
        store.named(b"key", b"blob", "work")
        first = call(door)
        second = call(
            door,
            b"more",
            retries=2,
            targets=frozenset({5, 0}),
            after=Dependency(frozenset({first.id})),
            follow=Dependency(frozenset({first.id})),
            remembered=True,
        )
        first.remembered = True
        cluster.submit(first)
        cluster.submit(second)
        pending = {
            "msg_id": door.msg_id(second),
            "client": door.name,
            "name": "work",
            "submitted": cluster.now,
            "started": None,
            "completed": None,
            "received": None,
            "engine_id": None,
            "engine_uuid": None,
            "status": "pending",
            "after": [door.msg_id(first)],
            "follow": [door.msg_id(first)],
            "retries": 2,
            "items": 1,
            "targets": [0, 5],
            "stdout": "",
            "stderr": "",
            "size_in": 4,
            "size_out": 0,
        }
        assert tuple(pending) == KEYS
        assert ask(store, "query", query={"msg_id": door.msg_id(second)}) == [pending]
        cluster.end(first)
        cluster.end(second, b"result")
        ended = pending | {
            "started": 2000.0,
            "completed": 2001.5,
            "received": cluster.now,
            "engine_id": 0,
            "engine_uuid": "engine-0",
            "status": "ok",
            "size_out": 6,
        }
        assert ask(store, "query")[1] == ended
        assert store.status() | {"bytes": 0} == {
            "kind": store.status()["kind"],
            "records": 2,
            "bytes": 0,
            "dropped": 0,
            "errors": None,
            "backlog": 0,
        }
        assert store.status()["bytes"] == sum(map(len, (b"arguments", b"value", b"more", b"result")))

    def test_the_result_for_another_client(self, store: Store, cluster: Cluster, door: Door) -> None:
        task, other = call(door), call(door)
        cluster.submit(task, other)
        cluster.end(task, b"\x00\xffvalue", ERROR)
        ids = [door.msg_id(other), door.msg_id(task), door.msg_id(task), f"{door.name}_99", "junk", "_", "", "é_1"]
        found = ask(store, "records", ids=ids)
        assert set(found) == set(ids[:2])
        record = found[door.msg_id(task)]
        assert record["status"] == "error" and record["kind"] == 0 and record["count"] == 1
        assert record["result"] == [
            {
                "item": 0,
                "status": ERROR,
                "engine_id": 0,
                "engine_uuid": "engine-0",
                "started": 2000.0,
                "completed": 2001.5,
                "received": cluster.now,
                "payload": b"\x00\xffvalue",
                "detail": None,
            }
        ]
        assert found[door.msg_id(other)]["result"] == []

    @pytest.mark.parametrize(
        ("status", "word"),
        [
            (ERROR, "error"),
            (UNMET, "unmet"),
            (OVERTIME, "timeout"),
            (LOST, "lost"),
            (ABORTED, "aborted"),
            (KILLED, "timeout"),
            (IMPOSSIBLE, "impossible"),
            (EXPIRED, "expired"),
        ],
    )
    def test_how_it_ended(self, store: Store, door: Door, status: int, word: str) -> None:
        task = call(door)
        store.submitted([task], 1.0)
        outcome: Any = said(task, b"why", status) if status >= 0 else Ending(status, 0, None, "a \0 \udc80 reason")
        store.ended([(task, outcome, None)], 2.0)
        (record,) = ask(store, "query", query={"status": word}, keys=["status", "engine_id", "started", "result"])
        (result,) = record.pop("result")
        msg_id, started = door.msg_id(task), 2000.0 if status >= 0 else None
        assert record == {"msg_id": msg_id, "status": word, "engine_id": None, "started": started}
        assert result["status"] == status and result["payload"] == (b"why" if status >= 0 else None)
        assert result["detail"] is None if status >= 0 else "reason" in result["detail"]
        assert ask(store, "status", ids=[msg_id])["completed"] == [msg_id]

    def test_an_engine_that_dies(self, store: Store, cluster: Cluster, door: Door) -> None:
        task = call(door)
        cluster.submit(task)
        cluster.lose(0, known=True, running=(task.id, 0), detail="killed by SIGKILL")
        (record,) = ask(store, "query", keys=["status", "engine_uuid", "result"])
        assert record["status"] == "lost" and record["engine_uuid"] == "engine-0"
        assert record["result"][0]["detail"] == "killed by SIGKILL"

    # -- tasks of several items -------------------------------------------------------------------------------

    def test_items_end_one_by_one(self, store: Store, cluster: Cluster, door: Door) -> None:
        task = chunk(door, 3)
        cluster.submit(task)
        cluster.report(0, said(task, b"a", item=0), said(task, b"b", ERROR, item=1))
        (record,) = ask(store, "query", keys=["status", "items", "started", "size_out", "result"])
        assert record["status"] == "pending" and record["items"] == 3 and record["started"] is None
        assert [each["payload"] for each in record["result"]] == [b"a", b"b"] and record["size_out"] == 0
        cluster.end(task, b"cc", item=2)
        (record,) = ask(store, "query", keys=["status", "started", "completed", "received", "size_out", "result"])
        assert record["status"] == "error" and record["size_out"] == 4
        assert (record["started"], record["completed"], record["received"]) == (2000.0, 2003.5, cluster.now)
        assert [(each["item"], each["payload"]) for each in record["result"]] == [(0, b"a"), (1, b"b"), (2, b"cc")]

    def test_parts_are_accounted_to_the_whole(self, store: Store, cluster: Cluster, door: Door) -> None:
        task, name = chunk(door, 6), ""
        cluster.submit(task)
        name = door.msg_id(task)
        cluster.end(task, b"0", item=0)
        scheduler = cluster.scheduler
        task.state = "revoking"
        cluster.join(1)
        cluster.join(2)
        # Item 1 runs; what is behind it is given to the others.
        cluster.perform(scheduler.given_back(0, [], [], cluster.tick(), [(task.id, 2)]))
        parts = [part for id in (0, 1, 2) for part in cluster.held[id] if part.whole is not None]
        assert len(parts) > 1 and task.count == 2
        cluster.store.printed(parts[0], 1, "from a part")
        for part in reversed(parts):
            for item in range(part.first, part.count):
                cluster.end(part, b"%d" % item, item=item)
        assert ask(store, "status", ids=[name]) == {"pending": [name], "completed": [], "unknown": []}
        assert ask(store, "history") == [name]
        cluster.end(task, b"1", item=1)
        assert not scheduler.tasks
        record = ask(store, "records", ids=[name])[name]
        assert record["status"] == "ok" and record["items"] == record["count"] == 6
        assert record["engine_id"] == 0 and record["stdout"] == "from a part"
        assert b"".join(each["payload"] for each in record["result"]) == b"012345"
        assert {each["engine_uuid"] for each in record["result"]} > {"engine-0"}
        (request,) = ask(store, "request", ids=[name]) if self.knows(store) else [{"count": 6, "weight": 6}]
        assert request["count"] == request["weight"] == 6

    def knows(self, store: Store) -> bool:
        """Let it know the function of the tasks."""
        store.named(b"key", b"blob", "work")
        return True

    def test_a_chunk_that_ends_as_one(self, store: Store, cluster: Cluster, door: Door) -> None:
        task = call(door, kind=1, weight=50)
        cluster.submit(task)
        cluster.end(task)
        (record,) = ask(store, "query", keys=["items", "result"])
        assert record["items"] == 50 and len(record["result"]) == 1

    def test_an_engine_dies_in_a_chunk(self, store: Store, cluster: Cluster, door: Door) -> None:
        task = chunk(door, 4)
        cluster.submit(task)
        cluster.end(task, b"0", item=0)
        cluster.join(1)
        cluster.lose(0, known=True, running=(task.id, 1), detail="gone")
        for item in (2, 3):
            cluster.end(task, b"%d" % item, item=item)
        (record,) = ask(store, "query", keys=["status", "engine_id", "result"])
        assert record["status"] == "lost" and record["engine_id"] == 1
        assert [each["status"] for each in record["result"]] == [0, LOST, 0, 0]

    def test_what_comes_again_in_parts(self, store: Store, door: Door) -> None:
        """Another controller may be given parts of a task, and never the whole."""
        whole = chunk(door, 6)
        parts = [Task(1 << 62 | n, b"key", b"items", door, kind=3, whole=whole.id) for n in range(2)]
        for part, (first, count) in zip(parts, [(2, 4), (4, 6)], strict=True):
            part.first, part.count, part.weight = first, count, count
        store.submitted(parts, 1.0)
        for part in parts:
            assert ask(store, "status", ids=[door.msg_id(whole)])["pending"]
            for item in range(part.first, part.count):
                store.ended([(part, said(part, item=item), 0)], 2.0)
        assert ask(store, "status", ids=[door.msg_id(whole)])["completed"]
        assert ask(store, "history") == [door.msg_id(whole)]

    @pytest.mark.parametrize("first", [0, 2])
    def test_what_is_submitted_again(self, store: Store, door: Door, first: int) -> None:
        """In parts, by a controller that follows another one: what has ended before counts."""
        whole = chunk(door, 6)
        store.submitted([whole], 1.0)
        for item in range(3, 6) if not first else (0, 1):
            store.ended([(whole, said(whole, item=item), 0)], 2.0)
        again = [
            Task(whole.id, b"key", b"items", door, kind=3),
            Task(1 << 57 | whole.id, b"key", b"items", door, kind=3),
        ]
        again[1].whole = whole.id
        for part, (start, count) in zip(again, [(first, first + 1), (first + 1, first + 3)], strict=True):
            part.first, part.count, part.weight = start, count, count
            store.submitted([part], 3.0)
        for item in range(first, first + 3):
            assert ask(store, "status", ids=[door.msg_id(whole)])["pending"]
            store.ended([(again[item > first], said(again[item > first], item=item), 1)], 4.0)
        if first:
            store.ended([(again[1], said(again[1], item=5), 1)], 4.0)
        (record,) = ask(store, "query", keys=["status", "items", "result"])
        assert (record["status"], record["items"], len(record["result"])) == ("ok", 6, 6)

    # -- what tasks print -------------------------------------------------------------------------------------

    def test_printed(self, store: Store, cluster: Cluster, door: Door) -> None:
        task, other = call(door), call(door)
        cluster.submit(task, other)
        for stream, text in ((1, "a\n"), (2, "wrong: \0 é"), (1, "b\n"), (1, ""), (3, "nowhere")):
            store.printed(task, stream, text)
        (record,) = ask(store, "query", query={"stdout": "a\nb\n"}, keys=["stderr", "status"])
        assert record == {"msg_id": door.msg_id(task), "stderr": "wrong: \0 é", "status": "pending"}
        cluster.end(task)
        store.printed(task, 1, "late")
        records = ask(store, "query", query={"stdout": {"$ne": ""}}, keys=["stdout"])
        assert records == [{"msg_id": door.msg_id(task), "stdout": "a\nb\nlate"}]

    def test_what_is_printed_is_bounded(
        self, store: Store, cluster: Cluster, door: Door, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(records.ROOM, 1, 10)
        task = call(door)
        cluster.submit(task)
        for _ in range(5):
            store.printed(task, 1, "12345678")
            store.printed(task, 2, "12345678")
        (record,) = ask(store, "query", keys=["stdout", "stderr"])
        assert record["stdout"] == "1234567812" + records.CUT
        assert record["stderr"] == 5 * "12345678"

    # -- engines ----------------------------------------------------------------------------------------------

    def test_engines(self, store: Store, cluster: Cluster) -> None:
        cluster.join(3)
        cluster.lose(0)
        assert ask(store, "engines") == [
            {
                "engine_id": 0,
                "engine_uuid": "engine-0",
                "facts": {"pid": 100, "hostname": "here"},
                "joined": 1001.0,
                "left": 1003.0,
            },
            {
                "engine_id": 3,
                "engine_uuid": "engine-3",
                "facts": {"pid": 103, "hostname": "here"},
                "joined": 1002.0,
                "left": None,
            },
        ]

    # -- bounds -----------------------------------------------------------------------------------------------

    def test_the_oldest_bodies_go_first(self, make: Make, door: Door) -> None:
        store = make(bytes=10_000)
        try:
            store.named(b"key", b"blob", "work")
            cluster = Cluster(store, 1)
            waiting, many = call(door, b"w" * 500), chunk(door, 2, b"m" * 500)
            store.submitted([waiting], 1.0)
            cluster.submit(many)
            cluster.report(0, said(many, b"0" * 500, item=0), said(many, b"1" * 500, item=1))
            store.printed(many, 1, "text")
            ask(store, "history")  # what is written at one moment has one age
            tasks = [call(door, b"a" * 500) for _ in range(30)]
            run(cluster, tasks, b"r" * 500)
            everything = ask(store, "query", keys=["status", "size_in", "size_out", "request", "result", "stdout"])
            wait_until(lambda: store.status()["bytes"] <= 10_000)
            assert len(everything) == 32
            everything = ask(store, "query", keys=["status", "size_in", "size_out", "request", "result", "stdout"])
            kept = [record["request"] is not None for record in everything]
            assert kept[0] and not kept[1] and kept[1:] == sorted(kept[1:]) and 5 <= sum(kept) <= 11
            for record in everything[2:]:
                assert (record["size_in"], record["size_out"], record["status"]) == (500, 500, "ok")
                assert (record["result"][0]["payload"] is None) == (record["request"] is None)
            old = everything[1]
            assert old["size_out"] == 1000 and old["stdout"] == ""
            assert [each["payload"] for each in old["result"]] == [None, None]
            assert [each["status"] for each in old["result"]] == [0, 0]
            with pytest.raises(NoAnswer, match="arguments are no longer kept"):
                ask(store, "request", ids=[old["msg_id"]])
            assert ask(store, "request", ids=[everything[-1]["msg_id"]])
        finally:
            store.close()

    # -- the end ----------------------------------------------------------------------------------------------

    def test_closed(self, make: Make, door: Door) -> None:
        store = make()
        run(Cluster(store, 1), [call(door)])
        before: list[Any] = []
        store.ask("history", {}, lambda value, error: before.append((value, error)))
        store.close()
        store.close()
        ((value, error),) = before
        assert value or "closed" in str(error)
        with pytest.raises(NoAnswer, match="closed"):
            ask(store, "history")
        store.submitted([call(door)], 1.0)  # nobody minds

    def test_a_reply_that_fails_harms_nobody(self, store: Store) -> None:
        def fail(value: Any, error: str | None) -> None:
            came.set()
            raise RuntimeError("the client is gone")

        came = threading.Event()
        store.ask("history", {}, fail)
        assert came.wait(PATIENCE)
        assert ask(store, "history") == []

    def test_questions_do_not_hold_up_the_loop(self, store: Store, door: Door) -> None:
        """What is told while an answer is made: the loop never waits for a reader."""
        held, go = threading.Event(), threading.Event()

        def hold(value: Any, error: str | None) -> None:
            held.set()
            go.wait(PATIENCE)

        store.ask("history", {}, hold)
        assert held.wait(PATIENCE)
        run(Cluster(store, 1), [call(door) for _ in range(10)])
        go.set()
        assert len(ask(store, "history")) == 10
