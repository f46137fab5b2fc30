"""What a client can ask about the engines of a host in its own process, and tell them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import NoEngines
from ..host.host import Host
from ..net.loop import Baton
from ..wire.failure import unpack_failure
from .waits import Errand, Gathering


class Control:
    """Engines by their ids. Whatever changes something is an order to the host, carried out between two events."""

    def __init__(self, host: Host, baton: Baton, check: Callable[[], None]) -> None:
        self._host = host
        self._baton = baton
        self._check = check
        self._gatherings: list[Gathering] = []
        self._over = False  #: no engine will serve any more
        host.on_change = self._look

    def ids(self) -> list[int]:
        """The engines that serve now, ascending."""
        engines = [] if self._over else list(self._host.scheduler.engines)  # a copy: another thread may change it
        return sorted(engines)

    def serves(self, id: int) -> bool:
        """Does this engine serve now?"""
        return id in self._host.scheduler.engines and not self._over

    def status(self, timeout: float | None = None) -> dict[int | str, Any]:
        """For each engine what it holds (``tasks``), what is queued for it alone (``queue``), and what it has done.

        (``timeout`` is for those who ask a controller. Here nobody is far away.)
        """
        answer: dict[int | str, Any] = {}
        self.ask(lambda: answer.update(self._host.orders.status()))
        return {key: answer[key] for key in sorted(answer, key=lambda key: (isinstance(key, str), key))}

    def interrupt(self, ids: Iterable[int]) -> None:
        """Raise KeyboardInterrupt in what these engines run now."""
        asked = list(ids)
        self.ask(lambda: self._host.orders.interrupt(asked))

    def shut_down(self, ids: Iterable[int], restart: bool) -> bool:
        """Let these engines end when what they hold is done; ``restart``: and start others in their places.

        Without, False where no place would be left: then nothing is done.
        """
        asked = list(ids)
        done: list[bool] = []
        self.ask(lambda: done.append(self._host.orders.shut_down(asked, restart)))
        return done == [True]

    def wait_for(self, count: int, timeout: float | None) -> bool:
        """Wait until ``count`` engines serve; False when ``timeout`` seconds went by first.

        Raises NoEngines where there will never be so many, and whatever keeps engines from starting.
        """
        self._check()
        if len(self._host.scheduler.engines) >= count:
            return True
        gathering = Gathering(count)
        self._host.order(lambda: self._gather(gathering))
        came = self._baton.wait(gathering, timeout)
        self._check()
        if gathering.hopeless:
            members = self._host.members
            why = f"there are places for {members.staff.places}"
            if members.staff.failures:
                why += f", and the last {members.staff.failures} that were started could not serve"
            cause = None if members.failure is None else unpack_failure(members.failure)
            raise NoEngines(
                f"{count} engines were asked for, and {len(self._host.scheduler.engines)} serve: {why}"
            ) from cause
        return came and len(self._host.scheduler.engines) >= count

    def ask(self, action: Callable[[], object]) -> None:
        """Have the host do something between two events, and wait until it is done. Raises what that raises."""
        errand = Errand()
        errors: list[Exception] = []

        def act() -> None:
            try:
                action()
            except Exception as error:  # not in whoever drives the loop
                errors.append(error)
            finally:
                errand.finish()

        self._check()
        self._host.order(act)
        self._baton.wait(errand)
        if errors:
            raise errors.pop()

    def give_up(self) -> None:
        """No engine will come any more, nor serve."""
        self._over = True
        for gathering in self._gatherings:
            gathering.finish()
        self._gatherings.clear()

    def _gather(self, gathering: Gathering) -> None:
        self._gatherings.append(gathering)
        self._look()

    def _look(self) -> None:
        """Engines have come or gone: who waited for that, or will wait in vain?"""
        if not self._gatherings:
            return
        staff, there = self._host.members.staff, len(self._host.scheduler.engines)
        no_more = not staff.starting and not staff.vacancies()
        for gathering in self._gatherings[:]:
            gathering.hopeless = there < gathering.count and (no_more or staff.places < gathering.count)
            if there >= gathering.count or gathering.hopeless:
                self._gatherings.remove(gathering)
                gathering.finish()
