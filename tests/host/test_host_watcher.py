"""What the hub is told of: everything that happens, once, and in the order in which it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from paper import Paper, on_paper
from speaker import Speaker

from parpool import status as codes
from parpool.core.state import Task
from parpool.host.watcher import Watcher
from parpool.wire.messages import EACH, Printed, encode
from parpool.wire.requests import Abort, Definition, Submit, Terms

FUNCTION = Definition(b"function", b"blob", "f")


class Book:
    """A store that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.closed = False

    def submitted(self, tasks: Sequence[Task], now: float) -> None:
        self.told += [("submitted", task.id, task.door.name) for task in tasks]

    def named(self, key: bytes, blob: bytes, name: str) -> None:
        self.told.append(("named", key, blob, name))

    def ended(self, deliveries: Sequence[Any], now: float) -> None:
        self.told += [("ended", task.id, outcome.item, outcome.status, engine) for task, outcome, engine in deliveries]

    def printed(self, task: Task, stream: int, text: str) -> None:
        self.told.append(("printed", task.id, stream, text))

    def engines(self, id: int, uid: str, facts: dict[str, Any], joined: bool, now: float) -> None:
        self.told.append(("engine", id, uid, joined))

    def close(self) -> None:
        self.closed = True

    def of(self, what: str) -> list[tuple[Any, ...]]:
        return [each[1:] for each in self.told if each[0] == what]


class Scene:
    """A station on paper that is watched."""

    def __init__(self, paper: Paper) -> None:
        self.paper = paper
        self.book = Book()
        store: Any = self.book
        self.watcher = Watcher(store, paper.station)
        tell = paper.station.on_news

        def news(message: Any) -> None:
            tell(message)
            self.watcher.look()

        paper.station.on_news = news
        self.client = Speaker(paper)
        self.client.hello()

    def submit(self, *numbers: int, **more: Any) -> list[int]:
        orders = [self.client.order(number, **more) for number in numbers]
        for order in orders:
            self.paper.tasks[order.id] = {"count": order.count, "retries": 0}
        self.client.tell(Submit(orders, [], [FUNCTION]))
        return [order.id for order in orders]

    def advance(self, rounds: int = 12) -> None:
        for _ in range(rounds):
            self.paper.advance()


@pytest.fixture
def scene() -> Iterator[Scene]:
    with on_paper() as paper:
        yield Scene(paper)


def test_tasks_and_functions(scene: Scene) -> None:
    engine = scene.paper.add_engine()
    first, second = scene.submit(1, 2)
    scene.advance()
    book = scene.book
    assert book.of("named") == [(b"function", b"blob", "f")]
    assert book.of("submitted") == [(first, "client"), (second, "client")]
    assert sorted(book.of("ended")) == [(first, 0, codes.OK, 0), (second, 0, codes.OK, 0)]
    assert book.told.index(("submitted", second, "client")) < book.told.index(("ended", first, 0, codes.OK, 0))
    assert book.of("engine") == [(0, engine.address.decode(), True)]
    scene.watcher.close()
    assert book.closed


def test_items(scene: Scene) -> None:
    scene.paper.add_engine()
    (id,) = scene.submit(1, kind=EACH, count=3, weight=3)
    scene.advance()
    assert scene.book.of("ended") == [(id, item, codes.OK, 0) for item in range(3)]


def test_what_was_printed(scene: Scene) -> None:
    engine = scene.paper.add_engine()
    (id,) = scene.submit(1)
    scene.paper.step(3)
    engine.say("work", encode(Printed(id, 2, "text")))
    engine.say("work", encode(Printed(999, 2, "of nobody")))
    scene.paper.step(3)
    assert scene.book.of("printed") == [(id, 2, "text")]


def test_what_was_taken_back(scene: Scene) -> None:
    (id,) = scene.submit(1)
    scene.client.tell(Abort([id]))
    assert scene.book.of("ended") == [(id, 0, codes.ABORTED, None)]


def test_what_goes_to_another_scheduler_has_not_ended(scene: Scene) -> None:
    scene.watcher.be_one_of_several()
    first, second = scene.submit(1, 2)
    (several,) = scene.submit(3, kind=EACH, count=3, weight=3)
    scene.client.tell(Abort([first, several], True))
    assert scene.book.of("ended") == [] and len(scene.paper.station.scheduler.tasks) == 1
    scene.submit(1)  # it has come back
    scene.client.tell(Abort([first, second]))
    assert scene.book.of("ended") == [(first, 0, codes.ABORTED, None), (second, 0, codes.ABORTED, None)]


def test_what_stays_though_it_was_to_go(scene: Scene) -> None:
    scene.watcher.be_one_of_several()
    engine = scene.paper.add_engine()
    (id,) = scene.submit(1, kind=EACH, count=4, weight=4)
    scene.paper.step(3)
    engine.take()
    engine.begin()
    scene.client.tell(Abort([id], True))
    scene.watcher.stay(scene.paper.station.scheduler.tasks[id].door)
    engine.obey()
    scene.advance()
    assert [each[1:] for each in scene.book.of("ended")] == [(item, codes.OK, 0) for item in range(4)]


def test_parts_of_what_others_have_are_no_tasks_of_their_own(scene: Scene) -> None:
    scene.paper.add_engine()
    whole = scene.client.order(9).id
    order = scene.client.order(1, kind=EACH, first=1, count=3, weight=3, terms=0)
    scene.paper.tasks[order.id] = {"count": 3, "retries": 0}
    scene.client.tell(Submit([order], [Terms(part_of=whole)], [FUNCTION]))
    scene.advance()
    assert scene.book.of("submitted") == []
    assert [item for _, item, _, _ in scene.book.of("ended")] == [1, 2]


def test_engines_come_and_go(scene: Scene) -> None:
    first, second = scene.paper.add_engine(), scene.paper.add_engine()
    scene.paper.step(5)
    first.cut()
    for _ in range(4):
        scene.paper.beat()
    names = first.address.decode(), second.address.decode()
    assert scene.book.of("engine") == [(0, names[0], True), (1, names[1], True), (0, names[0], False)]
    first.connect()
    for _ in range(4):
        scene.advance(4)
        scene.paper.beat()
    assert scene.book.of("engine")[-1] == (0, names[0], True)


# Somebody waits ----------------------------------------------------------------------------------------------


def waits(scene: Scene, *ids: int, pending: Sequence[int] | None = None) -> list[str]:
    """Wait for these tasks; what happens then is added to the list that this gives."""
    happened: list[str] = []
    wait = scene.watcher.wait_for({id: str(id) for id in ids})
    wait.then = lambda: happened.append("ended")
    scene.watcher.go_on(wait, [str(id) for id in (ids if pending is None else pending)])
    return happened


def test_to_wait_for_tasks(scene: Scene) -> None:
    scene.paper.add_engine()
    first, second = scene.submit(1, 2)
    both, one = waits(scene, first, second), waits(scene, second)
    assert not both and not one
    scene.advance()
    assert both == one == ["ended"]
    scene.submit(3)
    scene.advance()
    assert both == one == ["ended"]


def test_to_wait_for_what_has_ended(scene: Scene) -> None:
    scene.paper.add_engine()
    (id,) = scene.submit(1)
    scene.advance()
    assert waits(scene, id, pending=[]) == ["ended"]


def test_what_ends_while_the_store_is_asked(scene: Scene) -> None:
    """It says that the task is pending, and it has ended meanwhile."""
    scene.paper.add_engine()
    (id,) = scene.submit(1)
    happened: list[str] = []
    wait = scene.watcher.wait_for({id: str(id)})
    wait.then = lambda: happened.append("ended")
    scene.advance()
    assert not happened
    scene.watcher.go_on(wait, [str(id)])
    assert happened == ["ended"]


def test_to_wait_for_a_map_that_is_cut(scene: Scene) -> None:
    """All its parts must have ended."""
    engine = scene.paper.add_engine()
    (id,) = scene.submit(1, kind=EACH, count=4, weight=4)
    happened = waits(scene, id)
    scene.paper.step(3)
    engine.take()
    engine.begin()
    scene.paper.add_engine()
    scene.paper.step(3)
    scene.paper.clock.now += 0.1
    scene.paper.step(3)
    engine.obey()
    scene.paper.step(3)
    assert len(scene.paper.station.scheduler.tasks) == 2, "it was not cut"
    engine.finish()
    engine.flush()
    scene.paper.step(3)
    assert len(scene.paper.station.scheduler.tasks) == 1 and not happened
    scene.advance()
    assert happened == ["ended"] and not scene.paper.station.scheduler.tasks
