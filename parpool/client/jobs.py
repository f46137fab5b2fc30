"""Calls as users name them: message ids, results, and any nesting of collections of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .records import Records
from .result import AsyncResult

if TYPE_CHECKING:
    from .contract import Link


class Jobs:
    """Finds the results that are meant."""

    def __init__(self, link: Link, records: Records) -> None:
        self._link = link
        self._records = records

    def results(self, jobs: Any) -> list[AsyncResult]:
        """The results of jobs, in their order. Raises KeyError for one that is not known, TypeError for no job."""
        return list(self._each(jobs))

    def _each(self, jobs: Any) -> Iterator[AsyncResult]:
        if isinstance(jobs, AsyncResult):
            yield jobs
        elif isinstance(jobs, str):
            yield find(self._link, self._records, jobs)
        elif isinstance(jobs, int):
            yield self._by_place(jobs)
        elif isinstance(jobs, Iterable) and not isinstance(jobs, bytes):
            for job in jobs:
                yield from self._each(job)
        else:
            raise TypeError(f"a message id, an AsyncResult, or a collection of them is meant, not {jobs!r}")

    def unread(self, jobs: Any) -> list[AsyncResult]:
        """:meth:`results` without those that were read and let go: they have ended."""
        return [result for job in several(jobs) if not self._was_read(job) for result in self._each(job)]

    def status(self, jobs: Any) -> dict[str, list[str]]:
        """The names of jobs: which are ``pending``, and which ``completed``, also those that were read and let go."""
        status: dict[str, list[str]] = {"pending": [], "completed": []}
        for job in several(jobs):
            if self._was_read(job):
                status["completed"].append(str(job))
                continue
            for result in self._each(job):
                status["completed" if result.ready() else "pending"] += result.msg_ids
        return status

    def knows(self, msg_id: str) -> bool:
        """Is this the name of a call of this client that is still known?"""
        id = self._link.task_id(msg_id)
        if id is None or self._link.msg_id(id) != msg_id:
            return False
        records = self._records
        return records.get(id) is not None or records.map_of(id) is not None or records.was_read(id)

    def let_go(self, msg_id: str) -> bool:
        """Was the value of this call read, and nobody has kept it?"""
        id = self._link.task_id(msg_id)
        return id is not None and self._records.get(id) is None and self._records.map_of(id) is None

    def read_and_gone(self, jobs: Iterable[Any]) -> dict[str, int]:
        """Those of the jobs, by name, that have ended, and whose values were read and let go; with their numbers."""
        names = [job for job in jobs if isinstance(job, str) and self._was_read(job) and self.let_go(job)]
        return {name: id for name in names if (id := self._link.task_id(name)) is not None}

    def _was_read(self, job: Any) -> bool:
        id = self._link.task_id(job) if isinstance(job, str) else None
        return id is not None and self._records.was_read(id)

    def _by_place(self, place: int) -> AsyncResult:
        """The call at this place of the history: -1 is the last."""
        ids = list(self._records)
        try:
            id = ids[place]
        except IndexError:
            raise KeyError(f"the history has {len(ids)} calls, and none at {place}") from None
        return find(self._link, self._records, self._link.msg_id(id))


def several(jobs: Any) -> Iterable[Any]:
    """The jobs that are meant, one by one or in collections."""
    one = isinstance(jobs, (str, bytes, AsyncResult)) or not isinstance(jobs, Iterable)
    return [jobs] if one else jobs


def find(link: Link, records: Records, msg_id: str) -> AsyncResult:
    """The result of a call by its name. Raises KeyError where it is not known."""
    id = link.task_id(msg_id) if isinstance(msg_id, str) else None
    result: AsyncResult | None = None if id is None else records.get(id) or records.map_of(id)
    if result is None:
        known = [link.msg_id(id) for id in records]
        named = ", ".join(known[-3:]) or "none"
        raise KeyError(
            f"no call {msg_id!r} is known: it is not of this client, or ended long ago, or its value was read and let "
            f"go. {len(known)} are known, the last of them: {named}"
        )
    return result


class Known(Mapping[str, Any]):
    """Something of each known call, by its name, looked up when it is asked for."""

    def __init__(
        self, link: Link, records: Records, look: Callable[[AsyncResult], Any], *, ended: bool = False
    ) -> None:
        self._link = link
        self._records = records
        self._look = look
        self._ended = ended  #: only calls that have ended

    def __getitem__(self, msg_id: str) -> Any:
        result = find(self._link, self._records, msg_id)
        if self._ended and not result.ready():
            raise KeyError(f"the call {msg_id!r} has not ended")
        return self._look(result)

    def __iter__(self) -> Iterator[str]:
        for id in self._records:
            result = self._records.get(id)
            if result is not None and (result.ready() or not self._ended):
                yield self._link.msg_id(id)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<{len(self)} calls>"
