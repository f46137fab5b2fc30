"""The host: the scheduler's body.

It has no thread of its own; whoever holds the baton calls :meth:`Host.step`. Other threads only append to
``_submitted`` and ``_orders`` and wake it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from time import monotonic
from typing import Any

from ..core.effects import Effects, Ending
from ..core.state import Task
from ..net.wake import Wake
from ..options import EngineSettings
from ..shm.session import Session
from ..status import ABORTED
from ..wire.functions import Function
from .deathwatch import LOOK_EVERY
from .desk import Desk
from .members import Crew, Member
from .wires import CONTROL, WORK, Wires


class Host(Desk):
    """A desk, and the loop around it: sockets, clock, and what is handed in from other threads."""

    def __init__(self, crew: Crew, places: int, *, quota: int | None = None, policy: str = "leastload") -> None:
        self.asleep = False
        self.nudged = False  #: set before ``asleep`` is looked at, by whoever ends the driver's wait in another thread
        #: called when the engines have ended that :meth:`drain` let end
        self.on_all_ended: Callable[[], None] = lambda: None
        #: is somebody about to submit more?
        self.busy: Callable[[], bool] = lambda: False
        self._submitted: deque[Task] = deque()
        self._orders: deque[Callable[[], Effects | None]] = deque()
        self._draining = False  #: let the engines end when nothing is left to do
        self._over: object = None  #: why no task will run any more
        self._ended = False  #: no step will follow
        with ExitStack() as undo:
            session = self._open_session()
            undo.callback(session.close)
            self._wake = Wake()
            undo.callback(self._wake.close)
            super().__init__(crew, places, session, self._lay_wires(session), quota, policy)
            undo.pop_all()

    def _open_session(self) -> Session:
        return Session()

    def _lay_wires(self, session: Session) -> Wires:
        return Wires(session)

    # -- beginning and end ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the engines, then open the sockets: a fork is best made before there are threads.

        Raises OSError where the engines cannot be started.
        """
        self.members.hire()
        self._wires.open()
        self._wires.watch((self._wake.fd, *self.members.deaths.fds))

    def _settings(self, uid: str) -> EngineSettings:
        wires, path = self._wires, self.session.path(uid)
        return EngineSettings(
            uid,
            wires.work_address,
            wires.control_address,
            wires.public,
            os.getpid(),
            wires.lane_path,
            path,
            self.session.folder,
        )

    def end(self) -> None:
        """No step will follow: what is handed in is refused at once."""
        self._ended = True
        self.asleep = True  # so whoever hands in comes by wake()
        self.refuse()

    def close(self) -> None:
        """Close the sockets and remove the folder. The engines are the crew's to end."""
        self._wires.close()
        self.members.close()
        self._wake.close()
        self.session.close()

    # -- from any thread --------------------------------------------------------------------------------------

    def submit(self, task: Task) -> None:
        """Hand in a task; the next step takes it."""
        self._submitted.append(task)
        if self.asleep:
            self.wake()

    def refuse(self) -> None:
        """End the tasks that were handed in too late, where :meth:`give_up` has said why."""
        while self._submitted:
            try:
                task = self._submitted.popleft()
            except IndexError:  # another thread has taken it
                return
            for item in range(task.first, task.count):
                task.door.deliver(task, Ending(ABORTED, item, None, self._over), None)

    def order(self, action: Callable[[], Effects | None]) -> None:
        """Hand in something to be done in the next step."""
        self._orders.append(action)
        if self.asleep:
            self.wake()

    def wake(self) -> None:
        """End the sleep of a step in another thread."""
        self._wake.set()
        if self._ended:
            self.refuse()

    def outstanding(self) -> bool:
        """Is anything under way that will need another step?"""
        handed_in = self._submitted or self._orders or self._draining
        leaving = self._closing and self.members
        return bool(self.scheduler.tasks or handed_in or self.members.staff.starting or leaving)

    def alarms(self) -> list[int]:
        """File descriptors that become readable when an engine dies."""
        return self.members.deaths.fds

    @property
    def alarm_interval(self) -> float | None:
        """Seconds between looks for dead engines, where no file descriptor tells of them."""
        return LOOK_EVERY if self.members.deaths.blind else None

    # -- orders: for the next step ----------------------------------------------------------------------------

    def drain(self) -> None:
        """Let the engines end when all that was submitted is done."""
        self._draining = True

    def give_up(self, why: object) -> None:
        """No task will run any more, and what was submitted ends now, as aborted. (From the loop only.)"""
        self._over = why
        self.order(lambda: self.scheduler.abort_all(why))

    def abort(self, ids: Iterable[int]) -> Effects:
        """Take back tasks that have not begun."""
        return self.scheduler.abort(ids, monotonic())

    def _retire_all(self) -> None:
        self._draining, self._closing = False, True
        self.members.staff.hiring = False
        for id in list(self.scheduler.engines):
            self._perform(self.scheduler.retire(id))
        for member in self.members:
            if not member.joined:
                member.stopping = True
        if not self.members:
            self._all_ended()

    def _all_ended(self) -> None:
        self.give_up("the pool was closed")
        self.on_all_ended()

    # -- the loop ---------------------------------------------------------------------------------------------

    def step(self, timeout: float | None) -> None:
        """One round: take what was handed in, wait for events, react to them."""
        if (self._submitted or self._orders or self._draining) and self._take_orders():
            timeout = 0  # somebody's wait may be over
        scheduler = self.scheduler
        wake_at = scheduler.wake_at()
        if wake_at is not None:
            left = max(0.0, wake_at - monotonic())
            timeout = left if timeout is None else min(timeout, left)
        members = self.members
        if members.hire_at is not None:
            left = max(0.0, members.hire_at - monotonic())
            timeout = left if timeout is None else min(timeout, left)
            if not left:
                self._hire()
        if members.deaths.blind:
            timeout = LOOK_EVERY if timeout is None else min(timeout, LOOK_EVERY)
        try:
            self.asleep = True
            # Handed in between the look above and here, by a thread that did not see us asleep yet.
            if self._submitted or self._orders or self.nudged:
                timeout = 0
            ready = self._wires.poll(timeout)
        finally:
            self.asleep = False
        deaths = False
        for source in ready:  # one message of each, see _receive_work
            if isinstance(source, Member):
                message = self._wires.from_lane(source)
                if message is not None:
                    self._heed(source, [message])
            elif source is WORK:
                self._receive_work()
            elif source is CONTROL:
                self._receive_control()
            elif source == self._wake.fd:
                self._wake.clear()
            elif not self._heed_other(source):
                deaths = True
        if deaths or members.deaths.must_look:
            self.bury()
        if wake_at is not None and monotonic() >= wake_at:
            self._perform(scheduler.tick(monotonic()))
        if self._submitted or self._orders:
            self._take_orders()
        self.nudged = False  # whoever drives looks now, between two steps

    def _heed_other(self, source: Any) -> bool:
        """Something came from a source that only a subclass knows; False where it knows none."""
        return False

    def _take_orders(self) -> bool:
        """Take what was handed in; True where that may have ended somebody's wait."""
        ended = False
        while self._submitted:
            if self._over is not None:
                ended = True
                self.refuse()
                break
            take = self._submitted.popleft
            tasks = [take() for _ in range(len(self._submitted))]
            effects = self.scheduler.submit(tasks, monotonic())
            ended = ended or bool(effects.deliver)
            self._perform(effects)
        while self._orders:
            ended = True
            asked = self._orders.popleft()()
            if asked is not None:
                self._perform(asked)
        if self._draining and not self.scheduler.tasks and not self._submitted and not self.busy():
            ended = True
            self._retire_all()
        return ended

    # -- functions --------------------------------------------------------------------------------------------

    def define(self, function: Function) -> None:
        """Keep the blob of a function for the engines that will need it (any thread; before the task)."""
        self.known[function.key] = function.blob
        if self.blobs.too_many:
            self.order(self._forget_functions)

    def _forget_functions(self) -> None:
        needed = {task.function for task in (*self.scheduler.tasks.values(), *self._submitted)}
        self.blobs.forget(needed, self.members)
