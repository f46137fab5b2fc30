"""``retries`` as ipyparallel has them: also for what a task raises."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from parpool import UnmetDependency


def again(function: Callable[..., Any], retries: int) -> Callable[..., Any]:
    """The function, called up to ``retries`` times more where it raises something."""
    return Again(function, retries) if retries else function


class Again:
    """A function that is called again, on the same engine, where it has raised something."""

    def __init__(self, function: Callable[..., Any], retries: int) -> None:
        update_wrapper(self, function, updated=())
        self.function = function
        self.retries = retries

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it; what the last attempt raises is raised."""
        for _ in range(self.retries):
            try:
                return self.function(*args, **kwargs)
            except UnmetDependency:  # which is for the scheduler: another engine has the task
                raise
            except Exception:
                continue
        return self.function(*args, **kwargs)

    def __reduce__(self) -> Any:
        return Again, (self.function, self.retries)
