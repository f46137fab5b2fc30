"""Sessions at an IPython prompt, as documents show them, run for real and compared with what they show.

``python prompt.py FILE ENGINES``: a cluster of so many engines is the default one while the session of the file runs.
Its inputs stand behind ``In [n]:`` and ``...:``, and below each is what it prints. As in doctests, ``...`` stands for
anything, and white space is not compared. Lines that begin with ``#`` are remarks, and a line ``#: code`` is run without
being a part of the session. Exits with 1 where something else was printed, and tells what.
"""

from __future__ import annotations

import doctest
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

INPUT = re.compile(r"\s*In \[(\d+)\]: ?(.*)")
MORE = re.compile(r"\s*\.\.\.+: ?(.*)")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass
class Input:
    """What is typed, and what it should print."""

    number: int  #: 0: it is no part of the session
    lines: list[str]
    output: list[str] = field(default_factory=list)


def read(text: str) -> Iterator[Input]:
    """The inputs of a session."""
    last: Input | None = None
    for line in text.splitlines():
        if line.startswith("#: "):
            yield from [last] if last else []
            last = Input(0, [line[3:]])
        elif line.startswith("#"):
            continue
        elif found := INPUT.fullmatch(line):
            yield from [last] if last else []
            last = Input(int(found[1]), [found[2]])
        elif last is not None and not last.output and (found := MORE.fullmatch(line)):
            last.lines.append(found[1])
        elif last is not None and (line.strip() or last.output):
            last.output.append(line)
    yield from [last] if last else []


def replay(path: Path) -> int:
    """Type all that, and tell what was not as it stands there. How much that was."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.InteractiveShell.colors = "nocolor"
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    sys.modules["__main__"] = shell.user_module  # as at a prompt
    checker, wrong = doctest.OutputChecker(), 0
    for each in read(path.read_text("utf-8")):
        if each.number:
            shell.execution_count = each.number
        out = StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            shell.run_cell("\n".join(each.lines), store_history=bool(each.number))
        expected, got = "\n".join(each.output).strip() + "\n", out.getvalue().strip() + "\n"
        if not checker.check_output(expected, got, FLAGS):
            wrong += 1
            print(f"In [{each.number}]: {each.lines[0]}\n--- expected\n{expected}--- got\n{got}---")
    return wrong


if __name__ == "__main__":
    import parpool

    with parpool.Cluster(n=int(sys.argv[2]), cluster_id="default"):
        wrong = replay(Path(sys.argv[1]))
    print("the end of the session" if not wrong else f"{wrong} outputs are not as they should be")
    sys.exit(1 if wrong else 0)
