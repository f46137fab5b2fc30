"""ipyparallel's decorators of functions that always run on engines."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from .balanced import LoadBalancedView
from .results import AsyncMapResult
from .retrying import again
from .views import View


def remote(view: View, block: bool | None = None, **flags: Any) -> Callable[[Callable[..., Any]], RemoteFunction]:
    """A decorator: the function is always called on the engines of ``view``."""
    return lambda function: RemoteFunction(view, function, block, **flags)


def parallel(
    view: View, dist: str = "b", block: bool | None = None, ordered: bool = True, **flags: Any
) -> Callable[[Callable[..., Any]], ParallelFunction]:
    """A decorator: the function is called with a part of its arguments on each engine."""
    return lambda function: ParallelFunction(view, function, dist, block, ordered, **flags)


class RemoteFunction:
    """A function that is always called on the engines of a view."""

    def __init__(self, view: View, f: Callable[..., Any], block: bool | None = None, **flags: Any) -> None:
        functools.update_wrapper(self, f)
        self.__doc__ = f"{type(self).__name__} wrapping:\n{f.__doc__}"
        self.view = view
        self.func = f
        self.block = block
        self.flags = flags

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function on the engines."""
        with self.view.temp_flags(**self.flags):
            result = self.view.apply_async(self.func, *args, **kwargs)
        return self._give(result)

    def _give(self, result: Any) -> Any:
        return result.get() if (self.view.block if self.block is None else self.block) else result

    def __reduce__(self) -> Any:
        return _itself, (self.func,)  # in another process there is no such view: it is called there


def _itself(function: Any) -> Any:
    return function


class ParallelFunction(RemoteFunction):
    """A function that is called with a part of its arguments on each engine of a view."""

    def __init__(
        self,
        view: View,
        f: Callable[..., Any],
        dist: str = "b",
        block: bool | None = None,
        ordered: bool = True,
        chunksize: int | None = None,
        return_exceptions: bool = False,
        **flags: Any,
    ) -> None:
        super().__init__(view, f, block, **flags)
        self.dist = dist
        self.ordered = ordered
        self.chunksize = chunksize
        self.return_exceptions = return_exceptions

    def __call__(self, *sequences: Any, **kwargs: Any) -> Any:
        """Cut the arguments into parts, and call the function with each."""
        with self.view.temp_flags(**self.flags):
            return self._give(self._made(self._theirs()(*sequences, **kwargs), len(sequences) > 0))

    def map(self, *sequences: Iterable[Any]) -> Any:
        """Call the function for each item."""
        with self.view.temp_flags(**self.flags):
            return self._give(self._made(self._theirs().map(*sequences), True))

    def _theirs(self) -> Any:
        """parpool's own, of the view as it is now."""
        options: dict[str, Any] = {"chunksize": self.chunksize} if self.chunksize is not None else {}
        function = self.func
        if isinstance(self.view, LoadBalancedView):
            options |= self.view.options()
            function = again(function, self.view.retries)
        return self.view.parpool.parallel(self.dist, False, self.ordered, **options)(function)

    def _made(self, result: Any, several: bool) -> AsyncMapResult:
        options: Any = {"return_exceptions": self.return_exceptions, "fname": getattr(self, "__name__", "map")}
        return self.view.kept(AsyncMapResult(self.view.client, result, single=not several, **options))
