"""What a view brings to an IPython prompt: magics that run code on its engines.

    %px CODE       run it there; %%px does so with a whole cell. What is printed there is shown as it comes
    %autopx        from now on, run all that is typed there; once more: no longer
    %pxresult      what the last code printed there and what it gave; %result is the same
    %pxconfig      on which engines, and whether to wait

Their names end with the suffix that the view was activated with, so several views can have a set each. What belongs to
a shell is kept there, in its :class:`Prompt`. Only this module needs IPython, and nobody imports it who need not have it.
"""

# IPython's decorators have no types.
# mypy: allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import re
import sys
from dataclasses import replace
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from .client.live import Following
from .completing import RemoteCompletion
from .errors import ParpoolError
from .magic_options import SORTED, Configured, chosen, how_to_run, parsed, split
from .tracebacks import showing

if TYPE_CHECKING:
    from .client.direct import DirectView
    from .client.result import AsyncResult

# The doors ------------------------------------------------------------------------------------------


def activate(shell: Any, view: DirectView, suffix: str = "") -> None:
    """Let the magics of this suffix run code on the engines of ``view``."""
    if not isinstance(suffix, str) or not f"px{suffix}".isidentifier():
        raise ValueError(f"a suffix ends the names of magics, so it is of letters, digits and _, not {suffix!r}")
    if suffix.startswith(("result", "config")):
        raise ValueError(f"with the suffix {suffix!r}, %px{suffix} would be one of the other magics")
    _prompt_of(shell).magics_of(suffix).serve(view)


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext``: the magics are there, and say what to do where no view has been activated."""
    _prompt_of(shell).magics_of("")


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext``: take all of it away again."""
    prompt = vars(shell).pop(_KEY, None)
    if prompt is not None:
        prompt.leave()


_KEY = "_parpool_prompt"


def _prompt_of(shell: Any) -> Prompt:
    prompt: Prompt | None = vars(shell).get(_KEY)
    if prompt is None:
        prompt = vars(shell)[_KEY] = Prompt(shell)
    return prompt


# The prompt -----------------------------------------------------------------------------------------


class Prompt:
    """What we have changed of one shell: its magics, where its input goes, and how remote errors look.

    With autopx on, it is one of the shell's transformers of input: what is typed becomes a cell of %%px.
    """

    #: Whether the input is complete is decided without us: by the rules for Python, not by those for cell magics.
    has_side_effects = True

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.here = False  #: input is for this process, even with autopx on
        self._magics: dict[str, Magics] = {}
        self._receiver: Magics | None = None  #: with autopx on, who gets the input
        self._completion = RemoteCompletion(shell, self._view_of)
        self._completion.attach()
        shell.input_transformers_cleanup.append(self._ask_there)
        self._before = vars(shell).get("showtraceback")  # somebody may have put one before the class's
        self._showtraceback = shell.showtraceback = showing(shell)

    def magics_of(self, suffix: str) -> Magics:
        """The magics of a suffix, made when they are first asked for."""
        magics = self._magics.get(suffix)
        if magics is None:
            magics = self._magics[suffix] = Magics(self, suffix)
            for kind, name, function in magics.table():
                self.shell.register_magic_function(function, kind, name)
        return magics

    def _view_of(self, suffix: str | None) -> DirectView | None:
        magics = self._receiver if suffix is None else self._magics.get(suffix)
        return None if magics is None else magics.view

    @property
    def receiver(self) -> Magics | None:
        """The magics that get all input; None where autopx is off."""
        return self._receiver

    @receiver.setter
    def receiver(self, magics: Magics | None) -> None:
        transformers = self.shell.input_transformers_cleanup
        if self in transformers:
            transformers.remove(self)
        if magics is not None:
            transformers.append(self)  # the last: prompts that were pasted, and indents, are off
        self._receiver = magics

    def __call__(self, lines: list[str]) -> list[str]:
        """The lines of a cell, as IPython is to run them."""
        cell = "".join(lines).strip()
        if self._receiver is None or self.here or not cell:
            return lines
        suffix = self._receiver.suffix
        if cell == f"autopx{suffix}" or _FOR_THE_PROMPT.fullmatch(cell):
            return lines
        for number, line in enumerate(lines):
            if line.rstrip() == f"%autopx{suffix}":  # what follows is for this process again
                code = "".join(lines[:number])
                return [f"get_ipython().run_cell_magic('px{suffix}', '', {code!r})\n", *lines[number:]]
        return [f"%%px{suffix}\n", *lines]

    def _ask_there(self, lines: list[str]) -> list[str]:
        """``%px name?`` as ``%px ?name``: IPython takes what ends with a question mark for its own."""
        found = _HELP.fullmatch(lines[0]) if len(lines) == 1 else None
        if found is None or found["suffix"] not in self._magics:
            return lines
        return [f"{found['before']}{found['marks']}{found['name']}\n"]

    def leave(self) -> None:
        """Leave the shell as it was."""
        self.receiver = None
        self._completion.detach()
        self.shell.input_transformers_cleanup.remove(self._ask_there)
        if self.shell.showtraceback is self._showtraceback:  # nobody has put another in its place
            del self.shell.showtraceback
            if self._before is not None:
                self.shell.showtraceback = self._before
        for magics in self._magics.values():
            magics.view = magics.last = None  # IPython keeps the functions
            for kind, name, function in magics.table():
                for each in kind.split("_"):
                    known = self.shell.magics_manager.magics[each]
                    if known.get(name) == function:  # not somebody else's by now
                        del known[name]


#: Input that is meant for IPython whatever autopx says: magics, commands of the system, help, and the ways out.
_FOR_THE_PROMPT = re.compile(r"[%!?].*|[\w.*]+\?\??|(exit|quit)(\(\))?", re.DOTALL)

#: Help on what engines have.
_HELP = re.compile(r"(?P<before>\s*%px(?P<suffix>\w*)\s(?:.*\s)?)(?P<name>[^\s?]+)(?P<marks>\?\??)\s*")

# The magics -----------------------------------------------------------------------------------------


class Magics:
    """The magics of one suffix, and the view whose engines they use."""

    def __init__(self, prompt: Prompt, suffix: str) -> None:
        self.suffix = suffix
        self.view: DirectView | None = None
        self.last: AsyncResult | None = None  #: of the last code
        self._prompt = prompt
        self._targets: str | None = None  #: instead of the view's own
        self._where: Any = None  #: of the last code
        self._configured = Configured()

    def serve(self, view: DirectView) -> None:
        """Use this view from now on, as it is."""
        self.view, self.last, self._targets, self._configured = view, None, None, Configured()

    def table(self) -> list[tuple[str, str, Any]]:
        """Kind, name and function of each magic."""
        functions = [
            ("line_cell", "px", self.px),
            ("line", "autopx", self.autopx),
            ("line", "pxresult", self.pxresult),
            ("line", "result", self.pxresult),
            ("line", "pxconfig", self.pxconfig),
        ]
        return [(kind, name + self.suffix, function) for kind, name, function in functions]

    @no_var_expand  # {x} and $x in code are none of IPython's business
    @magic_arguments()
    @how_to_run
    @argument("--out", "-o", metavar="NAME", help="bind the AsyncResult to this name, here")
    @argument("--local", action="store_true", help="run the code here as well")
    def px(self, line: str, cell: str | None = None) -> AsyncResult | None:
        """Run Python code on the engines of the active view: the rest of a line, or with %%px the rest of a cell.

        Whether it waits is the view's ``block``, unless an option says otherwise. It then shows what the engines print,
        as it comes, and the value of a last expression, and raises what was raised; else it gives an AsyncResult.
        """
        options, code = split(line) if cell is None else (line, cell)
        given = parsed(self.px, options)
        view = self._active("px")
        if not code.strip():
            raise UsageError(f"%px{self.suffix} takes code: %px{self.suffix} x = 1")
        if given.out is not None and (not given.out.isidentifier() or iskeyword(given.out)):
            raise UsageError(f"--out takes a name, not {given.out!r}")
        targets = chosen(view, self._targets if given.targets is None else given.targets)
        how = self._configured.with_those(given)
        if how.verbose:
            print(f"Executing command on Controller\nengines: {view.targets if targets is None else targets}")
        try:
            result: AsyncResult = view.execute(code, targets=targets, block=False)
        except (ParpoolError, ValueError) as error:  # its engines are gone, or its client is closed
            raise UsageError(f"{error}; activate() of another view gives %px{self.suffix} other engines") from None
        self.last, self._where = result, view.targets if targets is None else targets
        if given.out is not None:
            self._prompt.shell.user_ns[given.out] = result
        # While the engines are at it. Ctrl-C there ends the wait for them, too.
        interrupted = given.local and isinstance(self._run_here(code).error_in_exec, KeyboardInterrupt)
        if not (view.block if given.block is None else given.block):
            return result
        self._show(result, how, interrupted)
        return None

    @no_var_expand
    @magic_arguments()
    def autopx(self, line: str) -> None:
        """Run on the engines of the active view all that is typed from now on, as %px does; or no longer.

        What begins with %, ! or ? is still for this prompt, as are ``name?``, ``exit`` and ``quit``.
        """
        parsed(self.autopx, line)
        if self._prompt.receiver is self:
            self._prompt.receiver = None
            print("Auto Parallel Disabled")
        else:
            self._active("autopx")
            self._prompt.receiver = self
            print(f"Auto Parallel Enabled\nType %autopx{self.suffix} to disable")

    @no_var_expand
    @magic_arguments()
    @SORTED
    def pxresult(self, line: str) -> None:
        """Wait for the last code of %px, %%px or %autopx, and show what came of it as %px does that waits."""
        given = parsed(self.pxresult, line)
        self._active("pxresult")
        if self.last is None:
            raise UsageError(f"there is no result: no code has been run with %px{self.suffix} yet")
        self._show(self.last, replace(self._configured.with_those(given), stream=False))

    @no_var_expand
    @magic_arguments()
    @how_to_run
    @argument("--quiet", dest="verbose", action="store_const", const=False, help="do not tell where code is run")
    def pxconfig(self, line: str) -> None:
        """Set what %px, %%px and %autopx do where they are not told; without options, show it.

        ``--block`` and ``--noblock`` set the flag of the view. Its targets cannot be changed: ``--targets`` is for the
        magics alone, until another view is activated.
        """
        given = parsed(self.pxconfig, line)
        view = self._active("pxconfig")
        chosen(view, given.targets)  # raises what is wrong with it
        if given.block is not None:
            view.block = given.block
        if given.targets is not None:
            self._targets = given.targets
        self._configured = how = self._configured.with_those(given)
        if not line.strip():
            targets = view.targets if self._targets is None else self._targets
            told = ", ".join(f"{name}={value}" for name, value in vars(how).items())
            print(f"%px{self.suffix}: {view!r}, targets={targets}, block={view.block}, {told}")

    def _active(self, name: str) -> DirectView:
        if self.view is None:
            how = f"view.activate({self.suffix!r})" if self.suffix else "view.activate()"
            raise UsageError(
                f"%{name}{self.suffix} has no engines yet: {how} gives it those of a view,"
                " such as view = parpool.Pool().client[:], or parpool.Client()[:] where a cluster runs"
            )
        return self.view

    def _run_here(self, code: str) -> Any:
        self._prompt.here = True
        try:
            return self._prompt.shell.run_cell(code)
        finally:
            self._prompt.here = False

    def _show(self, result: AsyncResult, how: Configured, interrupted: bool = False) -> None:
        following = Following(result) if how.stream else None
        interrupted = interrupted or not _waited(result, following, how)
        if interrupted and how.signal_on_interrupt != "0":
            print("Received Keyboard Interrupt. Sending signal SIGINT to engines...", file=sys.stderr)
            self._active("px").client.interrupt(self._where)
            interrupted = not _waited(result, following, how)
        if interrupted:
            raise KeyboardInterrupt(
                f"the engines go on: %pxresult{self.suffix} waits for them again, interrupt() of the client stops them"
            )
        result.display_outputs(how.group_outputs, result_only=how.stream)
        result.get()  # raises what was raised


def _waited(result: AsyncResult, following: Following | None, how: Configured) -> bool:
    """Wait for a result; False where Ctrl-C has ended the wait."""
    after = None if how.progress_after < 0 else how.progress_after
    try:
        if following is not None:
            following.wait(after)
        else:
            result.wait(after)
            if not result.ready():
                result.wait_interactive()
    except KeyboardInterrupt:
        return False
    return True
