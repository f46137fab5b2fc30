"""What a client that is active brings to an IPython prompt: ``%px``, ``%autopx`` and ``%result``.

Only this module needs IPython, and it is imported by :meth:`MultiEngineClient.activate` alone.
"""

# IPython's decorators have no types.
# mypy: allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import re
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .multiengineclient import MultiEngineClient

#: Under which name a shell has its prompt.
_KEY = "_parpool_multiengine"

#: Input that stays here with autopx on.
_OURS = re.compile(r"[%!?].*|autopx|\w+\?\??|(exit|quit)(\(\))?", re.DOTALL)


def activate(client: MultiEngineClient) -> None:
    """Let the magics use this client. Where no IPython prompt is running there is a warning, and nothing happens."""
    ipython = sys.modules.get("IPython")  # whoever runs a prompt has imported it
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None:
        warnings.warn("activate() brings %px to an IPython prompt, and none is running in this process", stacklevel=3)
        return
    prompt: Prompt | None = vars(shell).get(_KEY)
    if prompt is None:
        client.rc.direct_view().activate(_KEY)  # for how the errors of engines are shown
        prompt = vars(shell)[_KEY] = Prompt(shell)
    prompt.client = client


class Prompt:
    """The magics of a shell. With autopx on, it is one of the shell's transformers of input."""

    #: Whether the input is complete is decided without us.
    has_side_effects = True

    client: MultiEngineClient

    def __init__(self, shell: Any) -> None:
        from IPython.core.magic import no_var_expand

        self.shell = shell
        for kind, name, function in (
            ("line_cell", "px", self.px),
            ("line", "autopx", self.autopx),
            ("line", "result", self.result),
            ("cell", "autopx_cell", self.autopx_cell),
        ):
            shell.register_magic_function(_plain(no_var_expand, function), kind, name)

    def px(self, line: str, cell: str | None = None) -> Any:
        """Run a command, or a cell, on the engines of the active client."""
        print("Executing command on Controller")
        return self.client.execute(line if cell is None else cell)

    def result(self, line: str) -> Any:
        """What came of the last command on each engine, or of that with a number."""
        return self.client.get_result(int(line) if line.strip() else None)

    def autopx(self, line: str) -> None:
        """Run on the engines all that is typed from now on; or no longer."""
        transformers = self.shell.input_transformers_cleanup
        if self in transformers:
            transformers.remove(self)
            print("Auto Parallel Disabled")
        else:
            transformers.append(self)
            print("Auto Parallel Enabled\nType %autopx to disable")

    def autopx_cell(self, line: str, cell: str) -> None:
        """A cell that was typed with autopx on."""
        print(self.client.execute(cell.rstrip("\n")))

    def __call__(self, lines: list[str]) -> list[str]:
        """The lines of a cell, as IPython is to run them."""
        return lines if _OURS.fullmatch("".join(lines).strip()) else ["%%autopx_cell\n", *lines]


def _plain(decorator: Any, method: Any) -> Any:
    """A function that calls the method, as methods take no marks."""

    def function(line: str, cell: str | None = None) -> Any:
        return method(line) if cell is None else method(line, cell)

    function.__doc__ = method.__doc__
    return decorator(function)
