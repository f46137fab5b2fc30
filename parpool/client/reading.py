"""The thread that reads an iterable for imap, and sends what it reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..wire.payload import independent
from .mapping import AHEAD, Window, chunk_size, map_kind

if TYPE_CHECKING:
    from .contract import Link
    from .stream import IMapIterator


class Reader:
    """Reads an iterable in a thread of its own, and sends what it reads."""

    def __init__(self, stream: IMapIterator[Any], iterator: Iterator[Any]) -> None:
        self._stream = stream
        self._link = stream._link
        self._iterator = iterator
        self._room = threading.Condition(threading.Lock())
        self._window = Window()
        self._pending: list[Any] = []  #: read and not sent
        self._sent = 0  #: items sent, or chunks
        self._alone = stream._single  #: must each item be pickled as soon as it is read, and apart from the others?
        self._stopped = False

    def start(self) -> None:
        """Begin to read."""
        self._link.readers.add(self)
        try:
            threading.Thread(target=self._run, name="parpool-reader", daemon=True).start()
        except BaseException:  # there are no more threads: the pool's end would wait for this one
            self._link.readers.discard(self)
            raise

    def stop(self, error: BaseException | None = None) -> None:
        """Read no further: the stream ends now (in ``error``), also while its iterable lets us wait."""
        with self._room:
            self._stopped = True
            self._pending.clear()
            self._room.notify_all()
        self._stream.finished(self._sent, error)

    def came(self, start: int) -> None:
        """An outcome has come: where it was a chunk's last, there is room for what was read meanwhile."""
        if not self._window.came(start):
            return
        with self._room:
            if self._pending and self._stream._chunk == 1:
                self._send()
            self._room.notify_all()

    def make_room(self) -> None:
        """The user has taken a result."""
        with self._room:
            self._room.notify_all()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._read()
        except BaseException as raised:
            error = raised
        finally:
            with self._room:
                # By contract a chunk that the error cut short is dropped.
                if self._pending and (error is None or self._stream._chunk == 1):
                    self._send()
                length = self._sent
            self._stream.finished(length, error)
            self._link.readers.discard(self)
            self._link.nudge()

    def _read(self) -> None:
        stream, room = self._stream, self._room
        while True:
            with room:
                while not self._stopped and self._full():
                    if self._pending and not len(self._window):  # a buffer smaller than a chunk
                        self._send()
                    room.wait()
                if self._stopped:
                    return
            try:
                item = next(self._iterator)
            except StopIteration:
                return
            with room:
                if stream._chunk == 1 and not self._alone and not independent((item,)):
                    # The iterable may change it before it gives the next one, as those do that use a buffer again.
                    self._alone = True
                    if self._pending:
                        self._send()
                self._pending.append(item)
                if stream._chunk > 1 or self._alone:
                    if len(self._pending) >= stream._chunk:
                        self._send()
                elif len(self._window) < self._link.engines * AHEAD:
                    self._send()

    def _full(self) -> bool:
        """Has enough been read for now?"""
        stream = self._stream
        if stream._buffersize is not None:
            under_way = self._sent * stream._chunk + len(self._pending) - stream._taken * stream._chunk
            if under_way >= stream._buffersize:
                return True
        if len(self._window) < self._link.engines * AHEAD:
            return False
        if stream._chunk > 1 or self._alone:
            return len(self._window) >= self._link.engines * 16
        return len(self._pending) >= chunk_size(self._link, stream._function, 1 << 30)

    def _send(self) -> None:
        """Send what is pending. Under the lock."""
        stream, link = self._stream, self._link
        pending, self._pending = self._pending, []
        if stream._chunk > 1:
            groups = [pending]
            each = False
        else:
            groups = [pending[:]] if not self._alone else [[item] for item in pending]
            each = True
        for group in groups:
            self._send_group(stream, link, each, group)
        link.tend()

    def _send_group(self, stream: IMapIterator[Any], link: Link, each: bool, group: list[Any]) -> None:
        number = self._sent
        self._sent += len(group) if each else 1
        try:
            payload = link.dumps(group)
            link.check()
        except Exception:
            if len(group) == 1 or not each:
                try:
                    link.dumps(group, (f"[{number}]",) if each else ())  # again: it tells the place
                except Exception as told:
                    error = told
                stream.refused(number, error)
                return
            self._sent = number
            for item in group:  # only the one that cannot be pickled fails
                self._send_group(stream, link, each, [item])
            return
        self._window.sent(number, len(group) if each else 1)
        kind = map_kind(stream._star, each)
        link.send_chunk(stream._function, payload, kind, len(group), number, stream, stream._terms)
