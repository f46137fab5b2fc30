"""Remarks: the log records and warnings of tasks, as they travel between what tasks print.

A remark goes home as a line of text in a stream of its own, :data:`REMARKS`, beside stdout and stderr. So it keeps its
place among what the task prints, and whoever only passes output on need not know of it. Formatting is done on the
engine: the arguments of a record can be anything, and may have changed when it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

REMARKS = 4  #: the number of the stream; 1 is stdout, 2 is stderr, and 3 what is displayed
SIZE = 32 * 1024  #: characters of a message; what is longer is cut

Plain: TypeAlias = str | int | float | bool | None


class Logged(msgspec.Struct, array_like=True, tag=1):
    """A log record, formatted but for its layout."""

    name: str
    level: int
    level_name: str
    message: str
    path: str = ""
    line: int = 0
    function: str | None = None
    created: float = 0.0
    process: int | None = None
    thread: int | None = None
    thread_name: str | None = None
    exception: str | None = None  #: the traceback
    stack: str | None = None
    extra: dict[str, Plain] = {}  #: attributes by ``extra=``; what is not plain as its repr


class Warned(msgspec.Struct, array_like=True, tag=2):
    """A warning; ``categories`` are the names of its class and of that one's bases, as ``module:name``."""

    text: str
    categories: list[str]
    path: str = ""
    line: int = 0


Remark: TypeAlias = Logged | Warned

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Remark)


def to_text(remark: Remark) -> str:
    """A remark as a line."""
    return _encoder.encode(remark).decode() + "\n"


def remarks(text: str) -> Iterator[Remark]:
    """The remarks of several lines. What is none is left out: a line that was cut, or of another version."""
    for line in text.split("\n"):
        if line:
            try:
                yield _decoder.decode(line)
            except msgspec.DecodeError:
                pass


def printable(text: str) -> str:
    """The remarks of several lines as they would stand on stderr."""
    return "".join(map(_printed, remarks(text)))


def _printed(remark: Remark) -> str:
    if isinstance(remark, Warned):
        category = remark.categories[0].rpartition(":")[2] if remark.categories else "Warning"
        return f"{remark.path}:{remark.line}: {category}: {remark.text}\n"
    lines = [f"{remark.level_name}:{remark.name}:{remark.message}", remark.exception, remark.stack]
    return "".join(f"{line}\n" for line in lines if line)


def sound(text: str, size: int = SIZE) -> str:
    """Text of any kind as it can travel: without lone surrogates, and not too long."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= size else f"{text[:size]}... ({len(text) - size} more characters)"
