"""How an IPython prompt shows the errors of engines: by their own tracebacks, and not by that of the call here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .errors import CompositeError, ParpoolError, RemoteError


def showing(shell: Any) -> Callable[..., None]:
    """The ``showtraceback`` of a shell, which for all remote errors shows the remote traceback alone.

    IPython's own does so but for exception groups, of which it shows everything (and to %tb nothing), and for
    SyntaxErrors. A handler by ``set_custom_exc`` would not be asked by %tb, and there can be only the user's.

    Of what became of a magic's code, such as that its engine died, or of its wait, it shows a line: there is no frame of
    the user's.
    """
    original = shell.showtraceback

    def showtraceback(exc_tuple: Any = None, *args: Any, **options: Any) -> None:
        error: Any = (exc_tuple or sys.exc_info())[1] or getattr(sys, "last_value", None)
        lines = _lines_of(error)
        if lines is None:
            original(exc_tuple, *args, **options)
            return
        kind = type(error)
        sys.last_type, sys.last_value, sys.last_traceback = kind, error, error.__traceback__  # for %tb and %debug
        if sys.version_info >= (3, 12):
            sys.last_exc = error
        # In one piece: the mode "Minimal" puts no line ends between the lines.
        shell._showtraceback(kind, error, ["\n".join(lines)])

    return showtraceback


def _lines_of(error: Any) -> list[str] | None:
    """How an error is shown; None where it is for IPython to say."""
    if isinstance(error, CompositeError) or (isinstance(error, RemoteError) and isinstance(error, SyntaxError)):
        return error._render_traceback_()
    if isinstance(error, RemoteError) or not isinstance(error, (ParpoolError, KeyboardInterrupt)):
        return None
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") != "parpool.magics":
        trace = trace.tb_next
    return None if trace is None else f"{type(error).__name__}: {error}".removesuffix(": ").split("\n")
