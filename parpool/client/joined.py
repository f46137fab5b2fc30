"""Several results as one: of a call on several engines, or of calls that belong together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..net.parking import have_told
from .outcome import Arrived
from .result import AsyncResult, time_out_of_view

if TYPE_CHECKING:
    from .call import ViewResult
    from .contract import Link


class JoinedResult(AsyncResult):
    """A result with a value for each of its parts, in their order.

    Where parts have failed, ``get`` raises a CompositeError of their exceptions, which has the values of the others in
    its ``results``. ``assemble`` makes the value out of the list of values (default: the list itself).
    """

    _time_out = staticmethod(time_out_of_view)
    _alone = False  #: is it of one engine, not of a list of one? Then its exception is raised as it is

    def __init__(
        self,
        link: Link,
        owner: object,
        parts: Sequence[AsyncResult],
        method: str = "apply",
        assemble: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        super().__init__(link, owner)
        self._members = parts
        self._name = method
        self._method = method
        self._assemble = assemble
        self._left = len(parts)  #: parts that have not ended, and were counted
        self._counting = threading.Lock()
        if parts:
            self._submitted = min(part._submitted for part in parts)
        else:
            self._finish()

    @classmethod
    def of(cls, results: Iterable[AsyncResult]) -> JoinedResult:
        """A result of results that were made apart. Raises ValueError where there is none, or not of one client."""
        parts = list(results)
        if not parts:
            raise ValueError("there is no result to join")
        if any(part._link is not parts[0]._link for part in parts):
            raise ValueError("only results of one client, or of one pool, can be joined")
        joined = cls(parts[0]._link, [part._owner for part in parts], parts, getattr(parts[0], "_method", "apply"))
        for part in parts:
            told = _Told(joined, part)
            have_told(part, told)
            told.release()  # it may have ended already
        joined._link.tend()
        return joined

    def take(self, part: ViewResult) -> None:
        """Let ``part`` tell when it ends. Before it is submitted."""
        part._whole = self

    def part_ended(self) -> None:
        """A part has ended."""
        with self._counting:
            self._left -= 1
            last = not self._left
        if last:
            self._finish()

    @property
    def sent(self) -> bool:
        """May the arguments of all parts be changed?"""
        return all(part.sent for part in self._members)

    def _value(self) -> Any:
        values, failed = self._opened()
        if failed:
            if self._alone:
                raise failed[0]
            from ..wire.remote import composite_error

            engines = [getattr(self._members[number], "_engine", None) for number in failed]
            raise composite_error(list(failed.values()), self._method, self._laid_out(values, failed), engines)
        return self._laid_out(values, failed)

    def _values_or_exceptions(self) -> Any:
        values, failed = self._opened()
        for number in failed:
            values[number] = self._members[number].get(return_exceptions=True)
        return self._laid_out(values, failed)

    def _opened(self) -> tuple[list[Any], dict[int, BaseException]]:
        """The value of each part, or the exception in its place; and those exceptions, by the number of the part."""
        values: list[Any] = []
        failed: dict[int, BaseException] = {}
        for number, part in enumerate(self._members):
            try:
                values.append(part.get())
            except BaseException as error:
                if part._failure() is None and not isinstance(error, Exception):  # Ctrl-C, while it was opened
                    raise
                failed[number] = error
                values.append(error)
        return values, failed

    def _laid_out(self, values: list[Any], failed: dict[int, BaseException]) -> Any:
        """The value, made of those of the parts, of which some may have failed."""
        return values if failed or self._assemble is None else self._assemble(values)

    def _failure(self) -> object:
        return next((failure for part in self._members if (failure := part._failure()) is not None), None)

    def __iter__(self) -> Iterator[Any]:
        """The values of the parts in order, each as soon as it has arrived; raises the exception of a part."""
        if self._assemble is not None:
            yield from self.get()
        else:
            for part in self._members:
                yield part.get()

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int | slice) -> Any:
        """The value of a part, or of several."""
        if isinstance(index, slice):
            return [part.get() for part in self._members[index]]
        return self._members[index].get()

    def get_dict(self, timeout: float | None = None) -> dict[int | None, Any]:
        """What each engine gave, by engine. Raises ValueError where one gave more than once."""
        self.get(timeout)
        engines = [arrived.engine for arrived in self._arrived()]
        if len(set(engines)) < len(engines) or len(engines) != len(self._members):
            raise ValueError("more than one value came from an engine: get() gives them all")
        return {engine: part.get() for engine, part in zip(engines, self._members, strict=True)}

    @property
    def msg_ids(self) -> list[str]:
        """The names of the tasks of all parts, which may be other clients'."""
        return [name for part in self._members for name in part.msg_ids]

    def split(self) -> list[AsyncResult]:
        """The parts."""
        return list(self._members)

    @property
    def metadata(self) -> list[dict[str, Any]]:
        """A dict for each task, in the order of the parts: who ran it, when, and how it ended."""
        metadata: list[dict[str, Any]] = []
        for part in self._members:
            told = part.metadata
            metadata += told if isinstance(told, list) else [told]
        return metadata

    @property
    def stdout(self) -> list[str]:
        """What each part has printed so far."""
        return [part.stdout for part in self._members]

    @property
    def stderr(self) -> list[str]:
        """What each part has written to stderr so far."""
        return [part.stderr for part in self._members]

    @property
    def outputs(self) -> list[list[dict[str, Any]]]:
        """What each part has displayed so far."""
        return [part.outputs for part in self._members]

    def _arrived(self) -> list[Arrived]:
        return [arrived for part in self._members for arrived in part._arrived()]

    def _ids(self) -> list[int]:
        return [id for part in self._members for id in part._ids()]

    def _is_single(self) -> bool:
        return False

    def _parts(self) -> list[Any]:
        return [inner for part in self._members for inner in part._parts()]


class _Told:
    """Stands among the locks of the threads that wait for a part, and tells the whole, once, that it has ended.

    Not a listener: those are called by the thread of the callbacks, which may be the one that waits for the whole.
    """

    def __init__(self, whole: JoinedResult, part: AsyncResult) -> None:
        self._whole: JoinedResult | None = whole
        self._part = part

    def release(self) -> None:
        """The part has ended, or may have."""
        whole = self._whole
        if whole is None or not self._part.ready():
            return
        with whole._counting:
            told, self._whole = self._whole is None, None
        if not told:
            whole.part_ended()


class DirectMapResult(JoinedResult):
    """The result of a direct view's map: a list of the values of all items, in their order.

    Each part has the items of one of ``slices``. Where it has failed, its exception stands for each of them in the
    ``results`` of the CompositeError.
    """

    def __init__(
        self,
        link: Link,
        owner: object,
        parts: Sequence[AsyncResult],
        slices: Sequence[slice],
        total: int,
        bar: Any = None,
    ) -> None:
        self._places = [range(total)[each] for each in slices]  #: for each part, the numbers of its items
        self._total = total
        self._bar = bar
        super().__init__(link, owner, parts, "map")

    def part_ended(self) -> None:
        """A part has ended."""
        with self._counting:
            if self._bar is not None:
                self._bar.update(self.progress - self._bar.n)
        super().part_ended()

    def _finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
        super()._finish()

    def _laid_out(self, values: list[Any], failed: dict[int, BaseException]) -> list[Any]:
        whole: list[Any] = [None] * self._total
        for number, (value, place) in enumerate(zip(values, self._places, strict=True)):
            of_part = [value] * len(place) if number in failed else value
            for item, each in zip(place, of_part, strict=True):
                whole[item] = each
        return whole

    def __iter__(self) -> Iterator[Any]:
        """The values in order, those of a part as soon as it has ended; raises the exception of a part."""
        part_of = [0] * self._total
        for number, place in enumerate(self._places):
            for item in place:
                part_of[item] = number
        values: dict[int, Iterator[Any]] = {}
        for number in part_of:
            if number not in values:
                values[number] = iter(self._members[number].get())
            yield next(values[number])

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, index: int | slice) -> Any:
        """The value of an item, or of several."""
        if isinstance(index, slice):
            return [self[item] for item in range(self._total)[index]]
        item = range(self._total)[index]
        number = next(number for number, place in enumerate(self._places) if item in place)
        return self._members[number].get()[self._places[number].index(item)]

    @property
    def progress(self) -> int:
        """How many of its ``len()`` items have ended: all of a part at once."""
        return sum(len(place) for part, place in zip(self._members, self._places, strict=True) if part.progress)
