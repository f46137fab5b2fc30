"""A store in a database.

The loop only appends what it was told to a list; a thread writes it (see ``writer.py``). Questions are answered in a
second thread, on a connection of its own, when all that was handed in before them has been written.

Of what waits to be written there is only so much; beyond that it is dropped, and counted. While the database cannot be
written, questions are answered by the error.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..core.state import Task
from ..errors import ParpoolError
from ..status import OK
from . import queries
from .answers import Answers
from .desk import CLOSED, Desk, answer, give
from .records import Delivery, Reply
from .scribe import Snapshot
from .tables import Database
from .writer import BATCH, Event, Writer, close

log = logging.getLogger("parpool")

BODIES = 4 * 2**30  #: bytes of arguments, results and texts that are kept
WAITING = 2**18  #: tasks and outcomes that wait to be written
WAITING_BYTES = 256 * 2**20  #: and what their bodies may hold
BEHIND = 2 * BATCH  #: tasks and outcomes that wait, from which on the loop gives way to the writer
WAY = (1e-3, 50e-6)  #: seconds from one time to the next, and how long
END = 10.0  #: seconds that the end may take, with nothing more written


class _Question(NamedTuple):
    what: str
    about: dict[str, Any]
    reply: Reply
    after: int  #: how much must have been settled before it


class SqlStore:
    """Keeps records in SQLite or PostgreSQL. Raises ParpoolError where the database cannot be opened.

    While much waits to be written, and can be, telling it something takes a moment longer: see :meth:`_give_way`.

    ``bytes`` of bodies are kept, those of the tasks that ended last, and none for longer than ``age`` seconds.
    ``patience``: seconds that the writer waits for another process that writes.
    """

    def __init__(
        self,
        url: str,
        *,
        bytes: int = BODIES,
        age: float | None = None,
        backlog: int = WAITING,
        backlog_bytes: int = WAITING_BYTES,
        patience: float = 5.0,
    ) -> None:
        self._database = Database(url, patience)
        self._most, self._most_bytes = backlog, backlog_bytes
        self._questions: deque[_Question] = deque()
        self._handed_bytes = 0  #: ever
        self._refused = 0  #: dropped, as too much was waiting
        self._gave_way = 0.0
        self._closing = False
        self._reader: Connection | None = None  #: the desk's
        self._desk = Desk(self._answer, Database.words)
        try:
            self._writer = Writer(self._database, bytes, age, self._pass_on, self._cannot_answer)
        except Exception as error:
            raise ParpoolError(f"the database {self._database} cannot be opened: {Database.words(error)}") from None

    # -- what happens -----------------------------------------------------------------------------------------

    def submitted(self, tasks: Sequence[Task], now: float) -> None:
        """The scheduler was given these."""
        size = 0
        several: list[Snapshot] = []
        for task in tasks:
            size += len(task.payload)
            if task.count != 1:
                several.append(Snapshot(task, task.first, task.count, task.weight))
        self._hand_in("submitted", (tasks, now, several), len(tasks), size)

    def ended(self, deliveries: Sequence[Delivery], now: float) -> None:
        """These outcomes were delivered."""
        size = 0
        outcome: Any
        for _, outcome, _ in deliveries:
            if outcome.status >= OK:
                size += len(outcome.payload)
        self._hand_in("ended", (deliveries, now), len(deliveries), size)

    def printed(self, task: Task, stream: int, text: str) -> None:
        """A task has written to a stream."""
        self._hand_in("printed", (task, stream, text), 1, len(text))

    def named(self, key: bytes, blob: bytes, name: str) -> None:
        """A client has defined a function."""
        self._hand_in("named", (key, blob, name), 1, len(blob))

    def engines(self, id: int, uid: str, facts: dict[str, Any], joined: bool, now: float) -> None:
        """An engine has joined, or is gone."""
        self._hand_in("engines", (id, uid, facts, joined, now), 1, 0)

    def _hand_in(self, method: str, arguments: tuple[Any, ...], number: int, size: int) -> None:
        writer = self._writer
        waits, held = writer.handed_in - writer.settled, self._handed_bytes - writer.settled_bytes
        if waits + number > self._most or held + size > self._most_bytes or self._closing:
            self._refused += number
            return
        self._handed_bytes += size
        slept = writer.put(Event(method, arguments, number, size))
        if waits > BEHIND and not slept and writer.trouble is None:
            self._give_way()

    def _give_way(self) -> None:
        """Let the writer have the interpreter, which a busy loop never lets go of for long enough: what is remembered
        of tasks then costs a part of their rate, and nothing of it is lost."""
        if monotonic() - self._gave_way > WAY[0]:
            sleep(WAY[1])
            self._gave_way = monotonic()

    def close(self) -> None:
        """Write what is left, unless there is nothing of that for some seconds, and end the threads."""
        self._closing = True
        waits = self._backlog
        while not self._writer.close(END):
            if self._backlog == waits:
                log.warning("the database %s does not answer: %d events are not in it", self._database, waits)
                break
            waits = self._backlog
        self._cannot_answer(self._writer.trouble or CLOSED)
        self._desk.close(END)
        self._stop_reading()

    @property
    def _backlog(self) -> int:
        return self._writer.handed_in - self._writer.settled

    def status(self) -> dict[str, Any]:
        """How much there is."""
        return {
            "kind": self._database.kind,
            "records": self._writer.records,
            "bytes": self._writer.bytes,
            "dropped": self._refused + self._writer.lost,
            "errors": self._writer.error,
            "backlog": self._backlog,
        }

    # -- questions --------------------------------------------------------------------------------------------

    def ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        """Answer a question later."""
        if self._closing:
            give(reply, None, CLOSED)
            return
        self._questions.append(_Question(what, about, reply, self._writer.handed_in))
        self._writer.hurry()

    def _pass_on(self) -> bool:
        """Have those questions answered before which all has been written; are there others? (In the writer.)"""
        while self._questions and self._questions[0].after <= self._writer.settled:
            self._writer.connect()  # the file may be gone, and nobody has noticed
            what, about, reply, _ = self._questions.popleft()
            if what.startswith("purge"):
                answer(self._purge, Database.words, what, about, reply)
            else:
                self._desk.ask(what, about, reply)
        return bool(self._questions)

    def _cannot_answer(self, words: str) -> None:
        while self._questions:
            give(self._questions.popleft().reply, None, f"the hub's database fails: {words}")

    def _purge(self, what: str, about: dict[str, Any]) -> int:
        if what == "purge_everything":
            queries.read_nothing(about)
            about = {"ids": "all"}
        elif what != "purge":
            raise queries.unknown_question(what, ["purge", "purge_everything"])
        return self._writer.purge(queries.read_purge(about))

    def _answer(self, what: str, about: dict[str, Any]) -> Any:
        """Answer a question. (At the desk.)"""
        old = self._reader
        if old is not None and not self._database.replaced(old):
            try:
                return Answers(old).answer(what, about)
            except sa.exc.DBAPIError:  # the server may have been started anew since the last one
                pass
        self._stop_reading()
        self._reader = self._database.connect(reading=True)
        return Answers(self._reader).answer(what, about)

    def _stop_reading(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            close(reader)
