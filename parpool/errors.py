"""Every exception of parpool.

::

    ParpoolError
    ├── RemoteError             a view's call failed on its engine, or an exception of a task could not be rebuilt here
    ├── CompositeError          a view's call failed on one or more of several engines (also an ExceptionGroup)
    ├── EngineLost              the engine died with the task
    ├── TaskTimeout             the task ran longer than task_timeout (also a TimeoutError)
    ├── TaskAborted             the task was taken back before it began, or its pool was terminated
    ├── UnmetDependency         no engine meets the task's functional dependency
    ├── DependencyTimeout       the tasks that it waits for did not end in time (also a TimeoutError)
    ├── ImpossibleDependency    they can never end as the task needs it
    ├── InvalidDependency       what was given as a dependency is none (also a ValueError)
    ├── SerializationError      something cannot travel between processes; names it and the way to it
    ├── ForkedError             a pool or client was used in a process forked from the one that made it
    ├── EngineStartError        engines could not be started, or died before they were ready
    ├── NoEngines               there is no engine that the call could go to
    ├── ControllerLost          the controller is gone, or cannot be reached (also a ConnectionError)
    ├── ConnectionFileError     the file that says where the controller is: missing, or of no use
    ├── AuthenticationError     the other side does not have the same key
    └── ProtocolError           the two sides speak different versions

    multiprocessing.TimeoutError
    └── ResultTimeout           a view's result was not there in time (also a TimeoutError)

``multiprocessing``'s own errors are used where its contract names them: ``multiprocessing.TimeoutError`` (which is
``TimeoutError`` here, too), ``multiprocessing.pool.MaybeEncodingError`` and ``multiprocessing.pool.RemoteTraceback``
(as the cause of an exception that a task raised).
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from multiprocessing import TimeoutError

__all__ = [
    "AbortedTask",
    "AuthenticationError",
    "CompositeError",
    "ConnectionFileError",
    "ControllerLost",
    "DependencyTimeout",
    "EngineLost",
    "EngineStartError",
    "ForkedError",
    "ImpossibleDependency",
    "InvalidDependency",
    "NoEngines",
    "ParpoolError",
    "ProtocolError",
    "RemoteError",
    "ResultTimeout",
    "SerializationError",
    "TaskAborted",
    "TaskTimeout",
    "TimeoutError",
    "UnmetDependency",
    "UnmetDependencyError",
]


class ParpoolError(Exception):
    """Base of every exception that parpool itself raises."""


# Of a task, on one engine ---------------------------------------------------------------------------


class _Field:
    """A plain attribute of every RemoteError. As a descriptor, it also wins over what the other class calls the same."""

    def __init__(self, default: object) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, error: object, owner: type | None = None) -> Any:
        return self if error is None else vars(error).get(self.name, self.default)

    def __set__(self, error: object, value: object) -> None:
        vars(error)[self.name] = value


def _field(default: object) -> Any:
    return _Field(default)  # typed as what it holds


class RemoteError(ParpoolError):
    """An exception that a task raised on its engine.

    What a view's call raises has *two natures*: where the original can be rebuilt here, it is an instance of the
    original class, too, with its ``args`` and attributes, so that ``except ValueError`` and ``except RemoteError`` both
    catch it. (Not of ``SystemExit``, ``KeyboardInterrupt``, ``StopIteration`` and the like: they mean something to
    whoever calls, and come as a plain RemoteError.) As text it is ``Type(text)`` and the remote traceback.
    """

    #: The name of its type.
    ename: str = _field("")
    #: Its text.
    evalue: str = _field("")
    #: The remote traceback, as text.
    traceback: str = _field("")
    #: Where it was raised, and in what: a dict with ``engine_id`` and ``method``.
    engine_info: dict[str, Any] = _field(None)
    #: The exception itself, with the remote traceback as its cause; None where it could not be rebuilt here.
    original: BaseException | None = _field(None)
    # What makes it anew from its pickle, and the original's pickle as it came: an original that cannot be pickled
    # again, or is not known where this one goes next, does no harm.
    _origin: tuple[Callable[..., RemoteError], bytes] | None = _field(None)

    def __init__(
        self,
        ename: str,
        evalue: str,
        traceback: str = "",
        engine_id: int | None = None,
        method: str = "",
        engine_info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(ename, evalue, traceback, engine_id)
        self.ename = ename
        self.evalue = evalue
        self.traceback = traceback
        self.engine_info = {"engine_id": engine_id, "method": method, **(engine_info or {})}

    @property
    def engine_id(self) -> int | None:
        """The engine that it was raised on; None: not known."""
        return (self.engine_info or {}).get("engine_id")

    @property
    def method(self) -> str:
        """The call of the view that it was raised in, such as ``"execute"``; empty: not known."""
        return (self.engine_info or {}).get("method") or ""

    def __str__(self) -> str:
        # With multiprocessing's RemoteTraceback as the cause, as Pool has it, what is printed would show it twice.
        known = not self.traceback or type(self.__cause__).__name__ == "RemoteTraceback"
        return self._line() if known else f"{self._line()}\n{self.traceback.rstrip()}"

    def _line(self) -> str:
        return f"{self.ename}({self.evalue})"

    def __repr__(self) -> str:
        line = self._line()
        where = "" if self.engine_id is None else f" on engine {self.engine_id}"
        return f"<RemoteError {line if len(line) <= 200 else line[:197] + '...'}{where}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._origin is None:
            return super().__reduce_ex__(protocol)
        rejoin, pickled = self._origin
        theirs = BaseException.__getattribute__(self.original, "__dict__") if self.original is not None else {}
        added = {
            name: value
            for name, value in vars(self).items()
            if not isinstance(vars(RemoteError).get(name), _Field) and (name not in theirs or theirs[name] is not value)
        }
        return rejoin, (pickled, self.ename, self.evalue, self.traceback, self.engine_info, added)

    # With ``excid`` as in CompositeError, and not looked at: an exception may be of both classes.
    def render_traceback(self, excid: int | None = None) -> list[str]:
        """The lines of the remote traceback."""
        return (self.traceback.rstrip() or _joined(self.ename, self.evalue)).splitlines()

    #: What IPython shows in the place of the local traceback.
    _render_traceback_ = render_traceback

    def print_traceback(self, excid: int | None = None) -> None:
        """Print the remote traceback."""
        print("\n".join(self.render_traceback()))


# Of a call on several engines -----------------------------------------------------------------------

if sys.version_info >= (3, 11):

    class _Several(ParpoolError, ExceptionGroup[Exception]):  # noqa: F821
        """What CompositeError is besides: here an exception group, so that ``except*`` works."""

else:
    S = TypeVar("S", bound="_Several")

    class _Several(ParpoolError):
        """What CompositeError is besides: a group by its attributes, where Python has no groups."""

        message: str
        exceptions: tuple[Exception, ...]

        def __new__(cls: type[S], message: str, exceptions: Sequence[Exception]) -> S:
            if not exceptions:
                raise ValueError("a CompositeError is of one exception at least")
            self = super().__new__(cls)
            self.message, self.exceptions = message, tuple(exceptions)
            return self


#: Of one failure: the name of the exception, its text, its traceback, and a dict with ``engine_id`` and ``method``.
Entry = tuple[str, str, str, "dict[str, Any]"]


class CompositeError(_Several):
    """A view's call failed on one or more of several engines.

    As text it is ``message`` and a line for each failure. ``exceptions`` are those that ``elist`` tells of; those not
    given are made from it.
    """

    #: A tuple for each failure: name, text, traceback, and a dict with ``engine_id`` and ``method``.
    elist: list[Entry]
    #: The result of each target, where they are known: its value, or its exception.
    results: list[Any]

    def __new__(
        cls,
        message: str,
        elist: Sequence[Entry],
        exceptions: Sequence[Exception] | None = None,
        results: Sequence[Any] = (),
    ) -> CompositeError:
        """All of it: what an exception group holds cannot be set later."""
        if exceptions is None:
            exceptions = [RemoteError(name, text, tb, engine_info=info) for name, text, tb, info in elist]
        self = super().__new__(cls, message, exceptions)
        self.elist, self.results = list(elist), list(results)
        return self

    def __init__(self, *args: Any, **options: Any) -> None:
        self.args = (self.message, self.elist)

    def __str__(self) -> str:
        lines = []
        for index, (name, text, _, _) in enumerate(self.elist):
            first, *more = str(text).splitlines() or [""]
            lines.append(self._get_engine_str(index) + _joined(name, f"{first} ..." if more else first))
        return "\n".join([self.message, *_middle_cut(lines, "elist")])

    def __repr__(self) -> str:
        return f"<CompositeError: {self.message} ({len(self.elist)})>"

    def __reduce__(self) -> Any:
        return type(self), (self.message, self.elist, list(self.exceptions)), vars(self)

    def derive(self, excs: Sequence[Any]) -> Any:
        """A CompositeError of some of the exceptions: what ``split``, ``subgroup`` and ``except*`` make."""
        known = {id(error): entry for error, entry in zip(self.exceptions, self.elist, strict=True)}
        elist = [known.get(id(error)) or (type(error).__name__, str(error), "", {}) for error in excs]
        return CompositeError(self.message, elist, excs, self.results)

    def raise_exception(self, excid: int = 0) -> None:
        """Raise one of the exceptions, which is of the original class where that could be rebuilt here."""
        try:
            error = self.exceptions[excid]
        except IndexError:
            raise IndexError("an exception with index %i does not exist" % excid) from None  # noqa: UP031
        # Where this is called, the whole of it has been caught: it need not be printed once more.
        BaseException.__setattr__(error, "__suppress_context__", True)
        raise error.with_traceback(None)

    def render_traceback(self, excid: int | None = None) -> list[str]:
        """The lines of one remote traceback, or of all: each below the engine that it comes from."""
        blocks = self._blocks()
        return "\n\n".join(blocks if excid is None else [blocks[excid]]).split("\n")

    def render_tracebacks(self) -> list[str]:
        """The lines of all remote tracebacks."""
        return self.render_traceback()

    def print_traceback(self, excid: int | None = None) -> None:
        """Print one remote traceback, or all: each below the engine that it comes from."""
        print("\n".join(self.render_traceback(excid)))

    def print_tracebacks(self) -> None:
        """Print all remote tracebacks."""
        self.print_traceback()

    def _render_traceback_(self) -> list[str]:
        # What IPython shows in the place of the local traceback.
        blocks = [f"CompositeError: {self.message}", *_middle_cut(self._blocks(), "print_tracebacks()")]
        return "\n\n".join(blocks).split("\n")

    def _blocks(self) -> list[str]:
        return [f"{self._get_engine_str(index)}\n{self._get_traceback(index)}" for index in range(len(self.elist))]

    def _get_engine_str(self, excid: int) -> str:
        info = self.elist[excid][3] or {}
        engine = info.get("engine_id")
        return f"[{'?' if engine is None else engine}:{info.get('method') or '?'}]: "

    def _get_traceback(self, excid: int) -> str:
        name, text, traceback, _ = self.elist[excid]
        return traceback.strip("\n") or _joined(name, text)


def _joined(name: str, text: str) -> str:
    return f"{name}: {text}" if text else name


def _middle_cut(parts: list[str], where: str, first: int = 16, last: int = 4) -> list[str]:
    """The first and the last of many; in between, how many more there are, and ``where`` to see them."""
    more = len(parts) - first - last
    return parts if more <= 1 else [*parts[:first], f"[...]: {more} more, see {where}", *parts[-last:]]


# What becomes of tasks ------------------------------------------------------------------------------


class EngineLost(ParpoolError):
    """The engine that ran the task died, and no retries were left. The message says how it died and in what."""


class TaskTimeout(ParpoolError, builtins.TimeoutError):
    """The task ran longer than its ``task_timeout``."""


class TaskAborted(ParpoolError):
    """The task was taken back before it began, or its pool was terminated."""


class UnmetDependency(ParpoolError):
    """No engine meets the functional dependency of the task."""


class DependencyTimeout(ParpoolError, builtins.TimeoutError):
    """The tasks that this one waits for did not end in time."""


class ImpossibleDependency(ParpoolError):
    """The tasks that this one waits for, or the engines that it needs, can never be as it needs them."""


class InvalidDependency(ParpoolError, ValueError):
    """What was given as a dependency is none. The message says what it may be."""


class SerializationError(ParpoolError):
    """Something cannot travel between processes. The message names the object and the path to it."""


class ForkedError(ParpoolError, RuntimeError):
    """A pool or client was used in a process forked from the one that made it."""


class EngineStartError(ParpoolError, RuntimeError):
    """Engines could not be started, or died before they were ready."""


class NoEngines(ParpoolError):
    """There is no engine that the call could go to. The message says how to get one."""


class ControllerLost(ParpoolError, ConnectionError):
    """The controller is gone, or cannot be reached. The message names its address and the next step."""


class ConnectionFileError(ParpoolError):
    """The file that says where the controller is cannot be found, or not be used. The message names it, and why."""


class AuthenticationError(ParpoolError):
    """The other side does not have the same key: its connection file is an older one, or of another cluster."""


class ProtocolError(ParpoolError):
    """The two sides speak different versions of parpool's protocol."""


# Of results -----------------------------------------------------------------------------------------

if TYPE_CHECKING:

    class ResultTimeout(TimeoutError, builtins.TimeoutError):
        """A view's result was not there in time. It may still come."""


def __getattr__(name: str) -> Any:
    # These two need multiprocessing, which no other exception does.
    if name not in ("ResultTimeout", "TimeoutError"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from multiprocessing import TimeoutError

    if name == "TimeoutError":
        return TimeoutError
    members = {"__module__": __name__, "__doc__": "A view's result was not there in time. It may still come."}
    return globals().setdefault(name, type(name, (TimeoutError, builtins.TimeoutError), members))


#: Older names of the same classes.
AbortedTask = TaskAborted
UnmetDependencyError = UnmetDependency
