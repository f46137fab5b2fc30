import pytest
from hub_told import Cluster, Door, NoAnswer, ask, call, run, said, wait_until

from parpool.hub import scribe, writer
from parpool.hub.sql import SqlStore


def test_large_bodies_are_not_kept(url: str, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scribe, "STATEMENT", 1000)
    store = SqlStore(url, bytes=5000)
    try:
        tasks = [call(door, b"x" * size) for size in (5001, 400, 400, 400, 400)]
        run(Cluster(store, 1), tasks, b"y" * 100)
        requests = [record["request"] for record in ask(store, "query", keys=["request"])]
        assert requests[0] is None and requests[1:] == 4 * [b"x" * 400]
    finally:
        store.close()


def test_bodies_are_bounded_by_age(url: str, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10_000.0]
    monkeypatch.setattr(writer, "time", lambda: now[0])
    store = SqlStore(url, age=0.4)
    try:
        first, second = call(door), call(door)
        store.submitted([first, second], 9000.0)
        store.ended([(first, said(first), 0)], 9999.9)
        assert ask(store, "query", keys=["request"])[0]["request"] is not None
        now[0] += 1
        wait_until(lambda: ask(store, "query", keys=["request"])[0]["request"] is None, "the end of a body")
        assert ask(store, "query", keys=["request"])[1]["request"] is not None
        assert store.status()["records"] == 2
    finally:
        store.close()


def test_blobs_are_bounded(store: SqlStore, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BLOBS", 1000)
    needed = call(door, function=b"key-0")
    run(Cluster(store, 1), [needed])
    for n in range(20):
        store.named(b"key-%d" % n, b"x" * 100, f"function-{n}")
    ask(store, "history")
    oldest, newest = call(door, function=b"key-1"), call(door, function=b"key-19")
    run(Cluster(store, 2), [oldest, newest])
    wait_until(lambda: store.status()["backlog"] == 0, "the end of the backlog")
    names = [record["name"] for record in ask(store, "query", keys=["name"])]
    assert names == ["", "function-1", "function-19"]  # the first was not known by name when it came
    assert {each["blob"] for each in ask(store, "request", ids=[door.msg_id(needed), door.msg_id(newest)])} == {
        b"x" * 100
    }
    with pytest.raises(NoAnswer, match="its function is no longer kept"):
        ask(store, "request", ids=[door.msg_id(oldest)])
    # More than all that can be spared.
    monkeypatch.setattr(writer, "BLOBS", 150)
    store.named(b"key-20", b"x" * 100, "function-20")
    ask(store, "history")
    with pytest.raises(NoAnswer, match="its function is no longer kept"):
        ask(store, "request", ids=[door.msg_id(needed)])
    store.named(b"key-0", b"again", "function-0")
    assert ask(store, "request", ids=[door.msg_id(needed)])[0]["blob"] == b"again"
