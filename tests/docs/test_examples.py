"""Every Python example of the documentation is run, and prints what the page says it prints.

The ```python blocks of a page are one script, in their order: a block sees what those before it defined. An ```output
block is what the block before it prints; `...` in it stands for anything, and numbers of processes and engines may
differ. Comments for this test, on the line before a block:

    <!-- not run: why -->           the block is left out
    <!-- setup: code -->            code, of one or more lines, that the reader need not see
    <!-- needs: joblib, sklearn --> anywhere in a page: it is only run where these are installed
"""

from __future__ import annotations

import ast
import doctest
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "```python" in page.read_text(encoding="utf-8")
]
NEEDS = re.compile(r"<!-- needs: (.*?) -->")
LIMIT = 30  # seconds for a page
END = "--- end of a block ---"

# The README is read as it stands: what its examples need besides, by the first line that needs it.
README_SETUP = """\
from types import SimpleNamespace
files, urls, model = ["a", "bc"], ["x", "y"], 3
def measure(file): return len(file)
def fetch(url): return url.upper()
def simulate(model): return model
"""

PIECE = re.compile(
    r"<!-- (?P<word>not run|setup): ?(?P<text>.*?)-->|^```(?P<kind>python|output)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    code: str
    line: int
    output: str | None = None


def blocks(page: Path) -> list[Block]:
    """The examples of a page that are to be run."""
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    setup = README_SETUP if page.name == "README.md" else ""
    skip = skipped = False  # the next block, the last one
    for piece in PIECE.finditer(text):
        line = text.count("\n", 0, piece.start()) + 2
        if piece["word"] == "not run":
            assert piece["text"].strip(), f"{page.name}:{line}: no reason is given why this is not run"
            skip = True
        elif piece["word"] == "setup":
            setup = piece["text"]
        elif piece["kind"] == "python":
            if not skip:
                found.append(Block(setup + piece["body"], line))
            setup, skip, skipped = "", False, skip
        elif not skipped:
            assert found and found[-1].output is None, f"{page.name}:{line}: output of no example"
            found[-1].output = piece["body"]
    return found


def script(examples: list[Block]) -> str:
    """One script of them, which an engine of any start method can import."""
    parts = []
    for example in examples:
        parts += guarded(example.code)
        parts.append(f"if __name__ == '__main__':\n    print({END!r}, flush=True)")
    return "\n".join(parts) + "\n"


def guarded(code: str) -> Iterator[str]:
    """The statements; those that do more than define something under the guard that multiprocessing asks for."""
    lines = code.splitlines()
    for node in ast.parse(code).body:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        text = "\n".join(lines[first - 1 : node.end_lineno])
        yield text if is_definition(node) else "if __name__ == '__main__':\n" + textwrap.indent(text, "    ")


def is_definition(node: ast.stmt) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "__name__ == '__main__'"
    if isinstance(node, ast.Assign):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))


def plain(output: str) -> str:
    """Without what differs from run to run, and the marks that newer Pythons draw into tracebacks."""
    output = re.sub(r"^ *[~^]+\n", "", output, flags=re.MULTILINE)
    return re.sub(r"\b(pid|engine) \d+", r"\1 N", output).strip() + "\n"


def agree(expected: str, got: str) -> bool:
    return doctest.OutputChecker().check_output(plain(expected), plain(got), doctest.ELLIPSIS)


def run(path: Path) -> tuple[int | str, str, str]:
    """Exit status, or that there is none, and what was printed. Its engines end with it."""
    command = [sys.executable, "-W", "error", path.name]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=path.parent, stdout=pipe, stderr=pipe, encoding="utf-8", start_new_session=True
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"hangs for {LIMIT} s", *process.communicate()
        return process.returncode, stdout, stderr


def needed(page: Path) -> list[str]:
    """The modules without which a page cannot be run."""
    return [name for found in NEEDS.findall(page.read_text(encoding="utf-8")) for name in found.split(", ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_run_and_print_what_the_page_says(page: Path, tmp_path: Path) -> None:
    for name in needed(page):
        pytest.importorskip(name, reason=f"{page.name} needs {name}")
    examples = blocks(page)
    path = tmp_path / "examples.py"
    path.write_text(script(examples), encoding="utf-8")
    status, stdout, stderr = run(path)
    printed = stdout.split(END + "\n")
    failed = examples[len(printed) - 1].line if len(printed) <= len(examples) else "the end"
    assert status == 0, f"{page.name}:{failed} {status}\n{stdout}\n{stderr}"
    assert "Traceback" not in stderr, stderr
    for example, got in zip(examples, printed, strict=False):
        if example.output is not None:
            assert agree(example.output, got), f"{page.name}:{example.line} prints\n{got}"


def test_a_page_is_read_as_it_is_meant(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# T\n```python\nx = 1\n```\n\n<!-- not run: it needs a network -->\n```python\nfetch()\n```\n"
        "```output\nlost\n```\n<!-- setup:\ny = 2\n-->\n```python\nprint(x, y)\n```\nprints\n```output\n1 2\n```\n"
    )
    first, second = blocks(page)
    assert first == Block("x = 1\n", 3)
    assert second.code.split() == ["y", "=", "2", "print(x,", "y)"]
    assert second.output == "1 2\n"
    assert "if __name__ == '__main__':\n    print(x, y)" in script([first, second])
    assert agree("engine 3 died: pid 1 at ...\n", "engine 0 died: pid 2231 at 0x7f\n")
    assert not agree("one\n", "two\n")
