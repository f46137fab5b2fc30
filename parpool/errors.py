"""Every exception of parpool.

::

    ParpoolError
    ├── RemoteError             an exception of a task that could not be rebuilt here, or a view's call that failed
    ├── EngineLost              the engine died with the task
    ├── TaskTimeout             the task ran longer than task_timeout (also a TimeoutError)
    ├── TaskAborted             the task was taken back before it began, or its pool was terminated
    ├── UnmetDependency         no engine meets the task's functional dependency
    ├── DependencyTimeout       the tasks that it waits for did not end in time (also a TimeoutError)
    ├── ImpossibleDependency    they can never end as the task needs it
    ├── SerializationError      something cannot travel between processes; names it and the way to it
    ├── ForkedError             a pool or client was used in a process forked from the one that made it
    ├── EngineStartError        engines could not be started, or died before they were ready
    └── ProtocolError           the two sides speak different versions

``multiprocessing``'s own errors are used where its contract names them: ``multiprocessing.TimeoutError``,
``multiprocessing.pool.MaybeEncodingError`` and ``multiprocessing.pool.RemoteTraceback`` (as the cause of an exception
that a task raised).
"""

from __future__ import annotations

__all__ = [
    "AbortedTask",
    "DependencyTimeout",
    "EngineLost",
    "EngineStartError",
    "ForkedError",
    "ImpossibleDependency",
    "ParpoolError",
    "ProtocolError",
    "RemoteError",
    "SerializationError",
    "TaskAborted",
    "TaskTimeout",
    "UnmetDependency",
    "UnmetDependencyError",
]


class ParpoolError(Exception):
    """Base of every exception that parpool itself raises."""


class RemoteError(ParpoolError):
    """An exception of a task, by name and text, where the object itself could not come here.

    ``ename`` is the name of its type, ``evalue`` its text, ``traceback`` the remote traceback as text, and
    ``engine_id`` the engine that it was raised on (None: not known).
    """

    def __init__(self, ename: str, evalue: str, traceback: str = "", engine_id: int | None = None) -> None:
        super().__init__(ename, evalue, traceback, engine_id)
        self.ename = ename
        self.evalue = evalue
        self.traceback = traceback
        self.engine_id = engine_id

    def __str__(self) -> str:
        return f"{self.ename}({self.evalue})"


class EngineLost(ParpoolError):
    """The engine that ran the task died, and no retries were left. The message says how it died and in what."""


class TaskTimeout(ParpoolError, TimeoutError):
    """The task ran longer than its ``task_timeout``."""


class TaskAborted(ParpoolError):
    """The task was taken back before it began, or its pool was terminated."""


class UnmetDependency(ParpoolError):
    """No engine meets the functional dependency of the task."""


class DependencyTimeout(ParpoolError, TimeoutError):
    """The tasks that this one waits for did not end in time."""


class ImpossibleDependency(ParpoolError):
    """The tasks that this one waits for, or the engines that it needs, can never be as it needs them."""


class SerializationError(ParpoolError):
    """Something cannot travel between processes. The message names the object and the path to it."""


class ForkedError(ParpoolError, RuntimeError):
    """A pool or client was used in a process forked from the one that made it."""


class EngineStartError(ParpoolError, RuntimeError):
    """Engines could not be started, or died before they were ready."""


class ProtocolError(ParpoolError):
    """The two sides speak different versions of parpool's protocol."""


#: Older names of the same classes.
AbortedTask = TaskAborted
UnmetDependencyError = UnmetDependency
