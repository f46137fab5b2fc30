"""What is known of the tasks of a result: who ran them, when, how they ended, and what they printed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from time import time
from typing import TYPE_CHECKING, Any

from ..wire.messages import DISPLAYED
from .outcome import WORDS, Arrived

if TYPE_CHECKING:
    from .contract import Link


class Account:
    """The part of a result that tells of its tasks. Nothing here is made before it is asked for."""

    _link: Link
    _submitted: float
    _done: bool
    _after: Sequence[str] = ()
    _follow: Sequence[str] = ()
    #: what tasks wrote: the stream, the text, the engine, and of which chunk, where it is a map
    _printed: list[tuple[int, str, int, int | None]] | None = None
    _sinks: list[Callable[[], object]] | None = None  #: told when there is more of it

    @property
    def metadata(self) -> Any:
        """A dict on the task that ran (a list of dicts for several, one a task): who ran it, when, how it ended.

        Keys: ``msg_id, submitted, started, completed, received, engine_id, engine_uuid, after, follow, status, stdout,
        stderr``. Times are aware :class:`~datetime.datetime` objects in UTC, or None while unknown.
        """
        texts = self._texts()
        return [self._describe(arrived, texts) for arrived in self._arrived()]

    @property
    def elapsed(self) -> float:
        """Seconds since the call was submitted, until it ended or until now."""
        return (max((a.received for a in self._arrived()), default=time()) if self._done else time()) - self._submitted

    @property
    def serial_time(self) -> float:
        """Seconds that the tasks which have ended took on their engines, added up."""
        return sum(max(0.0, a.completed - a.started) for a in self._arrived())

    @property
    def wall_time(self) -> float:
        """Seconds from the submission to the arrival of the last outcome; while there is none, until now."""
        return self.elapsed

    @property
    def speedup(self) -> float:
        """How many times faster this was than one engine alone: ``serial_time / wall_time``."""
        return self.serial_time / self.wall_time if self.wall_time > 0 else 0.0

    @property
    def timeline(self) -> list[dict[str, Any]]:
        """Who ran what and when, for a chart: a dict for each task that has ended, in the order of their start.

        Keys: ``engine_id``, ``msg_id``, ``items`` (how many it answers for), and ``started`` and ``completed`` in
        seconds since the submission.
        """
        begun = self._submitted
        lines = [
            {
                "engine_id": a.engine,
                "msg_id": self._link.msg_id(a.id),
                "items": a.size,
                "started": a.started - begun,
                "completed": a.completed - begun,
            }
            for a in self._arrived()
            if a.started
        ]
        return sorted(lines, key=lambda line: line["started"])

    @property
    def progress(self) -> int:
        """How many of its ``len()`` items have ended."""
        return sum(a.size for a in self._arrived())

    @property
    def stdout(self) -> Any:
        """What the task has printed so far (a list of strings for several targets). Only views' tasks are captured."""
        return self._text(1)

    @property
    def stderr(self) -> Any:
        """What it has written to stderr so far."""
        return self._text(2)

    @property
    def outputs(self) -> Any:
        """What the task has displayed so far, as notebooks have it (a list of lists for several targets).

        A dict each, with ``output_type`` (``display_data``, ``update_display_data`` or ``clear_output``), ``data`` by
        mime type, ``metadata`` and ``transient``. Only engines that host an IPython shell display more than text.
        """
        return outputs_of(self._text(DISPLAYED))

    def _text(self, stream: int) -> str:
        return "".join([entry[1] for entry in list(self._printed or ()) if entry[0] == stream])

    def _texts(self) -> Mapping[tuple[int, int | None], str]:
        """What was written to each stream, chunk by chunk."""
        texts: dict[tuple[int, int | None], list[str]] = defaultdict(list)
        for stream, text, _, chunk in list(self._printed or ()):
            texts[stream, chunk].append(text)
        return {key: "".join(pieces) for key, pieces in texts.items()}

    def _keep_text(self, stream: int, text: str, engine: int, chunk: int | None = None) -> None:
        """A task has written to a stream (called by whoever drives the loop)."""
        if self._printed is None:
            self._printed = []
        self._printed.append((stream, text, engine, chunk))
        for sink in tuple(self._sinks or ()):
            sink()

    def _describe(self, arrived: Arrived, texts: Mapping[tuple[int, int | None], str]) -> dict[str, Any]:
        engine = arrived.engine
        return {
            "msg_id": self._link.msg_id(arrived.id),
            "submitted": _date(self._submitted),
            "started": _date(arrived.started),
            "completed": _date(arrived.completed),
            "received": _date(arrived.received),
            "engine_id": engine,
            "engine_uuid": None if engine is None else self._link.engine_uuid(engine),
            "after": list(self._after),
            "follow": list(self._follow),
            "status": WORDS.get(arrived.status, "error") if arrived.received else "pending",
            "stdout": texts.get((1, arrived.chunk), ""),
            "stderr": texts.get((2, arrived.chunk), ""),
        }

    def _arrived(self) -> list[Arrived]:
        raise NotImplementedError


def outputs_of(text: str) -> list[dict[str, Any]]:
    """What a task has displayed, out of what it has written to that stream."""
    if not text:
        return []
    import json

    return [json.loads(line) for line in text.splitlines()]


def _date(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, timezone.utc) if seconds else None
