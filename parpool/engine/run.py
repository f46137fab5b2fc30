"""Run one task: open the payload, call the function, pack what came of it."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import SerializationError, TaskTimeout, UnmetDependency
from ..options import EngineSettings, SegmentSettings
from ..shm import memory
from ..shm.leases import Leases
from ..shm.recorder import Recorder
from ..shm.segments import Segments
from ..status import ERROR, OK, OVERTIME, UNMET
from ..wire import envelope, serializers
from ..wire.envelope import LARGE, Large, dumps_small
from ..wire.failure import pack_failure, safe_repr
from ..wire.messages import CALL, EACH, EACHSTAR, HOW, INLINE, MAP, SHARED, VIEW, Call, encode
from ..wire.payload import NONE, OURS, packable
from .namespace import Missing, Namespace
from .output import Capture

if TYPE_CHECKING:
    from .engine import Engine
    from .warden import Warden

envelope.attach = memory.attach

LATE = "the task ran longer than its task_timeout"
LINGER = 2.0  #: seconds that results in memory have to be taken, at the end
_forks = 0  #: how many forks lie between the first process of all and this one


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class Runner:
    """Runs calls in the thread that asks it to."""

    def __init__(self, namespace: Namespace, recorder: Recorder, engine: Engine, settings: EngineSettings) -> None:
        self._namespace = namespace
        self._recorder = recorder
        self._engine = engine
        self._forks = _forks
        folder = settings.memory
        shared = SegmentSettings.from_environment()
        self._shared = Segments(folder, settings.uid, shared, False) if folder != "" else None
        if self._shared is not None and folder is None:
            self._shared.prepare()
        self._for_all = bool(folder)  # else for those who say that they see it
        #: of the memory that it shares, where that is its own
        self.folder = self._shared.folder if self._shared is not None and folder is None else ""
        self._kind = 0
        self._leases = Leases()
        self._taken: tuple[str, int, int] | None = None  #: the shared memory that the arguments lie in

    def let_trim(self, warden: Warden) -> None:
        """Let the second thread give back the memory that nobody needs."""
        if self._shared is not None:
            warden.chore, self._shared.on_kept = self._shared.trim, warden.wake
            warden.exit = self.exit

    def exit(self, status: int) -> NoReturn:
        """End the process at once, and leave no files."""
        try:
            if self._shared is not None:
                self._shared.abandon()
            memory.abandon()
        finally:
            os._exit(status)

    def close(self) -> None:
        """Let go of the memory; what is on its way has a moment to arrive. (A host removes that in its own folder.)"""
        if self._shared is not None and not self._for_all:
            self._shared.close(LINGER)

    def run(self, call: Call) -> float:
        """Run a task and report what came of it; gives the time at its end."""
        self._kind = kind = call.kind
        captured = None
        if kind >= EACH:
            if kind & VIEW:
                captured = self._engine.capture or self._engine.install()
            kind &= HOW
            if kind >= EACH:
                return self._run_each(call, kind, captured)
        engine = self._engine
        self._recorder.begin(call.id, 0)
        started = time()
        try:
            try:
                function, argument = self._open(call)
                if captured is not None:
                    captured.begin(call.id)
                engine.item = 0
                engine.current = call.id
                if engine.late is not None:
                    self._look_at_time()
                if kind == CALL:
                    args, kwds = argument
                    value = function(*args, **kwds)
                    args = kwds = None
                elif kind == MAP:
                    value = [function(item) for item in argument]
                else:
                    value = [function(*item) for item in argument]
            finally:
                engine.current = -1
            argument = None
        except BaseException as error:
            engine.current = -1  # again: a signal may have come before the line above
            if self._forks != _forks:
                _end_fork(error)
            completed = time()
            if captured is not None:
                captured.end()
                self._explain(error)
            self._report(call.id, self._status(error), 0, started, completed, _pack(error))
            return completed
        if self._forks != _forks:
            _end_fork(None)
        completed = time()
        try:
            if captured is not None:
                captured.end()
                payload = NONE if value is None else self._dump_for_view(value)
            elif kind == CALL:
                payload = NONE if value is None else self._dump(value)
            else:
                payload = self._dump(packable(value))
        except Exception as error:
            self._report(call.id, ERROR, 0, started, completed, _refuse(error, value))
            return completed
        if len(payload) > INLINE:
            engine.report(encode((call.id, OK, 0, started, completed, b"", 1)), payload)
        else:
            engine.report(encode((call.id, OK, 0, started, completed, payload, 0)), None)
        return completed

    def _run_each(self, call: Call, kind: int, captured: Capture | None) -> float:
        """Items that end separately: an outcome for each, in order, from ``call.first`` on."""
        engine, id, star = self._engine, call.id, kind == EACHSTAR
        dump = self._dump if captured is None else self._dump_for_view
        begin = self._recorder.begin
        begin(id, call.first)
        started = time()
        numbers = iter(range(call.first, call.count))
        if call.count > 1:  # (what is one item by itself can be opened by one engine only)
            # Before it is opened, which may take long: until then all of it can be given back.
            engine.items = id, numbers
        try:
            function, items = self._open(call)
        except BaseException as error:
            completed, payload, status = time(), _pack(error), self._status(error)
            for index in numbers:
                self._report(id, status, index, started, completed, payload)
            return completed
        if captured is not None:
            captured.begin(id)
        for index in numbers:
            begin(id, index)
            try:
                try:
                    engine.item = index
                    engine.current = id
                    if engine.late is not None:
                        self._look_at_time()
                    value = function(*items[index]) if star else function(items[index])
                finally:
                    engine.current = -1
                if self._forks != _forks:
                    _end_fork(None)
                status = OK
            except BaseException as error:
                engine.current = -1
                if self._forks != _forks:
                    _end_fork(error)
                if captured is not None:
                    self._explain(error)
                status, payload = self._status(error), _pack(error)
            completed = time()
            if status == OK:
                try:
                    payload = NONE if value is None else dump(value)
                except Exception as error:
                    status, payload = ERROR, _refuse(error, value)
            if captured is not None:
                captured.flush()
                if index + 1 == call.count or status == UNMET:
                    captured.end()
            self._report(id, status, index, started, completed, payload)
            if status == UNMET:  # as for this one, so for those behind it: another engine is to have them
                for rest in numbers:
                    self._report(id, UNMET, rest, completed, completed, payload)
            engine.flush_if_due(completed)
            started = completed
        if captured is not None:
            captured.end()  # also where the last items were given back
        return started

    def _look_at_time(self) -> None:
        """Raise TaskTimeout where what begins now is over its time, as it took so long to open."""
        engine = self._engine
        late, engine.late = engine.late, None
        if late == (engine.current, engine.item):
            raise TaskTimeout(LATE)

    def _dump(self, value: object) -> bytes:
        """Pickle what a task returned. Plain pickle, by contract: what it refuses is a MaybeEncodingError."""
        try:
            data = dumps_small(value)
        except Large:
            return self._pack_apart(value)
        except Exception:
            if not serializers.discover():
                raise
            return self._pack_apart(value)
        if len(data) <= LARGE:
            return data
        if envelope.holds_special(data):
            return self._pack_apart(value, special=True)
        sealed: bytes = envelope.seal(data, (), self._store)
        return sealed

    def _pack_apart(self, value: object, special: bool = False) -> bytes:
        payload: bytes = envelope.pack(partial(envelope.dumps, value), self._store, special=special)
        return payload

    def _dump_for_view(self, value: object) -> bytes:
        """What the client may not have goes by value."""
        payload: bytes = envelope.pack(partial(self._namespace.dump, value), self._store)
        return payload

    def _open(self, call: Call) -> tuple[Callable[..., Any], Any]:
        """Function and argument of a call; code that this engine lacks is asked for."""
        opened: Any = None
        self._taken = None
        while True:
            try:
                namespace, stream = self._namespace, call.payload
                function = namespace.function(call.function)
                # As most are: no envelope, and nothing in it goes by value.
                plain = stream.__class__ is bytes and stream.find(OURS) < 0
                if not plain and opened is None and envelope.is_envelope(stream):
                    # Once: what is missing may be found out in the middle of it.
                    opened = self._claim(stream)
                    self._taken = opened.place
                if opened is None:
                    if not plain:
                        namespace.prepare(stream)
                    argument = pickle.loads(stream)
                else:
                    namespace.prepare(opened.stream)
                    argument = opened.load()
                namespace.bind_referred()
                return function, argument
            except Missing as missing:
                self._engine.ask(missing.key)

    @property
    def _store(self) -> Segments | None:
        """Where large results go; None: into the message."""
        return self._shared if self._for_all or self._kind & SHARED else None

    def _claim(self, payload: bytes) -> envelope.Opened:
        try:
            return envelope.Opened(payload, self._leases.take)
        except SerializationError as error:
            if self._shared is None:  # it has come to a cluster whose engines were all near the client
                raise UnmetDependency(f"this engine is not where the arguments are: {error}") from None
            raise

    def _status(self, error: BaseException) -> int:
        if isinstance(error, UnmetDependency):
            if self._taken is not None:  # first: whoever hears of it sends the same to another engine
                self._leases.give_back(*self._taken)
            return UNMET
        return OVERTIME if isinstance(error, TaskTimeout) else ERROR

    def _explain(self, error: BaseException) -> None:
        if isinstance(error, NameError):
            self._namespace.explain(error)

    def _report(self, id: int, status: int, item: int, started: float, completed: float, payload: bytes) -> None:
        if len(payload) > INLINE:
            self._engine.report(encode((id, status, item, started, completed, b"", 1)), payload)
        else:
            self._engine.report(encode((id, status, item, started, completed, payload, 0)), None)


def _end_fork(error: BaseException | None) -> None:
    """End a child that a task has forked, which has come to the end of the task's code: it is no engine."""
    code: object = 0
    if isinstance(error, SystemExit):
        code = error.code or 0
    elif error is not None:
        traceback.print_exception(type(error), error, error.__traceback__)
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def _pack(error: BaseException) -> bytes:
    return pack_failure(error)


def _refuse(error: Exception, value: object) -> bytes:
    """A result that cannot be pickled, as the stdlib's Pool has it."""
    import multiprocessing.pool

    kind: Any = vars(multiprocessing.pool)["MaybeEncodingError"]  # which the stubs do not know
    # It keeps the repr of both, and an object's repr may raise.
    refusal = kind(error, None)
    refusal.exc, refusal.value = safe_repr(error, 10_000), safe_repr(value, 10_000)
    refusal.args = (refusal.exc, refusal.value)
    return pack_failure(refusal, _dump_refusal, with_traceback=False)


def _dump_refusal(refusal: BaseException) -> bytes:
    return pickle.dumps(_Refusal(refusal), 5)


class _Refusal:
    """Pickles as a MaybeEncodingError with these texts: its own constructor would take the repr of them again."""

    def __init__(self, refusal: BaseException) -> None:
        self._refusal = refusal

    def __reduce__(self) -> tuple[Any, ...]:
        return make_refusal, self._refusal.args


def make_refusal(exc: str, value: str) -> BaseException:
    """A MaybeEncodingError that says ``exc`` of ``value``."""
    import multiprocessing.pool

    kind: Any = vars(multiprocessing.pool)["MaybeEncodingError"]
    refusal: BaseException = kind(None, None)
    vars(refusal).update(exc=exc, value=value)
    refusal.args = (exc, value)
    return refusal
