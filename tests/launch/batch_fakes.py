"""Stand-ins for the commands of batch systems that cannot be installed here.

They take the options that the launcher uses, print what the real ones print, and run jobs as processes of this
machine. A queue is a folder: one file of JSON for each element, which the process that runs it keeps up to date, and one
more when it is to be deleted. A file ``hold`` in it lets nothing begin; ``down`` lets all commands fail; ``stuck`` lets
new jobs be refused by their node.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COMMANDS = {
    "pbs": ("qsub", "qstat", "qdel", "qsig"),
    "torque": ("qsub", "qstat", "qdel", "qsig"),
    "sge": ("qsub", "qstat", "qdel"),
    "lsf": ("bsub", "bjobs", "bkill"),
    "htcondor": ("condor_submit", "condor_q", "condor_rm"),
}
ARRAY = {
    "pbs": r"^#PBS -J 1-(\d+)$",
    "torque": r"^#PBS -t 1-(\d+)$",
    "sge": r"^#\$ -t 1-(\d+)$",
    "lsf": r"^#BSUB -J \w+\[1-(\d+)\]$",
    "htcondor": r"^queue (\d+)$",
}
INDEX = {"pbs": "PBS_ARRAY_INDEX", "torque": "PBS_ARRAYID", "sge": "SGE_TASK_ID", "lsf": "LSB_JOBINDEX"}
STATES = {
    "pbs": {"queued": "Q", "running": "R"},
    "torque": {"queued": "Q", "running": "R", "ended": "C"},
    "sge": {"queued": "qw", "running": "r", "stuck": "Eqw"},
    "lsf": {"queued": "PEND", "running": "RUN", "ended": "DONE"},
    "htcondor": {"queued": "1", "running": "2", "stuck": "5"},
}


def install(folder: Path, system: str) -> None:
    """Put the commands of a system into a folder, for PATH; its queue is in there, too."""
    (folder / "queue").mkdir()
    for command in COMMANDS[system]:
        path = folder / command
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {folder}/queue {system} {command} "$@"\n')
        path.chmod(0o700)


class Queue:
    """The commands, each a method."""

    def __init__(self, folder: Path, system: str) -> None:
        self.folder = folder
        self.system = system

    def elements(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]

    def save(self, element: dict[str, Any]) -> None:
        path = self.folder / f"{element['id']}.{element['index']}.json"
        path.with_suffix(".new").write_text(json.dumps(element))
        path.with_suffix(".new").rename(path)

    def deleted(self, element: dict[str, Any]) -> Path:
        return self.folder / f"{element['id']}.{element['index']}.deleted"

    # Submit --------------------------------------------------------------------------------------------

    def submit(self, text: str) -> tuple[int, int | None]:
        """Queue what is described; gives its number, and how many elements an array has."""
        if "refuse" in text:
            sys.exit("the directive --refuse is not known here")
        id = max([element["id"] for element in self.elements()], default=100) + 1
        match = re.search(ARRAY[self.system], text, re.M)
        n = int(match[1]) if match else None
        if self.system == "pbs" and n == 1:
            sys.exit("qsub: illegal -J value")  # as it says of an array of one
        script = self.folder / f"{id}.script"
        described = re.search(r"^executable = (.*)$", text, re.M)
        script.write_text(Path(described[1]).read_text() if described else text)
        first = 0 if self.system == "htcondor" else 1
        state = "stuck" if (self.folder / "stuck").exists() else "queued"
        for index in range(first, first + (n or 1)):
            element = {"id": id, "index": index, "array": n is not None, "state": state, "pid": 0}
            self.save(element)
            command = [sys.executable, "-S", __file__, str(self.folder), self.system, "run", json.dumps(element)]
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return id, n

    def run(self, text: str) -> None:
        """Wait for the turn of an element, and run it: the process in the background that a node would have."""
        element = json.loads(text)
        while (self.folder / "hold").exists() or element["state"] == "stuck":
            time.sleep(0.02)
            if self.deleted(element).exists():
                self.save({**element, "state": "ended"})
                return
        environment = {**os.environ, INDEX.get(self.system, "X"): str(element["index"])}
        arguments = [str(element["index"])] if self.system == "htcondor" else []
        process = subprocess.Popen(
            ["/bin/sh", str(self.folder / f"{element['id']}.script"), *arguments],
            env=environment,
            start_new_session=True,
        )
        self.save({**element, "state": "running", "pid": process.pid})
        killed = None
        while process.poll() is None:
            time.sleep(0.02)
            if self.deleted(element).exists() and killed is None:
                # Grid Engine does not ask.
                os.killpg(process.pid, signal.SIGKILL if self.system == "sge" else signal.SIGTERM)
                killed = time.monotonic() + 1
            if killed is not None and time.monotonic() > killed:
                os.killpg(process.pid, signal.SIGKILL)
        self.save({**element, "state": "ended"})

    def qsub(self, *arguments: str) -> str:
        id, n = self.submit(Path(arguments[-1]).read_text())
        if self.system == "sge":
            assert arguments[0] == "-terse"
            return f"{id}.1-{n}:1" if n else f"{id}"
        return f"{id}[].server.example" if n else f"{id}.server.example"

    def bsub(self) -> str:
        return f"Job <{self.submit(sys.stdin.read())[0]}> is submitted to default queue <normal>."

    def condor_submit(self, terse: str, path: str) -> str:
        assert terse == "-terse"
        id, n = self.submit(Path(path).read_text())
        return f"{id}.0 - {id}.{(n or 1) - 1}"

    # Status --------------------------------------------------------------------------------------------

    def known(self) -> list[tuple[dict[str, Any], str]]:
        states = STATES[self.system]
        return [(each, states[each["state"]]) for each in self.elements() if each["state"] in states]

    def qstat(self, *arguments: str) -> str:
        if self.system == "sge":
            assert arguments == ("-g", "d")
            head = "job-ID  prior   name       user         state submit/start at     queue          slots ja-task-ID"
            lines = [head, "-" * len(head)] * bool(self.known())
            for each, state in self.known():
                queue = "main.q@node" if state == "r" else ""
                index = each["index"] if each["array"] else ""
                lines.append(
                    f"{each['id']:7} 0.55500 engine     ann          {state:5} 11/21/2026 10:00:00 {queue:14} {1:5} {index}"
                )
            return "\n".join(lines)
        assert arguments[:2] == ("-t", "-f")
        blocks, ids = [], [int(re.match(r"\d+", each)[0]) for each in arguments[2:]]  # type: ignore[index]
        for each, state in self.known():
            if each["id"] in ids:
                index = f"[{each['index']}]" if each["array"] else ""
                why = "    comment = Not Running: no room\n" if state == "Q" else ""
                blocks.append(
                    f"Job Id: {each['id']}{index}.server.example\n    Job_Name = engine\n    job_state = {state}\n"
                    f"    queue = main\n{why}"
                )
        if {each["id"] for each, _ in self.known()} < set(ids):
            print(f"qstat: Unknown Job Id {ids[0]}.server.example", file=sys.stderr)
            self.status = 153
        return "\n".join(blocks)

    def bjobs(self, *arguments: str) -> str:
        assert arguments[:4] == ("-a", "-noheader", "-o", "jobid jobindex stat delimiter='|'")
        known = [(each, state) for each, state in self.known() if str(each["id"]) in arguments[4:]]
        if not known:
            print(f"Job <{arguments[4]}> is not found", file=sys.stderr)
            self.status = 255
        return "\n".join(f"{each['id']}|{each['index'] if each['array'] else 0}|{state}" for each, state in known)

    def condor_q(self, *arguments: str) -> str:
        assert arguments[-5:] == ("-af", "ClusterId", "ProcId", "JobStatus", "HoldReason")
        lines = []
        for each, state in self.known():
            if str(each["id"]) in arguments:
                why = "Failed to execute '/x': (errno=2)" if state == "5" else "undefined"
                lines.append(f"{each['id']} {each['index']} {state} {why}")
        return "\n".join(lines)

    # Signals and the end -------------------------------------------------------------------------------

    def meant(self, ids: tuple[str, ...]) -> list[dict[str, Any]]:
        found = []
        for id in ids:
            match = re.match(r"(\d+)(?:[.\[](\d+))?", id)
            assert match, id
            for each in self.elements():
                if each["id"] == int(match[1]) and match[2] in (None, str(each["index"])):
                    if each["state"] == "ended":
                        print(f"{id} has ended already", file=sys.stderr)
                        self.status = 1
                    else:
                        found.append(each)
        return found

    def delete(self, ids: tuple[str, ...]) -> str:
        for each in self.meant(ids):
            self.deleted(each).touch()
        return ""

    def send(self, signame: str, ids: tuple[str, ...]) -> str:
        for each in self.meant(ids):
            os.killpg(each["pid"], getattr(signal, f"SIG{signame.removeprefix('SIG')}"))
        return ""

    def qdel(self, *ids: str) -> str:
        return self.delete(ids)

    condor_rm = qdel

    def bkill(self, *arguments: str) -> str:
        return self.send(arguments[1], arguments[2:]) if arguments[0] == "-s" else self.delete(arguments)

    def qsig(self, option: str, signame: str, *ids: str) -> str:
        assert option == "-s" and signame.startswith("SIG")
        return self.send(signame, ids)

    status = 0


if __name__ == "__main__":
    queue = Queue(Path(sys.argv[1]), sys.argv[2])
    if sys.argv[3] != "run" and (queue.folder / "down").exists():
        sys.exit(f"{sys.argv[3]}: cannot connect to server")
    if text := getattr(queue, sys.argv[3])(*sys.argv[4:]):
        print(text)
    sys.exit(queue.status)
