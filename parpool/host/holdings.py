"""What a client has with one scheduler of several, in words that a journal can hold.

Where there is one scheduler, a client that comes back no more has all that the hub takes for pending there. Where there
are several, the hub does not know which of them has what. So it is written down when the client goes.

A word is ``id:whole:ranges``: a task, what the hub knows it as, and its items, as ``first-end,first-end``. Of most there is
the id alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from ..core.state import Task


class Holding(NamedTuple):
    """A task, as far as it is here."""

    id: int
    known_as: int  #: by the hub
    items: frozenset[int] | None  #: None: all that there are of it


def in_words(tasks: Iterable[Task]) -> str:
    """Tasks, and parts of tasks that were cut here, of one client."""
    ranges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for task in tasks:
        id = task.origin
        ranges.setdefault((id, task.known_as), []).append((task.first, task.count))
    return " ".join(_word(id, known_as, parts) for (id, known_as), parts in ranges.items())


def _word(id: int, known_as: int, parts: list[tuple[int, int]]) -> str:
    if id == known_as and parts == [(0, 1)]:
        return str(id)
    return f"{id}:{known_as}:{','.join(f'{first}-{end}' for first, end in parts)}"


def from_words(words: str) -> dict[int, list[Holding]]:
    """What :func:`in_words` has put into words, by what the hub knows it as. What is no such word is left out."""
    found: dict[int, list[Holding]] = {}
    for word in words.split():
        with suppress(ValueError):
            holding = _holding(word)
            found.setdefault(holding.known_as, []).append(holding)
    return found


def _holding(word: str) -> Holding:
    id, _, rest = word.partition(":")
    known_as, _, parts = rest.partition(":")
    items: frozenset[int] | None = None
    if parts:
        ranges = [tuple(map(int, each.split("-"))) for each in parts.split(",")]
        items = frozenset(item for first, end in ranges for item in range(first, end))
    return Holding(int(id), int(known_as or id), items)
