"""What a view makes of the exceptions that come from its engines.

An exception of two natures is an instance of a class made here for each original class: a subclass of
:class:`~parpool.errors.RemoteError` and of that class. It is made without the original's constructor, which may want
any arguments: an empty instance takes over what the original holds, in ``__dict__``, in slots, and in the fields of
the classes that are written in C. Where any of this fails, a plain RemoteError does.

Other exceptions come as a plain RemoteError from the beginning: those that are no ``Exception``, as they would end the
interpreter, or cancel what asked for the result; and those that end an iteration, as they would end that of the caller.
"""

from __future__ import annotations

import builtins
import copy
import types
from collections.abc import Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from ..errors import CompositeError, Entry, ParpoolError, RemoteError
from .failure import read_failure, rebuild, text_of, traceback_of

T = TypeVar("T")

_MEANT_FOR_CALLERS = (StopIteration, StopAsyncIteration)
_HEAP_TYPE = 1 << 9  #: of ``__flags__``: the class was not written in C, or could have been written in Python
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())
#: Of the one raise, not of the exception.
_NOT_TAKEN_OVER = {"__dict__", "__weakref__", "__traceback__", "__context__", "__cause__", "__suppress_context__"}


def remote_error(data: bytes, engine_id: int | None = None, method: str = "") -> RemoteError:
    """The exception that :func:`~parpool.wire.failure.pack_failure` packed, as a RemoteError of two natures if it can
    be one, else as a plain one. ``method`` is the view's call that it ends.
    """
    failure = read_failure(data)
    info = {"engine_id": engine_id, "method": method}
    return rejoin(failure.pickled, failure.ename, failure.evalue, failure.traceback, info, {})


def rejoin(
    pickled: bytes, ename: str, evalue: str, traceback: str, engine_info: dict[str, Any], added: dict[str, Any]
) -> RemoteError:
    """A RemoteError from its parts: what :func:`remote_error` makes pickles as a call of this.

    ``added`` are the attributes that it was given after it came.
    """
    original = rebuild(pickled, traceback)
    plain = RemoteError(ename, evalue, traceback, engine_info["engine_id"])
    vars(plain).update(engine_info=engine_info, original=original, _origin=(rejoin, pickled))
    error = plain
    if isinstance(original, Exception) and not isinstance(original, _MEANT_FOR_CALLERS):
        try:
            error = _with_two_natures(original, plain)
        except BaseException:  # from code of the original's class, which may do anything
            pass
    vars(error).update(added)
    return error


# Two natures ----------------------------------------------------------------------------------------


class TwoNatured(RemoteError):
    """A RemoteError that is an instance of the original class, too: the base of the classes that are made here."""

    _nature: type[Exception]  #: the original class

    def __init_subclass__(cls, **options: Any) -> None:
        """Nothing of the original class: it may count, name or register those that derive from it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """The original class makes a plain one of its own, so that ``raise type(e)("more") from e`` is what it was."""
        return cls._nature(*args, **kwargs)

    def __str__(self) -> str:
        return f"{self._line()}\n{self.traceback.rstrip()}" if self.traceback else self._line()

    def __copy__(self) -> Any:
        make, parts = self.__reduce_ex__(4)
        return make(*parts)

    def __deepcopy__(self, memo: Any) -> Any:
        make, parts = self.__reduce_ex__(4)
        return make(*copy.deepcopy(parts, memo))


#: By the id of the original class, which is not freed while the class that derives from it is there.
_classes: WeakValueDictionary[int, type[TwoNatured]] = WeakValueDictionary()


def _class_for(nature: type[Exception]) -> type[TwoNatured]:
    found = _classes.get(id(nature))
    if found is None or found._nature is not nature:
        members = {
            "_nature": nature,
            "__module__": nature.__module__,
            "__qualname__": nature.__qualname__,
            "__doc__": nature.__doc__,
        }
        found = types.new_class(nature.__name__, (TwoNatured, nature), {}, lambda namespace: namespace.update(members))
        _classes[id(nature)] = found
    return found


def _with_two_natures(original: Exception, plain: RemoteError) -> RemoteError:
    kind = type(original)
    # The task got it from engines of its own: what it was there, it is here.
    nature = kind._nature if issubclass(kind, TwoNatured) else kind
    if nature is RemoteError:
        return plain
    base: Any = _class_for(nature)
    error = _empty(base, original)
    for each in kind.__mro__[:-1]:  # the last is object, the one field of which is __class__
        _take_over_fields(error, original, each)
    attributes = BaseException.__getattribute__(original, "__dict__")
    vars(error).update(attributes)
    if "__notes__" in attributes:
        vars(error)["__notes__"] = list(attributes["__notes__"])  # a note for this one is not for the other
    vars(error).update(vars(plain))
    if issubclass(nature, SyntaxError):
        # Python prints these by their fields, not by their text.
        BaseException.__setattr__(error, "__cause__", original.__cause__)
    if error.ename != plain.ename or not isinstance(error, nature) or not str(error):
        return plain
    return error


def _empty(cls: Any, original: Any) -> RemoteError:
    """An instance of ``cls``, made by the class in C at its root, and by nothing of what derives from it."""
    root = cls
    while root.__flags__ & _HEAP_TYPE:
        root = root.__base__
    if root is _GROUP:  # the only one that cannot be filled later
        made = root.__new__(cls, original.message, original.exceptions)
    else:
        made = root.__new__(cls)
    error: RemoteError = made
    return error


def _take_over_fields(error: RemoteError, original: Exception, cls: type) -> None:
    """Slots, and the fields of classes in C."""
    for name, field in vars(cls).items():
        if isinstance(field, (types.MemberDescriptorType, types.GetSetDescriptorType)) and name not in _NOT_TAKEN_OVER:
            try:
                value = field.__get__(original, cls)
                if value is not None:
                    field.__set__(error, value)
            except (AttributeError, TypeError):
                pass  # not set there, or never set by anyone


# Several targets ------------------------------------------------------------------------------------


def collect_exceptions(rlist: list[T], method: str = "unspecified") -> list[T]:
    """The results of several targets as they are, or, where some are exceptions, one CompositeError of those.

    The CompositeError's ``results`` are all of ``rlist``: the values of the others are not lost.
    """
    failed: list[Any] = [each for each in rlist if issubclass(type(each), BaseException)]  # isinstance trusts a proxy
    if failed:
        raise composite_error(failed, method, rlist)
    return rlist


def composite_error(
    failed: Sequence[BaseException],
    method: str,
    results: Sequence[Any] = (),
    engines: Sequence[int | None] | None = None,
) -> CompositeError:
    """One exception of those of several targets: of ``engines``, where an exception does not know its own.

    An ``engine_id`` that one of ours has been given is told.
    """
    where = [None] * len(failed) if engines is None else engines
    elist = [_entry(error, method, engine) for error, engine in zip(failed, where, strict=True)]
    members = [_member(error, entry) for error, entry in zip(failed, elist, strict=True)]
    return CompositeError(f"one or more exceptions from call to method: {method}", elist, members, results)


def _member(error: BaseException, entry: Entry) -> Exception:
    if isinstance(error, Exception):
        return error
    name, text, traceback, info = entry
    plain = RemoteError(name, text, traceback, engine_info=info)  # what only a BaseExceptionGroup could hold
    plain.original = error
    return plain


def _entry(error: BaseException, method: str, engine: int | None) -> Entry:
    if isinstance(error, RemoteError):
        info = {**(error.engine_info or {}), "method": error.method or method}
        return error.ename, error.evalue, error.traceback, info
    cause = error.__cause__
    if type(cause).__name__ == "RemoteTraceback":
        traceback = str(cause).removeprefix('\n"""\n').removesuffix('"""')
    else:
        # What became of a task was found here, where it is asked for: those are no frames of the user's.
        traceback = "" if isinstance(error, ParpoolError) and cause is None else traceback_of(error)
    engine_id = getattr(error, "engine_id", None) if isinstance(error, ParpoolError) else None
    info = {"engine_id": engine if engine_id is None else engine_id, "method": method}
    return type(error).__name__, text_of(error), traceback, info
