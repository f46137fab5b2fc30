"""What clients may ask of a controller, by name: about the engines here, about tasks of the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..core.lots import Rests
from ..core.state import ENDED, Task
from ..hub.records import PENDING, number_of
from ..wire.requests import SHIFT, Definition
from .doors import Door
from .left import BACK

if TYPE_CHECKING:
    from .controller import Controller

Reply = Callable[..., None]

#: What the store answers.
TO_STORE = frozenset({"history", "query", "records", "status", "purge", "purge_everything", "request"})
#: What a hub in a process of its own answers besides: that it has heard all that was said before.
TO_HUB = frozenset({"heard"})


class Questions:
    """Answers a question, or hands it to the hub. Called in the loop."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._began = monotonic()
        self._resumed: set[str] = set()  #: clients that have come back from the controller before this
        self._later: list[Callable[[], None]] = []  #: questions whose answers may be known later

    def __call__(self, door: Door, what: str, about: dict[str, Any], reply: Reply) -> None:
        """``reply`` gets the value, or None and an error in words."""
        if what in TO_STORE or what in TO_HUB:
            self._ask_store(what, about, reply)
            return
        if what == "records_when_ended":
            if self._controller.settings.schedulers > 1:  # the hub knows the tasks of all
                self._ask_store(what, about, reply)
            else:
                self._tell_records(about, reply)
            return
        answer = getattr(self, f"_on_{what}", None)
        if answer is None:
            reply(None, f"the controller knows no question {what!r}")
        else:
            reply(answer(door, about))

    def _tell_records(self, about: dict[str, Any], reply: Reply) -> None:
        """Tell the records of tasks when all have ended: those that the store takes for pending must be waited for."""
        ids = [str(id) for id in about["ids"]]
        watcher = self._controller.watcher
        wait = watcher.wait_for({number_of(id): id for id in ids})
        wait.then = lambda: self._ask_store("records", {"ids": ids}, reply)

        def told(value: Any, error: str | None = None) -> None:
            if not error and any(map(self._may_come, value["unknown"])):
                self._later.append(look)
            else:
                watcher.go_on(wait, [] if error else value["pending"])

        def look() -> None:
            self._ask_store("status", {"ids": ids}, told)

        look()

    def _may_come(self, id: str) -> bool:
        """May a task that nobody knows be one of a client that is still to come back?"""
        controller = self._controller
        recent = monotonic() < self._began + BACK and controller.station.lost_and_found.past.next
        return bool(recent) and id.rpartition("_")[0] not in self._resumed

    def look(self) -> None:
        """Some time has gone by, or a client has come back."""
        later, self._later = self._later, []
        for each in later:
            each()

    def _ask_store(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        station = self._controller.station

        def later(value: Any, error: str | None = None) -> None:
            station.order(lambda: reply(value, error))  # it may come from a thread of the store

        watcher = self._controller.watcher
        watcher.catch_up()  # the answer knows of all that was submitted, or has ended, before
        watcher.store.ask(what, about, later)

    def _on_queue_status(self, door: Door, about: dict[str, Any]) -> Any:
        status = self._controller.station.orders.status()
        names = {each.number: each.name for each in self._controller.clients}
        return [[key, value] for key, value in status.items()], names  # the keys of status are not all of one type

    def _on_sync(self, door: Door, about: dict[str, Any]) -> Any:
        """All that was said before has been heard, and done: also what it has brought is on its way before the answer.
        What has not come back by now, to go to another scheduler, stays here."""
        self._controller.watcher.stay(door)
        door.flush()

    def _on_leaving(self, door: Door, about: dict[str, Any]) -> Any:
        """This client is about to leave for good, and what it has here is to go on, also with the next controller."""
        self._controller.clients.keep(door, True)

    def _on_unmet(self, door: Door, about: dict[str, Any]) -> Any:
        self._controller.watcher.unmet([id for id in _ints(about["ids"]) if id >> SHIFT == door.number])

    def _on_greet(self, door: Door, about: dict[str, Any]) -> Any:
        function = Definition(bytes(about["key"]), bytes(about["blob"]), str(about["name"]))
        self._controller.station.greet(door, function, bytes(about["payload"]), bool(about["again"]))

    def _on_resumed(self, door: Door, about: dict[str, Any]) -> Any:
        """A client of the controller before this has submitted again all that it still waits for. What the store
        takes for pending besides has ended, and nobody has written down how."""
        self._resumed.add(door.name)
        self._controller.station.lost_and_found.drop(door.number)
        self.look()
        if self._controller.settings.schedulers == 1:  # else what is pending may be with another one
            self._end_unheard(door, {})

    def _on_under_way(self, door: Door, about: dict[str, Any]) -> Any:
        """These are all items of a client's tasks that are under way with any scheduler."""
        elsewhere: Rests = {}
        for id, first, end in about["rests"]:
            elsewhere[id] = *elsewhere.get(id, ()), (first, end)
        self._end_unheard(door, elsewhere)

    def _end_unheard(self, door: Door, elsewhere: Rests) -> None:
        """What the store takes for pending, and is not here or ``elsewhere``, has ended with the controller before."""
        query = {"client": door.name, "status": PENDING, "submitted": {"$lt": self._controller.started}}
        watcher = self._controller.watcher
        here = watcher.rests(door)  # now: what has ended when the answer comes, has ended here

        def alive(number: int) -> tuple[tuple[int, int], ...]:
            return here.get(number, ()) + elsewhere.get(number, ())

        def told(value: Any, error: str | None = None) -> None:
            records = [] if error else value
            names = [each["msg_id"] for each in records if each["items"] > 1 or not alive(number_of(each["msg_id"]))]
            if names:
                self._ask_store("records", {"ids": names}, end)

        def end(value: Any, error: str | None = None) -> None:
            for name, record in (value or {}).items():
                ended = {outcome["item"] for outcome in record["result"]}
                ranges = alive(number := number_of(name))
                items = [item for item in range(record["count"]) if item not in ended]
                items = [item for item in items if not any(first <= item < end for first, end in ranges)]
                watcher.end_unheard(Task(number, door=door, count=record["count"], state=ENDED), items)

        self._ask_store("query", {"query": query, "keys": ["items"]}, told)

    def _on_interrupt(self, door: Door, about: dict[str, Any]) -> Any:
        self._controller.station.orders.interrupt(_ints(about["ids"]))

    def _on_retire(self, door: Door, about: dict[str, Any]) -> Any:
        self._controller.station.retire(_ints(about["ids"]))

    def _on_over(self, door: Door, about: dict[str, Any]) -> Any:
        self._controller.end(f"client {door.name} has asked for it")

    def _on_cluster_status(self, door: Door, about: dict[str, Any]) -> Any:
        controller = self._controller
        station, clients = controller.station, controller.clients
        controller.watcher.catch_up()
        load = {id: value for id, value in station.orders.status().items() if isinstance(id, int)}
        return {
            "version": __version__,
            "pid": controller.pid,
            "hostname": controller.hostname,
            "profile": controller.settings.profile,
            "cluster_id": controller.settings.cluster_id,
            "instance": controller.instance,
            "started": controller.started,
            "engines": [
                {
                    "id": each.id,
                    "uid": each.uid,
                    "pid": each.pid,
                    "hostname": each.hostname,
                    "tasks": len(load[each.id]["tasks"]),
                    "queue": len(load[each.id]["queue"]),
                    "completed": load[each.id]["completed"],
                }
                for each in station.fellows()
            ],
            "clients": [
                {"name": each.name, "here": each.here, "facts": each.facts, "keep": each.keep} for each in clients
            ],
            "tasks": len(station.scheduler.tasks),
            "hub": controller.watcher.store.status(),
            "malformed": {"clients": clients.malformed, "engines": station.malformed, "keys": station.ports.refused()},
            "journal": controller.journal.failed,
        }


def _ints(given: Iterable[Any]) -> list[int]:
    return [each for each in given if isinstance(each, int)]
