"""What may follow on a line that is being typed: names of this engine, and of the objects that they are bound to."""

from __future__ import annotations

import builtins
import keyword
import re
import rlcompleter

from . import verbs

MOST = 500  #: matches that are told


def complete(line: str) -> tuple[str, list[str]]:
    """The end of ``line`` that is to be completed, and what may stand in its place.

    Properties are not computed to find out what they have. (A hosted shell knows more than names: keys, files, magics.)
    """
    if verbs.shell is not None:
        end, matches = verbs.shell.completions(line)
    else:
        found = re.search(r"[\w.]*$", line)
        end = found[0] if found else ""
        quoted = line[: len(line) - len(end)].endswith(("'", '"'))
        matches = [] if quoted else _attributes(end) if "." in end else _names(end)
    return end, matches[:MOST]


def _names(start: str) -> list[str]:
    if not start:
        return verbs.keys()
    hidden = not start.startswith("_")
    known = {*verbs.namespace(), *vars(builtins), *keyword.kwlist}
    return sorted(name for name in known if name.startswith(start) and not (hidden and name.startswith("_")))


def _attributes(expression: str) -> list[str]:
    try:
        found = rlcompleter.Completer(verbs.namespace()).attr_matches(expression)
    except Exception:  # of an object that is asked for an attribute
        return []
    return [match.rstrip("()") for match in found]
