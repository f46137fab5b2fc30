"""What stands, in a client, for a controller with several schedulers: a far host for each, driven as one.

A task goes to one of them, and stays there. Most can go to any, and go where there is the least to do. One that depends
on others goes where those are; where they lie with several schedulers, or are not with any yet, it waits here, by the
rules of the scheduler (it is the same graph), and goes with word of how those ended.

Number 0 is the cluster's: it gives the client its number, answers for the hub, and when it is gone for good so is the
cluster. When another one is, what it had ends in ControllerLost, and the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from ..core.lots import Lot, rests
from ..core.state import Task
from ..errors import ControllerLost
from ..net.sockets import Poller
from ..status import ABORTED
from ..wire.functions import Function
from ..wire.requests import Fellow
from . import rounds
from .asked import Reply
from .dealing import Dealing
from .far import LOOK_EVERY, Far
from .line import Ready
from .near import NearFar
from .orders import end
from .rounds import Round

#: Questions that the hub answers.
OF_HUB = frozenset(
    {"history", "query", "records", "records_when_ended", "status", "purge", "purge_everything", "request"}
)


class Fan:
    """The far hosts of ``connection``, which has several. Used as a :class:`~parpool.client.far.Far` is."""

    def __init__(self, connection: Any, patience: float, keep: bool | None) -> None:
        self.asleep = False
        self.nudged = False
        self.keep = keep
        self._dealing = Dealing(connection.schedulers)
        self.known = self._dealing.known
        self.engines: dict[int, Fellow] = {}
        self.names: dict[int, str] = {}  #: of clients, by their numbers, as far as they are known
        self.on_change: Callable[[], None] = lambda: None
        self.on_lost: Callable[[BaseException], None] = lambda error: None
        self.on_drained: Callable[[], None] = lambda: None
        self.busy: Callable[[], bool] = lambda: False
        self._draining = False
        self._failure: BaseException | None = None
        self._handed_in: deque[Task | Callable[[], None]] = deque()
        self._let_in: set[int] = set()  #: schedulers that have welcomed the client once
        self.fars = self._dealing.fars
        try:
            for number in range(connection.schedulers):
                self._begin(connection.of(number), patience, number)
        except BaseException:
            self.close(False)
            raise
        self.name, self.paces = self.fars[0].name, self.fars[0].paces
        self.line = _Lines(self.fars)
        self._poller = Poller()
        self._owners: dict[Any, int] = {}  #: of what is polled
        for number, far in enumerate(self.fars):
            for source in far.line.sources:
                self._poller.add(source)
                self._owners[source if isinstance(source, int) else source.socket] = number

    def _begin(self, connection: Any, patience: float, number: int) -> None:
        if not number:
            far = NearFar(connection, patience, self.keep, ends=self._dealing.ends)
        else:
            # Less, so that a client can connect though one of them does not come back.
            far = NearFar(connection, patience / 2, self.keep, name=self.fars[0].name, ends=self._dealing.ends)
        self.fars.append(far)
        self._dealing.lots.append(Lot(far.tasks))
        far.paces = self.fars[0].paces
        far.on_change = self._look
        far.back = partial(self._dealing.come_back, number)
        far.on_lost = partial(self._lose_one, number)
        far.on_another = partial(self._meet_another, number)

    # -- from any thread --------------------------------------------------------------------------------------

    def submit(self, task: Task) -> None:
        """Hand in a task; the next step sends it, or lets it wait."""
        self._handed_in.append(task)
        if self.asleep:
            self.wake()

    def define(self, function: Function) -> None:
        """A function that tasks will name."""
        self._dealing.define(function)

    def drain(self) -> None:
        """Have :attr:`on_drained` called when all that was submitted has ended."""
        self._draining = True

    def abort(self, ids: list[int]) -> None:
        """Take back tasks that have not begun."""
        self._hand_in(lambda: self._dealing.abort(ids))

    def ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        """Ask the cluster; ``reply`` is called in the loop, with the value, or with None and an error in words."""
        self._hand_in(lambda: self._ask(what, about, reply))

    def greet(self, function: Function, payload: bytes) -> None:
        """Have every engine call this before all that is submitted from here on, also those that join later."""

        def greet() -> None:
            for far in self.fars:
                far.greet(function, payload)

        self._hand_in(greet)

    def _hand_in(self, each: Callable[[], None]) -> None:
        self._handed_in.append(each)
        if self.asleep:
            self.wake()

    def wake(self) -> None:
        """End the sleep of a step in another thread."""
        self.fars[0].wake()

    def outstanding(self) -> bool:
        """Is anything under way that will need another step?"""
        waiting = self._handed_in or self._dealing or self._draining
        return bool(waiting) or any(far.outstanding() for far in self.fars)

    def alarms(self) -> list[int]:
        """File descriptors that become readable when a step is needed though nothing is outstanding."""
        return []

    @property
    def alarm_interval(self) -> float | None:
        """Seconds between looks at what has arrived unasked."""
        return LOOK_EVERY

    # -- the loop ---------------------------------------------------------------------------------------------

    def step(self, timeout: float | None) -> None:
        """One round: send what was handed in, wait for something to arrive, take it in."""
        if self._handed_in or self._dealing:
            self._hand_out()
        for far in self.fars:
            far.before(None)  # what is there is told by what was sent
        self._dealing.even_out(self._met())
        for far in self.fars:
            timeout = far.before(timeout)
        for due in self._dealing.due:
            left = max(0.0, due - monotonic())
            timeout = left if timeout is None else min(left, timeout)
        try:
            self.asleep = True
            if self._handed_in or self.nudged or (self._draining and not self._under_way()):
                timeout = 0
            ready = self._poller.poll(timeout)
        finally:
            self.asleep = False
        parts: list[Ready] = [[] for _ in self.fars]
        for each in ready:
            parts[self._owners[each[0]]].append(each)
        for far, part in zip(self.fars, parts, strict=True):
            far.after(part)
        if self._handed_in or self._dealing:
            self._hand_out()
        for far in self.fars:
            far.before(None)
        if self._draining and not self._under_way() and not self._handed_in and not self.busy():
            self._draining = False
            self.on_drained()
        self.nudged = False

    def _under_way(self) -> bool:
        return bool(self._dealing) or any(far.under_way for far in self.fars)

    def _hand_out(self) -> None:
        """Give what was handed in to the far hosts, in the order in which it was, and what waits no longer."""
        self._dealing.weigh()
        while self._handed_in:
            each = self._handed_in.popleft()
            if not isinstance(each, Task):
                each()
            elif self._failure is not None:
                end(each, ABORTED, self._failure, self._dealing.ends)
            else:
                self._dealing.place(each)
        self._dealing.go_on()
        self._dealing.forget()

    # -- questions --------------------------------------------------------------------------------------------

    def _ask(self, what: str, about: dict[str, Any], reply: Reply) -> None:
        here: dict[int, Far] = {number: far for number, far in enumerate(self.fars) if not far.lost}
        if what in ("interrupt", "retire"):
            ids = {number: [id for id in about["ids"] if self._dealing.shares.of(id) == number] for number in here}
            those = {number: here[number] for number in here if ids[number]}
            Round(those, lambda found, error: reply(None, error)).ask(
                what, {number: {"ids": ids[number]} for number in those}, each=True
            )
        elif what == "sync":
            self._dealing.come_to_rest(here, lambda error: reply(None, error))
        elif what == "leaving":
            Round(here, lambda found, error: reply(None, error)).ask(what, about)
        elif what in ("queue_status", "cluster_status"):
            if what == "cluster_status":  # which is to tell of those, too, that are not there
                here = {**self._met(), 0: self.fars[0]}
            Round(here, partial(self._answer, what, reply)).ask(what, about)
        elif what in OF_HUB:
            # It must know what was said to the others: they have told it all when an answer has come by their way.
            others = {number: far for number, far in self._met().items() if number}
            Round(others, lambda found, error: self.fars[0].ask(what, about, reply)).ask("heard", {})
        else:
            self.fars[0].ask(what, about, reply)

    def _met(self) -> dict[int, Far]:
        """Those that are there."""
        fars = enumerate(self.fars)
        return {number: far for number, far in fars if far.met and not far.lost and far.line.left() is None}

    def _answer(self, what: str, reply: Reply, found: dict[int, Any], error: str) -> None:
        there = {number: value for number, value in found.items() if value is not None}
        if 0 not in there:
            reply(None, error)
        elif what == "queue_status":
            reply(rounds.queue_status(there, len(self._dealing)), "")
        else:
            reply(rounds.cluster_status(there, [each for each in range(len(self.fars)) if each not in there]), "")

    # -- the connections --------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """The client's number; 0: it has not been let in everywhere yet."""
        there = len(self._let_in | self._dealing.shares.gone) == len(self.fars)
        return self.fars[0].number if there else 0

    def _look(self) -> None:
        """Something has changed at one of them."""
        first = self.fars[0]
        for number, far in enumerate(self.fars):
            if far.met:
                self._let_in.add(number)
            if number and first.number and not far.number:
                far.introduce(first.number)
        self.engines = {id: each for far in self.fars for id, each in far.engines.items()}
        self._dealing.serve(self.engines)
        self.on_change()

    def _meet_another(self, number: int) -> None:
        """A scheduler was killed, and another one has come in its place. The first may have ended tasks that the hub takes
        for pending still, and will for ever, as nobody there can know what other schedulers have. Here that is known."""
        left = rests(self._dealing.all_tasks())
        about = {"rests": [[id, *each] for id, ranges in left.items() for each in ranges]}
        others = {each: far for each, far in self._met().items() if each != number}

        def ask(found: Any, error: str) -> None:
            if not error:  # what others have ended before, the hub knows
                self.fars[number].ask("under_way", about, lambda value, error: None)

        Round(others, ask).ask("heard", {})

    def _lose_one(self, number: int, error: BaseException) -> None:
        left = self.fars[number].line.left()
        if number and self._failure is None and isinstance(error, ControllerLost) and left is not None and left <= 0:
            self._dealing.shares.gone.add(number)  # it has not come back; whatever else it was is told by all
            return
        if self._failure is None:
            self._failure = error
            for far in self.fars:
                far.lose(error)
            self.on_lost(error)
            self._dealing.fail(error)

    @property
    def lost(self) -> bool:
        """Is the cluster gone for good?"""
        return self._failure is not None

    def abandon(self, error: BaseException) -> None:
        """Nobody drives any more: end what is under way."""
        self._lose_one(0, error)
        self._hand_out()
        for far in reversed(self.fars):  # what the others do not answer may be a question for the first
            far.abandon(error)
        self._dealing.fail(error)

    def close(self, keep: bool | None) -> None:
        """Take leave, as a far host does. (Nobody drives any more.)"""
        if keep is not False and self._failure is None:
            self._hand_out()
        for far in self.fars:
            far.close(keep)


class _Lines:
    """What a client asks of its line, for all of them."""

    def __init__(self, fars: Sequence[Far]) -> None:
        self._fars = fars

    @property
    def patience(self) -> float:
        """Seconds that a scheduler has to come back when it is lost."""
        return self._fars[0].line.patience

    @patience.setter
    def patience(self, seconds: float) -> None:
        for far in self._fars:
            far.line.patience = seconds

    def lost(self) -> ControllerLost:
        """The error for one that has not come."""
        return next((far for far in self._fars if not far.met), self._fars[0]).line.lost()
