"""Results that the hub has: of other clients' tasks, and of this one's that it has let go; and tasks submitted again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import status as codes
from ..errors import TaskAborted
from ..wire.envelope import Take, received
from ..wire.functions import Function
from ..wire.messages import EACH, HOW, SHARED
from .call import CallResult, ViewResult
from .outcome import Arrived

if TYPE_CHECKING:
    from .contract import Link
    from .records import Records


class FetchedResult(CallResult):
    """The result of a task by its name, from the hub: it is there when the task has ended, whoever's it is."""

    def __init__(self, link: Link, owner: object, msg_id: str, number: int) -> None:
        super().__init__(link, owner)
        self._msg_id = msg_id
        self._id = number
        self._record: dict[str, Any] = {}
        self._outcomes: list[_Outcome] = []

    def arrive(self, record: dict[str, Any]) -> None:
        """The hub's record of the task, which has ended, is here."""
        self._record = record
        self._name = record["name"]
        self._submitted = record["submitted"]
        self._printed = [
            (stream, record[key], record["engine_id"], None)
            for stream, key in ((1, "stdout"), (2, "stderr"))
            if record[key]
        ]
        self._outcomes = outcomes = [_Outcome(each, self._link.leases.take) for each in record["result"] or ()]
        failed = next((each for each in outcomes if each.status != codes.OK), None)
        outcome = failed or (outcomes[0] if outcomes else None)
        if outcome is None or any(each.payload is None for each in outcomes if each.status >= 0):
            self.fail(TaskAborted(f"{self._msg_id} has ended, and the hub no longer keeps its result"))
            return
        self.deliver(_Ended(record), outcome, outcome.engine)

    def _value(self) -> Any:
        record = self._record
        if record and record["kind"] & HOW >= EACH and self._outcome.status == codes.OK:
            return [
                Arrived(0, each.status, each.payload, 0.0, 0.0, 0.0, each.engine, 1).value() for each in self._outcomes
            ]
        return super()._value()

    def _unpack(self, payload: bytes) -> BaseException:
        from ..wire.remote import remote_error

        return remote_error(payload, self._engine, "apply")

    @property
    def metadata(self) -> dict[str, Any]:
        """A dict on the call: which engine ran it, when, and how it ended. Times are None while unknown."""
        return {**super().metadata, "msg_id": self._msg_id}

    @property
    def msg_ids(self) -> list[str]:
        """The name of the task."""
        return [self._msg_id]


class _Outcome:
    """One outcome of a record, as results take them."""

    def __init__(self, told: dict[str, Any], take: Take) -> None:
        self.status, self.item, self.engine = told["status"], told["item"], told["engine_id"]
        self.started, self.completed = told["started"] or 0.0, told["completed"] or 0.0
        self.detail = told["detail"]
        self.payload = received(told["payload"], take)  # its memory may be another client's by now


class _Ended:
    """What a result asks of its task, of one that is known from its record only."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.kind, self.payload, self.engine, self.excluded = record["kind"], b"", record["engine_id"], None


def fetch(link: Any, owner: object, msg_ids: Sequence[str]) -> list[FetchedResult]:
    """Results of tasks that the hub knows. Raises KeyError for a name that it does not."""
    told = link.control.ask_controller("status", {"ids": list(msg_ids)})
    if told["unknown"]:
        raise KeyError(f"no call {told['unknown'][0]!r} is known, here or to the hub")
    results = [FetchedResult(link, owner, name, link.task_id(name)) for name in msg_ids]

    def arrived(records: Any, error: str) -> None:
        for result in results:
            record = None if records is None else records.get(result._msg_id)
            if link.failure is not None:
                result.fail(link.failure)
            elif record is None:
                result.fail(
                    TaskAborted(f"the hub does not give the result of {result._msg_id}: {error or 'forgotten'}")
                )
            else:
                result.arrive(record)

    link.control.tell_when_ended(list(msg_ids), arrived)
    return results


def submit_again(link: Any, owner: object, records: Records, request: dict[str, Any]) -> ViewResult:
    """Submit a task that the hub told of, as a new one."""
    result = ViewResult(link, owner, records)
    function = Function(request["function"], request["blob"], request["name"])
    terms: dict[str, Any] = {"kind": request["kind"] & ~SHARED, "count": request["count"], "weight": request["weight"]}
    terms["remembered"] = True
    for name in ("retries", "limit", "policy"):
        if request[name]:
            terms[name] = request[name]
    if request["targets"] is not None:
        terms["targets"] = frozenset(request["targets"])
    link.send(result, function, request["payload"], link.form(terms))
    return result
