"""DirectView: calls on each of some engines, and their namespaces as though they were here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ..wire.functions import Function, by_name
from .call import ViewResult
from .joined import DirectMapResult, JoinedResult
from .partition import distribution, flattened
from .result import AsyncResult
from .view import View

if TYPE_CHECKING:
    from .client import Client
    from .imports import Importer, SyncImports

#: Where engines have the functions that act in their namespace. They go by name: they are no business of this process.
VERBS = "parpool.engine.verbs"
COMPLETION = "parpool.engine.completion"

SOON = 1.0  #: seconds after which a key that is typed need not be completed any more


class DirectView(View):
    """One engine, several, or ``'all'``: each gets every call, in the order in which the calls are made.

    With one engine (an int) calls give bare values, else lists in the order of ``targets``. ``'all'`` means the engines
    that serve when a call is made; a list stays as it is. The namespace of the engines is a dict here: ``view['a'] = 5``,
    ``view['a']``.

    Methods that take ``targets``, ``block`` and ``track`` use those in the place of the view's own.
    """

    balanced: ClassVar[bool] = False

    def __init__(self, client: Client, targets: int | tuple[int, ...] | str) -> None:
        super().__init__(client, targets)

    def _apply(self, f: Callable[..., Any], args: Any, kwargs: Any) -> AsyncResult:
        return self._call(f, args, kwargs, self._targets)

    def _call(
        self,
        f: Callable[..., Any] | Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        targets: Any,
        method: str = "apply",
    ) -> AsyncResult:
        """A call on each target: packed once, whatever their number."""
        link = self._link
        function, payload = link.pack(f, args, kwargs, self._terms if isinstance(targets, int) else None)
        if isinstance(targets, int):
            self.client.check_target(targets)
            result = ViewResult(link, self.client, self._records)
            result._method, result._target = method, targets
            link.send(result, function, payload, self._form_for(targets))
            return result
        return self._send_each([(id, function, payload) for id in self.client.targets_of(targets)], method)

    def _send_each(
        self,
        calls: Sequence[tuple[int, Any, bytes]],
        method: str,
        join: Callable[[list[ViewResult]], JoinedResult] | None = None,
        kind: int = 0,
    ) -> JoinedResult:
        link = self._link
        parts = [ViewResult(link, self.client, self._records) for _ in calls]
        joined = JoinedResult(link, self.client, parts, method) if join is None else join(parts)
        for part, (id, function, payload) in zip(parts, calls, strict=True):
            joined.take(part)
            part._method, part._target = method, id
            link.send(part, function, payload, self._form_for(id, kind))
        return joined

    def _form_for(self, target: int, kind: int = 0) -> Any:
        """The form of a task for one engine."""
        form = self._forms.get((target, kind))
        if form is None:
            terms = self._terms | {"targets": frozenset((target,)), "kind": self._terms["kind"] | kind}
            form = self._forms[target, kind] = self._link.form(terms)
        return form

    def _renew(self) -> None:
        super()._renew()
        self._forms: dict[tuple[int, int], Any] = {}

    def _chosen(self, targets: Any) -> Any:
        """The targets of a call that may be given others than the view's."""
        return self._targets if targets is None else self.client.direct_view(targets)._targets

    def _verb(
        self, name: str, *args: Any, targets: Any = None, block: bool | None = None, method: str | None = None
    ) -> Any:
        """A function of the engines' verbs on the targets."""
        function = _verb(name)
        result = self._call(function, args, {}, self._chosen(targets), method or name)
        return self._give(result, self.block if block is None else block)

    # -- code -------------------------------------------------------------------------------------------------

    def execute(self, code: str, silent: bool = True, targets: Any = None, block: bool | None = None) -> Any:
        """Run a string of Python in the engines' namespaces.

        The value is that of a last expression, shown as at a prompt, and ``display_outputs()`` of the result shows it
        with what was printed. ``silent=False`` shows both when the call blocks.
        """
        if not isinstance(code, str):
            raise TypeError(
                f"execute takes a string of Python code, not {type(code).__name__}: use apply for functions"
            )
        result = self._verb("execute", code, targets=targets, block=False)
        if not (self.block if block is None else block):
            return result
        try:
            return result.get()
        finally:
            if not silent and result.ready():
                result.display_outputs()

    def run(self, filename: str | os.PathLike[str], targets: Any = None, block: bool | None = None) -> Any:
        """Run a file of Python in the engines' namespaces. The file is read here."""
        with open(filename, "rb") as file:
            source = file.read()
        return self._verb("run", _decoded(source), os.fspath(filename), targets=targets, block=block)

    def sync_imports(self, local: bool = True, quiet: bool = False) -> SyncImports:
        """A context manager: what is imported within it is imported on the engines, too.

        With ``local=False`` only there, so that it need not be installed here. ``quiet`` does not print what is done.
        """
        from .imports import SyncImports

        return SyncImports(self, local, quiet)

    @property
    def importer(self) -> Importer:
        """Imports on the engines by name: ``view.importer('numpy', as_='np')``."""
        from .imports import Importer

        return Importer(self)

    # -- names ------------------------------------------------------------------------------------------------

    def push(
        self, ns: dict[str, Any], targets: Any = None, block: bool | None = None, track: bool | None = None
    ) -> Any:
        """Bind names in the engines' namespaces. Pickled once, whatever the number of engines."""
        if not isinstance(ns, dict):
            raise TypeError(f"push takes a dict of names and values, not {type(ns).__name__}")
        return self._verb("push", ns, targets=targets, block=block)

    def pull(self, names: Any, targets: Any = None, block: bool | None = None) -> Any:
        """The value of a name (or of an expression such as ``'a[3]'``), or a list of them for several names."""
        if not isinstance(names, str):
            if not isinstance(names, Iterable):
                raise TypeError(f"pull takes a name or a list of names, and names are strings, not {names!r}")
            names = list(names)
            for name in names:
                if not isinstance(name, str):
                    raise TypeError(f"names are strings, not {name!r}")
        return self._verb("pull", names, targets=targets, block=block)

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
        """Cut a sequence into a part for each engine, and bind each part there under ``key``.

        ``dist`` ``'b'``: contiguous blocks; ``'r'``: dealt out like cards. ``flatten``: a part of one item becomes the
        bare item.
        """
        chosen, rule = self._chosen(targets), distribution(dist)
        ids = self.client.targets_of(chosen)
        parts = rule.cut(seq, len(ids))
        if type(seq) is range:
            parts = [list(part) for part in parts]
        link, verb = self._link, _verb("push")
        calls = []
        for id, part in zip(ids, parts, strict=True):
            function, payload = link.pack(verb, ({key: flattened(part) if flatten else part},), {}, self._terms)
            calls.append((id, function, payload))
        result: AsyncResult = self._send_each(calls, "scatter")
        if isinstance(chosen, int):
            (result,) = result.split()
        return self._give(result, self.block if block is None else block)

    def gather(self, key: str, dist: str = "b", targets: Any = None, block: bool | None = None) -> Any:
        """The parts that are bound under ``key`` on the engines, as one whole again."""
        chosen, rule = self._chosen(targets), distribution(dist)
        function, payload = self._link.pack(_verb("pull"), (key,), {})
        calls = [(id, function, payload) for id in self.client.targets_of(chosen)]
        joined = self._send_each(
            calls, "gather", lambda parts: JoinedResult(self._link, self.client, parts, "gather", rule.join)
        )
        joined._alone = isinstance(chosen, int)
        return self._give(joined, self.block if block is None else block)

    def __getitem__(self, key: Any) -> Any:
        """``view['a']``: what the name means on the engines, always waited for."""
        return self.pull(key, block=True)

    def __setitem__(self, key: str, value: Any) -> None:
        """``view['a'] = value``: bind the name on the engines, and wait until it is."""
        self.push({key: value}, block=True)

    def __delitem__(self, key: str) -> None:
        """``del view['a']``: unbind the name on the engines."""
        self._verb("delete", [key], block=True)

    def __contains__(self, key: str) -> bool:
        """Is the name bound on every engine of the view?"""
        return all(key in names for names in self._each_keys())

    def get(self, key: str, targets: Any = None, block: bool = True) -> Any:
        """``view[key]``."""
        return self.pull(key, targets, block)

    def update(self, ns: dict[str, Any], targets: Any = None, block: bool | None = None) -> Any:
        """:meth:`push`."""
        return self.push(ns, targets, block)

    def keys(self, targets: Any = None, block: bool = True) -> Any:
        """The names that are bound on the engines, without those that begin with two underscores."""
        return self._verb("keys", targets=targets, block=block)

    def _each_keys(self) -> list[list[str]]:
        names = self.keys()
        return [names] if isinstance(self._targets, int) else names

    def clear(self, targets: Any = None, block: bool | None = None) -> Any:
        """Unbind all names of the engines' namespaces, but for those that they began with."""
        return self._verb("clear", targets=targets, block=block)

    # -- maps -------------------------------------------------------------------------------------------------

    def _map(self, f: Callable[..., Any], sequences: tuple[Iterable[Any], ...], options: dict[str, Any]) -> AsyncResult:
        return self._map_of(f, sequences, **options)

    def _map_of(
        self,
        f: Callable[..., Any],
        sequences: tuple[Iterable[Any], ...],
        dist: str = "b",
        progress: bool | str = False,
        bound: bool | None = None,
        track: bool | None = None,
    ) -> AsyncResult:
        """Each engine gets one part of the items, and gives a list."""
        from ..wire.messages import MAP, STARMAP
        from .progress import progress_bar

        ids, rule = self.client.targets_of(self._targets), distribution(dist)
        star = len(sequences) > 1
        parts = [
            list(zip(*part, strict=True)) if star else part[0]
            for part in rule.cut_together(sequences, max(1, len(ids)))
        ]
        link = self._link
        link.check_open()
        function = link.function(f)
        calls = [(id, function, link.dumps(part)) for id, part in zip(ids, parts, strict=True) if len(part)]
        total = sum(map(len, parts))
        slices = rule.slices(total, max(1, len(ids)))[: len(calls)]  # without those of the last parts, which are empty
        bar = progress_bar(total, progress)
        joined = self._send_each(
            calls,
            "map",
            lambda results: DirectMapResult(link, self.client, results, slices, total, bar),
            STARMAP if star else MAP,
        )
        joined._alone = isinstance(self._targets, int)
        return joined

    def imap(self, f: Callable[..., Any], /, *sequences: Iterable[Any], **options: Any) -> Iterator[Any]:
        """An iterator over ``f(*items)``, in order: the values of an engine as soon as it has done its part."""
        return iter(self.map_async(f, *sequences, **options))

    # -- prompts ----------------------------------------------------------------------------------------------

    def activate(self, suffix: str = "") -> None:
        """Bring this view to the IPython prompt: ``%px``, ``%%px``, ``%autopx``, ``%pxresult``, ``%pxconfig`` are its.

        Their names end with ``suffix``, so that several views can be active at once: after ``view.activate("0")``
        there is ``%px0``. The view that had the suffix before has it no longer. Raises RuntimeError where no IPython
        prompt is running.
        """
        import sys
        from importlib import import_module

        ipython = sys.modules.get("IPython")  # whoever runs a prompt has imported it
        shell = None if ipython is None else ipython.get_ipython()
        if shell is None:
            raise RuntimeError(
                "activate() brings %px to an IPython prompt, and none is running in this process:"
                " execute() runs code on the engines from anywhere"
            )
        # By name, as the prompt stands above the client, which must not import upwards.
        import_module("parpool.magics").activate(shell, self, suffix)

    def complete(self, line: str, timeout: float = 1.0) -> tuple[str, list[str]]:
        """The end of a line of code that is being typed, and what may stand in its place on the first engine.

        Nothing where the engine does not answer in time, as it is busy.
        """
        ids = self.client.targets_of(self._targets)
        if not ids:
            return "", []
        result = self._call(by_name(COMPLETION, "complete"), (line,), {}, ids[0], "complete")
        found: tuple[str, list[str]] = _soon(result, timeout, ("", []))
        return found

    def _ipython_key_completions_(self) -> list[str]:
        try:
            names = _soon(self.keys(block=False), SOON, [])
        except Exception:  # the engines are gone, the client is closed: who types is told when the line is run
            return []
        every = [set(each) for each in ([names] if isinstance(self._targets, int) else names)]
        return sorted(set.intersection(*every)) if every else []

    def use_dill(self) -> None:
        """From here on, what this client sends by value goes by dill."""
        self._link.use("dill")

    def use_cloudpickle(self) -> None:
        """From here on, what this client sends by value goes by cloudpickle. It is the default."""
        self._link.use("cloudpickle")

    def use_pickle(self) -> None:
        """From here on, this client sends nothing by value: what plain pickle refuses is an error."""
        self._link.use("pickle")

    def __repr__(self) -> str:
        targets = self._targets
        shown = "[" + ",".join(map(str, targets)) + "]" if isinstance(targets, tuple) else str(targets)
        return f"<DirectView {shown}>"


def _soon(result: AsyncResult, timeout: float, otherwise: Any) -> Any:
    """The value of a result that is of no use any more after a while."""
    from ..errors import ResultTimeout

    try:
        return result.get(timeout)
    except ResultTimeout:
        result.abort()
        return otherwise


def _verb(name: str) -> Function:
    return by_name(VERBS, name)


def _decoded(source: bytes) -> str:
    """The text of a file of Python, by the encoding that it declares."""
    import io
    import tokenize

    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    return io.TextIOWrapper(io.BytesIO(source), encoding).read()
