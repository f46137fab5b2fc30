"""parpool.Pool side by side with multiprocessing.Pool, and beside other libraries. Run it as a script:

    python benchmarks/compare.py                          everything that is installed
    python benchmarks/compare.py --quick --cases apply    one case, few rounds
    python benchmarks/compare.py --write                  and renew the tables in benchmarks/RESULTS.md

It reports and asserts nothing: a missed target is a line in a table, and the exit status stays 0.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import machine
import report
from cases import CASES, PEER_CASES
from contest import duel
from contestants import ECHO, ENTRIES, PEERS, STDLIB, SUBJECT

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """An argparse type: a comma-separated choice of known names."""

    def parse(text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",") if name.strip()]
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return chosen

    return parse


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="compare.py", description="parpool.Pool side by side with multiprocessing.Pool and others."
    )
    contestants = [name for name in ENTRIES if name != ECHO]
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and less than a million for memory")
    parser.add_argument("--cases", type=names(list(CASES)), default=list(CASES), help="some of: " + ", ".join(CASES))
    parser.add_argument(
        "--contestants",
        type=names(contestants),
        default=contestants,
        help="some of: " + ", ".join(contestants),
    )
    parser.add_argument(
        "--subject",
        choices=[SUBJECT, STDLIB],
        default=SUBJECT,
        help="who is set beside the stdlib; the stdlib itself shows the noise of the machine",
    )
    parser.add_argument("--write", action="store_true", help="renew the tables in RESULTS.md; cases not run leave them")
    parser.add_argument("--output", type=Path, default=RESULTS, help="write there instead of RESULTS.md")
    return parser.parse_args(argv)


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def side_by_side(options: argparse.Namespace, findings: report.Findings) -> None:
    """The stdlib and the subject, and the echo where a case asks for it."""
    subject_runs = ENTRIES[findings.subject].installed() and (
        findings.subject in options.contestants or findings.subject == STDLIB
    )
    for name in options.cases:
        case = CASES[name]
        places = {"stdlib": STDLIB} if STDLIB in options.contestants else {}
        if subject_runs:
            places["subject"] = findings.subject
        places |= {extra: extra for extra in case.extra if ENTRIES[extra].installed()}
        if not places.keys() & {"stdlib", "subject"}:
            continue
        columns = duel(case, list(places.values()), options.quick, progress)
        findings.duels[name] = dict(zip(places, columns, strict=True))


def one_by_one(options: argparse.Namespace, findings: report.Findings) -> None:
    """The other libraries, each beside the stdlib; parpool once more, in the same way and with as few rounds."""
    chosen = [name for name in PEERS if name in options.contestants]
    if not chosen:
        return
    findings.absent = [name for name in chosen if not ENTRIES[name].installed()]
    beside = [name for name in (STDLIB, SUBJECT) if name in options.contestants]
    for name in [*beside, *chosen]:
        if not ENTRIES[name].installed():
            continue
        row = findings.peers.setdefault(name, {})
        places = {"subject": name}
        if name != STDLIB and STDLIB in options.contestants:
            places = {"stdlib": STDLIB, **places}
        for case_name in PEER_CASES:
            if case_name in options.cases:
                columns = duel(
                    CASES[case_name], list(places.values()), options.quick, progress, rounds=2 if options.quick else 5
                )
                row[case_name] = dict(zip(places, columns, strict=True))


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    # A plain kill ends the run as Ctrl-C does: through the code that ends every process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    findings = report.Findings(
        subject=options.subject,
        quick=options.quick,
        facts=machine.facts(),
        versions=machine.versions([*options.contestants, ECHO]),
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    )
    if options.subject == SUBJECT and not ENTRIES[SUBJECT].installed():
        progress("parpool is not installed: its column stays empty")
    try:
        side_by_side(options, findings)
        one_by_one(options, findings)
    except KeyboardInterrupt:
        findings.unfinished = True
    part = report.render(findings)
    print(part)
    if findings.unfinished:
        progress("interrupted: nothing is written")
        return 130
    if options.write:
        before = options.output.read_text(encoding="utf-8") if options.output.exists() else ""
        options.output.write_text(report.replace_part(before, part), encoding="utf-8")
        progress(f"written: {options.output.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
