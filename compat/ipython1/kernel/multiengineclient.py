"""The client of IPython1, and of IPython.kernel: all engines at once, by name of their ids.

Everything that goes to engines takes ``targets`` and ``block``. Where they are not given, the attributes of the client
count, which can be changed at any time.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import parpool

from .connecting import connected
from .error import ResultNotCompleted
from .mapper import Mapper
from .results import PendingResult, ResultList, told

#: Commands that are kept for :meth:`MultiEngineClient.get_result`, of each engine.
KEPT = 1000


class MultiEngineClient:
    """The engines of a cluster. ``rc`` is parpool's client of them.

    ``addr`` is an address as it was, ``('127.0.0.1', 10105)``, which stands for the default cluster of this machine,
    whatever its ports; a connection file, or what else :class:`parpool.Client` takes; or such a client. Without it,
    the default cluster.
    """

    def __init__(self, addr: Any = None, **options: Any) -> None:
        self.rc = connected(addr, options)
        self.block = True
        self.targets: Any = "all"
        self._pending: dict[str, PendingResult] = {}
        self._commands: dict[int, deque[parpool.AsyncResult]] = defaultdict(lambda: deque(maxlen=KEPT))

    # -- engines ----------------------------------------------------------------------------------------------

    def get_ids(self) -> list[int]:
        """The ids of the engines."""
        return self.rc.ids

    def __len__(self) -> int:
        return len(self.get_ids())

    def __bool__(self) -> bool:
        return True

    def _view(self, targets: Any) -> parpool.DirectView:
        """A view of targets, as they are now, that gives lists, also of one engine."""
        chosen = self.targets if targets is None else targets
        if chosen is None or chosen == "all":
            return self.rc[:]
        return self.rc.direct_view([chosen] if isinstance(chosen, int) else list(chosen))

    def _give(
        self, result: parpool.AsyncResult, block: bool | None, made: Callable[[Any], Any] = lambda value: value
    ) -> Any:
        if self.block if block is None else block:
            return made(result.get())
        pending = PendingResult(self, result, made)
        self._pending[pending.result_id] = pending
        return pending

    # -- code -------------------------------------------------------------------------------------------------

    def execute(self, lines: str, targets: Any = None, block: bool | None = None) -> Any:
        """Run a string of Python: a :class:`ResultList`."""
        view = self._view(targets)
        return self._commanded(view.execute(lines, block=False), view.targets, block)

    def run(self, filename: str | os.PathLike[str], targets: Any = None, block: bool | None = None) -> Any:
        """Run a file of Python, which is read here."""
        view = self._view(targets)
        return self._commanded(view.run(filename, block=False), view.targets, block)

    def _commanded(self, result: parpool.AsyncResult, ids: list[int], block: bool | None) -> Any:
        for id, part in zip(ids, result.split(), strict=True):
            self._commands[id].append(part)
        return self._give(result, block, lambda values: _listed(values, ids))

    def get_result(self, i: int | None = None, targets: Any = None, block: bool | None = None) -> Any:
        """What came of the last command of this client on each engine, or of that with the number ``i``."""
        found, ids = [], self._view(targets).targets
        for id in ids:
            parts = [part for part in self._commands[id] if i is None or _number(part) == i]
            if not parts:
                what = "no command" if i is None else f"no command {i}"
                raise IndexError(f"engine {id} has run {what} of this client")
            found.append(parts[-1])
        return self._give(found[0].join(*found[1:]), block, lambda values: _listed(values, ids))

    # -- names ------------------------------------------------------------------------------------------------

    def push(self, namespace: dict[str, Any], targets: Any = None, block: bool | None = None) -> Any:
        """Bind names on the engines: None for each."""
        return self._give(self._view(targets).push(namespace, block=False), block)

    def pull(self, keys: Any, targets: Any = None, block: bool | None = None) -> Any:
        """The value of a name, or a list of those of several, from each engine."""
        return self._give(self._view(targets).pull(keys, block=False), block)

    def zip_pull(self, keys: Iterable[str], targets: Any = None, block: bool | None = None) -> Any:
        """The values of several names: for each name a tuple with one of each engine."""
        result = self._view(targets).pull(list(keys), block=False)
        return self._give(result, block, lambda values: list(zip(*values, strict=True)))

    push_function = push
    pull_function = pull
    push_serialized = push
    pull_serialized = pull

    def keys(self, targets: Any = None, block: bool | None = None) -> Any:
        """The names that are bound on each engine."""
        return self._give(self._view(targets).keys(block=False), block)

    def reset(self, targets: Any = None, block: bool | None = None) -> Any:
        """Unbind all names."""
        return self._give(self._view(targets).clear(block=False), block)

    def __setitem__(self, key: str, value: Any) -> None:
        self.push({key: value}, block=True)

    def __getitem__(self, key: str) -> Any:
        if not isinstance(key, str):
            raise TypeError(f"a name is a string, not {key!r}")
        return self.pull(key, block=True)

    def scatter(
        self,
        key: str,
        seq: Any,
        dist: str = "b",
        flatten: bool = False,
        targets: Any = None,
        block: bool | None = None,
    ) -> Any:
        """Cut a sequence into a part for each engine, and bind it there: None for each."""
        return self._give(self._view(targets).scatter(key, seq, dist, flatten, block=False), block)

    def gather(self, key: str, dist: str = "b", targets: Any = None, block: bool | None = None) -> Any:
        """The parts as one whole."""
        return self._give(self._view(targets).gather(key, dist, block=False), block)

    def map(
        self,
        func: Callable[..., Any],
        *sequences: Iterable[Any],
        dist: str = "b",
        targets: Any = None,
        block: bool | None = None,
    ) -> Any:
        """``list(map(func, *sequences))``, a part of it on each engine."""
        return self._give(self._view(targets).map_async(func, *sequences, dist=dist), block)

    def mapper(self, dist: str = "b", targets: Any = None, block: bool | None = None) -> Mapper:
        """What has a ``map(func, *sequences)`` that is :meth:`map` with these options."""
        return Mapper(self.map, dist=dist, targets=targets, block=block)

    def parallel(self, dist: str = "b", targets: Any = None, block: bool | None = None) -> Any:
        """A decorator: a call of the function is a :meth:`map` of it."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *sequences: self.map(function, *sequences, dist=dist, targets=targets, block=block)

        return decorate

    # -- results to come --------------------------------------------------------------------------------------

    def get_pending_deferred(self, deferredID: PendingResult | str, block: bool = True) -> Any:
        """A result to come, by its ``result_id``: see :meth:`PendingResult.get_result`.

        Raises :class:`ResultNotCompleted` without ``block``, where it is not there yet; KeyError for no such id.
        """
        pending = self._pending[deferredID] if isinstance(deferredID, str) else deferredID
        if not block and not pending.completed():
            raise ResultNotCompleted(f"the result {pending.result_id} is not there yet")
        pending.wait()
        self._pending.pop(pending.result_id, None)
        return pending.value()

    def clear_pending_deferreds(self) -> None:
        """Forget the results to come that nobody holds."""
        self._pending.clear()

    def barrier(self, pendingResults: Sequence[PendingResult]) -> None:
        """Wait until all of these are there. Raises nothing of the engines'."""
        for pending in pendingResults:
            pending.wait()

    def flush(self) -> None:
        """Nothing: it was there to take in what had arrived."""

    # -- the rest ---------------------------------------------------------------------------------------------

    def queue_status(self, targets: Any = None, block: bool | None = None) -> list[tuple[int, dict[str, Any]]]:
        """How much each engine has to do: pairs of its id and a dict."""
        status = self.rc.queue_status("all" if targets is None else targets)
        if isinstance(targets, int):
            status = {targets: status}
        return [(id, each) for id, each in status.items() if isinstance(id, int)]

    def clear_queue(self, targets: Any = None, block: bool | None = None) -> None:
        """Take back what has not begun, of this client's calls."""
        self.rc.abort()

    def kill(self, controller: bool = False, targets: Any = None, block: bool | None = None) -> None:
        """End engines, and with ``controller`` the whole cluster."""
        self.rc.shutdown("all" if targets is None else targets, hub=controller)

    def activate(self) -> None:
        """Make this the client of ``%px``, ``%autopx`` and ``%result`` at the IPython prompt; elsewhere it warns."""
        from .magics import activate

        activate(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: engines {self.get_ids()}>"

    def _repr_html_(self) -> str:
        return self.rc._repr_html_()


def _listed(values: Sequence[Any], ids: Sequence[int]) -> ResultList:
    return ResultList(told(value, id) for value, id in zip(values, ids, strict=True))


def _number(part: parpool.AsyncResult) -> int | None:
    """The number that an engine has given a command; None where the command has failed."""
    return getattr(part.get(return_exceptions=True), "execution_count", None)
