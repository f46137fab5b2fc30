"""Large arrays in what calls of ``joblib.Parallel`` are given, wherever they lie in it: alone, in lists, in objects.

One that comes a second time is shared, so that all further calls have the same memory; one that comes once is sent as
parpool sends every array. They are found by who finds everything: the pickler asks ``copyreg``'s table how an array
goes. There our word on it stands only while a call is made, and it is for the thread that makes it: others that pickle
arrays at that moment get the same arrays, by a way that costs them a copy.
"""

from __future__ import annotations

import copyreg
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from parpool import share

SMALL = 32 * 1024  #: bytes below which nothing is left out of a pickle

_lock = threading.Lock()
_said = 0  #: how many threads have a word on arrays at the moment
_before: Any = None  #: what was in the table
_mine = threading.local()  #: ``arrays``: those of this thread; ``new``: that come for the first time with this call


class _Plain:
    """An array that goes as it does everywhere, by the protocol of the pickle: that, the table does not tell."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._array.__reduce_ex__(protocol)


class Arrays:
    """Those of one call of Parallel. ``least``: bytes from which on they are large; ``mode``: as joblib maps files."""

    def __init__(self, least: int | None = None, mode: str | None = None) -> None:
        self._least = least if mode in ("r", "r+", "w+") else None
        self._mode = mode
        self._lock = threading.Lock()
        self._seen: dict[int, weakref.ref[Any]] = {}
        self._shared: dict[int, Any] = {}

    @contextmanager
    def laid_out(self) -> Iterator[None]:
        """What this thread pickles within, has its large arrays as they should travel."""
        numpy = sys.modules.get("numpy")
        if self._least is None or numpy is None or not hasattr(numpy, "ndarray"):  # it is not there, or not yet
            yield
            return
        if not hasattr(_mine, "arrays"):
            share(())  # so that how shared arrays go is known before the pickler looks who has a word on anything
        outer = getattr(_mine, "arrays", None), getattr(_mine, "new", {})
        _speak(numpy.ndarray)
        _mine.arrays, _mine.new = self, {}
        try:
            yield
        finally:
            self._remember(_mine.new)
            _mine.arrays, _mine.new = outer
            _be_silent(numpy.ndarray)

    def reduce(self, array: Any) -> Any:
        """How an array goes."""
        if array.nbytes < (self._least or 0) or array.dtype.hasobject:
            if array.nbytes < SMALL or not array.flags.writeable:
                # What cannot be written to, and would be left out of the pickle, would have parpool begin without us.
                return array.__reduce_ex__(2)
            return as_it_is, (_Plain(array),)
        shared = self._shared_one(array)
        if shared is not None:
            return as_array, (shared, self._mode != "r")
        return frozen, (_Plain(array),)

    def _shared_one(self, array: Any) -> Any:
        """The shared one for an array; None: it has not come before."""
        key = id(array)
        with self._lock:
            if key in self._shared:
                return self._shared[key]
            if self._mode == "r" and key not in self._seen and array.flags.writeable:
                _mine.new[key] = array  # and it may be pickled again, if that does not go the short way
                return None
            shared = share(array)
            self._shared[key] = shared
            if key not in self._seen:
                self._seen[key] = self._watched(key, array)
        return shared

    def _remember(self, new: dict[int, Any]) -> None:
        with self._lock:
            self._seen.update((key, self._watched(key, array)) for key, array in new.items() if key not in self._seen)

    def _watched(self, key: int, array: Any) -> weakref.ref[Any]:
        return weakref.ref(array, lambda _: self._gone(key))

    def _gone(self, key: int) -> None:
        # No lock: this may come at any time, also while it is held.
        self._seen.pop(key, None)
        self._shared.pop(key, None)

    def clear(self) -> None:
        """Share nothing any more."""
        with self._lock:
            self._seen.clear()
            self._shared.clear()


# The table ------------------------------------------------------------------------------------------------------


def _speak(kind: type) -> None:
    global _said, _before
    with _lock:
        if not _said:
            _before = copyreg.dispatch_table.get(kind)
            copyreg.dispatch_table[kind] = _reduce
        _said += 1


def _be_silent(kind: type) -> None:
    global _said
    with _lock:
        _said -= 1
        if _said:
            return
        if _before is None:
            copyreg.dispatch_table.pop(kind, None)
        else:
            copyreg.dispatch_table[kind] = _before


def _reduce(array: Any) -> Any:
    arrays = getattr(_mine, "arrays", None)
    if arrays is not None:
        return arrays.reduce(array)
    if _before is not None:
        return _before(array)
    return array.__reduce_ex__(2)  # which pickles of any protocol can have


def forget() -> None:
    """After a fork: other threads, that had a word on arrays, are not here."""
    global _lock, _said
    _lock = threading.Lock()
    if _said:
        _said = 1
        _be_silent(sys.modules["numpy"].ndarray)
    _mine.arrays = None


# On the engine ----------------------------------------------------------------------------------------------------


def as_array(array: Any, writeable: bool) -> Any:
    """A shared array as an ordinary one."""
    import numpy

    plain = array.view(numpy.ndarray)
    plain.flags.writeable = plain.flags.writeable and writeable
    return plain


def as_it_is(array: Any) -> Any:
    """An array of its own."""
    return array


def frozen(array: Any) -> Any:
    """An array of its own, that cannot be written to: whether it was shared is none of the call's business."""
    array.flags.writeable = False
    return array
