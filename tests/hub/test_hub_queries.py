from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hub_told import Door, ask, call, chunk, said
from hypothesis import given, settings

from parpool.hub.memory import MemoryStore
from parpool.hub.queries import KIND, LIST, NUMBER
from parpool.hub.records import KEYS, Store
from parpool.hub.sql import SqlStore

VALUES = {
    NUMBER: st.sampled_from([0, 1, 2, 3, 5, 1.5, 1004.0, 2000.0, 1e300, 2**60, None]),
    LIST: st.sampled_from([[], [0], [1], None, [f"{3:032x}_{3 << 40}"]]),
}
WORDS = st.sampled_from(["ok", "pending", "error", "timeout", "work", "engine-0", "", "é", "a\0b", f"{3:032x}", None])
COMPARED = ("$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$in", "$nin", "$exists")


@st.composite
def conditions(draw: Any) -> tuple[str, Any]:
    """One key of a query, and what it must be."""
    key = draw(st.sampled_from(KEYS))
    values = VALUES.get(KIND[key], WORDS)
    operator = draw(st.sampled_from(COMPARED if KIND[key] != LIST else ("$eq", "$ne", "$in", "$nin", "$exists")))
    if operator == "$exists":
        return key, {operator: draw(st.booleans())}
    return key, {operator: draw(st.lists(values, max_size=3) if operator in ("$in", "$nin") else values)}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    """Two stores that were told the same."""
    two = MemoryStore(), SqlStore(f"sqlite:///{tmp_path_factory.mktemp('same') / 'tasks.db'}")
    for store in two:
        door, other = Door(3), Door(4)
        store.named(b"key", b"blob", "work")
        for id in range(2):
            store.engines(id, f"engine-{id}", {}, True, 1000.0)
        for n in range(12):
            tasks = [call(door if n % 2 else other, b"x" * n, retries=n % 3), chunk(other, 2 + n % 3)]
            store.submitted(tasks, 1000.0 + n)
            for task in tasks[: n % 4]:
                store.printed(task, 1, "é" * (n % 3))
                for item in range(task.count if n != 5 else 1):
                    outcome = said(task, b"r" * n, n % 4 if n % 5 else 0, item)
                    store.ended([(task, outcome, n % 2 if n % 7 else None)], 2000.0 + n + item)
        ask(store, "history")  # begins its threads
    yield two
    for store in two:
        store.close()


@settings(max_examples=150)
@given(query=st.lists(conditions(), max_size=3).map(dict))
def test_every_store_means_the_same(stores: tuple[Store, Store], query: dict[str, Any]) -> None:
    answers = [ask(store, "query", query=query, keys=[*KEYS, "request", "result"]) for store in stores]
    assert answers[0] == answers[1]
