"""A cluster on paper: a real station with its clients' doors and its journal, and what is between it and everybody else
is a list. Engines and clients, connections and controllers come and go as a test lets them.

Clients are real ones (:class:`~parpool.client.far.Far`), whose socket alone is of paper. Engines are told here: they say
what real ones do, and note what they run.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from paper_client import KEY, PaperClient
from paper_wires import Clock, PaperLine, PaperPorts, PaperSession, Peer

from parpool import __version__
from parpool import status as codes
from parpool.client import far
from parpool.core.check import check
from parpool.core.parts import whole_of
from parpool.core.state import Task
from parpool.engine.outbox import Outbox
from parpool.host import clients, desk, found, host, lobby, station
from parpool.host.clients import Clients
from parpool.host.journal import Journal
from parpool.host.ports import HEART
from parpool.host.station import Station
from parpool.host.wires import CONTROL, WORK
from parpool.wire.messages import (
    EACH,
    PROTOCOL,
    Begin,
    Call,
    Die,
    GivenBack,
    Hello,
    Noted,
    Revoke,
    Stop,
    Who,
    Work,
    encode,
    to_control,
    to_engine,
)
from parpool.wire.requests import SHIFT, Definition

MISSES = 2
ELSEWHERE = "another-machine"  # so that nobody looks for its processes here


class PaperEngine(Peer):
    """What an engine does, in the order in which it does it."""

    def __init__(self, paper: Paper, name: str) -> None:
        super().__init__(paper, name)
        self.alive = True
        self.outbox = Outbox()
        self.waiting: dict[int, Call] = {}
        self.current: Call | None = None
        self.rest: deque[int] = deque()
        self.cut_at: list[tuple[int, int]] = []  # of the current task, what went
        self.unanswered: list[list[bytes]] = []  # orders that are not obeyed yet
        self.item: int | None = None
        self.pending: list[bytes] = []
        self.stops = False
        self._said = 0
        self._taken: int | None = 0
        self.say(WORK, encode(self._hello(None)))

    def _hello(self, held: list[int] | None) -> Hello:
        outbox = self.outbox
        rests = [] if self.current is None else self.cut_at
        return Hello(PROTOCOL, __version__, 0, ELSEWHERE, held, outbox.first, outbox.last, self._said, rests)

    def connect(self) -> None:
        met = self.paper.met(self)
        super().connect()
        if met:
            self.say(CONTROL, encode(Hello(PROTOCOL, __version__, 0, ELSEWHERE)))

    def take(self) -> bool:
        """Take in a message with tasks; False where none is there."""
        frames = self.heard(WORK)
        if frames is None:
            return False
        message = to_engine(frames[0])
        if isinstance(message, Work):
            if self._is_next(message.number):
                for call in message.calls:
                    assert call.id not in self.waiting and (self.current is None or self.current.id != call.id)
                    self.waiting[call.id] = call
        elif isinstance(message, Who):
            self._introduce()
        elif isinstance(message, Begin):
            if message.said == self._said:
                self._taken = 0
        elif isinstance(message, Stop):
            self.stops = True
        return True

    def _is_next(self, number: int) -> bool:
        if self._taken is None:
            return False
        if number == self._taken + 1:
            self._taken = number
            return True
        self._introduce()
        return False

    def _introduce(self) -> None:
        held = [*self.waiting, *([] if self.current is None else [self.current.id])]
        self.flush()
        self._said += 1
        self._taken = None
        self.say(WORK, encode(self._hello(held)))
        for header, frames in self.outbox.kept():
            self.say(WORK, header, frames)

    def obey(self, look: bool = True) -> bool:
        """Carry out an order; False where none is there."""
        frames = self.unanswered.pop(0) if self.unanswered and self._taken is not None else self.heard(CONTROL)
        if frames is None:
            return False
        order = to_control(frames[0])
        if isinstance(order, Revoke):
            while look and self.take():
                pass
            if self._taken is None:
                self.unanswered.append(frames)
                return True
            answer = GivenBack([], [], [], self._said)
            for id in order.ids:
                if self.waiting.pop(id, None) is not None:
                    answer.ids.append(id)
                elif self.current is not None and self.current.id == id and self.rest and not order.whole:
                    answer.rests.append((id, self.rest[0]))
                    self.cut_at = [(id, self.rest[0])]
                    self.rest.clear()
                    if self.item is None:
                        self.current = None
                else:
                    answer.kept.append(id)
            self.say(CONTROL, encode(answer))
        elif isinstance(order, Noted):
            self.outbox.noted(order.number)
        elif isinstance(order, Die):
            self.die()
        return True

    def begin(self) -> None:
        """Begin what comes next: a task, or the next item of the one that it is in."""
        if self.current is None:
            id = next(iter(self.waiting))
            self.current = call = self.waiting.pop(id)
            self.cut_at = []
            self.rest = deque(range(call.first, call.count) if call.kind >= EACH else [0])
        self.item = self.rest.popleft()
        self.paper.begins(self.current.id, self.item)

    def finish(self, status: int = codes.OK) -> None:
        """End it."""
        assert self.current is not None and self.item is not None
        self.pending.append(encode((self.current.id, status, self.item, 1.0, 1.0 + 1e-5, b"value", 0)))
        self.item = None
        if not self.rest:
            self.current = None

    def flush(self) -> None:
        """Send the outcomes that wait."""
        if self.pending:
            header = self.outbox.put(len(self.pending), b"".join(self.pending), ())
            self.pending.clear()
            self.say(WORK, header)

    def die(self) -> None:
        """End, whatever it does."""
        self.alive = False
        self.cut()

    @property
    def idle(self) -> bool:
        """Is there nothing that it could do?"""
        return not (any(self.inbox.values()) or self.waiting or self.current or self.pending)


class Paper:
    """All of it. What must never happen is asserted as it happens."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self.clock = clock
        self._numbers = itertools.count(1).__next__
        self.engines: list[PaperEngine] = []
        self.clients: list[PaperClient] = []
        self.tasks: dict[int, dict[str, Any]] = {}  # as submitted
        self.outcomes: dict[tuple[int, int], int] = {}
        self.begun: Counter[tuple[int, int]] = Counter()
        self.lives = 0  # controllers that there were
        self.casualties = False  # was an engine lost, with what it held?
        self.aborted: set[int] = set()
        self._met: set[int] = set()
        self.begin_controller()

    # -- the controller ---------------------------------------------------------------------------------------

    def begin_controller(self) -> None:
        """A controller begins, behind what one before it has written."""
        self.lives += 1
        self.journal = Journal(self._folder / "journal")
        past = self.journal.read()
        self.ports = PaperPorts()
        session: Any = PaperSession()
        ports: Any = self.ports
        self.station = made = Station(session, ports, self.journal, misses=MISSES, policy="leastload")
        doors = Clients(made, f"controller-{self._numbers()}", False, self._draw, self._answer)
        made.on_client, made.on_client_lost, made.on_news = doors.heed, doors.lost, doors.tell
        made.start()
        self.journal.begin(past)
        made.follow(past)

    def _answer(self, door: Any, what: str, about: dict[str, Any], reply: Any) -> None:
        if what == "greet":
            definition = Definition(about["key"], about["blob"], about["name"])
            reply(self.station.greet(door, definition, about["payload"], about["again"]))

    def _draw(self, below: int) -> int:
        return self._numbers() % below

    def kill_controller(self) -> None:
        """It is gone, with all connections, and another one begins."""
        for peer in self.peers():
            peer.cut()
        self.end_controller()
        self.begin_controller()

    def end_controller(self) -> None:
        """Let go of its file descriptors."""
        self.journal.close(remove=False)
        self.station.close()

    def step(self, times: int = 1) -> None:
        """The controller goes through its loop."""
        for _ in range(times):
            self.station.step(0)
            check(self.station.scheduler)

    def beat(self) -> None:
        """An interval of the heartbeat; who is connected answers."""
        lost = len(self.station.ghosts)
        self.station.beat()
        self.casualties = self.casualties or len(self.station.ghosts) > lost
        for peer in self.peers():
            while peer.heard(HEART) is not None:
                peer.say(HEART, b"")
        self.step(2)

    def met(self, engine: PaperEngine) -> bool:
        """Was this engine connected before?"""
        known = id(engine) in self._met
        self._met.add(id(engine))
        return known

    # -- the others -------------------------------------------------------------------------------------------

    def peers(self) -> Iterator[Peer]:
        """All of them."""
        yield from [engine for engine in self.engines if engine.alive]
        yield from [client.peer for client in self.clients]

    def add_engine(self) -> PaperEngine:
        """One more engine."""
        engine = PaperEngine(self, f"engine-{self._numbers()}")
        self.engines.append(engine)
        engine.connect()
        return engine

    def add_client(self) -> PaperClient:
        """One more client."""
        client = PaperClient(self)
        self.clients.append(client)
        client.connect(again=False)
        for _ in range(3):
            self.step()
            client.step(0)
        assert client.number
        return client

    def submit(self, client: PaperClient, **more: Any) -> int:
        """A client submits a task."""
        id = client.number << SHIFT | client.count()
        task = Task(id, KEY, b"payload", client, **more)
        self.tasks[id] = {"count": 1, "retries": 0, **more}
        client.submit(task)
        return id

    def kill_engine(self, engine: PaperEngine) -> None:
        """An engine dies, and its host learns of it by and by."""
        self.casualties = True
        engine.die()

    # -- what comes of it -------------------------------------------------------------------------------------

    def begins(self, id: int, item: int) -> None:
        """An engine begins an item."""
        key = whole_of(id), item
        self.begun[key] += 1
        retries = self.tasks[key[0]]["retries"]
        most = 1 + retries + self.lives if retries else 1  # a controller does not know of the tries before it
        assert self.begun[key] <= most, f"item {item} of task {key[0]} runs twice"

    def ended(self, task: Task, outcome: Any) -> None:
        """A client has an outcome."""
        key = task.id, outcome.item
        assert key not in self.outcomes, f"{key} was delivered twice"
        assert 0 <= outcome.item < self.tasks[task.id]["count"]
        self.outcomes[key] = outcome.status
        if outcome.status == codes.LOST:
            assert self.casualties, f"{key} is said to be lost, and no engine was"
        elif outcome.status == codes.ABORTED:
            assert task.id in self.aborted or not self.begun[key], f"{key} was not aborted"
        assert outcome.status != codes.IMPOSSIBLE or self.casualties, outcome.detail

    def statuses(self, id: int) -> list[int]:
        """Of the items of a task that have ended."""
        return [self.outcomes[id, item] for item in range(self.tasks[id]["count"]) if (id, item) in self.outcomes]

    def left(self) -> list[tuple[int, int]]:
        """The items without an outcome."""
        keys = ((id, item) for id, task in self.tasks.items() for item in range(task["count"]))
        return [key for key in keys if key not in self.outcomes]

    # -- all of them at once ----------------------------------------------------------------------------------

    def advance(self) -> None:
        """Everybody does a little of what there is to do."""
        for client in self.clients:
            if not client.peer.connected:
                client.connect()
            client.step(0)
        for engine in [each for each in self.engines if each.alive]:
            if not engine.connected:
                engine.connect()
            engine.obey()
            engine.take()
            if len(engine.pending) > 20:
                engine.flush()
            if engine.item is not None:
                engine.finish()
            elif engine.current or engine.waiting:
                engine.begin()
            else:
                engine.flush()
        self.step(3)
        self.clock.now += 0.001

    def settle(self) -> None:
        """Until every task has ended, and nobody has anything to do."""
        quiet, ended = 0, len(self.outcomes)
        while self.left() or not all(engine.idle for engine in self.engines if engine.alive):
            self.advance()
            quiet += 1
            if quiet % 40 == 0:
                self.beat()
            if len(self.outcomes) > ended:
                quiet, ended = 0, len(self.outcomes)
            assert quiet < 250, f"it does not come to an end: {self.left()}"


@contextmanager
def on_paper() -> Iterator[Paper]:
    """All of it, in a folder of its own, and with a clock that stands still."""
    clock = Clock()
    with ExitStack() as stack:
        for module in (clients, desk, found, host, lobby, station):
            if hasattr(module, "monotonic"):
                stack.enter_context(patch.object(module, "monotonic", clock))
        stack.enter_context(patch.object(far, "Line", PaperLine))
        folder = stack.enter_context(TemporaryDirectory())
        paper = Paper(Path(folder), clock)
        stack.callback(paper.end_controller)
        yield paper
