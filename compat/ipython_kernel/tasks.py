"""Tasks of the old task client: code, or a function, each of which runs as one function here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parpool import UnmetDependency


class Task:
    """What tasks have in common.

    - ``clear_before``, ``clear_after``: unbind all names on the engine, but for those that it began with.
    - ``retries``: how often it may run again, where it raises something or its engine dies.
    - ``recovery_task``: a task to run in its place where it has failed for good.
    - ``depend``: a function of the engine's names, a dict; where it gives something false, another engine has the task.
    """

    def __init__(
        self,
        *,
        clear_before: bool = False,
        clear_after: bool = False,
        retries: int = 0,
        recovery_task: Task | None = None,
        depend: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        if not isinstance(retries, int) or retries < 0:
            raise ValueError(f"retries must be an int of 0 or more, not {retries!r}")
        if recovery_task is not None and not isinstance(recovery_task, Task):
            raise TypeError(f"recovery_task must be a task, not {recovery_task!r}")
        self.clear_before = clear_before
        self.clear_after = clear_after
        self.retries = retries
        self.recovery_task = recovery_task
        self.depend = depend

    def attempt(self, names: dict[str, Any]) -> Any:
        """Run it once, on an engine with these names."""
        raise NotImplementedError


class StringTask(Task):
    """A string of Python. ``push``: names that are bound before it; ``pull``: a name, or several, that it gives."""

    def __init__(
        self,
        expression: str,
        pull: str | Sequence[str] | None = None,
        push: Mapping[str, Any] | None = None,
        clear_before: bool = False,
        clear_after: bool = False,
        retries: int = 0,
        recovery_task: Task | None = None,
        depend: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        if not isinstance(expression, str):
            raise TypeError(f"a StringTask is a string of Python, not {expression!r}: MapTask is for functions")
        super().__init__(
            clear_before=clear_before,
            clear_after=clear_after,
            retries=retries,
            recovery_task=recovery_task,
            depend=depend,
        )
        self.expression = expression
        self.pull: list[str] = [] if pull is None else [pull] if isinstance(pull, str) else list(pull)
        self.push: dict[str, Any] = dict(push or {})

    def attempt(self, names: dict[str, Any]) -> dict[str, Any]:
        """Bind, run, and give the names that were asked for."""
        import textwrap

        names.update(self.push)
        exec(compile(textwrap.dedent(self.expression), "<task>", "exec"), names)
        missing = [name for name in self.pull if name not in names]
        if missing:
            raise NameError(f"the task was to give {missing[0]!r}, which is not bound")
        return {name: names[name] for name in self.pull}


class MapTask(Task):
    """A call of a function. Its result is the function's."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        clear_before: bool = False,
        clear_after: bool = False,
        retries: int = 0,
        recovery_task: Task | None = None,
        depend: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(f"a MapTask calls a function, and {function!r} is none")
        super().__init__(
            clear_before=clear_before,
            clear_after=clear_after,
            retries=retries,
            recovery_task=recovery_task,
            depend=depend,
        )
        self.function = function
        self.args = tuple(args or ())
        self.kwargs = dict(kwargs or {})

    def attempt(self, names: dict[str, Any]) -> Any:
        """Call the function."""
        return self.function(*self.args, **self.kwargs)


def run(task: Task, names: dict[str, Any]) -> Any:
    """Run a task on an engine with these names, as often as it may."""
    if task.depend is not None and not task.depend(names):
        raise UnmetDependency("the task's depend() does not hold here")
    for left in range(task.retries, -1, -1):
        try:
            return task.attempt(names)
        except UnmetDependency:
            raise
        except Exception:
            if not left and task.recovery_task is None:
                raise
    assert task.recovery_task is not None
    return run(task.recovery_task, names)
