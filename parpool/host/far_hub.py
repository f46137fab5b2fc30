"""A hub in a process of its own, as a controller sees it: a store like any other.

The loop only appends what it is told to a list. A thread makes notes of that, sends them, and keeps them until they are
written there, so a hub that was killed and started again misses nothing; what is kept is bounded.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from ..core.state import ENDED, Dependency, Task
from ..hub.records import Delivery, Reply
from ..net.sockets import DOWN, UP, Context, Poller
from ..net.wake import Wake
from ..wire.messages import MalformedFrame, encode
from ..wire.notes import Ended, Named, Note, Notes, Question, Staffed, Submitted, Told, Wrote, from_hub

log = logging.getLogger("parpool")

GATHER = 0.05  #: seconds in which more may come before what has come is sent
MOST = 4096  #: notes in one message
KEPT_BYTES = 256 * 2**20  #: of notes that are not written yet
MEETING = 5.0  #: seconds
NOT_THERE = "the hub does not answer: is `parpool hub` running?"


class FarHub:
    """The hub that ``connection`` tells of. ``instance`` is the controller's."""

    def __init__(self, connection: Any, instance: str) -> None:
        self._instance = instance
        self._address = connection.addresses["hub"]
        self._events: deque[tuple[Any, ...]] = deque()
        self._asked: dict[int, Reply] = {}
        self._number = self._questions = 0
        self._kept: deque[tuple[int, bytes, int]] = deque()  #: number, and how many notes are in it
        self._bytes = self._kept_notes = self._dropped = 0
        self._there = self._closing = False
        self._met = threading.Event()  #: it was there once
        self._told: dict[str, Any] = {"kind": "hub", "pid": connection.pid, "hostname": connection.hostname}
        keys = (connection.public_key.encode(), connection.secret_key.encode())
        self._wake = Wake()
        self._context = Context()
        self._socket = self._context.dealer(
            self._address, f"controller-{instance}", host_key=connection.server_key.encode(), keys=keys
        )
        self._monitor = self._socket.connect(notice_silence=True)
        self._thread = threading.Thread(target=self._run, name="parpool-far-hub", daemon=True)
        self._thread.start()

    def await_connection(self) -> None:
        """Wait until the hub is there, for a while."""
        self._met.wait(MEETING)

    # -- what happens, in the loop ----------------------------------------------------------------------------

    def submitted(self, tasks: Sequence[Task], now: float) -> None:
        """The scheduler was given these."""
        for task in tasks:
            self._events.append((_submitted, now, task, task.first, task.count, task.weight))

    def named(self, key: bytes, blob: bytes, name: str) -> None:
        """A client has defined a function."""
        self._events.append((Named, key, blob, name))

    def ended(self, deliveries: Sequence[Delivery], now: float) -> None:
        """These outcomes were delivered."""
        for task, outcome, engine in deliveries:
            self._events.append((_ended, now, task, task.count, task.state == ENDED, outcome, engine))

    def printed(self, task: Task, stream: int, text: str) -> None:
        """A task has written to a stream."""
        self._events.append((Wrote, task.door.name, task.id, _whole(task), stream, text))

    def engines(self, id: int, uid: str, facts: dict[str, Any], joined: bool, now: float) -> None:
        """An engine has joined, or is gone."""
        self._events.append((Staffed, id, uid, facts, joined, now))

    def ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        """Have the hub answer a question; where it is not there, the answer is that."""
        self._events.append((None, what, about, reply))
        self._wake.set()

    def status(self) -> dict[str, Any]:
        """What the hub said last, and what waits for it."""
        told = dict(self._told)
        told["backlog"] = len(self._events) + self._kept_notes
        told["dropped"] = told.get("dropped", 0) + self._dropped
        if not self._there:
            told["errors"] = NOT_THERE
        return {**told, "address": self._address}

    def close(self) -> None:
        """Send what is left, and end the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._wake.close()

    # -- the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        poller = Poller()
        for source in (self._socket, self._monitor, self._wake.fd):
            poller.add(source)
        while True:
            last = self._closing
            for source, _ in poller.poll(GATHER):
                if source is self._socket.socket:
                    while (frames := self._socket.receive(wait=False)) is not None:
                        self._heed(frames[0])
                elif source is self._monitor.socket:
                    self._heed_connection()
                else:
                    self._wake.clear()
            try:
                self._send_notes()
            except Exception:
                log.exception("notes for the hub could not be made")
            if last:
                break
        for reply in self._asked.values():
            reply(None, "the controller ends")
        self._context.close(1.0 if self._there else 0.0)

    def _heed(self, header: bytes) -> None:
        try:
            message = from_hub(header)
        except MalformedFrame as error:
            log.warning("dropped a malformed message of the hub: %s", error)
            return
        if isinstance(message, Told):
            reply = self._asked.pop(message.number, None)
            if reply is not None:
                reply(message.value, message.error)
            return
        self._told = message.status
        while self._kept and self._kept[0][0] <= message.number:
            self._let_go()

    def _heed_connection(self) -> None:
        for change in self._monitor.changes():
            if change is UP:
                self._there = True
                self._met.set()
                for _, header, _ in self._kept:
                    self._socket.send(header)
            elif change is DOWN:
                self._there = False
                self._told.pop("pid", None)  # that of the next is told by it
                asked, self._asked = self._asked, {}
                for reply in asked.values():
                    reply(None, NOT_THERE)

    def _send_notes(self) -> None:
        while self._events:
            notes: list[Note] = []
            question: tuple[Any, ...] | None = None
            while self._events and len(notes) < MOST and question is None:
                make, *rest = self._events.popleft()
                if make is None:
                    question = tuple(rest)
                else:
                    notes.append(make(*rest))
            if notes:
                self._send(notes)
            if question is not None:
                self._ask(*question)

    def _send(self, notes: list[Note]) -> None:
        self._number += 1
        header = encode(Notes(self._instance, self._number, notes))
        self._bytes += len(header)
        self._kept.append((self._number, header, len(notes)))
        self._kept_notes += len(notes)
        while self._bytes > KEPT_BYTES:
            self._dropped += self._let_go()
        if self._there:
            self._socket.send(header)

    def _let_go(self) -> int:
        """Forget the oldest notes that are kept; how many were there?"""
        _, header, notes = self._kept.popleft()
        self._bytes -= len(header)
        self._kept_notes -= notes
        return notes

    def _ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        if not self._there:
            reply(None, NOT_THERE)
            return
        self._questions += 1
        self._asked[self._questions] = reply
        self._socket.send(encode(Question(self._questions, what, about)))


def _submitted(now: float, task: Task, first: int, count: int, weight: int) -> Submitted:
    return Submitted(
        now,
        task.door.name,
        task.id,
        task.function,
        task.payload,
        task.kind,
        first,
        count,
        weight,
        _whole(task),
        task.retries,
        task.limit,
        None if task.targets is None else sorted(task.targets),
        task.policy,
        _ids(task.after),
        _ids(task.follow),
    )


def _whole(task: Task) -> int | None:
    """The task that this one is a part of, as the hub knows it."""
    return task.whole if task.part_of is None else task.part_of


def _ids(dependency: Dependency | None) -> list[int]:
    return [] if dependency is None else sorted(dependency.ids)


def _ended(now: float, task: Task, count: int, last: bool, outcome: Any, engine: int | None) -> Ended:
    ran = outcome.status >= 0
    return Ended(
        now,
        task.door.name,
        task.id,
        _whole(task),
        count,
        task.kind,
        last,
        engine,
        outcome.status,
        outcome.item,
        outcome.started if ran else 0.0,
        outcome.completed if ran else 0.0,
        outcome.payload if ran else b"",
        "" if ran else str(outcome.detail),
    )
