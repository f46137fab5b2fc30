"""What every store has to answer, as tests; see `hub_contract.py`."""

from __future__ import annotations

from typing import Any

import pytest
from hub_contract import Told
from hub_told import Cluster, Door, NoAnswer, ask, call, chunk, run, said

from parpool.core.state import Dependency
from parpool.hub import queries
from parpool.hub.records import Store
from parpool.status import ERROR


class QuestionsContract(Told):
    """What is told comes back when it is asked for."""

    # -- history and status -----------------------------------------------------------------------------------

    def test_history(self, store: Store, cluster: Cluster, door: Door) -> None:
        other = Door(2)
        tasks = [chunk(each, 2) if n % 5 == 0 else call(each) for n, each in enumerate([door, other] * 20)]
        for start in range(0, len(tasks), 8):
            cluster.submit(*tasks[start : start + 8])
        names = [task.door.msg_id(task) for task in tasks]
        assert set(ask(store, "history")) == set(names)
        for each in (door, other):
            expected = [name for name in names if name.startswith(each.name)]
            assert ask(store, "history", client=each.name) == expected
            assert [name for name in ask(store, "history") if name in expected] == expected
        assert ask(store, "history", client="nobody") == []
        store.ended([(tasks[1], said(tasks[1]), 0)], cluster.tick())
        assert ask(store, "history", client=other.name)[0] == names[1]

    def test_status(self, store: Store, cluster: Cluster, door: Door) -> None:
        tasks = [call(door) for _ in range(3)]
        cluster.submit(*tasks)
        cluster.end(tasks[0])
        a, b, c = map(door.msg_id, tasks)
        stranger = f"{'0' * 32}_{tasks[0].id}"
        wrong = f"{door.name}_0{tasks[0].id}"
        told = ask(store, "status", ids=[c, stranger, a, wrong, b, a])
        assert told == {"pending": [c, b], "completed": [a], "unknown": [stranger, wrong]}
        assert ask(store, "status", ids=[]) == {"pending": [], "completed": [], "unknown": []}

    def test_all_that_was_handed_in_is_known(self, store: Store, door: Door) -> None:
        store.engines(0, "engine-0", {}, True, 0.0)
        for _ in range(20):
            tasks = [call(door) for _ in range(50)]
            store.submitted(tasks, 1.0)
            store.ended([(task, said(task), 0) for task in tasks], 2.0)
            told = ask(store, "status", ids=[door.msg_id(task) for task in tasks])
            assert len(told["completed"]) == 50

    # -- queries ----------------------------------------------------------------------------------------------

    @pytest.fixture
    def some(self, store: Store, cluster: Cluster, door: Door) -> list[str]:
        """Four tasks: two that ended on engines 0 and 1, one that failed, one that is pending."""
        store.named(b"key", b"blob", "work")
        store.named(b"other", b"blob", "play")
        cluster.join(1)
        tasks = [
            call(door, b"12", targets=frozenset({0})),
            call(Door(8), b"1", b"other", targets=frozenset({1})),
            call(door, b"", retries=1),
            call(door, b"1234", after=Dependency(frozenset({1 << 40}))),
        ]
        for task in tasks:
            store.submitted([task], cluster.tick())
        for task, payload, status, engine in (
            (tasks[0], b"result", 0, 0),
            (tasks[1], b"r", 0, 1),
            (tasks[2], b"exception", ERROR, 0),
        ):
            store.ended([(task, said(task, payload, status), engine)], cluster.tick())
        return [task.door.msg_id(task) for task in tasks]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, "0123"),
            ({"status": "ok"}, "01"),
            ({"status": "pending"}, "3"),
            ({"status": {"$ne": "ok"}}, "23"),
            ({"status": {"$in": ["error", "pending", "no such word"]}}, "23"),
            ({"status": {"$nin": ["error", "pending"]}}, "01"),
            ({"status": {"$gt": "ok"}}, "3"),
            ({"status": None}, ""),
            ({"name": "work"}, "023"),
            ({"name": {"$lt": "work"}}, "1"),
            ({"client": f"{8:032x}"}, "1"),
            ({"client": {"$in": [f"{8:032x}", "nobody"]}}, "1"),
            ({"client": {"$ne": f"{8:032x}"}}, "023"),
            ({"client": None}, ""),
            ({"msg_id": {"$gte": f"{8:032x}_"}}, "1"),
            ({"engine_id": 1}, "1"),
            ({"engine_id": 1.0}, "1"),
            ({"engine_id": None}, "3"),
            ({"engine_id": {"$ne": None}}, "012"),
            ({"engine_id": {"$ne": 1}}, "023"),
            ({"engine_id": {"$in": [None, 1]}}, "13"),
            ({"engine_id": {"$nin": [None, 1]}}, "02"),
            ({"engine_id": {"$lt": None}}, ""),
            ({"engine_id": {"$gte": 0, "$lt": 1}}, "02"),
            ({"engine_uuid": "engine-1"}, "1"),
            ({"engine_uuid": None}, "3"),
            ({"engine_uuid": {"$exists": False}}, "3"),
            ({"received": {"$exists": True}}, "012"),
            ({"completed": None}, "3"),
            ({"completed": {"$gt": 2001}, "engine_id": 0}, "02"),
            ({"submitted": {"$lte": 1004.0}}, "01"),
            ({"submitted": 1005}, "2"),
            ({"submitted": {"$gt": 1003, "$ne": 1005.0}}, "13"),
            ({"retries": 1}, "2"),
            ({"items": {"$gt": 1}}, ""),
            ({"size_in": 0}, "2"),
            ({"size_in": {"$gte": 2}}, "03"),
            ({"size_out": {"$gt": 1}}, "02"),
            ({"size_out": 0}, "3"),
            ({"targets": None}, "23"),
            ({"targets": [0]}, "0"),
            ({"targets": {"$ne": [0]}}, "123"),
            ({"targets": {"$in": [[1], None]}}, "123"),
            ({"after": []}, "012"),
            ({"after": {"$ne": []}}, "3"),
            ({"stdout": "x"}, ""),
            ({"name": "wo\0rk"}, ""),
            ({"name": {"$ne": "wo\0rk"}}, "0123"),
            ({"engine_id": 2**62}, ""),
            ({"submitted": {"$lt": float("inf")}}, "0123"),
            ({"engine_id": {"$in": list(range(2000))}}, "012"),
        ],
    )
    def test_query(self, store: Store, some: list[str], query: dict[str, Any], expected: str) -> None:
        found = [record["msg_id"] for record in ask(store, "query", query=query)]
        assert found == [some[int(n)] for n in expected]

    def test_query_by_id(self, store: Store, some: list[str]) -> None:
        assert ask(store, "query", query={"msg_id": some[1]}, keys=[]) == [{"msg_id": some[1]}]
        query = {"msg_id": {"$in": [some[3], some[0], "junk", None]}, "status": {"$ne": "pending"}}
        assert ask(store, "query", query=query, keys=["msg_id"]) == [{"msg_id": some[0]}]

    def test_keys(self, store: Store, some: list[str]) -> None:
        found = ask(store, "query", query={"status": "error"}, keys=["request", "name", "result", "name"])
        assert [list(record) for record in found] == [["msg_id", "request", "name", "result"]]
        assert found[0]["request"] == b"" and found[0]["result"][0]["payload"] == b"exception"

    @pytest.mark.parametrize(
        ("about", "words"),
        [
            ({"query": {"colour": 1}}, "'colour'.*msg_id"),
            ({"query": {"request": b""}}, "'request'"),
            ({"query": {"name": {"$like": "w%"}}}, r"'\$like'.*\$eq"),
            ({"query": {"name": {"": 1}}}, "operator"),
            ({"query": {"name": 5}}, "'name' is compared with a string or None, not with 5"),
            ({"query": {"engine_id": "0"}}, "a number"),
            ({"query": {"engine_id": True}}, "a number"),
            ({"query": {"engine_id": 2**64}}, "a number"),
            ({"query": {"submitted": float("nan")}}, "a number"),
            ({"query": {"engine_id": {"$in": 5}}}, "with a list, not with 5"),
            ({"query": {"engine_id": {"$in": [5, "x"]}}}, "'x'"),
            ({"query": {"name": {"$exists": 1}}}, "True or False"),
            ({"query": {"after": "x"}}, "a list"),
            ({"query": {"after": {"$lt": []}}}, r"\$lt does not go with 'after'"),
            ({"query": ["x"]}, "a query is a dict"),
            ({"query": {"name": {"a" * 500: 1}}}, r"aaa\.\.\."),
            ({"keys": ["colour"]}, "'colour'.*result"),
            ({"keys": "name"}, "keys must be a list"),
            ({"keys": [["x"]]}, "has no key"),
            ({"filter": {}}, "'filter'.*query, keys"),
        ],
    )
    def test_wrong_queries(self, store: Store, about: dict[str, Any], words: str) -> None:
        with pytest.raises(NoAnswer, match=words):
            ask(store, "query", **about)

    def test_too_many_for_one_answer(
        self, store: Store, cluster: Cluster, door: Door, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queries, "MOST", 3)
        cluster.submit(*[call(door) for _ in range(4)])
        with pytest.raises(NoAnswer, match="more than 3 records match"):
            ask(store, "query")
        assert len(ask(store, "history")) == 4

    @pytest.mark.parametrize(
        ("what", "about", "words"),
        [
            ("colour", {}, "'colour'.*history, query"),
            ("purge_all", {}, "'purge_all'.*purge"),
            ("status", {"ids": "x"}, "ids must be a list"),
            ("status", {}, "ids must be a list"),
            ("records", {"ids": [1]}, "ids must be a list"),
            ("request", {"ids": None}, "ids must be a list"),
            ("status", {"ids": [], "client": "x"}, "'client'"),
            ("history", {"client": 5}, "uuid of a client"),
            ("engines", {"ids": []}, "about nothing"),
            ("purge", {}, "what is to be purged"),
            ("purge", {"ids": [5]}, "ids must be a list"),
            ("purge", {"ids": "all", "targets": 0}, "targets must be a list"),
            ("purge", {"clients": "x"}, "clients must be a list"),
            ("purge_everything", {"ids": []}, "'ids'"),
        ],
    )
    def test_wrong_questions(self, store: Store, what: str, about: dict[str, Any], words: str) -> None:
        with pytest.raises(NoAnswer, match=words):
            ask(store, what, **about)

    # -- purging ----------------------------------------------------------------------------------------------

    def test_purge(self, store: Store, some: list[str]) -> None:
        a, b, c, pending = some
        with pytest.raises(NoAnswer, match=f"1 task is pending and cannot be purged: {pending}"):
            ask(store, "purge", ids=[a, pending])
        assert ask(store, "history") == some
        assert ask(store, "purge", ids=[a, "junk"], targets=[1]) == 0
        assert ask(store, "purge", ids=[a, "junk", a]) == 1
        assert ask(store, "purge", ids=[a]) == 0
        assert ask(store, "history") == [b, c, pending]
        assert ask(store, "records", ids=[a]) == {}
        assert ask(store, "purge", targets=[1, 17]) == 1
        assert ask(store, "purge", ids="all", clients=["nobody"]) == 0
        assert ask(store, "purge", ids=[]) == 0
        assert ask(store, "history") == [c, pending]
        assert ask(store, "purge", ids="all") == 1
        assert ask(store, "history") == [pending]
        assert store.status()["records"] == 1

    def test_purge_of_a_client(self, store: Store, some: list[str]) -> None:
        assert ask(store, "purge", clients=[f"{8:032x}"]) == 1
        assert ask(store, "history") == [some[0], some[2], some[3]]

    def test_purge_everything(self, store: Store, cluster: Cluster, door: Door, some: list[str]) -> None:
        many = chunk(door, 2)
        cluster.submit(many)
        cluster.report(many.engine or 0, said(many, item=0), said(many, item=1))
        store.printed(many, 1, "text")
        assert ask(store, "purge_everything") == 4
        assert ask(store, "history") == some[3:]
        assert store.status()["bytes"] in (0, len(b"1234"))  # what is pending may count, or not yet
        run(cluster, [call(door)])
        assert len(ask(store, "history")) == 2

    def test_many_pending_are_named_in_short(self, store: Store, door: Door) -> None:
        tasks = [call(door) for _ in range(20)]
        store.submitted(tasks, 1.0)
        with pytest.raises(NoAnswer, match=f"^20 tasks are pending .*{door.msg_id(tasks[0])}.* and 15 more$"):
            ask(store, "purge", ids=list(map(door.msg_id, tasks)))

    # -- submitting again -------------------------------------------------------------------------------------

    def test_request(self, store: Store, cluster: Cluster, door: Door) -> None:
        store.named(b"key", b"the function", "work")
        plain = call(door, b"")
        special = call(door, kind=8, weight=3, retries=2, limit=1.5, targets=frozenset({0}), policy="plainrandom")
        run(cluster, [plain, special])
        first, second = ask(store, "request", ids=[door.msg_id(special), door.msg_id(plain)])
        assert first == {
            "msg_id": door.msg_id(special),
            "function": b"key",
            "blob": b"the function",
            "name": "work",
            "payload": b"arguments",
            "kind": 8,
            "count": 1,
            "weight": 3,
            "retries": 2,
            "limit": 1.5,
            "targets": [0],
            "policy": "plainrandom",
        }
        assert second["payload"] == b"" and second["targets"] is None and second["limit"] is None

    def test_requests_that_cannot_be(self, store: Store, cluster: Cluster, door: Door) -> None:
        ended, pending = call(door), call(door)
        cluster.submit(ended, pending)
        cluster.end(ended)
        with pytest.raises(NoAnswer, match="its function is no longer kept"):
            ask(store, "request", ids=[door.msg_id(ended)])
        store.named(b"key", b"blob", "work")
        assert ask(store, "request", ids=[door.msg_id(ended)])
        with pytest.raises(NoAnswer, match=f"1 task is pending .*{door.msg_id(pending)}"):
            ask(store, "request", ids=[door.msg_id(ended), door.msg_id(pending)])
        with pytest.raises(NoAnswer, match="2 tasks are not known .*junk, x_1"):
            ask(store, "request", ids=["junk", door.msg_id(ended), "x_1"])
