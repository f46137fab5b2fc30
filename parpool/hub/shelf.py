"""What the memory store holds, told as it happens, and the bounds of it.

What the loop does for a task is one step in a dict when it is submitted and two when it ends; everything else waits
until somebody asks.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from ..core.state import Task
from ..status import OK
from .known import Begun, Done, Entry, Known, Many, Since, Texts, size_of, strip
from .records import Delivery, text_of

GENERATIONS = 16  #: parts of what is kept that are forgotten as one
FUNCTIONS = 4096  #: that are kept though no record may need them
BLOBS = 64 * 2**20  #: bytes of functions
ENGINES = 4096  #: that have left and are still known


class _Generation:
    """Tasks that ended one after the other, and are forgotten together: that costs each of them next to nothing."""

    __slots__ = ("tasks", "bytes")

    def __init__(self) -> None:
        self.tasks: dict[int, Done | Many] = {}
        self.bytes = 0  #: of their bodies


class Shelf:
    """Keeps what it was told, as it was told. Of what has ended the oldest goes first; what is pending never goes.

    Where the bytes become too many, the oldest bodies go and their records stay.
    """

    _functions: dict[bytes, tuple[str, bytes | None]]  #: name and blob, the newest last

    def __init__(self, count: int, bytes: int) -> None:
        self._count = count
        self._limit = bytes
        self._pending: dict[int, Begun | Many] = {}
        self._young = _Generation()
        self._generations = deque([self._young])  #: the oldest first
        self._texts: dict[int, Texts] = {}
        self._functions = {}
        self._engines: dict[int, dict[str, Any]] = {}
        self._bytes = 0  #: of all bodies that are held for no other than us, and of texts
        self._partial = 0  #: of these, the results of what has not ended
        self._blobs = 0
        self._batches = 0
        self._dropped = 0
        # Held for a whole batch: once a call, not once a task. The desk holds it for a short moment now and then.
        self._lock = threading.Lock()

    # -- what happens -----------------------------------------------------------------------------------------

    def submitted(self, tasks: Sequence[Task], now: float) -> None:
        """The scheduler was given these."""
        with self._lock:
            self._batches += 1
            since, pending = (now, self._batches), self._pending
            for task in tasks:
                if task.count == 1 and task.whole is None and pending.get(task.id).__class__ is not Many:
                    pending[task.id] = (task, since)
                else:
                    self._submitted_many(task, since)

    def _submitted_many(self, task: Task, since: Since) -> None:
        known = self._pending.get(task.origin)
        if isinstance(known, Many) and known.first <= task.first and task.count <= known.count:
            return  # submitted again, or a part of it is
        if task.whole is not None and isinstance(known, Many):
            known.add(task)  # submitted anew, part by part
        else:
            many = Many(task, since)
            self._pending[many.id] = many

    def ended(self, deliveries: Sequence[Delivery], now: float) -> None:
        """These outcomes were delivered."""
        with self._lock:
            pop, young = self._pending.pop, self._young
            ended, size = young.tasks, 0
            for delivery in deliveries:
                task: Any
                outcome: Any
                task, outcome, _ = delivery
                begun: Any = pop(task.id, None)
                if begun.__class__ is not tuple:
                    self._ended_many(begun, delivery, now)
                    continue
                ended[task.id] = (begun, delivery, now)
                size += len(task.payload)
                if outcome.status >= OK:
                    size += len(outcome.payload)
            young.bytes += size
            self._bytes += size
            if len(ended) * GENERATIONS >= self._count or self._bytes > self._limit:
                self._shed()

    def _ended_many(self, known: Any, delivery: Delivery, now: float) -> None:
        task, outcome, engine = delivery
        if known is None and task.whole is not None:
            known = self._pending.pop(task.whole, None)
        if known is None:
            return  # forgotten, or one that was never told of
        size = known.take(outcome, engine, now)
        self._bytes += size
        self._partial += size
        if known.ended:
            self._bytes += len(known.task.payload)
            self._partial -= known.size
            self._young.bytes += size_of(known)
            self._young.tasks[known.id] = known
        else:
            self._pending[known.id] = known

    def printed(self, task: Task, stream: int, text: str) -> None:
        """A task has written to a stream."""
        id = task.origin
        with self._lock:
            if self._find(id) is not None:
                texts = self._texts.get(id)
                if texts is None:
                    texts = self._texts[id] = Texts()
                self._bytes += texts.add(stream, text)
                if self._bytes > self._limit:
                    self._shed()

    def named(self, key: bytes, blob: bytes, name: str) -> None:
        """A client has defined a function."""
        with self._lock:
            had = self._functions.pop(key, None)
            self._blobs += len(blob) - (len(had[1]) if had is not None and had[1] is not None else 0)
            self._functions[key] = text_of(name), blob
            many = len(self._functions) > 2 * FUNCTIONS or self._blobs > 2 * BLOBS
        if many:
            self._tidy_later()

    def engines(self, id: int, uid: str, facts: dict[str, Any], joined: bool, now: float) -> None:
        """An engine has joined, or is gone."""
        with self._lock:
            if not joined:
                if id in self._engines:
                    self._engines[id]["left"] = now
                return
            self._engines[id] = {
                "engine_id": id,
                "engine_uuid": text_of(uid),
                "facts": facts,
                "joined": now,
                "left": None,
            }
            if len(self._engines) > 2 * ENGINES:
                gone = [id for id, engine in self._engines.items() if engine["left"] is not None]
                for old in gone[: max(0, len(gone) - ENGINES)]:
                    del self._engines[old]

    # -- bounds -----------------------------------------------------------------------------------------------

    def _shed(self) -> None:
        """Let go of the oldest."""
        most = self._count - self._count // GENERATIONS  # there is always room for a generation
        young = self._young
        if len(young.tasks) * GENERATIONS >= self._count:
            for id in list(islice(young.tasks, max(0, len(young.tasks) - most))):  # of very many that ended at once
                self._dropped += self._forget(id)
            self._young = _Generation()
            self._generations.append(self._young)
        ended = sum([len(generation.tasks) for generation in self._generations])
        while ended > most:
            oldest = self._generations.popleft()
            ended -= len(oldest.tasks)
            self._dropped += len(oldest.tasks)
            self._bytes -= oldest.bytes
            for id in self._texts.keys() & oldest.tasks.keys():
                self._drop_text(id)
        if self._bytes > self._limit:
            self._strip(self._limit - self._limit // 8)

    def _strip(self, enough: int) -> None:
        """Let go of bodies, with something in reserve: the way to them leads past those that are gone."""
        for generation in self._generations:
            for id, entry in generation.tasks.items() if generation.bytes or self._texts else ():
                if self._bytes <= enough:
                    return
                self._drop_text(id)
                size = size_of(entry)
                if size:
                    generation.tasks[id] = strip(entry)
                    generation.bytes -= size
                    self._bytes -= size
        if self._partial and self._bytes > enough:
            self._bytes -= self._partial
            self._partial = 0
            for pending in self._pending.values():
                if isinstance(pending, Many):
                    pending.strip()

    def _forget(self, id: int) -> bool:
        for generation in reversed(self._generations):
            entry = generation.tasks.pop(id, None)
            if entry is not None:
                size = size_of(entry)
                generation.bytes -= size
                self._bytes -= size
                self._drop_text(id)
                return True
        return False

    def _drop_text(self, id: int) -> None:
        texts = self._texts.pop(id, None)
        if texts is not None:
            self._bytes -= texts.size

    def _find(self, id: int) -> Entry | None:
        for generation in self._generations:
            if id in generation.tasks:
                return generation.tasks[id]
        return self._pending.get(id)

    def _entries(self) -> list[Entry]:
        """Everything. (With the lock.)"""
        ended = chain.from_iterable([generation.tasks.values() for generation in self._generations])
        return [*ended, *self._pending.values()]

    # -- for the desk -----------------------------------------------------------------------------------------

    def _tidy_later(self) -> None:
        """Have :meth:`_tidy` called in another thread: its way is long."""
        raise NotImplementedError

    def _look(self, entries: Iterable[Entry]) -> Iterator[Known]:
        with self._lock:
            names = {key: name for key, (name, _) in self._functions.items()}
            uids = {id: engine["engine_uuid"] for id, engine in self._engines.items()}
        for entry in entries:
            known = Known(entry, names, uids)
            known.texts = self._texts.get(known.number)
            yield known

    def _tidy(self) -> None:
        """Let go of functions that no record needs, but for the newest; and of blobs, the oldest first."""
        with self._lock:
            entries = self._entries()
            keys = list(self._functions)
        needed = {known.task.function for known in self._look(entries)}
        with self._lock:
            for key in keys[: max(0, len(keys) - FUNCTIONS)]:
                if key not in needed:
                    self._drop_blob(key)
                    del self._functions[key]
            for key in keys:
                if self._blobs <= BLOBS:
                    break
                if key in self._functions:
                    self._drop_blob(key)

    def _drop_blob(self, key: bytes) -> None:
        name, blob = self._functions[key]
        self._blobs -= len(blob or b"")
        self._functions[key] = name, None
