"""From which size on shared memory is worth it: a table, and the figure in the manual."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from arrays_more import environment
from arrays_tasks import compared, echo

import parpool
from parpool.options import SegmentSettings
from parpool.wire import envelope

Work = Callable[[Any, Any, int], None]

FIGURE = Path(__file__).parents[1] / "docs" / "threshold.svg"
SIZES = [2**power for power in range(14, 23)]


class Point(NamedTuple):
    """Seconds a call, there and back: one after the other, and all at once; by shared memory and in messages."""

    size: int
    one: tuple[float, float]
    many: tuple[float, float]
    ratios: tuple[float, float]


def one_by_one(pool: Any, array: Any, count: int) -> None:
    for _ in range(count):
        pool.apply(echo, (array,))


def at_once(pool: Any, array: Any, count: int) -> None:
    for result in [pool.apply_async(echo, (array,)) for _ in range(count)]:
        result.get()


def points(rounds: int) -> list[Point]:
    found = []
    # What is small stays in the pickle, wherever the threshold lies: for the one pool all is to go by shared memory.
    large, all_of_it = envelope.LARGE, 1024
    with environment(PARPOOL_SHM_THRESHOLD=str(all_of_it)):
        envelope.LARGE = all_of_it
        shared = parpool.Pool(2, context=multiprocessing.get_context("fork"))
        envelope.LARGE = large
    with environment(PARPOOL_SHM_MAX="0"):
        alone = parpool.Pool(2, context=multiprocessing.get_context("fork"))

    def by_memory(work: Work, array: Any, count: int) -> None:
        envelope.LARGE = all_of_it
        try:
            work(shared, array, count)
        finally:
            envelope.LARGE = large

    with shared, alone:
        for size in SIZES:
            array, count = numpy.zeros(size // 8), max(20, min(200, 2**24 // size))
            seconds = []
            for work in (one_by_one, at_once):
                ours, theirs = partial(by_memory, work, array, count), partial(work, alone, array, count)
                seconds.append(compared(rounds, 2, ours, theirs, 2))
            one, many = ((each.ours / count, each.theirs / count) for each in seconds)
            found.append(Point(size, one, many, (seconds[0].ratio, seconds[1].ratio)))
    shared.join()
    alone.join()
    return found


def table(found: Sequence[Point]) -> str:
    lines = [
        "| size | `apply`: shared / in messages | at once: shared / in messages | ratios |",
        "| --- | --- | --- | --- |",
    ]
    for each in found:
        one, many = (f"{a * 1e6:.0f} / {b * 1e6:.0f} µs" for a, b in (each.one, each.many))
        lines.append(f"| {each.size >> 10} KiB | {one} | {many} | {each.ratios[0]:.2f}, {each.ratios[1]:.2f} |")
    return "\n".join(lines)


# The figure ----------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 200, 20, 50
LINES = (
    ("one by one, shared", "#1f6fb4", "", lambda p: p.one[0]),
    ("one by one, in messages", "#1f6fb4", "6 4", lambda p: p.one[1]),
    ("at once, shared", "#d1602c", "", lambda p: p.many[0]),
    ("at once, in messages", "#d1602c", "6 4", lambda p: p.many[1]),
)


def draw(found: Sequence[Point], threshold: int) -> str:
    """Time of a call over the size of its array, both in powers."""
    microseconds = [each(point) * 1e6 for point in found for *_, each in LINES]
    low, high = math.floor(math.log10(min(microseconds))), math.ceil(math.log10(max(microseconds)))
    first, last = math.log2(found[0].size), math.log2(found[-1].size)

    def x(size: float) -> float:
        return LEFT + (math.log2(size) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for point in found:
        name = f"{point.size >> 10} K" if point.size < 2**20 else f"{point.size >> 20} M"
        parts.append(_line([(x(point.size), TOP), (x(point.size), bottom)], "#e4e4e4"))
        parts.append(_text(x(point.size), bottom + 18, name, "middle"))
    for power in range(low, high + 1):
        parts.append(_line([(LEFT, y(10**power)), (right, y(10**power))], "#e4e4e4"))
        parts.append(_text(LEFT - 8, y(10**power) + 4, f"{10**power:,} µs" if power < 6 else "1 s", "end"))
    parts.append(_line([(x(threshold), TOP), (x(threshold), bottom)], "#444444", "2 3"))
    parts.append(_text(x(threshold) + 5, TOP + 12, "threshold", "start"))
    for number, (name, colour, dashes, value) in enumerate(LINES):
        parts.append(_line([(x(point.size), y(value(point) * 1e6)) for point in found], colour, dashes, 2))
        at = TOP + 20 + 24 * number
        parts.append(_line([(right + 14, at), (right + 44, at)], colour, dashes, 2))
        parts.append(_text(right + 50, at + 4, name, "start"))
    parts.append(_text((LEFT + right) / 2, HEIGHT - 10, "bytes of the array, there and back", "middle"))
    return "\n".join([*parts, "</svg>", ""])


def _line(points: Sequence[tuple[float, float]], colour: str, dashes: str = "", width: int = 1) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}"{pattern}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def write(found: Sequence[Point]) -> None:
    FIGURE.write_text(draw(found, SegmentSettings().threshold), encoding="utf-8")
