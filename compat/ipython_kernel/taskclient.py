"""The client for tasks, which go to whichever engine is free."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import parpool

from ..ipython1.kernel.connecting import connected
from ..ipython1.kernel.mapper import Mapper
from .taskresult import TaskResult
from .tasks import MapTask, StringTask, Task, run

#: The names of an engine, for a function that is imported there.
NAMES = parpool.Reference("globals()")


class TaskClient:
    """Runs tasks on the engines of a cluster. ``rc`` is parpool's client of them.

    ``addr`` is what a :class:`MultiEngineClient` takes. ``block`` says whether :meth:`map` waits.
    """

    def __init__(self, addr: Any = None, **options: Any) -> None:
        self.rc = connected(addr, options)
        self.block = True
        self._numbers = itertools.count()
        self._tasks: dict[int, tuple[Task, parpool.AsyncResult]] = {}
        self._placed: Counter[int] = Counter()  #: tasks that were given to an engine that we have chosen

    def run(self, task: Task, block: bool = False) -> Any:
        """Submit a task; gives its number. With ``block`` its result, as :meth:`get_task_result` does."""
        if not isinstance(task, Task):
            raise TypeError(f"a StringTask or a MapTask is needed, not {task!r}")
        number = next(self._numbers)
        self._tasks[number] = task, self._submit(task)
        return self.get_task_result(number) if block else number

    def _submit(self, task: Task) -> parpool.AsyncResult:
        retries = task.retries
        send = self.rc.send_apply_request
        result: parpool.AsyncResult
        if not (task.clear_before or task.clear_after):
            result = send(run, (task, NAMES), block=False, balanced=True, retries=retries)
            return result
        # Three calls on one engine, one behind the other: so it is we who choose it.
        id = self._idlest()
        view = self.rc[id]
        if task.clear_before:
            view.clear(block=False)
        self._placed[id] += 1
        result = send(run, (task, NAMES), block=False, targets=id, balanced=False, retries=retries)
        result.add_done_callback(lambda _: self._placed.subtract([id]))
        if task.clear_after:
            view.clear(block=False)
        return result

    def _idlest(self) -> int:
        status = self.rc.queue_status()
        ids = self.rc.ids
        if not ids:
            raise parpool.NoEngines("no engine serves now; rc.wait_for_engines() waits for one")
        return min(ids, key=lambda id: (status.get(id, {}).get("tasks", 0), self._placed[id]))

    def get_task_result(self, taskid: int, block: bool = True) -> Any:
        """A StringTask's :class:`TaskResult`, or what the function of a MapTask gave, or raised.

        Without ``block`` None, where it is not there yet. KeyError for a task that is not known.
        """
        task, result = self._tasks[taskid]
        if not block and not result.ready():
            return None
        result.wait()
        if not isinstance(task, StringTask):
            return result.get()
        failure: BaseException | None = None
        values: Any = {}
        if result.successful():
            values = result.get()
        else:
            failure = result.get(return_exceptions=True)
        return TaskResult(taskid, values, failure, result.metadata)

    def abort(self, taskid: int) -> None:
        """Take a task back that has not begun."""
        self._tasks[taskid][1].abort()

    def barrier(self, taskids: Iterable[int]) -> None:
        """Wait until these tasks have ended."""
        for taskid in taskids:
            self._tasks[taskid][1].wait()

    def spin(self) -> None:
        """Nothing: tasks are given out by themselves."""

    def clear(self) -> None:
        """Forget the tasks that have ended."""
        self._tasks = {number: each for number, each in self._tasks.items() if not each[1].ready()}

    def queue_status(self, verbose: bool = False) -> dict[str, Any]:
        """How many of this client's tasks are ``pending``, ``succeeded`` and have failed; ``verbose``: their numbers."""
        status: dict[str, list[int]] = {"pending": [], "succeeded": [], "failure": []}
        for number, (_, result) in self._tasks.items():
            state = "pending" if not result.ready() else "succeeded" if result.successful() else "failure"
            status[state].append(number)
        return dict(status) if verbose else {state: len(numbers) for state, numbers in status.items()}

    def map(self, func: Callable[..., Any], *sequences: Iterable[Any], **options: Any) -> Any:
        """``list(map(func, *sequences))``, each call as a MapTask with these options; the numbers of those, where
        :attr:`block` is False."""
        block = options.pop("block", self.block)
        calls = list(zip(*sequences, strict=False))
        numbers = [self.run(MapTask(func, args, **options)) for args in calls]
        return [self.get_task_result(number) for number in numbers] if block else numbers

    def mapper(self, **options: Any) -> Mapper:
        """What has a ``map(func, *sequences)`` that is :meth:`map` with these options."""
        return Mapper(self.map, **options)

    def parallel(self, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A decorator: a call of the function is a :meth:`map` of it."""
        return lambda function: lambda *sequences: self.map(function, *sequences, **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.queue_status()}>"
