"""The result of a parallel function's call: what the engines made of their parts, as one whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..net.parking import wake_waiters
from .call import ViewResult
from .joined import JoinedResult
from .partition import Blocks, Distribution

_NOTHING = object()


class ParallelResult(JoinedResult):
    """The result of a parallel function's call: the values of the parts, joined. Iteration gives its items."""

    def __init__(
        self, link: Any, owner: object, parts: Sequence[ViewResult], rule: Distribution, text: bool, ordered: bool
    ) -> None:
        self._rule = rule
        self._joins_text = text
        self._ordered = ordered
        self._expected: list[_Another] = []
        super().__init__(link, owner, parts, "parallel", self._join)

    def _join(self, values: Iterable[Any]) -> Any:
        return self._rule.join(values, text=self._joins_text)

    def _items(self, value: Any) -> Iterable[Any]:
        """The items of the whole that come from the value of a part."""
        items = self._join([value])
        # Iteration over a DataFrame would give its columns.
        return (items.iloc[row] for row in range(len(items))) if hasattr(type(items), "iloc") else items

    def __iter__(self) -> Iterator[Any]:
        """The items, in order (or, where that was asked for, as they come); raises the exception of a part."""
        if not self._ordered:
            for part in self._as_they_come():
                yield from self._items(part.get())
        elif self._rule.name == Blocks.name:
            for part in self._members:
                yield from self._items(part.get())
        else:
            yield from self._dealt()

    def _dealt(self) -> Iterator[Any]:
        going = [iter(self._items_of(part)) for part in self._members]
        while going:
            for items in going[:]:
                item = next(items, _NOTHING)
                if item is _NOTHING:
                    going.remove(items)
                else:
                    yield item

    def _items_of(self, part: Any) -> Iterator[Any]:
        yield from self._items(part.get())

    def _as_they_come(self) -> Iterator[Any]:
        left: list[Any] = list(self._members)
        while left:
            another = _Another(left)
            self._expected.append(another)
            try:
                self._link.wait(another, None)
            finally:
                self._expected.remove(another)
            for part in [part for part in left if part._outcome is not None]:
                left.remove(part)
                yield part

    def part_ended(self) -> None:
        """A part has ended."""
        super().part_ended()
        for another in self._expected[:]:
            wake_waiters(another)


class _Another:
    """The arrival of one of several results."""

    def __init__(self, results: Sequence[Any]) -> None:
        self._results = results
        self._parked: list[Any] | None = None

    @property
    def _done(self) -> bool:
        return any(result._outcome is not None for result in self._results)
