"""Figures to Markdown, and Markdown into the part of RESULTS.md that belongs to the script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cases import CASES, PEER_CASES, Case, Target
from contest import Column, Columns, ratio
from contestants import ECHO, ENTRIES, STDLIB

BEGIN = "<!-- compare.py: begin. What stands up to the end mark is written by `compare.py --write`. -->"
END = "<!-- compare.py: end -->"
NEW_FILE = "# Results\n\n"


@dataclass
class Findings:
    """Everything a run has found, before anybody decides how it looks."""

    subject: str
    quick: bool
    duels: dict[str, Columns] = field(default_factory=dict)  # case -> "stdlib", "subject", "echo"
    peers: dict[str, dict[str, Columns]] = field(default_factory=dict)  # library -> case -> "stdlib", "subject"
    absent: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    date: str = ""
    unfinished: bool = False


# --- figures ------------------------------------------------------------------------------------------


def amount(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "s":
        for factor, name in ((1.0, "s"), (1e3, "ms")):
            if value * factor >= 1:
                return f"{three(value * factor)} {name}"
        return f"{three(value * 1e6)} µs"
    if unit == "B":
        return f"{value / 2**20:.2f} MiB"
    if unit == "B/task":
        return f"{value:,.0f} B"
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{three(value / size)}{letter} {unit}"
    return f"{three(value)} {unit}"


def three(value: float) -> str:
    """Three digits: nothing measured here is better than that."""
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"


def cell(column: Column | None, unit: str) -> str:
    if column is None:
        return "not run"
    if column.median is None:
        return "failed" if column.failure else "–"
    return amount(column.median, unit) + (" (then failed)" if column.failure else "")


# --- targets ------------------------------------------------------------------------------------------


def figure(case: Case, columns: Columns, target: Target) -> float | None:
    """What the target is about: a ratio of the subject to something, or its own figure."""
    subject = columns.get("subject")
    if subject is None or subject.median is None:
        return None
    if target.against == "itself":
        return subject.median
    if target.against == "ideal":
        return subject.median / case.ideal if case.ideal else None
    reference = columns.get(target.against)
    return ratio(subject, reference) if reference else None


def reached(case: Case, columns: Columns, target: Target) -> str:
    value = figure(case, columns, target)
    if value is None:
        return "–"
    if target.against == "itself":
        return amount(value, case.unit)
    than = {"stdlib": "the stdlib", "echo": "the echo", "ideal": "the ideal"}[target.against]
    return f"{value:.2f} × {than}"


def wanted(case: Case, target: Target) -> str:
    bound = amount(target.bound, case.unit) if target.against == "itself" else f"{target.bound:g}"
    return f"{target.sense} {bound}"


def verdict(case: Case, columns: Columns, target: Target) -> str:
    value = figure(case, columns, target)
    if value is None:
        return "–"
    return "yes" if target.met(value) else "**no**"


# --- tables -------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


def duels_table(findings: Findings) -> str:
    again = " (again)" if findings.subject == STDLIB else ""
    head = ["case", ENTRIES[STDLIB].title, ENTRIES[findings.subject].title + again, "ratio", "target", "met"]
    rows = []
    for name, columns in findings.duels.items():
        case = CASES[name]
        for place, target in enumerate(case.targets):
            first = [case.title, cell(columns.get("stdlib"), case.unit), cell(columns.get("subject"), case.unit)]
            rest = [reached(case, columns, target), wanted(case, target), verdict(case, columns, target)]
            rows.append((first if place == 0 else ["", "", ""]) + rest)
    return table(head, rows)


def duels_notes(findings: Findings) -> list[str]:
    notes = []
    for name, columns in findings.duels.items():
        case = CASES[name]
        if ECHO in columns:
            notes.append(f"`{name}`: the raw pyzmq echo took {cell(columns[ECHO], case.unit)}")
        if case.ideal:
            notes.append(f"`{name}`: the ideal is {amount(case.ideal, case.unit)}")
        for who, column in columns.items():
            title = {"stdlib": STDLIB, "subject": findings.subject}.get(who, who)
            details = [sample.detail for sample in column.samples if sample.detail]
            if details:
                notes.append(f"`{name}`, {title}: {details[len(details) // 2]}")
            if column.failure:
                notes.append(f"`{name}`, {title}: failed after {len(column.samples)} samples: {column.failure}")
    return notes


PEER_HEADS = {
    "start": "start to first result",
    "apply": "`apply`, p50",
    "submit": "small tasks, submitted and collected",
    "range": "`map` over a range",
    "array": "`map` over a float64 array",
}


def peer_cell(columns: Columns | None, unit: str) -> str:
    """A library's figure and, where the stdlib was asked in the same rounds, how it compares."""
    if columns is None:
        return "not run"
    times = ratio(columns["subject"], columns["stdlib"]) if "stdlib" in columns else None
    return cell(columns["subject"], unit) + ("" if times is None else f" ({three(times)} ×)")


def peers_table(findings: Findings) -> str:
    head = ["library", "version", *(PEER_HEADS[name] for name in PEER_CASES)]
    rows = []
    for name, row in findings.peers.items():
        version = findings.versions.get(ENTRIES[name].distribution, "with Python")
        cells = [peer_cell(row.get(case), CASES[case].unit) for case in PEER_CASES]
        rows.append([ENTRIES[name].title, version, *cells])
    for name in findings.absent:
        rows.append([ENTRIES[name].title, "not installed", *["–"] * len(PEER_CASES)])
    return table(head, rows)


def peers_notes(findings: Findings) -> list[str]:
    notes = []
    for name, row in findings.peers.items():
        if ENTRIES[name].note:
            notes.append(f"{ENTRIES[name].title}: {ENTRIES[name].note}")
        for case, columns in row.items():
            if columns["subject"].failure:
                notes.append(f"{ENTRIES[name].title}, `{case}`: {columns['subject'].failure}")
    return notes


# --- the whole ----------------------------------------------------------------------------------------

METHOD = """\
Two workers everywhere. In the first table every contestant has a process of its own, opened and warmed by
one sample that does not count; then all are asked in turn, round after round (A B A B …), so that what
disturbs the machine disturbs neighbours alike. A figure is the median over the rounds, the ratio is the
median of the ratios within each round. The start is measured in a new process for every sample, and so is
memory, which is that of all processes of a contestant together. Every function is a no-op imported from a
module; results are kept until the clock stops. Latencies hold for an otherwise idle machine: waking a
sleeping core costs more than the message, the more so in a virtual machine, and each library does it a
different number of times, so anything that keeps the cores awake changes the figures and their ratios."""

METHOD_PEERS = """\
Measured as above, one library at a time beside the stdlib's Pool: "×" is the library's figure over the
stdlib's in the same rounds (times: less is better; rates: more is better). Compare libraries by that and not by
the figures: how fast a sleeping core is woken changes with what else the machine does, and dominates latency."""


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def render(findings: Findings) -> str:
    """The tables and all it takes to judge them."""
    facts = [f"{name}: {fact}" for name, fact in findings.facts.items()]
    if findings.versions:
        facts.append("versions: " + ", ".join(f"{name} {what}" for name, what in findings.versions.items()))
    parts = [f"Measured {findings.date} by `benchmarks/compare.py`.", bullets(facts)]
    if findings.quick:
        parts.append("**Quick run**: few rounds, and 100,000 where the memory rows say a million.")
    if findings.unfinished:
        parts.append("**Interrupted**: rows are missing.")
    if findings.duels:
        parts += ["## Side by side with the stdlib's Pool", METHOD, duels_table(findings)]
        parts.append(bullets(duels_notes(findings)))
    if findings.peers or findings.absent:
        parts += ["## Other libraries", METHOD_PEERS, peers_table(findings)]
        parts.append(bullets(peers_notes(findings)))
    return "\n\n".join(part for part in parts if part) + "\n"


def replace_part(text: str, part: str) -> str:
    """`text` with the script's part renewed, or added at the end; everything else is left as it is."""
    marked = f"{BEGIN}\n\n{part.strip()}\n\n{END}"
    begins, ends = text.count(BEGIN), text.count(END)
    if not begins and not ends:
        before = text.rstrip() + "\n\n" if text.strip() else NEW_FILE
        return f"{before}{marked}\n"
    if (begins, ends) != (1, 1) or text.index(BEGIN) > text.index(END):
        raise ValueError("the marks of compare.py are incomplete or in the wrong order")
    before, _, rest = text.partition(BEGIN)
    return before + marked + rest.partition(END)[2]
