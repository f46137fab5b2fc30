"""ipyparallel's exceptions: parpool's, by the names that they have there.

There, whatever a view raises is a ``RemoteError``: for several engines, and for what became of a task, too. So those of
parpool's exceptions that are none come as classes of both kinds here: ``except parpool.EngineLost`` and
``except ipp.EngineError`` catch the same, as does ``except ipp.RemoteError`` with a look at ``ename``.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import parpool
from parpool import NoEngines, ParpoolError, RemoteError, TaskAborted

from .metadata import each_of

__all__ = [
    "AlreadyDisplayedError",
    "CompositeError",
    "DependencyTimeout",
    "EngineError",
    "IPythonError",
    "ImpossibleDependency",
    "InvalidDependency",
    "KernelError",
    "NoEnginesRegistered",
    "NoSuchTask",
    "RemoteError",
    "TaskAborted",
    "TaskRejectError",
    "TaskTimeout",
    "TimeoutError",
    "UnmetDependency",
    "collect_exceptions",
]

IPythonError = KernelError = ParpoolError
NoEnginesRegistered = NoEngines
TimeoutError = builtins.TimeoutError  #: which parpool's own are, too

#: What a task raises that is to run on another engine.
TaskRejectError = parpool.UnmetDependency

# What became of a task ------------------------------------------------------------------------------


class EngineError(RemoteError, parpool.EngineLost):
    """The engine died with the task."""


class TaskTimeout(RemoteError, parpool.TaskTimeout):
    """The task ran longer than its ``task_timeout``, which only parpool has."""


class UnmetDependency(RemoteError, parpool.UnmetDependency):
    """No engine meets the functional dependency of the task."""


class ImpossibleDependency(UnmetDependency, parpool.ImpossibleDependency):
    """The tasks that this one waits for can never be as it needs them."""


class DependencyTimeout(ImpossibleDependency, parpool.DependencyTimeout):
    """The tasks that this one waits for did not end in ``timeout`` seconds."""


class InvalidDependency(ImpossibleDependency, parpool.InvalidDependency):
    """What was given as a dependency is none."""


class NoSuchTask(RemoteError, KeyError):
    """A task that is not known, here or to the hub. There, it is a RemoteError whose ``ename`` is ``KeyError``."""

    __str__ = RemoteError.__str__


@contextmanager
def unknown_ones() -> Iterator[None]:
    """Within it, a KeyError comes out as :class:`NoSuchTask`."""
    try:
        yield
    except KeyError as error:
        raise NoSuchTask("KeyError", str(error.args[0])) from None


_FATES: Mapping[type[ParpoolError], type[RemoteError]] = {
    parpool.EngineLost: EngineError,
    parpool.TaskTimeout: TaskTimeout,
    parpool.UnmetDependency: UnmetDependency,
    parpool.ImpossibleDependency: ImpossibleDependency,
    parpool.DependencyTimeout: DependencyTimeout,
    parpool.InvalidDependency: InvalidDependency,
}
_NAMES = {theirs.__name__: ours.__name__ for theirs, ours in _FATES.items()}

# Of several engines ---------------------------------------------------------------------------------


class CompositeError(parpool.CompositeError, RemoteError):
    """A call failed on one or more of several engines. As in parpool, and a RemoteError besides."""

    tb_limit = 4  #: how many tracebacks are shown

    @property
    def msg(self) -> str:
        """What the first line says."""
        return self.message

    def render_traceback(self, excid: int | None = None) -> list[str]:
        """The lines of one remote traceback, or of the first :attr:`tb_limit`."""
        if excid is not None:
            return super().render_traceback(excid)
        lines = [
            line for each in range(len(self.elist))[: self.tb_limit] for line in [*self.render_traceback(each), ""]
        ]
        more = len(self.elist) - self.tb_limit
        return [*lines, f"... {more} more exceptions ..."] if more > 0 else lines

    def _render_traceback_(self, excid: int | None = None) -> list[str]:
        return [f"CompositeError: {self.message}", "", *self.render_traceback(excid)]  # what IPython shows


class AlreadyDisplayedError(RemoteError):
    """Errors of which the prompt has shown everything."""

    def __init__(self, original_error: parpool.CompositeError) -> None:
        super().__init__("AlreadyDisplayedError", f"{len(original_error.elist)} errors")
        self.original_error = original_error
        self.n = len(original_error.elist)

    def __str__(self) -> str:
        return f"{self.n} errors"

    def render_traceback(self, excid: int | None = None) -> list[str]:
        """The number of them."""
        return [str(self)]


def collect_exceptions(rdict_or_list: Any, method: str = "unspecified") -> Any:
    """What was given, where there is no RemoteError in it; else raise a CompositeError of those."""
    values = list(rdict_or_list.values() if isinstance(rdict_or_list, dict) else rdict_or_list)
    found: list[Exception] = []
    elist: list[Any] = []
    for error in values:
        if isinstance(error, parpool.CompositeError):
            found += error.exceptions
            elist += error.elist
        elif isinstance(error, RemoteError):
            found.append(error)
            elist.append((error.ename, error.evalue, error.traceback, error.engine_info))
    if not found:
        return rdict_or_list
    raise CompositeError(f"one or more exceptions raised in: {method}", elist, found, values)


# The translation ------------------------------------------------------------------------------------


def translated(error: BaseException, result: parpool.AsyncResult | None = None) -> BaseException:
    """An exception of parpool's as ipyparallel has it; any other one as it is. ``result``: of which it is."""
    made = _translated(error)
    if result is not None and isinstance(made, RemoteError):
        _add_uuids(made, result.metadata)
    return made


def _add_uuids(error: RemoteError, metadata: Any) -> None:
    """To what is told of an engine belongs its uuid."""
    uuids = {task["engine_id"]: task["engine_uuid"] for task in each_of(metadata)}
    infos = [entry[3] for entry in error.elist] if isinstance(error, CompositeError) else [error.engine_info]
    for info in infos:
        if info and info.get("engine_id") in uuids:
            info["engine_uuid"] = uuids[info["engine_id"]]


def _translated(error: BaseException) -> BaseException:
    made: BaseException
    if type(error) in _FATES:
        kind = _FATES[type(error)]  # type: ignore[index]
        made = kind(kind.__name__, str(error))
    elif type(error) is parpool.CompositeError:
        found = list(_flat(error))
        elist = [(_NAMES.get(name, name), text, traceback, info) for (name, text, traceback, info), _ in found]
        made = CompositeError(error.message, elist, [_exception(each) for _, each in found], error.results)
        made.ename, made.evalue = "CompositeError", error.message
    else:
        return error
    made.__cause__ = error.__cause__
    return made


def _flat(error: parpool.CompositeError) -> Iterator[tuple[Any, Exception]]:
    """What it is made of, with that of those within it."""
    for entry, each in zip(error.elist, error.exceptions, strict=True):
        if isinstance(each, parpool.CompositeError):
            yield from _flat(each)
        else:
            yield entry, each


def _exception(error: Exception) -> Exception:
    made = translated(error)
    return made if isinstance(made, Exception) else error


@contextmanager
def translating(result: parpool.AsyncResult | None = None) -> Iterator[None]:
    """Within it, parpool's exceptions come out as ipyparallel's. ``result``: of which they are."""
    try:
        yield
    except parpool.ResultTimeout as error:
        raise TimeoutError(str(error)) from None
    except ParpoolError as error:
        made = translated(error, result)
        if made is error:
            raise
        raise made from error.__cause__  # and not from what it was made of, which would be printed again


def with_translated(values: Any) -> Any:
    """A value, or a list of them, with the exceptions translated."""
    if isinstance(values, list):
        return [translated(each) if isinstance(each, BaseException) else each for each in values]
    return translated(values) if isinstance(values, BaseException) else values
