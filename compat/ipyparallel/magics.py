"""ipyparallel's magics at an IPython prompt, for one of its views.

``%px CODE`` and ``%%px`` with a cell run code on the engines; ``%autopx`` all that is typed from then on; ``%pxresult``
shows what came of the last code; ``%pxconfig`` sets what these do where they are not told. Their names end with the suffix
that the view was activated with. Only this module needs IPython, and it is imported by :meth:`DirectView.activate` alone.
"""

# IPython's decorators have no types.
# mypy: allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from .error import AlreadyDisplayedError, CompositeError, RemoteError
from .results import AsyncResult

if TYPE_CHECKING:
    from .views import DirectView

#: Under which name a shell has its magics, by their suffixes.
_KEY = "_ipyparallel_magics"

#: Seconds between two looks at what engines have printed.
INTERVAL = 0.05

#: Input that stays here with autopx on.
_FOR_THE_PROMPT = re.compile(r"[%!?].*|\w+\?\??|(exit|quit)(\(\))?", re.DOTALL)


def activate(view: DirectView, suffix: str = "") -> None:
    """Let the magics of this suffix use a view, at the IPython prompt that runs."""
    from IPython import get_ipython

    shell: Any = get_ipython()
    known: dict[str, Magics] | None = vars(shell).get(_KEY)
    if known is None:
        view.parpool.activate(_KEY)  # for how the errors of engines are shown
        known = vars(shell)[_KEY] = {}
    if suffix in known:
        known[suffix].leave()
    known[suffix] = Magics(shell, suffix, view)


_BLOCK = (
    argument("--block", "-b", action="store_const", const=True, help="wait"),
    argument("--noblock", "-a", dest="block", action="store_const", const=False, help="give an AsyncResult"),
)
_COMMON = (
    *_BLOCK,
    argument("--targets", "-t", help="the engines: 0, 0,2, ::2, all"),
    argument("--verbose", "-v", action="store_const", const=True, help="tell where code is run"),
    argument("--no-verbose", dest="verbose", action="store_const", const=False, help="do not"),
    argument("--stream", action="store_const", const=True, help="show what is printed as it comes"),
    argument("--no-stream", dest="stream", action="store_const", const=False, help="show it at the end"),
    argument("--progress-after", type=float, help="seconds until there is a progress bar; below 0: none"),
    argument("--signal-on-interrupt", help="what Ctrl-C sends to the engines: a signal's name or number"),
)
_SHOWN = (
    argument("--out", "-o", metavar="NAME", help="bind the AsyncResult to this name, here"),
    argument("--group-outputs", "--group", default="type", choices=("type", "engine", "order"), help="how to sort it"),
    argument("-e", dest="group_outputs", action="store_const", const="engine", help="by engine"),
    argument("-r", dest="group_outputs", action="store_const", const="order", help="in order"),
)
_CELL = (*_COMMON, argument("--local", action="store_true", help="run it here, too"), *_SHOWN)


def _options(arguments: tuple[Any, ...]) -> Any:
    def decorate(function: Any) -> Any:
        for each in reversed(arguments):
            function = each(function)
        return no_var_expand(magic_arguments()(function))

    return decorate


class Magics:
    """The magics of one suffix. With autopx on, they are one of the shell's transformers of input."""

    #: Whether the input is complete is decided without us.
    has_side_effects = True

    def __init__(self, shell: Any, suffix: str, view: DirectView) -> None:
        self.shell = shell
        self.suffix = suffix
        self.view = view
        self.verbose = False
        self.stream = True
        self.progress_after = -1.0
        self.signal = "SIGINT"
        self.last_result: AsyncResult | None = None
        self._here = False
        for kind, name, function in (
            ("line", "px", self.px),
            ("cell", "px", self.cell_px),
            ("line", "autopx", self.autopx),
            ("line", "pxresult", self.pxresult),
            ("line", "result", self.pxresult),
            ("line", "pxconfig", self.pxconfig),
        ):
            shell.register_magic_function(function, kind, name + suffix)

    # -- the magics -------------------------------------------------------------------------------------------

    @no_var_expand
    def px(self, line: str) -> AsyncResult | None:
        """Run a line of Python on the engines of the active view."""
        return self._execute(line, parse_argstring(self.cell_px, ""))

    @_options(_CELL)
    def cell_px(self, line: str, cell: str) -> AsyncResult | None:
        """Run a cell of Python on the engines of the active view."""
        given = parse_argstring(self.cell_px, self.shell.var_expand(line))
        return self._execute(cell, given)

    @no_var_expand
    def autopx(self, line: str) -> None:
        """Run on the engines all that is typed from now on; or no longer."""
        transformers = self.shell.input_transformers_cleanup
        if self in transformers:
            transformers.remove(self)
            print("%autopx disabled")
        else:
            transformers.append(self)
            print("%autopx enabled")

    @_options(_SHOWN)
    def pxresult(self, line: str) -> None:
        """Wait for the last code, and show what came of it."""
        given = parse_argstring(self.pxresult, line)
        if self.last_result is None:
            raise UsageError("No previous result")
        if given.out:
            self.shell.user_ns[given.out] = self.last_result
        self.last_result.get()
        self.last_result.display_outputs(given.group_outputs)

    @_options(_COMMON)
    def pxconfig(self, line: str) -> None:
        """Set what the magics do where they are not told; ``--targets`` and ``--block`` are the view's."""
        given = parse_argstring(self.pxconfig, line)
        if given.targets is not None:
            self.view.targets = self._targets(given.targets)
        if given.block is not None:
            self.view.block = given.block
        for name, value in (
            ("verbose", given.verbose),
            ("stream", given.stream),
            ("progress_after", given.progress_after),
            ("signal", given.signal_on_interrupt),
        ):
            if value is not None:
                setattr(self, name, value)

    def leave(self) -> None:
        """No longer get what is typed: there are others."""
        if self in self.shell.input_transformers_cleanup:
            self.shell.input_transformers_cleanup.remove(self)

    def __call__(self, lines: list[str]) -> list[str]:
        """The lines of a cell, as IPython is to run them: with autopx on."""
        cell = "".join(lines).strip()
        if self._here or cell == f"autopx{self.suffix}" or _FOR_THE_PROMPT.fullmatch(cell):
            return lines
        return [f"%%px{self.suffix}\n", *lines]

    # -- how they do it ---------------------------------------------------------------------------------------

    def _execute(self, code: str, given: Any) -> AsyncResult | None:
        view = self.view
        block = view.block if given.block is None else given.block
        targets = view.targets if given.targets is None else self._targets(given.targets)
        if self.verbose if given.verbose is None else given.verbose:
            print(f"{'Parallel' if block else 'Async parallel'} execution on engine(s): {targets}")
        stream = self.stream if given.stream is None else given.stream
        after = self.progress_after if given.progress_after is None else given.progress_after
        try:
            result: AsyncResult = view.execute(code, silent=False, targets=targets, block=False)
            self.last_result = result
            if given.out:
                self.shell.user_ns[given.out] = result
            if given.local:
                self._run_here(code)
            if not block:
                return result
            self._wait(result, _Shown(result) if stream else None, after)
        except KeyboardInterrupt:
            number = self.signal if given.signal_on_interrupt is None else given.signal_on_interrupt
            print(f"Received Keyboard Interrupt. Sending signal {number} to engines...", file=sys.stderr)
            view.client.send_signal(int(number) if number.isdigit() else number, targets)
            return None
        try:
            result.get()
        except RemoteError as error:
            if not stream or not isinstance(error, CompositeError):
                raise
            print(
                "\n".join(line for n in range(len(error.elist)) for line in error.render_traceback(n)), file=sys.stderr
            )
            raise AlreadyDisplayedError(error) from None
        finally:
            result.display_outputs(given.group_outputs, result_only=stream)
        return None

    def _wait(self, result: AsyncResult, shown: _Shown | None, progress_after: float) -> None:
        begun = time.monotonic()
        while not result.wait(INTERVAL):
            if shown is not None:
                shown.more()
            if 0 <= progress_after <= time.monotonic() - begun:
                result.wait_interactive()
        if shown is not None:
            shown.more()

    def _targets(self, word: str) -> Any:
        """The targets that a word names."""
        try:
            if word == "all":
                return "all"
            if ":" in word:
                return self.view.client.ids[slice(*(int(each) if each else None for each in word.split(":")))]
            ids = [int(each) for each in word.strip("[]()").split(",") if each.strip()]
            return ids[0] if len(ids) == 1 and "," not in word and word[:1] not in "[(" else ids
        except ValueError:
            raise UsageError(f"--targets takes 0, 0,2, ::2 or all, without spaces, not {word!r}") from None

    def _run_here(self, code: str) -> None:
        self._here = True
        try:
            self.shell.run_cell(code)
        finally:
            self._here = False


class _Shown:
    """What has been shown of the outputs of a result."""

    def __init__(self, result: AsyncResult) -> None:
        self._parts = result.parpool.split()
        self._done: dict[tuple[int, str], int] = {}
        self._last: Any = None

    def more(self) -> None:
        """Show what has come since."""
        for number, part in enumerate(self._parts):
            for name, stream, text in (("stdout", sys.stdout, part.stdout), ("stderr", sys.stderr, part.stderr)):
                new = text[self._done.get((number, name), 0) :]
                if not new:
                    continue
                self._done[number, name] = len(text)
                tag = "" if self._last == (number, name) else f"[{name}:{part.metadata['engine_id']}] \n"
                self._last = number, name
                stream.write(tag + new + ("" if new.endswith("\n") else "\n"))
                stream.flush()
