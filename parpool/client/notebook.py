"""What a notebook shows of clients, views, results and queues: HTML without scripts, style sheets or other files.

Text and lines have the colour of the page's own text, and the colours of bars stand out from light and from dark, so
that it is legible in every theme. Whatever a user or another machine has named is escaped, and cut where it is long.
How large it gets does not depend on how many tasks there were.

A notebook asks for the HTML of whatever a cell ends in. So nothing here raises because engines are gone, or waits for
tasks.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import status as codes
from ..wire.failure import safe_repr
from .outcome import WORDS, Arrived

if TYPE_CHECKING:
    from .contract import Link
    from .result import AsyncResult
    from .view import View

PATIENCE = 2.0  #: seconds that a controller has to tell what its engines hold
SHOWN = 80  #: characters of a name
ROWS = 32  #: engines
#: Bars of a timeline, about: tasks that begin one soon after the other become one, as they would look like one.
BARS = 2000

LABEL, PLOT, MARGIN, ROW, AXIS = 96, 540, 12, 20, 22  #: pixels of a timeline: three widths, two heights
THINNEST = 2  #: pixels of a bar

COLOURS = {"ok": "#3b8ed0", "error": "#d9534f", "aborted": "#8a8a8a"}

#: What XML cannot contain, however it is written, and lone surrogates, which no encoding can.
_UNSPEAKABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escaped(value: object, most: int = SHOWN) -> str:
    """Anything as text of a page, of ``most`` characters at the most."""
    text = _UNSPEAKABLE.sub("\ufffd", str(value))
    return html.escape(text if len(text) <= most else text[: most - 1] + "…")


# Queues -----------------------------------------------------------------------------------------------

_COLUMNS = {"hostname": "machine", "name": "name", "pid": "process", "tasks": "holds", "queue": "waiting for it"}
_COLUMNS["completed"] = "completed"


class QueueStatus(dict[Any, Any]):
    """What ``queue_status`` gives: a dict like any other, that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return f"<div>{_queues(self)}</div>"


def _queues(status: Mapping[Any, Any], ids: Iterable[Any] | None = None) -> str:
    """A table with a row for each engine of a ``queue_status``; with ``ids`` for these, where they serve or not."""
    one = "tasks" in status  # of one engine, and it does not say which
    if one:
        status = {"": status}
    rows = {id: each for id, each in status.items() if isinstance(each, Mapping)}
    if ids is not None:
        rows = {id: rows.get(id, {}) for id in ids}
    columns = [name for name in _COLUMNS if any(name in each for each in rows.values())] or ["hostname"]
    cells = [["engine", *(_COLUMNS[name] for name in columns)]]
    for id in list(rows)[:ROWS]:
        if rows[id]:
            cells.append([str(id), *(_counted(rows[id].get(name, "")) for name in columns)])
        else:
            cells.append([str(id), "does not serve", *[""] * (len(columns) - 1)])
    if one:
        cells = [line[1:] for line in cells]
    table = _rows(cells) if rows else ""
    notes = [f"and {len(rows) - ROWS} more engines"] if len(rows) > ROWS else []
    if status.get("unassigned"):
        notes.append(
            f"{status['unassigned']} {'task waits' if status['unassigned'] == 1 else 'tasks wait'} for any engine"
        )
    return table + "".join(f"<div>{escaped(note)}</div>" for note in notes)


def _counted(value: Any) -> str:
    return str(len(value) if isinstance(value, list) else value)


def _rows(cells: Iterable[Iterable[str]]) -> str:
    """A table, of which the first line has the names of the columns."""
    lines = []
    for number, line in enumerate(cells):
        mark = "td" if number else "th"
        lines.append("<tr>" + "".join(f"<{mark}>{escaped(cell)}</{mark}>" for cell in line) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


# Clusters, clients and views ------------------------------------------------------------------------------------


def cluster_html(told: str, sets: Mapping[str, int], folder: object) -> str:
    """A cluster: what its text tells, its sets of engines, and where its files are."""
    table = _rows([("engines", "set"), *((str(n), id) for id, n in list(sets.items())[:ROWS])]) if sets else ""
    return f"<div><div><b>Cluster</b>{escaped(told, 200)}</div>{table}<div>{escaped(folder, 1000)}</div></div>"


def client_html(ids: list[int], link: Link) -> str:
    """A client: its engines, and what they hold."""
    return f"<div><div><b>Client</b> of {_number(len(ids), 'engine')}</div>{_held(link)}</div>"


def view_html(view: View) -> str:
    """A view: the flags that are set, its engines, and what they hold."""
    targets = view._targets
    ids = None if targets is None or isinstance(targets, str) else [targets] if isinstance(targets, int) else targets
    if ids is None:
        where = "any engine" if view.balanced else "all engines"
    else:
        where = f"{'any of ' if view.balanced and len(ids) > 1 else ''}{_number(len(ids), 'engine')}"
    values = {name: getattr(view, name) for name in view._flag_names}
    flags = ", ".join(
        escaped(f"{name}={safe_repr(value, SHOWN)}")
        for name, value in values.items()
        if value is not None and not (isinstance(value, int) and not value)
    )
    head = f"<b>{escaped(type(view).__name__)}</b> of {where}" + (f" with {flags}" if flags else "")
    return f"<div><div>{head}</div>{_held(view._link, ids)}</div>"


def _held(link: Link, ids: Iterable[int] | None = None) -> str:
    try:
        return _queues(link.control.status(PATIENCE), ids)
    except Exception as error:  # the pool is closed, the controller is away
        return f"<div>{escaped(f'{type(error).__name__}: {error}', 1000)}</div>"


# Results ----------------------------------------------------------------------------------------------


def result_html(result: AsyncResult) -> str:
    """A result: how far it is, and who ran what of it when."""
    arrived = result._arrived()
    begun, now = result._submitted, time()
    if not result.ready():
        state, end = "pending", now
    else:
        state = "ready" if result._failure() is None else "failed"
        end = max((each.received for each in arrived if each.received), default=begun)
    told = [state, f"{result.progress} of {_number(len(result), 'item')}", _seconds(end - begun)]
    if worked := sum(max(0.0, each.completed - each.started) for each in arrived):
        told.append(f"{_seconds(worked)} of work")
    if failed := sum(each.size for each in arrived if each.status != codes.OK):
        told.append(f"{failed} failed")
    head = f"<b>{escaped(type(result).__name__)}</b> {escaped(result._name)}: {', '.join(told)}"
    return f"<div><div>{head}</div>{_timeline(arrived, begun, end, result._link)}</div>"


class _Bar:
    """One task, or several of one engine that began one soon after the other."""

    def __init__(self, task: Arrived, start: float, end: float) -> None:
        self.start, self.end = start, end  #: in seconds, within the timeline
        self.tasks = [task]

    def title(self, engine: int, link: Link) -> str:
        """What is shown where the mouse rests."""
        first, items = self.tasks[0], sum(task.size for task in self.tasks)
        what = link.msg_id(first.id) if len(self.tasks) == 1 else f"{len(self.tasks)} tasks"
        size = f", {items} items" if items > 1 else ""
        worked = sum(max(0.0, task.completed - task.started) for task in self.tasks)
        return f"engine {engine}: {what}{size}, {self.state}, {_seconds(worked)} from {_seconds(self.start)} on"

    @property
    def state(self) -> str:
        """The worst of its tasks'."""
        return next((WORDS.get(task.status, "error") for task in self.tasks if task.status != codes.OK), "ok")


class _Axis(NamedTuple):
    """From seconds to pixels."""

    seconds: float

    def x(self, seconds: float) -> float:
        """Within the plot, wherever the clock of another machine would have it."""
        return LABEL + PLOT * min(max(seconds / self.seconds, 0.0), 1.0)


def _timeline(arrived: list[Arrived], begun: float, end: float, link: Link) -> str:
    """The tasks that have ended as bars, in a row for each engine."""
    engines: dict[int, list[Arrived]] = {}
    for task in sorted(arrived, key=lambda task: task.started):
        if task.started and task.engine is not None:
            engines.setdefault(task.engine, []).append(task)
    if not engines or end <= begun:
        return ""
    axis = _Axis(end - begun)
    shown = sorted(engines)[:ROWS]
    step = axis.seconds * max(len(shown) / BARS, THINNEST / PLOT)
    height = ROW * len(shown) + AXIS
    parts = [_row(number, id, engines[id], begun, axis, step, link) for number, id in enumerate(shown)]
    parts.append(
        f'<text x="{LABEL}" y="{height - 7}">0 s</text>'
        f'<text x="{LABEL + PLOT}" y="{height - 7}" text-anchor="end">{_seconds(axis.seconds)}</text>'
    )
    width = LABEL + PLOT + MARGIN
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" style="max-width:100%" font-family="sans-serif" font-size="12" fill="currentColor">'
        f"{''.join(parts)}</svg>"
    )
    more = len(engines) - len(shown)
    return svg + (f"<div>and {_number(more, 'engine')} more</div>" if more else "")


def _row(number: int, engine: int, tasks: list[Arrived], begun: float, axis: _Axis, step: float, link: Link) -> str:
    top = ROW * number
    bars: list[_Bar] = []
    for task in tasks:
        start = min(max(task.started - begun, 0.0), axis.seconds)
        stop = min(max(task.completed - begun, start), axis.seconds)
        if bars and start - bars[-1].start < step:
            bars[-1].tasks.append(task)
            bars[-1].end = max(bars[-1].end, stop)
        else:
            bars.append(_Bar(task, start, stop))
    drawn = []
    for bar in bars:
        left = min(axis.x(bar.start), LABEL + PLOT - THINNEST)
        drawn.append(
            f'<rect class="task" x="{left:.1f}" y="{top + 3}" width="{max(axis.x(bar.end) - left, THINNEST):.1f}" '
            f'height="{ROW - 6}" fill="{COLOURS[bar.state]}"><title>{escaped(bar.title(engine, link))}</title></rect>'
        )
    return (
        f'<g class="engine"><text x="{LABEL - 8}" y="{top + ROW - 6}" text-anchor="end">engine {engine}</text>'
        f'<rect x="{LABEL}" y="{top + 1}" width="{PLOT}" height="{ROW - 2}" fill-opacity="0.08"/>{"".join(drawn)}</g>'
    )


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _seconds(seconds: float) -> str:
    """A time in three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"
