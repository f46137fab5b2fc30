"""What the hub is told in tests: by a real scheduler, as a controller's watcher tells it; and answers waited for."""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from parpool.core.effects import Effects
from parpool.core.scheduler import Scheduler
from parpool.core.state import Task
from parpool.hub.records import Store
from parpool.wire.messages import EACH, Outcome

PATIENCE = 30.0


class NoAnswer(Exception):
    """The hub answered with an error."""


def ask(store: Store, what: str, **about: Any) -> Any:
    """Ask, and wait for the answer, which must be one that can travel."""
    replies: queue.Queue[tuple[Any, str | None]] = queue.Queue()
    store.ask(what, about, lambda value, error: replies.put((value, error)))
    value, error = replies.get(timeout=PATIENCE)
    if error is not None:
        assert value is None and error
        raise NoAnswer(error)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


def wait_until(true: Callable[[], object], what: str = "it") -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"{what} has not come about"
        time.sleep(0.005)


class Door:
    """A client."""

    def __init__(self, n: int = 1) -> None:
        self.name = f"{n:032x}"
        self.number = n
        self.next = itertools.count(n << 40).__next__

    def msg_id(self, task: Task) -> str:
        """The msg_id of a task of it."""
        return f"{self.name}_{task.id}"


class Cluster:
    """A scheduler, of which all that happens is told to a store. Its clock goes by whole seconds."""

    def __init__(self, store: Store, engines: int = 0) -> None:
        self.store = store
        self.scheduler = Scheduler()
        self.now = 1000.0
        self.held: dict[int, list[Task]] = {}
        for id in range(engines):
            self.join(id)

    def tick(self) -> float:
        """A second later."""
        self.now += 1
        return self.now

    def join(self, id: int) -> None:
        """An engine joins."""
        self.store.engines(id, f"engine-{id}", {"pid": 100 + id, "hostname": "here"}, True, self.tick())
        self.held[id] = []
        self.perform(self.scheduler.engine_joined(id, self.now))

    def lose(self, id: int, **how: Any) -> None:
        """An engine dies."""
        self.store.engines(id, f"engine-{id}", {}, False, self.tick())
        self.perform(self.scheduler.engine_lost(id, self.now, **how))

    def submit(self, *tasks: Task) -> None:
        """Clients submit tasks."""
        self.store.submitted(list(tasks), self.tick())
        self.perform(self.scheduler.submit(tasks, self.now))

    def perform(self, effects: Effects) -> None:
        """Tell what was delivered."""
        for id, tasks in effects.send:
            self.held[id] += tasks
        if effects.deliver:
            self.store.ended(effects.deliver, self.now)

    def report(self, engine: int, *outcomes: Outcome) -> None:
        """An engine reports."""
        self.tick()
        self.perform(self.scheduler.outcomes(engine, outcomes, self.now))

    def end(self, task: Task, payload: bytes = b"value", status: int = 0, item: int = 0) -> None:
        """The engine that has a task has done it, or an item of it."""
        assert task.engine is not None
        self.report(task.engine, said(task, payload, status, item))


def said(task: Task, payload: bytes = b"value", status: int = 0, item: int = 0) -> Outcome:
    """An outcome as an engine reports it."""
    return Outcome(task.id, status, item, 2000.0 + item, 2001.5 + item, payload, 0)


def call(door: Door, payload: bytes = b"arguments", function: bytes = b"key", **more: Any) -> Task:
    """A task of one call."""
    return Task(door.next(), function, payload, door, **more)


def chunk(door: Door, items: int, payload: bytes = b"items", **more: Any) -> Task:
    """A task whose items end one by one."""
    return Task(door.next(), b"key", payload, door, kind=EACH, count=items, weight=items, **more)


def run(cluster: Cluster, tasks: Iterable[Task], payload: bytes = b"value") -> None:
    """Submit calls and end them."""
    for task in tasks:
        cluster.submit(task)
        cluster.end(task, payload)
