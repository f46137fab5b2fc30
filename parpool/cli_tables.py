"""How the command line shows what it has found: as tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click


def print_table(rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """The rows, below the names of their fields."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        click.echo(title)
        return
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    names = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:  # on a narrow terminal they go on in the next line: half a path or uid is of no use
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(name, row.get(name))) for name in names))
    # What is not a terminal has no width: nothing is to be broken for it.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)


def shown(name: str, value: Any) -> str:
    """The value of a field, in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return time.ctime(value) if value and name == "started" else str("" if value is None else value)
