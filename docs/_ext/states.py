"""Draws a table of moves between states as SVG: states on one line, moves forward above it, moves back below.

Needs nothing but the table. ``python docs/_ext/states.py > states.svg`` draws that of the scheduler.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from html import escape

Moves = Mapping[str, Collection[str]]
Edge = tuple[str, str]

WIDE, HIGH = 84, 34  # a state's box
GAP = 46  # between two boxes
PORT = 11  # between two moves at one box
RISE = 21  # that a move climbs for each box that it passes

STYLE = """
.states text { font: 14px sans-serif; text-anchor: middle; dominant-baseline: central; fill: currentColor; }
.states rect { fill: none; stroke: currentColor; stroke-width: 1.5; }
.states rect.last { stroke-width: 4; }
.states path { fill: none; stroke: currentColor; stroke-width: 1.2; opacity: 0.75; }
.states marker path { fill: currentColor; stroke: none; opacity: 1; }
"""


def edges(moves: Moves) -> list[Edge]:
    """The moves as pairs, in the order of the table."""
    order = list(moves)
    return [(state, target) for state in order for target in sorted(moves[state], key=order.index)]


def draw(moves: Moves, title: str = "states") -> str:
    """The table as an SVG element. Each move is a path with ``data-from`` and ``data-to``."""
    place = {state: number for number, state in enumerate(moves)}
    spans = [place[b] - place[a] for a, b in edges(moves)]
    above, below = (RISE * max(0, *each) + HIGH for each in (spans, [-span for span in spans]))
    height = above + HIGH + below
    width = len(place) * (WIDE + GAP)
    middle = above + HIGH / 2
    parts = [
        f'<svg class="states" role="img" aria-label="{escape(title)}" viewBox="0 0 {width} {height:g}" '
        'xmlns="http://www.w3.org/2000/svg">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="states-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
    ]
    for state, number in place.items():
        left, top = number * (WIDE + GAP) + GAP / 2, middle - HIGH / 2
        last = "" if moves[state] else ' class="last"'
        parts.append(f'<rect{last} x="{left:g}" y="{top:g}" width="{WIDE}" height="{HIGH}" rx="7"/>')
        parts.append(f'<text x="{left + WIDE / 2:g}" y="{middle:g}">{escape(state)}</text>')
    ports = _ports(moves, place)
    for edge in edges(moves):
        path = _path(edge, place, ports, middle)
        a, b = map(escape, edge)
        parts.append(
            f'<path data-from="{a}" data-to="{b}" d="{path}" marker-end="url(#states-arrow)">'
            f"<title>{a} to {b}</title></path>"
        )
    parts.append("</svg>")
    return "\n".join(parts)


def _is_straight(edge: Edge, place: Mapping[str, int]) -> bool:
    return place[edge[1]] == place[edge[0]] + 1


def _ports(moves: Moves, place: Mapping[str, int]) -> dict[tuple[Edge, str], float]:
    """Where on the upper or lower side of a box each arc begins or ends: such that arcs of one box do not cross."""
    sides: dict[tuple[str, bool], list[Edge]] = {}
    for edge in edges(moves):
        if not _is_straight(edge, place):
            back = place[edge[1]] < place[edge[0]]
            for state in edge:
                sides.setdefault((state, back), []).append(edge)
    ports: dict[tuple[Edge, str], float] = {}
    for (state, _), arcs in sides.items():

        def outwards(edge: Edge, state: str = state) -> tuple[bool, int]:
            # Arcs to the left on the left half, those that reach farthest outermost of the left ones, and innermost
            # of the right ones.
            other = place[edge[1] if edge[0] == state else edge[0]]
            return other > place[state], -other

        arcs = sorted(arcs, key=outwards)
        for number, edge in enumerate(arcs):
            centre = place[state] * (WIDE + GAP) + GAP / 2 + WIDE / 2
            ports[edge, state] = centre + (number - (len(arcs) - 1) / 2) * PORT
    return ports


def _path(edge: Edge, place: Mapping[str, int], ports: Mapping[tuple[Edge, str], float], middle: float) -> str:
    a, b = edge
    if _is_straight(edge, place):
        right = place[a] * (WIDE + GAP) + GAP / 2 + WIDE
        return f"M{right:g} {middle:g} H{right + GAP - 1:g}"
    up = place[b] > place[a]
    sign = -1 if up else 1
    start, end = ports[edge, a], ports[edge, b]
    side = middle + sign * HIGH / 2
    top = side + sign * (RISE * abs(place[b] - place[a]) + HIGH / 2)
    bend = 14 if end > start else -14
    return (
        f"M{start:g} {side:g} C{start:g} {top:g} {start:g} {top:g} {start + bend:g} {top:g} "
        f"H{end - bend:g} C{end:g} {top:g} {end:g} {top:g} {end:g} {side + sign:g}"
    )


if __name__ == "__main__":
    from parpool.core.state import MOVES

    print(draw(MOVES))
