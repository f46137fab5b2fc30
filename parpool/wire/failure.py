"""Exceptions across processes.

An exception leaves an engine three times over: as a pickle, as name and text, and as the text of its traceback. What
arrives is the exception itself with the remote traceback as its cause; where the pickle cannot be made there, or
cannot be opened here, a :class:`~parpool.errors.RemoteError` with its name and text.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec

from ..errors import RemoteError


class _Failure(msgspec.Struct, array_like=True):
    pickled: bytes
    ename: str
    evalue: str
    traceback: str


_decode = msgspec.msgpack.Decoder(_Failure).decode


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
    text = ""
    if with_traceback:
        try:
            text = "".join(traceback.format_exception(type(error), error, _own_frames_removed(error)))
        except BaseException as odd:
            text = f"{type(error).__name__} (its traceback could not be formatted: {type(odd).__name__})\n"
    try:
        pickled = dumps(error)
    except BaseException:
        pickled = b""
    try:
        value = str(error)
    except BaseException as odd:
        value = f"<text not available: str() raised {type(odd).__name__}>"
    # Lone surrogates are legal in a str and not in UTF-8.
    fields = (type(error).__name__, value, text)
    ename, evalue, text = (field.encode("utf-8", "backslashreplace").decode() for field in fields)
    return msgspec.msgpack.encode(_Failure(pickled, ename, evalue, text))


def _own_frames_removed(error: BaseException) -> TracebackType | None:
    tb = error.__traceback__
    while (
        tb is not None and tb.tb_next is not None and tb.tb_frame.f_globals.get("__name__", "").startswith("parpool.")
    ):
        tb = tb.tb_next
    return tb


def unpack_failure(data: bytes, engine_id: int | None = None) -> BaseException:
    """The exception that :func:`pack_failure` packed, or a RemoteError in its place."""
    try:
        failure = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as odd:
        failure = _Failure(b"", "Exception", f"the engine's account of its failure cannot be read: {odd}", "")
    error: object = None
    if failure.pickled:
        try:
            error = pickle.loads(failure.pickled)
        except BaseException:
            error = None
    if not isinstance(error, BaseException):
        error = RemoteError(failure.ename, failure.evalue, failure.traceback, engine_id)
    if failure.traceback:
        import multiprocessing.pool  # only when something failed

        remote: Any = vars(multiprocessing.pool)["RemoteTraceback"]  # which the stubs do not know
        error.__cause__ = remote(f'\n"""\n{failure.traceback}"""')
    return error
