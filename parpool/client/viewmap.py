"""The result of a load-balanced view's map: every failure is known, and values may be taken as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import status as codes
from .mapping import MapResult


class ViewMapResult(MapResult):
    """Where items have failed, ``get`` raises a CompositeError of their exceptions, which has the values of the others
    in its ``results``. With ``ordered=False`` iteration gives the values as they come."""

    _method = "map"
    _engine: int | None = None
    _sinks: list[Any] | None = None

    def __init__(self, link: Any, owner: object, name: str, ordered: bool = True, bar: Any = None) -> None:
        super().__init__(link, owner, name, bar=bar)
        self._ordered = ordered
        self._failures: dict[int, tuple[int, Any, Any]] = {}  #: by the first item: how many, and why

    def printed(self, engine: int, stream: int, text: str) -> None:
        """A task has written to a stream (called by whoever drives the loop)."""
        if self._printed is None:
            self._printed = []
        self._engine = engine
        self._printed.append((stream, text))
        for sink in tuple(self._sinks or ()):
            sink()

    @property
    def msg_ids(self) -> list[str]:
        """The names of its tasks: all of them, so what has not been sent yet is sent now."""
        with self._sending:
            while self._feed is not None and self._feed.next < self._feed.total:
                self._send_next(self._feed)
        return super().msg_ids

    def _fail(self, start: int, size: int, cause: Any, where: Any = None) -> None:
        super()._fail(start, size, cause, where)
        self._failures[start] = size, cause, where

    def _value(self) -> Any:
        if self._error is None:
            return super()._value()
        from ..wire.remote import composite_error

        values = self._values_or_exceptions()
        raise composite_error([self._made(*self._failures[n][1:]) for n in sorted(self._failures)], "map", values)

    def _values_or_exceptions(self) -> list[Any]:
        if self._error is None:
            return self._value()  # type: ignore[no-any-return]
        values: list[Any] = []
        with self._sending:
            for start in sorted({*self._pieces, *self._failures}):
                if start in self._failures:
                    size, cause, where = self._failures[start]
                    error = self._made(cause, where)
                    self._failures[start] = size, error, None
                    values += [error] * size
                else:
                    values += self._open(self._pieces[start])
        return values

    def __iter__(self) -> Iterator[Any]:
        """The values, in order or as they come, each as soon as it has arrived; raises the exception of an item."""
        if self._ordered:
            yield from super().__iter__()
            return
        given = 0
        while given < self._total:
            if given >= len(self._pieces) and not self._done:
                self._link.wait(_More(self, given), None)
            pieces = list(self._pieces.items())  # in the order in which they came
            if given >= len(pieces):
                break
            for start, piece in pieces[given:]:
                given += 1
                if piece.status != codes.OK:
                    raise self._made(*self._failures[start][1:])
                with self._sending:
                    opened = self._opened  # where there is one, the pieces are empty
                    values = self._open(piece) if opened is None else opened[start : start + piece.size]
                yield from values
        if self._error is not None:
            raise self._exception()

    def _rest(self, start: int) -> list[Any]:
        if start in self._failures:
            raise self._made(*self._failures[start][1:])
        return super()._rest(start)


class _More:
    """The arrival of more pieces than have been taken."""

    def __init__(self, result: ViewMapResult, given: int) -> None:
        self._result = result
        self._given = given
        self._parked: list[Any] | None = None
        result.expect(self)  # type: ignore[arg-type]

    @property
    def _done(self) -> bool:
        return self._result.ready() or len(self._result._pieces) > self._given
