"""How an IPython prompt shows the errors of engines: by their own tracebacks, and not by that of the call here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .errors import CompositeError, RemoteError


def showing(shell: Any) -> Callable[..., None]:
    """The ``showtraceback`` of a shell, which for all remote errors shows the remote traceback alone.

    IPython's own does so but for exception groups, of which it shows everything (and to %tb nothing), and for
    SyntaxErrors. A handler by ``set_custom_exc`` would not be asked by %tb, and there can be only the user's.
    """
    original = shell.showtraceback

    def showtraceback(exc_tuple: Any = None, *args: Any, **options: Any) -> None:
        error = (exc_tuple or sys.exc_info())[1] or getattr(sys, "last_value", None)
        if not isinstance(error, CompositeError) and not (
            isinstance(error, RemoteError) and isinstance(error, SyntaxError)
        ):
            original(exc_tuple, *args, **options)
            return
        kind = type(error)
        sys.last_type, sys.last_value, sys.last_traceback = kind, error, error.__traceback__  # for %tb and %debug
        if sys.version_info >= (3, 12):
            sys.last_exc = error
        # In one piece: the mode "Minimal" puts no line ends between the lines.
        shell._showtraceback(kind, error, ["\n".join(error._render_traceback_())])

    return showtraceback
