"""Is this the same code? A fingerprint of functions and classes that two processes can compare.

It covers what decides the behaviour (byte code, constants, names, defaults, and the functions and classes of the same
module that the code refers to) and leaves out where the code stands, so that a script's function has the same
fingerprint in the process that runs the script and in one that imported it.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Iterator
from enum import Enum
from hashlib import blake2b
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any

#: ``__main__`` as it is called in a process, and in one that multiprocessing spawned from it.
MAIN = ("__main__", "__mp_main__")
WRAPPERS = 16  #: how deep a function may lie in decorators that are no functions


def is_main_code(value: object) -> bool:
    """Is it a function or class that ``__main__`` defines, or a wrapper of one (``lru_cache``)?"""
    inner = value
    for _ in range(WRAPPERS):
        if isinstance(inner, (FunctionType, type)):
            return getattr(value, "__module__", None) in MAIN and isinstance(getattr(value, "__qualname__", None), str)
        inner = getattr(inner, "__wrapped__", None)
        if inner is None:
            break
    return False


def is_code(value: object) -> bool:
    """Is it a module, function or class, which travels with the code that refers to it? All else is data."""
    if isinstance(value, (ModuleType, FunctionType, type)):
        return True
    if isinstance(value, BuiltinFunctionType):
        return value.__self__ is None or isinstance(value.__self__, ModuleType)  # else a method of some object
    if not callable(value) or not isinstance(getattr(value, "__name__", None), str):
        return False
    return is_main_code(value) or (type(value).__module__ not in MAIN and _goes_by_name(value))


def _goes_by_name(value: Any) -> bool:
    """Is it pickled as no more than its name, as the functions are that numpy and others make of classes of theirs?"""
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        return isinstance(value.__reduce_ex__(4) if reduce is None else reduce(value), str)
    except Exception:  # whatever their classes raise
        return False


def whereabouts(value: Any) -> tuple[str, str] | None:
    """By which module and name importable code is found, a module itself by the empty name; None: it is not."""
    if isinstance(value, ModuleType):
        return (value.__name__, "") if sys.modules.get(value.__name__) is value else None
    module, name = value.__module__, getattr(value, "__qualname__", None) or value.__name__
    found: Any = sys.modules.get(module)
    for step in name.split("."):
        found = getattr(found, step, None)
    return (module, name) if found is value else None


def names_under(code: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """The global names, and attributes, that code of ``__main__`` refers to, each with the globals to find it in.

    Also those that it refers to by way of other code of ``__main__``.
    """
    todo, seen = [code], set()
    while todo:
        value = todo.pop()
        if id(value) in seen or not is_main_code(value):
            continue
        seen.add(id(value))
        if isinstance(value, FunctionType):
            known = value.__globals__
            for name in names_in(value.__code__):
                yield known, name
                todo.append(known.get(name))
            todo += map(_content, value.__closure__ or ())
        elif isinstance(value, type):
            todo += value.__bases__
            for member in vars(value).values():
                todo += _functions_in(member)
        todo.append(getattr(value, "__wrapped__", None))


def referred(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Names and values of the functions and classes of ``__main__`` that the code of ``function`` refers to."""
    known = function.__globals__
    for name in names_in(function.__code__):
        value = known.get(name)
        if value is not function and is_main_code(value):
            yield name, value


def names_in(code: CodeType) -> Iterator[str]:
    """The global names, and attributes, that code refers to."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def fingerprint(value: FunctionType | type) -> bytes:
    """16 bytes that are equal for equal code."""
    digest = blake2b(digest_size=16)
    for part in _parts(value, set()):
        digest.update(part)
        digest.update(b"\0")
    return digest.digest()


def _parts(value: Any, seen: set[int]) -> Iterator[bytes]:
    if id(value) in seen:
        yield b"again"
        return
    seen.add(id(value))
    yield value.__qualname__.encode("utf-8", "replace")
    if isinstance(value, FunctionType):
        yield from _function_parts(value, seen)
    elif isinstance(value, type):
        for base in value.__bases__:
            yield from _parts(base, seen) if is_main_code(base) else [base.__qualname__.encode()]
        if issubclass(value, Enum):
            for name, member in value.__members__.items():
                yield name.encode()
                yield _constant(member.value)
        for name, member in sorted(vars(value).items()):
            if not name.startswith("__annotate"):
                yield from _member_parts(name, member, seen)
    else:
        yield type(value).__qualname__.encode()
        yield _constant(getattr(value, "_conditions", ()))  # of a function with dependencies
        yield from _parts(value.__wrapped__, seen)


def _function_parts(value: FunctionType, seen: set[int]) -> Iterator[bytes]:
    yield from _code_parts(value.__code__)
    yield from map(_constant, value.__defaults__ or ())
    for name, default in sorted((value.__kwdefaults__ or {}).items()):
        yield name.encode()
        yield _constant(default)
    # Of cells only the code: what a decorator wraps. Their data is state, as that of a module's globals is.
    for inner in (getattr(value, "__wrapped__", None), *map(_content, value.__closure__ or ())):
        if isinstance(inner, FunctionType):
            yield from _parts(inner, seen)
    for name, code in sorted(referred(value), key=lambda pair: pair[0]):
        yield name.encode()
        yield from _parts(code, seen)


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # nothing was assigned to it yet
        return None


def _member_parts(name: str, member: Any, seen: set[int]) -> Iterator[bytes]:
    """Of a class: its functions in whatever they are wrapped. Data is state, and no part of the code."""
    for function in _functions_in(member):
        if isinstance(function, FunctionType) or (function is member and is_main_code(member)):
            yield name.encode() + type(member).__qualname__.encode()
            yield from _parts(function, seen)


def _functions_in(member: Any) -> list[Any]:
    """What a member of a class may have its functions in."""
    wrappers = ("__func__", "fget", "fset", "fdel", "func", "__wrapped__")
    return [member, *(getattr(member, attribute, None) for attribute in wrappers)]


def _code_parts(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr(
        (
            code.co_names,
            code.co_varnames,
            code.co_freevars,
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            code.co_flags,
        )
    ).encode("utf-8", "replace")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_parts(constant)
        else:
            yield _constant(constant)


def _constant(value: object) -> bytes:
    """A constant or default as bytes. Sets are sorted: their order differs between processes."""
    if isinstance(value, (frozenset, set)):
        return b"{" + b",".join(sorted(map(_constant, value))) + b"}"
    if isinstance(value, tuple):
        return b"(" + b",".join(map(_constant, value)) + b")"
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)) or value is Ellipsis:
        return repr(value).encode("utf-8", "backslashreplace")
    if isinstance(value, FunctionType):
        return b"|".join(_parts(value, set()))
    return type(value).__qualname__.encode()
