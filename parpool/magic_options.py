"""The options of %px and its like: what they are, and where they end and code begins."""

# IPython's decorators have no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import ast
import re
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument, parse_argstring

from .errors import ParpoolError

if TYPE_CHECKING:
    from .client.direct import DirectView


def seconds(word: str) -> float:
    """A number of seconds that one can wait; a larger one is as good as never."""
    number = float(word)
    if number != number:
        raise ValueError(word)
    return number if number < threading.TIMEOUT_MAX else -1.0


WAITING = argument("--block", action="store_const", const=True, help="wait, and show what comes of it")
NOT_WAITING = argument("--noblock", "-a", dest="block", action="store_const", const=False, help="give an AsyncResult")
TARGETS = argument("--targets", "-t", help="the engines: 0, -1, 0,2, ::2 or all, of those that serve now")
TELLING = argument("--verbose", "-v", action="store_const", const=True, help="tell where code is run")
LIVE = argument("--stream", action="store_const", const=True, help="while it waits, show what is printed as it comes")
NOT_LIVE = argument("--no-stream", dest="stream", action="store_const", const=False, help="show it at the end")
BAR = argument(
    "--progress-after", type=seconds, metavar="SECONDS", help="with a bar, when it takes longer; -1: without"
)
SIGNAL = argument("--signal-on-interrupt", choices=("SIGINT", "0"), help="what Ctrl-C sends to the engines; 0: nothing")
_GROUPS = ("engine", "type", "order")
SORTED = argument("--group-outputs", "--group", choices=_GROUPS, help="what is shown together at the end")


def how_to_run(magic: Any) -> Any:
    """Give a magic the options for where code is run, and how what comes of it is told: a decorator."""
    # The last first, as decorators are applied.
    for option in (SIGNAL, SORTED, BAR, NOT_LIVE, LIVE, TELLING, TARGETS, NOT_WAITING, WAITING):
        magic = option(magic)
    return magic


#: A value of an option: what quotes or brackets hold together, ids behind commas, or one word.
_VALUE = r"""(?:"[^"]*"|'[^']*'|\[[^][]*\]|\([^()]*\)|-?\d+(?:,\s*-?\d+)+|\S+)(?!\S)"""
#: What may stand between %px and its code. Code that begins like that would be pointless.
_OPTION = re.compile(
    rf"--(?:(?:targets|out|progress-after|group-outputs|group|signal-on-interrupt)(?:(?:=|\s+){_VALUE}|\s*$)"
    r"|block|noblock|verbose|local|stream|no-stream|help)(?:\s+|$)"
)
#: And what may where the line would not be Python with it: -t[0] is, and -t 0 is not.
_SHORT = re.compile(rf"-(?:[to]\s*{_VALUE}|[va])(?:\s+|$)|--[a-zA-Z][\w-]*(?:=\S*|\s+|$)")
_WHERE = re.compile(rf"(?<!\S)(?:--targets(?:=|\s+)|-t\s*)(?!--?[a-zA-Z])({_VALUE})")


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


def parsed(magic: Any, options: str) -> Any:
    """What the options of a magic say. Raises UsageError, which tells where they are listed."""
    # argparse takes nothing with a dash in front, and no spaces, for a value.
    options = _WHERE.sub(lambda found: "--targets=" + re.sub(r"[\s\"']", "", found[1]), options)
    try:
        return parse_argstring(magic, options)
    except UsageError as error:
        raise UsageError(f"{error}; %{magic.__name__}{magic.__self__.suffix}? lists the options") from None


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
    except (IndexError, ParpoolError) as error:
        raise UsageError(f"--targets {targets}: {error}") from None
    except (TypeError, ValueError):
        raise UsageError(f"--targets takes 0, -1, 0,2, ::2 or all, not {targets!r}") from None
    return list(engines) if isinstance(engines, tuple) else engines
