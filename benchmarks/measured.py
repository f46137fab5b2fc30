"""One contestant, one case, one process: `measured.py CASE CONTESTANT {full,quick}`, started by `contest`.

Answers in JSON lines on what was its standard output: first "ready", then a sample for each line it
reads. When its input ends, because the driver is done or dead, it closes the contestant and exits.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import IO, Any

from cases import CASES
from contestants import ENTRIES, Contestant
from measures import FULL, QUICK


def private_output() -> IO[str]:
    """The pipe to the driver; whatever libraries and their workers print goes to the error log instead."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return pipe


def main(case_name: str, contestant_name: str, size_name: str) -> None:
    answers = private_output()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle

    def answer(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    case, entry = CASES[case_name], ENTRIES[contestant_name]
    size = {"full": FULL, "quick": QUICK}[size_name]
    opener = entry.load()
    contestant: Contestant | None = None
    try:
        if case.opens:
            contestant = opener()
            if not case.fresh:
                case.measure(contestant, entry, size)
        answer({"ready": True})
        for _ in sys.stdin:
            sample = case.measure(contestant or opener, entry, size)
            answer({"value": sample.value, "detail": sample.detail})
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        raise
    finally:
        if contestant is not None:
            contestant.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
