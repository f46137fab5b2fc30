"""What must be so before a task runs: conditions of the engine, and ends of other tasks.

Conditions travel inside the function: :func:`depend` and :func:`require` make a :class:`dependent` of it, which looks
at the engine that it was sent to and raises :class:`~parpool.UnmetDependency` where it should run elsewhere. Ends of
other tasks (``after=`` and ``follow=``) are the scheduler's: :class:`Dependency` names them, and :func:`named` reads
whatever a caller names them by.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from ..errors import InvalidDependency, UnmetDependency
from ..wire.failure import safe_repr
from ..wire.fingerprint import MAIN

P = ParamSpec("P")
R = TypeVar("R")

# Functional dependencies ----------------------------------------------------------------------------------------


def depend(
    condition: Callable[..., object], /, *args: Any, **kwargs: Any
) -> Callable[[Callable[P, R]], dependent[P, R]]:
    """Decorate a function that may run only on engines where ``condition(*args, **kwargs)`` holds.

    The condition is called on the engine, before each call of the function. Where it gives something false other
    than None, or raises :class:`~parpool.UnmetDependency`, the task goes to another engine; it ends in
    UnmetDependency when every engine that it may run on has refused it. Whatever else the condition raises is the
    error of the task. ::

        @depend(os.path.exists, "/data/model.bin")
        def predict(x): ...
    """

    def decorate(function: Callable[P, R]) -> dependent[P, R]:
        return dependent(function, condition, *args, **kwargs)

    return decorate


def require(*things: Any, **named: Any) -> Callable[[Callable[P, R]], dependent[P, R]]:
    """Decorate a function that needs modules and other objects on the engine.

    Before each call the modules (given as objects or by name) are imported there, and bound where the function looks
    for its globals, as ``import`` would: ``require("os.path")`` binds ``os``. Functions, classes and other objects
    are sent along and bound under their ``__name__``. By keyword anything can be given another name:
    ``require(np=numpy, limit=5)``. What cannot be imported on an engine makes the task go to another, and end in
    :class:`~parpool.UnmetDependency` when every engine that it may run on has refused it. ::

        @require("re")
        def findall(pattern, text):
            return re.findall(pattern, text)

    A function that is rebuilt on the engine (of ``__main__``, or of a prompt) has the engine's namespace for its
    globals: there the names are bound whatever they meant before. An importable function has those of its module:
    there only names that the module does not have are bound.

    Raises ValueError for a string that cannot be the name of a module, TypeError for an object without a name.
    """
    modules: list[tuple[str | None, str]] = []
    objects: dict[str, Any] = {}
    for thing in things:
        if isinstance(thing, (str, ModuleType)):
            modules.append((None, _module_name(thing)))
            continue
        name = getattr(thing, "__name__", None)
        if not isinstance(name, str) or not name.isidentifier():
            raise TypeError(f"{safe_repr(thing)} has no name to bind it to: give it by keyword, require(name=...)")
        if objects.get(name, thing) is not thing:
            raise ValueError(f"two things to be bound to {name!r}: give one of them another name, by keyword")
        objects[name] = thing
    for name, thing in named.items():
        if isinstance(thing, ModuleType):
            modules.append((name, _module_name(thing)))
        elif name in objects:
            raise ValueError(f"two things to be bound to {name!r}")
        else:
            objects[name] = thing
    needed: Any = _Requirement(tuple(modules), objects)

    def decorate(function: Callable[P, R]) -> dependent[P, R]:
        return dependent(function, needed)

    return decorate


def _module_name(module: str | ModuleType) -> str:
    name = module if isinstance(module, str) else module.__name__
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(
            f"{name!r} cannot be the name of a module (for `import numpy as np` write require(np=numpy), "
            "for `from m import f` write require(m.f))"
        )
    return name


class dependent(Generic[P, R]):
    """A function with conditions; calling it checks them, in the order in which they stand above it, then calls it.

    ``__wrapped__`` is the function. It keeps name, docstring and signature, can be a method, and travels as functions
    do: by reference where it is importable, else by value.
    """

    __wrapped__: Callable[P, R]
    _conditions: tuple[_Condition | _Requirement, ...]

    def __init__(
        self, function: Callable[P, R], condition: Callable[..., object], /, *args: Any, **kwargs: Any
    ) -> None:
        given: Any = function
        check: Any = condition
        if isinstance(given, (staticmethod, classmethod)):
            raise TypeError(f"put @{type(given).__name__} above this decorator, not below")
        if not callable(given):
            raise TypeError(f"{safe_repr(given)} cannot be decorated (did @require lack its parentheses?)")
        if not isinstance(check, _Requirement):
            if not callable(check):
                raise TypeError(f"a condition must be callable, and {safe_repr(check)} is not")
            check = _Condition(check, args, kwargs)
        checks: tuple[_Condition | _Requirement, ...] = (check,)
        if isinstance(function, dependent):
            checks += function._conditions
            function = function.__wrapped__
        self._adopt(function)
        self._conditions = checks

    def _adopt(self, function: Callable[P, R]) -> None:
        # The attributes of a class, or of an object that is called, are its own.
        updated = functools.WRAPPER_UPDATES if isinstance(function, FunctionType) else ()
        functools.update_wrapper(self, function, updated=updated)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Check the conditions in this process, and call the function. Raises UnmetDependency."""
        for condition in self._conditions:
            condition.check(self.__wrapped__)
        return self.__wrapped__(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<dependent {_name(self.__wrapped__)}>"

    # -- how it travels ---------------------------------------------------------------------------------------

    def __reduce_ex__(self, protocol: Any) -> Any:
        # What it needs is looked for before anything else of it is opened: else an engine that lacks a module would
        # fail at the function that refers to it, and could not say that another engine should have the task.
        needs = tuple(dict.fromkeys(name for condition in self._conditions for name in condition.needs()))
        name = _name(self.__wrapped__)
        if _importable(self):
            qualname: str = vars(self)["__qualname__"]
            return (_find, (needs, name, self.__module__, qualname)) if needs else qualname
        function = self.__wrapped__
        own = {
            key: value
            for key, value in vars(self).items()
            if key not in ("__wrapped__", "_conditions") and getattr(function, key, None) is not value
        }
        # Two steps, as the function may refer to itself.
        return _begin, (needs, name), (self._conditions, function, own)

    def __setstate__(self, state: tuple[Any, Any, dict[str, Any]]) -> None:
        conditions, function, own = state
        self._adopt(function)
        vars(self).update(own)
        self._conditions = conditions


class _Condition(NamedTuple):
    """A call that must not give something false."""

    condition: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def check(self, function: object) -> None:
        """Raise UnmetDependency where ``function`` should not run in this process."""
        met = self.condition(*self.args, **self.kwargs)
        if met is not None and not met:
            words = [safe_repr(arg, 60) for arg in self.args]
            words += [f"{name}={safe_repr(value, 60)}" for name, value in self.kwargs.items()]
            call = f"{_name(self.condition)}({', '.join(words)})"
            raise UnmetDependency(f"{_name(function)} depends on {call}, which is {safe_repr(met, 60)}")

    def needs(self) -> list[str]:
        """The modules that must be there for it."""
        return []


class _Requirement(NamedTuple):
    """Modules and objects that a function needs."""

    modules: tuple[tuple[str | None, str], ...]  #: the name to bind it to (None: as ``import`` does), and its own
    objects: dict[str, Any]

    def check(self, function: object) -> None:
        """Provide ``function`` with them. Raises UnmetDependency where a module cannot be imported here."""
        found: dict[str, Any] = {}
        for name, module in self.modules:
            imported = _import(module, _name(function))
            if name is None:
                name = module.partition(".")[0]
                imported = sys.modules[name]
            found[name] = imported
        found.update(self.objects)
        known = _globals(function)
        if known is not None and _is_a_modules(known):
            for name, value in found.items():
                known.setdefault(name, value)
        elif known is not None:
            known.update(found)

    def needs(self) -> list[str]:
        """The modules that must be there for it: also those that its objects come from."""
        sources = [value.__module__ for value in self.objects.values() if _importable(value)]
        return [module for _, module in self.modules] + sources


def _import(module: str, needed_by: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UnmetDependency(f"{needed_by} requires {module}, which cannot be imported: {reason}") from error


def _find(needs: tuple[str, ...], name: str, module: str, qualname: str) -> Any:
    """The function of a module, where that which it needs can be imported."""
    for each in needs:
        _import(each, name)
    found: Any = importlib.import_module(module)
    for step in qualname.split("."):
        found = getattr(found, step)
    return found


def _begin(needs: tuple[str, ...], name: str) -> dependent[..., Any]:
    """An empty one, to be filled, where that which it needs can be imported."""
    for each in needs:
        _import(each, name)
    made: dependent[..., Any] = dependent.__new__(dependent)
    return made


def _importable(thing: Any) -> bool:
    """Can other processes import it by its name?"""
    module, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or module in MAIN:
        return False
    cloudpickle = sys.modules.get("cloudpickle")
    if cloudpickle is not None and module in cloudpickle.list_registry_pickle_by_value():
        return False
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found is thing


def _globals(function: Any) -> dict[str, Any] | None:
    """The globals that the innermost function sees; None for what has none, such as a builtin."""
    inner = function
    while inner is not None:
        function = inner
        if isinstance(function, functools.partial):
            inner = function.func
        else:
            inner = getattr(function, "__wrapped__", getattr(function, "__func__", None))
    if isinstance(function, type):  # those of its methods
        function = next((each for each in vars(function).values() if isinstance(each, FunctionType)), None)
    elif not isinstance(function, FunctionType):
        function = type(function).__call__
    return getattr(function, "__globals__", None)


def _is_a_modules(names: dict[str, Any]) -> bool:
    """Are these the globals of a module that can be imported, and not a namespace?"""
    name = names.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) and name not in MAIN else None
    return module is not None and vars(module) is names


def _name(function: Any) -> str:
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else safe_repr(function, 60)


# Tasks that others depend on ------------------------------------------------------------------------------------

_DEFAULT = (True, True, False)  #: all of them, with success


class Dependency(set[str]):
    """The message ids of tasks, and what they must come to before another may run: for ``after=`` and ``follow=``.

    ``dependencies`` are message ids, AsyncResults (which stand for all of their tasks), other dependencies (of which
    only the ids count here), or collections of them in any nesting. The tasks must ``all`` end, or any of them; with
    ``success``, with ``failure``, or either. Where nothing is named, nothing is waited for.

    Raises :class:`~parpool.InvalidDependency` for what names no task, and where nothing could meet it.
    """

    all: bool
    success: bool
    failure: bool

    def __init__(self, dependencies: Any = (), all: bool = True, success: bool = True, failure: bool = False) -> None:
        for name, flag in (("all", all), ("success", success), ("failure", failure)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name} must be a bool, not {safe_repr(flag)}")
        if not (success or failure):
            raise InvalidDependency("a dependency must be met by success, by failure, or by both")
        ids: list[str] = []
        inner: list[Dependency] = []
        _gather(dependencies, ids, inner)
        super().__init__(ids)
        self.update(*inner)
        self.all, self.success, self.failure = all, success, failure

    def check(self, completed: Collection[str], failed: Collection[str] | None = None) -> bool:
        """Is it met, when these ids have ended with success and those with failure?"""
        ended = {*(completed if self.success else ()), *(failed or () if self.failure else ())}
        return self <= ended if self.all or not self else not self.isdisjoint(ended)

    def unreachable(self, completed: Collection[str], failed: Collection[str] | None = None) -> bool:
        """Can it never be met any more, when these ids have ended with success and those with failure?"""
        excluded = {*(() if self.success else completed), *(() if self.failure else failed or ())}
        return not self.isdisjoint(excluded) if self.all or not self else self <= excluded

    def as_dict(self) -> dict[str, Any]:
        """A plain dict, for :meth:`from_dict`."""
        return {"dependencies": sorted(self), "all": self.all, "success": self.success, "failure": self.failure}

    @classmethod
    def from_dict(cls, made: Mapping[str, Any]) -> Dependency:
        """The dependency that :meth:`as_dict` made a dict of."""
        return cls(**made)

    def copy(self) -> Dependency:
        """Another with the same ids and flags."""
        return type(self)(self, self.all, self.success, self.failure)

    def __repr__(self) -> str:
        return f"Dependency({sorted(self)}, all={self.all}, success={self.success}, failure={self.failure})"


def named(dependency: Any) -> tuple[frozenset[str], bool, bool, bool] | None:
    """The message ids that ``after=`` or ``follow=`` names, and its flags ``all``, ``success``, ``failure``.

    None where nothing is named. A collection may hold a :class:`Dependency` only where its flags can hold for the
    whole collection.
    """
    if dependency is None:
        return None
    ids: list[str] = []
    inner: list[Dependency] = []
    _gather(dependency, ids, inner)
    kinds = {(each.all, each.success, each.failure) for each in inner if each}
    if ids:
        kinds.add(_DEFAULT)
    if len(kinds) > 1 or (len(inner) > 1 and not all(each.all for each in inner)):
        raise InvalidDependency(
            "dependencies with flags of their own cannot stand in one collection: make one Dependency of it"
        )
    for each in inner:
        _gather(set(each), ids, [])
    return (frozenset(ids), *kinds.pop()) if ids else None


def _gather(entry: Any, ids: list[str], inner: list[Dependency]) -> None:
    """Sort what names tasks into message ids and dependencies."""
    if isinstance(entry, str) and entry:
        ids.append(entry)
    elif isinstance(entry, Dependency):
        inner.append(entry)
    elif (of_result := getattr(entry, "msg_ids", None)) is not None:
        if not of_result and _has_failed(entry):
            raise InvalidDependency(f"{safe_repr(entry)} names no task: it failed before it was sent")
        ids += of_result
    elif isinstance(entry, Iterable) and not isinstance(entry, (str, bytes, bytearray, Mapping)):
        for each in entry:
            _gather(each, ids, inner)
    else:
        raise InvalidDependency(f"tasks are named by message ids and AsyncResults, and {safe_repr(entry)} is neither")


def _has_failed(result: Any) -> bool:
    ready = getattr(result, "ready", None)
    return callable(ready) and bool(ready()) and not result.successful()
