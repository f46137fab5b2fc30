"""The result of a load-balanced view's map: every failure is known, and values may be taken as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from .. import status as codes
from .mapping import MapResult
from .outcome import Arrived
from .result import AsyncResult, time_out_of_view

#: Exceptions by the first of the items that they stand for, each with the engine that it comes from.
Failed: TypeAlias = "dict[int, tuple[BaseException, int | None]]"


class ViewMapResult(MapResult):
    """Where items have failed, ``get`` raises a CompositeError of their exceptions, which has the values of the others
    in its ``results``. With ``ordered=False`` iteration gives the values as they come."""

    _method = "map"
    _time_out = staticmethod(time_out_of_view)

    def __init__(self, link: Any, owner: object, name: str, ordered: bool = True, bar: Any = None) -> None:
        super().__init__(link, owner, name, bar=bar)
        self._ordered = ordered
        self._failures: dict[int, tuple[int, Any, Any]] = {}  #: by the first item: how many, and why
        self._failed: Failed = {}  #: once all are opened
        self._chunks: list[range] = []  #: the items of each task
        self._split: list[MapPart] = []  #: those that were made and have not ended

    def printed(self, task: Any, engine: int, stream: int, text: str) -> None:
        """A task has written to a stream (called by whoever drives the loop)."""
        start = task.tag
        stream, text = self._link.remarks.sort(stream, text, engine, task.origin)
        if not text:
            return
        with self._sending:
            self._keep_text(stream, text, engine, start)
            for part in self._split:
                if part.items.start == start:
                    part._keep_text(stream, text, engine)

    @property
    def msg_ids(self) -> list[str]:
        """The names of its tasks: all of them, so what has not been sent yet is sent now."""
        self._send_all()
        return super().msg_ids

    def _fail(self, start: int, size: int, cause: Any, where: Any = None) -> None:
        super()._fail(start, size, cause, where)
        self._failures[start] = size, cause, where

    def _value(self) -> Any:
        return _values(*self._open_all())

    def _values_or_exceptions(self) -> list[Any]:
        return self._open_all()[0]

    def _open_all(self) -> tuple[list[Any], Failed]:
        self._link.remarks.settle()
        with self._sending:
            if self._opened is None:
                values, failed = self.open_items(range(self._total))
                self._failed = failed
                self._opened = values
                for piece in self._pieces.values():
                    if piece.status == codes.OK:
                        piece.payload = b""
            return self._opened, self._failed

    def open_items(self, items: range) -> tuple[list[Any], Failed]:
        """The values of these items, which have ended, with exceptions in the places of those that there are none of;
        and those exceptions."""
        values: list[Any] = []
        failed: Failed = {}
        while len(values) < len(items):
            start = items[len(values)]
            piece = self._pieces.get(start)
            if start in self._failures:
                error, size = self._error_at(start), self._failures[start][0]
            else:
                assert piece is not None
                try:
                    values += self._values_of(start, piece)
                    continue
                except Exception as raised:  # it cannot be opened here
                    error, size = raised, piece.size
            failed[start] = error, None if piece is None else piece.engine
            values += [error] * size
        return values, failed

    def _error_at(self, start: int) -> BaseException:
        """The exception of an item, or of a chunk: the same each time."""
        with self._sending:
            size, cause, where = self._failures[start]
            error = self._made(cause, where)
            self._failures[start] = size, error, None
        return error

    def __iter__(self) -> Iterator[Any]:
        """The values, in order or as they come, each as soon as it has arrived; raises the exception of an item."""
        if self._ordered:
            yield from super().__iter__()
            return
        given = 0
        while given < self._total:
            if given >= len(self._pieces) and not self._done:
                self.await_piece(_More(self, given))
            came = list(self._pieces)[given:]  # in the order in which they came
            if not came:
                break
            for start in came:
                given += 1
                piece = self._pieces[start]
                if piece.status != codes.OK:
                    raise self._error_at(start)
                yield from self._values_of(start, piece)
        if self._error is not None:
            raise self._exception()

    def _values_of(self, start: int, piece: Arrived) -> list[Any]:
        values = super()._values_of(start, piece)
        if start in self._failed:  # all were opened meanwhile, and this could not be
            raise self._failed[start][0]
        return values

    def _rest(self, start: int) -> list[Any]:
        if start in self._failures:
            raise self._error_at(start)
        return super()._rest(start)

    # -- its tasks --------------------------------------------------------------------------------------------

    def _sent(self, id: int, start: int, size: int) -> None:
        super()._sent(id, start, size)
        self._chunks.append(range(start, start + size))

    def split(self) -> list[AsyncResult]:
        """A result for each of its tasks: a list of the values of some items."""
        self._send_all()
        with self._sending:
            parts = [MapPart(self, id, items) for id, items in zip(self._tasks, self._chunks, strict=True)]
            unsent = [start for start in self._failures if start not in self._pieces]
            parts += [MapPart(self, -1, range(start, start + self._failures[start][0])) for start in unsent]
            for part in parts:
                for stream, text, engine, chunk in list(self._printed or ()):
                    if chunk == part.items.start:
                        part._keep_text(stream, text, engine)
                part.look()
            self._split += [part for part in parts if not part.ready()]
        parts.sort(key=lambda part: part.items.start)
        return [*parts]

    def deliver(self, task: Any, outcome: Any, engine: int | None) -> None:
        """A chunk has ended, or one item of a chunk whose items end separately."""
        super().deliver(task, outcome, engine)
        if self._split:
            with self._sending:
                for part in self._split[:]:
                    if part.items.start == task.tag:
                        part.look()
                        if part.looked == part.items.stop:
                            self._split.remove(part)


class MapPart(AsyncResult):
    """The result of one task of a map: a list of the values of its items."""

    _method = "map"
    _time_out = staticmethod(time_out_of_view)

    def __init__(self, whole: ViewMapResult, id: int, items: range) -> None:
        super().__init__(whole._link, whole)
        self._whole = whole
        self._name = whole._name
        self._id = id
        self._borrowed = whole._borrowed
        self.items = items
        self.looked = items.start  #: the first item that was not known to have ended
        self._submitted, self._after, self._follow = whole._submitted, whole._after, whole._follow

    def look(self) -> None:
        """Has it ended? Under the lock of the whole."""
        whole, before = self._whole, self.looked
        while self.looked < self.items.stop:
            piece, failure = whole._pieces.get(self.looked), whole._failures.get(self.looked)
            if piece is None and failure is None:
                return
            self.looked += failure[0] if piece is None else piece.size  # type: ignore[index]
        if before < self.looked:
            self._finish()

    def _value(self) -> Any:
        return _values(*self._whole.open_items(self.items))

    def _values_or_exceptions(self) -> Any:
        return self._whole.open_items(self.items)[0]

    def _failure(self) -> object:
        failures = self._whole._failures
        return next((failures[item] for item in self.items if item in failures), None)

    def _arrived(self) -> list[Arrived]:
        pieces = self._whole._pieces
        return [pieces[item] for item in self.items if item in pieces]

    def _texts(self) -> Mapping[tuple[int, int | None], str]:
        return {(stream, self.items.start): text for (stream, _), text in super()._texts().items()}

    def _ids(self) -> list[int]:
        return [self._id] if self._id >= 0 else []

    def _is_single(self) -> bool:
        return False

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        """The values; raises a CompositeError where there are not all of them."""
        yield from self.get()


def _values(values: list[Any], failed: Failed) -> list[Any]:
    """The values, where none has failed. Raises a CompositeError where some have."""
    if not failed:
        return values
    from ..wire.remote import composite_error

    raise composite_error([error for error, _ in failed.values()], "map", values, [n for _, n in failed.values()])


class _More:
    """The arrival of more pieces than have been taken."""

    def __init__(self, result: ViewMapResult, given: int) -> None:
        self._result = result
        self._given = given
        self._parked: list[Any] | None = None

    @property
    def _done(self) -> bool:
        return self._result.ready() or len(self._result._pieces) > self._given
