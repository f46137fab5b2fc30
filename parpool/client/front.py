"""What shows to the user: a terminal, or a prompt or notebook of IPython's that may know more than text."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def who(engine: int | None) -> str:
    """An engine, in tags."""
    return "?" if engine is None else str(engine)


def show_value(
    engine: int | None, count: int, text: str | None, display: dict[str, Any], about: dict[str, Any]
) -> None:
    """Show the value of a last expression, as a prompt does."""
    tag = f"Out[{who(engine)}:{count}]:"
    if display and _shows_more():
        _publish(tag, display if text is None else {"text/plain": text, **display}, about, {}, False)
    elif text is not None:
        sys.stdout.write(f"{tag}{chr(10) if chr(10) in text else ' '}{text}\n")


def show_output(engine: int | None, output: dict[str, Any]) -> None:
    """Show something that an engine has displayed: a picture, where there is somebody to show it."""
    data = output.get("data", {})
    tag, text = f"[output:{who(engine)}]", data.get("text/plain")
    if data and _shows_more():
        transient = dict(output.get("transient", {}))
        if "display_id" in transient:  # it is one of that engine's
            transient["display_id"] = f"parpool-{who(engine)}-{transient['display_id']}"
        update = output["output_type"] == "update_display_data"
        _publish("" if update else tag, data, output.get("metadata", {}), transient, update)
    elif text is not None:
        sys.stdout.write(f"{tag} {text}\n")


def _shows_more() -> bool:
    """Is there a front end that shows more than text? (A terminal's shell says that it does not.)"""
    ipython = sys.modules.get("IPython")  # whoever runs a prompt has imported it
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and list(shell.display_formatter.active_types) != ["text/plain"]


def _publish(tag: str, data: dict[str, Any], metadata: dict[str, Any], transient: dict[str, Any], update: bool) -> None:
    if tag:
        sys.stdout.write(tag + "\n")
        sys.stdout.flush()
    display: Any = import_module("IPython.display")
    display.publish_display_data(data, metadata, transient=transient, update=update)
