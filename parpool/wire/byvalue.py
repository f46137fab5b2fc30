"""Code by value: functions and classes that the other side does not have.

cloudpickle (or dill, by choice) does the work; what is ours is where a rebuilt function looks up its globals. In
``__main__``'s functions, lambdas and closures that is the *engine's namespace*, so that what was put there is seen and
what the function assigns stays; in a function that an importable module made, it is that module. The functions,
classes and modules of ``__main__`` that the code refers to travel with it and are bound in the namespace; data does
not travel.
"""

from __future__ import annotations

import functools
import importlib
import io
import sys
from collections.abc import Callable
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle

from .envelope import Apart, equipped
from .fingerprint import MAIN, is_code, is_main_code, names_in
from .registered import goes_by_value

#: Set by the engine: binds travelled code in its namespace, and gives that namespace.
bind: Callable[[dict[str, Any]], dict[str, Any]] | None = None


#: Set by the engine: takes packed references to code, by name, to be bound when the pickle is open.
bind_later: Callable[[dict[str, bytes]], None] | None = None

#: The script, in a process that multiprocessing has spawned from it. To cloudpickle that is a module like any other.
_spawned = sys.modules.get("__mp_main__")
if _spawned is not None and _spawned.__name__ == "__mp_main__":
    cloudpickle.register_pickle_by_value(_spawned)

#: What a reference to code of ``__main__`` is reduced to; None: the code is not one that the other side may have.
Refer = Callable[[Any], "tuple[Any, ...] | None"]


def dumps(
    value: object, *, serializer: str = "cloudpickle", refer: Refer | None = None, apart: Apart | None = None
) -> bytes:
    """Pickle ``value``: by value what is not importable there, but ``refer`` may give a reference for some of it.

    ``apart`` takes the buffers that are left out. (Not with dill.)
    """
    if serializer == "dill":
        return _dill_dumps(value)
    with io.BytesIO() as file:
        ValuePickler(file, refer, apart).dump(value)
        return file.getvalue()


def _dill_dumps(value: object) -> bytes:
    import dill

    data: bytes = dill.dumps(value, protocol=5, recurse=True, byref=False)
    return data


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler, with the globals of functions where the manual says."""

    def __init__(self, file: io.BytesIO, refer: Refer | None = None, apart: Apart | None = None) -> None:
        apart = equipped(apart)
        super().__init__(file, protocol=5, buffer_callback=apart)
        if apart is not None:
            apart.equip(self)
        self._refer = refer
        self._classes: set[type] = set()  #: those that went, or are on their way, by value

    def reducer_override(self, value: Any) -> Any:
        """How functions go; all else as cloudpickle has it."""
        if self._refer is not None and isinstance(getattr(value, "__module__", None), str):
            reference = self._refer(value) if callable(value) else None
            if reference is not None:
                return reference
        if isinstance(value, functools._lru_cache_wrapper) and not _importable(value):
            return _make_cached, (value.__wrapped__, value.cache_parameters())
        if isinstance(value, FunctionType) and not _importable(value):
            home = _home(value)
            if home is not None:
                return _reduce_function(value, home, self._refer)
        if isinstance(value, type) and is_main_code(value) and "." in value.__qualname__:
            outer = self._outer(value)
            if outer is not None:
                return getattr, (outer, value.__name__)
        if isinstance(value, type):
            self._classes.add(value)
        reduced = super().reducer_override(value)
        if not isinstance(value, type) or not isinstance(reduced, tuple) or len(reduced) != 6:
            return reduced
        make, args, content, _, _, fill = reduced
        args = _with_slots(value, args)
        if is_main_code(value) and "<" not in value.__qualname__:
            return make, args, (content, value.__qualname__, fill), None, None, _fill_class
        return make, args, *reduced[2:]

    def _outer(self, inner: type) -> type | None:
        """The class to send in the place of an inner one, which can be found in it; None: send the inner itself."""
        path, _, name = inner.__qualname__.rpartition(".")
        outer: Any = sys.modules["__main__"]
        for step in path.split("."):
            outer = getattr(outer, step, None)
        known = isinstance(outer, type) and vars(outer).get(name) is inner and outer not in self._classes
        return outer if known else None


def _with_slots(kind: type, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """What cloudpickle makes a class from, with the ``__slots__``, which it leaves out: later they cannot be made."""
    slots = vars(kind).get("__slots__")
    if len(args) == 6 and isinstance(args[3], dict) and isinstance(slots, (str, tuple, list, dict)):
        return (*args[:3], {**args[3], "__slots__": slots}, *args[4:])
    return args


def _importable(function: Any) -> bool:
    if function.__module__ in MAIN or function.__module__ is None:
        return False
    if goes_by_value(function.__module__):
        return False
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def _home(function: FunctionType) -> str | None:
    """``""`` for the engine's namespace, a module's name for its globals; None: leave it to cloudpickle."""
    module = sys.modules.get(function.__module__ or "__main__")
    if module is None or module.__dict__ is not function.__globals__:
        # Made by exec or in a module that is gone: only a namespace that is nobody's own counts as __main__'s.
        return "" if function.__module__ in MAIN or function.__module__ is None else None
    if function.__module__ in MAIN:
        return ""
    if goes_by_value(function.__module__):
        return None
    return function.__module__


def _make_cached(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _fill_class(kind: type, state: tuple[Any, str, Callable[[type, Any], object]]) -> None:
    """Fill a class of ``__main__``, and let it be found by its name: so its instances can go back by reference."""
    content, qualname, fill = state
    fill(kind, content)
    kind.__qualname__ = qualname  # which cloudpickle leaves out
    if bind is not None and "." not in qualname:
        bind({qualname: kind})


def _reduce_function(function: FunctionType, home: str, refer: Refer | None) -> tuple[Any, ...]:
    code = function.__code__
    cells = function.__closure__ or ()
    code_globals: dict[str, Any] = {}
    references: dict[str, bytes] = {}
    for name, value in _code_globals(function).items() if home == "" else ():
        reference = refer(value) if refer is not None and not isinstance(value, ModuleType) else None
        if reference is None:
            code_globals[name] = value
        else:
            # Only named: opening it here could lead back to this very function.
            references[name] = reference[1][0]
    # Two steps, as the function may refer to itself: first make it, then fill it.
    state = {
        "cells": tuple(_cell_content(cell) for cell in cells),
        "defaults": function.__defaults__,
        "kwdefaults": function.__kwdefaults__,
        "qualname": function.__qualname__,
        "module": function.__module__,
        "doc": function.__doc__,
        "annotations": getattr(function, "__annotations__", {}),
        "dict": function.__dict__,
        "code": code_globals,
        "references": references,
    }
    return _make_function, (code, function.__name__, home, len(cells)), state, None, None, _fill_function


class _EmptyCell:
    """Stands for a cell that nothing was assigned to yet."""


def _cell_content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EmptyCell


def _code_globals(function: FunctionType) -> dict[str, Any]:
    """The modules, functions and classes that the code refers to: code travels with the function."""
    known = function.__globals__
    return {name: known[name] for name in dict.fromkeys(names_in(function.__code__)) if is_code(known.get(name))}


def _make_function(code: CodeType, name: str, home: str, cells: int) -> FunctionType:
    if home:
        namespace = importlib.import_module(home).__dict__
    else:
        namespace = bind({}) if bind is not None else sys.modules["__main__"].__dict__
    return FunctionType(code, namespace, name, None, tuple(CellType() for _ in range(cells)))


def _fill_function(function: FunctionType, state: dict[str, Any]) -> None:
    for cell, content in zip(function.__closure__ or (), state["cells"], strict=True):
        if content is not _EmptyCell:
            cell.cell_contents = content
    function.__defaults__ = state["defaults"]
    function.__kwdefaults__ = state["kwdefaults"]
    function.__qualname__ = state["qualname"]
    function.__module__ = state["module"]
    function.__doc__ = state["doc"]
    function.__annotations__ = state["annotations"]
    function.__dict__.update(state["dict"])
    if bind is not None and state["code"]:
        bind(state["code"])
    if bind_later is not None and state["references"]:
        bind_later(state["references"])
