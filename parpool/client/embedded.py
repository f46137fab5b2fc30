"""A client's way to a host in this process: :class:`EmbeddedLink` hosts the scheduler itself."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ..errors import EngineStartError, TaskAborted
from ..host.host import Host
from ..net.loop import Baton
from ..options import SegmentSettings
from ..shm.segments import Segments
from ..wire.failure import pack_failure, unpack_failure
from ..wire.functions import FunctionBook
from . import forked
from .control import Control
from .link import BaseLink
from .waits import Errand


class EmbeddedLink(BaseLink):
    """A host in this process, and the threads and engines that it needs.

    ``places`` engines are started by ``crew``; ``quota`` is how many tasks each may run before it is replaced.
    """

    _host: Host
    _store: Segments

    def __init__(self, crew: Any, places: int, quota: int | None = None, serializer: str = "cloudpickle") -> None:
        super().__init__(FunctionBook(serializer), quota)
        self._crew = crew
        shared = SegmentSettings.from_environment()
        self._host = host = Host(crew, places, quota=quota)
        self._store = Segments(host.session.folder, "client", shared)
        host.claim = self.leases.take
        try:
            baton = Baton(host)
        except BaseException:
            host.close()
            raise
        self._attach(host, baton)
        baton.chore, self._store.on_kept = self._store.trim, baton.tend
        self._store.busy = host.outstanding
        self.control = Control(host, self._baton, self.check)
        host.on_broken = self._break
        host.on_need = self._supply
        self._ended = Errand()
        host.on_all_ended = self._ended.finish
        host.busy = self._feeding
        forked.here(self)  # already now: another thread may fork as the engines start
        try:
            host.start()
            self._baton.start()  # there may be no thread to be had
            self._baton.tend()  # until the engines have introduced themselves
        except BaseException:
            self._baton.discard()  # first: nobody is to replace engines that end
            crew.end()
            host.close()
            raise

    def pace(self, key: bytes) -> float | None:
        """Mean seconds of a call of a function so far; None where it was never timed."""
        return self._host.scheduler.pace(key)

    def abort(self, ids: Sequence[int]) -> None:
        """Take back tasks that have not begun."""
        self.check_process()
        if not self._closed:
            self._host.order(lambda: self._host.abort(ids))
            self._baton.tend()

    # -- the end ----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Let the engines end when all that was submitted has been done; :meth:`pack` takes nothing more."""
        self.check_process()
        self._draining = True
        if not self._closed:
            self._host.order(self._host.drain)
            self._baton.tend()

    def join(self) -> None:
        """Wait for the end that :meth:`drain` asked for, and let go of everything."""
        self.check_process()
        if not self._closed:
            self._baton.wait(self._ended)
            self._callbacks.finish()
            self.terminate()

    def leave(self, keep: bool | None) -> None:
        """:meth:`terminate`: nobody else has these engines."""
        self.terminate()

    def terminate(self) -> None:
        """End the engines now. What has not ended fails with TaskAborted."""
        if self._foreign:
            return
        if self._baton.mine():
            # The last reference to the pool went with the result that was just delivered.
            threading.Thread(target=self.terminate, name="parpool-ending").start()
            return
        with self._ending:
            if not self._closed:
                self._stop_all()
            if self._closed:  # before, or meanwhile by a signal handler
                return
            self._closed = True
            self._baton.close()
            self._host.end()
            self._crew.end()
            self._callbacks.finish()
            self._store.close()
            self.leases.close()
            self._host.close()
            forked.gone(self)

    def _stop_all(self) -> None:
        for reader in list(self.readers):
            reader.stop(TaskAborted("the pool was terminated"))
        errand = Errand()
        self._host.order(lambda: self._abandon(errand))
        self._baton.wait(errand)

    def _abandon(self, errand: Errand) -> None:
        self._host.members.staff.hiring = False
        if self.failure is None:
            self.failure = TaskAborted("the pool was terminated")
        self.control.give_up()
        self._host.give_up("the pool was terminated")
        self._ended.finish()
        errand.finish()

    # -- what the host asks -----------------------------------------------------------------------------------

    def _break(self, why: bytes | str) -> None:
        error = unpack_failure(why) if isinstance(why, bytes) else EngineStartError(why)
        self.failure = error
        self.control.give_up()
        self._host.give_up(error)

    def _supply(self, key: bytes) -> bytes:
        try:
            return self._book.by_value(key)
        except Exception as error:
            return b"E" + pack_failure(error)

    def _feeding(self) -> bool:
        return bool(self.readers)

    def repopulate(self) -> None:
        """Notice engines that have died, and start others in their places, now."""
        self.check_process()
        if not self._closed:
            self.control.ask(self._host.bury)

    @property
    def engines(self) -> int:
        """How many engines there should be."""
        return self._host.members.staff.places

    @property
    def host(self) -> Host:
        """The host, for those who look at what it knows."""
        return self._host

    def become_foreign(self) -> None:
        """This process was forked from the one that made the link."""
        self._foreign = True
        self._closed = True
        self._crew.disown()
