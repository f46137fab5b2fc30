"""Links in a process that was forked from the one that made them: they are of no use there, and must do no harm."""

from __future__ import annotations

import os
import weakref
from typing import Any

MESSAGE = (
    "this pool belongs to the process that made it, and this process was forked from that one: "
    "make a pool of its own here"
)

_here: weakref.WeakSet[Any] = weakref.WeakSet()
_inherited: list[Any] = []


def here(link: Any) -> None:
    """A link was made in this process."""
    _here.add(link)


def gone(link: Any) -> None:
    """A link has ended."""
    _here.discard(link)


def _after_fork() -> None:
    # Kept for ever: what they own (sockets, threads, locks) is the parent's, and must not be finalised here.
    _inherited.extend(_here)
    for link in _inherited:
        link.become_foreign()
    _here.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
