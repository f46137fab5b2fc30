"""Records that a hub gives when tasks have ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from parpool.host.awaited import Awaited


class Store:
    """Answers when the test says so, as one with a thread of its own does."""

    def __init__(self) -> None:
        self.pending: set[str] = set()
        self.questions: list[Callable[[], None]] = []

    def ask(self, what: str, about: dict[str, Any], reply: Any) -> None:
        def answer() -> None:
            if what == "status":
                reply({"pending": [id for id in about["ids"] if id in self.pending]})
            else:
                reply({id: "record" for id in about["ids"]})

        self.questions.append(answer)

    def answer(self) -> None:
        questions, self.questions = self.questions, []
        for each in questions:
            each()


class Hub:
    """Its loop."""

    def __init__(self) -> None:
        self.store = Store()
        self.later: list[Callable[[], None]] = []
        self.told: list[Any] = []
        self.awaited = Awaited(self.store, self.later.append)  # type: ignore[arg-type]

    def ask(self, *ids: str) -> None:
        self.awaited.add(ids, lambda value, error=None: self.told.append(value))

    def turn(self) -> None:
        while self.later:
            self.later.pop(0)()
        self.awaited.look()
        self.store.answer()


@pytest.fixture
def hub() -> Hub:
    return Hub()


def test_what_has_ended_is_told_at_once(hub: Hub) -> None:
    hub.ask("a", "b")
    for _ in range(3):
        hub.turn()
    assert hub.told == [{"a": "record", "b": "record"}]


def test_it_waits_for_all(hub: Hub) -> None:
    hub.store.pending = {"a", "b"}
    hub.ask("a", "b")
    for ended in ("a", "b"):
        for _ in range(3):
            hub.turn()
        assert hub.told == []
        hub.store.pending.discard(ended)
        hub.awaited.ended(ended)
    for _ in range(3):
        hub.turn()
    assert len(hub.told) == 1
    assert not hub.later


def test_an_end_while_the_store_is_asked(hub: Hub) -> None:
    hub.store.pending = {"a"}
    hub.ask("a")
    hub.awaited.look()
    hub.store.answer()  # it says: pending
    hub.store.pending.clear()
    hub.awaited.ended("a")
    for _ in range(4):
        hub.turn()
    assert len(hub.told) == 1


def test_ends_of_others_ask_nothing(hub: Hub) -> None:
    hub.store.pending = {"a"}
    hub.ask("a")
    for _ in range(3):
        hub.turn()
    hub.awaited.ended("other")
    hub.awaited.look()
    assert hub.store.questions == []
