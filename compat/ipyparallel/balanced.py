"""ipyparallel's LoadBalancedView."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from parpool import LoadBalancedView as NativeView

from .error import translating
from .executor import LazyMapIterator
from .results import AsyncMapResult, AsyncResult
from .retrying import again
from .views import View

if TYPE_CHECKING:
    from .clients import Client


class LoadBalancedView(View):
    """Calls go to whichever engine is free."""

    _flag_names = (*View._flag_names, "follow", "after", "timeout", "retries")

    def __init__(self, client: Client, targets: Any = None, **flags: Any) -> None:
        self.follow: Any = None
        self.after: Any = None
        self.timeout: float | None = 0.0
        self.retries = 0
        super().__init__(client, targets, **flags)

    @property
    def parpool(self) -> NativeView:
        """parpool's own view of these targets. Its flags are not ours."""
        return self.client.parpool.load_balanced_view(self.targets)

    def options(self) -> dict[str, Any]:
        timeout = self.timeout if self.timeout and self.timeout > 0 else None
        return {"after": self.after, "follow": self.follow, "timeout": timeout, "retries": self.retries}

    def _apply(
        self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], passing: bool = False
    ) -> AsyncResult:
        with translating():
            result = self.client.parpool.send_apply_request(
                again(f, self.retries), args, kwargs, block=False, targets=self.targets, balanced=True, **self.options()
            )
        return self.kept(AsyncResult(self.client, result, single=True, passing=passing))

    def map(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        block: bool | None = None,
        chunksize: int = 1,
        ordered: bool = True,
        return_exceptions: bool = False,
        label: str | None = None,
    ) -> Any:
        """``list(map(f, *sequences))``, items as engines become free."""
        if not sequences:
            raise TypeError("must have some sequences to map onto!")
        with translating():
            result = self.parpool.map_async(
                again(f, self.retries), *sequences, chunksize=chunksize, ordered=ordered, **self.options()
            )
        options: Any = {"return_exceptions": return_exceptions, "fname": "map"}
        return self._give(self.kept(AsyncMapResult(self.client, result, single=False, **options), label), block)

    def imap(  # type: ignore[override]  # with its own options
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        ordered: bool = True,
        max_outstanding: int | str | None = "auto",
        return_exceptions: bool = False,
    ) -> LazyMapIterator:
        """An iterator over the values; no more than ``max_outstanding`` items are sent whose values were not taken."""
        most = 2 * len(self) if isinstance(max_outstanding, str) else max_outstanding
        values = self.parpool.imap(
            again(f, self.retries), *sequences, ordered=ordered, buffersize=most or None, **self.options()
        )
        return LazyMapIterator(values, return_exceptions)

    def register_joblib_backend(self, name: str = "ipyparallel", make_default: bool = False) -> None:
        """Make the engines of this view's client a backend of joblib; its targets and flags are not looked at."""
        from .joblib import register

        register(name, make_default, self.client.parpool)
