"""The comparison runs end to end, ends what it starts, and keeps what others wrote in its results."""

from __future__ import annotations

import dataclasses
import importlib
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are scripts in one folder, not a package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture
def report() -> ModuleType:
    return importlib.import_module("report")


@pytest.fixture
def contest() -> ModuleType:
    return importlib.import_module("contest")


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(BENCHMARKS / "compare.py"), *arguments]


def column(contest: ModuleType, values: Sequence[float], failure: str = "", detail: str = "") -> object:
    sample = importlib.import_module("measures").Sample
    return contest.Column([sample(value, detail) for value in values], failure)


def row(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


# --- end to end ---------------------------------------------------------------------------------------


def test_quick_run_writes_its_part_and_keeps_the_rest(tmp_path: Path, report: ModuleType) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text(f"# Results\n\nBy hand, above.\n\n{report.BEGIN}\nold\n{report.END}\n\nBy hand, below.\n")
    run = subprocess.run(
        command(
            *("--quick", "--cases", "start,range", "--contestants", "stdlib", "--subject", "stdlib"),
            *("--write", "--output", str(results)),
        ),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert run.returncode == 0, run.stderr
    text = results.read_text(encoding="utf-8")
    assert text.startswith("# Results\n\nBy hand, above.\n\n") and text.endswith("\n\nBy hand, below.\n")
    assert "\nold\n" not in text
    cells = row(text, "start")
    assert re.fullmatch(r"[\d.,]+ (µs|ms|s)", cells[1]) and re.fullmatch(r"[\d.,]+ (µs|ms|s)", cells[2])
    assert re.fullmatch(r"\d+\.\d\d × the stdlib", cells[3])
    assert cells[4] == "at most 2" and cells[5] in ("yes", "**no**")
    assert row(text, "`map(noop, range")[1].endswith(" items/s")
    assert f"Python: CPython {sys.version.split()[0]}" in text or "CPython" not in sys.version
    assert str(tmp_path) not in text and str(BENCHMARKS) not in text


def test_nothing_is_left_when_it_is_stopped(tmp_path: Path) -> None:
    """What the harness would find afterwards is the point; the exit status says that it knew."""
    results = tmp_path / "RESULTS.md"
    arguments = ("--cases", "skewed", "--contestants", "stdlib", "--write", "--output", str(results))
    with subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("skewed: "):
                break
        with pytest.raises(subprocess.TimeoutExpired):  # it is in the middle of its rounds
            run.wait(1.0)
        run.send_signal(signal.SIGTERM)
        assert run.wait(20) == 130
    assert not results.exists()


def test_unknown_names_are_refused() -> None:
    run = subprocess.run(command("--cases", "aply"), capture_output=True, text=True, timeout=20)
    assert run.returncode == 2
    assert "'aply' is none of start, apply" in run.stderr


def test_a_contestant_that_hangs_is_ended_and_the_others_go_on(contest: ModuleType) -> None:
    cases = importlib.import_module("cases").CASES
    case = dataclasses.replace(cases["skewed"], limit=0.05)
    lines: list[str] = []
    (column,) = contest.duel(case, ["stdlib"], True, lines.append, rounds=2)
    assert (column.samples, column.failure) == ([], "no answer within 0.05 s")
    assert lines == ["skewed: 2 rounds of stdlib"]


def test_a_contestant_that_cannot_start_is_a_line_in_the_report(contest: ModuleType) -> None:
    """The echo has no queue, so a case that needs one fails in its process."""
    cases = importlib.import_module("cases").CASES
    (column,) = contest.duel(cases["submit"], ["echo"], True, lambda line: None, rounds=2)
    assert column.samples == [] and "an echo has no queue" in column.failure


# --- the report ---------------------------------------------------------------------------------------


def test_figures(report: ModuleType) -> None:
    assert report.amount(0.0001342, "s") == "134 µs"
    assert report.amount(0.010, "s") == "10.0 ms"
    assert report.amount(1.5, "s") == "1.50 s"
    assert report.amount(33_123.0, "tasks/s") == "33.1 k tasks/s"
    assert report.amount(6_000_000.0, "items/s") == "6.00 M items/s"
    assert report.amount(1812.4, "B/task") == "1,812 B"
    assert report.amount(2**21, "B") == "2.00 MiB"
    assert report.amount(None, "s") == "–"


def test_ratio_is_taken_within_each_round(report: ModuleType, contest: ModuleType) -> None:
    """A round in which everything took ten times longer changes the medians, and no ratio."""
    stdlib, subject = column(contest, [1.0, 10.0, 10.0]), column(contest, [0.5, 5.0, 5.0])
    assert contest.ratio(subject, stdlib) == 0.5
    failed_early = column(contest, [3.0], failure="no answer")
    assert contest.ratio(failed_early, stdlib) == 3.0
    assert contest.ratio(column(contest, []), stdlib) is None


def test_tables_on_fixed_numbers(report: ModuleType, contest: ModuleType) -> None:
    findings = report.Findings(subject="parpool", quick=True, date="2026-01-02")
    findings.facts = {"processor": "a processor, 2 cores"}
    findings.versions = {"pyzmq": "27.0"}
    findings.duels = {
        "apply": {
            "stdlib": column(contest, [100e-6, 200e-6, 100e-6]),
            "subject": column(contest, [80e-6, 160e-6, 80e-6]),
            "echo": column(contest, [50e-6, 100e-6, 50e-6]),
        },
        "submit": {
            "stdlib": column(contest, [30e3]),
            "subject": column(contest, [180e3]),
        },
        "skewed": {
            "stdlib": column(contest, [0.41]),
            "subject": column(contest, [0.29]),
        },
        "queued": {
            "stdlib": column(contest, [1812.0], detail="1,728 MiB for 1,000,000 tasks"),
            "subject": column(contest, [512.0]),
        },
        "growth": {"stdlib": column(contest, [], failure="no answer within 600 s")},
    }
    findings.peers = {
        "joblib": {
            "apply": {"stdlib": column(contest, [1e-4]), "subject": column(contest, [1e-2])},
            "submit": {"stdlib": column(contest, [3e4]), "subject": column(contest, [], failure="Boom: a|b")},
        }
    }
    findings.absent = ["ray"]
    text = report.render(findings)
    assert row(text, "`apply`")[1:] == ["100 µs", "80.0 µs", "0.80 × the stdlib", "at most 0.9", "yes"]
    assert row(text, " |")[3:] == ["1.60 × the echo", "at most 1.3", "**no**"]
    assert row(text, "20,000 `apply_async`")[3:] == ["6.00 × the stdlib", "at least 5", "yes"]
    assert row(text, "200 items")[2:] == ["290 ms", "1.00 × the ideal", "at most 1.08", "yes"]
    assert row(text, "memory per")[1:] == ["1,812 B", "512 B", "512 B", "at most 1,024 B", "yes"]
    assert row(text, "resident memory")[1:] == ["failed", "not run", "–", "at most 4.00 MiB", "–"]
    assert row(text, "joblib")[2:] == ["not run", "10.0 ms (100 ×)", "failed", "not run", "not run"]
    assert row(text, "Ray")[1:] == ["not installed", "–", "–", "–", "–", "–"]
    for line in (
        "Measured 2026-01-02",
        "versions: pyzmq 27.0",
        "**Quick run**",
        "`apply`: the raw pyzmq echo took 50.0 µs",
        "`queued`, stdlib: 1,728 MiB for 1,000,000 tasks",
        "`growth`, stdlib: failed after 0 samples: no answer within 600 s",
        "joblib (loky), `submit`: Boom: a|b",
    ):
        assert line in text


def test_the_part_between_the_marks_is_replaced(report: ModuleType) -> None:
    before = f"# Mine\n\nabove\n\n{report.BEGIN}\n\nold figures\n\n{report.END}\n\n## Simulation\n\nbelow\n"
    after = report.replace_part(before, "new figures\n")
    assert after == before.replace("old figures", "new figures")
    assert report.replace_part(after, "new figures") == after


def test_the_part_is_added_where_there_is_none(report: ModuleType) -> None:
    part = f"{report.BEGIN}\n\nfigures\n\n{report.END}\n"
    assert report.replace_part("", "figures") == f"# Results\n\n{part}"
    assert report.replace_part("# Mine\n\ntext", "figures") == f"# Mine\n\ntext\n\n{part}"


@pytest.mark.parametrize("text", ["{begin} {begin} {end}", "{begin}", "{end}", "{end} {begin}"])
def test_broken_marks_are_an_error_and_nothing_is_lost(report: ModuleType, text: str) -> None:
    with pytest.raises(ValueError, match="marks"):
        report.replace_part(text.format(begin=report.BEGIN, end=report.END), "figures")
