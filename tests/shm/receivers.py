"""Processes that take what others have put into shared memory."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import pytest

from parpool.errors import SerializationError
from parpool.shm.leases import Leases


def receiver(pipe: Connection) -> None:
    """Does what it is told: takes, reads, writes, drops."""
    leases, held = Leases(), {}
    with suppress(EOFError):
        obey(pipe, leases, held)


def obey(pipe: Connection, leases: Leases, held: dict[Any, Any]) -> None:
    while True:
        order, *about = pipe.recv()
        answer: Any = None
        try:
            if order == "take":
                held[tuple(about)] = leases.take(*about)
            elif order == "read":
                answer = bytes(held[tuple(about)])[: about[3]]
            elif order == "write":
                memoryview(held[tuple(about)])[:4] = b"mine"
            elif order == "drop":
                del held[tuple(about)]
            elif order == "give back":
                leases.give_back(*about[:3])
            elif order == "limit":
                with open("/proc/self/statm") as file:
                    pages = int(file.read().split()[0])
                resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 8 * 2**20,) * 2)
            elif order == "end":
                return
        except SerializationError as error:
            answer = error
        pipe.send(answer)


class Child:
    """A process that receives."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=receiver, args=(theirs,))
        self.process.start()
        theirs.close()

    def __call__(self, order: str, where: Any) -> Any:
        self.pipe.send((order, *where))
        assert self.pipe.poll(20)
        return self.pipe.recv()

    def end(self) -> None:
        if self.process.is_alive():
            self.pipe.send(("end",))
        self.process.join(20)
        self.process.close()
        self.pipe.close()


@pytest.fixture
def children() -> Iterator[Callable[[], Child]]:
    made: list[Child] = []

    def child() -> Child:
        made.append(Child())
        return made[-1]

    yield child
    for each in made:
        each.end()
