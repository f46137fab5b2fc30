"""A client in a process of its own, for tests that kill and stop it: ``fault_client.py FILE RUNNING RAN COUNT LOST``.

It submits a task that waits and others behind it, tells their names, and then what they come to.
"""

import sys
from typing import Any

from fault_tasks import noted, wait_for

from parpool import Client


def say(*words: Any) -> None:
    """Tell the test."""
    print(*words, flush=True)


def main(file: str, running: str, ran: str, count: str, lost: str) -> None:
    """Be a client."""
    with Client(file, on_client_lost=lost or None) as client:
        view = client.load_balanced_view()
        results = [view.apply_async(wait_for, running, -1)]
        results += [view.apply_async(noted, ran, number) for number in range(int(count))]
        say(*(name for result in results for name in result.msg_ids))
        for result in results:
            try:
                say(result.get())
            except Exception as error:
                say(type(error).__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
