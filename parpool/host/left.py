"""What clients have left behind, over the end of a controller: it is taken from the store, where that outlives it.

Nobody submits the tasks of a client again that has left, or has died, and said that they were to go on. The journal
knows which clients these are, and a database what their tasks were.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..core.effects import Ending
from ..core.state import ENDED, Task
from ..hub.records import PENDING, number_of
from ..status import ABORTED, OK
from ..wire.requests import Definition
from .holdings import from_words
from .journal import Past

if TYPE_CHECKING:
    from .controller import Controller

log = logging.getLogger("parpool")

BACK = 60.0  #: seconds that clients have to come back to a controller that follows another one
AT_ONCE = 512  #: tasks that are asked for in one question
DEPENDS = "it depended on others, and the controller that knew how was killed"


class LeftBehind:
    """Has tasks go on whose clients will not come back."""

    def __init__(self, controller: Controller, past: Past) -> None:
        self._controller = controller
        self._until = monotonic() + BACK
        self._several = controller.settings.schedulers > 1
        self._held = {number: from_words(words) for number, words in past.held.items()} if self._several else {}
        self._later = {number: name for number, (name, left) in past.kept.items() if not left}
        for number, (name, left) in past.kept.items():
            if left:
                self._fetch(number, name, True)

    def look(self) -> None:
        """Some time has gone by."""
        if self._later and monotonic() > self._until:
            later, self._later = self._later, {}
            clients = self._controller.clients.by_address
            for number, name in later.items():
                known = clients.get(name.encode())
                if known is None or not known.here:
                    self._fetch(number, name, False)

    def _ask(self, what: str, about: dict[str, Any], then: Callable[[Any], None]) -> None:
        station = self._controller.station

        def told(value: Any, error: str | None = None) -> None:
            if error:
                log.warning("what clients have left behind cannot be found: %s", error)
            else:
                station.order(lambda: then(value))  # it comes from a thread of the store

        self._controller.watcher.store.ask(what, about, told)

    def _fetch(self, number: int, name: str, left: bool) -> None:
        """Look for what a client has left."""

        def found(records: list[dict[str, Any]]) -> None:
            if self._several:  # what is pending may be with others
                here = self._held.get(number, {})
                records = [each for each in records if number_of(each["msg_id"]) in here]
            if not records:
                self._controller.journal.back(number)
                return
            log.info("client %s has left %d tasks behind", name, len(records))
            for start in range(0, len(records), AT_ONCE):
                some = {each["msg_id"]: each for each in records[start : start + AT_ONCE]}
                self._ask("unfinished", {"ids": list(some)}, lambda tasks, some=some: submit(tasks, some))  # type: ignore[misc]

        def submit(requests: list[dict[str, Any]], records: dict[str, dict[str, Any]]) -> None:
            self._submit(number, name, left, requests, records)

        query = {"client": name, "status": PENDING, "submitted": {"$lt": self._controller.started}}
        self._ask("query", {"query": query, "keys": ["after", "follow", "result"]}, found)

    def _submit(
        self, number: int, name: str, left: bool, requests: list[dict[str, Any]], records: dict[str, dict[str, Any]]
    ) -> None:
        clients, station = self._controller.clients, self._controller.station
        known = clients.by_address.get(name.encode())
        if known is not None and known.here:
            return  # it is back, and has said so itself
        door = known or clients.absent(number, name, left)
        if door is None:
            return
        tasks: list[Task] = []
        for id, each, items in self._parts(number, requests):
            record = records[each["msg_id"]]
            if record["after"] or record["follow"]:
                ending = Ending(ABORTED, 0, None, DEPENDS)
                station.deeds.on_delivered([(Task(id, door=door, state=ENDED), ending, None)])
                continue
            definition = Definition(each["function"], each["blob"], each["name"])
            door.functions[definition.key] = definition.key
            station.learn(definition)
            tasks.append(task := Task(id, definition.key, each["payload"], door, remembered=True))
            for field in ("kind", "count", "weight", "retries", "limit", "policy"):
                if each[field] != getattr(task, field):
                    setattr(task, field, each[field])
            if each["targets"] is not None:
                task.targets = frozenset(each["targets"])
            if id != (whole := number_of(each["msg_id"])):
                task.part_of = whole
            ended = {outcome["item"] for outcome in record["result"]}
            if items is not None:
                ended |= set(range(task.count)) - items
            task.failed = any(outcome["status"] != OK for outcome in record["result"])
            while task.first in ended:
                task.first += 1
            if rest := frozenset(item for item in ended if item > task.first):
                vars(task)["ended"] = rest
        station.take(door, [task for task in tasks if task.first < task.count], True)

    def _parts(
        self, number: int, requests: list[dict[str, Any]]
    ) -> Iterator[tuple[int, dict[str, Any], frozenset[int] | None]]:
        """What of these is to go on here: by which ids, and which items."""
        for each in requests:
            known_as = number_of(each["msg_id"])
            if not self._several:
                yield known_as, each, None
                continue
            for id, _, items in self._held.get(number, {}).get(known_as, ()):
                yield id, each, items
