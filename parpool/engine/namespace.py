"""The names that functions see on an engine, and the code that arrives there."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from ..wire import functions as wire_functions
from ..wire import reference
from ..wire.failure import unpack_failure
from ..wire.fingerprint import fingerprint, is_main_code


class Missing(LookupError):
    """The engine has no code of this key: ask for it, then try again."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.key = key


class Namespace:
    """The engine's globals, and the table of functions that were sent to it.

    An engine of a Pool lives in its process's ``__main__``, which it inherited or imported; the code that travels
    there may replace older code of the same name, never data.
    """

    def __init__(self, names: dict[str, Any] | None = None) -> None:
        self.names = _globals_of_main() if names is None else names
        #: where pickle looks for classes of ``__main__``; not always the same
        self._module = sys.modules["__main__"].__dict__
        #: the code of ``__main__`` that this process inherited or imported: the client has it, too
        self._inherited = {name: value for name, value in self.names.items() if is_main_code(value)}
        self._later: list[tuple[str, bytes]] = []  #: names to be bound to code that is only referred to
        self._blobs: dict[bytes, bytes] = {}
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._code: dict[bytes, Any] = {}  #: code of the client's ``__main__``, by key
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
        self._travelled.clear()

    def drop(self, key: bytes) -> None:
        """Forget a blob that turned out to be of no use here."""
        self._blobs.pop(key, None)

    def knows(self, key: bytes) -> bool:
        """Has something arrived under this key?"""
        return key in self._blobs

    def function(self, key: bytes) -> Callable[..., Any]:
        """The function of a key. Raises Missing, or whatever the import of its module raises."""
        function = self._functions.get(key)
        if function is None:
            blob = self._blobs.get(key)
            if blob is None:
                raise Missing(key)
            function = self._fetch(blob[1:]) if blob[:1] == b"R" else self._open(key, blob)
            if not reference.may_refer(blob):  # else it is another one each time
                self._functions[key] = function
        return function

    def _open(self, key: bytes, blob: bytes) -> Any:
        if blob[:1] == b"E":
            del self._blobs[key]
            raise unpack_failure(blob[1:])
        self.prepare(blob)
        return pickle.loads(blob[1:])

    def _fetch(self, packed: bytes) -> Any:
        """The code that a reference names: this process's own where it is the same, else what was sent."""
        reference = wire_functions.decode_reference(packed)
        code = self._code.get(reference.key)
        if code is None:
            own = self._own(reference.qualname)
            if own is not None and fingerprint(own) == reference.fingerprint:
                code = own
            else:
                blob = self._blobs.get(reference.key)
                if blob is None or blob[:1] == b"R":
                    raise Missing(reference.key)
                code = self._open(reference.key, blob)
                if "." not in reference.qualname:
                    self.bind({reference.qualname: code})
            self._code[reference.key] = code
        return code

    def dump(self, value: Any) -> bytes:
        """Pickle what a view's task returned: what the client may not have goes by value."""
        return wire_functions.dump_result(value, self._is_the_clients)

    def _is_the_clients(self, code: Any) -> bool:
        """Does the client have this code of ``__main__``, because it came from there?"""
        name = code.__qualname__.partition(".")[0]
        present = self.names.get(name)
        return present is not None and (self._travelled.get(name) is present or self._inherited.get(name) is present)

    def evaluate(self, expression: str) -> Any:
        """What an expression names here."""
        return eval(reference.compiled(expression), self.names)

    def bind_referred(self) -> None:
        """Bind the names that opened code refers to. Raises Missing for code that must be asked for."""
        while self._later:
            name, packed = self._later[-1]
            present = self.names.get(name)
            if not is_main_code(present):
                self.bind({name: self._fetch(packed)})
            self._later.pop()

    def _bind_later(self, references: dict[str, bytes]) -> None:
        self._later.extend(references.items())

    def _own(self, qualname: str) -> Any:
        first, *rest = qualname.split(".")
        found = self.names.get(first)
        for name in rest:
            found = getattr(found, name, None)
        return found if is_main_code(found) else None

    def bind(self, code: dict[str, Any]) -> dict[str, Any]:
        """Bind travelled code under its names, unless the user bound them to something else; gives the namespace."""
        for name, value in code.items():
            if name in self.names:
                present = self.names[name]
                older = self._travelled.get(name) is present or is_main_code(present)
                if isinstance(value, ModuleType) or not older:
                    continue
            self.names[name] = self._module[name] = self._travelled[name] = value
        return self.names

    def prepare(self, data: bytes) -> None:
        """Before opening a pickle that may hold code by value: let that code find this namespace."""
        if b"parpool.wire.byvalue" in data:
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
