"""What clients ask of the engines, and about them. Carried out between two events of the loop."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

from ..core.effects import Effects
from ..core.scheduler import Scheduler
from ..wire.messages import Break, encode
from .members import Members
from .wires import Wires


class Orders:
    """Engines by their ids."""

    def __init__(
        self, scheduler: Scheduler, members: Members, wires: Wires, perform: Callable[[Effects], None]
    ) -> None:
        self._scheduler = scheduler
        self._members = members
        self._wires = wires
        self._perform = perform

    def interrupt(self, ids: Iterable[int]) -> None:
        """Raise KeyboardInterrupt in what these engines run now."""
        for member in filter(None, map(self._members.by_id.get, ids)):
            self._wires.tell(member, encode(Break()))

    def shut_down(self, ids: Iterable[int], restart: bool) -> bool:
        """Let these engines end when what they hold is done; ``restart``: and start others in their places.

        Without, False where no place would be left: then nothing is done.
        """
        engines, staff = self._scheduler.engines, self._members.staff
        leaving = [id for id in ids if id in engines and not engines[id].retiring]  # no place is given up twice
        if not restart:
            if len(leaving) >= staff.places:
                return False
            staff.places -= len(leaving)
        for id in leaving:
            self._perform(self._scheduler.retire(id))
        return True

    def status(self) -> dict[int | str, Any]:
        """For each engine: the tasks that it holds, those queued for it alone, and how many outcomes it has given."""
        answer: dict[int | str, Any] = {}
        apart, here = 0, socket.gethostname()
        for id, engine in self._scheduler.engines.items():
            queue, tasks = [each.known_as for each in engine.own], [each.known_as for each in engine.held.values()]
            member = self._members.by_id[id]
            done = {"queue": queue, "tasks": tasks, "completed": member.completed}
            answer[id] = {**done, "pid": member.pid, "name": member.uid, "hostname": member.hostname or here}
            apart += len(queue) + len(tasks)
        answer["unassigned"] = len(self._scheduler.tasks) - apart
        return answer
