"""What the hub remembers of a task, and the contract of every store.

A *record* is a dict: what is known of one task as it was submitted, with all its items and whatever parts it was cut
into. Its keys are :data:`KEYS`; those of :data:`BODIES` are the pickles themselves, kept apart and given only to whom
asks for them. All values can be packed by msgpack. Times are seconds since the epoch, or None while unknown.

The host tells a store what the scheduler took in and delivered, and the store keeps *references* to it: a list that
was handed in must not be changed afterwards. Records are made from that when they are asked for, or by a thread of the
store. Nothing here ever opens a pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from .. import status as codes
from ..core.effects import Ending, Report
from ..core.state import Dependency, Task


def number_of(msg_id: str) -> int:
    """The number by which a scheduler knows a task, of its name."""
    return int(msg_id.rpartition("_")[2])


KEYS = (
    "msg_id",
    "client",  # uuid of the client that submitted it
    "name",  # of the function
    "submitted",
    "started",
    "completed",
    "received",  # when its last outcome came in
    "engine_id",  # where that one came from
    "engine_uuid",
    "status",  # PENDING, or a word for how it ended: for a map that of the first item that did not end well
    "after",  # msg_ids
    "follow",
    "retries",
    "items",
    "targets",  # ids of the engines that might run it; None: any
    "stdout",
    "stderr",
    "size_in",  # bytes of its arguments
    "size_out",  # bytes of its results
)
#: ``request``: its pickled arguments. ``result``: a dict for each outcome, in the order of the items, see
#: :func:`outcome`. None stands for a pickle that is no longer kept.
BODIES = ("request", "result")

PENDING = "pending"
WORDS = {
    codes.OK: "ok",
    codes.ERROR: "error",
    codes.UNMET: "unmet",
    codes.OVERTIME: "timeout",
    codes.LOST: "lost",
    codes.ABORTED: "aborted",
    codes.KILLED: "timeout",
    codes.IMPOSSIBLE: "impossible",
    codes.EXPIRED: "expired",
}

#: Characters that are kept of what one task prints, to each stream: the first.
ROOM = {1: 2**20, 2: 2**20}
CUT = "\n[the hub keeps no more of this]\n"

Delivery: TypeAlias = "tuple[Task, Report | Ending, int | None]"  #: as in :class:`~parpool.core.effects.Effects`
Reply: TypeAlias = Callable[[Any, "str | None"], None]


class Unanswerable(Exception):
    """A question that has no answer. The text says why, for the user."""


class Store(Protocol):
    """A memory of tasks. All but the replies are called in the thread of the host's loop, and none of it waits."""

    def submitted(self, tasks: Sequence[Task], now: float) -> None:
        """The scheduler was given these. ``task.door.name`` is the uuid of the client."""

    def named(self, key: bytes, blob: bytes, name: str) -> None:
        """A client has defined a function."""

    def ended(self, deliveries: Sequence[Delivery], now: float) -> None:
        """These outcomes were delivered."""

    def printed(self, task: Task, stream: int, text: str) -> None:
        """A task has written to a stream (1: stdout, 2: stderr)."""

    def engines(self, id: int, uid: str, facts: dict[str, Any], joined: bool, now: float) -> None:
        """An engine has joined, or is gone."""

    def ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        """Answer a question later, by ``reply(value, None)`` or ``reply(None, why not)``, from any thread.

        The answer knows all that was handed in before. A question, what it is about, and the answer:

        ``history``  {client: uuid}. The msg_ids in the order of submission, of one client or of all.

        ``query``  {query: {key: value or {operator: value}}, keys: [key]}. The records for which all of that holds, in
        the order of submission; with the ``keys`` alone, and their msg_id, where given. See ``queries.py``.

        ``records``  {ids}. A dict of records by msg_id, each with ``result``, and ``kind`` and ``count`` of the task.
        Ids that are not known are not in it.

        ``status``  {ids}. {pending: [msg_id], completed: [msg_id], unknown: [msg_id]}.

        ``request``  {ids}. For each id a dict of what it takes to submit that task again: ``msg_id, function`` (key),
        ``blob, name, payload, kind, count, weight, retries, limit, targets, policy``.

        ``unfinished``  {ids}. The same of those of them that are pending.

        ``purge``  {ids: [msg_id] or "all", targets: [engine id], clients: [uuid]}. Forgets the tasks for which all
        that is given holds; how many. Those that are pending are not forgotten: to name one is an error.

        ``purge_everything``  {}. Forgets all that have ended; how many.

        ``engines``  {}. A dict for each engine that has ever joined: ``engine_id, engine_uuid, facts, joined, left``.
        """

    def close(self) -> None:
        """Write what is left and end the threads. What is asked from here on is refused."""

    def status(self) -> dict[str, Any]:
        """``kind`` of store; how many ``records``, and ``bytes`` of bodies; how much was ``dropped`` because of a
        bound; ``errors``: the text of the last one that lasts or has cost records, or None; ``backlog``: how much waits to be written."""


# -- ids ----------------------------------------------------------------------------------------------------------


def name_of(client: str, number: int) -> str:
    """The msg_id of a task."""
    return f"{client}_{number}"


def parse_id(msg_id: str) -> tuple[str, int] | None:
    """The client and the number of a task; None where this is no msg_id."""
    client, _, number = msg_id.rpartition("_")
    if not client or not number.isdecimal() or not number.isascii() or len(number) > 19 or int(number) >> 63:
        return None
    return client, int(number)


def in_short(ids: Sequence[str], most: int = 5) -> str:
    """Some of many ids, for a message."""
    more = len(ids) - most
    return ", ".join(ids[:most]) + (f" and {more} more" if more > 0 else "")


# -- what a task prints -------------------------------------------------------------------------------------------


def fit(room: dict[int, int], stream: int, text: str) -> str:
    """What of a text there is room for. The first that does not fit ends with a note, and after that nothing does."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    left = room.get(stream, -1)
    if len(text) <= left:
        room[stream] = left - len(text)
        return text
    room[stream] = -1
    return text[:left] + CUT if left >= 0 else ""


def text_of(value: object) -> str:
    """A text that every database takes, and every message."""
    text = str(value)
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


# -- from a task to its record ------------------------------------------------------------------------------------


def waits_for(dependency: Dependency | None) -> list[int]:
    """The numbers of the tasks that one depends on."""
    return [] if dependency is None else sorted(dependency.ids)


def outcome(
    item: int,
    status: int,
    engine: int | None,
    uid: str | None,
    started: float | None,
    completed: float | None,
    received: float,
    payload: Any,
    detail: str | None,
) -> dict[str, Any]:
    """One outcome in a ``result``. ``status`` is a code; below zero there is a ``detail`` and no payload."""
    return {
        "item": item,
        "status": status,
        "engine_id": engine,
        "engine_uuid": uid,
        "started": started or None,
        "completed": completed or None,
        "received": received,
        "payload": payload,
        "detail": detail,
    }
