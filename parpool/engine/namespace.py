"""The names that functions see on an engine, and the code that arrives there."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from ..wire import functions as wire_functions
from ..wire import reference
from ..wire.envelope import Apart
from ..wire.failure import unpack_failure
from ..wire.fingerprint import fingerprint, is_code, is_main_code, names_under
from .verbs import OF_IPYTHON

#: Names that only engines with an IPython shell have.
OF_SHELLS = ("display", "get_ipython", "In", "Out")

_NOTHING = object()


class Missing(LookupError):
    """The engine has no code of this key: ask for it, then try again."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.key = key


class _Made:
    """Code as this engine has it, and the names that must mean what they meant when it was made."""

    __slots__ = ("code", "needs", "turn", "names")

    def __init__(self, code: Any, needs: dict[str, Any], turn: int, names: int) -> None:
        self.code = code
        self.needs = needs  #: by name: code, or a _Later
        # When they last were as needed:
        self.turn = turn  #: the namespace's
        self.names = names  #: how many names it had: with fewer, some were unbound


class _Later:
    """A packed reference to code."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        self.packed = packed


class Namespace:
    """The engine's globals, and the table of functions that were sent to it.

    An engine of a Pool lives in its process's ``__main__``, which it inherited or imported. Code that travels brings
    the code that it refers to, which is bound under its names. There it may replace what travelled or was inherited,
    but nothing that the user has put there. Each function that is called finds what came with it: where another
    function has brought something else of that name meanwhile, it is bound anew.
    """

    def __init__(self, names: dict[str, Any] | None = None) -> None:
        self.names = _globals_of_main() if names is None else names
        #: where pickle looks for classes of ``__main__``; not always the same
        self._module = sys.modules["__main__"].__dict__
        #: the code that this process inherited or imported with ``__main__``: the client has it, too
        self._inherited = {name: value for name, value in list(self.names.items()) if is_code(value)}
        self._later: list[tuple[str, bytes]] = []  #: names to be bound to code that is only referred to
        self._blobs: dict[bytes, bytes] = {}
        self._functions: dict[bytes, _Made] = {}
        self._code: dict[bytes, _Made] = {}  #: code of the client's ``__main__``, by key
        self._turn = 0  #: how often code of ours gave way to other code
        self._gathered: dict[str, Any] | None = None  #: what the code that is being made needs
        self._travelled: dict[str, Any] = {}  #: names that were bound because code that refers to them arrived
        wire_functions.fetch_hook = self._fetch

    def learn(self, functions: dict[bytes, bytes], forget: list[bytes]) -> None:
        """Take in the blobs that a message brought."""
        for key in forget:
            self._blobs.pop(key, None)
            self._functions.pop(key, None)
            self._code.pop(key, None)
        self._blobs.update(functions)

    def forget(self) -> None:
        """The names were unbound: what was made of the blobs is to be made, and bound, anew."""
        self._functions.clear()
        self._code.clear()
        names = self.names  # those of the beginning are still there
        self._travelled = {name: code for name, code in self._travelled.items() if names.get(name) is code}

    def drop(self, key: bytes) -> None:
        """Forget a blob that turned out to be of no use here."""
        self._blobs.pop(key, None)

    def knows(self, key: bytes) -> bool:
        """Has something arrived under this key?"""
        return key in self._blobs

    def function(self, key: bytes) -> Callable[..., Any]:
        """The function of a key. Raises Missing, or whatever the import of its module raises."""
        made = self._functions.get(key)
        if made is None:
            blob = self._blobs.get(key)
            if blob is None:
                raise Missing(key)
            made = self._gather(lambda: self._make(key, blob))
            if not reference.may_refer(blob):  # else it is another one each time
                self._functions[key] = made
        elif made.turn != self._turn or made.names != len(self.names):
            self._bind_again(made)
        code: Callable[..., Any] = made.code
        return code

    def _make(self, key: bytes, blob: bytes) -> Any:
        code = self._fetch(blob[1:]) if blob[:1] == b"R" else self._open(key, blob)
        self.bind_referred()
        return code

    def _open(self, key: bytes, blob: bytes) -> Any:
        if blob[:1] == b"E":
            del self._blobs[key]
            raise unpack_failure(blob[1:])
        self.prepare(blob)
        return pickle.loads(blob[1:])

    def _gather(self, make: Callable[[], Any]) -> _Made:
        """Make code, and note what it needs."""
        outer, self._gathered = self._gathered, {}
        try:
            made = _Made(make(), self._gathered, self._turn, len(self.names))
        finally:
            self._gathered = outer
        return made

    def _fetch(self, packed: bytes) -> Any:
        """The code that a reference names: this process's own where it is the same, else what was sent."""
        reference = wire_functions.decode_reference(packed)
        made = self._code.get(reference.key)
        if made is None:
            own = self._own(reference.qualname)
            if own is not None and fingerprint(own) == reference.fingerprint:
                made = self._gather(lambda: self._adopt(own, reference.imports))
            else:
                blob = self._blobs.get(reference.key)
                if blob is None or blob[:1] == b"R":
                    raise Missing(reference.key)
                made = self._gather(lambda: self._receive(reference.key, blob, reference.qualname))
            self._code[reference.key] = made
        elif made.turn != self._turn or made.names != len(self.names):
            self._bind_again(made)
        if self._gathered is not None:
            self._gathered.update(made.needs)
        return made.code

    def _adopt(self, own: Any, imports: list[tuple[str, str, str]]) -> Any:
        """Code of this process, and what it lacks of the importable code that it refers to at the client's."""
        for known, name in names_under(own):
            if known is self.names and self._is_ours(name, known.get(name)):
                self.bind({name: known[name]})
        for name, module, path in imports:
            if name in self.names and not self._is_ours(name, self.names[name]):
                continue
            try:
                found: Any = importlib.import_module(module)
                for step in path.split(".") if path else ():
                    found = getattr(found, step)
            except (ImportError, AttributeError):
                continue  # it may not come to need it
            self.bind({name: found})
        return own

    def _receive(self, key: bytes, blob: bytes, qualname: str) -> Any:
        """Code of the client's, by value."""
        code = self._open(key, blob)
        if "." not in qualname:
            self.bind({qualname: code})
        return code

    def _bind_again(self, made: _Made) -> None:
        """Names were bound or unbound in the namespace: let this find what it needs. Raises Missing."""
        for name, needed in list(made.needs.items()):
            self.bind({name: self._fetch(needed.packed) if type(needed) is _Later else needed})
        made.turn, made.names = self._turn, len(self.names)

    def dump(self, value: Any, apart: Apart | None = None) -> bytes:
        """Pickle what a view's task returned: what the client may not have goes by value."""
        return wire_functions.dump_result(value, self._is_the_clients, apart)

    def _is_the_clients(self, code: Any) -> bool:
        """Does the client have this code of ``__main__``, because it came from there?"""
        first, *rest = code.__qualname__.split(".")
        found = self.names.get(first)
        if not self._is_ours(first, found):
            return False
        for name in rest:
            found = getattr(found, name, None)
        return found is code

    def _is_ours(self, name: str, value: Any) -> bool:
        """Is this what travelled here under the name, or was inherited? Else it is the user's."""
        return self._travelled.get(name, _NOTHING) is value or self._inherited.get(name, _NOTHING) is value

    def evaluate(self, expression: str) -> Any:
        """What an expression names here."""
        return eval(reference.compiled(expression), self.names)

    def explain(self, error: NameError) -> None:
        """Let an error say how to push the name that code of this namespace has missed."""
        trace, name = error.__traceback__, error.name
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        there = trace is not None and trace.tb_frame.f_globals is self.names
        if there and name is not None and not isinstance(error, UnboundLocalError):
            what_then = f"push it with view[{name!r}] = value" if name not in OF_SHELLS else OF_IPYTHON
            error.args = (f"name {name!r} is not defined on this engine: {what_then}",)

    def bind_referred(self) -> None:
        """Bind the names that opened code refers to. Raises Missing for code that must be asked for."""
        while self._later:
            place = len(self._later) - 1
            name, packed = self._later[place]
            if name not in self.names or self._is_ours(name, self.names[name]):
                self.bind({name: self._fetch(packed)})
            del self._later[place]  # it may have brought others, behind it

    def _bind_later(self, references: dict[str, bytes]) -> None:
        self._later.extend(references.items())
        if self._gathered is not None:
            self._gathered.update({name: _Later(packed) for name, packed in references.items()})

    def _own(self, qualname: str) -> Any:
        first, *rest = qualname.split(".")
        found = self.names.get(first)
        for name in rest:
            found = getattr(found, name, None)
        return found if is_main_code(found) else None

    def bind(self, code: dict[str, Any]) -> dict[str, Any]:
        """Bind travelled code under its names, unless the user bound them to something else; gives the namespace."""
        names, gathered = self.names, self._gathered
        for name, value in code.items():
            if gathered is not None:
                gathered[name] = value
            present = names.get(name, _NOTHING)
            if present is not value:
                if present is not _NOTHING:
                    if not self._is_ours(name, present):
                        continue
                    self._turn += 1
                names[name] = self._module[name] = self._travelled[name] = value
        return names

    def prepare(self, data: bytes | memoryview) -> None:
        """Before opening a pickle that may hold code by value: let that code find this namespace."""
        if data.__class__ is memoryview or b"parpool.wire.byvalue" in data:
            from ..wire import byvalue

            byvalue.bind = self.bind
            byvalue.bind_later = self._bind_later


def _globals_of_main() -> dict[str, Any]:
    """The dict that functions of ``__main__`` have for their globals.

    In a spawned process that is not the module's own: multiprocessing runs the script in a namespace that it then
    copies into the module.
    """
    module = vars(sys.modules["__main__"])
    for value in module.values():
        if isinstance(value, FunctionType) and value.__module__ == "__mp_main__":
            return value.__globals__
    return module


def empty_main() -> None:
    """Have a ``__main__`` of the tasks' own: the names of the program that became an engine are none of theirs."""
    _kept.append(sys.modules["__main__"])
    sys.modules["__main__"] = ModuleType("__main__")


_kept: list[ModuleType] = []  #: whose functions are still running
