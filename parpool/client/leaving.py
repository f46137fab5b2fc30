"""Clients that nobody has closed take leave of their controllers when the interpreter ends.

Else a controller would take them for lost, which it can tell only after some heartbeats, and hold their tasks so long.
"""

from __future__ import annotations

import atexit
import weakref
from contextlib import suppress
from typing import Any

_links: weakref.WeakSet[Any] = weakref.WeakSet()


def at_exit(link: Any) -> None:
    """Have this link leave then, where it is still open."""
    _links.add(link)


@atexit.register  # early, when this is imported: so what a program has registered later comes first, and finds them open
def _leave() -> None:
    for link in list(_links):
        with suppress(Exception):  # the process ends, and so does the connection
            link.leave_at_exit()
