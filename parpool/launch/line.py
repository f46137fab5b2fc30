"""A line to a keeper on another machine: an ssh that stays open, with questions going one way and answers the other."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ParpoolError
from .keeper import MARK
from .process import POSIX

#: What OpenSSH says about the port that it has found on the other machine.
ALLOCATED = re.compile(r"Allocated port (\d+) for remote forward to (\S+)")
LEFT = 1.0  #: seconds that what ssh has left behind may hold its output, as the ssh of a script that was killed
LAST = 4  #: how many lines of what ssh said are worth repeating


class Lost(ParpoolError):
    """The line is cut, or was never there. As text: what ssh said."""


class Slow(Lost):
    """There was no answer in time. One may still come."""


class Line:
    """A command that reaches a keeper, and what goes over it."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        #: What ssh has to say is written there.
        self.log = log
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(fd, "ab") as said:
            self._offset = said.tell()
            # In a session of its own: Ctrl-C is for the script, and engines that reach their controller through this
            # ssh need it for longer than the script lives.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=POSIX
            )
        self._answers: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()
        self._asked = 0
        # A thread, for want of another way to read with a deadline that every system has.
        self._reader = threading.Thread(target=self._read, name="parpool-ssh", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                if line.startswith(MARK.encode()):
                    with contextlib.suppress(ValueError):  # cut off in the middle
                        self._answers.put(json.loads(line[len(MARK) :]))
        self._answers.put(None)

    def ask(self, order: str, **arguments: Any) -> int:
        """Send an order; gives the number of its answer."""
        assert self._process.stdin is not None
        self._asked += 1
        with contextlib.suppress(OSError):  # what is wrong is told when the answer is missed
            self._process.stdin.write(json.dumps([self._asked, order, arguments]).encode() + b"\n")
            self._process.stdin.flush()
        return self._asked

    def answer(self, number: int, deadline: float) -> Any:
        """What the keeper said to it. ParpoolError: it could not do it; Lost: it is not to be reached."""
        while True:
            try:
                got = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Slow("there was no answer in time") from None
            if got is None:
                self._answers.put(None)
                with contextlib.suppress(subprocess.TimeoutExpired):  # it has closed its output: it is about to end
                    self._process.wait(max(0.0, min(1.0, deadline - time.monotonic())))
                raise Lost(self.said() or f"ssh ended with exit code {self._process.poll()}")
            replied, done, value = got
            if replied != number:  # a late answer to what nobody waits for any more
                continue
            if not done:
                raise ParpoolError(value)
            return value

    def said(self) -> str:
        """What ssh, and the shell at the other end, had to say."""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        return "; ".join([line for line in lines if line and not ALLOCATED.search(line)][-LAST:])

    def allocated(self) -> dict[str, int]:
        """The ports on the other machine, by the addresses that they lead to; as far as ssh has told."""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            return {where: int(port) for port, where in ALLOCATED.findall(file.read().decode(errors="replace"))}

    def close(self, patience: float) -> None:
        """Tell the keeper that it was the last, and wait until it is gone; then cut the line."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(LEFT)
