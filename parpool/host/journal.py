"""The journal: which engine was given which task, so that a controller that was killed can be followed by another.

A line is written before the message that it tells of. It goes to the system at once and is not forced onto the disk:
it must outlive the process, not the machine. Two files take turns; the older one tells of what may still matter of the
time before the newer one, so both together stay small.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

FULL = 8 * 2**20  #: bytes of a file after which the other one is begun
KEPT = 4096  #: clients whose tasks go on without them
ROOM = 64 * 2**20  #: bytes of what is said of these
_NAME = re.compile("[A-Za-z0-9_-]{1,64}")
OVER = 1 << 16  #: tasks that engines took with them, and that are still told of in later files


@dataclass
class Past:
    """What a journal says of the time before."""

    engines: dict[int, tuple[str, int, str]] = field(default_factory=dict)  #: id: name, pid and machine
    next: int = 0  #: above the ids of all engines that are named
    given: dict[int, int] = field(default_factory=dict)  #: the engine that a task was given to last
    #: of a task that was cut, the items of its parts that were given to an engine: whole, part, first item and count
    parts: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)
    #: of a task, or a part, that an engine took with it: that engine, and the first item that had not begun there
    over: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: clients whose tasks are to go on without them, by number: name, and whether they have left for good
    kept: dict[int, tuple[str, bool]] = field(default_factory=dict)
    #: what these had here, where others had the rest
    held: dict[int, str] = field(default_factory=dict)
    cuts: dict[int, int] = field(default_factory=dict)  #: of a task, or a part, that was cut: the first item that went


class Journal:
    """Writes, and reads what was written before. ``path``: of its two files, without their endings."""

    def __init__(self, path: Path) -> None:
        self._paths = [path.with_suffix(".0"), path.with_suffix(".1")]
        self._turn = 0
        self._fd = -1
        self._size = 0
        self._engines: dict[int, str] = {}  #: lines of those that serve
        self._over: dict[int, tuple[int, int]] = {}  #: as in :class:`Past`, the last ones
        self._kept: dict[int, str] = {}  #: lines of clients whose tasks go on
        self._room = 0  #: bytes of these lines
        self._turned = False
        self.failed: str = ""  #: why nothing is written any more

    def read(self) -> Past:
        """What was written before."""
        past = Past()
        for path in self._written():
            with suppress(OSError):
                _read(path, past)
        return past

    def begin(self, past: Past) -> None:
        """Write on, behind what was read: it is true until more is known, and this controller may be killed, too."""
        written = self._written()
        self._turn = self._paths.index(written[-1]) if written else 0
        self._engines = {id: _joined(id, *engine) for id, engine in past.engines.items()}
        self._over = dict(past.over)
        self._kept = {number: _kept(number, *client, past.held.get(number, "")) for number, client in past.kept.items()}
        self._room = sum(map(len, self._kept.values()))
        self._open(os.O_APPEND)

    def _written(self) -> list[Path]:
        """The files that are there, the older one first."""
        return sorted((path for path in self._paths if path.exists()), key=_generation)

    def joined(self, id: int, uid: str, pid: int, hostname: str) -> None:
        """An engine serves."""
        self._engines[id] = line = _joined(id, uid, pid, hostname)
        self._write(line)

    def taken_back(self, tasks: Iterable[int]) -> None:
        """These tasks are no engine's any more."""
        if ids := " ".join(map(str, tasks)):
            self._write(f"Q 0 {ids}\n")

    def lost(self, id: int) -> None:
        """It does not any more."""
        if self._engines.pop(id, None) is not None:
            self._write(f"L {id}\n")

    def kept(self, number: int, name: str, left: bool, held: str = "") -> None:
        """A client is gone, and its tasks go on. ``held``: those that it has here, where others have the rest."""
        if not _NAME.fullmatch(name):
            return
        self._kept[number] = line = _kept(number, name, left, held)
        while len(self._kept) > KEPT or (sum(map(len, self._kept.values())) > ROOM and len(self._kept) > 1):
            del self._kept[next(iter(self._kept))]
        self._room = sum(map(len, self._kept.values()))
        self._write(line)

    def back(self, number: int) -> None:
        """It is here again, or has no tasks any more."""
        if self._kept.pop(number, None) is not None:
            self._write(f"B {number}\n")

    def over(self, id: int, ends: Mapping[int, int]) -> None:
        """An engine was lost, and what these tasks, or parts, had before the named items is over."""
        if ends:
            for task, end in ends.items():
                self._over.pop(task, None)
                self._over[task] = id, end
            for task in list(islice(self._over, max(0, len(self._over) - OVER))):
                del self._over[task]
            self._write(f"X {id} {' '.join(f'{task} {end}' for task, end in ends.items())}\n")

    def given(self, id: int, tasks: Iterable[int]) -> None:
        """An engine is given tasks."""
        self._write(f"G {id} {' '.join(map(str, tasks))}\n")
        if self._size > FULL + 2 * self._room:
            self._turn = 1 - self._turn
            self._open(os.O_TRUNC)
            self._turned = True

    def cut(self, id: int, item: int) -> None:
        """The items of a task, or of a part, from this one on are no longer its own."""
        self._write(f"C {id} {item}\n")

    def part(self, id: int, whole: int, first: int, count: int) -> None:
        """A part is about to be given to an engine."""
        self._write(f"P {whole} {id} {first} {count}\n")

    def settle(self, engines: Mapping[int, Any]) -> None:
        """Where a new file was begun: write into it who holds what, as the one before the last is gone."""
        if self._turned:
            self._turned = False
            for id, engine in engines.items():
                for task in engine.held.values():
                    if task.count > 1:
                        self.cut(task.id, task.count)
                    if task.whole is not None:
                        self.part(task.id, task.whole, task.first, task.count)
                self._write(f"G {id} {' '.join(map(str, engine.held))}\n")
            self._write("".join(f"X {id} {task} {end}\n" for task, (id, end) in self._over.items()))

    def close(self, remove: bool) -> None:
        """Close the file; ``remove``: there is nothing to be followed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if remove:
            for path in self._paths:
                path.unlink(missing_ok=True)

    def _open(self, how: int) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | how
        self._fd = os.open(self._paths[self._turn], flags, 0o600)
        self._size = os.fstat(self._fd).st_size
        if self._size:
            self._write("\n")  # behind a line that may be torn
        else:
            other = self._paths[1 - self._turn]
            self._write(f"V {_generation(other) + 1 if other.exists() else 0}\n")
        for line in (*self._engines.values(), *self._kept.values()):
            self._write(line)

    def _write(self, line: str) -> None:
        if self._fd < 0:
            return
        data = line.encode()
        self._size += len(data)
        try:
            os.write(self._fd, data)
        except OSError as error:  # a full disk: work goes on, and cannot be followed
            self.failed = str(error)


def _generation(path: Path) -> int:
    """Which of two files is the later one; not by their times, as clocks are set back."""
    try:
        with open(path, "rb") as file:
            return int(file.readline(40).split()[1])
    except (OSError, ValueError, IndexError):
        return -1


def _joined(id: int, uid: str, pid: int, hostname: str) -> str:
    return f"J {id} {uid} {pid} {'_'.join(hostname.split()) or '-'}\n"


def _kept(number: int, name: str, left: bool, held: str) -> str:
    return f"K {number} {name} {int(left)}{' ' if held else ''}{held}\n"


def _read(path: Path, past: Past) -> None:
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if not line.endswith("\n"):
                return  # it was killed while it wrote, and the message was not sent
            with suppress(ValueError, IndexError):  # a torn line, and another behind it
                what, id, *rest = line.split()
                if what in "JGLX":
                    past.next = max(past.next, int(id) + 1)
                if what == "G":
                    past.given.update(dict.fromkeys(map(int, rest), int(id)))
                elif what == "Q":
                    for task in rest:
                        past.given.pop(int(task), None)
                elif what == "K":
                    past.kept[int(id)] = rest[0], rest[1] == "1"
                    past.held[int(id)] = " ".join(rest[2:])
                elif what == "B":
                    past.kept.pop(int(id), None)
                    past.held.pop(int(id), None)
                elif what == "X":
                    numbers = list(map(int, rest))
                    past.over.update(
                        (task, (int(id), end)) for task, end in zip(numbers[::2], numbers[1::2], strict=False)
                    )
                elif what == "P":
                    past.parts.setdefault(int(id), {})[int(rest[0])] = (int(rest[1]), int(rest[2]))
                elif what == "C":
                    past.cuts[int(id)] = int(rest[0])
                elif what == "J":
                    past.engines[int(id)] = (rest[0], int(rest[1]), "" if rest[2] == "-" else rest[2])
                elif what == "L":
                    past.engines.pop(int(id), None)
