"""How a sequence is cut into a part for each engine, and how parts become one whole again.

A *distribution* says which items go to which part: ``'b'`` gives contiguous blocks, ``'r'`` deals the items out like
cards. Parts are slices: those of a range are ranges, those of an array are views of it, and where there are fewer
items than parts, the last ones are empty and still of the right type. Joining undoes the cutting, with one exception:
tuples, ranges and other sequences come back as a list.

=========================================================  ==========================================
the parts to be joined                                     the whole
=========================================================  ==========================================
numpy arrays of one dimension or more                      an array, joined along the first axis
Series or DataFrames of pandas, or what is like them       one of the same kind, each row with its label
``str``, ``bytes``, ``bytearray``, ``array.array``         the same type
``list``, ``tuple``, ``range`` and other sequences         a list
anything else: numbers, dicts, sets, named tuples          a list of them; each is one item
of several of these kinds                                  a list of all their items
=========================================================  ==========================================

Empty parts have no say in it: what an engine without items made does not spoil what the others did.
"""

from __future__ import annotations

import itertools
import sys
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, ClassVar, TypeAlias

from ..wire.fingerprint import MAIN


class Distribution(ABC):
    """A rule by which items go to parts."""

    name: ClassVar[str]  #: what users call it

    @abstractmethod
    def slices(self, total: int, n: int) -> list[slice]:
        """The ``n`` slices that cut ``total`` items into parts."""

    def cut(self, items: Any, n: int) -> list[Any]:
        """Cut ``items``, which are a sequence or anything iterable, into ``n`` parts."""
        if n < 1:
            raise ValueError(f"items are cut into at least 1 part, not {n}")
        whole = _sliceable(items)
        return [_slice(whole, each) for each in self.slices(len(whole), n)]

    def cut_together(self, sequences: Sequence[Any], n: int, *, strict: bool = False) -> list[tuple[Any, ...]]:
        """Cut several sequences alike: for each of the ``n`` parts, a tuple with that part of every sequence.

        The shortest one decides how many items there are, as in the builtin ``map``, so that the others may be
        endless. ``strict``: sequences of different lengths are a ValueError.
        """
        if not sequences:
            raise TypeError("at least one sequence is needed")
        wholes = _of_one_length(sequences) if strict else _as_long_as_the_shortest(sequences)
        return list(zip(*(self.cut(whole, n) for whole in wholes), strict=True))

    def join(self, parts: Iterable[Any], *, text: bool = True) -> Any:
        """Make one whole of parts, in the order that their items had before they were cut.

        ``text``: is a ``str`` or ``bytes`` a part of a longer one? If not, each is one item of a list: right for
        values of which every engine made one, such as its host's name.
        """
        concatenate, segments = _segments(list(parts), text)
        return self._arrange(concatenate(segments), segments)

    def _arrange(self, whole: Any, segments: list[Any]) -> Any:
        """Bring ``whole``, in which the segments follow each other, into its order. It may be changed in place."""
        return whole


class Blocks(Distribution):
    """Contiguous blocks whose lengths differ by one at most, the longer ones first."""

    name = "b"

    def slices(self, total: int, n: int) -> list[slice]:
        """The ``n`` slices that cut ``total`` items into parts."""
        length, longer = divmod(total, n)
        starts = [part * length + min(part, longer) for part in range(n + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(starts)]


class RoundRobin(Distribution):
    """The items go to the parts in turn: the first to the first part, the second to the second, and round again."""

    name = "r"

    def slices(self, total: int, n: int) -> list[slice]:
        """The ``n`` slices that cut ``total`` items into parts."""
        return [slice(part, None, n) for part in range(n)]

    def _arrange(self, whole: Any, segments: list[Any]) -> Any:
        if isinstance(whole, str):
            characters = list(whole)
            _deal(characters, segments)
            return "".join(characters)
        if isinstance(whole, bytes):
            octets = bytearray(whole)
            _deal(octets, segments)
            return bytes(octets)
        if _has_rows(whole):
            order = list(range(len(whole)))
            ends = itertools.accumulate(map(len, segments))
            _deal(order, [range(end - len(each), end) for end, each in zip(ends, segments, strict=True)])
            return whole.iloc[order]
        _deal(whole, segments)
        return whole


DISTRIBUTIONS: dict[str, Distribution] = {each.name: each for each in (Blocks(), RoundRobin())}


def distribution(name: str) -> Distribution:
    """The distribution of a name: ``'b'`` for blocks, ``'r'`` for round robin."""
    found = DISTRIBUTIONS.get(name) if isinstance(name, str) else None
    if found is None:
        known = ", ".join(f"{each.name!r} ({type(each).__name__})" for each in DISTRIBUTIONS.values())
        raise ValueError(f"there is no distribution {name!r}; there are {known}")
    return found


def flattened(part: Any) -> Any:
    """The item itself where the part has exactly one, else the part."""
    if len(part) != 1:
        return part
    return part.iloc[0] if _has_rows(part) else part[0]


# Cutting ---------------------------------------------------------------------------------------------


def _sliceable(items: Any) -> Any:
    """``items``, or a list or ``bytes`` of them, of which slices can be had that can also be pickled."""
    if _is_array(items):
        if items.ndim == 0:
            raise TypeError("an array of no dimensions has no items to be cut; numpy.atleast_1d gives it one dimension")
        return items
    if isinstance(items, memoryview):
        return items.tobytes() if items.format == "B" and items.ndim == 1 else items.tolist()
    return items if _has_rows(items) or _gives_slices(items) else list(items)


def _slice(whole: Any, part: slice) -> Any:
    return whole.iloc[part] if _has_rows(whole) else whole[part]


def _of_one_length(sequences: Sequence[Any]) -> list[Any]:
    wholes = [_sliceable(each) for each in sequences]
    lengths = [len(each) for each in wholes]
    if len(set(lengths)) > 1:
        raise ValueError(f"the sequences must be of one length, not of {', '.join(map(str, lengths))}")
    return wholes


def _as_long_as_the_shortest(sequences: Sequence[Any]) -> list[Any]:
    wholes = {place: _sliceable(each) for place, each in enumerate(sequences) if hasattr(each, "__len__")}
    streams = {place: each for place, each in enumerate(sequences) if place not in wholes}
    shortest = min(map(len, wholes.values()), default=None)
    if streams:
        # Together, item by item: one of them may be endless, and one may be there twice.
        rows = list(itertools.islice(zip(*streams.values(), strict=False), shortest))
        shortest = len(rows)
        wholes |= {place: [row[column] for row in rows] for column, place in enumerate(streams)}
    ordered = [wholes[place] for place in range(len(sequences))]
    return [each if len(each) == shortest else _slice(each, slice(shortest)) for each in ordered]


# Joining ---------------------------------------------------------------------------------------------

#: Makes one whole of sequences that are all of the kind that it is for.
Concatenate: TypeAlias = Callable[[list[Any]], Any]


def _segments(parts: list[Any], text: bool) -> tuple[Concatenate, list[Any]]:
    """How the parts are to be concatenated, and as which sequences."""
    kinds = [(_kind(part, text), part) for part in parts]
    kinds = [(kind, part) for kind, part in kinds if kind is None or len(part)] or kinds
    if len({kind for kind, _ in kinds}) == 1 and kinds[0][0] is not None:
        concatenate, _ = kinds[0][0]
        if concatenate is not _concatenate_lists:
            return concatenate, [part for _, part in kinds]
    return _concatenate_lists, [_items(part) if kind else [part] for kind, part in kinds]


def _kind(part: Any, text: bool) -> tuple[Concatenate, Any] | None:
    """How the part is joined to others of its kind, and what else they must have in common; None: it is one item."""
    exact = type(part)
    if exact is str or exact is bytes:
        return (_concatenate_text, exact) if text else None
    if isinstance(part, (str, bytes, tuple)) and exact is not tuple:
        return None  # numpy's text, members of an Enum, named tuples: none of them is a slice of something
    if _is_array(part):
        return (_concatenate_arrays, None) if part.ndim else None
    if _has_rows(part):
        return (_concatenate_rows, exact) if _concat(part) else (_concatenate_lists, None)
    if isinstance(part, (bytearray, array)):
        return _concatenate_growing, getattr(part, "typecode", bytearray)
    return (_concatenate_lists, None) if isinstance(part, Sequence) or _gives_slices(part) else None


def _items(part: Any) -> list[Any]:
    # Iteration over a DataFrame would give its columns.
    return [part.iloc[row] for row in range(len(part))] if _has_rows(part) else list(part)


def _concatenate_lists(segments: list[list[Any]]) -> list[Any]:
    return list(itertools.chain.from_iterable(segments))


def _concatenate_text(segments: list[Any]) -> Any:
    return segments[0][:0].join(segments)


def _concatenate_growing(segments: list[Any]) -> Any:
    whole = segments[0][:]
    for each in segments[1:]:
        whole.extend(each)
    return whole


def _concatenate_arrays(segments: list[Any]) -> Any:
    import numpy

    # numpy's own concatenate would lose the masks.
    masked = any(isinstance(each, numpy.ma.MaskedArray) for each in segments)
    return (numpy.ma.concatenate if masked else numpy.concatenate)(segments)


def _concatenate_rows(segments: list[Any]) -> Any:
    return _concat(segments[0])(segments)


def _concat(part: Any) -> Any:
    """The function ``concat`` of the library that the part's class, or one of its bases, comes from."""
    for kind in type(part).__mro__:
        library = kind.__module__.partition(".")[0]
        concat = getattr(sys.modules.get(library), "concat", None)
        if library not in MAIN and callable(concat):
            return concat
    return None


def _deal(whole: Any, segments: list[Any]) -> None:
    """Fill ``whole``, which is as long as the segments together, with an item of each segment in turn."""
    place = dealt = 0
    for length in sorted(set(map(len, segments))):
        # Until one of them ends, the segments take turns: each has one place in every ``len(going)``.
        going = [each for each in segments if len(each) >= length]
        end = place + (length - dealt) * len(going)
        for start, each in enumerate(going, place):
            whole[start : end : len(going)] = each[dealt:length]
        place, dealt = end, length


# What there is to cut and to join --------------------------------------------------------------------


def _is_array(value: Any) -> bool:
    kind = getattr(sys.modules.get("numpy"), "ndarray", None)
    return kind is not None and isinstance(value, kind)


def _has_rows(value: Any) -> bool:
    """Is it a Series or DataFrame, of pandas or of a library that is like it?"""
    return hasattr(type(value), "iloc")


def _gives_slices(value: Any) -> bool:
    if isinstance(value, (Mapping, Set)):
        return False  # a slice could be a key
    try:
        return len(value) >= 0 and len(value[0:0]) == 0
    except Exception:  # whatever their classes raise
        return False
