"""ipyparallel's views: their flags are their own, and ``targets`` can be changed."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from parpool import AsyncResult as Native
from parpool import DirectView as NativeView

from .executor import ViewExecutor
from .results import AsyncMapResult, AsyncResult

if TYPE_CHECKING:
    from .clients import Client

V = TypeVar("V", bound="View")
R = TypeVar("R", bound=AsyncResult)

#: A view knows at least so many of its calls.
HISTORY = 2**16


class View:
    """What the views have in common. ``parpool`` is parpool's own view of the same targets."""

    _flag_names: tuple[str, ...] = ("targets", "block", "track", "label")

    def __init__(self, client: Client, targets: Any = None, **flags: Any) -> None:
        self.client = client
        self.block: bool = client.block
        self.track = False
        self.label: str | None = None  #: of the calls from now on; known to this client alone
        self.targets = targets
        self._history: list[str] = []
        self._executor: ViewExecutor | None = None
        self.set_flags(**flags)

    @property
    def parpool(self) -> Any:
        """parpool's own view of these targets."""
        raise NotImplementedError

    # -- flags ------------------------------------------------------------------------------------------------

    def set_flags(self: V, **flags: Any) -> V:
        """Change several flags; gives the view."""
        for name, value in flags.items():
            if name not in self._flag_names:
                raise KeyError(f"Invalid name: {name!r}")
            if name in ("block", "track") and not isinstance(value, bool):
                raise TypeError(f"{name} must be True or False, not {value!r}")
            setattr(self, name, value)
        return self

    @contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[None]:
        """Other flags within a ``with``."""
        before = {name: getattr(self, name) for name in self._flag_names}
        try:
            self.set_flags(**flags)
            yield
        finally:
            self.set_flags(**before)

    def __len__(self) -> int:
        targets = self.targets
        return len(targets) if isinstance(targets, list) else 1 if isinstance(targets, int) else len(self.client)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        shown = str(self.targets)
        return f"<{type(self).__name__} {shown if len(shown) <= 16 else shown[:12] + '...]'}>"

    def _repr_html_(self) -> str | None:
        with suppress(Exception):  # its engines are gone: the text will do
            return str(self.parpool._repr_html_())
        return None

    # -- calls ------------------------------------------------------------------------------------------------

    def apply(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """``f(*args, **kwargs)`` on the engines: the value with ``block``, else an AsyncResult."""
        return self._apply(f, args, kwargs, True).get() if self.block else self._apply(f, args, kwargs)

    def apply_async(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncResult:
        """:meth:`apply` that gives an AsyncResult."""
        return self._apply(f, args, kwargs)

    def apply_sync(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """:meth:`apply` that waits for the value."""
        return self._apply(f, args, kwargs, True).get()

    def _apply(
        self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], passing: bool = False
    ) -> AsyncResult:
        raise NotImplementedError

    def _give(self, result: AsyncResult, block: bool | None) -> Any:
        return result.get() if (self.block if block is None else block) else result

    def kept(self, result: R, label: str | None = None) -> R:
        """A call of this view's, with its label."""
        names = result.msg_ids
        self._history += names
        if len(self._history) > 2 * HISTORY:
            del self._history[:-HISTORY]
        if label or self.label:
            self.client.labels.put(names, label or str(self.label))
        return result

    #: ``list(map(f, *sequences))`` on the engines, with options of each kind of view.
    map: Callable[..., Any]

    def map_async(self, f: Callable[..., Any], /, *sequences: Iterable[Any], **options: Any) -> AsyncMapResult:
        """:meth:`map` that gives an AsyncMapResult."""
        if "block" in options:
            raise TypeError("map_async doesn't take a `block` keyword argument.")
        result: AsyncMapResult = self.map(f, *sequences, block=False, **options)
        return result

    def map_sync(self, f: Callable[..., Any], /, *sequences: Iterable[Any], **options: Any) -> Any:
        """:meth:`map` that waits for the list."""
        if "block" in options:
            raise TypeError("map_sync doesn't take a `block` keyword argument.")
        return self.map(f, *sequences, block=True, **options)

    def imap(self, f: Callable[..., Any], /, *sequences: Iterable[Any], **options: Any) -> Iterator[Any]:
        """An iterator over the values of a map."""
        return iter(self.map_async(f, *sequences, **options))

    def remote(self, block: bool | None = None, **flags: Any) -> Any:
        """A decorator: the function is always called on the engines of this view."""
        from .functions import remote

        return remote(self, block, **flags)

    def parallel(self, dist: str = "b", block: bool | None = None, **flags: Any) -> Any:
        """A decorator: the function is called with a part of its arguments on each engine."""
        from .functions import parallel

        return parallel(self, dist, block, **flags)

    @property
    def executor(self) -> ViewExecutor:
        """A :class:`concurrent.futures.Executor` whose calls go to the engines; the same until it is shut down."""
        if self._executor is None or self._executor.is_shut:
            self._executor = ViewExecutor(self)
        return self._executor

    # -- its calls --------------------------------------------------------------------------------------------

    @property
    def history(self) -> list[str]:
        """The names of this view's calls, in their order; those of :meth:`LoadBalancedView.imap` are not among them."""
        return list(self._history)

    @property
    def outstanding(self) -> set[str]:
        """The names of this view's calls that have not ended."""
        return self.client.outstanding.intersection(self._history)

    @property
    def results(self) -> Any:
        """The values of the client's calls, by name."""
        return self.client.results

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for calls; by default all of this view."""
        return self.client.wait(list(self.outstanding) if jobs is None else jobs, timeout)

    def spin(self) -> None:
        """Nothing: what arrives is taken in by itself."""

    def abort(self, jobs: Any = None, targets: Any = None, block: bool | None = None) -> None:
        """Take back calls that have not begun; by default all of this view."""
        self.client.abort(list(self.outstanding) if jobs is None else jobs, targets, block)

    def get_result(self, indices_or_msg_ids: Any = None, block: bool | None = None, owner: bool = False) -> AsyncResult:
        """:meth:`Client.get_result`; places are those in this view's history, by default the last."""
        jobs = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        if isinstance(jobs, (list, tuple, set)):
            return self.client.get_result([self._named(job) for job in jobs], block, owner)
        return self.client.get_result(self._named(jobs), block, owner)

    def _named(self, job: Any) -> Any:
        return self._history[job] if isinstance(job, int) else job

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """:meth:`Client.purge_results`; of this view's engines by default."""
        self.client.purge_results(jobs, targets)

    def queue_status(self, targets: Any = None, verbose: bool = False) -> Any:
        """:meth:`Client.queue_status` of this view's engines."""
        return self.client.queue_status(self._those(targets), verbose)

    def shutdown(
        self, targets: Any = None, restart: bool = False, hub: bool = False, block: bool | None = None
    ) -> None:
        """:meth:`Client.shutdown` of this view's engines."""
        self.client.shutdown(self._those(targets), restart, hub, block)

    def _those(self, targets: Any) -> Any:
        return self.targets if targets is None else targets


class DirectView(View):
    """Each engine of the targets gets every call."""

    def __init__(self, client: Client, targets: Any = "all", **flags: Any) -> None:
        super().__init__(client, targets, **flags)

    @property
    def parpool(self) -> NativeView:
        """parpool's own view of these targets."""
        return self.client.parpool.direct_view(self.targets)

    def _apply(
        self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], passing: bool = False
    ) -> AsyncResult:
        view = self.parpool
        return self._made(view.apply_async(f, *args, **kwargs), view, passing=passing)

    def _made(self, result: Native, view: NativeView, label: str | None = None, **options: Any) -> AsyncResult:
        made = AsyncResult(self.client, result, single=isinstance(view.targets, int), **options)
        return self.kept(made, label)

    def _call(self, name: str, *args: Any, targets: Any, block: bool | None, **options: Any) -> Any:
        view = self.client.parpool.direct_view(self._those(targets))
        result = getattr(view, name)(*args, block=False, **options)
        return self._give(self._made(result, view, fname=name), block)

    def map(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        block: bool | None = None,
        track: bool | None = None,
        return_exceptions: bool = False,
        dist: str = "b",
        label: str | None = None,
    ) -> Any:
        """``list(map(f, *sequences))``, a part of it on each engine."""
        if not sequences:
            raise TypeError("must have some sequences to map onto!")
        result = self.parpool.map_async(f, *sequences, dist=dist)
        options: Any = {"return_exceptions": return_exceptions, "fname": "map"}
        return self._give(self.kept(AsyncMapResult(self.client, result, single=False, **options), label), block)

    # -- code -------------------------------------------------------------------------------------------------

    def execute(
        self, code: str, silent: bool = True, targets: Any = None, block: bool | None = None, label: str | None = None
    ) -> Any:
        """Run a string of Python on the engines; gives an AsyncResult, which has ended with ``block``."""
        view = self.client.parpool.direct_view(self._those(targets))
        result = self._made(view.execute(code, block=False), view, label, fname="execute", silent=silent)
        if self.block if block is None else block:
            result.get()
        return result

    def run(
        self, filename: str, targets: Any = None, block: bool | None = None, label: str | None = None
    ) -> AsyncResult:
        """Run a file of Python on the engines; gives an AsyncResult, which has ended with ``block``."""
        view = self.client.parpool.direct_view(self._those(targets))
        result = self._made(view.run(filename, block=False), view, label, fname="execute")
        if self.block if block is None else block:
            result.get()
        return result

    def sync_imports(self, local: bool = True, quiet: bool = False) -> Any:
        """A context manager: what is imported within it is imported on the engines, too."""
        return self.parpool.sync_imports(local, quiet)

    @property
    def importer(self) -> Any:
        """``sync_imports()``."""
        return self.sync_imports()

    # -- names ------------------------------------------------------------------------------------------------

    def push(
        self, ns: dict[str, Any], targets: Any = None, block: bool | None = None, track: bool | None = None
    ) -> Any:
        """Bind names on the engines, or attributes of what has one: ``{"a.b": 5}``."""
        dotted = [name for name in ns if "." in name and all(part.isidentifier() for part in name.split("."))]
        if not dotted:
            return self._call("push", ns, targets=targets, block=block)
        on_the_way = {name: f"_pushed_{number}" for number, name in enumerate(dotted)}
        self._call("push", {on_the_way.get(name, name): ns[name] for name in ns}, targets=targets, block=False)
        lines = [f"{name} = {other}\ndel {other}" for name, other in on_the_way.items()]
        result = self.execute("\n".join(lines), targets=targets, block=False)
        if not (self.block if block is None else block):
            return result
        done = result.get()
        return [None] * len(done) if isinstance(done, list) else None

    def pull(self, names: Any, targets: Any = None, block: bool | None = None) -> Any:
        """The values of names on the engines."""
        return self._call("pull", names, targets=targets, block=block)

    def update(self, ns: dict[str, Any]) -> Any:
        """:meth:`push`."""
        return self.push(ns)

    def get(self, key: str) -> Any:
        """``view[key]``."""
        return self.pull(key, block=True)

    def scatter(
        self,
        key: str,
        seq: Any,
        dist: str = "b",
        flatten: bool = False,
        targets: Any = None,
        block: bool | None = None,
        track: bool | None = None,
    ) -> Any:
        """Cut a sequence into a part for each engine, and bind it there."""
        return self._call("scatter", key, seq, dist, flatten, targets=targets, block=block)

    def gather(self, key: str, dist: str = "b", targets: Any = None, block: bool | None = None) -> Any:
        """The parts on the engines as one whole."""
        view = self.client.parpool.direct_view(self._those(targets))
        result = view.gather(key, dist, block=False)
        return self._give(self.kept(AsyncMapResult(self.client, result, single=False, fname="gather")), block)

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.push({key: value}, block=True)

    def clear(self, targets: Any = None, block: bool | None = None) -> Any:
        """Unbind all names on the engines."""
        return self._call("clear", targets=targets, block=block)

    def kill(self, targets: Any = None, block: bool = True) -> None:
        """End these engines."""
        self.client.shutdown(self._those(targets))

    # -- the rest ---------------------------------------------------------------------------------------------

    def activate(self, suffix: str = "") -> None:
        """Bring ``%px``, ``%%px``, ``%autopx``, ``%pxresult`` and ``%pxconfig`` for this view to the IPython prompt.

        Where none is running there is a warning, and nothing happens.
        """
        ipython = sys.modules.get("IPython")  # whoever runs a prompt has imported it
        if ipython is None or ipython.get_ipython() is None:
            warnings.warn(
                "activate() brings %px to an IPython prompt, and none is running in this process", stacklevel=2
            )
            return
        from .magics import activate

        activate(self, suffix)

    def use_dill(self) -> Any:
        """What this client sends by value goes by dill."""
        return self.parpool.use_dill()

    def use_cloudpickle(self) -> Any:
        """What this client sends by value goes by cloudpickle, which is the default here."""
        return self.parpool.use_cloudpickle()

    def use_pickle(self) -> Any:
        """The default again: what plain pickle takes goes by pickle, anything else by cloudpickle."""
        return self.parpool.use_cloudpickle()


class BroadcastView(DirectView):
    """A view of several engines. Here it is as a DirectView, which packs a call once for all engines, too."""

    def __init__(self, client: Client, targets: Any = "all", is_coalescing: bool = False, **flags: Any) -> None:
        super().__init__(client, targets, **flags)
        self.is_coalescing = is_coalescing
