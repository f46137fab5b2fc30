"""ipyparallel's AsyncResult: a Future, with the metadata of its tasks as attributes and items."""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future, InvalidStateError
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import parpool

from .error import CompositeError, TimeoutError, translated, translating, with_translated
from .metadata import KEYS, Metadata, each_of
from .reply import ExecuteReply, replies, reply, show_all, write

if TYPE_CHECKING:
    from .clients import Client


class AsyncResult(Future[Any]):
    """The result of a call. ``parpool`` is parpool's own AsyncResult, which it stands before.

    As a :class:`concurrent.futures.Future` it can be given to :func:`concurrent.futures.wait` and its like.
    """

    def __init__(
        self,
        client: Client,
        result: parpool.AsyncResult,
        *,
        single: bool | None = None,
        return_exceptions: bool = False,
        silent: bool = True,
        fname: str = "apply",
        passing: bool = False,
        of_map: bool = False,
    ) -> None:
        super().__init__()
        self.parpool = result
        self.client = client
        self.owner = True
        self._single = isinstance(result.metadata, dict) if single is None else single
        self._return_exceptions = return_exceptions
        self.silent = silent
        self.fname = fname
        self._of_map = of_map  #: a task of a map: its value is the list of one value, which is that of its items
        self._split: tuple[AsyncResult, ...] | None = None
        if not passing:  # else its value is read at once, and nobody has it to wait for it as a future
            result.add_done_callback(lambda _: self._settle())

    def _settle(self) -> None:
        """The call has ended: tell those who wait for a Future. The value is opened by who asks for it."""
        with suppress(InvalidStateError):
            if self.parpool.successful():
                self.set_result(None)
            else:
                self.set_exception(self.exception())

    # -- waiting ----------------------------------------------------------------------------------------------

    def get(
        self, timeout: float | None = None, return_exceptions: bool | None = None, return_when: str | None = None
    ) -> Any:
        """The value, when it has arrived. TimeoutError after ``timeout`` seconds."""
        keep = self._return_exceptions if return_exceptions is None else return_exceptions
        if return_when == FIRST_EXCEPTION:
            for part in self.wait(timeout, FIRST_EXCEPTION)[0]:
                if not part.successful():
                    return part.get(return_exceptions=keep)
        with translating(self.parpool):
            value = self.parpool.get(_limit(timeout), return_exceptions=keep)
        return self._value(with_translated(value) if keep else value)

    def _value(self, value: Any) -> Any:
        return [value] if self._of_map and not isinstance(value, BaseException) else replies(value, self)

    def result(self, timeout: float | None = None) -> Any:
        """``get(timeout)``: a method, as futures have it."""
        return self.get(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What ``get(timeout)`` raises; None where it raises nothing."""
        self.parpool.wait(_limit(timeout))
        if not self.parpool.ready():
            raise TimeoutError("Result not ready.")
        if self.parpool.successful():
            return None
        try:
            self.parpool.get()
        except BaseException as error:
            return translated(error, self.parpool)
        return None

    @property
    def r(self) -> Any:
        """``get()``."""
        return self.get()

    def wait(self, timeout: float | None = -1, return_when: str | None = None) -> Any:
        """Wait, ``timeout`` seconds at the most (-1 or None: any time): has it ended?

        With ``return_when``, one of the constants of :func:`concurrent.futures.wait`: the sets of those of its parts
        that have ended and that have not.
        """
        if return_when is None:
            self.parpool.wait(_limit(timeout))
            return self.parpool.ready()
        parts = self.split()
        for part in parts:
            if part.parpool.ready():
                part._settle()
        return concurrent.futures.wait(parts, _limit(timeout), return_when)

    def wait_for_output(self, timeout: float | None = -1) -> bool:
        """Wait for what the tasks print: all of it is there with the result."""
        return bool(self.wait(timeout))

    def wait_for_send(self, timeout: float | None = -1) -> None:
        """Wait until the arguments may be changed. TimeoutError after ``timeout`` seconds."""
        if not self.parpool.wait_on_send(_limit(timeout)):
            raise TimeoutError("Still waiting to be sent")

    def wait_interactive(
        self,
        interval: float = 0.1,
        timeout: float | None = -1,
        widget: bool | None = None,
        return_when: str = ALL_COMPLETED,
    ) -> None:
        """Wait with a progress bar."""
        if return_when == ALL_COMPLETED:
            self.parpool.wait_interactive(interval, _limit(timeout))
        elif return_when in (FIRST_COMPLETED, FIRST_EXCEPTION):
            self.wait(timeout, return_when)
        else:
            raise ValueError(f"Unrecognized return_when={return_when!r}")

    def ready(self) -> bool:
        """Has the call ended?"""
        return self.parpool.ready()

    def done(self) -> bool:
        """Has the call ended?"""
        return self.parpool.ready()

    def successful(self) -> bool:
        """Did it end without an exception? ValueError while it has not ended."""
        return self.parpool.successful()

    @property
    def sent(self) -> bool:
        """May the arguments be changed?"""
        return self.parpool.sent

    def abort(self) -> None:
        """Take back what has not begun; it ends in TaskAborted."""
        self.parpool.abort()

    def cancel(self) -> bool:
        """:meth:`abort`. False: whether it came in time, only the end of the call tells."""
        self.abort()
        return False

    def __await__(self) -> Generator[Any, None, Any]:
        with translating(self.parpool):
            value = yield from self.parpool.__await__()
        return self._value(value)

    # -- parts ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return 1 if self._of_map else len(self.parpool)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        """The values, each as soon as it has arrived."""
        if self._single:
            raise TypeError("AsyncResults with a single result are not iterable.")
        if self._return_exceptions or self._of_map:
            yield from self.get()
            return
        if self.fname == "execute":
            for part in self.split():
                yield part.get()
            return
        with translating(self.parpool):
            yield from self.parpool

    def split(self) -> tuple[AsyncResult, ...]:
        """A result for each task; that of a map's task gives a list with the list of its items' values."""
        if self._split is None:
            parts = (self.parpool,) if self._single or self._of_map else tuple(self.parpool.split())
            alone = len(parts) == 1 and not isinstance(self, AsyncMapResult)
            self._split = (self,) if alone else tuple(map(self._part, parts))
        return self._split

    def _part(self, part: parpool.AsyncResult) -> AsyncResult:
        options: dict[str, Any] = {"return_exceptions": self._return_exceptions, "silent": self.silent}
        of_map = isinstance(self, AsyncMapResult)
        return AsyncResult(self.client, part, single=not of_map, fname=self.fname, of_map=of_map, **options)

    @classmethod
    def join(cls, *async_results: AsyncResult) -> AsyncResult:
        """One result of several, with all their tasks."""
        if not async_results:
            raise ValueError("Must specify at least one AsyncResult to join")
        first, *others = async_results
        if not others:
            return first
        one, *more = (part.parpool for each in async_results for part in each.split())
        return AsyncResult(first.client, one.join(*more), single=False, fname=first.fname)

    def get_dict(self, timeout: float | None = -1) -> dict[int | None, Any]:
        """The values by engine. ValueError where an engine gave more than one."""
        with translating(self.parpool):
            values = self.parpool.get_dict(_limit(timeout))
        return {engine: reply(value, engine, self) for engine, value in values.items()}

    @property
    def result_dict(self) -> dict[int | None, Any]:
        """``get_dict()``."""
        return self.get_dict()

    # -- what is known of the tasks ---------------------------------------------------------------------------

    @property
    def msg_ids(self) -> list[str]:
        """The names of its tasks."""
        return self.parpool.msg_ids

    @property
    def metadata(self) -> Any:
        """A dict, or a list of dicts for several tasks."""
        tasks = each_of(self.parpool.metadata)
        more = [(key, self._of_each(key)) for key in KEYS if key not in tasks[0]]
        known = [Metadata(each, **{key: of[n] for key, of in more}) for n, each in enumerate(tasks)]
        return known[0] if self._single else known

    def __getitem__(self, key: Any) -> Any:
        """``ar[0]``: a value; ``ar["engine_id"]``: something of the metadata."""
        if isinstance(key, str):
            return self._told(key)
        if not isinstance(key, (int, slice)):
            raise TypeError(f"Invalid key type {type(key)!r}, must be 'int','slice', or 'str'")
        if not self.ready():
            raise TimeoutError("Result not ready.")
        return self.get()[key]

    def __getattr__(self, name: str) -> Any:
        if name in KEYS:
            return self._told(name)
        if name.startswith("_") or name == "parpool":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.parpool, name)

    def _told(self, key: str) -> Any:
        if key not in KEYS:
            raise KeyError(key)
        told = self._of_each(key)
        return told[0] if self._single else told

    def _of_each(self, key: str) -> list[Any]:
        """What is known of each task."""
        if key == "outputs":
            return self.displayed()
        if key in ("stdout", "stderr"):
            text = getattr(self.parpool, key)
            return text if isinstance(text, list) else [text]
        if key == "label":
            return [self.client.labels.get(name) for name in self.msg_ids]
        if key == "error":
            parts = () if self.ready() and self.successful() else self.split()
            errors = [part.exception() if part.ready() else None for part in parts] or [None for _ in self.msg_ids]
            return [each.exceptions[0] if isinstance(each, CompositeError) else each for each in errors]
        if key in ("execute_input", "execute_result"):
            found = self.get(0, return_exceptions=True) if self.fname == "execute" and self.ready() else None
            values = [found] if self._single else found or [None] * len(self.msg_ids)
            name = "source" if key == "execute_input" else key
            return [getattr(each, name) if isinstance(each, ExecuteReply) else None for each in values]
        if key == "data":
            return [{} for _ in self.msg_ids]
        return [each[key] for each in each_of(self.parpool.metadata)]

    def displayed(self) -> list[list[dict[str, Any]]]:
        """What each task has displayed, as notebooks have it."""
        told = self.parpool.outputs
        return [told] if self._single or (told and isinstance(told[0], dict)) else told or [[]] * len(self)

    def timedelta(self, start: Any, end: Any, start_key: Any = min, end_key: Any = max) -> float:
        """Seconds from the first of the times ``start`` to the last of the times ``end``."""
        begun: datetime = start if isinstance(start, datetime) else start_key(start)
        ended: datetime = end if isinstance(end, datetime) else end_key(end)
        return (ended - begun).total_seconds()

    @property
    def progress(self) -> int:
        """How many of its ``len()`` items have ended."""
        return self.parpool.progress

    @property
    def elapsed(self) -> float:
        """Seconds since it was submitted, until it ended or until now."""
        return self.parpool.elapsed

    @property
    def serial_time(self) -> float:
        """Seconds that the tasks took, added up. TimeoutError while they have not ended."""
        self._check_ready()
        return self.parpool.serial_time

    @property
    def wall_time(self) -> float:
        """Seconds from the submission to the last outcome. TimeoutError while it is not there."""
        self._check_ready()
        return self.parpool.wall_time

    def _check_ready(self) -> None:
        if not self.ready():
            raise TimeoutError("Result not ready.")

    def stream_output(self) -> Any:
        """A context manager: within it, what the tasks print is printed here as it comes."""
        return self.parpool.stream_output()

    def display_outputs(self, groupby: str = "type", result_only: bool = False) -> None:
        """Print what the tasks have printed: of one task as it is, of several each under the name of its engine."""
        if groupby not in ("type", "engine", "order"):
            raise ValueError(f"groupby must be one of 'type', 'engine', 'order', not {groupby!r}")
        self._check_ready()
        engines = [self.engine_id] if self._single else self.engine_id
        texts = [(self._told(key), key, stream) for key, stream in (("stdout", sys.stdout), ("stderr", sys.stderr))]
        blocks = [
            (number, "" if self._single else f"[{key}:{engine}] \n", text, stream)
            for told, key, stream in texts
            for number, (engine, text) in enumerate(zip(engines, [told] if self._single else told, strict=False))
            if text and not result_only
        ]
        shows: list[tuple[int, int, Callable[[], object]]] = [
            (number, 0, partial(write, stream, label, text)) for number, label, text, stream in blocks
        ]
        displayed = [] if result_only else list(zip(engines, self.displayed(), strict=False))
        if groupby == "order":
            displayed = [
                (engine, outputs[turn : turn + 1])
                for turn in range(max((len(outputs) for _, outputs in displayed), default=0))
                for engine, outputs in displayed
            ]
        numbers = {engine: number for number, engine in enumerate(engines)}
        shows += [
            (numbers[engine], 1, partial(show_all, "" if self._single else f"[output:{engine}]\n", outputs))
            for engine, outputs in displayed
            if outputs
        ]
        if self.fname == "execute":
            shown = self.get(return_exceptions=True)
            for number, each in enumerate([shown] if self._single else shown):
                if isinstance(each, ExecuteReply) and each.execute_result is not None:
                    shows.append((number, 2, each.display))
        for _, _, show in sorted(shows, key=lambda show: show[:2]) if groupby == "engine" else shows:
            show()

    def __dir__(self) -> list[str]:
        return sorted({*(name for name in super().__dir__() if name not in ("r", "result_dict")), *KEYS})

    def __repr__(self) -> str:
        state = "pending" if not self.parpool.ready() else "finished" if self.parpool.successful() else "failed"
        return f"<{type(self).__name__}({self.fname}): {state}>"

    def _repr_html_(self) -> str:
        return self.parpool._repr_html_()


class AsyncMapResult(AsyncResult):
    """The result of a map: the values of all items."""


class AsyncHubResult(AsyncResult):
    """The result of a call that the hub was asked for."""


def _limit(timeout: float | None) -> float | None:
    """Seconds as parpool has them: there, None alone means any time."""
    return None if timeout is None or timeout < 0 else timeout
