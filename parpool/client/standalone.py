"""A client's way to a controller in another process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from ..errors import ControllerLost, ParpoolError
from ..net.address import Source, connection_from
from ..net.loop import Baton
from ..wire.functions import Function, FunctionBook
from ..wire.messages import EACH
from ..wire.requests import MOST_ITEMS, SHIFT
from . import forked, leaving
from .contract import Terms
from .fan import Fan
from .far import Far
from .link import BaseLink
from .near import ClusterStore, NearFar
from .waits import Errand, Gathering

PATIENCE = 60.0  #: seconds that a lost controller has to come back
AT_EXIT = 1.0  #: seconds that taking leave may take when the interpreter ends


class RemoteLink(BaseLink):
    """A connection to the controller that ``source`` tells of.

    Raises ConnectionFileError, AuthenticationError, ProtocolError, or ControllerLost where nobody answers within
    ``timeout`` seconds. ``ending``: what calls fail with that have not ended when this is closed.
    """

    _host: Far | Fan
    _store: ClusterStore | None = None

    def __init__(
        self,
        source: Source,
        *,
        timeout: float = 10.0,
        patience: float = PATIENCE,
        serializer: str = "cloudpickle",
        keep: bool | None = None,
        ending: Exception | None = None,
    ) -> None:
        super().__init__(FunctionBook(serializer, shared=False))
        self.connection = connection_from(source, "client")
        kind = NearFar if self.connection.schedulers == 1 else Fan
        self._host = far = kind(self.connection, timeout, keep)
        self._name = far.name
        far.on_lost = self._lose
        far.busy = lambda: bool(self.readers)
        self._drained = Errand()
        far.on_drained = self._drained.finish
        self._ending_error = ending
        forked.here(self)
        leaving.at_exit(self)
        try:
            baton = Baton(far)
            self._attach(far, baton)
            self.control = RemoteControl(far, baton, self.check)
            self._store = ClusterStore(far, far.fars if isinstance(far, Fan) else [far], baton, self.leases)
            try:
                baton.start()
            except BaseException:
                baton.discard()
                raise
        except BaseException:
            far.close(False)
            raise
        try:
            self.control.wait_for_welcome(timeout)
        except BaseException:
            self.terminate()
            raise
        far.line.patience = patience
        self._next_id = itertools.count((far.number << SHIFT) + 1).__next__

    @property
    def patience(self) -> float:
        """Seconds that a lost controller has to come back."""
        return self._host.line.patience

    @property
    def serializer(self) -> str:
        """How what goes by value goes."""
        return self._book.serializer

    def _lose(self, error: BaseException) -> None:
        self.failure = error

    def pace(self, key: bytes) -> float | None:
        """Mean seconds of a call of a function so far; None where it was never timed."""
        pace = self._host.paces.get(key)
        return None if pace is None else pace.mean

    def send_chunk(
        self, function: Function, payload: bytes, kind: int, size: int, start: int, door: Any, terms: Terms
    ) -> int:
        """Submit a chunk of a map. Raises ValueError for one that is too long for a controller."""
        if size > MOST_ITEMS and kind >= EACH:
            raise ValueError(f"a chunk of {size} items is too long: the chunksize may be {MOST_ITEMS} at the most")
        return super().send_chunk(function, payload, kind, size, start, door, terms)

    def abort(self, ids: Sequence[int]) -> None:
        """Take back tasks that have not begun."""
        self.check_process()
        if not self._closed and ids:
            self._host.abort(list(ids))
            self._baton.tend()

    def drain(self) -> None:
        """Take nothing more; :meth:`join` waits for the rest."""
        self.check_process()
        self._draining = True
        if not self._closed:
            self._host.drain()
            self._host.wake()
            self._baton.tend()

    def join(self) -> None:
        """Wait for the end of all that was submitted, as :meth:`drain` has asked for, and leave."""
        self.check_process()
        if not self._closed:
            self._baton.wait(self._drained)
            self._callbacks.finish()
            self.terminate()

    def greet(self, function: Any, args: tuple[Any, ...]) -> None:
        """Have every engine call a function before all that is submitted from here on, also those that join later.

        Where it raises, that breaks the link.
        """
        described = self._book.function(function)
        self._host.greet(described, self._arguments(args, {}))
        self._baton.tend()

    def terminate(self) -> None:
        """Leave the controller. What has not ended fails here with ControllerLost, and is dropped there."""
        self._leave(False)

    def leave(self, keep: bool | None) -> None:
        """:meth:`terminate`; ``keep``: what is under way goes on there, and its results can be had from the hub.

        None: as when this client was lost.
        """
        self._leave(self._host.keep if keep is None else keep)

    def leave_at_exit(self) -> None:
        """:meth:`leave` as the interpreter ends: nothing that is under way is ended here, and nobody is told."""
        if self._foreign or self._closed or self._baton.mine():
            return
        self._closed = True
        if self._baton.halt(AT_EXIT):
            self._host.close(self._host.keep)
            if self._store is not None:
                self._store.close(bool(self._host.keep))

    def _leave(self, keep: bool | None) -> None:
        if self._foreign or self._baton.mine():
            return
        if keep and not self._closed:
            self.control.ask_controller("sync")  # its answer says that all that was submitted is there
            self.control.ask_controller(
                "leaving"
            )  # the last message may be lost with the controller that it is sent to
        with self._ending:
            if self._closed:
                return
            error = self.failure or self._ending_error or ControllerLost("this client was closed")
            for reader in list(self.readers):
                reader.stop(error)
            self._closed = True
            self._baton.close()
            self.failure = error
            self._host.abandon(error)
            self._callbacks.finish()
            self._host.close(keep)
            if self._store is not None:
                self._store.close(bool(keep))
            self.leases.close()
            forked.gone(self)

    @property
    def engines(self) -> int:
        """How many engines there are; one at the least, as others may come."""
        return len(self._host.engines) or 1

    def msg_id(self, id: int) -> str:
        """The name of a task, whichever client's it is."""
        return f"{self._host.names.get(id >> SHIFT, self._name)}_{id}"

    def task_id(self, msg_id: str) -> int | None:
        """The number of a task by its name, whichever client's it is; None for what is no name."""
        name, _, number = msg_id.rpartition("_")
        if len(name) != len(self._name) or not number.isdecimal():
            return None
        return int(number) if int(number) >> SHIFT else None  # else it is of engines that are a process's own

    def engine_uuid(self, id: int) -> str:
        """The name of an engine beyond this process."""
        known = self._host.engines.get(id)
        return f"engine-{id}" if known is None else known.uid

    def become_foreign(self) -> None:
        """This process was forked from the one that made the link."""
        self._foreign = True
        self._closed = True


class RemoteControl:
    """What a client may ask about the engines of a controller, and tell them."""

    def __init__(self, far: Far | Fan, baton: Baton, check: Any) -> None:
        self._far = far
        self._baton = baton
        self._check = check
        self._gatherings: list[Gathering] = []
        far.on_change = self._look

    def ids(self) -> list[int]:
        """The engines that serve now, ascending."""
        return sorted(self._far.engines)

    def serves(self, id: int) -> bool:
        """Does this engine serve now?"""
        return id in self._far.engines

    def ask_controller(self, what: str, about: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        """Ask the controller, and wait for its answer. Raises ParpoolError with what it says where there is none."""
        self._check()
        errand = Errand()
        answers: list[tuple[Any, str]] = []

        def reply(value: Any, error: str) -> None:
            answers.append((value, error))
            errand.finish()

        self._far.ask(what, about or {}, reply)
        self._baton.wait(errand, timeout)
        if not answers:
            self._check()
            if timeout is not None:
                raise ParpoolError(f"the controller has not answered within {timeout:g} s")
            raise ControllerLost("this client was closed")
        value, error = answers[0]
        if error:
            self._check()
            raise ParpoolError(error)
        return value

    def tell_when_ended(self, msg_ids: list[str], reply: Callable[[Any, str], None]) -> None:
        """Call ``reply`` with the hub's records of tasks when all of them have ended, or with an error in words."""
        self._far.ask("records_when_ended", {"ids": msg_ids}, reply)
        self._baton.tend()

    def status(self, timeout: float | None = None) -> dict[int | str, Any]:
        """For each engine what it holds (``tasks``), what is queued for it alone (``queue``), and what it has done."""
        status, names = self.ask_controller("queue_status", timeout=timeout)
        self._far.names.update(names)
        return dict(status)

    def interrupt(self, ids: Iterable[int]) -> None:
        """Raise KeyboardInterrupt in what these engines run now."""
        self.ask_controller("interrupt", {"ids": list(ids)})

    def shut_down(self, ids: Iterable[int], restart: bool) -> bool:
        """Let these engines end when what they hold is done. Raises ParpoolError for ``restart``."""
        if restart:
            raise ParpoolError(
                "a controller cannot start engines: Cluster.restart_engines() does, where they were started by one"
            )
        self.ask_controller("retire", {"ids": list(ids)})
        return True

    def end_cluster(self) -> None:
        """End the controller, and with it all engines."""
        self.ask_controller("over")

    def wait_for_welcome(self, timeout: float) -> None:
        """Wait until the controller has let this client in. Raises what keeps it out."""
        gathering = Gathering(0)
        self._gatherings.append(gathering)
        self._look()
        came = self._baton.wait(gathering, timeout)
        self._check()
        if not came:
            raise self._far.line.lost()

    def wait_for(self, count: int, timeout: float | None) -> bool:
        """Wait until ``count`` engines serve; False when ``timeout`` seconds went by first."""
        self._check()
        if len(self._far.engines) >= count:
            return True
        gathering = Gathering(count)
        self._gatherings.append(gathering)
        self._look()
        came = self._baton.wait(gathering, timeout)
        self._check()
        with suppress(ValueError):
            self._gatherings.remove(gathering)
        return came and len(self._far.engines) >= count

    def _look(self) -> None:
        lost = self._far.lost
        for gathering in self._gatherings[:]:
            if lost or (self._far.number and len(self._far.engines) >= gathering.count):
                with suppress(ValueError):  # another thread looks, too
                    self._gatherings.remove(gathering)
                gathering.finish()
