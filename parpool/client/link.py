"""A client's way to a host: :class:`EmbeddedLink` hosts the scheduler in this process.

What faces may ask of it is the contract in ``contract.py``.
"""

from __future__ import annotations

import itertools
import pickle
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from time import monotonic, time
from typing import Any

from ..core.state import Dependency, Task
from ..errors import EngineStartError, ForkedError, InvalidDependency, TaskAborted
from ..host.host import Host
from ..net.loop import Baton, Waitable, park
from ..wire.failure import pack_failure, unpack_failure
from ..wire.functions import Function, FunctionBook
from ..wire.messages import EACH
from ..wire.payload import NO_ARGUMENTS, PROTOCOL
from . import forked
from .call import CallResult, ViewResult
from .callbacks import Callbacks, tell_hook
from .contract import Terms
from .control import Control, Errand
from .result import AsyncResult

FORMS = 256  #: sets of terms that are remembered


class EmbeddedLink:
    """A host in this process, and the threads and engines that it needs.

    ``places`` engines are started by ``crew``; ``quota`` is how many tasks each may run before it is replaced.
    """

    def __init__(self, crew: Any, places: int, *, quota: int | None = None, serializer: str = "cloudpickle") -> None:
        self._book = FunctionBook(serializer)
        self.quota = quota
        self.listeners = threading.Lock()
        self.readers: set[Any] = set()
        self.failure: BaseException | None = None  #: why no engine will ever serve
        self._crew = crew
        self._name = uuid.uuid4().hex
        self._next_id = itertools.count().__next__
        self._forms: dict[Any, Any] = {}
        self._foreign = False
        self._draining = False
        self._closed = False
        self._ending = threading.Lock()
        alive = weakref.ref(self)  # the thread must not keep alive what ends it
        self._callbacks = Callbacks(lambda: link.nudge() if (link := alive()) is not None else None)
        self._host = host = Host(crew, places, quota=quota)
        try:
            self._baton = Baton(host)
        except BaseException:
            host.close()
            raise
        self.control = Control(host, self._baton, self.check)
        host.on_broken = self._break
        host.on_need = self._supply
        self._ended = Errand()
        host.on_all_ended = self._ended.finish
        host.busy = self._feeding
        forked.here(self)  # already now: another thread may fork as the engines start
        try:
            host.start()
        except BaseException:
            crew.end()
            self._baton.discard()
            host.close()
            raise
        self._baton.start()
        self._baton.tend()  # until the engines have introduced themselves

    # -- calls ------------------------------------------------------------------------------------------------

    def call(
        self, result: CallResult, function: Any, args: Any, kwds: Any, terms: Terms | None, tend: bool = True
    ) -> None:
        """Submit one call; its outcome goes to ``result``. With ``tend=False`` the caller will wait at once."""
        if self._foreign or self.failure is not None:
            self._refuse(result)
            return
        try:
            described = self._book.function(function)
            result._name = described.name
            payload = self._arguments(args, kwds)
        except Exception as error:
            result.fail(error)
            return
        key, host = described.key, self._host
        if key not in host.blobs.known:
            host.define(key, described.blob)
        result._id = id = self._next_id()
        task = Task(id, key, payload, result)
        if terms is not None:
            vars(task).update(terms)
        host.submit(task)
        if tend:
            self._baton.tend()

    def pack(self, function: Any, args: Any, kwds: Any) -> tuple[Function, bytes]:
        """Make a call ready to travel. Raises SerializationError where it cannot, and what has broken the link."""
        if self._foreign or self._draining or self.failure is not None:
            self.check_open()
        described = function if type(function) is Function else self._book.function(function)
        return described, self._arguments(args, kwds)

    def _arguments(self, args: Any, kwds: Any) -> bytes:
        if args.__class__ is tuple and not args and kwds.__class__ is dict and not kwds:
            return NO_ARGUMENTS
        try:
            payload = _pickle((args, kwds), PROTOCOL)
        except Exception:
            payload = b"__main__"
        if b"_main__" in payload:
            payload = self._book.dumps((args, kwds), ("args", "kwds"))  # the long way, see there
        return payload

    def form(self, terms: Terms) -> Any:
        """What :meth:`send` makes tasks of these terms by."""
        # A class whose defaults the terms are: a task then costs and keeps no more than one without terms.
        key = tuple(sorted(terms.items()))
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= FORMS:
                self._forms.clear()
            form = self._forms[key] = type("Task", (Task,), dict(terms))
        return form

    def send(
        self, result: ViewResult, function: Function, payload: bytes, form: Any, waits_for: Terms | None = None
    ) -> None:
        """Submit a call that :meth:`pack` made; its outcome goes to ``result``. ``waits_for``: further terms."""
        result._name = function.name
        if function.key not in self._host.blobs.known:  # it may have been packed long ago
            self._host.define(function.key, function.blob)
        result._id = id = self._next_id()
        task = form(id, function.key, payload, result)
        if waits_for:
            vars(task).update(waits_for)
        result._records.outstanding[id] = result
        self._host.submit(task)

    def function(self, function: Any) -> Function:
        """Make a function ready to travel. Raises SerializationError where it cannot."""
        self.check_process()
        described = self._book.function(function)
        if described.key not in self._host.blobs.known:
            self._host.define(described.key, described.blob)
        return described

    def send_chunk(
        self, function: Function, payload: bytes, kind: int, size: int, start: int, door: Any, terms: Terms
    ) -> int:
        """Submit a chunk of a map; ``start`` is the number of its first item. Gives the id of its task."""
        if function.key not in self._host.blobs.known:
            self._host.define(function.key, function.blob)
        id = self._next_id()
        task = Task(id, function.key, payload, door)
        if terms:
            vars(task).update(terms)
        task.kind |= kind
        task.weight, task.tag = size, start
        if kind >= EACH:
            task.count = size
        self._host.submit(task)
        return id

    def dumps(self, value: Any, roots: tuple[str, ...] = ()) -> bytes:
        """Pickle arguments. ``roots``: names of the items of ``value``, for errors."""
        return self._book.dumps(value, roots)

    def use(self, serializer: str) -> None:
        """How what goes by value goes, from here on."""
        self._book.use(serializer)

    def pace(self, key: bytes) -> float | None:
        """Mean seconds of a call of a function so far; None where it was never timed."""
        return self._host.scheduler.pace(key)

    def abort(self, ids: Sequence[int]) -> None:
        """Take back tasks that have not begun."""
        self.check_process()
        if not self._closed:
            self._host.order(lambda: self._host.abort(ids))
            self._baton.tend()

    # -- waiting ----------------------------------------------------------------------------------------------

    def wait(self, thing: Waitable, timeout: float | None = None) -> bool:
        """Wait until ``thing`` is done; False when ``timeout`` seconds went by first."""
        if self._foreign:
            raise ForkedError(forked.MESSAGE)
        if thing._done:
            return True
        if self._closed:
            return self._wait_for_callbacks(thing, timeout)
        started = monotonic()
        came = self._baton.wait(thing, timeout)
        if came or not self._has_closed():
            return came
        # The pool has ended meanwhile.
        return self._wait_for_callbacks(thing, None if timeout is None else max(0.0, timeout - monotonic() + started))

    def _has_closed(self) -> bool:
        return self._closed

    def _wait_for_callbacks(self, thing: Waitable, timeout: float | None) -> bool:
        """Wait for what the end of the pool has ended, and what only its callbacks hold back."""
        lock = park(thing)
        if not thing._done:
            lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        return thing._done

    def tend(self) -> None:
        """Something was submitted, and the caller does not wait for it."""
        self._baton.tend()

    def nudge(self) -> None:
        """Something that a thread may be waiting for has come about in another one."""
        self._host.nudged = True  # first: the driver may be about to sleep
        if self._host.asleep:
            self._host.wake()

    def call_back(self, result: Any) -> None:
        """Run the callbacks of a result (what has ``run_callbacks``), in the thread for that."""
        self._callbacks.put(result)

    def in_callback(self) -> bool:
        """Is this the thread that runs callbacks?"""
        return self._callbacks.ident == threading.get_ident()

    @staticmethod
    def listen(listener: Callable[[AsyncResult], object], result: AsyncResult) -> None:
        """Call a listener; what it raises is told to the hook."""
        try:
            listener(result)
        except BaseException:
            tell_hook()

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

    def terminate(self) -> None:
        """End the engines now. What has not ended fails with TaskAborted."""
        if self._foreign:
            return
        if self._baton.mine():
            # The last reference to the pool went with the result that was just delivered.
            threading.Thread(target=self.terminate, name="parpool-ending").start()
            return
        with self._ending:
            if self._closed:
                return
            for reader in list(self.readers):
                reader.stop(TaskAborted("the pool was terminated"))
            errand = Errand()
            self._host.order(lambda: self._abandon(errand))
            self._baton.wait(errand)
            self._closed = True
            self._baton.close()
            self._host.end()
            self._crew.end()
            self._callbacks.finish()
            self._host.close()
            forked.gone(self)

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

    def check_process(self) -> None:
        """Raise ForkedError in a process forked from the one that made the link."""
        if self._foreign:
            raise ForkedError(forked.MESSAGE)

    def check(self) -> None:
        """:meth:`check_process`; and raise what broke the link, where something did."""
        self.check_process()
        if self.failure is not None:
            raise self.failure.with_traceback(None)  # it may be raised often

    def check_open(self) -> None:
        """:meth:`check`; and raise ValueError where nothing more is taken."""
        self.check()
        if self._draining:
            raise ValueError("the pool is closed: it takes no more calls")

    def _refuse(self, result: CallResult) -> None:
        self.check_process()
        assert self.failure is not None
        result.fail(self.failure)

    @property
    def engines(self) -> int:
        """How many engines there should be."""
        return self._host.members.staff.places

    @property
    def foreign(self) -> bool:
        """Is this process a fork of the one that made the link?"""
        return self._foreign

    @property
    def host(self) -> Host:
        """The host, for those who look at what it knows."""
        return self._host

    def clock(self) -> float:
        """Seconds since the epoch."""
        return time()

    def dependency(self, names: Iterable[str], all: bool, success: bool, failure: bool) -> Dependency:
        """What the scheduler waits for. Raises InvalidDependency for a name that is no task's of this client."""
        ids = []
        for name in names:
            id = self.task_id(name)
            if id is None:
                raise InvalidDependency(f"no task of this client is called {name!r}")
            ids.append(id)
        return Dependency(frozenset(ids), all, success, failure)

    def msg_id(self, id: int) -> str:
        """The name of a task beyond this process."""
        return f"{self._name}_{id}"

    def task_id(self, msg_id: str) -> int | None:
        """The number of a task of this client by its name; None where the name is none of its."""
        name, _, number = msg_id.rpartition("_")
        return int(number) if name == self._name and number.isdecimal() else None

    def engine_uuid(self, id: int) -> str:
        """The name of an engine beyond this process."""
        return f"{self._name}_engine_{id}"

    def become_foreign(self) -> None:
        """This process was forked from the one that made the link."""
        self._foreign = True
        self._closed = True
        self._crew.disown()


_pickle = pickle.dumps
