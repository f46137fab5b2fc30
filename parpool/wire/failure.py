"""Exceptions across processes.

An exception leaves an engine three times over: as a pickle, as name and text, and as the text of its traceback. What
arrives is the exception itself with the remote traceback as its cause; where the pickle cannot be made there, or
cannot be opened here, a :class:`~parpool.errors.RemoteError` with its name and text. (What a view makes of it is in
``remote.py``.)
"""

from __future__ import annotations

import os
import pickle
import re
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import RemoteError


class Failure(msgspec.Struct, array_like=True):
    """An exception on its way."""

    pickled: bytes  #: empty: it could not be pickled
    ename: str
    evalue: str
    traceback: str


#: gives the text of an exception's traceback where somebody knows better, as a shell does of the errors of its cells
told: Callable[[BaseException], str | None] | None = None

#: In the text of a traceback, also of a group's, a frame whose line of code does not follow.
_BARE = re.compile(
    r'^(?P<margin>[ |]*)  File "(?P<file>[^"\n]+)", line (?P<line>\d{1,9}), in .*\n(?!(?P=margin)    \S)', re.M
)

_decode = msgspec.msgpack.Decoder(Failure).decode


def safe_repr(value: object, limit: int = 200) -> str:
    """``repr(value)``, shortened; of an object whose ``repr`` raises, its type and the error."""
    try:
        text = repr(value)
    except BaseException as error:
        text = f"<{type(value).__name__} object whose repr raises {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def pack_failure(
    error: BaseException, dumps: Callable[[BaseException], bytes] = pickle.dumps, *, with_traceback: bool = True
) -> bytes:
    """Bytes of ``error`` that :func:`unpack_failure` can always open. Frames of parpool itself are left out."""
    try:
        pickled = dumps(error)
    except BaseException:
        pickled = b""
    ename, evalue = type(error).__name__, text_of(error)
    if isinstance(error, RemoteError) and error.ename:  # of engines that the task itself has used
        ename, evalue = str(error.ename), str(error.evalue)
    text = traceback_of(error) if with_traceback else ""
    return msgspec.msgpack.encode(Failure(pickled, _encodable(ename), _encodable(evalue), text))


def traceback_of(error: BaseException) -> str:
    """The traceback as text, from the first frame that is not parpool's to the last that is not the engine's."""
    try:
        if told is not None and (text := told(error)) is not None:
            return _encodable(text)
        whole = traceback.TracebackException(type(error), error, error.__traceback__)
        whole.stack[:] = whole.stack[_theirs(error)]
        return _encodable("".join(whole.format()))
    except BaseException as odd:
        return f"{type(error).__name__} (its traceback could not be formatted: {type(odd).__name__})\n"


def text_of(error: BaseException) -> str:
    """``str(error)``; where that raises, what it raises."""
    try:
        return _encodable(str(error))
    except BaseException as odd:
        return f"<text not available: str() raised {type(odd).__name__}>"


def _encodable(text: str) -> str:
    # Lone surrogates are legal in a str and not in UTF-8.
    return text.encode("utf-8", "backslashreplace").decode()


def _theirs(error: BaseException) -> slice:
    """Which frames of the traceback to tell: not the way to the user's code, nor the handler that interrupted it."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    last = len(names)
    while last and names[last - 1].startswith("parpool.engine."):
        last -= 1
    first = 0
    while first < last and names[first].startswith("parpool."):
        first += 1
    if first == last and not isinstance(
        error, SyntaxError
    ):  # none is theirs: where it came about is better than nothing
        return slice(max(0, len(names) - 1), None)
    return slice(first, last)


def unpack_failure(data: bytes, engine_id: int | None = None) -> BaseException:
    """The exception that :func:`pack_failure` packed, or a RemoteError in its place."""
    failure = read_failure(data)
    error = rebuild(failure.pickled, failure.traceback)
    if error is None:
        error = RemoteError(failure.ename, failure.evalue, failure.traceback, engine_id)
        _add_cause(error, failure.traceback)
    return error


def read_failure(data: bytes) -> Failure:
    """What :func:`pack_failure` packed, not opened yet."""
    try:
        failure = _decode(data)
        failure.traceback = _with_lines(failure.traceback)
        return failure
    except (msgspec.MsgspecError, UnicodeDecodeError) as odd:
        return Failure(b"", "Exception", f"the engine's account of its failure cannot be read: {odd}", "")


def _with_lines(text: str) -> str:
    """A traceback with the lines of code that only this process has: of a notebook's cells, of a prompt, of a script."""
    if not _BARE.search(text):
        return text
    import linecache

    def with_line(found: re.Match[str]) -> str:
        known = found["file"] in linecache.cache or (os.path.isabs(found["file"]) and found["file"].endswith(".py"))
        line = linecache.getline(found["file"], int(found["line"])).strip() if known else ""
        return f"{found[0]}{found['margin']}    {line}\n" if line else found[0]

    return _BARE.sub(with_line, text)


def rebuild(pickled: bytes, text: str) -> BaseException | None:
    """The exception in ``pickled``, with the traceback ``text`` as its cause; None where it cannot be opened here."""
    if not pickled:
        return None
    try:
        error = pickle.loads(pickled)
        if not issubclass(type(error), BaseException):
            return None
        _add_cause(error, text)
    except BaseException:
        return None
    found: BaseException = error
    return found


def _add_cause(error: BaseException, text: str) -> None:
    if text:
        import multiprocessing.pool  # only when something failed

        remote: Any = vars(multiprocessing.pool)["RemoteTraceback"]  # which the stubs do not know
        # Not by assignment: a class may forbid that, as frozen dataclasses do.
        BaseException.__setattr__(error, "__cause__", remote(f'\n"""\n{text}"""'))
