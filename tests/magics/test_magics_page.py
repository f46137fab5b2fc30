"""The session of docs/prompt.md, typed as it stands there."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("IPython")

from IPython.utils.capture import capture_output

PAGE = Path(__file__).parents[2] / "docs" / "prompt.md"


def engine(line: str) -> str:
    return line.partition("]")[0]


def test_the_session_of_the_manual(shell: Any) -> None:
    pytest.importorskip("matplotlib")
    blocks = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    parts = re.split(r"^In \[(\d+)\]: ", "\n".join(blocks), flags=re.M)[1:]
    assert len(parts) > 20
    try:
        for number, text in zip(parts[::2], parts[1::2], strict=True):
            first, *rest = text.splitlines()
            more = [line for line in rest if re.match(r" +\.\.\.: ?", line)]
            cell = "\n".join([first, *(re.sub(r"^ +\.\.\.: ?", "", line) for line in more)])
            expected = "\n".join(rest[len(more) :]).strip() + "\n"
            assert shell.execution_count == int(number)
            with capture_output(display=False) as captured:
                shell.run_cell(cell, store_history=True)
            got = "\n".join(each for each in (captured.stdout.strip(), captured.stderr.strip()) if each) + "\n"
            got = re.sub(r"^ *[~^]+\n", "", got, flags=re.M)  # newer Pythons draw them into tracebacks
            printed = r"(?:^\[stdout:\d+\] .*\n)+"  # in any order, as it comes
            got = re.sub(printed, lambda found: "".join(sorted(found[0].splitlines(True), key=engine)), got, flags=re.M)
            agree = doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS)
            assert agree, f"In [{number}]: {cell}\n{got}"
    finally:
        for name in ("rc", "shells"):
            if name in shell.user_ns:
                shell.user_ns[name].close()
