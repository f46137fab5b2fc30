"""Tab completion at an IPython prompt of what is typed for engines: after ``%px``, in cells of ``%%px``, with autopx.

Also of the names in ``view["``: views tell them; and of those in ``rc[0]["``, for which IPython must be told that to take
an item of a client does nothing.
"""

# IPython's decorators have no types.
# mypy: allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core import guarded_eval
from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from .client.client import Client
from .errors import ParpoolError

if TYPE_CHECKING:
    from .client.direct import DirectView

#: A line or cell for engines: the suffix of its magic, and what follows that.
_MAGIC = re.compile(r"\s*%?px(?P<suffix>\w*)\s(?P<code>.*)", re.DOTALL)
_CELL = re.compile(r"\s*%%px(?P<suffix>\w*)(?:\s|$)")


class RemoteCompletion:
    """One of a shell's sources of completions. ``view_of`` gives the view of a suffix (None: that of autopx)."""

    def __init__(self, shell: Any, view_of: Callable[[str | None], DirectView | None]) -> None:
        self._shell = shell
        self._view_of = view_of

        @context_matcher(identifier="parpool", priority=1000)
        def match(context: CompletionContext) -> dict[str, Any]:
            return self._match(context)

        self._matcher = match

    def attach(self) -> None:
        """Take part."""
        self._shell.Completer.custom_matchers.append(self._matcher)
        self._items().add(Client)

    def detach(self) -> None:
        """No longer."""
        if self._matcher in self._shell.Completer.custom_matchers:
            self._shell.Completer.custom_matchers.remove(self._matcher)
        self._items().discard(Client)

    def _items(self) -> set[type]:
        policy: Any = guarded_eval.EVALUATION_POLICIES["limited"]
        items: set[type] = policy.allowed_getitem
        return items

    def _match(self, context: CompletionContext) -> dict[str, Any]:
        nothing = {"completions": [], "suppress": False}
        line = context.text_until_cursor
        if cell := _CELL.match(context.full_text):
            if not context.cursor_line:
                return nothing  # its options
            view = self._view_of(cell["suffix"])
        elif found := _MAGIC.fullmatch(line):
            view, line = self._view_of(found["suffix"]), found["code"]
        elif line.lstrip()[:1] in ("%", "!", "?"):
            return nothing
        else:
            view = self._view_of(None)
        if view is None:
            return nothing
        try:
            end, matches = view.complete(line)
        except (ParpoolError, ValueError):  # the engines are gone, the client is closed
            return nothing
        completions = [SimpleCompletion(text=match) for match in matches]
        return {"completions": completions, "matched_fragment": end, "suppress": bool(completions)}
