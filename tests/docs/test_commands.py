"""The commands that the manual shows are such: their names and options are known, and their values are taken.

They are not run here. What they do is tested with the commands; that a page shows one that is no longer there is not.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from parpool.cli import commands

ROOT = Path(__file__).parents[2]
SHOWN = re.compile(r"^(?: {4})?(?:\$ )?(?:ssh \w+ |mpiexec -n \d+ )?(parpool (?!--)\S.*)$", re.MULTILINE)
BLOCKS = re.compile(r"^```text\n([\s\S]*?)^```$|^((?: {4}.*\n)+)", re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown(page: Path) -> list[str]:
    """The commands of a page."""
    text = page.read_text(encoding="utf-8")
    return [line for block in BLOCKS.finditer(text) for line in SHOWN.findall(block[1] or block[2])]


def check(line: str) -> None:
    """Raise click's error where the command, an option or a value is wrong. What stands far behind it explains it."""
    _, name, *words = [word for word in shlex.split(re.split(r" {3,}", line)[0]) if word != "..."]
    above = click.Context(commands, **commands.context_settings)  # a command keeps the help option of its first context
    command = commands.get_command(above, name)
    assert command is not None, f"there is no command {name}"
    command.make_context(name, words, parent=above)


@pytest.mark.parametrize("page", [page for page in PAGES if shown(page)], ids=lambda page: page.name)
def test_commands_of_a_page(page: Path) -> None:
    for line in shown(page):
        try:
            check(line)
        except click.UsageError as error:
            pytest.fail(f"{page.name}: {line}\n{error.format_message()}")


def test_every_command_is_shown() -> None:
    lines = [line for page in PAGES for line in shown(page)]
    assert {line.split()[1] for line in lines} >= commands.commands.keys() - {"run"}


@pytest.mark.parametrize("line", ["parpool start --what", "parpool stop -n 3", "parpool start -n many"])
def test_what_is_none_is_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        check(line)
