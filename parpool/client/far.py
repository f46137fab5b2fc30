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
from contextlib import ExitStack
from time import monotonic
from typing import Any

from .. import __version__
from ..core.credit import Paces
from ..core.effects import Ending
from ..core.state import Dependency, Task
from ..errors import AuthenticationError, ControllerLost, ProtocolError
from ..net.heart import Heart
from ..net.sockets import DOWN, REFUSED, UP, Context, Poller
from ..net.wake import Wake
from ..status import ABORTED, UNMET
from ..wire.functions import Function
from ..wire.messages import INLINE, PROTOCOL, MalformedFrame, encode
from ..wire.requests import (
    Abort,
    Answer,
    Ask,
    Came,
    ClientHello,
    Definition,
    Delivery,
    Fellow,
    Forget,
    Gone,
    Got,
    Leave,
    Over,
    Refused,
    Relation,
    Submit,
    Terms,
    Text,
    Welcome,
    Who,
    to_client,
)

LOOK_EVERY = 0.25  #: seconds between looks at what has arrived, while nobody waits for anything
GOT_EVERY = 16  #: deliveries that are acknowledged at once
MOST = 2048  #: tasks in one message
FUNCTIONS = 2048  #: that the controller is asked to keep; more only while tasks need them

_PLAIN = 4  #: attributes of a task that has nothing but its class's terms


class Far:
    """The far host of ``connection``. ``keep``: its tasks go on when this process is lost; None: as it is set there."""

    def __init__(self, connection: Any, patience: float, keep: bool | None) -> None:
        self.name = uuid.uuid4().hex
        self.asleep = False
        self.nudged = False
        self.known: dict[bytes, bytes] = {}
        self.tasks: dict[int, Task] = {}  #: submitted, and not ended
        self.engines: dict[int, Fellow] = {}
        self.paces = Paces()
        self.number = 0
        #: called when engines have come or gone
        self.on_change: Callable[[], None] = lambda: None
        #: called when the controller is gone for good
        self.on_lost: Callable[[BaseException], None] = lambda error: None
        self._connection = connection
        self.patience = patience
        self._keep = keep
        self._instance = ""
        self._submitted: deque[Task] = deque()
        self._outgoing: deque[Any] = deque()  #: messages beside tasks
        self._defined: deque[Definition] = deque()
        self._names: dict[bytes, str] = {}
        self._asked: dict[int, tuple[Ask, Callable[[Any, str], None]]] = {}
        self._questions = 0
        self._got = self._told_got = 0
        self._met = False
        self._down_since: float | None = monotonic()
        self._failure: BaseException | None = None
        keys = (connection.public_key.encode(), connection.secret_key.encode())
        host_key = connection.server_key.encode()
        with ExitStack() as undo:
            self._wake = Wake()
            undo.callback(self._wake.close)
            self._context = Context()
            undo.callback(self._context.close)
            self._socket = self._context.dealer(connection.addresses["client"], self.name, host_key=host_key, keys=keys)
            self._monitor = self._socket.connect()
            self._heart = Heart(connection.addresses["heart"], self.name, host_key=host_key, keys=keys)
            undo.pop_all()
        self._poller = Poller()
        for source in (self._socket, self._monitor, self._wake.fd):
            self._poller.add(source)
        self._say_hello()

    # -- from any thread --------------------------------------------------------------------------------------

    def submit(self, task: Task) -> None:
        """Hand in a task; the next step sends it."""
        self._submitted.append(task)
        if self.asleep:
            self.wake()

    def define(self, function: Function) -> None:
        """A function that tasks will name."""
        self.known[function.key] = function.blob
        self._names[function.key] = function.name
        self._defined.append(Definition(function.key, function.blob, function.name))

    def abort(self, ids: list[int]) -> None:
        """Take back tasks that have not begun."""
        self._say(Abort(ids))

    def ask(self, what: str, about: dict[str, Any], reply: Callable[[Any, str], None]) -> None:
        """Ask the controller; ``reply`` is called in the loop, with the value, or with None and an error in words."""
        self._questions += 1
        ask = Ask(self._questions, what, about)
        self._asked[ask.number] = ask, reply
        self._say(ask)

    def _say(self, message: Any) -> None:
        self._outgoing.append(message)
        if self.asleep:
            self.wake()

    def wake(self) -> None:
        """End the sleep of a step in another thread."""
        self._wake.set()

    def outstanding(self) -> bool:
        """Is anything under way that will need another step?"""
        return bool(self.tasks or self._submitted or self._outgoing or self._asked)

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
        if self._submitted or self._outgoing or self._defined:
            self._send_all()
        if self._down_since is not None:
            left = self._down_since + self.patience - monotonic()
            if left <= 0:
                self._lose(self._where_it_was())
            timeout = max(0.0, left) if timeout is None else max(0.0, min(left, timeout))
        if self._failure is not None:
            timeout = 0 if self.tasks or self._asked or self._submitted else timeout
        try:
            self.asleep = True
            if self._submitted or self._outgoing or self.nudged:
                timeout = 0
            ready = self._poller.poll(timeout)
        finally:
            self.asleep = False
        for source, _ in ready:
            if source is self._socket.socket:
                frames = self._socket.receive(wait=False)
                if frames is not None:
                    self._take_in(frames)
            elif source is self._monitor.socket:
                self._heed_connection()
            else:
                self._wake.clear()
        if self._got != self._told_got and (self._got - self._told_got >= GOT_EVERY or not ready):
            self._acknowledge()
        if self._submitted or self._outgoing:
            self._send_all()
        if self._failure is not None:
            self._end_all()
        self.nudged = False

    def _take_in(self, frames: list[bytes]) -> None:
        try:
            message = to_client(frames[0])
        except MalformedFrame:
            return
        if type(message) is Delivery:
            self._deliver(message, frames)
        elif type(message) is Text:
            task = self.tasks.get(message.id)
            if task is not None:
                task.door.printed(task, message.engine, message.stream, message.text)
        elif type(message) is Came:
            self.engines.update((each.id, each) for each in message.engines)
            self.on_change()
        elif type(message) is Gone:
            for id in message.ids:
                self.engines.pop(id, None)
            self.on_change()
        elif type(message) is Answer:
            asked = self._asked.pop(message.number, None)
            if asked is not None:
                asked[1](message.value, message.error)
        elif type(message) is Welcome:
            self._begin(message)
        elif type(message) is Who:
            self._say_hello()
        elif type(message) is Refused:
            self._lose(ProtocolError(f"the controller refuses this client: {message.reason}"))
        elif type(message) is Over:
            self._lose(ControllerLost(f"the cluster was ended: {message.reason}"))

    def _deliver(self, delivery: Delivery, frames: list[bytes]) -> None:
        if delivery.number <= self._got:
            return  # it has come before
        self._got = delivery.number
        tasks, learn = self.tasks, self.paces.learn
        body = 1
        function, spent, calls = b"", 0.0, 0
        for result in delivery.results:
            id = result.id
            task = tasks.get(id)
            if result.frames:
                result.payload = frames[body] if body < len(frames) else b""
                body += 1
            if task is None:
                continue
            if task.count == 1 or result.item + 1 >= task.count:
                del tasks[id]
            else:
                task.first = result.item + 1
            engine = None if result.engine < 0 else result.engine
            if result.status < 0:
                task.engine = engine if result.more else None
                task.door.deliver(task, Ending(result.status, result.item, engine, result.payload.decode()), engine)
                continue
            if result.status == UNMET:
                task.excluded = frozenset(result.more or ())
            if task.function is not function:
                if calls:
                    learn(function, spent, calls)
                function, spent, calls = task.function, 0.0, 0
            spent += result.completed - result.started
            calls += task.weight if task.count == 1 else 1
            task.door.deliver(task, result, engine)
        if calls:
            learn(function, spent, calls)
        if body > 1:
            self._acknowledge()  # the large ones are not to be kept for long

    def _acknowledge(self) -> None:
        self._told_got = self._got
        self._socket.send(encode(Got(self._got)))

    # -- sending ----------------------------------------------------------------------------------------------

    def _send_all(self) -> None:
        if self._failure is not None:
            self._end_all()
            return
        if not self.number:
            return  # nobody has let us in yet
        while self._outgoing:
            # After the tasks that it may be about.
            message = self._outgoing.popleft()
            self._send_tasks()
            self._socket.send(encode(message))
        self._send_tasks()

    def _send_tasks(self) -> None:
        submitted = self._submitted
        while submitted:
            taken = [submitted.popleft() for _ in range(min(MOST, len(submitted)))]
            self.tasks.update((task.id, task) for task in taken)
            self._send(taken, False)
        if len(self.known) > FUNCTIONS:
            self._forget_functions()

    def _send(self, tasks: list[Task], again: bool) -> None:
        definitions = [self._defined.popleft() for _ in range(len(self._defined))]
        orders: list[tuple[Any, ...]] = []
        frames: list[bytes] = []
        terms: list[Terms] = []
        numbers: dict[type, int] = {}
        for task in tasks:
            kind = type(task)
            if kind is Task and len(vars(task)) == _PLAIN:
                number = -1
            else:
                number = numbers.get(kind, -2) if len(vars(task)) == _PLAIN else -2
                if number == -2:
                    number = len(terms)
                    terms.append(_terms(task))
                    if len(vars(task)) == _PLAIN:
                        numbers[kind] = number
            payload = task.payload
            if len(payload) > INLINE:
                frames.append(payload)
                orders.append((task.id, task.function, b"", task.kind, task.first, task.count, task.weight, 1, number))
            else:
                orders.append(
                    (task.id, task.function, payload, task.kind, task.first, task.count, task.weight, 0, number)
                )
        # Tuples instead of Order objects: the same bytes, and no object made for each.
        self._socket.send(encode(Submit(orders, terms, definitions, again)), frames)  # type: ignore[arg-type]

    def _forget_functions(self) -> None:
        needed = {task.function for task in (*self.tasks.values(), *self._submitted)}
        surplus = len(self.known) - FUNCTIONS // 2
        keys = [key for key in list(self.known)[:surplus] if key not in needed]
        for key in keys:
            del self.known[key]
            self._names.pop(key, None)
        if keys:
            self._socket.send(encode(Forget(keys)))

    # -- the connection ---------------------------------------------------------------------------------------

    def _say_hello(self) -> None:
        facts: dict[str, str | int] = {"pid": os.getpid(), "hostname": socket.gethostname()}
        hello = ClientHello(PROTOCOL, __version__, self.name, self.number, self._instance, self._got, self._keep, facts)
        self._socket.send(encode(hello))

    def _heed_connection(self) -> None:
        for change in self._monitor.changes():
            if change is UP:
                if self._met:  # it may be another controller, and what was on its way may be lost
                    self._say_hello()
                self._met, self._down_since = True, None
            elif change is DOWN:
                self._down_since = self._down_since or monotonic()
            elif change is REFUSED and not self._met:
                self._lose(
                    AuthenticationError(
                        f"the controller at {self._connection.addresses['client']} does not let in this key: the "
                        f"connection file{_of_path(self._connection)} is not of the controller that runs there"
                    )
                )

    def _begin(self, welcome: Welcome) -> None:
        """The controller has let us in: for the first time, again, or it is another one."""
        self.number = welcome.number
        if welcome.instance != self._instance:
            self._instance = welcome.instance
            self._got = self._told_got = 0
            self._defined.clear()
            self._defined.extend(Definition(key, blob, self._names[key]) for key, blob in list(self.known.items()))
        self.engines = {each.id: each for each in welcome.engines}
        under_way = list(self.tasks.values())
        for start in range(0, len(under_way), MOST):
            self._send(under_way[start : start + MOST], True)
        for ask, _ in list(self._asked.values()):
            if ask not in self._outgoing:
                self._socket.send(encode(ask))
        self.on_change()

    def _where_it_was(self) -> ControllerLost:
        address = self._connection.addresses["client"]
        what = "was lost and has not come back" if self._met else "does not answer"
        return ControllerLost(
            f"the controller at {address} {what} within {self.patience:g} s{_of_path(self._connection, ' (')}: "
            "is it running? `parpool list` shows the clusters that are"
        )

    def _lose(self, error: BaseException) -> None:
        """There will never be an answer again."""
        if self._failure is None:
            self._failure = error
            self._down_since = None
            self.engines = {}
            self.on_lost(error)
            self.on_change()

    def _end_all(self) -> None:
        """End what is under way, with what has broken the connection."""
        error = self._failure
        tasks = list(self.tasks.values())
        while self._submitted:
            tasks.append(self._submitted.popleft())
        self.tasks.clear()
        self._outgoing.clear()
        for task in tasks:
            for item in range(task.first, task.count):
                task.door.deliver(task, Ending(ABORTED, item, None, error), None)
        asked, self._asked = self._asked, {}
        for _, reply in asked.values():
            reply(None, str(error))

    @property
    def lost(self) -> bool:
        """Is the controller gone for good?"""
        return self._failure is not None

    def abandon(self, error: BaseException) -> None:
        """Nobody drives any more: end what is under way."""
        self._lose(error)
        self._end_all()

    def close(self, keep: bool) -> None:
        """Take leave. (Nobody drives any more.)"""
        if self._met and self._down_since is None:
            self._socket.send(encode(Leave(keep)))
        self._heart.close()
        self._context.close(1.0 if self._down_since is None else 0.0)
        self._wake.close()


def _of_path(connection: Any, before: str = " ") -> str:
    path = getattr(connection, "path", None)
    if path is None:
        return ""
    return f"{before}{path}" + (")" if "(" in before else "")


def _terms(task: Task) -> Terms:
    return Terms(
        task.retries,
        task.limit,
        None if task.targets is None else sorted(task.targets),
        task.policy,
        task.patience,
        task.remembered,
        _relation(task.after),
        _relation(task.follow),
    )


def _relation(dependency: Dependency | None) -> Relation | None:
    if dependency is None:
        return None
    return Relation(sorted(dependency.ids), dependency.all, dependency.success, dependency.failure)
