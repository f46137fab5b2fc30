"""Several results as one: of a call on several engines, or of calls that belong together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .outcome import Arrived
from .result import AsyncResult

if TYPE_CHECKING:
    from .call import ViewResult
    from .contract import Link


class JoinedResult(AsyncResult):
    """A result with a value for each of its parts, in their order.

    Where parts have failed, ``get`` raises a CompositeError of their exceptions, which has the values of the others in
    its ``results``. ``assemble`` makes the value out of the list of values (default: the list itself).
    """

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
        """A result of results that were made apart, of one client. Raises ValueError where there is none."""
        parts = list(results)
        if not parts:
            raise ValueError("there is no result to join")
        joined = cls(parts[0]._link, [part._owner for part in parts], parts, getattr(parts[0], "_method", "apply"))
        for part in parts:
            part.add_done_callback(lambda _: joined.part_ended())
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

    def _value(self) -> Any:
        values: list[Any] = []
        failed: list[BaseException] = []
        for part in self._members:
            try:
                values.append(part.get())
            except BaseException as error:
                if part._failure() is None and not isinstance(error, Exception):  # Ctrl-C, while it was opened
                    raise
                failed.append(error)
                values.append(error)
        if failed:
            from ..wire.remote import composite_error

            raise composite_error(failed, self._method, values)
        return values if self._assemble is None else self._assemble(values)

    def _values_or_exceptions(self) -> list[Any]:
        return [part.get(return_exceptions=True) for part in self._members]

    def _failure(self) -> object:
        return next((failure for part in self._members if (failure := part._failure()) is not None), None)

    def __iter__(self) -> Iterator[Any]:
        """The values of the parts in order, each as soon as it has arrived; raises the exception of a part."""
        if self._assemble is not None and not self._members:
            yield from self.get()
        for part in self._members:
            value = part.get()
            if self._assemble is not None:
                yield from value
            else:
                yield value

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int | slice) -> Any:
        """The value of a part, or of several."""
        if isinstance(index, slice):
            return [part.get() for part in self._members[index]]
        return self._members[index].get()

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

    def _arrived(self) -> list[Arrived]:
        return [arrived for part in self._members for arrived in part._arrived()]

    def _ids(self) -> list[int]:
        return [id for part in self._members for id in part._ids()]

    def _is_single(self) -> bool:
        return False

    def _parts(self) -> list[Any]:
        return [inner for part in self._members for inner in part._parts()]
