"""How functions and arguments leave the process that submits them.

Importable code goes by reference, and most calls need no more than a plain pickle. Code that ``__main__`` had when
the book was opened goes by name and fingerprint: an engine that has it too (it was forked from here, or imported the
same script) uses its own, and only one that has not asks for it by value. Code that was defined, or redefined, later
goes by value; so do lambdas, closures and local classes.

A function has a *key*; its *blob*, by which an engine makes it, is sent to each engine once. A blob begins with
one letter: ``R`` a name and fingerprint to look up, ``P`` a pickle.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

import msgspec

from ..errors import SerializationError
from .envelope import Apart, check_size, equipped
from .envelope import dumps as dumps_plain
from .failure import safe_repr
from .fingerprint import MAIN, fingerprint, is_code, is_main_code, names_under, whereabouts
from .payload import PROTOCOL
from .registered import any_registered, names_one, registered

KEPT = 1024  #: functions and classes that a book remembers
SERIALIZERS = ("cloudpickle", "dill", "pickle")  #: the last: nothing goes by value


class Function(NamedTuple):
    """A function ready to travel."""

    key: bytes
    blob: bytes
    name: str


class _Known(NamedTuple):
    function: Function
    code: object
    defaults: object
    kwdefaults: object
    #: the code that it refers to: globals, name, value
    referred: tuple[tuple[dict[str, Any], str, Any], ...]
    missing: frozenset[str]  #: names of its code that are no globals, or not yet


class _Imports(NamedTuple):
    imports: list[tuple[str, str, str]]
    referred: tuple[tuple[dict[str, Any], str, Any], ...]
    missing: frozenset[str]
    names: dict[str, Any]  #: where the missing ones are not


class _Reference(msgspec.Struct, array_like=True):
    """By which an engine finds code of ``__main__``, or asks for it."""

    key: bytes
    qualname: str
    fingerprint: bytes
    #: importable code that it refers to: the name there, the module, the name in the module (empty: the module itself)
    imports: list[tuple[str, str, str]]


decode_reference = msgspec.msgpack.Decoder(_Reference).decode


def by_name(module: str, name: str) -> Function:
    """A function of a module that the engines have, and this process need not."""
    blob = b"Pc" + f"{module}\n{name}\n.".encode()  # pickle's opcode for what a module has
    return Function(blake2b(blob, digest_size=16).digest(), blob, name)


class FunctionBook:
    """The functions that a client has sent, and how engines that lack them can be given them.

    ``shared``: engines may have this process's ``__main__``; without, all code of it goes by value.
    """

    def __init__(self, serializer: str = "cloudpickle", shared: bool = True) -> None:
        self.use(serializer)
        #: what ``__main__`` defined when the book was opened, by name: engines may have it
        self._inherited = {
            name: value
            for name, value in list(vars(sys.modules["__main__"]).items() if shared else ())
            if is_main_code(value)
        }
        self._known: dict[Any, _Known] = {}
        self._registered = registered()  #: when those were remembered
        self._imports: dict[tuple[str, bytes], _Imports] = {}  #: by name and fingerprint
        #: key -> the code of ``__main__`` that may be asked for by value
        self._code: OrderedDict[bytes, Any] = OrderedDict()

    def use(self, serializer: str) -> None:
        """How what goes by value goes, from here on. Raises ValueError for a name that is none."""
        if serializer not in SERIALIZERS:
            raise ValueError(f"serializer must be one of {', '.join(map(repr, SERIALIZERS))}, not {serializer!r}")
        self._serializer = serializer

    @property
    def serializer(self) -> str:
        """How what goes by value goes."""
        return self._serializer

    def function(self, function: Any) -> Function:
        """Key and blob of a callable. Raises SerializationError where it cannot travel."""
        if type(function) is FunctionType or type(function) is BuiltinFunctionType:
            if (self._registered or any_registered()) and registered() != self._registered:
                self._registered = registered()
                self._known.clear()
            known = self._known.get(function)
            if known is not None and (known.code is None or _unchanged(function, known)):
                return known.function
            described = self._describe(function)
            # With a module that goes by value its data goes, too, which may be another with the next call.
            if not (self._registered and names_one(described.blob)):
                self._remember(function, described)
            return described
        return self._pickled(function)

    def dumps(self, value: Any, roots: tuple[str, ...] = (), apart: Apart | None = None) -> bytes:
        """Pickle arguments; what plain pickle refuses goes by value.

        ``roots`` are names for the items of ``value``, for errors that tell the way to what cannot travel. ``apart``
        takes the buffers that are left out.
        """
        try:
            data = dumps_plain(value, apart)
        except Exception as refusal:
            return self._by_value(value, roots=roots, refusal=refusal, apart=apart)
        if any_registered() and names_one(data):
            return self._by_value(value, roots=roots, apart=apart)
        if b"_main__" in data:  # or __mp_main__
            # An engine may not have these classes and functions: let it ask, or give it those that it cannot have.
            try:
                with io.BytesIO() as file:
                    _ReferencePickler(file, self, _emptied(apart)).dump(value)
                    return file.getvalue()
            except Exception:
                return self._by_value(value, roots=roots, apart=apart)
        return data

    def by_value(self, key: bytes) -> bytes:
        """The blob, by value, of code that an engine asked for."""
        code = self._code.get(key)
        if code is None:
            raise SerializationError("the code that an engine asked for is no longer known here")
        return b"P" + self._by_value(code, root=code)

    def refer(self, code: Any) -> bytes:
        """The packed reference to a function or class of ``__main__``."""
        print_ = fingerprint(code)
        qualname = code.__qualname__
        imports = self._imports_of(code, qualname, print_)
        parts = (b"R", qualname.encode("utf-8", "replace"), print_, repr(imports).encode("utf-8", "replace"))
        key = blake2b(b"\0".join(parts), digest_size=16).digest()
        self._code[key] = code
        self._code.move_to_end(key)
        if len(self._code) > KEPT:
            self._code.popitem(last=False)
        return msgspec.msgpack.encode(_Reference(key, qualname, print_, imports))

    def _imports_of(self, code: Any, qualname: str, print_: bytes) -> list[tuple[str, str, str]]:
        """The importable code that code of ``__main__`` refers to. (The rest is in its fingerprint.)"""
        known = self._imports.get((qualname, print_))
        if known is None or not _still(known.referred, known.missing, known.names):
            if len(self._imports) >= KEPT:
                self._imports.clear()
            known = self._imports[qualname, print_] = _look_for_imports(code)
        return known.imports

    def _referable(self, code: Any) -> bool:
        """Can an engine have this code of ``__main__`` under its name?"""
        if not is_main_code(code) or "<" in code.__qualname__:
            return False
        first, *rest = code.__qualname__.split(".")
        found = self._inherited.get(first)
        if found is None or vars(sys.modules["__main__"]).get(first) is not found:
            return False
        for name in rest:
            found = getattr(found, name, None)
        return found is code

    def _describe(self, function: Any) -> Function:
        if self._referable(function):
            packed = self.refer(function)
            return Function(decode_reference(packed).key, b"R" + packed, _name(function))
        return self._pickled(function)

    def _pickled(self, function: Any) -> Function:
        if not callable(function):
            raise TypeError(
                f"a function is needed, not {safe_repr(function, 60)} of type {type(function).__qualname__}"
            )
        blob = b"P" + self.dumps(function)
        check_size(len(blob))
        return Function(blake2b(blob, digest_size=16).digest(), blob, _name(function))

    def _remember(self, function: Any, described: Function) -> None:
        if len(self._known) >= KEPT:
            self._known.clear()
        if type(function) is BuiltinFunctionType:
            if getattr(function, "__self__", None) is None or isinstance(function.__self__, type(sys)):
                self._known[function] = _Known(described, None, None, None, (), frozenset())
        elif function.__closure__ is None:  # cells change, and their content travels by value
            self._known[function] = _Known(
                described,
                function.__code__,
                function.__defaults__,
                function.__kwdefaults__,
                *_referred(function),
            )

    def reference(self, code: Any) -> tuple[Any, ...] | None:
        """How a pickler should reduce code of ``__main__`` that an engine may have; None for other code."""
        if getattr(code, "__module__", None) in MAIN and self._referable(code):
            return fetch, (self.refer(code),)
        return None

    def _by_value(
        self,
        value: Any,
        root: Any = None,
        roots: tuple[str, ...] = (),
        refusal: Exception | None = None,
        apart: Apart | None = None,
    ) -> bytes:
        if self._serializer == "pickle":
            from .diagnose import explain

            reason = refusal or pickle.PicklingError("it can only go by value, and the serializer is 'pickle'")
            raise explain(value, reason, roots) from reason
        from .byvalue import dumps  # imports cloudpickle: only when something needs it

        def refer(code: Any) -> tuple[Any, ...] | None:
            return None if code is root else self.reference(code)

        try:
            return dumps(value, serializer=self._serializer, refer=refer, apart=_emptied(apart))
        except Exception as error:
            from .diagnose import explain

            # cloudpickle calls it by another name.
            reason = refusal if isinstance(refusal, RecursionError) else error
            raise explain(value, reason, roots) from reason


def _referred(function: FunctionType) -> tuple[tuple[tuple[dict[str, Any], str, Any], ...], frozenset[str]]:
    """The code that a function refers to, also by way of other code, and the names that mean nothing yet."""
    found, missing, own = [], set(), function.__globals__
    for known, name in names_under(function):
        if name not in known:
            if known is own:
                missing.add(name)
        elif is_code(known[name]):
            found.append((known, name, known[name]))
    return tuple(found), frozenset(missing)


def _unchanged(function: Any, known: _Known) -> bool:
    _, code, defaults, kwdefaults, referred, missing = known
    if function.__code__ is not code or function.__defaults__ is not defaults:
        return False
    if function.__kwdefaults__ is not kwdefaults:
        return False
    return not (referred or missing) or _still(referred, missing, function.__globals__)


def _still(referred: tuple[tuple[dict[str, Any], str, Any], ...], missing: frozenset[str], own: dict[str, Any]) -> bool:
    """Do names mean what they meant, and those that were missing still nothing?"""
    for names, name, code in referred:
        if names.get(name) is not code:
            return False
    return not missing or own.keys().isdisjoint(missing)


def _look_for_imports(code: Any) -> _Imports:
    imports, referred, missing = {}, [], set()
    own = vars(sys.modules["__main__"])
    for known, name in names_under(code):
        value = known.get(name)
        if name not in known:
            if known is own:
                missing.add(name)
        elif known.get("__name__", "__main__") in MAIN and is_code(value) and not is_main_code(value):
            referred.append((known, name, value))
            place = whereabouts(value)
            if place is not None:
                imports[name] = place
    listed = [(name, *place) for name, place in sorted(imports.items())]
    return _Imports(listed, tuple(referred), frozenset(missing), own)


def _name(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def _emptied(apart: Apart | None) -> Apart | None:
    """For another try: what the last one has left out is not to be there twice."""
    if apart is not None:
        apart.clear()
    return apart


def dump_result(value: Any, shared: Callable[[Any], bool], apart: Apart | None = None) -> bytes:
    """Pickle a result: by value what plain pickle refuses, and code of ``__main__`` that is not ``shared``.

    Raises what plain pickle raised, where the other way fails too.
    """
    try:
        data = dumps_plain(value, apart)
        if b"_main__" not in data:
            return data
        refusal: Exception | None = None
    except Exception as error:
        refusal = error
    from .byvalue import dumps

    def refer(code: Any) -> tuple[Any, ...] | None:
        if getattr(code, "__module__", None) in MAIN and is_main_code(code) and shared(code):
            return of_main, (code.__qualname__,)
        return None

    kept = list(apart or ())
    try:
        return dumps(value, refer=refer, apart=_emptied(apart))
    except Exception:
        if refusal is None:
            if apart is not None:
                apart[:] = kept
            return data
        raise refusal from None


#: Set by the engine: gives the code that a packed reference names. Raises LookupError where it must ask first.
fetch_hook: Any = None


def fetch(packed: bytes) -> Any:
    """What a reference inside a pickle becomes when it is opened."""
    if fetch_hook is not None:
        return fetch_hook(packed)
    return of_main(decode_reference(packed).qualname)


def of_main(qualname: str) -> Any:
    """What a name means in this process's ``__main__``."""
    found: Any = sys.modules["__main__"]
    for name in qualname.split("."):
        found = getattr(found, name)
    return found


class _ReferencePickler(pickle.Pickler):
    """A plain pickler, except that code of ``__main__`` goes as a reference that an engine can ask about."""

    def __init__(self, file: io.BytesIO, book: FunctionBook, apart: Apart | None) -> None:
        apart = equipped(apart)
        super().__init__(file, PROTOCOL, buffer_callback=apart)
        if apart is not None:
            apart.equip(self)
        self._book = book

    def reducer_override(self, value: Any) -> Any:
        if getattr(value, "__module__", None) in MAIN and is_main_code(value):
            reference = self._book.reference(value)
            if reference is None:
                raise pickle.PicklingError("this must go by value")
            return reference
        return NotImplemented
