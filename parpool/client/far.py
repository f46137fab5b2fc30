"""What stands, in a client, for the host of a controller: the socket, what is under way, and how it is taken up again.

Like a host it is driven by whoever waits (see ``net/loop.py``), and tasks are handed in from any thread. It keeps each
task until its outcomes have come, so that a controller which was started anew can be given them again.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from .. import __version__
from ..core.credit import Paces
from ..core.effects import Ending
from ..core.state import Task
from ..errors import AuthenticationError, ControllerLost, ProtocolError
from ..status import ABORTED, OK, UNMET
from ..wire.failure import unpack_failure
from ..wire.functions import Function
from ..wire.messages import PROTOCOL, MalformedFrame, encode
from ..wire.requests import (
    Abort,
    Answer,
    Came,
    ClientHello,
    Delivery,
    Failed,
    Fellow,
    Forget,
    Gone,
    Got,
    Leave,
    Over,
    Refused,
    Text,
    Welcome,
    Who,
    to_client,
)
from .asked import Asked, Reply
from .line import Line, Ready
from .orders import Ends, Functions, deliver, end, has_ended, pack_orders

LOOK_EVERY = 0.25  #: seconds between looks at what has arrived, while nobody waits for anything
GOT_EVERY = 16  #: deliveries that are acknowledged at once
MOST = 2048  #: tasks in one message


class Far:
    """The far host of ``connection``. ``keep``: its tasks go on when this process is lost; None: as it is set there.

    ``name`` and ``ends`` are given to one of several that are one client's (``fan.py``); it waits for :meth:`introduce`.
    """

    def __init__(
        self, connection: Any, patience: float, keep: bool | None, *, name: str = "", ends: Ends | None = None
    ) -> None:
        self.name = name or uuid.uuid4().hex
        self.asleep = self.nudged = False
        self._functions = Functions()
        self.known = self._functions.known
        self.tasks: dict[int, Task] = {}  #: submitted, and not ended
        self.engines: dict[int, Fellow] = {}
        self.paces = Paces()
        self.number = 0
        self.names: dict[int, str] = {}  #: of clients, by their numbers, as far as they are known
        self.on_change: Callable[[], None] = lambda: None  #: engines have come or gone
        self.on_lost: Callable[[BaseException], None] = lambda error: None  #: the controller is gone for good
        self.on_another: Callable[[], None] = lambda: None  #: another controller has let us in
        self.on_drained: Callable[[], None] = lambda: None
        self.busy: Callable[[], bool] = lambda: False  #: is somebody about to submit more?
        self.back: Callable[[Task, Any], bool] | None = None  #: takes what is to go to another scheduler
        self._draining = False
        self.keep = keep
        self.kept = bool(keep)  #: as the controller has it, which knows what None means
        self._instance = ""
        self._handed_in: deque[Any] = deque()  #: tasks and messages to be sent, in order
        self._asked = Asked()
        self._ends = Ends() if ends is None else ends
        self._greetings: list[dict[str, Any]] = []
        self._got = self._told_got = 0
        self.met = False  #: has the controller answered the last hello?
        self._aborted: set[int] = set()  #: tasks that are to be taken back
        self._failure: BaseException | None = None
        self.line = Line(connection, self.name, patience)
        if not name:
            self._say_hello()

    # -- from any thread --------------------------------------------------------------------------------------

    def submit(self, each: Any) -> None:
        """Hand in a task, or a message; the next step sends it."""
        self._handed_in.append(each)
        if self.asleep:
            self.wake()

    def define(self, function: Function) -> None:
        """A function that tasks will name."""
        self._functions.define(function)

    def drain(self) -> None:
        """Have :attr:`on_drained` called when all that was submitted has ended."""
        self._draining = True

    def abort(self, ids: list[int], elsewhere: bool = False) -> None:
        """Take back tasks that have not begun; ``elsewhere``: they go to another scheduler."""
        self.submit(Abort(ids, elsewhere))

    def ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        """Ask the controller; ``reply`` is called in the loop, with the value, or with None and an error in words."""
        self.submit(self._asked.question(what, about, reply))

    def greet(self, function: Function, payload: bytes) -> None:
        """Have every engine call this before all that is submitted from here on, also those that join later."""
        about = {"key": function.key, "blob": function.blob, "name": function.name, "payload": payload}
        self._greetings.append(about)
        self.submit(self._asked.question("greet", {**about, "again": False}, lambda value, error: None))

    def wake(self) -> None:
        """End the sleep of a step in another thread."""
        self.line.wake()

    def outstanding(self) -> bool:
        """Is anything under way that will need another step?"""
        return bool(self.tasks or self._handed_in or self._asked or self._draining)

    def alarms(self) -> list[int]:
        """File descriptors that become readable when a step is needed though nothing is outstanding."""
        return []

    @property
    def alarm_interval(self) -> float | None:
        """Seconds between looks at what has arrived unasked: engines that come and go."""
        return LOOK_EVERY

    # -- the loop ---------------------------------------------------------------------------------------------

    def step(self, timeout: float | None) -> None:
        """One round: send what was handed in, wait for something to arrive, take it in."""
        timeout = self.before(timeout)
        try:
            self.asleep = True
            if (self._handed_in and self.met) or self.nudged or (self._draining and not self.tasks):
                timeout = 0
            ready = self.line.poll(timeout)
        finally:
            self.asleep = False
        self.after(ready)
        self.nudged = False

    def before(self, timeout: float | None) -> float | None:
        """The part of a step before it waits; gives how long it may."""
        if self._handed_in:
            self._send_all()
        left = self.line.left()
        if left is not None:
            if left <= 0:
                self.lose(self.line.lost())
            timeout = max(0.0, left) if timeout is None else max(0.0, min(left, timeout))
        if self._failure is not None:
            timeout = 0 if self.tasks or self._asked or self._handed_in else timeout
        return timeout

    def after(self, ready: Ready) -> None:
        """The part after that: take in what has come."""
        try:
            frames, again = self.line.read(ready) if ready else (None, False)
        except AuthenticationError as error:
            frames, again = None, False
            self.lose(error)
        if again:  # it may be another controller, and what was on its way may be lost
            self._say_hello()
        if frames is not None:
            self._take_in(frames)
        if self._got != self._told_got and (self._got - self._told_got >= GOT_EVERY or frames is None):
            self._acknowledge()
        if self._handed_in:
            self._send_all()
        if self._failure is not None:
            self._end_all()
        if self._draining and not self.tasks and not self._handed_in and not self.busy():
            self._draining = False
            self.on_drained()

    def _take_in(self, frames: list[bytes]) -> None:
        try:
            message = to_client(frames[0])
        except MalformedFrame:
            return
        if type(message) is Delivery:
            self._deliver(message, frames)
        elif type(message) is Text:
            if (task := self.tasks.get(message.id)) is not None:
                task.door.printed(task, message.engine, message.stream, message.text)
        elif type(message) is Came:
            self.engines.update((each.id, each) for each in message.engines)
            self.on_change()
        elif type(message) is Gone:
            for id in message.ids:
                self.engines.pop(id, None)
            self.on_change()
        elif type(message) is Answer:
            self._asked.heard(message)
        elif type(message) is Welcome:
            self._begin(message)
        elif type(message) is Who and self.met:  # else it is about to hear one
            self._say_hello()
        elif type(message) is Failed:
            self.lose(unpack_failure(message.failure, message.engine))
        elif type(message) is Refused:
            self.lose(ProtocolError(f"the controller refuses this client: {message.reason}"))
        elif type(message) is Over:
            self.line.over = True
            self.lose(ControllerLost(f"the cluster was ended: {message.reason}"))

    def _deliver(self, delivery: Delivery, frames: list[bytes]) -> None:
        if not self.met or delivery.number != self._got + 1:
            return  # it has come before; or something before it was lost, and all comes again
        self._got = delivery.number
        tasks, learn = self.tasks, self.paces.learn
        body, function, spent, calls = 1, b"", 0.0, 0
        for result in delivery.results:
            id = result.id
            task = tasks.get(id)
            if result.frames:
                result.payload = frames[body] if body < len(frames) else b""
                body += 1
            if task is None or (self.back and result.status in (ABORTED, UNMET) and self.back(task, result)):
                continue
            self._aborted.discard(id)
            if task.count == 1:
                del tasks[id]
            elif not has_ended(task, result.item):
                continue  # it has come before
            elif task.first >= task.count:
                del tasks[id]
            engine = None if result.engine < 0 else result.engine
            if task.remembered and id not in tasks:
                self._ends.note(id, result.status == OK and not vars(task).get("failed"), engine)
            elif result.status != OK:
                task.failed = True
            if result.status < 0:
                task.engine = engine if result.more else None
                reason = result.payload.decode("utf-8", "replace")
                deliver(task, Ending(result.status, result.item, engine, reason), engine)
                continue
            if result.status == UNMET:
                task.excluded = frozenset(result.more or ())
            if task.function is not function:
                if calls:
                    learn(function, spent, calls)
                function, spent, calls = task.function, 0.0, 0
            spent += result.completed - result.started
            calls += task.weight if task.count == 1 else 1
            deliver(task, result, engine)
        if calls:
            learn(function, spent, calls)
        if body > 1:
            self._acknowledge()  # the large ones are not to be kept for long

    def _acknowledge(self) -> None:
        if not self.met:
            return
        self._told_got = self._got
        self.line.send(encode(Got(self._got)))

    # -- sending ----------------------------------------------------------------------------------------------

    def _send_all(self) -> None:
        """Send what was handed in, in the order in which it was."""
        if self._failure is not None:
            self._end_all()
        if not self.met or self._failure is not None:
            return  # nobody has let us in yet, or again
        handed_in = self._handed_in
        tasks: list[Task] = []
        while handed_in:
            each = handed_in.popleft()
            if isinstance(each, Task):
                tasks.append(each)
                if len(tasks) < MOST:
                    continue
            self._send_tasks(tasks)
            tasks = []
            if not isinstance(each, Task):
                if isinstance(each, Abort) and not each.elsewhere:
                    self._aborted.update(filter(self.tasks.__contains__, each.ids))
                self.line.send(encode(each))
        self._send_tasks(tasks)
        if self._functions.too_many:
            needed = {task.function for task in self.all_tasks()}
            if keys := self._functions.forget(needed):
                self.line.send(encode(Forget(keys)))

    def _send_tasks(self, tasks: list[Task]) -> None:
        if tasks:
            self.tasks.update((task.id, task) for task in tasks)
            self._send(tasks, False)

    def _send(self, tasks: list[Task], again: bool) -> None:
        self.line.send(*pack_orders(tasks, self._functions.take(), again, self._ends))

    def all_tasks(self) -> list[Task]:
        """Those that were handed in, and have not ended."""
        return [*self.tasks.values(), *(each for each in list(self._handed_in) if isinstance(each, Task))]

    # -- the connection ---------------------------------------------------------------------------------------

    def introduce(self, number: int) -> None:
        """Say hello for the first time, with the number that another scheduler of the cluster has given."""
        self.number = number
        self._say_hello()

    def _say_hello(self) -> None:
        self.met = False
        about = self.name, self.number, self._instance, self._got, self.line.turn + 1, self.keep
        facts: dict[str, str | int] = {"pid": os.getpid(), "hostname": socket.gethostname()}
        self.line.say_hello(encode(ClientHello(PROTOCOL, __version__, *about, facts)))

    def _begin(self, welcome: Welcome) -> None:
        """The controller has let us in: for the first time, again, or it is another one."""
        if welcome.turn != self.line.turn:
            return  # another hello is on its way
        self.number, self.kept = welcome.number, welcome.keep
        another = bool(self._instance) and welcome.instance != self._instance
        self._instance = welcome.instance
        if another:
            unheard = self._asked.withdrawn("greet")
            for about in self._greetings:  # first of all; engines that were there have done it, as far as is known
                again = {**about, "again": False} not in unheard
                self.line.send(encode(self._asked.question("greet", {**about, "again": again})))
        self.met = True
        if not welcome.again:
            self._got = self._told_got = welcome.next - 1
        # All of them, also for one that knew us: what defined them may have been lost.
        self._functions.define_again()
        self.engines = {each.id: each for each in welcome.engines}
        under_way = list(self.tasks.values())
        for start in range(0, len(under_way), MOST):
            self._send(under_way[start : start + MOST], True)
        if another:
            self.line.send(encode(self._asked.question("resumed", {})))
            self.on_another()
        self._aborted.intersection_update(self.tasks)
        if self._aborted:
            self.line.send(encode(Abort(list(self._aborted))))
        for ask in self._asked:
            if ask not in self._handed_in:
                self.line.send(encode(ask))
        self.on_change()

    def lose(self, error: BaseException) -> None:
        """There will never be an answer again."""
        if self._failure is None:
            self._failure = error
            self.engines = {}
            self.on_lost(error)
            self.on_change()

    def _end_all(self) -> None:
        """End what is under way, with what has broken the connection."""
        tasks = self.all_tasks()
        self._handed_in.clear()
        self.tasks.clear()
        for task in tasks:
            end(task, ABORTED, self._failure, self._ends)
        self._asked.give_up(str(self._failure))

    @property
    def lost(self) -> bool:
        """Is the controller gone for good?"""
        return self._failure is not None

    @property
    def under_way(self) -> int:
        """How many tasks were handed in and have not ended, about."""
        return len(self.tasks) + len(self._handed_in)

    def abandon(self, error: BaseException) -> None:
        """Nobody drives any more: end what is under way."""
        self.lose(error)
        self._end_all()

    def close(self, keep: bool | None) -> None:
        """Take leave; ``keep`` None: as when this process was lost. (Nobody drives any more.)"""
        if keep is not False and self._failure is None:
            self._send_all()
        self.line.close(encode(Leave(keep)))
