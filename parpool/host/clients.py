"""The clients of a controller: who they are, and what they ask."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from .. import __version__
from ..wire import requests
from ..wire.messages import PROTOCOL, MalformedFrame, encode
from ..wire.requests import (
    CLIENTS,
    SHIFT,
    Abort,
    Answer,
    Ask,
    ClientHello,
    Forget,
    Got,
    Leave,
    Over,
    Refused,
    Submit,
    Welcome,
    Who,
)
from .doors import Door
from .forms import Forms, Unacceptable
from .station import Station

log = logging.getLogger("parpool")

ASK_EVERY = 1.0  #: seconds
LOST_KEPT = 64  #: clients that were lost and are still known


class Clients:
    """Takes in what clients send, and has a door for each."""

    def __init__(
        self, station: Station, instance: str, keep: bool, draw: Callable[[int], int], questions: Questions
    ) -> None:
        self._station = station
        self._instance = instance
        self._keep = keep
        self._draw = draw  #: a random number below its argument
        self._questions = questions
        self.by_address: dict[bytes, Door] = {}
        self._numbers: dict[int, Door] = {}
        self._forms = Forms()
        self._asked: set[bytes] = set()  #: who was asked to say hello, a moment ago
        self._asked_until = 0.0
        self.malformed = 0  #: messages dropped because they were not of the schema

    def __iter__(self) -> Iterator[Door]:
        return iter(self.by_address.values())

    def heed(self, address: bytes, frames: list[bytes]) -> None:
        """React to a message of a client."""
        try:
            message = requests.from_client(frames[0] if frames else b"")
            door = self.by_address.get(address)
            if isinstance(message, ClientHello):
                self._welcome(address, message)
            elif door is None or (not door.here and not isinstance(message, (Got, Leave))):
                self._ask_who(address)
            elif len(frames) < 2:
                raise Unacceptable("it has no stamp")
            elif self._is_next(door, frames.pop()):
                self._obey(door, message, frames)
        except (MalformedFrame, Unacceptable) as error:
            self.malformed += 1
            log.warning("dropped a malformed message of client %r: %s", address[:40], error)

    def _ask_who(self, address: bytes) -> None:
        """Have a client say hello; not for each of the messages that it has sent before it can hear that."""
        now = monotonic()
        if now > self._asked_until:
            self._asked.clear()
            self._asked_until = now + ASK_EVERY
        if address not in self._asked:
            self._asked.add(address)
            self._send(address, Who())

    def _is_next(self, door: Door, frame: bytes) -> bool:
        """Is this the next message of a client? Where one was lost, it will say hello again."""
        stamp = requests.to_stamp(frame)
        if stamp.turn != door.turn or stamp.number != door.heard + 1:
            if stamp.turn == door.turn:
                self._ask_who(door.address)
            return False
        door.heard += 1
        return True

    def _obey(self, door: Door, message: requests.FromClient, frames: list[bytes]) -> None:
        station = self._station
        if isinstance(message, Submit):
            self._submit(door, message, frames)
        elif isinstance(message, Got):
            door.got(message.number)
        elif isinstance(message, Abort):
            ids = list(filter(_is_of(door), message.ids))
            station.on_moving(ids, message.elsewhere)
            station.perform(station.scheduler.abort(ids, monotonic()))
        elif isinstance(message, Forget):
            self._forget(door, message.keys)
        elif isinstance(message, Ask):
            self._answer(door, message)
        elif isinstance(message, Leave):
            self._leave(door, message.keep)

    # -- coming and going -------------------------------------------------------------------------------------

    def _welcome(self, address: bytes, hello: ClientHello) -> None:
        if hello.protocol != PROTOCOL:
            reason = (
                f"this client speaks protocol {hello.protocol} (parpool {hello.version}), "
                f"the controller speaks {PROTOCOL} (parpool {__version__})"
            )
            log.error("refused client %r: %s", address[:40], reason)
            self._send(address, Refused(reason))
            return
        if hello.name.encode() != address or not hello.name:
            raise Unacceptable("it says another name than its socket's")
        door = self.by_address.get(address)
        again = door is not None and hello.instance == self._instance
        if door is not None:
            door.flush()
            door.got(hello.got if again else 0)
        if door is None:
            door = self._admit(hello)
            if door is None:
                self._send(address, Refused("another client has its number: connect anew"))
                return
        door.facts = hello.facts
        door.keep = self._keep if hello.keep is None else hello.keep
        door.here = True
        if door.keep:  # it may die, and this controller before it can notice
            self._station.journal.kept(door.number, door.name, False)
        else:
            self._station.journal.back(door.number)
        self._station.away.pop(address, None)
        self._station.pulse.watch(address)
        door.turn, door.heard = hello.turn, 0
        self._asked.discard(address)
        about = door.number, self._instance, again, self._station.fellows(), door.next, hello.turn, door.keep
        self._send(address, Welcome(*about))
        door.again()

    def _admit(self, hello: ClientHello) -> Door | None:
        """A door for a new client; None where it has the number of another one."""
        number = hello.number if 0 < hello.number < CLIENTS else 0
        while not number or number in self._numbers:
            if number and hello.number == number:
                return None
            number = self._draw(CLIENTS)
        door = Door(hello.name, number, self._station.hall)
        self.by_address[door.address] = self._numbers[number] = door
        log.info("client %s has come", hello.name)
        return door

    def lost(self, address: bytes) -> None:
        """Nothing was heard of a client for too long."""
        door = self.by_address.get(address)
        if door is None or not door.here:
            return
        log.warning("client %s is lost; its tasks %s", door.name, "go on" if door.keep else "are dropped")
        door.here = False
        self._station.away[address] = None
        if not door.keep:
            self._drop_tasks(door)
        else:
            self.keep(door, False)
        gone = [each for each in self if not each.here]
        for each in gone[: max(0, len(gone) - LOST_KEPT)]:
            self._remove(each)

    def _leave(self, door: Door, keep: bool | None) -> None:
        log.info("client %s has left", door.name)
        door.close()
        if not (door.keep if keep is None else keep):
            self._drop_tasks(door)
            self._station.journal.back(door.number)
        elif any(task.door is door for task in self._station.scheduler.tasks.values()):
            self.keep(door, True)
        else:
            self._station.journal.back(door.number)
        self._remove(door)

    def keep(self, door: Door, left: bool) -> None:
        """What this client has here goes on without it, also with the controller that may follow this one. ``left``:
        it does not come back."""
        door.keep = True
        self._station.journal.kept(door.number, door.name, left, self._station.on_kept(door))

    def absent(self, number: int, name: str, left: bool) -> Door | None:
        """A door for a client of the time before that is not here, for what it has left; None where it is here."""
        door = Door(name, number, self._station.hall)
        if left:
            door.close()
        elif number in self._numbers or door.address in self.by_address:
            return None
        else:
            door.here, door.keep = False, True
            self.by_address[door.address] = self._numbers[number] = door
            self._station.away[door.address] = None
        return door

    def _drop_tasks(self, door: Door) -> None:
        scheduler = self._station.scheduler
        ids = [id for id, task in scheduler.tasks.items() if task.door is door]
        self._station.on_moving(ids, False)
        self._station.perform(scheduler.condemn(ids, monotonic()))  # in slices, as others wait meanwhile

    def _remove(self, door: Door) -> None:
        door.close()
        self._station.pulse.forget(door.address)
        self._station.away.pop(door.address, None)
        del self.by_address[door.address], self._numbers[door.number]
        self._forget(door, list(door.functions))

    def _forget(self, door: Door, keys: list[bytes]) -> None:
        for key in keys:
            door.functions.pop(key, None)
        self._station.forget([key for key in keys if not any(key in each.functions for each in self)])

    def say_over(self, reason: str) -> None:
        """The controller ends for good."""
        for door in self:
            self._send(door.address, Over(reason))

    def tell(self, message: Any) -> None:
        """Send a message to all clients."""
        header = encode(message)
        for door in self:
            if door.here:
                self._station.to_client(door.address, header)

    def _send(self, address: bytes, message: Any) -> None:
        self._station.to_client(address, encode(message))

    # -- tasks ------------------------------------------------------------------------------------------------

    def _submit(self, door: Door, message: Submit, frames: list[bytes]) -> None:
        for each in message.functions:
            door.functions[each.key] = each.key
            self._station.learn(each)
        tasks = self._forms.tasks(message, frames, door.number, door.functions, door)
        for end in message.ends:
            self._station.scheduler.recall(*end)
        if tasks:
            self._station.take(door, tasks, message.again)

    # -- questions --------------------------------------------------------------------------------------------

    def _answer(self, door: Door, ask: Ask) -> None:
        """Have a question answered: now or later, in the loop."""

        def reply(value: Any, error: str | None = None) -> None:
            try:
                header = encode(Answer(ask.number, error or "", value))
            except Exception as problem:
                header = encode(Answer(ask.number, f"the answer cannot be sent: {problem}", None))
            self._station.to_client(door.address, header)

        try:
            self._questions(door, ask.what, ask.about, reply)
        except Exception as error:
            log.exception("the question %r of client %s", ask.what, door.name)
            reply(None, f"{type(error).__name__}: {error}")


#: Answers a question: who asks, what, about what, and where the answer goes.
Questions = Callable[[Door, str, dict[str, Any], Callable[..., None]], None]


def _is_of(door: Door) -> Callable[[int], bool]:
    return lambda id: id >> SHIFT == door.number
