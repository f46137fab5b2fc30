"""A cluster, two clients, and a controller that is killed while its tasks are under way.

    python examples/cluster_two_clients.py
    python examples/cluster_two_clients.py --engines 4 --tasks 400

The first client submits tasks. Then the controller is killed with -9. Another one is started in its place; engines and
client come back to it by themselves, and go on. A second client, in a process of its own, knows nothing but the name of
the last task, and gets its result. At the end it is checked that every task has run once, and that each result has
arrived: every task writes its number into a file.

The cluster has a folder of its own, which is removed at the end.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import parpool


def work(number: int, path: str) -> int:
    """A task: a line in a file, and a moment of work. This is what the engines run."""
    with open(path, "a") as file:  # a short line goes to the file whole
        file.write(f"{number}\n")
    time.sleep(0.005)
    return number * number


def fetch(cluster_id: str, name: str) -> None:
    """The second client: print the result of a task by its name."""
    with parpool.Client(cluster_id=cluster_id) as client:
        print(client.get_result(name).get(timeout=60))


def run_through_a_kill(engines: int, tasks: int, path: Path) -> None:
    """Both clients, and what happens to them."""
    with parpool.Cluster(n=engines, cluster_id="shared") as first:
        view = first.load_balanced_view()
        results = [view.apply_async(work, number, str(path)) for number in range(tasks)]
        results[0].get()  # so they are under way

        controller = first.cluster_status()["pid"]
        os.kill(controller, signal.SIGKILL)
        killed = time.perf_counter()
        print(f"the controller is killed; of {tasks} tasks {sum(result.ready() for result in results)} have ended")
        successor = first.cluster_status()["pid"]  # waits for one that answers
        print(f"another one has taken its place after {time.perf_counter() - killed:.2f} s: {successor != controller}")

        name = results[-1].msg_ids[0]
        command = [sys.executable, __file__, "--fetch", name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as second:
            fetched, _ = second.communicate()
        values = [result.get(timeout=60) for result in results]

    ran = sorted(map(int, path.read_text().split()))
    assert values == [number * number for number in range(tasks)], "a result is WRONG"
    assert ran == list(range(tasks)), "the tasks did NOT run once each"
    assert fetched.split() == [str(values[-1])], "the second client got something ELSE"
    print(f"the second client has the result of the last one: {values[-1]}")
    print("every task ran once, and every result arrived")


def main() -> None:
    """Run it in a folder for this time alone."""
    parser = argparse.ArgumentParser(description="Two clients of a cluster whose controller is killed.")
    parser.add_argument("--engines", type=int, default=2, metavar="N", help="how many engines (default: 2)")
    parser.add_argument("--tasks", type=int, default=200, metavar="N", help="how many tasks (default: 200)")
    parser.add_argument("--fetch", metavar="NAME", help=argparse.SUPPRESS)  # be the second client
    options = parser.parse_args()
    if options.fetch:
        fetch("shared", options.fetch)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PARPOOL_DIR"] = folder  # also for the second client
        run_through_a_kill(options.engines, options.tasks, Path(folder, "ran"))


if __name__ == "__main__":
    main()
