"""The benchmark of clusters runs end to end, prints every row, and ends what it starts."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc, and light engines epoll")


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(BENCHMARKS / "cluster.py"), *arguments]


def run(*arguments: str) -> str:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the table by their names."""
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)}


@needs_linux
@pytest.mark.timeout(120)
def test_a_quick_run_prints_every_row() -> None:
    pytest.importorskip("sqlalchemy")
    found = rows(run("--quick"))
    for start in (
        "start of a cluster",
        "`apply_sync`, p50",
        "1,000 `apply_async` of a load-balanced view, records in memory",
        "1,000 `apply_async` of `Pool(client=rc)`, records in memory",
        "1,000 `apply_async` of a load-balanced view, records in SQLite",
        "1,000 `apply_async` of `Pool(client=rc)`, records in SQLite",
        "4 clients at once",
        "20 light engines, as on other machines",
        "20 light engines, by lanes",
        "10,000 tasks queued",
        "kill -9 of the controller",
    ):
        (cells,) = [cells for name, cells in found.items() if name.startswith(start)]
        assert cells[0] and "nan" not in "".join(cells), cells
        assert cells[3] in ("yes", "**no**"), cells
    assert len(found) == 11


@needs_linux
def test_tcp() -> None:
    found = rows(run("--quick", "--transport", "tcp", "--cases", "apply,light"))
    assert [name.partition(",")[0] for name in found] == ["`apply_sync`", "20 light engines"]


@needs_linux
def test_nothing_is_left_when_it_is_stopped() -> None:
    """What the harness would find afterwards is the point."""
    with subprocess.Popen(command("--cases", "many"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"many: ")
        with pytest.raises(subprocess.TimeoutExpired):  # it is in the middle of it
            process.wait(1.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGINT


def test_unknown_names_are_refused() -> None:
    done = subprocess.run(command("--cases", "aply"), capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert "'aply' is none of start, apply" in done.stderr
