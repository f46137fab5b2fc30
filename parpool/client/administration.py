"""What a client can ask and tell the engines and the hub: the part of :class:`Client` that makes no calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ParpoolError
from .jobs import Jobs, several
from .queries import dated, packed
from .result import AsyncResult

if TYPE_CHECKING:
    from .contract import Link
    from .records import Records

_COUNTED = ("tasks", "queue", "completed")
NO_HUB = (
    "these engines are this process's own, and have no hub: Client() connects to a cluster (`parpool start`) that has"
)


class Administration:
    """Engines and records. Requests are answered at once or raise; none takes ``block``."""

    _link: Link
    _records: Records

    # What the Client has.
    targets_of: Any
    normal: Any
    direct_view: Any
    close: Any

    @property
    def ids(self) -> list[int]:
        """The ids of the engines that serve now, ascending."""
        raise NotImplementedError

    @property
    def history(self) -> list[str]:
        """The names of the calls of views that are still known, in the order in which they were made."""
        raise NotImplementedError

    # -- engines ----------------------------------------------------------------------------------------------

    def queue_status(self, targets: Any = None, verbose: bool = False) -> dict[int | str, Any]:
        """For each engine: how many tasks it holds (``tasks``), how many wait for it alone (``queue``), and how many it
        has ``completed``; and under ``unassigned`` how many wait for any engine. A notebook shows it as a table.

        ``verbose`` adds the process (``pid``), its machine (``hostname``), the engine's ``name``, and the names of the
        tasks in the place of their numbers.
        """
        status = self._link.control.status()
        if not verbose:
            status = {
                key: {name: len(n) if isinstance(n, list) else n for name, n in value.items() if name in _COUNTED}
                if isinstance(value, dict)
                else value
                for key, value in status.items()
            }
        else:
            for value in status.values():
                if isinstance(value, dict):
                    for name in ("queue", "tasks"):
                        value[name] = [self._link.msg_id(id) for id in value[name]]
        from .notebook import QueueStatus

        if targets is None or targets == "all":
            return QueueStatus(status)
        wanted = self.normal(targets)
        if isinstance(wanted, int):
            return QueueStatus(status[wanted])
        return QueueStatus({key: value for key, value in status.items() if key in wanted})

    def interrupt(self, targets: Any = None) -> None:
        """Raise KeyboardInterrupt in what the engines run now; what runs next is not touched."""
        self._link.control.interrupt(self.targets_of(self.normal(targets)))

    def clear(self, targets: Any = None, block: bool | None = True) -> Any:
        """Unbind all names of the engines' namespaces, but for those that they began with."""
        return self.direct_view(targets).clear(block=block)

    def shutdown(self, targets: Any = None, restart: bool = False, hub: bool = False) -> None:
        """Let engines end when what they hold is done; with ``restart`` others take their places.

        With ``hub`` a cluster's controller ends, and everything with it, at once. Where the engines are this process's
        own, that is so without ``targets`` and ``restart``, too, as with ``pool.terminate()``: calls that have not
        ended end in TaskAborted.
        """
        if hub and self.has_hub:
            self._link.control.end_cluster()  # type: ignore[attr-defined]
            self.close()
            return
        chosen = self.normal(targets)
        if (hub or (chosen == "all" and not restart)) and not self.has_hub:
            self.close()
            return
        if not self._link.control.shut_down(self.targets_of(chosen), restart):
            self.close()

    def cluster_status(self) -> dict[str, Any]:
        """What the controller says of itself, its engines and clients, the hub, and of what it had to drop.

        Raises ParpoolError where the engines are this process's own.
        """
        answer: dict[str, Any] = self._hub("cluster_status")
        return answer

    def _hub(self, what: str, **about: Any) -> Any:
        ask = getattr(self._link.control, "ask_controller", None)
        if ask is None:
            raise ParpoolError(NO_HUB)
        return ask(what, about)

    @property
    def _mine(self) -> Jobs:
        return Jobs(self._link, self._records)

    @property
    def has_hub(self) -> bool:
        """Are the engines a cluster's, with a hub that remembers tasks of all clients?"""
        return hasattr(self._link.control, "ask_controller")

    # -- records ----------------------------------------------------------------------------------------------

    def hub_history(self) -> list[str]:
        """The names of the tasks of all clients that the hub knows, in the order in which they were submitted.

        Of engines that are this process's own: :attr:`Client.history`.
        """
        return list(self._hub("history")) if self.has_hub else self.history

    def db_query(self, query: dict[str, Any] | None = None, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The hub's records for which ``query`` holds, in the order of submission; with ``keys`` only these of each.

        A query is ``{key: value}`` or ``{key: {operator: value}}``, with the operators ``$eq $ne $lt $lte $gt $gte $in
        $nin $exists``; times may be datetimes. ::

            rc.db_query({"status": "error", "completed": {"$gt": yesterday}}, keys=["msg_id", "name", "engine_id"])

        Raises ParpoolError for a key or an operator that there is not.
        """
        found = self._hub("query", query=packed(query or {}), keys=None if keys is None else list(keys))
        return [dated(record) for record in found]

    def resubmit(self, jobs: Any) -> AsyncResult:
        """Have tasks that have ended run again, as new ones with the same function and arguments.

        ``jobs`` are names of tasks of any client, or AsyncResults. Raises ParpoolError where the hub no longer has
        what it takes.
        """
        from .fetched import submit_again
        from .joined import JoinedResult

        found = self._hub("request", ids=_names(jobs))
        results = [submit_again(self._link, self, self._records, each) for each in found]
        self._link.tend()
        return results[0] if len(results) == 1 and isinstance(jobs, (str, AsyncResult)) else JoinedResult.of(results)

    def result_status(self, jobs: Any) -> dict[str, list[str]]:
        """Which of these calls are ``pending``, and which ``completed``; of a cluster, also those of other clients."""
        mine = Jobs(self._link, self._records)
        if not self.has_hub:
            return mine.status(jobs)
        status: dict[str, list[str]] = {"pending": [], "completed": []}
        others = []
        for job in several(jobs):
            if isinstance(job, str) and not mine.knows(job):
                others.append(job)
                continue
            for key, names in mine.status(job).items():
                status[key] += names
        if others:
            told = self._hub("status", ids=others)
            if told["unknown"]:
                raise KeyError(f"the hub knows no task {told['unknown'][0]!r}")
            for key in status:
                status[key] += told[key]
        return status

    def purge_results(self, jobs: Any = "all", targets: Any = None) -> None:
        """Forget calls that have ended, and their values: here, and in the hub where there is one.

        ``targets``: those that these engines ran. Raises RuntimeError for a call that has not ended.
        """
        records = self._records
        everything = isinstance(jobs, str) and jobs == "all"
        if targets is not None and not self.has_hub:
            raise ParpoolError(NO_HUB)
        if everything:
            ids = [id for id in records if id not in records.outstanding and records.map_of(id) is None]
        else:
            here = [
                job for job in several(jobs) if not (self.has_hub and isinstance(job, str)) or self._mine.knows(job)
            ]
            read = self._mine.read_and_gone(here)
            results = self._mine.results([job for job in here if not isinstance(job, str) or job not in read])
            ids = [*read.values(), *(id for result in results for id in result._ids())]
        pending = [self._link.msg_id(id) for id in ids if id in records.outstanding or _runs(records.map_of(id))]
        if pending:
            raise RuntimeError(f"these calls have not ended: {', '.join(pending)}")
        if self.has_hub:
            self._purge_hub("all" if everything else _names(jobs), targets)
        for id in ids if targets is None else ():
            records.forget(id)

    def _purge_hub(self, ids: str | list[str], targets: Any) -> None:
        engines = None if targets is None else list(self.targets_of(self.normal(targets)))
        mine = [self._link.name] if ids == "all" and engines is None else None
        try:
            self._hub("purge", ids=ids, targets=engines, clients=mine)
        except ParpoolError as error:
            if self._link.failure is not None:
                raise
            raise RuntimeError(str(error)) from None

    def purge_everything(self) -> None:
        """Forget all calls that have ended, here and in the hub, those of other clients, too."""
        self.purge_results("all")
        if self.has_hub:
            self._hub("purge_everything")

    def _repr_html_(self) -> str:
        from .notebook import client_html

        return client_html(self.ids, self._link)


def _names(jobs: Any) -> list[str]:
    """The names of jobs, also of those that are not known here."""
    return [name for job in several(jobs) for name in ([job] if isinstance(job, str) else job.msg_ids)]


def _runs(result: AsyncResult | None) -> bool:
    return result is not None and not result.ready()
