"""Which part of an object cannot travel, and the way to it."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

from ..errors import SerializationError
from .failure import safe_repr

DEEPEST = 12  #: steps into an object


def explain(value: Any, refusal: Exception, roots: tuple[str, ...] = ()) -> Exception:
    """``refusal`` as a SerializationError that names the culprit and the path to it.

    The error is also an instance of the refusal's own class, where one can be made: callers of the stdlib's Pool
    catch ``PicklingError``, ``TypeError``, ``AttributeError``, or whatever a ``__reduce__`` of theirs raises.
    """
    path, culprit = "", value
    if roots:
        for name, root in zip(roots, value, strict=False):
            if not _travels(root):
                path, culprit = _culprit(root, name, 0, set())
                break
    else:
        path, culprit = _culprit(value, "", 0, set())
    where = f" at {path.lstrip('.')}" if path else ""
    text = (
        f"cannot send {_describe(culprit)} of type {type(culprit).__qualname__}{where} to another process: "
        f"{type(refusal).__name__}: {refusal}"
    )
    return two_natures(SerializationError, refusal, text)


def two_natures(ours: type[Exception], original: BaseException, text: str) -> Exception:
    """An instance of ``ours`` that ``except type(original)`` catches as well, where Python allows such a class."""
    kind = type(original)
    if isinstance(original, ours):
        return original
    try:
        both: Any = type(
            ours.__name__, (ours, kind), {"__module__": ours.__module__, "__reduce__": _reduce_plain(ours)}
        )
        error: Exception = both.__new__(both, text)
        error.args = (text,)
        str(error)
    except Exception:
        error = ours(text)
    error.__cause__ = original
    return error


def _reduce_plain(ours: type[Exception]) -> Any:
    def __reduce__(self: Exception) -> tuple[Any, ...]:
        return ours, self.args

    return __reduce__


def _travels(value: Any) -> bool:
    try:
        pickle.dumps(value, 5)
        return True
    except Exception:
        pass
    try:
        from .byvalue import dumps

        dumps(value)
        return True
    except Exception:
        return False


def _culprit(value: Any, path: str, depth: int, seen: set[int]) -> tuple[str, Any]:
    """Follow the first part that cannot travel as far down as it goes."""
    if depth < DEEPEST and id(value) not in seen and not _refuses_itself(value):
        seen.add(id(value))
        for step, part in _parts(value):
            if id(part) not in seen and not _travels(part):
                return _culprit(part, path + step, depth + 1, seen)
    return path, value


def _refuses_itself(value: Any) -> bool:
    """Does its class say how it is pickled, so that the refusal is its own?"""
    kind = type(value)
    return any(
        name in vars(base)
        for base in kind.__mro__[:-1]
        if base.__module__ not in ("builtins", "functools", "types", "collections")
        for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__")
    )


def _describe(value: Any) -> str:
    # Of bytes never the content: it may be a key.
    return f"{len(value)} bytes" if isinstance(value, (bytes, bytearray)) else safe_repr(value)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"[{safe_repr(key, 40)}]", item
            yield f".key({safe_repr(key, 40)})", key
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif isinstance(value, functools.partial):
        yield ".func", value.func
        yield ".args", value.args
        yield ".keywords", value.keywords
    elif isinstance(value, MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
            try:
                yield f".__closure__[{name!r}]", cell.cell_contents
            except ValueError:
                continue
        yield ".__defaults__", value.__defaults__
    if hasattr(value, "__dict__") and not isinstance(value, (type, FunctionType)):
        for name, item in vars(value).items():
            yield f".{name}", item
