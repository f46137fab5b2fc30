"""A client's way to a host: what is the same wherever the host is.

Calls are packed here, numbered, and handed to *the host*: one in this process (``embedded.py``), or what stands for one
in another (``far.py``). What faces may ask of a link is the contract in ``contract.py``.
"""

from __future__ import annotations

import itertools
import pickle
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable
from time import monotonic, time
from typing import Any, Protocol

from ..core.state import Dependency, Task
from ..errors import ForkedError, InvalidDependency
from ..net.loop import Baton, Loop
from ..net.parking import Waitable, park
from ..shm import memory
from ..shm.leases import Leases
from ..wire import envelope, serializers
from ..wire.envelope import LARGE, Store, borrows, dumps_small, has_special, holds_special, only_small, pack, seal
from ..wire.functions import Function, FunctionBook
from ..wire.messages import EACH
from ..wire.payload import NO_ARGUMENTS, PLAIN, PROTOCOL
from ..wire.registered import any_registered, names_one
from . import forked
from .call import CallResult, ViewResult
from .callbacks import Callbacks, tell_hook
from .contract import Terms
from .remarks import Remarks
from .result import AsyncResult

FORMS = 256  #: sets of terms that are remembered
NO_TERMS: Terms = {}


class Near(Loop, Protocol):
    """What a link needs of a host, or of what stands for one."""

    nudged: bool
    known: dict[bytes, bytes]

    def submit(self, task: Task) -> None:
        """Hand in a task (any thread)."""

    def define(self, function: Function) -> None:
        """Keep the blob of a function for the engines that will need it (any thread; before the task)."""


class BaseLink:
    """Packs, numbers and hands in calls, and waits for what comes of them. ``host`` is driven by ``baton``."""

    _host: Any  #: a Near, and more that the subclass knows
    _store: Store | None = None  #: memory that the engines can see

    def __init__(self, book: FunctionBook, quota: int | None = None) -> None:
        self._book = book
        self.quota = quota
        self.listeners = threading.Lock()
        self.readers: set[Any] = set()
        self.leases = Leases()  #: memory of engines that is in use here
        self.remarks = Remarks(self)  #: what tasks log and warn of
        self.failure: BaseException | None = None  #: why no engine will ever serve
        self._name = uuid.uuid4().hex
        self._next_id = itertools.count().__next__
        self._forms: dict[Any, Any] = {}
        self._foreign = False
        self._draining = False
        self._closed = False
        self._ending = threading.RLock()  # re-entrant: a signal handler may end it once more, in the middle of the end
        alive = weakref.ref(self)  # the thread must not keep alive what ends it
        self._callbacks = Callbacks(lambda: link.nudge() if (link := alive()) is not None else None)

    def _attach(self, host: Near, baton: Baton) -> None:
        self._host = host
        self._baton = baton
        self._known = host.known

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
            payload = self._arguments(args, kwds, terms or NO_TERMS)
        except Exception as error:
            result.fail(error)
            return
        key, host = described.key, self._host
        if key not in self._known:
            host.define(described)
        result._id = id = self._next_id()
        task = Task(id, key, payload, result)
        if terms is not None:
            vars(task).update(terms)
        if payload.__class__ is memoryview and borrows(payload):
            result._borrowed = True
        host.submit(task)
        if tend:
            self._baton.tend()

    def pack(self, function: Any, args: Any, kwds: Any, terms: Terms | None = None) -> tuple[Function, bytes]:
        """Make a call ready to travel. Raises SerializationError where it cannot, and what has broken the link.

        ``terms``: of the one task that it is for; None: it may be for several.
        """
        if self._foreign or self._draining or self.failure is not None:
            self.check_open()
        described = function if type(function) is Function else self._book.function(function)
        return described, self._arguments(args, kwds, terms)

    def _arguments(self, args: Any, kwds: Any, terms: Terms | None = None) -> Any:
        if args.__class__ is tuple and kwds.__class__ is dict and not kwds:
            if not args:
                return NO_ARGUMENTS
            for each in args:
                if each.__class__ not in PLAIN:
                    break
            else:  # nothing that anybody has a word on, whatever it is: so it costs half of what others do
                payload = _pickle((args, kwds), PROTOCOL)
                return payload if len(payload) <= LARGE else seal(payload, (), self._store, _is_lent(terms))
        try:
            if args.__class__ is tuple and has_special(args):
                payload = _LONG_WAY
            elif _reducers:
                payload = dumps_small((args, kwds))
            else:
                payload = _pickle((args, kwds), PROTOCOL, buffer_callback=only_small)
        except Exception:
            payload = _LONG_WAY
        # (Of __main__, or of __mp_main__. "in" would take three times as long as find: it takes what it is given for a
        # number first.)
        named = payload.find(b"_main__") >= 0 or (any_registered() and names_one(payload))
        if named or len(payload) > LARGE:
            lent = _is_lent(terms)
            special = holds_special(payload)
            if named or special:
                return self.dumps((args, kwds), ("args", "kwds"), lent, special)  # the long way, see there
            sealed: bytes = seal(payload, (), self._store, lent)
            return sealed
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
        self, result: ViewResult, function: Function, payload: Any, form: Any, waits_for: Terms | None = None
    ) -> None:
        """Submit a call that :meth:`pack` made; its outcome goes to ``result``. ``waits_for``: further terms."""
        result._name = function.name
        if function.key not in self._known:  # it may have been packed long ago
            self._host.define(function)
        result._id = id = self._next_id()
        task = form(id, function.key, payload, result)
        if waits_for:
            vars(task).update(waits_for)
        result._records.outstanding[id] = result
        if payload.__class__ is memoryview and borrows(payload):
            result._borrowed = True
        self._host.submit(task)

    def function(self, function: Any) -> Function:
        """Make a function ready to travel. Raises SerializationError where it cannot."""
        self.check_process()
        described = self._book.function(function)
        if described.key not in self._known:
            self._host.define(described)
        return described

    def send_chunk(
        self, function: Function, payload: bytes, kind: int, size: int, start: int, door: Any, terms: Terms
    ) -> int:
        """Submit a chunk of a map; ``start`` is the number of its first item. Gives the id of its task."""
        if function.key not in self._known:
            self._host.define(function)
        id = self._next_id()
        task = Task(id, function.key, payload, door)
        if terms:
            vars(task).update(terms)
        task.kind |= kind
        task.weight, task.tag = size, start
        if borrows(payload):
            door._borrowed = True
        if kind >= EACH:
            task.count = size
        self._host.submit(task)
        return id

    def dumps(self, value: Any, roots: tuple[str, ...] = (), lent: bool = True, special: bool = False) -> bytes:
        """Pickle arguments. ``roots``: names of the items of ``value``, for errors.

        ``lent``: they may be opened more than once, by several tasks, or by one that is tried again or cut in parts.
        ``special``: it is known that there are arrays on which there is a word.
        """
        payload: bytes = pack(lambda apart: self._book.dumps(value, roots, apart), self._store, lent, special)
        return payload

    def use(self, serializer: str) -> None:
        """How what goes by value goes, from here on."""
        self._book.use(serializer)

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
    def foreign(self) -> bool:
        """Is this process a fork of the one that made the link?"""
        return self._foreign

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

    @property
    def name(self) -> str:
        """What tells this client from others."""
        return self._name

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


def _is_lent(terms: Terms | None) -> bool:
    """May the arguments of these terms be opened more than once? (None: they may be for several tasks.)"""
    return terms is None or bool(terms.get("retries"))


_pickle = pickle.dumps
_reducers = serializers.reducers
_LONG_WAY = b"__main__"
envelope.attach = memory.attach
