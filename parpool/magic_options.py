"""The options of %px and its like: what they are, and where they end and code begins."""

# IPython's decorators have no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument

from .errors import NoEngines

if TYPE_CHECKING:
    from .client.direct import DirectView

WAITING = argument("--block", action="store_const", const=True, help="wait, and show what comes of it")
NOT_WAITING = argument("--noblock", "-a", dest="block", action="store_const", const=False, help="give an AsyncResult")
TARGETS = argument("--targets", "-t", help="the engines: 0, -1, 0,2, ::2 or all, of those that serve now")
TELLING = argument("--verbose", "-v", action="store_const", const=True, help="tell where code is run")
LIVE = argument("--stream", action="store_const", const=True, help="while it waits, show what is printed as it comes")
NOT_LIVE = argument("--no-stream", dest="stream", action="store_const", const=False, help="show it at the end")
BAR = argument("--progress-after", type=float, metavar="SECONDS", help="with a bar, when it takes longer; -1: without")
SIGNAL = argument("--signal-on-interrupt", choices=("SIGINT", "0"), help="what Ctrl-C sends to the engines; 0: nothing")
_GROUPS = ("engine", "type", "order")
SORTED = argument("--group-outputs", "--group", choices=_GROUPS, help="what is shown together at the end")


def how_to_run(magic: Any) -> Any:
    """Give a magic the options for where code is run, and how what comes of it is told: a decorator."""
    # The last first, as decorators are applied.
    for option in (SIGNAL, SORTED, BAR, NOT_LIVE, LIVE, TELLING, TARGETS, NOT_WAITING, WAITING):
        magic = option(magic)
    return magic


#: What may stand between %px and its code. Code that begins like that would be pointless.
_OPTION = re.compile(
    r"--(?:(?:targets|out|progress-after|group-outputs|group|signal-on-interrupt)(?:=|\s+)\S+"
    r"|block|noblock|verbose|local|stream|no-stream)(?:\s+|$)"
)
#: And what may where the line would not be Python with it: -t[0] is, and -t 0 is not.
_SHORT = re.compile(r"-(?:[to]\s*\S+|[va])(?:\s+|$)|--[a-zA-Z][\w-]*(?:=\S*|\s+|$)")


@dataclass
class Configured:
    """How what comes of code is told, where it is not said otherwise."""

    verbose: bool = False
    stream: bool = True
    progress_after: float = -1.0
    group_outputs: str = "engine"
    signal_on_interrupt: str = "0"

    def with_those(self, given: Any) -> Configured:
        """The same, but for what options have said."""
        said = {name: value for name in vars(self) if (value := getattr(given, name, None)) is not None}
        return replace(self, **said)


def split(line: str) -> tuple[str, str]:
    """The options of a line, and the code that follows."""
    end = 0
    while option := _OPTION.match(line, end) or (None if _is_python(line[end:]) else _SHORT.match(line, end)):
        end = option.end()
    return line[:end], line[end:]


def _is_python(code: str) -> bool:
    try:
        ast.parse(code.strip())
    except (SyntaxError, ValueError):
        return False
    return True


def chosen(view: DirectView, targets: str | None) -> Any:
    """The targets that a word names; None for those of the view."""
    if targets is None:
        return None
    word = targets.strip("[]()").rstrip(",")
    try:
        if word == "all":
            return "all"
        if ":" in word:
            engines = view.client.normal(slice(*(int(each) if each else None for each in word.split(":"))))
        else:
            ids = [int(each) for each in word.split(",")]
            engines = view.client.normal(ids[0] if word == targets and len(ids) == 1 else ids)
    except (IndexError, NoEngines) as error:
        raise UsageError(f"--targets {targets}: {error}") from None
    except (TypeError, ValueError):
        raise UsageError(f"--targets takes 0, -1, 0,2, ::2 or all, without spaces, not {targets!r}") from None
    return list(engines) if isinstance(engines, tuple) else engines
