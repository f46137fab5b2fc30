"""The thread that writes to the database.

It takes what has gathered and writes it in one transaction. Where the database cannot be written (the disk is full, the
server is gone), it tries again after longer and longer pauses, and what was not written stays with it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic, time
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import tables
from .queries import Purge
from .scribe import LARGEST, Scribe
from .sweep import numbers, purge, sweep, sweep_functions
from .tables import Database, is_of_the_database

log = logging.getLogger("parpool")

BLOBS = 256 * 2**20  #: bytes of functions that are kept
BATCH = 16384  #: tasks and outcomes in one transaction, more or less
GATHER = 0.05  #: seconds in which more may come before what has come is written
PAUSES = (0.1, 5.0)  #: seconds between attempts: at first, and at most


class Event(NamedTuple):
    """Something that the store was told."""

    method: str  #: of the scribe
    arguments: tuple[Any, ...]
    number: int  #: of tasks and outcomes
    size: int  #: of their bodies


class Writer:
    """Writes events. Raises whatever is wrong where the database cannot be opened.

    ``limit`` and ``age`` bound the bodies. ``between`` is called in the writer's thread when what is there has been
    written, and gives whether more must be written before it is content; ``failed`` is told of every attempt that
    failed, in words.
    """

    def __init__(
        self,
        database: Database,
        limit: int,
        age: float | None,
        between: Callable[[], bool],
        failed: Callable[[str], object],
    ) -> None:
        self._database = database
        self._limit, self._age = limit, age
        self._between, self._failed = between, failed
        self._scribe = Scribe(database.kind, min(LARGEST, limit))
        self.inbox: deque[Event] = deque()
        self._taken: deque[Event] = deque()  #: what is about to be written
        self.handed_in = 0  #: events put here, ever
        # Changed in our thread, and read by others.
        self.settled = self.settled_bytes = 0  #: events written or dropped
        self.lost = 0  #: events dropped
        self.records = self.bytes = 0
        self.error: str | None = None  #: the last one that lasts, or has cost something
        self.trouble: str | None = None  #: the one that lasts
        self._blobs = 0
        self._connection: Connection | None = None
        self._sweep_at = 0.0
        self._asleep = self._closing = False
        self._wake = threading.Event()  #: something has come
        self._hurry = threading.Event()  #: somebody waits for it
        try:
            self.connect()
        except BaseException:
            self._disconnect()
            raise
        self._thread = threading.Thread(target=self._run, name="parpool-hub", daemon=True)
        self._thread.start()

    # -- from the loop ----------------------------------------------------------------------------------------

    def put(self, event: Event) -> bool:
        """Write this some time; gives whether the writer slept until now."""
        self.handed_in += event.number
        self.inbox.append(event)
        if self._asleep:
            self._wake.set()
            return True
        return False

    def hurry(self) -> None:
        """Somebody waits for what has been put."""
        self._hurry.set()
        self._wake.set()

    def close(self, timeout: float) -> bool:
        """Write what is left, in one attempt, and end; False where that takes longer."""
        self._closing = True
        self.hurry()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = PAUSES[0]
        while not self._closing:
            if self.trouble is None:
                pause = PAUSES[0]
                self._rest()
            else:
                self._hurry.wait(pause)
                pause = min(2 * pause, PAUSES[1])
            self._hurry.clear()
            self._attend()
        self._attend()
        for events in (self._taken, self.inbox):
            self.lost += sum([event.number for event in events])
            self._settle(events)
            events.clear()
        self._disconnect()

    def _rest(self) -> None:
        """Sleep until something has come, and a moment longer, as more may."""
        self._asleep = True
        if not (self.inbox or self._hurry.is_set()):
            self._wake.wait(None if self._age is None else max(0.0, self._sweep_at - monotonic()))
        self._asleep = False
        self._wake.clear()
        self._hurry.wait(GATHER)

    def _attend(self) -> None:
        """Write what is there."""
        try:
            while True:
                self.write_some()
                wanted = self._between() or self._closing or self.handed_in - self.settled >= BATCH
                if not (wanted and self.inbox):
                    break
            self._sweep()
            if self.trouble is not None:
                log.warning("the database %s can be written again", self._database)
                if not self.lost:
                    self.error = None
            self.trouble = None
        except Exception as error:
            words = Database.words(error)
            if self.trouble is None:
                log.warning("the database %s cannot be written: %s", self._database, words)
            self.trouble = self.error = words
            self._disconnect()
            self._failed(words)

    def write_some(self) -> None:
        """Write what is next."""
        size = sum([event.number for event in self._taken])
        while self.inbox and size < BATCH:
            event = self.inbox.popleft()
            size += event.number
            self._taken.append(event)
        if not self._taken:
            return
        try:
            self._write(self._taken)
        except Exception as error:
            if is_of_the_database(error):
                raise
            log.exception("the hub cannot write some of its records")
            self.error = Database.words(error)
            self._write_apart()
            return
        self._settle(self._taken)
        self._taken.clear()

    def _write(self, events: Iterable[Event]) -> None:
        connection = self.connect()
        try:
            with connection.begin():
                records = self._scribe.write(connection, [(event.method, event.arguments) for event in events])
                held = numbers(connection)
        except BaseException:
            self._scribe.rolled_back()
            raise
        self._scribe.committed()
        self.records += records
        self.bytes, self._blobs = held["bytes"], held["blobs"]

    def _write_apart(self) -> None:
        """There is something that no database takes: find it, and drop it alone."""
        self._taken = deque([part for event in self._taken for part in _apart(event)])
        while self._taken:
            part = self._taken[0]
            try:
                self._write([part])
            except Exception as error:
                if is_of_the_database(error):
                    raise
                self.lost += part.number
            self._settle([part])
            self._taken.popleft()

    def _settle(self, events: Iterable[Event]) -> None:
        for event in events:
            self.settled += event.number
            self.settled_bytes += event.size

    # -- forgetting -------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Let go of what is too much or too old."""
        due = self._age is not None and monotonic() >= self._sweep_at
        if due or self.bytes > self._limit:
            limit = self._limit if self.bytes <= self._limit else self._limit - self._limit // 8
            before = None if self._age is None else time() - self._age
            while sweep(self.connect(), limit, before):
                self.write_some()
            self._sweep_at = monotonic() + (self._age or 0.0) / 8
            self._look(self.connect())
        if self._blobs > BLOBS:
            sweep_functions(self.connect(), BLOBS)
            self._look(self.connect())

    def purge(self, wanted: Purge) -> int:
        """Forget tasks; how many. (In the writer's thread.)"""
        try:
            purged = purge(self.connect(), wanted, self.write_some)
        except sa.exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
            self._disconnect()  # the server may have been started anew since something was written
            purged = purge(self.connect(), wanted, self.write_some)
        self._count(self.connect())
        return purged

    # -- the connection ---------------------------------------------------------------------------------------

    def connect(self) -> Connection:
        """The connection of the writer. (In its thread.)"""
        if self._connection is not None and self._database.replaced(self._connection):
            self.error = f"the file {self._database} was removed; it is begun anew"
            log.warning(self.error)
            self._disconnect()
        if self._connection is None:
            self._connection = self._database.connect()
            self._scribe.rolled_back()  # its keys may be of another file, or of a server set back
            self._count(self._connection)
        return self._connection

    def _count(self, connection: Connection) -> None:
        with connection.begin():
            self.records = connection.scalar(sa.select(sa.func.count()).select_from(tables.tasks)) or 0
        self._look(connection)

    def _look(self, connection: Connection) -> None:
        with connection.begin():
            held = numbers(connection)
        self.bytes, self._blobs = held["bytes"], held["blobs"]

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            close(connection)


def _apart(event: Event) -> list[Event]:
    """An event for each of its tasks."""
    if event.method not in ("submitted", "ended"):
        return [event]
    each, *more = event.arguments
    size, rest = divmod(event.size, max(1, len(each)))
    return [Event(event.method, ([one], *more), 1, size + (rest if n == 0 else 0)) for n, one in enumerate(each)]


def close(connection: Connection) -> None:
    """Close a connection, whatever has become of it."""
    try:
        connection.close()
    except Exception:  # it is gone already
        connection.invalidate()
