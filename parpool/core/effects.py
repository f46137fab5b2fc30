"""What the scheduler asks for: plain values, carried out by the host in the order of the fields."""

from __future__ import annotations

from typing import Protocol

from .state import Task


class Report(Protocol):
    """One outcome as an engine reports it. The brain reads these fields and never the payload that goes with them."""

    id: int
    status: int
    item: int
    started: float
    completed: float


class Ending:
    """The end of a task (or of one item of it) that the scheduler itself decided on.

    ``status`` is one of the negative codes of :mod:`~parpool.status`; ``item`` the item of the task that it is
    about; ``detail`` a sentence for the user, or what the host knows of a dead engine.
    """

    __slots__ = ("status", "item", "engine", "detail")

    def __init__(self, status: int, item: int, engine: int | None, detail: object) -> None:
        self.status = status
        self.item = item
        self.engine = engine
        self.detail = detail

    def __repr__(self) -> str:
        return f"Ending({self.status}, item={self.item}, engine={self.engine}, {self.detail!r})"


class Effects:
    """What must happen in the world after one step of the scheduler."""

    __slots__ = ("deliver", "send", "revoke", "interrupt", "kill", "stop")

    def __init__(self) -> None:
        #: outcomes for whoever submitted the task, with the engine that ran it (None: none did)
        self.deliver: list[tuple[Task, Report | Ending, int | None]] = []
        #: (engine, its next tasks in the order in which it is to run them)
        self.send: list[tuple[int, list[Task]]] = []
        #: (engine, ids of tasks of which it is to give back what has not begun: the task, or its last items)
        self.revoke: list[tuple[int, list[int]]] = []
        #: (engine, id of the task and item of it whose time is up: raise TaskTimeout in it)
        self.interrupt: list[tuple[int, int, int]] = []
        #: engines that did not react to an interrupt: end the process
        self.kill: list[int] = []
        #: engines that have done all they may do: let them end by themselves
        self.stop: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.deliver or self.send or self.revoke or self.interrupt or self.kill or self.stop)
