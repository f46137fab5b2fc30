"""What the scheduler asks for, done: messages sent, outcomes delivered, engines ended."""

from __future__ import annotations

import logging
from typing import Any

from ..core.effects import Effects
from ..core.scheduler import Scheduler
from ..core.state import Task
from ..wire.messages import INLINE, Interrupt, Revoke, Stop, ToControl, Work, encode
from .blobs import Blobs
from .members import Members
from .wires import Wires

log = logging.getLogger("parpool")


class Deeds:
    """Carries out effects."""

    def __init__(self, scheduler: Scheduler, members: Members, wires: Wires, blobs: Blobs) -> None:
        self._engines = scheduler.engines
        self._members = members
        self._wires = wires
        self._blobs = blobs

    def perform(self, effects: Effects) -> None:
        """Do what the scheduler asks for."""
        for id, tasks in effects.send:
            self._send(id, tasks)
        for task, outcome, engine in effects.deliver:
            try:
                task.door.deliver(task, outcome, engine)
            except Exception:  # whatever is wrong behind that door, the rest must come about
                log.exception("an outcome of task %d could not be delivered", task.id)
        for id, ids in effects.revoke:
            self._revoke(id, ids)
        for id, task_id, item in effects.interrupt:
            self._tell(id, Interrupt(task_id, item))
        for id in effects.kill:
            self._members.kill(id)
        for id in effects.stop:
            member = self._members.by_id.get(id)
            if member is not None:
                member.stopping = True
                self._wires.send(member, encode(Stop()))

    def print(self, task: Task, engine: int, stream: int, text: str) -> None:
        """A task has written to a stream: tell whoever submitted it."""
        task.door.printed(task, engine, stream, text)

    def _send(self, id: int, tasks: list[Task]) -> None:
        member = self._members.by_id[id]
        functions: dict[bytes, bytes] = {}
        frames: list[bytes] = []
        calls: list[tuple[Any, ...]] = []
        for task in tasks:
            payload, function = task.payload, task.function
            if function not in member.known and (blob := self._blobs.known.get(function)) is not None:
                member.known.add(function)
                functions[function] = blob
            if len(payload) > INLINE:
                frames.append(payload)
                calls.append((task.id, function, b"", task.kind, task.first, task.count, 1))
            else:
                calls.append((task.id, function, payload, task.kind, task.first, task.count, 0))
        forget, member.forget = member.forget, []
        # Tuples instead of Call objects: the same bytes, and no object made for each.
        fresh = member.lane is not None and not member.unsure and len(self._engines[id].held) == len(tasks)
        number = 0
        if member.sent is not None:
            number = member.sent = member.sent + 1
            if number == 1:
                member.proof = tasks[0].id
        header = encode(Work(calls, functions, forget, fresh, number))  # type: ignore[arg-type]
        self._wires.send(member, header, frames, fresh)

    def _revoke(self, id: int, ids: list[int]) -> None:
        self._tell(id, Revoke(ids))

    def _tell(self, id: int, order: ToControl) -> None:
        member = self._members.by_id.get(id)
        if member is not None:
            self._wires.tell(member, encode(order))
