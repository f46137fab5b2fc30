"""What an engine that was forked from an IPython prompt leaves behind: the prompt's own names, and its ways to show.

The user's names are the engine's, too. But ``In``, ``Out`` and ``exit`` are of the prompt, and what its shell displays in a
notebook goes by a socket that is another process's.

``get_ipython`` alone stays, out of sight: a function that was written at the prompt calls it where it has ``!commands`` or
magics in it, and in a forked process such a function has always run.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import Any

from . import verbs

#: Names of a prompt. (It hides others, too: those of a user's start-up files, which functions may need.)
_OF_A_PROMPT = re.compile(r"In|Out|exit|quit|open|_+|_i+|_i?\d+|_[iod]h|_sh|_exit_code")

_kept: list[Any] = []  #: shells that this process has inherited


def leave_prompt() -> None:
    """Have nothing of the prompt that this process was forked from, if it was."""
    module = sys.modules.get("IPython.core.interactiveshell")
    if module is None or not module.InteractiveShell.initialized():
        return
    shell = module.InteractiveShell.instance()
    _kept.append(shell)  # its history has a database, which is its own process's to close
    for name, value in shell.user_ns_hidden.items():
        if _OF_A_PROMPT.fullmatch(name) and shell.user_ns.get(name) is value:
            del shell.user_ns[name]
    verbs.inherited["get_ipython"] = shell.user_ns.get("get_ipython")
    with suppress(KeyError):  # some are gone
        shell.builtin_trap.deactivate()
    if sys.displayhook is shell.displayhook:
        sys.displayhook = sys.__displayhook__
    type(shell).clear_instance()
