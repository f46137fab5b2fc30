"""What a StringTask gives."""

from __future__ import annotations

from datetime import datetime
from typing import Any


class Namespace:
    """The names that a task was to give, as attributes."""

    def __init__(self, result: TaskResult) -> None:
        self._result = result

    def __getattr__(self, name: str) -> Any:
        try:
            return self._result[name]
        except KeyError:
            raise AttributeError(f"the task was not to give {name!r}") from None

    def __dir__(self) -> list[str]:
        return sorted(self._result.results)


class TaskResult:
    """The names that a task was to give: ``tr["C"]``, or ``tr.ns.C``. Where it has failed, these raise why."""

    def __init__(self, taskid: int, results: dict[str, Any], failure: BaseException | None, told: Any) -> None:
        self.taskid = taskid
        self.results = results
        self.failure = failure
        self.engineid: int | None = told["engine_id"]
        self.submitted: datetime | None = told["submitted"]
        self.completed: datetime | None = told["completed"]
        self.ns = Namespace(self)

    @property
    def duration(self) -> Any:
        """How long it took from its submission to its end."""
        return None if self.completed is None or self.submitted is None else self.completed - self.submitted

    def __getitem__(self, key: str) -> Any:
        self.raise_exception()
        return self.results[key]

    def keys(self) -> list[str]:
        """The names."""
        return list(self.results)

    def raise_exception(self) -> None:
        """Raise what the task has raised; nothing where it has not."""
        if self.failure is not None:
            raise self.failure

    def __repr__(self) -> str:
        what = self.results if self.failure is None else repr(self.failure)
        return f"TaskResult[ID:{self.taskid}]:{what}"
